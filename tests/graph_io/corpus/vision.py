"""Images: a U-Net with skips, and depthwise-separable blocks with squeeze and excite."""

import numpy as np

from tests.graph_io.corpus.case import Case, Network
from tests.models import value


def convolve(net, source, inputs, outputs, *, size=3, groups=1, **attributes):
    weight = net.weight(outputs, inputs // groups, size, size)
    pads = [size // 2] * 4
    return net.add("Conv", source, weight, net.weight(outputs, fan_in=9), pads=pads, group=groups, **attributes)


def batch_norm(net, source, width):
    scale, shift, mean = (net.weight(width, fan_in=4) for _ in range(3))
    return net.add("BatchNormalization", source, scale, shift, mean, net.constant(np.full(width, 0.5, np.float32)))


def u_net():
    """Go down twice and up twice: once by a transposed convolution, once by the size of what is joined."""
    net = Network(4)
    levels, stream, width = [], "x", 3
    for wide in (4, 8):
        stream = net.add("Relu", convolve(net, stream, width, wide))
        levels.append((stream, wide))
        stream = net.add("MaxPool", stream, kernel_shape=[2, 2], strides=[2, 2], name=f"down{wide}")
        width = wide
    stream = net.add("Relu", convolve(net, stream, 8, 12), name="bottom")
    skip, wide = levels.pop()
    stream = net.add("ConvTranspose", stream, net.weight(12, wide, 2, 2), strides=[2, 2])
    stream = net.add("Relu", convolve(net, net.add("Concat", stream, skip, axis=1), 2 * wide, 8), name="up8")
    skip, wide = levels.pop()
    head = net.add("Slice", net.add("Shape", stream), *(net.constant(np.array([end])) for end in (0, 2)))
    tail = net.add("Slice", net.add("Shape", skip), *(net.constant(np.array([end])) for end in (2, 4)))
    stream = net.add("Resize", stream, "_", "_", net.add("Concat", head, tail, axis=0), mode="linear")
    stream = net.add("Relu", convolve(net, net.add("Concat", stream, skip, axis=1), 8 + wide, 4), name="up4")
    net.add("Sigmoid", convolve(net, stream, 4, 2, size=1), name="y")
    sizes = ["batch", "height", "width"]
    inputs = [value("x", [sizes[0], 3, *sizes[1:]])]
    return net.model(inputs, [value("y", [sizes[0], 2, *sizes[1:]])], name="u_net")


def squeeze_excite():
    """Stack two inverted residual blocks with a gate for each channel, then classify."""
    net = Network(5)
    stream = net.add("HardSwish", batch_norm(net, convolve(net, "x", 3, 8, strides=[2, 2]), 8), name="stem")
    for block in range(2):
        wide = net.add("HardSwish", batch_norm(net, convolve(net, stream, 8, 16, size=1), 16))
        deep = net.add("Relu", batch_norm(net, convolve(net, wide, 16, 16, groups=16), 16))
        squeezed = net.add("Relu", convolve(net, net.add("GlobalAveragePool", deep), 16, 4, size=1))
        gate = net.add("HardSigmoid", convolve(net, squeezed, 4, 16, size=1))
        narrow = batch_norm(net, convolve(net, net.add("Mul", deep, gate), 16, 8, size=1), 8)
        stream = net.add("Add", stream, narrow, name=f"block{block}")
    flat = net.add("Flatten", net.add("GlobalAveragePool", stream))
    net.add("Gemm", flat, net.weight(8, 5), net.weight(5), name="y")
    inputs = [value("x", ["batch", 3, "height", "width"])]
    return net.model(inputs, [value("y", ["batch", 5])], name="squeeze_excite")


def image_feeds(sizes, generator):
    shape = (sizes["batch"], 3, sizes["height"], sizes["width"])
    return {"x": generator.standard_normal(shape).astype(np.float32)}


PLANNED = {"batch": 1, "height": 16, "width": 16}
OTHERS = [
    {"batch": 1, "height": 8, "width": 20},
    {"batch": 3, "height": 12, "width": 12},
    {"batch": 2, "height": 24, "width": 4},
]
VISION = [
    Case("u_net", u_net, image_feeds, PLANNED, OTHERS),
    Case("squeeze_excite", squeeze_excite, image_feeds, PLANNED, OTHERS),
]
