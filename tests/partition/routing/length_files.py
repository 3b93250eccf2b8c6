"""What the tests of routing share: small models with an open length, and lengths files that nobody measured."""

import numpy as np

import graph_io
from partition.latency.timings import MeasuredRuntime
from partition.routing.length_models import LengthModel
from partition.routing.length_records import LayerLengths, LengthSample, OpenModel
from partition.routing.lengths_file import LengthTimings
from tests.models import model, node


def lstm_net(*, features=6, hidden=8, layers=2, seed=0):
    """Build a stack of LSTM layers over ``words``, seq x 1 x features, and one number for each step."""
    generator = np.random.default_rng(seed)
    weights, nodes, x, size = {"one": np.array([1], np.int64)}, [], "words", features
    for number in range(layers):
        weights[f"w{number}"] = generator.standard_normal((1, 4 * hidden, size)).astype(np.float32) / 4
        weights[f"r{number}"] = generator.standard_normal((1, 4 * hidden, hidden)).astype(np.float32) / 4
        nodes += [
            node("LSTM", f"{x} w{number} r{number}", f"steps{number}", f"lstm{number}", hidden_size=hidden),
            node("Squeeze", f"steps{number} one", f"joined{number}", f"join{number}"),
        ]
        x, size = f"joined{number}", hidden
    weights["last"] = generator.standard_normal((hidden, 1)).astype(np.float32)
    nodes.append(node("MatMul", f"{x} last", "score", "score_of_step"))
    return model(nodes, {"words": ("seq", 1, features)}, ["score"], weights, name="lstm-net")


def strided_net():
    """Build a net whose inner tensor has a third of the input's steps, rounded up: no polynomial of the length."""
    weights = {"w": np.ones((2, 1, 3), np.float32)}
    nodes = [
        node("Tanh", "x", "bent", "bend"),
        node("Conv", "bent w", "fewer", "third", kernel_shape=[3], strides=[3], pads=[0, 2]),
        node("Sigmoid", "fewer", "y", "squash"),
    ]
    return model(nodes, {"x": (1, 1, "seq")}, ["y"], weights, name="strided")


def lengths_for(
    proto, name, *, dim="seq", least=1, most=64, per_layer_s=(1e-4, 1e-5, 0.0), seed=0, granularity="layer"
):
    """Make a lengths file: each layer's curve is `per_layer_s`, times a seeded factor from 0.5 to 1.5."""
    graph = graph_io.load_graph(proto, dims={dim: most}, granularity=granularity)
    generator = np.random.default_rng(seed)
    layers = []
    for layer, data in graph.nodes(data=True):
        factor = generator.uniform(0.5, 1.5)
        curve = LengthModel(tuple(factor * one for one in per_layer_s), least, most)
        layers.append(LayerLengths(layer, data["layer"].nodes, curve))
    whole = tuple(sum(layer.latency.coefficients[at] for layer in layers) for at in range(3))
    latency = LengthModel(whole, least, most, 0.999, 0.01, (0.98, 1.0, 1.02))
    axes = {
        value.name: tuple(size.dim_param or size.dim_value for size in value.type.tensor_type.shape.dim)
        for value in proto.graph.input
    }
    samples = tuple(
        LengthSample(length, False, tuple(latency.extended(length) * ratio for ratio in latency.ratios))
        for length in (least, most)
    )
    return LengthTimings(
        name=name,
        model=OpenModel(graph.graph["name"], graph.graph["structure_sha256"], granularity, axes),
        dim=dim,
        hardware={"processor": "none"},
        runtime=MeasuredRuntime("onnxruntime", "1.0", "CPUExecutionProvider", 1, "all"),
        date="2026-01-31T12:00:00+00:00",
        latency=latency,
        input_bytes=LengthModel((0.0, 24.0, 0.0), least, most),
        output_bytes=LengthModel((0.0, 4.0, 0.0), least, most),
        output_length=None,
        samples=samples,
        layers=tuple(layers),
        held_out_mape=0.02,
    )
