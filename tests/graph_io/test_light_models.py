"""The light models cut for real: head and tail in the runtime compute what the whole computes, at every kind of cut."""

from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import pytest

import graph_io
from graph_io import ModelError
from tests.conftest import LARGE_MODELS
from tests.graph_io.running import (
    TOLERANCE,
    computes_the_same,
    identical,
    inputs_of,
    run_parts,
    run_whole,
    session,
    worst_error,
)
from tests.scale import FULL, scaled

CUT_EVERYWHERE = ("resnet50", "inception_v1", "squeezenet")
CUT_AT_RANDOM = ("inception_v1", "inception_v2")


def proto_of(graph):
    return graph.graph["model"].proto


@pytest.fixture(scope="module")
def reference(light_graph):
    @cache
    def build(name):
        proto = proto_of(light_graph(name))
        feeds = inputs_of(proto)
        return feeds, run_whole(proto, feeds)

    return build


def change_with_input(proto):
    """Return how far the output moves, relative to its largest value, when the input is another draw."""
    runtime = session(proto)
    first, second = (runtime.run(None, inputs_of(proto, seed=seed))[0] for seed in (1, 2))
    return float(np.max(np.abs(first - second)) / np.max(np.abs(first)))


# -- the models themselves ----------------------------------------------------------------------------------------


# That of the large ones is checked where each is built anyway: tests/partition/test_end_to_end.py.
@pytest.mark.parametrize("name", [name for name in graph_io.LIGHT_MODELS if FULL or name not in LARGE_MODELS])
def test_output_depends_on_the_input(name, light_graph):
    proto = graph_io.light_model(name) if name in LARGE_MODELS else proto_of(light_graph(name))
    assert change_with_input(proto) > 1e-4


def test_shipped_weights_would_hide_any_mistake():
    path = Path(onnx.__file__).parent / "backend/test/data/light/light_squeezenet.onnx"
    assert change_with_input(onnx.load(path)) == 0.0


def test_same_seed_same_weights():
    first, again, other = (graph_io.light_model("shufflenet", seed=seed).SerializeToString() for seed in (3, 3, 4))
    assert first == again
    assert first != other


def test_unknown_light_model():
    with pytest.raises(ModelError, match=r"'resnet' does not exist; the names are .*resnet50"):
        graph_io.light_model("resnet")


# -- the comparison must be able to fail --------------------------------------------------------------------------


def two_parts(graph, cut):
    head = graph_io.head_of_cut(graph, cut)
    return [[layer for layer in graph if layer in head], [layer for layer in graph if layer not in head]]


def test_swapped_tensors_are_caught(light_graph, reference):
    graph = light_graph("inception_v1")
    feeds, expected = reference("inception_v1")
    first, second = same_shape_pair(graph)
    cut = [first, second, *open_beside(graph, first, second)]
    head, tail = (part.proto for part in graph_io.split(graph, two_parts(graph, cut)))
    assert {first, second} <= {value.name for value in head.graph.output}
    assert computes_the_same([head, tail], feeds, expected)
    other = {first: second, second: first}
    for node in tail.graph.node:
        node.input[:] = [other.get(name, name) for name in node.input]
    assert not computes_the_same([head, tail], feeds, expected)


def same_shape_pair(graph):
    """Find two tensors of one shape that are read by the same joining layer."""
    tensors = graph.graph["tensors"]
    for _, data in graph.nodes(data=True):
        names = data["layer"].inputs
        for first, second in pairwise(names):
            produced = tensors[first].producer and tensors[second].producer
            if produced and tensors[first].shape == tensors[second].shape:
                return first, second
    raise AssertionError("no layer joins two tensors of one shape")


def open_beside(graph, *chosen):
    """Return the other inputs of the layer that joins the chosen tensors."""
    (reader,) = graph.graph["tensors"][chosen[0]].consumers
    return [name for name in graph.nodes[reader]["layer"].inputs if name not in chosen]


@pytest.mark.parametrize("wrong", [0, 1])
def test_weights_of_another_seed_are_caught(wrong, light_graph, reference):
    graph = light_graph("squeezenet")
    stranger = graph_io.load_graph(graph_io.light_model("squeezenet", seed=1))
    feeds, expected = reference("squeezenet")
    parts = two_parts(graph, [graph_io.single_tensor_cuts(graph)[6]])
    protos = [part.proto for part in graph_io.split(graph, parts)]
    assert computes_the_same(protos, feeds, expected)
    protos[wrong] = graph_io.split(stranger, parts)[wrong].proto
    assert not computes_the_same(protos, feeds, expected)


def test_wrong_shape_or_type_is_caught():
    expected = {"y": np.zeros((2, 3), np.float32)}
    assert worst_error({"y": np.zeros((3, 2), np.float32)}, expected) == float("inf")
    assert worst_error({"y": np.zeros((2, 3), np.float64)}, expected) == float("inf")
    assert worst_error({"y": np.full((2, 3), np.nan, np.float32)}, expected) == float("inf")


# -- cuts ---------------------------------------------------------------------------------------------------------


def check_cuts(name, graph, heads, feeds, expected):
    """Run head and tail for each cut, a tuple of tensors and the layers before it; print how well they agree."""
    same_bits, worst = 0, 0.0
    for cut, head in heads.items():
        groups = [[layer for layer in graph if (layer in head) == side] for side in (True, False)]
        parts = graph_io.split(graph, [layers for layers in groups if layers])
        if len(parts) == 2:
            assert set(parts[0].outputs) >= set(cut) - set(feeds), cut
            assert set(parts[1].inputs) == set(cut), cut
        got = run_parts([part.proto for part in parts], feeds, list(expected))
        same_bits += identical(got, expected)
        error = worst_error(got, expected)
        assert error <= TOLERANCE, (cut, error)
        worst = max(worst, error)
    print(f"{name}: {len(heads)} cuts, {same_bits} identical in every bit, worst relative error {worst:.2g}")


@pytest.mark.parametrize("name", CUT_EVERYWHERE)
def test_every_single_tensor_cut(name, light_graph, reference):
    graph = light_graph(name)
    cuts = graph_io.single_tensor_cuts(graph)
    assert cuts[0] in graph.graph["inputs"]
    assert cuts[-1] in graph.graph["outputs"]
    # Its sixteen blocks are of one kind, with two cuts between each and the next: every third cut meets both.
    step = scaled(3, 1) if name == "resnet50" else 1
    heads = {(cut,): graph_io.head_of_cut(graph, [cut]) for cut in (*cuts[:-1:step], cuts[-1])}
    check_cuts(name, graph, heads, *reference(name))


def random_cuts(graph, count, *, smallest=2, largest=6, seed=0):
    """Draw down-sets of the layers that 2 to 6 tensors leave: tuples of tensors, all distinct, to the down-set."""
    generator = np.random.default_rng(seed)
    tensors = graph.graph["tensors"].values()
    found = {}
    while len(found) < count:
        head = set()
        ready = [layer for layer in graph if graph.in_degree(layer) == 0]
        for _ in range(generator.integers(1, len(graph))):
            layer = ready.pop(int(generator.integers(len(ready))))
            head.add(layer)
            ready += [after for after in graph.successors(layer) if set(graph.predecessors(after)) <= head]
        crossing = tuple(
            tensor.name
            for tensor in tensors
            if (tensor.producer is None or tensor.producer in head) and set(tensor.consumers) - head
        )
        if smallest <= len(crossing) <= largest:
            found.setdefault(crossing, frozenset(head))
    return found


@pytest.mark.parametrize("name", CUT_AT_RANDOM)
def test_random_cuts_of_several_tensors(name, light_graph, reference):
    graph = light_graph(name)
    heads = random_cuts(graph, scaled(15, 50))
    assert len({len(cut) for cut in heads}) >= 3
    check_cuts(name, graph, heads, *reference(name))


def random_stages(graph, n_stages, seed):
    """Draw a stage for each layer, never before those of the layers it reads from: sides alternate freely."""
    generator = np.random.default_rng(seed)
    while True:
        stage = {}
        for layer in graph:
            earliest = max((stage[before] for before in graph.predecessors(layer)), default=0)
            stage[layer] = min(n_stages - 1, earliest + int(generator.random() < 0.06))
        if len(set(stage.values())) == n_stages:
            return [[layer for layer in graph if stage[layer] == number] for number in range(n_stages)]


@pytest.mark.parametrize("seed", range(scaled(6, 30)))
def test_three_stages_back_and_forth(seed, light_graph, reference):
    graph = light_graph("inception_v1")
    feeds, expected = reference("inception_v1")
    groups = random_stages(graph, 3, seed)
    # Layers in any order within a part: the splitter sorts them.
    parts = graph_io.split(graph, [groups[0][::-1], *groups[1:]])
    assert [part.layers for part in parts] == [tuple(group) for group in groups]
    assert worst_error(run_parts([part.proto for part in parts], feeds, list(expected)), expected) <= TOLERANCE


def test_parts_share_no_weight_unless_both_read_it(light_graph):
    graph = light_graph("inception_v1")
    parts = graph_io.split(graph, two_parts(graph, [graph_io.single_tensor_cuts(graph)[5]]))
    weights = [{tensor.name for tensor in part.proto.graph.initializer} for part in parts]
    for part, names in zip(parts, weights, strict=True):
        read = {name for node in part.proto.graph.node for name in node.input}
        assert names <= read
    assert weights[0] | weights[1] == {tensor.name for tensor in proto_of(graph).graph.initializer}
