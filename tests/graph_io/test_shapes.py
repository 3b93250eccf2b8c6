"""Dimensions: what is assumed and said, what must be given, and what only a run can tell."""

import json
import re

import numpy as np
import onnx
import pytest
from onnx import TensorProto

import graph_io
from graph_io import ModelError
from tests.graph_io.running import TOLERANCE, inputs_of, run_parts, run_whole, worst_error
from tests.models import model, node, transformer_block, value


def tanh(shape):
    return model([node("Tanh", "x", "a"), node("Exp", "a", "y")], {"x": shape}, ["y"])


def shape_of(graph, name):
    return graph.graph["tensors"][name].shape


@pytest.mark.parametrize("batch", [None, "N", "n", "batch", "Batch", "batch_size"])
def test_batch_becomes_one_and_is_noted(batch):
    graph = graph_io.load_graph(tanh([batch, 4]))
    assert [shape_of(graph, name) for name in "xay"] == [(1, 4)] * 3
    (note,) = graph.graph["notes"]
    assert note == f"batch of input 'x'{f' ({batch})' if batch else ''} taken as 1"


@pytest.mark.parametrize("batch", [None, "N"])
def test_batch_given(batch):
    graph = graph_io.load_graph(tanh([batch, 4]), dims={batch or "x.0": 5})
    assert shape_of(graph, "a") == (5, 4)
    assert graph.graph["notes"] == ()
    assert graph.graph["dims"] == {batch or "x.0": 5}


@pytest.mark.parametrize(
    ("shape", "flag"),
    [(["rows", 4], "rows"), ([1, "seq"], "seq"), ([1, None], "x.1"), ([1, "N"], "N"), ([1, "batch"], "batch")],
)
def test_other_unknown_dimension(shape, flag):
    expected = f"input 'x' has the unknown dimension '{flag}'; pass dims={{'{flag}': 128}} or --dim {flag}=128"
    with pytest.raises(ModelError, match=re.escape(expected)):
        graph_io.load_graph(tanh(shape))
    graph = graph_io.load_graph(tanh(shape), dims={flag: 7})
    assert 7 in shape_of(graph, "y")


def test_one_name_on_several_inputs():
    nodes = [node("Concat", "a b", "c", axis=1), node("Tanh", "c", "y")]
    source = model(nodes, {"a": ["N", "seq"], "b": ["N", "seq"]}, ["y"])
    assert shape_of(graph_io.load_graph(source, dims={"seq": 6}), "y") == (1, 12)
    assert shape_of(graph_io.load_graph(source, dims={"seq": 6, "b.1": 2, "N": 3}), "y") == (3, 8)


@pytest.mark.parametrize("wrong", [-1, True, "x", 1.5, None, 2**31, 10**30])
def test_value_of_a_dimension(wrong):
    with pytest.raises(ModelError, match=r"dimension 'seq' got .*; a dimension is a whole number from 0 to 2147483647"):
        graph_io.load_graph(tanh([1, "seq"]), dims={"seq": wrong})


def test_dimension_that_the_model_lacks():
    expected = "dimension 'sequence' is not in the model; its open dimensions are 'seq', 'x.1'"
    with pytest.raises(ModelError, match=re.escape(expected)):
        graph_io.load_graph(tanh([1, "seq"]), dims={"seq": 4, "sequence": 128})
    with pytest.raises(ModelError, match="none: every shape is fixed"):
        graph_io.load_graph(tanh([1, 4]), dims={"x.0": 2})


@pytest.mark.parametrize("number", [int, np.int64, np.uint8])
def test_dims_are_kept_as_plain_numbers(number):
    graph = graph_io.load_graph(tanh([1, "seq"]), dims={"seq": number(4)})
    assert json.dumps(graph.graph["dims"]) == '{"seq": 4}'
    assert type(shape_of(graph, "y")[1]) is int
    feeds = {"x": np.ones((1, 4), np.float32)}
    graph = graph_io.load_graph(tanh([1, "seq"]), dims={"seq": number(4)}, inputs=feeds)
    assert json.dumps(graph.graph["dims"]) == '{"seq": 4}'


@pytest.mark.parametrize("granularity", ["layer", "node"])
def test_an_initializer_that_is_an_output_keeps_its_shape(granularity):
    source = tanh([1, 4])
    source.graph.initializer.append(onnx.numpy_helper.from_array(np.ones((2, 3), np.float32), "c"))
    source.graph.output.append(value("c", [2, 3]))
    graph = graph_io.load_graph(source, granularity=granularity)
    assert graph.graph["constant_outputs"]["c"].shape == (2, 3)
    feeds = {"x": np.ones((1, 4), np.float32)}
    protos = [part.proto for part in graph_io.split(graph, [[layer] for layer in graph])]
    assert worst_error(run_parts(protos, feeds, ["y", "c"]), run_whole(source, feeds)) <= TOLERANCE


def test_stale_shapes_of_outputs_and_values_are_not_believed():
    source = tanh(["N", "seq"])
    source.graph.output[0].CopyFrom(value("y", [1, 3]))
    source.graph.output.append(value("a", [1, 3]))
    source.graph.value_info.append(value("a", [3, 3]))
    graph = graph_io.load_graph(source, dims={"N": 2, "seq": 9})
    assert [shape_of(graph, name) for name in "xay"] == [(2, 9)] * 3
    graph = graph_io.load_graph(source, dims={"N": 2, "seq": 9}, granularity="node")
    feeds = {"x": np.ones((2, 9), np.float32)}
    protos = [part.proto for part in graph_io.split(graph, [[layer] for layer in graph])]
    assert worst_error(run_parts(protos, feeds, ["y", "a"]), run_whole(source, feeds)) <= TOLERANCE


# -- where inference gives up -------------------------------------------------------------------------------------


def data_dependent():
    """A Reshape to a shape that is computed from data, and a NonZero: only a run tells their sizes."""
    nodes = [
        node("Tanh", "x", "a"),
        node("Mul", "a zero", "none"),
        node("ReduceSum", "none", "origin", keepdims=0),
        node("Cast", "origin", "offset", to=TensorProto.INT64),
        node("Add", "offset target", "shape"),
        node("Reshape", "a shape", "b"),
        node("Exp", "b", "positive"),
        node("NonZero", "positive", "where"),
        node("Cast", "where", "c", to=TensorProto.FLOAT),
        node("Neg", "c", "y"),
    ]
    return model(nodes, {"x": ("N", 6)}, ["y", "b"], {"zero": np.float32(0), "target": np.array([3, -1])})


@pytest.mark.parametrize("granularity", ["layer", "node"])
def test_run_tells_what_inference_cannot(granularity):
    source = data_dependent()
    inferred = onnx.shape_inference.infer_shapes(source, data_prop=True).graph.value_info
    (where,) = (info.type.tensor_type.shape.dim for info in inferred if info.name == "where")
    assert not where[1].HasField("dim_value")
    graph = graph_io.load_graph(source, dims={"N": 2}, granularity=granularity)
    assert shape_of(graph, "b") == (3, 4)
    assert shape_of(graph, "y") == (2, 12)
    feeds = inputs_of(source, dims={"N": 2})
    reference = run_whole(source, feeds)
    order = list(graph)
    for index in range(1, len(order)):
        parts = graph_io.split(graph, [order[:index], order[index:]])
        got = run_parts([part.proto for part in parts], feeds, ["y", "b"])
        assert worst_error(got, reference) <= TOLERANCE


def test_run_with_unread_output_before_a_needed_one():
    nodes = [
        node("Cast", "x", "flat_shape", to=TensorProto.INT64),
        node("Mul", "flat_shape zero", "origin"),
        node("Add", "origin target", "shape"),
        node("Reshape", "x shape", "b"),
        node("TopK", "b k", "unread order", axis=1),
        node("Cast", "order", "y", to=TensorProto.FLOAT),
    ]
    weights = {"zero": np.array(0), "target": np.array([1, 2]), "k": np.array([2])}
    graph = graph_io.load_graph(model(nodes, {"x": (2,)}, ["y"], weights), granularity="node")
    order = graph.graph["tensors"]["order"]
    assert (order.dtype, order.shape) == ("int64", (1, 2))


def test_run_does_not_fix_what_depends_on_data():
    """The planned sizes come from one run; the parts take whatever size another input leads to."""
    nodes = [
        node("Tanh", "x", "a"),
        node("Expand", "a shape", "b"),
        node("Exp", "b", "c"),
        node("Neg", "c", "y"),
    ]
    inputs = [value("x", [1, 1]), value("shape", [2], TensorProto.INT64)]
    source = model(nodes, inputs, [value("y", ["rows", "columns"])])
    graph = graph_io.load_graph(source, granularity="node")
    protos = [part.proto for part in graph_io.split(graph, [[layer] for layer in graph])]
    feeds = {"x": np.ones((1, 1), np.float32), "shape": np.array([7, 9])}
    assert worst_error(run_parts(protos, feeds, ["y"]), run_whole(source, feeds)) <= TOLERANCE


def test_run_keeps_the_type_of_the_model():
    """This processor has no half precision, so the runtime computes in single precision between casts of its own."""
    nodes = [
        node("Cast", "x", "half", to=TensorProto.FLOAT16),
        node("Tanh", "half", "bent"),
        node("Expand", "bent shape", "b"),
        node("Mul", "b b", "c"),
        node("Cast", "c", "y", to=TensorProto.FLOAT),
    ]
    source = model(nodes, [value("x", [1, 1]), value("shape", [2], TensorProto.INT64)], ["y"])
    graph = graph_io.load_graph(source, granularity="node")
    assert {name: graph.graph["tensors"][name].dtype for name in "bc"} == {"b": "float16", "c": "float16"}
    feeds = {"x": np.ones((1, 1), np.float32), "shape": np.array([2, 2])}
    protos = [part.proto for part in graph_io.split(graph, [[layer] for layer in graph])]
    assert worst_error(run_parts(protos, feeds, ["y"]), run_whole(source, feeds)) <= 1e-2


def test_run_sees_through_operators_that_the_runtime_expands():
    nodes = [
        node("Tanh", "x", "a"),
        node("Expand", "a shape", "b"),
        node("CastLike", "b a", "c"),
        node("Neg", "c", "y"),
    ]
    source = model(nodes, [value("x", [1, 1]), value("shape", [2], TensorProto.INT64)], ["y"])
    assert len(shape_of(graph_io.load_graph(source), "y")) == 2


# -- parts of a model with open dimensions ------------------------------------------------------------------------


@pytest.mark.parametrize("granularity", ["layer", "node"])
def test_parts_take_another_length_than_the_planned_one(granularity):
    source = transformer_block(sequence="seq")
    graph = graph_io.load_graph(source, dims={"seq": 12}, granularity=granularity)
    for cut in graph_io.single_tensor_cuts(graph)[1:-1]:
        head = graph_io.head_of_cut(graph, [cut])
        groups = [[layer for layer in graph if (layer in head) == side] for side in (True, False)]
        protos = [part.proto for part in graph_io.split(graph, groups)]
        for length in (12, 5, 30):
            feeds = inputs_of(source, dims={"seq": length})
            reference = run_whole(source, feeds)
            assert worst_error(run_parts(protos, feeds, ["y"]), reference) <= TOLERANCE


def test_parts_take_another_batch():
    source = tanh(["N", 4])
    graph = graph_io.load_graph(source, granularity="node")
    parts = graph_io.split(graph, [[layer] for layer in graph])
    dims = [dim.dim_param or dim.dim_value for dim in parts[1].proto.graph.input[0].type.tensor_type.shape.dim]
    assert dims == ["N", 4]
    feeds = {"x": np.ones((3, 4), np.float32)}
    assert run_parts([part.proto for part in parts], feeds, ["y"])["y"].shape == (3, 4)


def test_parts_of_a_fixed_model_declare_fixed_shapes():
    graph = graph_io.load_graph(tanh([2, 4]), granularity="node")
    head, _ = graph_io.split(graph, [[layer] for layer in graph])
    (output,) = head.proto.graph.output
    assert [dim.dim_value for dim in output.type.tensor_type.shape.dim] == [2, 4]
