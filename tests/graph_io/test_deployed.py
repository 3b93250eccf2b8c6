"""Every kernel of a real profile belongs to layers, and every layer has a kernel."""

import json

import onnxruntime
import pytest

import graph_io
from graph_io.dataflow import node_bodies
from tests.graph_io.hard_models import HARD_MODELS
from tests.graph_io.running import inputs_of
from tests.models import transformer_block


def profiled_kernels(proto, folder):
    """Run a model as deployed, with the profiler on, and return the names of the nodes that ran."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    options.enable_profiling = True
    options.profile_file_prefix = str(folder / "profile")
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    session.run(None, inputs_of(proto))
    with open(session.end_profiling(), encoding="utf-8") as file:
        events = json.load(file)
    ending = "_kernel_time"
    return {event["name"].removesuffix(ending) for event in events if event["name"].endswith(ending)}


def names_in_bodies(nodes):
    for entry in nodes:
        for body in node_bodies(entry):
            yield from (inner.name for inner in body.node)
            yield from names_in_bodies(body.node)


def check(graph, folder):
    mapping = graph_io.deployed_kernels(graph)
    proto = graph.graph["model"].proto
    ran = profiled_kernels(proto, folder)
    assert ran
    # The profiler reports the nodes inside a body too; their time is part of the node that holds it.
    inside = set(names_in_bodies(proto.graph.node))
    assert not inside & set(mapping)
    ran -= inside
    assert ran <= set(mapping)
    position = {layer: index for index, layer in enumerate(graph)}
    for layers in mapping.values():
        assert layers
        assert list(layers) == sorted(set(layers), key=position.__getitem__)
    return {layer for name in ran for layer in mapping[name]}


@pytest.mark.parametrize("granularity", ["layer", "node"])
@pytest.mark.parametrize("name", ["squeezenet", "inception_v1", "inception_v2", "shufflenet", "resnet50"])
def test_light_models(name, granularity, light_graph, tmp_path):
    graph = light_graph(name, granularity)
    assert check(graph, tmp_path) == set(graph)


@pytest.mark.parametrize("granularity", ["layer", "node"])
def test_transformer(granularity, tmp_path):
    graph = graph_io.load_graph(transformer_block(width=64), granularity=granularity)
    assert check(graph, tmp_path) == set(graph)


@pytest.mark.parametrize("name", HARD_MODELS)
def test_hard_models(name, tmp_path):
    graph = graph_io.load_graph(HARD_MODELS[name]())
    # A layer whose work the runtime removes altogether (an identity) has no kernel.
    check(graph, tmp_path)
