"""What decides a kernel's time, by hand on small models; and on real ones that every kernel is understood."""

import math

import numpy as np
import pytest
from onnx import TensorProto

import graph_io
from graph_io import KernelFeatures, kernel_list, load_graph, profile_key
from graph_io.kernel_features import KINDS
from tests.models import model, node, value
from tests.scale import SUITE_SEEDS


def features(proto, **dims):
    return {kernel.features.kind: kernel.features for kernel in kernel_list(load_graph(proto, dims=dims))}


def weight(*shape):
    return np.random.default_rng(0).standard_normal(shape, dtype=np.float32)


def convolution(groups=1, channels=8, **attributes):
    filters = 6 * groups if groups > 1 else 6
    weights = {"w": weight(filters, channels // groups, 3, 3), "b": weight(filters)}
    nodes = [node("Conv", "x w b", "y", group=groups, kernel_shape=[3, 3], **attributes)]
    return model(nodes, {"x": (2, channels, 10, 12)}, ["y"], weights)


def test_a_convolution():
    found = features(convolution(strides=[2, 1], pads=[1, 0, 1, 2], dilations=[1, 2]))
    (kernel,) = [one for kind, one in found.items() if kind == "conv"]
    values = kernel.values
    # height (10 + 2 - 3) // 2 + 1, width 12 + 2 - 5 + 1
    assert (values["out_height"], values["out_width"]) == (5, 10)
    expected = {"batch": 2, "in_channels": 8, "out_channels": 6, "in_height": 10, "in_width": 12, "kernel_height": 3}
    expected |= {
        "kernel_width": 3,
        "stride_height": 2,
        "stride_width": 1,
        "pad": 2,
        "dilation": 2,
        "groups": 1,
        "bias": 1,
    }
    assert {name: values[name] for name in expected} == expected
    assert values["flops"] == 2 * 2 * 6 * 5 * 10 * 8 * 9
    assert values["read_bytes"] == 4 * 2 * 8 * 10 * 12
    assert values["write_bytes"] == 4 * 2 * 6 * 5 * 10
    assert values["weight_bytes"] >= 4 * (6 * 8 * 9 + 6)


@pytest.mark.parametrize(("groups", "kind"), [(1, "conv"), (4, "grouped_conv"), (8, "depthwise_conv")])
def test_the_kind_of_a_convolution(groups, kind):
    assert kind in features(convolution(groups=groups))


def test_products():
    proto = model(
        [node("MatMul", "x w", "h"), node("MatMul", "h z", "y")],
        {"x": (3, 5, 7), "z": (3, 11, 2)},
        ["y"],
        {"w": weight(7, 11)},
    )
    found = features(proto)
    assert {name: found["gemm"].values[name] for name in ("batch", "m", "k", "n", "constant")} == {
        "batch": 1,
        "m": 15,
        "k": 7,
        "n": 11,
        "constant": 1,
    }
    assert found["gemm"].values["flops"] == 2 * 15 * 7 * 11
    assert {name: found["matmul"].values[name] for name in ("batch", "m", "k", "n", "constant")} == {
        "batch": 3,
        "m": 5,
        "k": 11,
        "n": 2,
        "constant": 0,
    }


def test_a_recurrent_layer():
    proto = model(
        [node("LSTM", "x w r", "y", hidden_size=16, direction="bidirectional")],
        {"x": (20, 1, 12)},
        ["y"],
        {"w": weight(2, 64, 12), "r": weight(2, 64, 16)},
    )
    values = features(proto)["lstm"].values
    assert [values[name] for name in ("seq", "batch", "input_size", "hidden_size", "directions")] == [20, 1, 12, 16, 2]


def test_only_the_rows_of_a_table_are_read():
    proto = model(
        [node("Gather", "t i", "e"), node("Relu", "e", "y")],
        [value("i", (1, 5), TensorProto.INT64)],
        ["y"],
        {"t": weight(1000, 32)},
    )
    values = features(proto)["gather"].values
    assert values["weight_bytes"] == values["write_bytes"] == 4 * 5 * 32
    assert values["together"] == 32


def test_another_type_is_another_kind():
    double = TensorProto.DOUBLE
    proto = model([node("Tanh", "x", "y")], [value("x", (4, 4), double)], [value("y", None, double)])
    assert list(features(proto)) == ["transcendental:float64"]


def test_reorders_go_together_by_shape():
    assert profile_key("ReorderOutput_token_3", "ReorderOutput", [1, 16, 4, 4], [1, 12, 4, 4]) == (
        profile_key("ReorderOutput", "ReorderOutput", (), (1, 12, 4, 4))
    )
    assert profile_key("ReorderInput", "ReorderInput", (1, 3, 4, 4), ()) == "ReorderInput [1, 3, 4, 4]"
    assert profile_key("conv_1", "Conv", (1, 3), (1, 4)) == "conv_1"


@pytest.mark.parametrize("name", ["densenet121", "inception_v2", "resnet50", "shufflenet", "squeezenet"])
def test_real_models_are_understood(light_graph, name):
    graph = light_graph(name)
    kernels = kernel_list(graph)
    assert kernels is kernel_list(graph)
    covered = {layer for kernel in kernels for layer in kernel.layers}
    assert covered <= set(graph.nodes)
    assert len(covered) >= 0.9 * len(graph)
    for kernel in kernels:
        assert isinstance(kernel.features, KernelFeatures)
        assert kernel.features.kind in KINDS, kernel.features
        assert all(math.isfinite(one) and one >= 0 for one in kernel.features.values.values())
        assert kernel.features.values["output_elements"] > 0, kernel
    convolutions = [one.features.values for one in kernels if one.features.kind == "conv"]
    assert (
        sum(one["flops"] for one in convolutions) > 0.5 * sum(data["layer"].flops for _, data in graph.nodes(data=True))
        or name == "shufflenet"
    )


def test_the_kernels_of_a_model_with_invented_tensors():
    """Transposes and reshapes that the runtime puts in have shapes, too."""
    from benchmarks.zoo.transformers import NETWORKS

    network = next(one for one in NETWORKS if one.name == "encoder-small")
    kernels = kernel_list(load_graph(network.build(), dims={"seq": 16}))
    assert not [one for one in kernels if one.features.values["output_elements"] == 0]
    assert {"gemm", "matmul", "softmax", "layer_norm"} <= {one.features.kind for one in kernels}


@pytest.mark.parametrize("seed", SUITE_SEEDS)
def test_micro_benchmarks_cover_their_types(seed):
    n_layers, models = graph_io.micro_benchmarks(scale=0.001, seed=seed)
    kinds, total = set(), 0
    for one in models:
        total += one.n_layers
        kernels = kernel_list(load_graph(one.model, granularity="node"))
        kinds |= {kernel.features.kind for kernel in kernels}
        assert all(kernel.features.values["output_elements"] > 0 for kernel in kernels)
    assert total == n_layers
    missing = set(KINDS) - kinds - {"attention", "tile", "depthwise_conv", "batch_norm"}
    assert not missing


@pytest.mark.parametrize("seed", SUITE_SEEDS)
def test_micro_benchmarks_are_the_same_each_time(seed):
    first, second = (
        [one.model.SerializeToString() for one in graph_io.micro_benchmarks(scale=0.001, seed=seed)[1]]
        for _ in range(2)
    )
    assert first == second
    other = [one.model.SerializeToString() for one in graph_io.micro_benchmarks(scale=0.001, seed=11)[1]]
    assert first != other
