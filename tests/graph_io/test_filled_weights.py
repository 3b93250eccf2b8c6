"""Weights that ConstantOfShape fills in, as in the light models that onnx ships, give the layers of any others."""

from pathlib import Path

import numpy as np
import onnx.backend.test
import pytest
from onnx import TensorProto, helper

import graph_io
from tests.models import model, node
from tests.scale import FULL

SHIPPED = Path(onnx.backend.test.__file__).parent / "data" / "light"
NAMES = graph_io.LIGHT_MODELS if FULL else ("densenet121", "resnet50", "shufflenet")


@pytest.mark.parametrize("name", NAMES)
def test_layers_are_those_of_stored_weights(name):
    filled = graph_io.load_graph(SHIPPED / f"light_{name}.onnx")
    stored = graph_io.load_graph(graph_io.light_model(name))
    facts = [
        [(one.op_types, one.inputs, one.outputs, one.flops, one.weight_bytes) for _, one in graph.nodes(data="layer")]
        for graph in (filled, stored)
    ]
    assert facts[0] == facts[1]


@pytest.mark.parametrize("kind", [TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL, None])
def test_a_large_filled_tensor_that_is_used_otherwise(kind):
    """An output, a typed filling, and one whose shape is computed are left to the runtime or typed as they are."""
    filling = {} if kind is None else {"value": helper.make_tensor("value", kind, [1], [1])}
    nodes = [
        node("ConstantOfShape", "shape", "filled", **filling),
        node("ConstantOfShape", "shape", "put_out"),
        node("Add", "shape one", "computed"),
        node("ConstantOfShape", "computed", "other"),
        node("Cast", "filled", "float", to=TensorProto.FLOAT),
        node("Add", "x float", "a"),
        node("Add", "a put_out", "b"),
        node("ReduceSum", "other", "total", keepdims=0),
        node("Add", "b total", "y"),
    ]
    weights = {"shape": np.array([64, 64]), "one": np.array([1, 1])}
    graph = graph_io.load_graph(model(nodes, {"x": (64, 64)}, ["y", "put_out"], weights))
    assert graph.graph["tensors"]["y"].shape == (64, 64)
    assert set(graph.graph["constant_outputs"]) == {"put_out"}


def test_more_than_any_file_holds_is_refused():
    shape = np.array([1 << 31, 1 << 31, 1], dtype=np.int64)
    nodes = [node("ConstantOfShape", "shape", "filled"), node("Add", "x filled", "y")]
    proto = model(nodes, {"x": (1,)}, ["y"], {"shape": shape})
    with pytest.raises(graph_io.ModelError, match="more than any file holds"):
        graph_io.load_graph(proto)
