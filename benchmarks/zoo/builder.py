"""Write ONNX graphs layer by layer, with seeded He-scaled random weights."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
# Old enough for every runtime that this library takes, new enough that initializers need not be inputs.
IR_VERSION = 8

Dim = int | str


class Builder:
    """A graph in the making; methods add nodes and return the name of their output.

    Parameters
    ----------
    name : str
        Of the graph; the seed of the weights follows from it and `seed`.
    seed : int

    Notes
    -----
    Weights are drawn from a normal distribution with variance 2 / fan-in (He et al., 2015), in single precision.
    """

    def __init__(self, name: str, *, seed: int = 0) -> None:
        self.name = name
        self._random = np.random.default_rng([seed, *name.encode()])
        self._nodes: list[onnx.NodeProto] = []
        self._initializers: list[onnx.TensorProto] = []
        self._inputs: list[onnx.ValueInfoProto] = []
        self._channels: dict[str, int] = {}
        self._count = 0

    def input(self, name: str, shape: Sequence[Dim], dtype: int = TensorProto.FLOAT) -> str:
        """Declare an input; a dimension given by name is symbolic."""
        self._inputs.append(helper.make_tensor_value_info(name, dtype, list(shape)))
        if len(shape) > 1 and isinstance(shape[1], int):
            self._channels[name] = shape[1]
        return name

    def node(self, op_type: str, *inputs: str, outputs: int = 1, **attributes: Any) -> str:
        """Add a node; ``""`` leaves an input out. Returns its first output; the others are ``NAME.1``, ``NAME.2``..."""
        self._count += 1
        name = f"{op_type.lower()}_{self._count}"
        names = [name, *(f"{name}.{number}" for number in range(1, outputs))]
        self._nodes.append(helper.make_node(op_type, list(inputs), names, name, **attributes))
        return name

    def constant(self, value: NDArray[Any] | np.generic) -> str:
        """Add an initializer."""
        self._count += 1
        name = f"constant_{self._count}"
        self._initializers.append(numpy_helper.from_array(np.asarray(value, order="C"), name))
        return name

    def scalar(self, value: float) -> str:
        """Add a number in single precision."""
        return self.constant(np.array(value, np.float32))

    def axes(self, *axes: int) -> str:
        """Add whole numbers: axes, or a shape."""
        return self.constant(np.array(axes, np.int64))

    def weight(self, *shape: int, fan_in: int, gain: float = 2.0) -> str:
        """Add random weights of variance ``gain / fan_in``."""
        values = self._random.standard_normal(shape, dtype=np.float32)
        values *= np.float32(math.sqrt(gain / fan_in))
        return self.constant(values)

    def bias(self, size: int) -> str:
        """Add small random biases."""
        return self.constant(self._random.standard_normal(size, dtype=np.float32) * np.float32(0.01))

    def channels(self, tensor: str) -> int:
        """Return the size of axis 1 of what an image layer of this builder put out, or of an input."""
        return self._channels[tensor]

    def _of(self, tensor: str, channels: int) -> str:
        self._channels[tensor] = channels
        return tensor

    def conv(
        self,
        x: str,
        out_channels: int,
        kernel: int | tuple[int, int],
        *,
        stride: int | tuple[int, int] = 1,
        pad: int | tuple[int, int] | Sequence[int] | None = None,
        groups: int = 1,
        dilation: int = 1,
        bias: bool = True,
        gain: float = 2.0,
    ) -> str:
        """Add a 2-D convolution; `pad` keeps the size at stride 1 if not given, else height and width, or four ends.

        A `gain` of 1 keeps the variance where the input is not rectified.
        """
        height, width = _pair(kernel)
        if pad is None:
            pad = (dilation * (height - 1) // 2, dilation * (width - 1) // 2)
        pads = list(pad) if not isinstance(pad, int) and len(pad) == 4 else [*_pair(pad), *_pair(pad)]  # type: ignore[arg-type]
        in_channels = self.channels(x) // groups
        fan_in = in_channels * height * width
        weight = self.weight(out_channels, in_channels, height, width, fan_in=fan_in, gain=gain)
        y = self.node(
            "Conv",
            *(x, weight, self.bias(out_channels)) if bias else (x, weight),
            kernel_shape=[height, width],
            strides=list(_pair(stride)),
            pads=pads,
            group=groups,
            dilations=[dilation, dilation],
        )
        return self._of(y, out_channels)

    def up_conv(
        self,
        x: str,
        out_channels: int,
        kernel: int,
        *,
        stride: int = 2,
        pad: int = 1,
        output_pad: int = 0,
        bias: bool = True,
        gain: float = 2.0,
    ) -> str:
        """Add a transposed 2-D convolution."""
        in_channels = self.channels(x)
        # Each output is a sum over the taps that the stride leaves of the kernel.
        fan_in = max(1, in_channels * kernel * kernel // stride**2)
        weight = self.weight(in_channels, out_channels, kernel, kernel, fan_in=fan_in, gain=gain)
        y = self.node(
            "ConvTranspose",
            *(x, weight, self.bias(out_channels)) if bias else (x, weight),
            kernel_shape=[kernel, kernel],
            strides=[stride, stride],
            pads=[pad] * 4,
            output_padding=[output_pad, output_pad],
        )
        return self._of(y, out_channels)

    def reshape(self, x: str, *shape: int, channels: int | None = None) -> str:
        """Give a tensor another shape: 0 keeps a size, -1 is what remains; `channels` if it becomes an image."""
        y = self.node("Reshape", x, self.axes(*shape))
        return y if channels is None else self._of(y, channels)

    def batch_norm(self, x: str, *, scale: float = 1.0) -> str:
        """Add a batch normalisation in inference form, with statistics near those of normalised data.

        A `scale` below 1 at the end of a residual branch keeps the sums from growing with the depth.
        """
        channels = self.channels(x)
        factors = 1 + 0.1 * self._random.standard_normal(channels, dtype=np.float32)
        scales = self.constant(np.float32(scale) * factors)
        variance = self.constant(self._random.uniform(0.5, 1.5, channels).astype(np.float32))
        y = self.node("BatchNormalization", x, scales, self.bias(channels), self.bias(channels), variance)
        return self._of(y, channels)

    def conv_bn(
        self,
        x: str,
        out_channels: int,
        kernel: int | tuple[int, int],
        *,
        stride: int | tuple[int, int] = 1,
        pad: int | tuple[int, int] | Sequence[int] | None = None,
        groups: int = 1,
        gain: float = 2.0,
        scale: float = 1.0,
    ) -> str:
        """Add a convolution without bias and a batch normalisation; the activation is left to the caller."""
        y = self.conv(x, out_channels, kernel, stride=stride, pad=pad, groups=groups, bias=False, gain=gain)
        return self.batch_norm(y, scale=scale)

    def keep(self, op_type: str, *inputs: str, **attributes: Any) -> str:
        """Add a node that keeps the number of channels of its first input: an activation, a sum, a normalisation."""
        return self._of(self.node(op_type, *inputs, **attributes), self.channels(inputs[0]))

    def relu(self, x: str) -> str:
        """Add a ReLU."""
        return self.keep("Relu", x) if x in self._channels else self.node("Relu", x)

    def leaky_relu(self, x: str, slope: float) -> str:
        """Add a ReLU that lets a share of the negative values through."""
        return self.keep("LeakyRelu", x, alpha=slope) if x in self._channels else self.node("LeakyRelu", x, alpha=slope)

    def relu6(self, x: str) -> str:
        """Add a ReLU that is cut off at 6, as exporters write it: a Clip."""
        return self.keep("Clip", x, self.constant(np.float32(0)), self.constant(np.float32(6)))

    def pool(
        self,
        x: str,
        kernel: int,
        *,
        kind: str = "Max",
        stride: int | None = None,
        pad: int | Sequence[int] = 0,
        ceil: bool = False,
    ) -> str:
        """Add a maximum or average pooling; the stride is the kernel's size if not given."""
        pads = [pad] * 4 if isinstance(pad, int) else list(pad)
        step = kernel if stride is None else stride
        return self.keep(
            f"{kind}Pool", x, kernel_shape=[kernel, kernel], strides=[step, step], pads=pads, ceil_mode=int(ceil)
        )

    def concat(self, *parts: str) -> str:
        """Concatenate images along their channels."""
        return self._of(self.node("Concat", *parts, axis=1), sum(self.channels(part) for part in parts))

    def dense(self, x: str, in_size: int, out_size: int, *, bias: bool = True, gain: float = 2.0) -> str:
        """Add a fully connected layer to a matrix of rows."""
        weight = self.weight(out_size, in_size, fan_in=in_size, gain=gain)
        return self.node("Gemm", *(x, weight, self.bias(out_size)) if bias else (x, weight), transB=1)

    def classify(self, x: str, classes: int = 1000) -> str:
        """Add a global average pooling and a fully connected layer."""
        features = self.node("Flatten", self.keep("GlobalAveragePool", x), axis=1)
        return self.dense(features, self.channels(x), classes)

    def linear(self, x: str, in_size: int, out_size: int, *, bias: bool = True) -> str:
        """Add a product with a matrix on the last axis of a tensor of any rank, and a bias."""
        y = self.node("MatMul", x, self.weight(in_size, out_size, fan_in=in_size, gain=1.0))
        return self.node("Add", y, self.bias(out_size)) if bias else y

    def model(self, outputs: Mapping[str, Sequence[Dim]], dtype: int = TensorProto.FLOAT) -> onnx.ModelProto:
        """Return the finished model; `outputs` maps tensors of the graph to their shapes."""
        infos = [helper.make_tensor_value_info(name, dtype, list(shape)) for name, shape in outputs.items()]
        graph = helper.make_graph(self._nodes, self.name, self._inputs, infos, self._initializers)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
        model.producer_name = "dnn-partition-zoo"
        return model


def _pair(value: int | tuple[int, int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[1])
