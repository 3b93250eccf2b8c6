"""Every kernel of a real profile belongs to layers, and every layer has a kernel."""

import json

import numpy as np
import onnx
import onnxruntime
import pytest

import graph_io
from graph_io import deployed
from graph_io.dataflow import node_bodies
from tests.graph_io.hard_models import HARD_MODELS
from tests.graph_io.running import inputs_of
from tests.models import model, node, relu_chain, transformer_block


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


def optimized(monkeypatch, *nodes):
    """Have the runtime's optimised graph be these nodes."""
    monkeypatch.setattr(deployed, "optimized_graph", lambda model, *, level: onnx.GraphProto(node=nodes))


def test_a_reorder_belongs_to_all_who_read_it(monkeypatch):
    proto = model(
        [
            node("Tanh", "x", "t", "t"),
            node("Sin", "t", "a", "a"),
            node("Cos", "t", "b", "b"),
            node("Abs", "t", "c", "c"),
        ],
        {"x": (1, 4)},
        ["a", "b", "c"],
    )
    graph = graph_io.load_graph(proto, granularity="node")
    optimized(
        monkeypatch,
        node("Tanh", "x", "t", "t"),
        node("ReorderInput", "t", "blocked", "enter"),
        node("Sin", "blocked", "a_blocked", "a_nchwc"),
        node("ReorderOutput", "a_blocked", "a", "leave"),
        node("Cos", "blocked", "b", "b"),
        node("Abs", "t", "c", "c"),
    )
    assert graph_io.deployed_kernels(graph) == {
        "t": ("t",),
        "enter": ("a", "b"),
        "a_nchwc": ("a",),
        "leave": ("a",),
        "b": ("b",),
        "c": ("c",),
    }


def test_reorders_in_a_row_are_passed_over(monkeypatch):
    graph = graph_io.load_graph(relu_chain(3), granularity="node")
    optimized(
        monkeypatch,
        node("ReorderInput", "x", "x1", "r0"),
        node("ReorderInput", "x1", "x2", "r1"),
        node("Tanh", "x2", "t0_blocked", "t0_nchwc"),
        node("ReorderOutput", "t0_blocked", "t0", "r2"),
        node("ReorderInput", "t0", "t0_again", "r3"),
        node("Tanh", "t0_again", "t1_blocked", "t1_nchwc"),
        node("ReorderOutput", "t1_blocked", "t1", "r4"),
        node("Tanh", "t1", "y_plain", "y_nchwc"),
        node("ReorderInput", "y_plain", "y_blocked", "r5"),
        node("ReorderOutput", "y_blocked", "y", "r6"),
    )
    assert graph_io.deployed_kernels(graph) == {
        "r0": ("n0",),
        "r1": ("n0",),
        "t0_nchwc": ("n0",),
        "r2": ("n0",),
        "r3": ("n1",),
        "t1_nchwc": ("n1",),
        "r4": ("n1",),
        "y_nchwc": ("n2",),
        "r5": ("n2",),
        "r6": ("n2",),
    }


def test_the_runtimes_own_reorder_for_two_convolutions():
    weights = {name: np.random.default_rng(0).standard_normal((16, 16, 3, 3)).astype(np.float32) for name in ("v", "w")}
    proto = model(
        [
            node("Tanh", "x", "t", "t"),
            node("Conv", "t v", "a", "a", pads=[1, 1, 1, 1]),
            node("Conv", "t w", "b", "b", pads=[1, 1, 1, 1]),
        ],
        {"x": (1, 16, 8, 8)},
        ["a", "b"],
        weights,
    )
    mapping = graph_io.deployed_kernels(graph_io.load_graph(proto))
    if "ReorderInput" not in mapping:
        pytest.skip("the runtime does not change layouts on this processor")
    assert mapping["ReorderInput"] == ("a", "b")


def test_nodes_without_a_name_go_together(monkeypatch):
    graph = graph_io.load_graph(relu_chain(3), granularity="node")
    optimized(monkeypatch, node("Tanh", "x", "t0", "n0"), node("Tanh", "t0", "t1"), node("Tanh", "t1", "y"))
    kernels = graph_io.deployed_kernels(graph)
    assert kernels == {"n0": ("n0",), graph_io.unnamed_kernel("Tanh"): ("n1", "n2")}
