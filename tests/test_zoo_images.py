"""The image networks of the zoo: as large as published, the same each time, and alive from input to output."""

import re
from collections import Counter
from math import prod
from typing import NamedTuple

import numpy as np
import onnx
import pytest
from onnx import helper, shape_inference

from benchmarks.zoo import classic, dense, inception, mobile, residual, yolo
from tests.scale import FULL, scaled

NETWORKS = sorted(
    (network for module in (classic, dense, inception, mobile, residual, yolo) for network in module.NETWORKS),
    key=lambda network: network.published.parameters,
)
# The five smallest hold the chains, the residual, the parallel and the dense ones; VGG-19 alone takes half a gigabyte.
CHOSEN = NETWORKS[: scaled(5, len(NETWORKS))]


class Built(NamedTuple):
    """A network, its model and the shape of every tensor in it, weights included."""

    network: object
    model: onnx.ModelProto
    shapes: dict


# Scoped to the module, so that pytest runs all tests of a network before it builds the next: one is held at a time.
@pytest.fixture(scope="module", params=CHOSEN, ids=lambda network: network.name)
def built(request):
    model = request.param.build()
    return Built(request.param, model, tensor_shapes(model))


def only(*names):
    """Run a test on these networks, in the quick run, too."""
    networks = [network for network in NETWORKS if network.name in names]
    assert len(networks) == len(names)
    return pytest.mark.parametrize("built", networks, indirect=True, ids=lambda network: network.name)


def tensor_shapes(model):
    """Infer shapes on a copy whose weights are inputs: no image network needs the values."""
    copy = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import)
    graph = model.graph
    weights = [helper.make_tensor_value_info(w.name, w.data_type, w.dims) for w in graph.initializer]
    copy.graph.CopyFrom(helper.make_graph(graph.node, graph.name, [*graph.input, *weights], graph.output))
    inferred = shape_inference.infer_shapes(copy, strict_mode=True).graph
    values = (*inferred.input, *inferred.value_info, *inferred.output)
    return {value.name: tuple(d.dim_value for d in value.type.tensor_type.shape.dim) for value in values}


def count_parameters(built):
    """Count what training sets: not the running statistics of a batch normalisation."""
    trained = {"Conv": slice(1, None), "Gemm": slice(1, None), "BatchNormalization": slice(1, 3)}
    layers = [node for node in built.model.graph.node if node.op_type in trained]
    names = {name for node in layers for name in node.input[trained[node.op_type]]}
    return sum(prod(built.shapes[name]) for name in names)


def count_macs(built):
    """Count one for each output element and each weight that it is made from."""
    total = 0
    for node in built.model.graph.node:
        assert node.op_type != "MatMul"
        if node.op_type in ("Conv", "Gemm"):
            total += prod(built.shapes[node.output[0]]) * prod(built.shapes[node.input[1]][1:])
    return total


def run_on_noise(model, seeds):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    (image,) = session.get_inputs()
    for seed in seeds:
        noise = np.random.default_rng(seed).standard_normal(image.shape, dtype=np.float32)
        yield session.run(None, {image.name: noise})[0]


def nodes_of(model, op_type):
    return [node for node in model.graph.node if node.op_type == op_type]


def attributes_of(node):
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def test_names_are_unique():
    names = Counter(network.name for network in NETWORKS)
    assert len(names) == 14
    assert set(names.values()) == {1}


def test_parameters_and_macs_are_as_published(built):
    published = built.network.published
    assert published.source
    assert count_parameters(built) == pytest.approx(published.parameters, rel=0.02)
    if published.macs is None:
        assert built.network.shapes
    else:
        assert count_macs(built) == pytest.approx(published.macs, rel=0.02)


def test_images_are_single_and_of_the_published_size(built):
    sizes = {"alexnet": 227, "inception_v3": 299, "inception_v4": 299, "yolov2_tiny": 416}
    size = sizes.get(built.network.name, 224)
    (image,) = built.model.graph.input
    assert built.shapes[image.name] == (1, 3, size, size)
    assert built.model.opset_import[0].version == 17
    for node in built.model.graph.node:
        assert all(dim > 0 for name in node.output for dim in built.shapes[name])


def test_output_depends_on_the_image(built):
    one, other = run_on_noise(built.model, seeds=(0, 1))
    assert one.shape == built.shapes[built.model.graph.output[0].name]
    for result in (one, other):
        assert np.isfinite(result).all()
        assert result.std() > 1e-3
        assert abs(result).max() < 1e4
    assert abs(one - other).max() > 1e-3 * abs(one).max()


def test_every_weight_is_read_once_and_every_tensor_is_used(built):
    graph = built.model.graph
    read = Counter(name for node in graph.node for name in node.input)
    assert {read[weight.name] for weight in graph.initializer} == {1}
    unread = {name for node in graph.node for name in node.output} - set(read)
    assert unread == {output.name for output in graph.output}


def test_two_builds_give_the_same_bytes():
    one, other = (mobile.mobilenet_v2().SerializeToString(deterministic=True) for _ in range(2))
    assert one == other


@only("nin")
def test_listed_shapes_are_those_of_the_layers(built):
    """Where nothing is published to compare with, the listed sizes are compared with the inferred ones, in order."""
    listed = [
        tuple(map(int, match)) for line in built.network.shapes for match in re.findall(r"(\d+)x(\d+)x(\d+)$", line)
    ]
    assert len(listed) == len(built.network.shapes) - 1  # the last is a vector
    actual = (built.shapes[name] for node in built.model.graph.node for name in node.output)
    images = [(shape[2], shape[3], shape[1]) for shape in actual if len(shape) == 4]
    position = 0
    for shape in listed:
        assert shape in images[position:], f"{shape} is not among what follows layer {position}"
        position += images[position:].index(shape) + 1


@only("densenet121")
def test_densenet_joins_all_earlier_layers_in_one_node(built):
    counts = [len(node.input) for node in nodes_of(built.model, "Concat")]
    # A block of n layers joins 2 to n tensors within, and n + 1 at its end.
    assert counts == [count for layers in (6, 12, 24, 16) for count in range(2, layers + 2)]


@only("mobilenet_v2", "mobilenet_v1")
def test_batch_normalisation_follows_each_convolution_of_the_mobile_networks(built):
    normalised = {node.input[0] for node in nodes_of(built.model, "BatchNormalization")}
    assert normalised == {node.output[0] for node in nodes_of(built.model, "Conv")}


@only("yolov2_tiny")
def test_yolo_pads_its_last_pooling_below_and_right_only(built):
    *_, last = nodes_of(built.model, "MaxPool")
    assert attributes_of(last)["pads"] == [0, 0, 1, 1]
    assert attributes_of(last)["strides"] == [1, 1]
    assert built.shapes[last.output[0]] == (1, 512, 13, 13)
    slopes = [attributes_of(node)["alpha"] for node in nodes_of(built.model, "LeakyRelu")]
    assert slopes == pytest.approx([0.1] * 8)


@pytest.mark.skipif(not FULL, reason="a quarter of a gigabyte of weights is built in the full run only")
@only("alexnet")
def test_alexnet_is_the_one_with_groups_and_response_normalisation(built):
    assert [attributes_of(node)["group"] for node in nodes_of(built.model, "Conv")] == [1, 2, 1, 2, 2]
    assert len(nodes_of(built.model, "LRN")) == 2
