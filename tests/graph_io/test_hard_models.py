"""Every way that we know to trip a splitter, at every prefix of the layers and with every layer a part of its own."""

import pytest

import graph_io
from tests.graph_io.hard_models import HARD_MODELS
from tests.graph_io.running import TOLERANCE, inputs_of, run_parts, run_whole, worst_error


def prefix_splits(graph):
    """Yield all two-part splits along the topological order, and the finest split."""
    order = list(graph.nodes)
    yield from ((order[:index], order[index:]) for index in range(1, len(order)))
    yield [[layer] for layer in order]


@pytest.mark.parametrize("granularity", ["layer", "node"])
@pytest.mark.parametrize("name", HARD_MODELS)
def test_every_split_computes_the_whole(name, granularity):
    source = HARD_MODELS[name]()
    before = source.SerializeToString()
    feeds = inputs_of(source)
    reference = run_whole(source, feeds)
    graph = graph_io.load_graph(source, granularity=granularity)
    assert source.SerializeToString() == before, "the given model was changed"
    for parts in prefix_splits(graph):
        protos = [part.proto for part in graph_io.split(graph, parts)]
        got = run_parts(protos, feeds, list(reference))
        assert worst_error(got, reference) <= TOLERANCE, parts
