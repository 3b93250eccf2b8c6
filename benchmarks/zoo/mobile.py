"""Networks for phones: MobileNet v1 and v2."""

import onnx

from benchmarks.zoo.builder import Builder
from benchmarks.zoo.network import Network, Published

# Output channels and step of each depthwise separable layer of version 1.
_SEPARABLE = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *((512, 1),) * 5, (1024, 2), (1024, 1))
# Expansion, output channels, repeats and first step of each stage of version 2.
_INVERTED = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
# Of the last normalisation in a branch: keeps the sum along the shortcuts from growing with the depth.
_BRANCH_SCALE = 0.5


def mobilenet_v1() -> onnx.ModelProto:
    """Build MobileNet v1 of width 1: depthwise separable convolutions in a chain."""
    net = Builder("mobilenet_v1")
    x = net.relu6(net.conv_bn(net.input("image", (1, 3, 224, 224)), 32, 3, stride=2))
    for channels, stride in _SEPARABLE:
        x = net.relu6(net.conv_bn(x, net.channels(x), 3, stride=stride, groups=net.channels(x)))
        x = net.relu6(net.conv_bn(x, channels, 1))
    return net.model({net.classify(x): (1, 1000)})


def mobilenet_v2() -> onnx.ModelProto:
    """Build MobileNet v2 of width 1: inverted residuals with linear bottlenecks."""
    net = Builder("mobilenet_v2")
    x = net.relu6(net.conv_bn(net.input("image", (1, 3, 224, 224)), 32, 3, stride=2))
    for expansion, channels, repeats, first_stride in _INVERTED:
        for index in range(repeats):
            x = _inverted(net, x, channels, expansion=expansion, stride=first_stride if index == 0 else 1)
    # The bottleneck is not rectified, hence the gain of 1.
    x = net.relu6(net.conv_bn(x, 1280, 1, gain=1.0))
    return net.model({net.classify(x): (1, 1000)})


def _inverted(net: Builder, x: str, channels: int, *, expansion: int, stride: int) -> str:
    hidden = expansion * net.channels(x)
    y = x if expansion == 1 else net.relu6(net.conv_bn(x, hidden, 1, gain=1.0))
    y = net.relu6(net.conv_bn(y, hidden, 3, stride=stride, groups=hidden))
    if stride != 1 or net.channels(x) != channels:
        return net.conv_bn(y, channels, 1)
    return net.keep("Add", x, net.conv_bn(y, channels, 1, scale=_BRANCH_SCALE))


NETWORKS: tuple[Network, ...] = (
    Network(
        "mobilenet_v1",
        "mobilenet",
        mobilenet_v1,
        "Howard et al. 2017, table 1, width 1 at 224x224; ReLU is cut off at 6 as in the authors' implementation. Pads "
        "are symmetric.",
        Published(
            4_231_976,
            569e6,
            "MACs: the paper, table 4 (mult-adds), which rounds the parameters to 4.2 M. Parameters: Keras, MobileNet, "
            "4 253 864 less the 21 888 statistics of batch normalisation that are not trained",
        ),
    ),
    Network(
        "mobilenet_v2",
        "mobilenet",
        mobilenet_v2,
        "Sandler et al. 2018, table 2, width 1 at 224x224.",
        Published(
            3_504_872,
            300e6,
            "parameters: torchvision documentation, MobileNet_V2_Weights (0.30 GFLOPS, its word for MACs); MACs: the "
            "paper, table 4",
        ),
    ),
)
