"""Inputs that a user gives: they tell dimensions, make illegal random runs legal, and are checked to the letter."""

import re

import ml_dtypes
import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

import graph_io
from graph_io import ModelError
from graph_io.inputs import bind_inputs, runtime_value
from partition import partition
from tests.graph_io.running import TOLERANCE, run_parts, run_whole, worst_error
from tests.models import model, node, value

F32 = np.float32


def two_inputs(first=("N", "seq"), second=("N", "seq"), axis=1):
    return model([node("Concat", "a b", "c", axis=axis), node("Tanh", "c", "y")], {"a": first, "b": second}, ["y"])


def bound(source, inputs, dims=None):
    return bind_inputs(graph_io.load_model(source), inputs, dims or {})


# -- what they tell -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("granularity", ["layer", "node"])
def test_dimensions_are_read_off(granularity):
    inputs = {"a": np.ones((2, 6), F32), "b": np.zeros((2, 6), F32)}
    graph = graph_io.load_graph(two_inputs(), inputs=inputs, granularity=granularity)
    assert graph.graph["dims"] == {"N": 2, "seq": 6}
    assert graph.graph["input_shapes"] == {"a": (2, 6), "b": (2, 6)}
    assert graph.graph["tensors"]["y"].shape == (2, 12)
    assert graph.graph["notes"] == (), "nothing was assumed"
    again = graph_io.load_graph(two_inputs(), dims=graph.graph["dims"], granularity=granularity)
    assert again.graph["tensors"] == graph.graph["tensors"]
    assert again.graph["given_inputs"] is None


def test_dimensions_without_a_name():
    source = two_inputs((None, 6), ("N", None))
    shapes, dims = bound(source, {"a": np.ones((2, 6), F32), "b": np.ones((2, 0), F32)})
    assert shapes == {"a": (2, 6), "b": (2, 0)}
    assert dims == {"a.0": 2, "N": 2, "b.1": 0}
    assert graph_io.load_graph(source, dims=dims).graph["tensors"]["y"].shape == (2, 6)


def test_one_axis_may_differ_from_its_symbol_when_said():
    inputs = {"a": np.ones((2, 6), F32), "b": np.ones((2, 5), F32)}
    message = (
        "dimension 'seq' is 6 on axis 1 of input 'a' and 5 on axis 1 of input 'b'; "
        "make them agree, or pass dims={'b.1': 5} if the model takes both"
    )
    with pytest.raises(ModelError, match=re.escape(message)):
        bound(two_inputs(), inputs)
    _, dims = bound(two_inputs(), inputs, {"b.1": 5})
    assert dims == {"N": 2, "seq": 6, "b.1": 5}
    graph = graph_io.load_graph(two_inputs(), inputs=inputs, dims={"b.1": 5})
    assert graph_io.load_graph(two_inputs(), dims=graph.graph["dims"]).graph["tensors"]["y"].shape == (2, 11)


@pytest.mark.parametrize("shape", [(), (3,), (2, 3, 4)])
def test_input_without_a_rank(shape):
    source = model([node("Tanh", "x", "a"), node("Exp", "a", "y")], {"x": None}, ["y"])
    with pytest.raises(ModelError, match=r"no shape, not even a rank; pass inputs=\{'x': array, ...\} or --input"):
        graph_io.load_graph(source)
    feeds = {"x": np.full(shape, 0.5, F32)}
    graph = graph_io.load_graph(source, inputs=feeds, granularity="node")
    assert {tensor.shape for tensor in graph.graph["tensors"].values()} == {shape}
    protos = [part.proto for part in graph_io.split(graph, [[layer] for layer in graph])]
    assert worst_error(run_parts(protos, feeds, ["y"]), run_whole(source, feeds)) <= TOLERANCE
    plan = partition(source, "wifi", inputs=feeds, cut=["a"], granularity="node")
    assert plan.verify().ok


def needs_legal_values():
    """A Reshape to a shape that is an input: zeros and ones are none that six values fit."""
    nodes = [node("Tanh", "x", "a"), node("Reshape", "a shape", "b"), node("Exp", "b", "c"), node("Neg", "c", "y")]
    inputs = [value("x", ["n"]), value("shape", [2], TensorProto.INT64)]
    return model(nodes, inputs, [value("y", ["rows", "columns"])])


def test_values_that_a_run_needs():
    source = needs_legal_values()
    with pytest.raises(ModelError, match=r"the run failed: .*; pass inputs=\{...\} or --input FILE.npz with values"):
        graph_io.load_graph(source, dims={"n": 6})
    feeds = {"x": np.linspace(-1, 1, 6, dtype=F32), "shape": np.array([2, 3])}
    graph = graph_io.load_graph(source, inputs=feeds, granularity="node")
    assert graph.graph["tensors"]["b"].shape == (2, 3)
    assert any("read off one run on the given inputs" in note for note in graph.graph["notes"])
    with pytest.raises(ModelError, match=r"the run failed: .*; the model does not take the values of the given inputs"):
        graph_io.load_graph(source, inputs=feeds | {"shape": np.array([4, 3])})


def test_a_plan_is_verified_on_them_and_on_variations():
    feeds = {"x": np.linspace(-1, 1, 6, dtype=F32), "shape": np.array([2, 3])}
    plan = partition(needs_legal_values(), "wifi", inputs=feeds, cut=["b"], granularity="node")
    assert plan.model.dims == {"n": 6}
    verification = plan.verify()
    assert verification.ok
    assert verification.n_inputs == 3
    assert verification.depends_on_input
    graph = plan.source
    with pytest.raises(ValueError, match="inputs belong to loading"):
        partition(graph, "wifi", inputs=feeds)


def test_variations_keep_what_may_be_an_index():
    given = {
        "x": np.array([1.0, np.inf, -2.0], F32),
        "same": np.full(4, 3.0),
        "i": np.array([5, 7]),
        "m": np.array([True, False]),
        "none": np.ones((0, 3), F32),
        "text": np.array(["a", "b"], object),
    }
    first, *others = graph_io.varied_inputs(given)
    assert all(first[name] is given[name] for name in given)
    assert len(others) == 2
    for trial in others:
        for name in ("i", "m", "none", "text"):
            assert trial[name] is given[name]
        for name in ("x", "same"):
            assert trial[name].dtype == given[name].dtype
            assert not np.array_equal(trial[name], given[name])
        assert np.isinf(trial["x"][1])
        assert np.max(np.abs(trial["same"] - 3)) < 3


@pytest.mark.parametrize("name", ["bfloat16", "float8_e4m3fn", "float8_e5m2", "int4", "uint4"])
def test_types_that_only_the_runtime_has(name):
    dtype = np.dtype(getattr(ml_dtypes, name))
    element_type = helper.np_dtype_to_tensor_dtype(dtype)
    nodes = [node("Cast", "x", "wide", to=TensorProto.FLOAT), node("Expand", "wide shape", "y")]
    inputs = [value("x", ["n", 1], element_type), value("shape", [2], TensorProto.INT64)]
    source = model(nodes, inputs, ["y"], opset=21, ir_version=10)
    x = np.array([[3], [-2], [5]], F32).astype(dtype)
    graph = graph_io.load_graph(source, inputs={"x": x, "shape": np.array([3, 4])})
    assert graph.graph["tensors"]["y"].shape == (3, 4)
    session = onnxruntime.InferenceSession(source.SerializeToString(), providers=["CPUExecutionProvider"])
    feeds = {"x": runtime_value(x, name.replace("_", "")), "shape": runtime_value(np.array([3, 4]), "int64")}
    (y,) = session.run_with_ort_values(["y"], feeds)
    assert np.array_equal(y.numpy(), np.repeat(x.astype(F32), 4, axis=1))
    with pytest.raises(ModelError, match=f"input 'x' is of type float32, the model's is {name}"):
        graph_io.load_graph(source, inputs={"x": np.ones((3, 1), F32), "shape": np.array([3, 4])})


# -- dimensions of nothing ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("granularity", ["layer", "node"])
def test_empty_cache_of_a_first_step(granularity):
    nodes = [
        node("Concat", "past x", "present", axis=1),
        node("ReduceSum", "present", "sum", keepdims=1),
        node("Add", "x sum", "y"),
    ]
    source = model(nodes, {"past": (1, "past", 4), "x": (1, 1, 4)}, ["y", "present"])
    for dims in ({"past": 0}, {"past": 5}):
        plan = partition(source, "wifi", dims=dims, cut=["present", "x"], granularity=granularity)
        assert plan.latency_s > 0
        assert plan.verify().ok
    assert partition(source, "wifi", dims={"past": 0}, granularity=granularity).verify().ok


# -- runs that do not end -----------------------------------------------------------------------------------------


def endless():
    trips = helper.make_tensor("trips", TensorProto.INT64, (), [2**62])
    body = helper.make_graph(
        [node("Identity", "go", "still"), node("Abs", "carried", "next")],
        "body",
        [value("i", (), TensorProto.INT64), value("go", (), TensorProto.BOOL), value("carried", (2,))],
        [value("still", (), TensorProto.BOOL), value("next", (2,))],
    )
    nodes = [node("Loop", "trips _ x", "final", body=body), node("NonZero", "final", "where")]
    source = model(nodes, {"x": (2,)}, [value("where", None, TensorProto.INT64)])
    source.graph.initializer.append(trips)
    return source


def test_a_run_that_does_not_end_is_stopped(monkeypatch):
    monkeypatch.setattr("graph_io.observed._LIMIT_S", 0.3)
    with pytest.raises(ModelError, match=r"the run took longer than 0\.3 s; pass smaller dims, or inputs=") as caught:
        graph_io.load_graph(endless())
    assert "\n" not in str(caught.value)


# -- what is refused ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("inputs", "dims", "problem"),
    [
        ({"a": np.ones((2, 6), F32)}, {}, "input 'b' is missing; the model's inputs are a, b"),
        ({"z": np.ones(2)}, {}, "input 'z' is not in the model; its inputs are a, b"),
        ([], {}, "inputs is a list; give arrays by name; the model's inputs are a, b"),
        ({"a": np.ones((2, 6), F32), "b": [[1.0]]}, {}, "input 'b' is a list; pass a numpy array"),
        ({"a": np.ones((2, 6)), "b": np.ones((2, 6), F32)}, {}, "input 'a' is of type float64, the model's is float32"),
        ({"a": np.ones((2, 6), ">f4"), "b": np.ones((2, 6), F32)}, {}, "input 'a' is of type >f4"),
        (
            {"a": np.ones(6, F32), "b": np.ones((2, 6), F32)},
            {},
            "input 'a' has shape [6], the model takes ['N', 'seq']",
        ),
        (
            {"a": np.ones((2, 6), F32), "b": np.ones((2, 6), F32)},
            {"seq": 7},
            "dimension 'seq' is given as 7, but axis 1 of input 'a' has 6; leave it out: the inputs tell it",
        ),
        (
            {"a": np.ones((2, 6), F32), "b": np.ones((2, 6), F32)},
            {"b.1": 7},
            "dimension 'b.1' is given as 7, but axis 1 of input 'b' has 6",
        ),
        (
            {"a": np.ones((2, 6), F32), "b": np.ones((2, 6), F32)},
            {"length": 7},
            "dimension 'length' is not in the model; its open dimensions are 'N', 'a.0', 'a.1', 'b.0', 'b.1', 'seq'",
        ),
        ({"a": np.ones((2, 6), F32), "b": np.ones((2, 6), F32)}, [], "dims is []; give values by name"),
    ],
)
def test_inputs_that_do_not_fit(inputs, dims, problem):
    with pytest.raises(ModelError, match=re.escape(problem)):
        bind_inputs(graph_io.load_model(two_inputs()), inputs, dims)


def test_random_inputs_too_large_to_make_up():
    source = model(
        [node("Reshape", "x shape", "y")], [value("x", ["n"]), value("shape", [1], TensorProto.INT64)], ["y"]
    )
    with pytest.raises(ModelError, match=r"input 'x' of shape \[2147483647\] takes 8.59 GB, too much to make up"):
        graph_io.load_graph(source, dims={"n": 2**31 - 1})
