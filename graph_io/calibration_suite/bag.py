"""A model of independent layers in the making, and how the sizes of layers are drawn."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

_OPSET, _IR_VERSION = 17, 8
_POOL = np.random.default_rng(0).standard_normal(65537, dtype=np.float32)

Shape = tuple[int, ...]
Draw = np.random.Generator
Add = Callable[["Bag", Draw, float], None]
"""Adds one layer to a bag, of a size at a share, 0 to 1, of the range that networks have."""


class Bag:
    """A model of independent layers in the making."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.inputs: list[onnx.ValueInfoProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []
        self.layers = 0
        self.size_bytes = 0.0
        self.flops = 0.0

    def input(self, *shape: int, dtype: int = TensorProto.FLOAT) -> str:
        """Declare an input of the model."""
        name = f"x{len(self.inputs)}"
        self.inputs.append(helper.make_tensor_value_info(name, dtype, list(shape)))
        self.size_bytes += 4.0 * math.prod(shape)
        return name

    def computed(self, *shape: int) -> str:
        """Return a tensor that a kernel has just written, as a layer inside a network finds its input."""
        return self.node("Neg", self.input(*shape))

    def weight(self, *shape: int, fan_in: int = 1) -> str:
        """Add a constant, of variance 1 over `fan_in`."""
        name = f"w{len(self.initializers)}"
        # The values do not matter to the time, so all weights are made of one pool, scaled.
        scaled = (_POOL / np.float32(math.sqrt(fan_in))).tobytes()
        size = 4 * math.prod(shape)
        content = (scaled * (size // len(scaled) + 1))[:size]
        self.initializers.append(onnx.TensorProto(name=name, data_type=TensorProto.FLOAT, dims=shape, raw_data=content))
        self.size_bytes += size
        return name

    def whole(self, *values: int) -> str:
        """Add a constant of whole numbers."""
        name = f"w{len(self.initializers)}"
        self.initializers.append(onnx.numpy_helper.from_array(np.array(values, np.int64), name))
        return name

    def node(self, op_type: str, *inputs: str, outputs: int = 1, domain: str = "", **attributes: Any) -> str:
        """Add a node and return its first output; the others are ``NAME.1`` and so on."""
        name = f"n{len(self.nodes)}"
        names = [name, *(f"{name}.{number}" for number in range(1, outputs))]
        self.nodes.append(helper.make_node(op_type, list(inputs), names, name, domain=domain, **attributes))
        return name

    def output(self, *names: str, dtype: int = TensorProto.FLOAT) -> None:
        """End a layer: of each result only one element leaves the model.

        The runtime would put a whole result into fresh memory at each run, for which a layer within a network never
        waits.
        """
        for name in names:
            flat = self.node("Reshape", name, self.whole(-1))
            self.outputs.append(
                helper.make_tensor_value_info(self.node("Slice", flat, self.whole(0), self.whole(1)), dtype, None)
            )
        self.layers += 1

    def model(self, name: str) -> onnx.ModelProto:
        """Return the model."""
        graph = helper.make_graph(self.nodes, name, self.inputs, self.outputs, self.initializers)
        opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid("com.microsoft", 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION)


def log_uniform(random: Draw, low: float, high: float) -> float:
    """Draw from a range, each factor alike."""
    return float(math.exp(random.uniform(math.log(low), math.log(high))))


def between(share: float, low: float, high: float) -> float:
    """Return the value at a share of a range, in logarithms."""
    return float(math.exp(math.log(low) + share * (math.log(high) - math.log(low))))


def draw_channels(random: Draw, low: int, high: int) -> int:
    """Draw a number of channels: mostly a multiple of 16 or 32, at times of 4 or 8, seldom any."""
    step = int(random.choice([1, 4, 8, 16, 32], p=[0.04, 0.08, 0.13, 0.40, 0.35]))
    return (
        max(1, round(log_uniform(random, low, high) / step) * step)
        if step > 1
        else int(log_uniform(random, max(2, low), high))
    )


def image(random: Draw, share: float, low: float = 2e3, high: float = 3.2e6) -> Shape:
    """Return the shape of a square image whose elements are at a share of a range."""
    elements = between(share, low, high)
    channels = int(min(draw_channels(random, 16, 1024), max(1, elements)))
    size = max(1, round(math.sqrt(elements / channels)))
    return 1, channels, min(size, 230), min(size, 230)


def any_shape(random: Draw, share: float, low: float = 500, high: float = 3.2e6) -> Shape:
    """Return the shape of an image or of rows, with elements at a share of a range."""
    if random.random() < 0.5:
        return image(random, share, low, high)
    elements = between(share, low, high)
    width = int(random.choice([64, 128, 256, 512, 768, 1024, 2048, 3072, 4096]))
    return 1, max(1, round(elements / width)), width
