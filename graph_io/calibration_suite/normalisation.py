"""Layers that pool, normalise, or work element by element."""

import numpy as np
import onnx
from onnx import TensorProto

from graph_io.calibration_suite.bag import Add, Bag, Draw, any_shape, between, image, log_uniform


def _pool(kind: str) -> Add:
    def add(bag: Bag, random: Draw, share: float) -> None:
        shape = image(random, share, 5e3)
        kernel, stride, pad = [(2, 2, 0), (3, 2, 0), (3, 2, 1), (3, 1, 1), (5, 1, 2), (7, 1, 0), (1, 1, 0)][
            int(random.integers(7))
        ]
        size = max(shape[2], kernel)
        x = bag.input(1, shape[1], size, size)
        bag.output(bag.node(kind, x, kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=[pad] * 4))

    return add


def _global_pool(bag: Bag, random: Draw, share: float) -> None:
    shape = image(random, share, 5e2, 1e6)
    # Half of them read channels in blocks, as behind a convolution.
    x = bag.input(*shape)
    x = bag.node("MaxPool", x, kernel_shape=[1, 1], strides=[1, 1]) if random.random() < 0.5 else bag.node("Neg", x)
    bag.output(bag.node("GlobalAveragePool", x))


def _batch_norm(bag: Bag, random: Draw, share: float) -> None:
    shape = image(random, share)
    blocked = random.random() < 0.5
    x = bag.input(*shape)
    x = bag.node("MaxPool", x, kernel_shape=[1, 1], strides=[1, 1]) if blocked else bag.node("Neg", x)
    vectors = [bag.weight(shape[1]) for _ in range(3)]
    variance = bag.weight(shape[1])
    bag.initializers[-1].CopyFrom(onnx.numpy_helper.from_array(np.ones(shape[1], np.float32), variance))
    y = bag.node("BatchNormalization", x, *vectors, variance)
    bag.output(bag.node("Relu", y) if random.random() < 0.5 else y)


def _layer_norm(bag: Bag, random: Draw, share: float) -> None:
    width = int(random.choice([64, 128, 256, 384, 512, 768, 1024, 2048]))
    rows = max(1, round(between(share, 1e3, 1e6) / width))
    x = bag.computed(1, rows, width)
    y = bag.node("LayerNormalization", x, bag.weight(width), bag.weight(width), axis=-1)
    if random.random() < 0.4:
        other = bag.computed(1, rows, width)
        y = bag.node("SkipLayerNormalization", x, other, bag.weight(width), bag.weight(width), domain="com.microsoft")
    bag.output(y)


def _instance_norm(bag: Bag, random: Draw, share: float) -> None:
    shape = image(random, share)
    bag.output(bag.node("InstanceNormalization", bag.computed(*shape), bag.weight(shape[1]), bag.weight(shape[1])))


def _lrn(bag: Bag, random: Draw, share: float) -> None:
    bag.output(bag.node("LRN", bag.computed(*image(random, share, 5e3, 1e6)), size=5))


def _unary(*op_types: str) -> Add:
    def add(bag: Bag, random: Draw, share: float) -> None:
        op_type = op_types[int(random.integers(len(op_types)))]
        x = bag.computed(*any_shape(random, share))
        domain = "com.microsoft" if op_type in ("Gelu", "BiasGelu", "FastGelu", "QuickGelu") else ""
        if op_type == "Clip":
            low, high = bag.weight(), bag.weight()
            for name, value in ((low, 0.0), (high, 6.0)):
                index = next(i for i, one in enumerate(bag.initializers) if one.name == name)
                bag.initializers[index].CopyFrom(onnx.numpy_helper.from_array(np.array(value, np.float32), name))
            bag.output(bag.node("Clip", x, low, high))
        elif op_type == "Pow":
            two = bag.weight()
            bag.initializers[-1].CopyFrom(onnx.numpy_helper.from_array(np.array(2.0, np.float32), two))
            bag.output(bag.node("Pow", x, two))
        elif op_type == "Sqrt":
            bag.output(bag.node("Sqrt", bag.node("Abs", x)))
        elif op_type == "BiasGelu":
            width = bag.inputs[-1].type.tensor_type.shape.dim[-1].dim_value
            bag.output(bag.node(op_type, x, bag.weight(width), domain=domain))
        else:
            bag.output(bag.node(op_type, x, domain=domain))

    return add


def _binary(bag: Bag, random: Draw, share: float) -> None:
    op_type = str(random.choice(["Add", "Add", "Add", "Mul", "Mul", "Sub", "Div", "Sum", "Max"]))
    shape = any_shape(random, share)
    x, what = bag.computed(*shape), random.random()
    if what < 0.5:
        other = bag.computed(*shape)
    elif what < 0.65:
        other = bag.weight(1)
    elif what < 0.8 or len(shape) < 4:
        other = bag.weight(shape[-1])
    elif what < 0.9:
        other = bag.weight(shape[1], 1, 1)
    else:
        other = bag.computed(1, shape[1], 1, 1)
    bag.output(bag.node(op_type, x, other))


def _where(bag: Bag, random: Draw, share: float) -> None:
    shape = any_shape(random, share, high=1e6)
    x = bag.computed(*shape)
    bag.output(bag.node("Where", bag.node("Greater", x, bag.weight(1)), x, bag.weight(1)))


def _softmax(bag: Bag, random: Draw, share: float) -> None:
    length = int(log_uniform(random, 8, 4096))
    rows = max(1, round(between(share, 50, 2e6) / length))
    bag.output(bag.node("Softmax", bag.computed(1, rows, length), axis=-1))


def _argmax(bag: Bag, random: Draw, share: float) -> None:
    length = int(log_uniform(random, 8, 4096))
    rows = max(1, round(between(share, 50, 2e6) / length))
    bag.output(
        bag.node("ArgMax", bag.computed(1, rows, length), axis=-1, keepdims=int(random.random() < 0.5)),
        dtype=TensorProto.INT64,
    )


def _reduce(bag: Bag, random: Draw, share: float) -> None:
    op_type = str(random.choice(["ReduceMean", "ReduceMean", "ReduceSum", "ReduceMax"]))
    shape = any_shape(random, share)
    axes = [[len(shape) - 1], [1], [len(shape) - 2, len(shape) - 1]][int(random.integers(3))]
    x = bag.computed(*shape)
    if op_type == "ReduceSum":
        bag.output(bag.node(op_type, x, bag.whole(*axes), keepdims=1))
    else:
        bag.output(bag.node(op_type, x, axes=axes, keepdims=1))


NORMALISATION: dict[str, Add] = {
    "max pool": _pool("MaxPool"),
    "average pool": _pool("AveragePool"),
    "global pool": _global_pool,
    "batch norm": _batch_norm,
    "layer norm": _layer_norm,
    "instance norm": _instance_norm,
    "lrn": _lrn,
    "activation": _unary("Relu", "Relu", "Relu", "LeakyRelu", "Clip", "HardSwish", "HardSigmoid"),
    "transcendental": _unary("Sigmoid", "Tanh", "Erf", "Exp", "Gelu", "BiasGelu", "Sqrt", "Pow", "Elu", "FastGelu"),
    "binary": _binary,
    "where": _where,
    "softmax": _softmax,
    "argmax": _argmax,
    "reduce": _reduce,
}
"""By layer type."""
