"""Parts between several cuts: of any model, in an order that runs, computing the whole."""

import numpy as np
import pytest

import graph_io
from graph_io import ModelError
from tests.graph_io.hard_models import HARD_MODELS
from tests.graph_io.running import TOLERANCE, inputs_of, run_parts, run_whole, worst_error
from tests.models import model, node, random_model, relu_chain
from tests.scale import scaled


def test_a_chain_is_cut_where_it_is_asked_to():
    graph = graph_io.load_graph(relu_chain(6), granularity="node")
    parts = (("n0", "n1"), ("n2",), ("n3", "n4", "n5"))
    assert graph_io.refine(graph, [["t1"], ["t2"]]) == parts
    assert graph_io.refine(graph, [["t2"], ["t1"], ["t2"]]) == parts, "neither order nor repetition matters"
    assert graph_io.refine(graph, [["x"], ["y"]]) == (tuple(graph),), "nothing lies in front of the inputs"
    assert graph_io.refine(graph, []) == (tuple(graph),)


def test_cuts_that_cross_one_another():
    nodes = [
        node("Tanh", "x", "a", "first"),
        *(node("Exp", "a", "l1", "left1"), node("Neg", "l1", "l2", "left2")),
        *(node("Sin", "a", "r1", "right1"), node("Cos", "r1", "r2", "right2")),
        node("Add", "l2 r2", "y", "last"),
    ]
    graph = graph_io.load_graph(model(nodes, {"x": (2, 3)}, ["y"]), granularity="node")
    # One is later on the left branch, the other on the right.
    assert graph_io.refine(graph, [["l2", "a"], ["a", "r2"]]) == (
        ("first",),
        ("left1", "left2"),
        ("right1", "right2"),
        ("last",),
    )


def test_a_cut_that_is_not_legal_is_named():
    graph = graph_io.load_graph(relu_chain(4), granularity="node")
    with pytest.raises(ModelError, match="tensor 't1' is downstream of 't0'"):
        graph_io.refine(graph, [["t2"], ["t0", "t1"]])
    with pytest.raises(ModelError, match="'nowhere' is not in the model"):
        graph_io.refine(graph, [["nowhere"]])


def crossing(graph, head):
    """Return what crosses from a head to the rest, and outputs in it: a legal cut."""
    tensors = graph.graph["tensors"].values()
    return [
        tensor.name
        for tensor in tensors
        if (tensor.producer is None or tensor.producer in head)
        and (not head.issuperset(tensor.consumers) or tensor.name in graph.graph["outputs"])
    ]


def random_cuts(graph, generator, number):
    """Draw ancestor-closed heads, and return the cuts behind them that are legal."""
    cuts = []
    order = list(graph)
    for _ in range(number):
        head = set()
        for layer in generator.choice(order, size=generator.integers(1, 4)):
            pending = [str(layer)]
            while pending:
                one = pending.pop()
                if one not in head:
                    head.add(one)
                    pending.extend(graph.predecessors(one))
        cut = crossing(graph, head)
        try:
            graph_io.head_of_cut(graph, cut)
        except ModelError:  # such a head may leave an output behind that nothing in it leads to
            continue
        cuts.append(cut)
    return cuts


def check_refinement(source, seed):
    generator = np.random.default_rng(seed)
    graph = graph_io.load_graph(source, granularity="node")
    cuts = [[name] for name in graph_io.single_tensor_cuts(graph)] + random_cuts(graph, generator, 4)
    chosen = [cuts[index] for index in generator.permutation(len(cuts))[: generator.integers(1, 5)]]
    parts = graph_io.refine(graph, chosen)
    assert sorted(layer for part in parts for layer in part) == sorted(graph)
    heads = [graph_io.head_of_cut(graph, cut) for cut in chosen]
    for part in parts:
        assert all(head.issuperset(part) or head.isdisjoint(part) for head in heads)
    feeds = inputs_of(source)
    reference = run_whole(source, feeds)
    protos = [part.proto for part in graph_io.split(graph, parts)]
    assert worst_error(run_parts(protos, feeds, list(reference)), reference) <= TOLERANCE
    return len(parts)


@pytest.mark.parametrize("name", HARD_MODELS)
def test_refinements_of_hard_models_compute_the_whole(name):
    source = HARD_MODELS[name]()
    for seed in range(scaled(2, 20)):
        check_refinement(source, seed)


def test_refinements_of_random_models_compute_the_whole():
    numbers = [check_refinement(random_model(seed), seed) for seed in range(scaled(40, 400))]
    assert max(numbers) >= 4
