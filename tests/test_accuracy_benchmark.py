"""The benchmark of the costs: its tables, its bars, its arguments, on next to nothing. No timing is asserted here."""

import json
import math

import numpy as np
import pytest

from benchmarks.__main__ import main
from benchmarks.accuracy import SECTIONS
from benchmarks.accuracy.clock import summary, time_in_turn
from benchmarks.accuracy.zoo_results import RATES_MBIT
from benchmarks.zoo import NETWORKS
from partition.latency import calibrate
from partition.latency.calibration import REGRESSIONS
from tests.scale import SUITE_SEEDS


@pytest.fixture(scope="module")
def machine_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("machine") / "here.json"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(calibrate, "_SEED", SUITE_SEEDS[-1])
        calibrate.calibrate(threads=(1, 2), share=0.001, load=False, name="here").save(path)
    return path


@pytest.fixture(scope="module")
def result(machine_file, tmp_path_factory):
    folder = tmp_path_factory.mktemp("accuracy")
    target = folder / "accuracy.json"
    options = ["--models", "mnist,cove-200", "--repetitions", "1", "--machine", str(machine_file)]
    sections = ["--only", "measured,predicted,types,decisions"]
    assert main(["accuracy", "--quick", "--json", str(target), *options, *sections]) == 0
    return json.loads(target.read_text(encoding="utf-8"))


def test_the_zoo_is_known_by_name():
    assert len(NETWORKS) == 34
    families = {network.family for network in NETWORKS.values()}
    assert {"alexnet", "vgg", "inception", "resnet", "mobilenet"} <= families


def test_its_bars(result):
    names = [bar["name"] for bar in result["bars"]]
    assert len(names) == len(set(names)) in (6 + 6 + 2, 6 + 6 + 1)
    for bar in result["bars"]:
        assert math.isfinite(bar["value"])


def test_its_rows(result):
    totals = [row for row in result["rows"] if row["kind"] == "total"]
    assert [(row["network"], row["threads"]) for row in totals] == [
        ("mnist", 1),
        ("mnist", 2),
        ("cove-200", 1),
        ("cove-200", 2),
    ]
    for row in totals:
        assert row["error"] == pytest.approx(row["predicted_s"] / row["whole_s"] - 1)
        assert row["isolated_s"] > 0
    cuts = [row for row in result["rows"] if row["kind"] == "cut"]
    assert {row["network"] for row in cuts} == {"mnist", "cove-200"}
    for row in cuts:
        assert row["head_error"] == pytest.approx(abs(row["head_predicted_s"] / row["head_s"] - 1))
    decisions = [row for row in result["rows"] if row["kind"] == "decision"]
    assert len(decisions) == 2 * (3 + len(RATES_MBIT))
    assert all(row["loss"] >= -1e-9 for row in decisions)
    regressions = {row["regression"] for row in result["rows"] if row["kind"] == "regression totals"}
    assert regressions == {name for name in REGRESSIONS if "dynamic" not in name}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["accuracy", "--models", "resnet"], "network 'resnet' does not exist"),
        (["emit", "--models", "mnist"], "light model 'mnist' does not exist"),
        (["accuracy", "--only", "guess"], "section 'guess' does not exist; the sections are speed, measured"),
        (
            ["emit", "--machine", "x.json"],
            "--machine is for the benchmark accuracy, exits, neurosurgeon, wang, dads, not for 'emit'",
        ),
        (["accuracy", "--machine", "no-such.json"], "--machine: unknown machine 'no-such.json'"),
    ],
)
def test_bad_arguments(capsys, arguments, said):
    with pytest.raises(SystemExit) as leaving:
        main(arguments)
    assert leaving.value.code == 2
    assert said in capsys.readouterr().err


def test_sections_are_listed():
    assert list(SECTIONS) == ["speed", "measured", "predicted", "types", "decisions", "load", "dynamic"]


def test_things_are_timed_in_turn():
    order = []
    found = time_in_turn(
        [lambda: order.append("a"), lambda: order.append("b")],
        threads=2,
        fewest=3,
        most=3,
        budget_s=9.0,
    )
    # Blocks, of which the first run does not count.
    assert order == ["a"] * 5 + ["b"] * 5
    assert [one.runs for one in found] == [4, 4]
    assert summary([1.0, 2.0, 1.0, 2.0]).noise == pytest.approx(1 / 1.5)
    assert np.isfinite(summary([1.0]).noise)
