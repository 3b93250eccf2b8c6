"""Legal cuts: the linear scan against brute force, heads of cuts, and refusals that name what is wrong."""

import re
from itertools import pairwise

import networkx as nx
import numpy as np
import pytest

import graph_io
from graph_io import ModelError
from tests.graph_io.hard_models import HARD_MODELS
from tests.graph_io.running import TOLERANCE, inputs_of, run_parts, run_whole, worst_error
from tests.models import model, node, random_model, relu_chain, transformer_block, value
from tests.scale import scaled


def cuts_by_enumeration(graph):
    """Take each tensor away in turn and look for a path from an input to an output."""
    paths = nx.DiGraph()
    for tensor in graph.graph["tensors"].values():
        paths.add_node(("tensor", tensor.name))
        if tensor.producer is not None:
            paths.add_edge(("layer", tensor.producer), ("tensor", tensor.name))
        paths.add_edges_from((("tensor", tensor.name), ("layer", reader)) for reader in tensor.consumers)
    ends = [[("tensor", name) for name in graph.graph[side]] for side in ("inputs", "outputs")]
    found = set()
    for tensor in graph.graph["tensors"]:
        rest = paths.copy()
        rest.remove_node(("tensor", tensor))
        starts, goals = ([end for end in side if end in rest] for side in ends)
        reached = set(starts).union(*(nx.descendants(rest, start) for start in starts))
        on_a_path = any(
            ("tensor", tensor) == start or nx.has_path(paths, start, ("tensor", tensor)) for start in ends[0]
        )
        if on_a_path and not reached & set(goals):
            found.add(tensor)
    return found


def check_against_enumeration(graph):
    cuts = graph_io.single_tensor_cuts(graph)
    assert len(cuts) == len(set(cuts))
    assert set(cuts) == cuts_by_enumeration(graph)
    heads = [graph_io.head_of_cut(graph, [cut]) for cut in cuts]
    assert all(before <= after for before, after in pairwise(heads)), "not from input to output"
    for name in set(graph.graph["tensors"]) - set(cuts):
        if name not in graph.graph["inputs"] or graph.graph["tensors"][name].consumers:
            with pytest.raises(ModelError, match=r"^cut: "):
                graph_io.head_of_cut(graph, [name])
    return cuts


@pytest.mark.parametrize("name", ["inception_v1", "inception_v2", "resnet50", "shufflenet", "squeezenet"])
@pytest.mark.parametrize("granularity", ["layer", "node"])
def test_real_topologies(name, granularity, light_graph):
    assert len(check_against_enumeration(light_graph(name, granularity))) > 10


def test_densenet(light_graph):
    cuts = graph_io.single_tensor_cuts(light_graph("densenet121"))
    assert set(cuts) == cuts_by_enumeration(light_graph("densenet121"))


@pytest.mark.parametrize("name", HARD_MODELS)
def test_hard_models(name):
    check_against_enumeration(graph_io.load_graph(HARD_MODELS[name](), granularity="node"))


def check_random_partitions(source, graph, seed):
    """Split in 1 to 5 layered parts, layers drawn into the earliest part that they can go to or a later one."""
    generator = np.random.default_rng(seed)
    feeds = inputs_of(source, seed=seed)
    reference = run_whole(source, feeds)
    for n_parts in (1, 2, 5):
        stage = {}
        for layer in graph:
            earliest = max((stage[before] for before in graph.predecessors(layer)), default=0)
            stage[layer] = int(generator.integers(earliest, n_parts))
        groups = [[layer for layer in graph if stage[layer] == number] for number in sorted(set(stage.values()))]
        parts = graph_io.split(graph, groups)
        got = run_parts([part.proto for part in parts], feeds, list(reference))
        assert worst_error(got, reference) <= TOLERANCE, groups


@pytest.mark.parametrize("first", range(0, scaled(200, 2000), 50))
def test_random_models(first):
    n_cuts = 0
    for seed in range(first, first + 50):
        source = random_model(seed, n_nodes=4 + seed % 17)
        graph = graph_io.load_graph(source, granularity=("layer", "node")[seed % 2])
        n_cuts += len(check_against_enumeration(graph))
        check_random_partitions(source, graph, seed)
    assert n_cuts > 25


def test_source_of_randomness_does_not_hide_a_cut():
    nodes = [
        node("RandomNormal", "", "r", shape=[2, 3]),
        node("Tanh", "x", "a"),
        node("Exp", "a", "b"),
        node("Add", "b r", "y"),
    ]
    graph = graph_io.load_graph(model(nodes, {"x": (2, 3)}, ["y"]), granularity="node")
    assert check_against_enumeration(graph) == ("x", "a", "b", "y")


# -- heads --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def diamond():
    nodes = [
        node("Tanh", "x", "a", "first"),
        node("Exp", "a", "b", "left"),
        node("Sin", "a", "c", "right"),
        node("Cos", "c", "d", "right2"),
        node("Add", "b d", "e", "join"),
        node("Tanh", "e", "y", "last"),
    ]
    return graph_io.load_graph(model(nodes, {"x": (2, 3)}, ["y"]), granularity="node")


@pytest.mark.parametrize(
    ("cut", "head"),
    [
        (["x"], set()),
        (["a"], {"first"}),
        (["b", "c"], {"first", "left", "right"}),
        (["d", "b"], {"first", "left", "right", "right2"}),
        (["e"], {"first", "left", "right", "right2", "join"}),
        (["y", "y"], {"first", "left", "right", "right2", "join", "last"}),
    ],
)
def test_head(diamond, cut, head):
    assert graph_io.head_of_cut(diamond, cut) == head


@pytest.mark.parametrize(
    ("cut", "message"),
    [
        ([], "the cut is empty; name at least one tensor"),
        (["nowhere"], "tensor 'nowhere' is not in the model; `dnn-partition inspect`"),
        (["a", "c", "b"], "tensor '[bc]' is downstream of 'a'"),
        (["e", "a"], "tensor 'e' is downstream of 'a'"),
        (["c", "d", "b"], "tensor 'd' is downstream of 'c'"),
        (["b"], re.escape("the path x -> a -> c -> d -> e -> y escapes it; add 'a' to the cut")),
        (["c"], re.escape("the path x -> a -> b -> e -> y escapes it")),
    ],
)
def test_illegal_cut(diamond, cut, message):
    with pytest.raises(ModelError, match=message) as caught:
        graph_io.head_of_cut(diamond, cut)
    assert "\n" not in str(caught.value)


def test_long_path_is_shortened():
    made = relu_chain(9)
    made.graph.node.append(node("Exp", "x", "beside"))
    made.graph.output.add(name="beside").CopyFrom(value("beside", None))
    with pytest.raises(ModelError, match=re.escape("the path x -> t0 -> t1 -> ... -> t7 -> y escapes it")):
        graph_io.head_of_cut(graph_io.load_graph(made, granularity="node"), ["beside"])


def test_tensor_inside_a_fusion():
    graph = graph_io.load_graph(transformer_block(blocks=1))
    with pytest.raises(ModelError, match=r"'b0_wide_erf' lies inside the layer 'Erf_25'.*cut at 'b0_gelu', or use"):
        graph_io.head_of_cut(graph, ["b0_wide_erf"])
    apart = graph_io.load_graph(transformer_block(blocks=1), granularity="node")
    with pytest.raises(ModelError, match="escapes"):
        graph_io.head_of_cut(apart, ["b0_wide_erf"])


def test_constants_are_no_cut():
    graph = graph_io.load_graph(HARD_MODELS["computed_constants_on_both_sides"](), granularity="node")
    for name in ("w", "filled", "scaled"):
        with pytest.raises(ModelError, match=f"'{name}' is not in the model|'{name}' is a constant"):
            graph_io.head_of_cut(graph, [name])


# -- partitions that cannot be ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([["n0"], [], ["n1", "n2"]], "part 1 holds no layer"),
        ([["n0"], ["n1", "n2", "other"]], "part 1: layer 'other' is not in the model"),
        ([["n0", "n1"], ["n1", "n2"]], "layer 'n1' is named twice: in part 0 and in part 1"),
        ([["n0"], ["n1"]], "layer 'n2' is in no part"),
        ([["n0", "n2"], ["n1"]], "part 0 reads tensor 't1' of the later part 1"),
        ([["n0", "n0", "n1"], ["n2"]], "layer 'n0' is named twice: in part 0 and in part 0"),
    ],
)
def test_illegal_partition(parts, message):
    with pytest.raises(ModelError, match=message):
        graph_io.split(graph_io.load_graph(relu_chain()), parts)
