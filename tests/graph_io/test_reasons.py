"""Why a tensor can or cannot be cut at: checked against the legal cuts themselves, and case by case."""

import numpy as np
import pytest
from onnx import TensorProto, helper

from graph_io import CutReason, ModelError, cut_reasons, head_of_cut, load_graph, single_tensor_cuts
from graph_io.dataflow import dataflow
from tests.graph_io.hard_models import HARD_MODELS
from tests.models import model, node, random_model, relu_chain, transformer_block, value
from tests.scale import scaled


def check(graph):
    reasons = cut_reasons(graph)
    alone = {name for name, reason in reasons.items() if reason.place == "alone"}
    assert alone == set(single_tensor_cuts(graph))
    tensors = graph.graph["tensors"]
    assert {name for name, reason in reasons.items() if reason.crosses} <= set(tensors)
    for name, reason in reasons.items():
        if reason.place in ("alone", "together"):
            assert len(set(reason.beside) | {name}) == len(reason.beside) + 1
            assert len(reason.beside) == min(reason.n_beside, 8)
            if reason.n_beside == len(reason.beside):
                head_of_cut(graph, [name, *reason.beside])
                assert reason.cut_bytes == sum(tensors[one].size_bytes for one in (name, *reason.beside))
        elif name not in tensors:
            with pytest.raises(ModelError):
                head_of_cut(graph, [name])
    # Every tensor of the model has a reason.
    flow = dataflow(graph.graph["model"].proto)
    assert {*flow.inputs, *flow.producer, *flow.constant_producer} <= set(reasons)
    return reasons


@pytest.mark.parametrize("granularity", ["layer", "node"])
@pytest.mark.parametrize("name", HARD_MODELS)
def test_hard_models(name, granularity):
    check(load_graph(HARD_MODELS[name](), granularity=granularity))


def test_random_graphs():
    for seed in range(scaled(25, 500)):
        check(load_graph(random_model(seed), granularity="node"))


def test_transformer():
    reasons = check(load_graph(transformer_block()))
    assert reasons["b0_wide_erf"].place == "inside layer"
    assert reasons["b0_norm1"] == CutReason("alone", cut_bytes=12 * 32 * 4)


def test_smallest_cut_around_a_tensor():
    # a stays open from the first node to the last; between b and c the cut around it has two tensors, before it three.
    nodes = [
        node("Tanh", "x", "a", "A"),
        node("Split", "x", "p q", "P", axis=1),
        node("Mul", "p q", "b", "B"),
        node("Neg", "b", "c", "C"),
        node("Concat", "a c", "y", "Y", axis=1),
    ]
    graph = load_graph(model(nodes, {"x": (1, 4)}, ["y"]), granularity="node")
    reasons = check(graph)
    assert reasons["x"].place == reasons["y"].place == "alone"
    assert reasons["p"] == CutReason("together", ("a", "q"), 2, 32)
    # Of two cuts with as many tensors the one of fewer bytes, then the earlier: here x is still open beside a.
    assert reasons["a"].beside == ("b",)
    assert reasons["a"].cut_bytes == 16 + 8


def test_wide_cuts_are_cut_short():
    nodes = [*(node("Tanh", "x", f"t{index}") for index in range(12))]
    nodes.append(node("Sum", " ".join(f"t{index}" for index in range(12)), "y"))
    reason = check(load_graph(model(nodes, {"x": (1, 4)}, ["y"]), granularity="node"))["t11"]
    assert reason.n_beside == 11
    assert reason.beside == tuple(f"t{index}" for index in range(8))
    assert reason.cut_bytes == 12 * 16


def test_constants_draws_and_unread_outputs():
    nodes = [
        node("Neg", "w", "negative"),
        node("RandomNormal", "", "noise", "Noise", shape=[1, 4]),
        node("TopK", "x k", "top order", "Top", axis=1),
        node("Add", "top noise", "sum"),
        node("Mul", "sum negative", "y"),
    ]
    nodes[1].ClearField("input")
    weights = {"w": np.ones((1, 4), np.float32), "k": np.array([4])}
    source = model(nodes, [value("x", (1, 4)), value("spare", (1, 2))], ["y"], weights)
    reasons = check(load_graph(source, granularity="node"))
    assert {reasons[name].place for name in ("w", "k", "negative")} == {"constant"}
    assert reasons["noise"] == CutReason("drawn")
    assert reasons["order"] == CutReason("unread", inside="Top")
    assert reasons["spare"] == CutReason("unread")


def test_bodies():
    then_branch = helper.make_graph([node("Neg", "t", "then_y")], "then", [], [value("then_y", (1, 4))])
    else_branch = helper.make_graph(
        [node("Abs", "t", "inner"), node("Tanh", "inner", "else_y")], "else", [], [value("else_y", (1, 4))]
    )
    nodes = [
        node("Tanh", "x", "t"),
        node("If", "flag", "y", "Choice", then_branch=then_branch, else_branch=else_branch),
    ]
    inputs = [value("x", (1, 4)), value("flag", (), TensorProto.BOOL)]
    graph = load_graph(model(nodes, inputs, ["y"]))
    reasons = check(graph)
    assert {name for name, reason in reasons.items() if reason.place == "inside body"} == {"then_y", "inner", "else_y"}
    assert reasons["inner"].inside == "Choice"
    with pytest.raises(ModelError, match="cut: tensor 'inner' lies in a body of the node 'Choice', which runs as one"):
        head_of_cut(graph, ["inner"])
    assert reasons["t"] == CutReason("together", ("flag",), 1, 17)


def test_long_chain_is_quick():
    reasons = check(load_graph(relu_chain(scaled(300, 3000)), granularity="node"))
    assert all(reason.place == "alone" for reason in reasons.values())
