"""Weights that the bodies of control flow hold count where the node that holds them runs."""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

import graph_io
from partition import partition
from tests.models import model, node, value

WEIGHTS = np.ones((64, 64), np.float32)
SIZE = WEIGHTS.nbytes


def branch(name, *, inner=(), prefix=""):
    """A body with an initializer, a Constant node and what else is given; two beside each other use the same names."""
    held, weights = f"{prefix}held", f"{prefix}w"
    nodes = [
        node("Constant", "", held, value=numpy_helper.from_array(WEIGHTS[0], "any")),
        node("MatMul", f"a {weights}", f"{name}_p", f"{name}_product"),
        *inner,
        node("Add", f"{name}_p {held}", f"{name}_y", f"{name}_sum"),
    ]
    initializers = [numpy_helper.from_array(WEIGHTS, weights)]
    return helper.make_graph(nodes, name, [], [value(f"{name}_y", None)], initializers)


def chosen(then, other):
    return helper.make_node("If", ["c"], ["r"], "choice", then_branch=then, else_branch=other)


def whole(then, other):
    nodes = [
        node("Tanh", "x", "a"),
        node("ReduceSum", "a", "t", keepdims=0),
        node("Cast", "t", "c", to=TensorProto.BOOL),
        chosen(then, other),
        node("MatMul", "r v", "y"),
    ]
    return model(nodes, {"x": (2, 64)}, ["y"], {"v": WEIGHTS})


@pytest.mark.parametrize("granularity", ["layer", "node"])
def test_both_branches_count(granularity):
    graph = graph_io.load_graph(whole(branch("then"), branch("else")), granularity=granularity)
    layer = next(data["layer"] for data in graph.nodes.values() if "If" in data["layer"].op_types)
    assert layer.weight_bytes == 2 * (SIZE + 64 * 4)
    places = [f"choice/{body}_branch/{name}" for body in ("then", "else") for name in ("w", "held")]
    assert sorted(layer.constants) == sorted(places)
    assert sum(graph.graph["constant_bytes"].values()) == 2 * (SIZE + 64 * 4) + SIZE
    assert layer.traffic_bytes >= layer.weight_bytes


def test_bodies_of_bodies_count():
    bodies = {f"{name}_branch": branch(f"deep_{name}", prefix="deep_") for name in ("then", "else")}
    deeper = helper.make_node("If", ["c"], ["unused"], "deeper", **bodies)
    graph = graph_io.load_graph(whole(branch("then", inner=[deeper]), branch("else")))
    layer = next(data["layer"] for data in graph.nodes.values() if "If" in data["layer"].op_types)
    assert layer.weight_bytes == 4 * (SIZE + 64 * 4)
    assert "choice/then_branch/deeper/else_branch/deep_w" in layer.constants


def test_a_part_needs_the_memory_of_its_bodies():
    plan = partition(whole(branch("then"), branch("else")), "wifi", cut=["r"], granularity="node")
    assert [part.weight_bytes for part in plan.parts] == [2 * (SIZE + 64 * 4), SIZE]
    assert plan.parts[0].memory_bytes > plan.parts[0].weight_bytes
    assert plan.verify(threads=1).ok
