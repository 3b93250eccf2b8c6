"""The benchmark of early exits, and the network that it trains: rows, bars, arguments. No timing is asserted."""

import json
import math
import os
from dataclasses import replace
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from itertools import pairwise

import numpy as np
import pytest

from benchmarks.__main__ import main
from benchmarks.digits import EARLY, FINAL, IMAGE, training
from benchmarks.digits.network import EXIT_SIDE, SIDE, Shape
from benchmarks.exits import SECTIONS
from partition.latency import measure
from partition.latency.profiling import Repetition
from partition.runtime.parts import open_part, session_options
from tests.scale import scaled

TRAINED = pytest.mark.skipif(
    find_spec("sklearn") is None or find_spec("threadpoolctl") is None or not hasattr(os, "sched_setaffinity"),
    reason="it trains on scikit-learn's digits (extra bench), and keeps to one processor",
)
# Calibrating for Edgent's regressions takes longer than all else.
USED = ("deadlines", "accuracy", "edgent")[: scaled(2, 3)]
SHAPE = Shape((1, 4, 4, 8, 8, 16, 16), exit_behind=1)
# One deadline that nothing meets, and one that all policies do.
SHARES = (0.001, 1e3)
RUN = {"exits", "sent", "expected_s", "slowest_s", "mean_s", "accuracy", "predicted_accuracy", "deviation", "wrong"}


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    target = tmp_path_factory.mktemp("exits") / "exits.json"
    setting, deadlines = (import_module(f"benchmarks.exits.{name}") for name in ("setting", "deadlines"))
    small = {
        setting: {
            "QUICK_SHAPE": SHAPE,
            "QUICK_EPOCHS": 1,
            "N_TRAIN": 100,
            "QUICK_TEST": 20,
            "QUICK_CALIBRATION": 20,
            "CODECS": ("uint8",),
            "QUICK_BANDWIDTHS_MBIT_S": (20,),
            "BETWEEN_RUNS_S": 0.0,
        },
        deadlines: {"QUICK_SHARES": SHARES, "QUICK_TIMED": 3},
        measure: {"MEASUREMENT": Repetition(fewest=3, most=3, budget_s=0.1)},
    }
    with pytest.MonkeyPatch.context() as patch:
        for module, constants in small.items():
            for name, value in constants.items():
                patch.setattr(module, name, value)
        assert main(["exits", "--quick", "--json", str(target), "--only", ",".join(USED)]) == 0
    return json.loads(target.read_text(encoding="utf-8"))


def rows_of(result, section, kind):
    return [row for row in result["rows"] if row.get("section") == section and row["kind"] == kind]


def test_every_section_is_a_module():
    assert set(SECTIONS) == {"deadlines", "edgent", "accuracy"}
    assert all(callable(import_module(module).measure) for module in SECTIONS.values())


@TRAINED
def test_its_bars(result):
    assert [bar["name"] for bar in result["bars"]] == [
        "deadlines: accuracy of the whole network on held-out images",
        "deadlines: links and deadlines with a policy",
        "deadlines: requests within the deadline, least share of a policy",
        "deadlines: held-out accuracy against the predicted, most standard errors",
        "deadlines: expected latency against the emulated mean, median error",
        "deadlines: emulated answers other than those in one process",
        "accuracy: expected latency against the emulated mean, median error",
        "accuracy: held-out accuracy against the predicted, most standard errors",
        "accuracy: last exit alone at its best cut over the policies, predicted",
    ]
    assert all(math.isfinite(bar["value"]) for bar in result["bars"])
    (wrong,) = (bar for bar in result["bars"] if bar["name"].endswith("in one process"))
    assert wrong["holds"]


@TRAINED
def test_its_rows(result):
    nothing, met = rows_of(result, "deadlines", "deadline")
    assert nothing["chosen"] is False
    assert "deadline" in nothing["reason"]
    assert met["chosen"] is True
    assert set(met) >= RUN | {"within"}
    assert met["slowest_s"] <= 0.9 * met["deadline_s"]
    assert sum(met["answered"].values()) == pytest.approx(1)
    (fastest,) = rows_of(result, "accuracy", "accuracy")
    assert set(fastest) >= RUN
    assert fastest["predicted_accuracy"] >= fastest["bound"] - 1e-9
    assert fastest["expected_s"] <= fastest["alone_s"] * (1 + 1e-9)
    curve = rows_of(result, "accuracy", "trade-off")
    for before, after in pairwise(curve):
        assert before["expected_s"] < after["expected_s"]
        assert before["accuracy"] < after["accuracy"]


@TRAINED
@pytest.mark.skipif("edgent" not in USED, reason="in the full tests alone")
def test_edgents_rule_beside_ours(result):
    rows = rows_of(result, "edgent", "policy")
    assert [row["by"] for row in rows] == ["ours", "Edgent", "Edgent, measured"] * len(SHARES)
    assert [row["chosen"] for row in rows] == [False] * 3 + [True] * 3
    assert all(row["exits"] == FINAL for row in rows[4:])
    assert {row["exit"] for row in rows_of(result, "edgent", "regression")} == {EARLY, FINAL}


@pytest.mark.parametrize("exit_behind", [None, 2])
def test_the_gradients_are_those_of_both_losses(exit_behind):
    draw = np.random.default_rng(3)
    shape = Shape((1, 2, 2, 3, 3, 4, 4), exit_behind=exit_behind)
    weights = [one.astype(np.float64) for one in training._drawn(draw, shape)]
    if exit_behind is not None:
        weights += [one.astype(np.float64) for one in training._drawn_linear(draw, 3 * EXIT_SIDE**2)]
    images, labels = draw.standard_normal((2, 1, SIDE, SIDE)), np.array([1, 7])

    def loss(weights):
        return training_loss(shape, weights, images, labels)

    found = training._gradients(shape, weights, images, labels)
    assert [one.shape for one in found] == [one.shape for one in weights]
    for number, gradient in enumerate(found):
        place = np.unravel_index(np.argmax(np.abs(gradient)), gradient.shape)
        moved = []
        for sign in (1, -1):
            other = [one.copy() for one in weights]
            other[number][place] += sign * 1e-6
            moved.append(loss(other))
        assert gradient[place] == pytest.approx((moved[0] - moved[1]) / 2e-6, rel=1e-4)


def training_loss(shape, weights, images, labels):
    """The sum of both cross entropies by loops over kernels, without anything of the training code."""

    def entropy(features, weights):
        scores = features.reshape(len(features), -1) @ weights[0] + weights[1]
        top = scores.max(axis=1, keepdims=True)
        chances = np.exp(scores - top) / np.exp(scores - top).sum(axis=1, keepdims=True)
        return -np.log(chances[np.arange(len(labels)), labels]).mean()

    total, x = 0.0, images
    for layer, stride in enumerate(shape.strides):
        side = shape.side(layer)
        kernels = weights[2 * layer].reshape(len(weights[2 * layer]), -1, 3, 3)
        padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
        out = np.zeros((len(x), len(kernels), side, side)) + weights[2 * layer + 1][:, None, None]
        for down in range(3):
            for right in range(3):
                seen = padded[:, :, down : down + stride * side : stride, right : right + stride * side : stride]
                out += np.einsum("bchw,fc->bfhw", seen[:, :, :side, :side], kernels[:, :, down, right])
        x = np.maximum(out, 0)
        if layer == shape.exit_behind:
            window = side // EXIT_SIDE
            pooled = x.reshape(len(x), -1, EXIT_SIDE, window, EXIT_SIDE, window).mean(axis=(3, 5))
            total += entropy(pooled, weights[14:])
    return total + entropy(x, weights[12:14])


@TRAINED
def test_what_is_trained():
    train = partial(training.trained_network, seed=0, n_train=100)
    plain = replace(SHAPE, exit_behind=None)
    with_exit, without, longer = train(SHAPE, 1), train(plain, 1), train(plain, 8)
    assert np.array_equal(with_exit.train_images, without.train_images)
    assert np.array_equal(with_exit.test_labels, without.test_labels)
    assert len(with_exit.train_labels) == 100
    assert len(with_exit.test_labels) == 1697
    assert [one.name for one in with_exit.model.graph.output] == [EARLY, FINAL]
    assert [one.name for one in without.model.graph.output] == [FINAL]
    assert accuracy_in_training(longer) > max(accuracy_in_training(without), 0.5)


def accuracy_in_training(trained):
    session = open_part(trained.model.SerializeToString(), "digits", session_options(threads=1))
    answers = [session.run([FINAL], {IMAGE: image[None]})[0].argmax() for image in trained.train_images]
    return np.mean(answers == trained.train_labels)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--only", "fast"], "section 'fast' does not exist; the sections are deadlines"),
        (["--machine", "no-such-file.json"], "--machine"),
    ],
)
@TRAINED
def test_bad_arguments(arguments, said, capsys):
    with pytest.raises(SystemExit) as left:
        main(["exits", *arguments])
    assert left.value.code == 2
    assert said in capsys.readouterr().err
