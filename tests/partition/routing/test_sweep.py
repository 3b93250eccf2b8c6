"""Measuring over lengths, with real runs: what the result holds, not how long anything took."""

import json

import numpy as np
import onnx
import pytest

from partition import InputError, partition
from partition.routing.length_models import fit_length_model
from partition.routing.length_records import LengthSample
from partition.routing.lengths_file import LengthTimings
from partition.routing.open_dims import check_range, length_of, log_spaced, open_axes
from partition.routing.sweep import SweepEffort, doubts, measure_lengths
from tests.models import model, node, relu_chain, value
from tests.partition.conftest import entries
from tests.partition.routing.length_files import lstm_net, strided_net

QUICK = SweepEffort(lengths=8, layer_lengths=3, fewest_rounds=2, most_rounds=3, budget_s=0.5)


@pytest.fixture(scope="module")
def measured():
    told = []
    timings = measure_lengths(lstm_net(), "seq", (2, 60), threads=1, effort=QUICK, name="here", progress=told.append)
    assert told == sorted(told)
    assert told[-1] == 1.0
    return timings


def test_what_a_sweep_holds(measured):
    assert (measured.name, measured.dim, measured.least, measured.most) == ("here", "seq", 2, 60)
    assert measured.model.input_dims == {"words": ("seq", 1, 6)}
    lengths = [sample.length for sample in measured.samples]
    assert lengths == log_spaced(2, 60, 8)
    held = [sample.length for sample in measured.samples if sample.held_out]
    assert held
    assert not {2, 60} & set(held)
    assert measured.held_out_mape >= 0
    assert all(len(sample.times_s) >= 2 for sample in measured.samples)
    assert len(measured.latency.ratios) == sum(len(one.times_s) for one in measured.samples if not one.held_out)
    assert measured.latency.over(np.arange(2, 61)).min() > 0
    assert measured.cpu_share > 0


def test_sizes_are_exact(measured):
    assert measured.input_bytes.coefficients == (0.0, 24.0, 0.0)
    assert measured.output_bytes.coefficients == (0.0, 4.0, 0.0)
    assert measured.input_bytes.mape == 0.0
    assert measured.output_length is None  # it is the input's


def test_a_sweep_is_a_file_and_a_machine(measured, tmp_path):
    assert LengthTimings.from_json(json.loads(json.dumps(measured.to_json())), "here") == measured
    assert [layer.nodes for layer in measured.layers]
    plan = partition(lstm_net(), "1Mbps", dims={"seq": 33}, device=measured.at(33), server=measured.at(33))
    assert plan.latency_s <= measured.latency.at(33) * (1 + 1e-9)


def test_an_output_of_another_length():
    timings = measure_lengths(strided_net(), "seq", (3, 90), threads=1, effort=QUICK)
    assert timings.output_length.at(90) == pytest.approx(30, rel=0.2)
    assert timings.input_bytes.coefficients == (0.0, 4.0, 0.0)


def test_inputs_of_the_users_own():
    made = []

    def make(length):
        made.append(length)
        return {"words": np.ones((length, 1, 6), np.float32)}

    timings = measure_lengths(lstm_net(), "seq", (1, 9), threads=1, effort=QUICK, inputs=make)
    assert {1, 9} <= set(made)
    assert timings.model.input_dims == {"words": ("seq", 1, 6)}
    with pytest.raises(InputError, match=r"inputs\(...\) made a list for length 1"):
        measure_lengths(lstm_net(), "seq", (1, 9), threads=1, effort=QUICK, inputs=lambda length: [length])
    for wrong, said in (
        (lambda length: {"words": np.ones((9, 1, 6), np.float32)}, "made arrays of seq=9 for length 1"),
        (lambda length: {"words": [length]}, r"made a list as 'words' for length 1"),
        (lambda length: {}, r"inputs\(...\) for length 1: input 'words' is missing"),
    ):
        with pytest.raises(InputError, match=said):
            measure_lengths(lstm_net(), "seq", (1, 9), threads=1, effort=QUICK, inputs=wrong)


def shortened():
    # The last nine steps: nothing runs at fewer.
    weights = {"shape": np.array([9, 1], np.int64), "start": np.array([-9]), "end": np.array([2**31])}
    weights |= {"axis": np.array([0])}
    nodes = [node("Slice", "x start end axis", "last", "cut"), node("Reshape", "last shape", "y", "fix")]
    return model(nodes, {"x": ("seq", 1)}, ["y"], weights, name="nine-steps")


@pytest.mark.parametrize(
    ("proto", "dim", "lengths", "said"),
    [
        (
            lstm_net(),
            "batch",
            (1, 9),
            "dimension 'batch' is not in the model 'lstm-net'; its open dimensions are 'seq'",
        ),
        (relu_chain(), "seq", (1, 9), "all its shapes are fixed"),
        (lstm_net(), "", (1, 9), "give the name of an open dimension"),
        (lstm_net(), "seq", (9, 9), "holds the one length 9; for one, give dims={'seq': 9}"),
        (lstm_net(), "seq", (9, 1), "is 9 to 1, which is reversed"),
        (lstm_net(), "seq", (0, 9), "length 0 is not the length of an input"),
        (lstm_net(), "seq", (1.5, 9), "length 1.5 is not"),
        (lstm_net(), "seq", "1..9", "give the least and the greatest length"),
        (lstm_net(), "seq", (1, 2), "1 to 2, holds 2 lengths, and a fit needs 3; give a wider one"),
        (shortened(), "seq", (1, 30), "'nine-steps' does not run at seq=1: "),
    ],
)
def test_what_is_refused(proto, dim, lengths, said):
    with pytest.raises(InputError) as caught:
        measure_lengths(proto, dim, lengths, threads=1, effort=QUICK)
    assert said in str(caught.value)


def test_an_effort_that_is_none():
    with pytest.raises(InputError, match="lengths of a sweep is 2"):
        SweepEffort(lengths=2)
    for budget_s in (0, -1, float("nan"), float("inf"), "1", True):
        with pytest.raises(InputError, match="give a finite number of seconds above 0"):
            SweepEffort(budget_s=budget_s)
    with pytest.raises(InputError, match="most_rounds of a sweep is 2, less than fewest_rounds, 15"):
        SweepEffort(most_rounds=2)


def test_lengths_are_log_spaced():
    assert log_spaced(1, 512, 10) == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]
    assert log_spaced(1, 4, 16) == [1, 2, 3, 4]
    assert check_range("seq", [1, np.int64(4)]) == (1, 4)


def test_where_a_dimension_stands():
    import graph_io

    proto = model(
        [node("Add", "a b", "y", "add")],
        [value("a", ["seq", "seq"]), value("b", ["seq", None])],
        [value("y", ["seq", "seq"])],
    )
    loaded = graph_io.load_model(proto)
    assert open_axes(loaded, "seq") == {"a": (0, 1), "b": (0,)}
    assert open_axes(loaded, "seq", {"a.1": 3}) == {"a": (0,), "b": (0,)}
    assert open_axes(loaded, "b.1") == {"b": (1,)}
    with pytest.raises(InputError, match="dims gives it a value"):
        open_axes(loaded, "seq", {"seq": 3})
    axes = {"a": (0, 1), "b": (0,)}
    assert length_of({"a": np.zeros((3, 3)), "b": np.zeros((3, 1))}, axes, "seq") == 3
    with pytest.raises(InputError, match="disagree on the length 'seq': 3 in 'a', 4 in 'b'"):
        length_of({"a": np.zeros((3, 3)), "b": np.zeros((4, 1))}, axes, "seq")
    with pytest.raises(InputError, match="has the length 0 in 'seq'"):
        length_of({"a": np.zeros((0, 0)), "b": np.zeros((0, 1))}, axes, "seq")
    with pytest.raises(InputError, match="input 'b' is missing"):
        length_of({"a": np.zeros((3, 3))}, axes, "seq")
    with pytest.raises(InputError, match="its axis 1 has to be the length"):
        length_of({"a": np.zeros(3), "b": np.zeros(3)}, axes, "seq")


def test_doubts():
    lengths = [10, 20, 30, 40]
    line = fit_length_model([10, 30, 40], [1.0, 3.0, 4.0], order="linear")

    def found(medians_s, spread):
        times = [tuple(one * (1 + spread * share) for share in (-1, 0, 1)) for one in medians_s]
        samples = [LengthSample(at, at == 20, own) for at, own in zip(lengths, times, strict=True)]
        return list(doubts(samples, line, "seq"))

    assert found([1.0, 2.0, 3.0, 4.0], 0.05) == []
    (far,) = found([1.0, 1.5, 3.0, 4.0], 0.05)
    assert "the fit is off by up to 33% at lengths that were held out (seq = 20)" in far
    (noisy,) = found([1.0, 2.0, 3.0, 4.0], 0.2)
    assert "noisy: the middle half of the runs spans 20% of their median" in noisy


def test_the_command(command, tmp_path):
    onnx.save(lstm_net(), tmp_path / "net.onnx")
    done = command("profile", "net.onnx", "--dim", "seq=1..6", "-o", "net.json", "--threads", "1", "--name", "bench")
    assert done.code == 0, done.err
    assert "bench" in done.out
    assert "R^2" in done.out
    assert "written: net.json" in done.out
    content = json.loads((tmp_path / "net.json").read_text(encoding="utf-8"))
    assert (content["format"], content["dim"], content["latency"]["most"]) == ("dnn-partition/lengths", "seq", 6)
    again = command("profile", "net.onnx", "--dim", "seq=1..6", "-o", "net.json")
    assert again.code == 2
    assert "exists; choose another, or pass --force" in again.err
    assert entries(tmp_path) == ["net.json", "net.onnx"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--dim", "seq=6..1"), "is 6 to 1, which is reversed"),
        (("--dim", "seq=..6"), "write a range as NAME=LEAST..MOST, such as seq=1..512"),
        (("--dim", "seq=a..b"), "write a range as NAME=LEAST..MOST"),
        (("--dim", "seq=1..6", "--dim", "batch=1..2"), "--dim gives ranges for seq=1..6 and batch=1..2"),
        (("--dim", "words=1..6"), "dimension 'words' is not in the model 'net'; its open dimensions are 'seq'"),
        (("--dim", "seq=1..6", "--input", "x.npz"), "--input is of one length"),
    ],
)
def test_what_the_command_refuses(command, tmp_path, arguments, said):
    onnx.save(lstm_net(), tmp_path / "net.onnx")
    done = command("profile", "net.onnx", *arguments)
    assert done.code == 2
    assert said in done.err
    assert len(done.err.splitlines()) == 1


def test_a_rest_before_each_run():
    few = SweepEffort(lengths=3, layer_lengths=3, fewest_rounds=1, most_rounds=1)
    timings = measure_lengths(lstm_net(), "seq", (2, 60), threads=1, effort=few, pause_s=0.002)
    assert any("of rest before each run" in note for note in timings.notes)
    with pytest.raises(InputError, match=r"pause_s is -1; give 0 to 10 seconds"):
        measure_lengths(lstm_net(), "seq", (2, 60), threads=1, effort=few, pause_s=-1)
