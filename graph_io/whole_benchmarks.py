"""Models that a calibration times as a whole: for what a run takes besides its kernels, and for the effect of load."""

from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper

from graph_io.model import Model, load_model

_CHANNELS, _SIZE = 128, 28
_COLUMNS = 4096


@dataclass(frozen=True, slots=True)
class OverheadBenchmark:
    """A model of so many kernels with next to nothing to compute, and the shapes of its inputs.

    Attributes
    ----------
    model : Model
    input_shapes : dict of str to tuple of int
    n_kernels : int
    """

    model: Model
    input_shapes: dict[str, tuple[int, ...]]
    n_kernels: int


def overhead_benchmarks() -> tuple[OverheadBenchmark, ...]:
    """Return models of 1 to 64 kernels in a row; the runtime fuses none of them."""
    shape = (1, 16)
    return tuple(OverheadBenchmark(_signs(count, shape), {"x": shape}, count) for count in (1, 4, 16, 64))


@dataclass(frozen=True, slots=True)
class LoadBenchmark:
    """A model, the shapes of its inputs, and the share of its time that memory bounds.

    Attributes
    ----------
    model : Model
    input_shapes : dict of str to tuple of int
    memory_share : float
    """

    model: Model
    input_shapes: dict[str, tuple[int, ...]]
    memory_share: float


def load_benchmarks() -> tuple[LoadBenchmark, ...]:
    """Return convolutions that stay in the caches, few and many of them, and products that read each weight once.

    How long several threads wait for each other depends on how often they meet: the kernels of the many are as long and
    as short as those of usual networks.
    """
    image = (1, _CHANNELS, _SIZE, _SIZE)
    return (
        LoadBenchmark(_convolutions("compute, short", 6), {"x": image}, 0.0),
        LoadBenchmark(_convolutions("compute", 20), {"x": image}, 0.0),
        LoadBenchmark(_products("memory", 4), {"x": (1, _COLUMNS)}, 1.0),
    )


def _convolutions(name: str, count: int) -> Model:
    """Return blocks of a long, a short and a very short kernel: 3x3, 1x1, and 3x3 channel by channel."""
    random = np.random.default_rng(0)
    weights, nodes, read = [], [], "x"
    for number in range(3 * count):
        width, groups = ((3, 1), (1, 1), (3, _CHANNELS))[number % 3]
        shape = (_CHANNELS, _CHANNELS // groups, width, width)
        values = random.standard_normal(shape, dtype=np.float32) / np.float32(np.sqrt(np.prod(shape[1:])))
        weights.append(onnx.numpy_helper.from_array(values, f"w{number}"))
        inputs, result = [read, f"w{number}"], f"y{number}"
        pads = [width // 2] * 4
        nodes.append(
            helper.make_node("Conv", inputs, [result], result, kernel_shape=[width] * 2, pads=pads, group=groups)
        )
        read = result
    return _model(name, nodes, weights, (1, _CHANNELS, _SIZE, _SIZE))


def _products(name: str, count: int) -> Model:
    random = np.random.default_rng(0)
    weights, nodes, read = [], [], "x"
    for number in range(count):
        values = random.standard_normal((_COLUMNS, _COLUMNS), dtype=np.float32) / np.float32(64.0)
        weights.append(onnx.numpy_helper.from_array(values, f"w{number}"))
        nodes.append(helper.make_node("MatMul", [read, f"w{number}"], [f"y{number}"], f"y{number}"))
        read = f"y{number}"
    return _model(name, nodes, weights, (1, _COLUMNS))


def _signs(count: int, shape: tuple[int, ...]) -> Model:
    nodes, read = [], "x"
    for number in range(count):
        nodes.append(helper.make_node("Neg" if number % 2 else "Sign", [read], [f"y{number}"], f"y{number}"))
        read = f"y{number}"
    return _model(f"{count} kernels", nodes, [], shape)


def _model(name: str, nodes: list[onnx.NodeProto], weights: list[onnx.TensorProto], shape: tuple[int, ...]) -> Model:
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, list(shape))]
    outputs = [helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, list(shape))]
    graph = helper.make_graph(nodes, name, inputs, outputs, weights)
    return load_model(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))
