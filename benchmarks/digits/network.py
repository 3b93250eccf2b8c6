"""The network as an ONNX model: convolutions, a linear layer behind the last, and if wanted one behind an earlier."""

from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

Array = NDArray[np.float32]
SIDE = 128
IMAGE, FINAL, EARLY = "image", "scores", "early"
"""Names of the input, of the last layer's output, and of the early exit's."""
EXIT_SIDE = 4
"""Height and width that the early exit pools its maps to."""


@dataclass(frozen=True, slots=True)
class Shape:
    """The layers of a network.

    Attributes
    ----------
    channels : tuple of int
        Between the convolutions, that of the image included.
    strides : tuple of int
        Of the convolutions.
    exit_behind : int or None
        Number of the convolution behind which an early exit is.
    """

    channels: tuple[int, ...]
    strides: tuple[int, ...] = (2, 2, 2, 2, 1, 1)
    exit_behind: int | None = None

    @property
    def n_convolutions(self) -> int:
        """How many convolutions there are."""
        return len(self.strides)

    def side(self, layer: int) -> int:
        """Return the height and width of what a convolution puts out; -1 is the last one."""
        side = SIDE
        for stride in self.strides[: layer % self.n_convolutions + 1]:
            side = -(-side // stride)
        return side


def as_onnx(shape: Shape, weights: list[Array]) -> onnx.ModelProto:
    """Return the model.

    Parameters
    ----------
    shape : Shape
    weights : list of ndarray
        For each convolution its kernels, shape (filters, channels * 9), and its biases, shape (filters,). For the last
        linear layer, and the early exit's if there is one, the weights, shape (features, 10), and biases, shape (10,).
    """
    convolutions, linear = weights[: 2 * shape.n_convolutions], weights[2 * shape.n_convolutions :]
    nodes, stored, name = [], {}, IMAGE
    early_nodes: list[onnx.NodeProto] = []
    for layer, stride in enumerate(shape.strides):
        kernel, bias, out = f"w{layer}", f"b{layer}", f"conv{layer}"
        stored[kernel] = convolutions[2 * layer].reshape(len(convolutions[2 * layer]), -1, 3, 3)
        stored[bias] = convolutions[2 * layer + 1]
        nodes.append(
            helper.make_node("Conv", [name, kernel, bias], [out], f"conv{layer}", strides=[stride] * 2, pads=[1] * 4)
        )
        nodes.append(helper.make_node("Relu", [out], [f"relu{layer}"], f"relu{layer}"))
        name = f"relu{layer}"
        if layer == shape.exit_behind:
            window = shape.side(layer) // EXIT_SIDE
            early_nodes = [
                helper.make_node(
                    "AveragePool", [name], ["early_pool"], "early_pool", kernel_shape=[window] * 2, strides=[window] * 2
                ),
                helper.make_node("Flatten", ["early_pool"], ["early_features"], "early_flatten"),
                helper.make_node("Gemm", ["early_features", "early_w", "early_b"], [EARLY], "early_linear"),
            ]
    stored |= {"w": linear[0], "b": linear[1]}
    nodes += [
        helper.make_node("Flatten", [name], ["features"], "flatten"),
        helper.make_node("Gemm", ["features", "w", "b"], [FINAL], "linear"),
    ]
    if early_nodes:
        stored |= {"early_w": linear[2], "early_b": linear[3]}
    graph = helper.make_graph(
        [*nodes, *early_nodes],
        "digits",
        [helper.make_tensor_value_info(IMAGE, onnx.TensorProto.FLOAT, [1, 1, SIDE, SIDE])],
        [
            helper.make_tensor_value_info(output, onnx.TensorProto.FLOAT, [1, 10])
            for output in ((EARLY, FINAL) if early_nodes else (FINAL,))
        ],
        [numpy_helper.from_array(np.ascontiguousarray(value), key) for key, value in stored.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
