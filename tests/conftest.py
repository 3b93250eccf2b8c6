"""Fixtures that several packages' tests share."""

import pytest

import graph_io

# The three with hundreds of megabytes of weights are built in the tests that need them and dropped there.
LARGE_MODELS = ("bvlc_alexnet", "vgg19", "zfnet512")


@pytest.fixture(scope="session")
def light_graph():
    """Layer graph of a light model by its name, built once a session; not for the large ones."""
    known = {}

    def build(name, granularity="layer"):
        assert name not in LARGE_MODELS
        if (name, granularity) not in known:
            source = next((graph.graph["model"] for key, graph in known.items() if key[0] == name), None)
            known[name, granularity] = graph_io.load_graph(
                source or graph_io.light_model(name), granularity=granularity
            )
        return known[name, granularity]

    return build
