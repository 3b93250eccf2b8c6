"""The front of a rest with codecs is the one that enumerating finds, and a bound on the loss picks its point."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from partition import InputError, partition
from partition.codecs.measure import calibrate_codecs
from partition.exits.calibrate import calibrate_exits
from partition.exits.choice import choose_exit
from partition.exits.family import ExitFamily, Way
from partition.exits.front import codec_front, loss_of
from partition.exits.segments import segments
from tests.models import model, node
from tests.partition.costs import machine
from tests.partition.exits.families import answers
from tests.scale import scaled


@pytest.mark.parametrize("seed", range(scaled(50, 1000)))
def test_the_front_is_that_of_enumerating(seed):
    draw = np.random.default_rng(seed)
    count = int(draw.integers(0, 12))
    pairs = list(zip(draw.random(count).round(1), draw.random(count).round(1), strict=True))
    # What is sent as it is loses nothing.
    pairs.append((float(draw.random()), 0.0))

    def plan_within(bound):
        latency_s, loss = min((one for one in pairs if one[1] <= bound), key=lambda one: (one[0], -one[1]))
        return SimpleNamespace(latency_s=latency_s, loss=SimpleNamespace(loss=loss))

    found = [(one.latency_s, one.loss.loss) for one in codec_front(plan_within)]
    wanted = sorted(
        {
            one
            for one in pairs
            if not any((o[0] <= one[0] and o[1] < one[1]) or (o[0] < one[0] and o[1] <= one[1]) for o in pairs)
        }
    )
    assert found == wanted


def wide():
    """Two exits behind tensors that are wide enough for codecs to save bytes."""
    draw = np.random.default_rng(0)
    weights = {key: (draw.standard_normal((64, 64)) / 8).astype(np.float32) for key in ("w0", "w1", "w2")}
    weights |= {key: draw.standard_normal((64, 10)).astype(np.float32) for key in ("h1", "h2")}
    nodes = [
        node("MatMul", "x w0", "m0"),
        node("Tanh", "m0", "a0"),
        node("MatMul", "a0 h1", "early"),
        node("MatMul", "a0 w1", "m1"),
        node("Tanh", "m1", "a1"),
        node("MatMul", "a1 w2", "m2"),
        node("Tanh", "m2", "a2"),
        node("MatMul", "a2 h2", "late"),
    ]
    return model(nodes, {"x": [1, 64]}, ["early", "late"], weights, name="wide")


def labelled(count=60):
    """Return inputs, most of them with the class of the late exit, some with that of the early one."""
    draw, proto = np.random.default_rng(1), wide()
    found = []
    for number in range(count):
        inputs = {"x": draw.standard_normal((1, 64)).astype(np.float32)}
        found.append((inputs, int(answers(proto, inputs)["early" if number % 3 == 0 else "late"].argmax())))
    return found


@pytest.fixture(scope="module")
def table():
    measured = calibrate_exits(wide(), labelled(), codecs=["uint8", "uint4", "float16"])
    # Of a model of microseconds codecs would take a large share.
    return replace(measured, codecs={way: replace(one, model_s=1e6) for way, one in measured.codecs.items()})


SETTINGS = {"device": machine(layer_overhead_s=1.0), "server": machine(layer_overhead_s=1e-4), "rtt": 0.0}


def test_each_bound_on_the_loss_picks_a_point_of_the_front(table):
    family = ExitFamily.parse(wide())
    several = 0
    for way in family.ways():
        rest = segments(family, way).rest

        def plan_within(bound, rest=rest, way=way):
            return partition(rest, "1kbps", codecs=table.codecs[way], max_loss=bound, **SETTINGS)

        front = codec_front(plan_within)
        latencies, losses = [one.latency_s for one in front], [loss_of(one) for one in front]
        assert latencies == sorted(latencies)
        assert losses == sorted(losses, reverse=True)
        assert losses[-1] == 0.0
        several += len(front) > 1
        for bound in [0.0, *np.linspace(0.01, 1, 7), *losses]:
            assert plan_within(bound).latency_s == min(
                one for one, loss in zip(latencies, losses, strict=True) if loss <= bound
            )
    assert several


def test_a_policy_with_codecs_is_measured_as_a_whole(table):
    """Its accuracy is that of running it on the data; the curve holds floors beside it."""
    data = labelled()
    free = choose_exit(wide(), "1kbps", exits=table, accuracy=0.0, **SETTINGS)
    seen = set()
    for point in free.tradeoff:
        policy = choose_exit(wide(), "1kbps", exits=table, accuracy=point.accuracy, **SETTINGS)
        assert policy.accuracy_source == "measured"
        with policy.session(threads=1) as session:
            right = [int(session.run(inputs).output.argmax()) == label for inputs, label in data]
        assert policy.accuracy == pytest.approx(np.mean(right))
        assert policy.accuracy >= point.accuracy - 1e-9
        seen.add(any(message.coded for message in policy.plan.messages))
    assert True in seen


def test_without_the_data_a_floor_is_said_to_be_one(table, tmp_path):
    table.save(tmp_path / "exits.json")
    free = choose_exit(wide(), "1kbps", exits=tmp_path / "exits.json", accuracy=0.0, **SETTINGS)
    floors = [one for one in free.tradeoff if one.accuracy_source == "floor"]
    assert floors
    policy = choose_exit(wide(), "1kbps", exits=tmp_path / "exits.json", accuracy=floors[-1].accuracy, **SETTINGS)
    again = choose_exit(wide(), "1kbps", exits=table, accuracy=floors[-1].accuracy, **SETTINGS)
    assert policy.accuracy_source == "floor"
    assert any("in memory alone" in one for one in policy.assumptions)
    assert policy.accuracy <= again.accuracy
    # Counted input by input, less what the codecs may change of what the rest answers.
    used = [table.exit(name) for name in (*policy.device_exits, policy.final)]
    right = [0.0] * len(used)
    for one in range(table.n_inputs):
        at = next((k for k, bound in enumerate(policy.thresholds) if used[k].confidences[one] >= bound), len(used) - 1)
        right[at] += used[at].scores[one] / table.n_inputs
    assert policy.accuracy == pytest.approx(sum(right) - min(policy.plan.loss.loss, right[-1]))
    assert policy.plan.loss.loss > 0
    assert "at least, by what its codecs may change" in str(policy)
    assert again.accuracy_source == "measured"


def test_the_data_is_found_again_in_its_folder_unless_it_changed(tmp_path):
    (tmp_path / "data").mkdir()
    inputs, labels = zip(*labelled(), strict=True)
    arrays = {"x": np.concatenate([one["x"] for one in inputs]), "label": np.array(labels)}
    np.savez(tmp_path / "data" / "a.npz", **arrays)
    measured = calibrate_exits(wide(), tmp_path / "data", codecs=["uint4"])
    codecs = {way: replace(one, model_s=1e6, inputs=()) for way, one in measured.codecs.items()}
    replace(measured, codecs=codecs).save(tmp_path / "exits.json")

    def chosen():
        return choose_exit(wide(), "1kbps", exits=tmp_path / "exits.json", accuracy=0.5, **SETTINGS)

    again = chosen()
    assert again.accuracy_source == "measured"
    assert any(message.coded for message in again.plan.messages)
    np.savez(tmp_path / "data" / "a.npz", **arrays | {"label": np.zeros_like(arrays["label"])})
    changed = chosen()
    assert changed.accuracy_source == "floor"
    assert any("are not those that the exits were measured on" in one for one in changed.assumptions)
    (tmp_path / "data" / "a.npz").unlink()
    assert any("holds no .npz file" in one for one in chosen().assumptions)


def test_losses_that_do_not_bound_the_accuracy_are_refused(table):
    way = Way((), "late")
    other = replace(table, codecs={way: replace(table.codecs[way], metric="max-relative-error")})
    with pytest.raises(InputError, match="codecs for 'late' by 'max-relative-error'"):
        choose_exit(wide(), "1kbps", exits=other, accuracy=0.0, **SETTINGS)
    fewer = replace(table, codecs={way: replace(table.codecs[way], data=replace(table.data, n_inputs=3))})
    with pytest.raises(InputError, match="has 60 inputs, and codecs for 'late' of 3"):
        choose_exit(wide(), "1kbps", exits=fewer, accuracy=0.0, **SETTINGS)


def test_a_sum_of_losses_is_no_bound(tmp_path):
    """Two tensors, each measured alone, and no data any more: together they may change more answers."""
    draw = np.random.default_rng(0)
    shapes = {"w1": (512, 64), "w2": (512, 64), "w3": (64, 10)}
    nodes = [
        node("MatMul", "x w1", "u"),
        node("MatMul", "x w2", "v"),
        node("Mul", "u v", "p"),
        node("Tanh", "p", "q"),
        node("MatMul", "q w3", "late"),
    ]
    weights = {name: draw.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    proto = model(nodes, {"x": [1, 512]}, ["late"], weights)
    data = [({"x": draw.standard_normal((1, 512)).astype(np.float32)}, 0) for _ in range(20)]
    codecs = calibrate_codecs(proto, [one for one, _ in data], codecs=["uint4"], tensors=["u", "v"], metric="top-1")
    measured = calibrate_exits(proto, data)
    right = replace(measured.exits[0], scores=np.ones(20), accuracy=1.0)
    replace(measured, exits=(right,), codecs={Way((), "late"): replace(codecs, model_s=1e6)}).save(tmp_path / "exits")
    policy = choose_exit(proto, "2kbps", exits=tmp_path / "exits", accuracy=0.1, **SETTINGS)
    assert policy.plan.cut == ("u", "v")
    assert not policy.plan.loss.measured
    assert policy.accuracy_source == "floor"
    assert "the accuracy assumes that codecs at once change no more answers than the sum" in policy.assumptions[-1]
