"""Layers: a partition of the nodes that follows the runtime's fusions, and features that agree with hand counts."""

from collections import Counter

import networkx as nx
import numpy as np
import pytest
from onnx import TensorProto, helper

import graph_io
from graph_io.dataflow import node_bodies
from graph_io.dtypes import size_bytes
from graph_io.features import node_flops
from tests.conftest import LARGE_MODELS
from tests.graph_io.hard_models import HARD_MODELS, with_external_weights
from tests.graph_io.running import TOLERANCE, inputs_of, run_parts, run_whole, worst_error
from tests.models import model, node, relu_chain, transformer_block

SMALL_LIGHT_MODELS = [name for name in graph_io.LIGHT_MODELS if name not in LARGE_MODELS]


def check_schema(graph):
    """Hold a graph to what `load_graph` documents, and each feature to what the tensors say."""
    assert isinstance(graph, nx.DiGraph)
    info = graph.graph
    proto = info["model"].proto
    assert isinstance(info["name"], str)
    assert isinstance(info["model"], graph_io.Model)
    assert info["granularity"] in ("layer", "node")
    assert isinstance(info["dims"], dict)
    assert isinstance(info["structure_sha256"], str)
    assert len(info["structure_sha256"]) == 64
    for key in ("inputs", "outputs", "notes"):
        assert isinstance(info[key], tuple)
        assert all(isinstance(item, str) for item in info[key])
    assert info["inputs"] == tuple(value.name for value in proto.graph.input)
    assert info["outputs"] == tuple(value.name for value in proto.graph.output)
    assert all(isinstance(size, int) for size in info["constant_bytes"].values())

    layers = {name: data["layer"] for name, data in graph.nodes(data=True)}
    position = {name: index for index, name in enumerate(graph)}
    tensors = info["tensors"]
    counted = Counter(member for layer in layers.values() for member in layer.nodes)
    assert set(counted.values()) == {1}
    constant = {entry.name for entry in proto.graph.node} - set(counted)
    assert all(entry.op_type not in ("Conv", "Gemm") for entry in proto.graph.node if entry.name in constant)
    assert set(counted) <= {entry.name for entry in proto.graph.node}

    for name, layer in layers.items():
        assert (layer.id, name in layer.nodes) == (name, True)
        assert len(layer.nodes) == len(layer.op_types) > 0
        for names in (layer.nodes, layer.op_types, layer.inputs, layer.outputs, layer.constants):
            assert isinstance(names, tuple)
        assert isinstance(layer.flops, float)
        assert np.isfinite(layer.flops)
        assert layer.flops >= 0
        assert layer.input_bytes == sum(tensors[key].size_bytes for key in layer.inputs)
        assert layer.output_bytes == sum(tensors[key].size_bytes for key in layer.outputs)
        assert layer.weight_bytes == sum(info["constant_bytes"].get(key, 0) for key in layer.constants)
        assert all(tensors[key].producer == name for key in layer.outputs)
        assert all(name in tensors[key].consumers for key in layer.inputs)
    for name, tensor in tensors.items():
        assert tensor.name == name
        assert tensor.size_bytes == size_bytes(tensor.dtype, tensor.shape)
        assert all(isinstance(size, int) for size in tensor.shape)
        assert list(tensor.consumers) == sorted(set(tensor.consumers), key=position.__getitem__)
        assert (tensor.producer is None) == (name in info["inputs"])
        assert tensor.producer is None or tensor.consumers or name in info["outputs"]
    for producer, consumer, passing in graph.edges(data="tensors"):
        assert position[producer] < position[consumer]
        assert isinstance(passing, tuple)
        assert all(tensors[key].producer == producer and consumer in tensors[key].consumers for key in passing)
    edges = {(tensor.producer, reader) for tensor in tensors.values() for reader in tensor.consumers if tensor.producer}
    assert set(graph.edges) == edges


@pytest.mark.parametrize("granularity", ["layer", "node"])
@pytest.mark.parametrize("name", SMALL_LIGHT_MODELS)
def test_schema_of_light_models(name, granularity, light_graph):
    check_schema(light_graph(name, granularity))


@pytest.mark.parametrize("granularity", ["layer", "node"])
@pytest.mark.parametrize("name", HARD_MODELS)
def test_schema_of_hard_models(name, granularity):
    check_schema(graph_io.load_graph(HARD_MODELS[name](), granularity=granularity))


@pytest.mark.parametrize("name", SMALL_LIGHT_MODELS)
def test_no_node_of_a_light_model_is_lost(name, light_graph):
    source = graph_io.light_model(name)
    for granularity in ("layer", "node"):
        graph = light_graph(name, granularity)
        made = {output for data in graph.nodes.values() for output in data["layer"].outputs}
        n_nodes = sum(len(data["layer"].nodes) for data in graph.nodes.values())
        assert made <= {output for entry in source.graph.node for output in entry.output}
        # Reshapes of weights are constants; everything else computes.
        weights = {tensor.name for tensor in source.graph.initializer}
        constant = [entry for entry in source.graph.node if set(entry.input) <= weights]
        assert n_nodes == len(source.graph.node) - len(constant)
        if granularity == "node":
            assert n_nodes == len(graph)


@pytest.mark.parametrize(("name", "count"), [("densenet121", 432), ("shufflenet", 137), ("resnet50", 90)])
def test_number_of_fused_layers(name, count, light_graph):
    assert len(light_graph(name)) == count


def test_conv_and_relu_are_one_layer(light_graph):
    kinds = Counter(data["layer"].op_types for data in light_graph("squeezenet").nodes.values())
    assert kinds["Conv", "Relu"] == 25
    assert kinds["Dropout", "Conv", "Relu"] == 1
    assert ("Relu",) not in kinds


def test_transformer_is_grouped_by_dataflow():
    graph = graph_io.load_graph(transformer_block())
    check_schema(graph)
    kinds = Counter(data["layer"].op_types for data in graph.nodes.values())
    assert kinds["Div", "Erf", "Add", "Mul", "Mul"] == 2, "Gelu"
    assert kinds["Add", "LayerNormalization"] == 4
    assert kinds["MatMul", "Mul"] == 2, "scaled scores"
    assert kinds["MatMul", "Add"] >= 5
    assert len(graph) < len(graph_io.load_graph(transformer_block(), granularity="node"))


@pytest.mark.parametrize("granularity", ["layer", "node"])
def test_transformer_splits_at_every_single_tensor_and_every_prefix(granularity):
    source = transformer_block()
    graph = graph_io.load_graph(source, granularity=granularity)
    feeds = inputs_of(source)
    reference = run_whole(source, feeds)
    cuts = graph_io.single_tensor_cuts(graph)
    assert {"x", "b0_norm1", "b0_norm2", "b1_norm1", "b1_norm2", "y"} <= set(cuts)
    order = list(graph)
    heads = [graph_io.head_of_cut(graph, [cut]) for cut in cuts[1:-1]] + [set(order[:n]) for n in range(1, len(order))]
    for head in heads:
        groups = [[layer for layer in order if (layer in head) == side] for side in (True, False)]
        got = run_parts([part.proto for part in graph_io.split(graph, groups)], feeds, ["y"])
        assert worst_error(got, reference) <= TOLERANCE


def test_weights_do_not_steer_the_grouping():
    """Layers are found on a copy without large weights: the grouping is that of any weights."""
    groups = [
        [data["layer"].nodes for data in graph_io.load_graph(transformer_block(width=64, seed=seed)).nodes.values()]
        for seed in (0, 1)
    ]
    assert groups[0] == groups[1]


def test_structure_hash():
    def hash_of(source, **options):
        return graph_io.load_graph(source, **options).graph["structure_sha256"]

    first, other = (transformer_block(width=64, seed=seed) for seed in (0, 1))
    other.producer_name, other.graph.name = "someone", "something"
    for tensor in other.graph.initializer:  # small weights may steer a fusion and do count
        twin = next(twin for twin in first.graph.initializer if twin.name == tensor.name)
        if len(tensor.raw_data) <= 4096:
            tensor.CopyFrom(twin)
    assert hash_of(first) == hash_of(other) == hash_of(first, granularity="node")
    assert hash_of(first) != hash_of(transformer_block(width=64, heads=2))


def test_external_data_changes_nothing(tmp_path):
    path, made = with_external_weights(tmp_path)
    graph, expected = graph_io.load_graph(path), graph_io.load_graph(made)
    assert graph.graph["name"] == "whole"
    assert graph.graph["model"].path == path
    assert [data["layer"] for data in graph.nodes.values()] == [data["layer"] for data in expected.nodes.values()]
    assert graph.graph["structure_sha256"] == expected.graph["structure_sha256"]
    feeds = inputs_of(made)
    parts = graph_io.split(graph, [[layer] for layer in graph])
    protos = [part.embedded() for part in parts]
    for file in tmp_path.iterdir():
        file.unlink()  # these hold their weights themselves
    assert worst_error(run_parts(protos, feeds, ["y"]), run_whole(made, feeds)) <= TOLERANCE


# -- arithmetic ---------------------------------------------------------------------------------------------------

FLOPS = {
    "conv": (
        node("Conv", "x w", "y"),
        {"x": (1, 8, 10, 10), "w": (16, 8, 3, 3), "y": (1, 16, 8, 8)},
        16 * 64 * 8 * 9 * 2,
    ),
    "conv with bias": (
        node("Conv", "x w b", "y"),
        {"x": (2, 8, 10, 10), "w": (16, 8, 3, 3), "b": (16,), "y": (2, 16, 8, 8)},
        2 * 16 * 64 * (8 * 9 * 2 + 1),
    ),
    "grouped conv": (
        node("Conv", "x w", "y", group=4),
        {"x": (1, 8, 10, 10), "w": (16, 2, 3, 3), "y": (1, 16, 8, 8)},
        16 * 64 * 2 * 9 * 2,
    ),
    "depthwise conv": (
        node("Conv", "x w", "y", group=8),
        {"x": (1, 8, 10, 10), "w": (8, 1, 3, 3), "y": (1, 8, 8, 8)},
        8 * 64 * 9 * 2,
    ),
    "transposed conv": (
        node("ConvTranspose", "x w", "y", strides=[2, 2]),
        {"x": (1, 8, 5, 5), "w": (8, 4, 2, 2), "y": (1, 4, 10, 10)},
        8 * 25 * 4 * 4 * 2,
    ),
    "gemm": (node("Gemm", "x w", "y"), {"x": (3, 5), "w": (5, 7), "y": (3, 7)}, 3 * 7 * 5 * 2),
    "gemm transposed with bias": (
        node("Gemm", "x w b", "y", transA=1, transB=1),
        {"x": (5, 3), "w": (7, 5), "b": (7,), "y": (3, 7)},
        3 * 7 * (5 * 2 + 1),
    ),
    "matmul": (node("MatMul", "x w", "y"), {"x": (3, 5), "w": (5, 7), "y": (3, 7)}, 3 * 7 * 5 * 2),
    "batched matmul": (
        node("MatMul", "x w", "y"),
        {"x": (2, 4, 3, 5), "w": (2, 4, 5, 7), "y": (2, 4, 3, 7)},
        8 * 3 * 7 * 5 * 2,
    ),
    "vector product": (node("MatMul", "x w", "y"), {"x": (5,), "w": (5,), "y": ()}, 10),
    "einsum": (
        node("Einsum", "x w", "y", equation="bij, bjk -> bik"),
        {"x": (2, 3, 5), "w": (2, 5, 7), "y": (2, 3, 7)},
        2 * 3 * 5 * 7 * 2,
    ),
    "max pool": (node("MaxPool", "x", "y", kernel_shape=[3, 2]), {"x": (1, 4, 6, 6), "y": (1, 4, 4, 5)}, 80 * 6),
    "average pool": (
        node("AveragePool", "x", "y", kernel_shape=[2, 2], strides=[2, 2]),
        {"x": (1, 4, 6, 6), "y": (1, 4, 3, 3)},
        36 * 4,
    ),
    "global pool": (node("GlobalAveragePool", "x", "y"), {"x": (1, 4, 6, 6), "y": (1, 4, 1, 1)}, 144),
    "relu": (node("Relu", "x", "y"), {"x": (3, 5), "y": (3, 5)}, 15),
    "add, broadcast": (node("Add", "x w", "y"), {"x": (3, 1), "w": (1, 5), "y": (3, 5)}, 15),
    "reduce": (node("ReduceSum", "x", "y"), {"x": (3, 5), "y": (1, 1)}, 15),
    "reshape": (node("Reshape", "x s", "y"), {"x": (3, 5), "s": (1,), "y": (15,)}, 0),
    "no input": (node("RandomNormal", "", "y", shape=[4]), {"y": (4,)}, 4),
}


@pytest.mark.parametrize("case", FLOPS)
def test_flops_by_hand(case):
    operator, shapes, expected = FLOPS[case]
    assert node_flops(operator, shapes) == expected


@pytest.mark.parametrize(("operator", "gates"), [("LSTM", 4), ("GRU", 3), ("RNN", 1)])
@pytest.mark.parametrize("directions", [1, 2])
def test_flops_of_recurrent_layers(operator, gates, directions):
    steps, batch, width, hidden = 5, 2, 64, 48
    shapes = {
        "x": (steps, batch, width),
        "w": (directions, gates * hidden, width),
        "r": (directions, gates * hidden, hidden),
        "y": (steps, directions, batch, hidden),
    }
    products = steps * batch * directions * gates * hidden * (width + hidden) * 2
    got = node_flops(node(operator, "x w r", "y", hidden_size=hidden), shapes)
    assert products < got < 1.1 * products, "products, and a little for the gates"


@pytest.mark.parametrize(
    ("name", "giga"), [("resnet50", 8.2), ("densenet121", 5.7), ("inception_v1", 2.9), ("squeezenet", 0.7)]
)
def test_flops_of_published_networks(name, giga, light_graph):
    totals = [
        sum(data["layer"].flops for data in light_graph(name, granularity).nodes.values()) / 1e9
        for granularity in ("layer", "node")
    ]
    assert totals[0] == pytest.approx(giga, rel=0.02)
    assert totals[0] == pytest.approx(totals[1], rel=1e-12)


def test_sizes_of_types():
    nodes = [
        node("Cast", "x", "half", to=TensorProto.FLOAT16),
        node("Cast", "half", "flag", to=TensorProto.BOOL),
        node("Cast", "flag", "long", to=TensorProto.INT64),
        node("Cast", "long", "y", to=TensorProto.DOUBLE),
    ]
    graph = graph_io.load_graph(
        model(nodes, {"x": (2, 3)}, [helper.make_tensor_value_info("y", 11, [2, 3])]), granularity="node"
    )
    found = {name: (tensor.dtype, tensor.size_bytes) for name, tensor in graph.graph["tensors"].items()}
    assert found == {
        "x": ("float32", 24),
        "half": ("float16", 12),
        "flag": ("bool", 6),
        "long": ("int64", 48),
        "y": ("float64", 48),
    }
    assert size_bytes("int4", (3,)) == 2


def test_notes_say_what_was_changed():
    source = HARD_MODELS["unused_branch"]()
    assert graph_io.load_graph(source).graph["notes"] == ("2 nodes that lead to no output are dropped",)
    defaults = HARD_MODELS["initializers_as_inputs"]()
    assert graph_io.load_graph(defaults).graph["notes"] == (), "below IR 4 every initializer had to be an input"
    defaults.ir_version = 8
    assert graph_io.load_graph(defaults).graph["notes"] == ("2 inputs with default values are treated as constants",)
    source = relu_chain()
    source.training_info.add()
    assert graph_io.load_graph(source).graph["notes"] == ("training information is dropped",)


def test_loaded_model_can_be_grouped_again():
    loaded = graph_io.load_model(relu_chain())
    assert repr(loaded) == "Model('small', 3 nodes)"
    assert list(graph_io.load_graph(loaded)) == list(graph_io.load_graph(relu_chain()))


def test_normalised_model():
    stale = graph_io.load_model(HARD_MODELS["stale_value_info"]()).proto
    assert not stale.graph.value_info
    old = graph_io.load_model(HARD_MODELS["initializers_as_inputs"]()).proto
    assert old.ir_version == 4
    assert [value.name for value in old.graph.input] == ["x"]
    masks = {
        name: [list(entry.output) for entry in graph_io.load_model(HARD_MODELS[name]()).proto.graph.node][1]
        for name in ("dropout_mask_unused", "dropout_mask_used")
    }
    assert masks == {"dropout_mask_unused": ["b"], "dropout_mask_used": ["b", "mask"]}
    branched = graph_io.load_model(HARD_MODELS["nested_bodies"]()).proto
    names = [entry.name for entry in nodes_with_bodies(branched.graph.node)]
    assert len(names) == len(set(names)) == 13
    assert all(names)


def nodes_with_bodies(nodes):
    for entry in nodes:
        yield entry
        for body in node_bodies(entry):
            yield from nodes_with_bodies(body.node)
