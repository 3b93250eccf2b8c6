"""Residual networks: ResNet-18, ResNet-50 and SE-ResNet-50."""

from collections.abc import Sequence

import onnx

from benchmarks.zoo.builder import Builder
from benchmarks.zoo.network import Network, Published

# Of the last normalisation in a branch: keeps the sum along the shortcuts from growing with the depth.
_BRANCH_SCALE = 0.5
_WIDTHS = (64, 128, 256, 512)
# Of the hidden layer of squeeze-and-excitation, as in its paper.
_REDUCTION = 16


def resnet18() -> onnx.ModelProto:
    """Build ResNet-18: blocks of two 3x3 convolutions."""
    net = Builder("resnet18")
    x = net.relu(net.conv_bn(net.input("image", (1, 3, 224, 224)), 64, 7, stride=2))
    x = net.pool(x, 3, stride=2, pad=1)
    for width in _WIDTHS:
        for index in range(2):
            x = _basic(net, x, width, stride=2 if index == 0 and width != _WIDTHS[0] else 1)
    return net.model({net.classify(x): (1, 1000)})


def resnet50() -> onnx.ModelProto:
    """Build ResNet-50 in today's form: the step of 2 is taken by the 3x3 convolution of a block."""
    net = Builder("resnet50")
    x = net.relu(net.conv_bn(net.input("image", (1, 3, 224, 224)), 64, 7, stride=2))
    x = net.pool(x, 3, stride=2, pad=1)
    return _bottlenecks(net, x, (3, 4, 6, 3), step_first=False, excite=False)


def se_resnet50() -> onnx.ModelProto:
    """Build SE-ResNet-50 as its paper's authors published it: the step of 2 is taken by the first 1x1 convolution."""
    net = Builder("se_resnet50")
    x = net.relu(net.conv_bn(net.input("image", (1, 3, 224, 224)), 64, 7, stride=2))
    # Caffe rounds the size of a pooling up instead of padding on all sides.
    x = net.pool(x, 3, stride=2, ceil=True)
    return _bottlenecks(net, x, (3, 4, 6, 3), step_first=True, excite=True)


def _basic(net: Builder, x: str, width: int, *, stride: int) -> str:
    y = net.relu(net.conv_bn(x, width, 3, stride=stride))
    y = net.conv_bn(y, width, 3, scale=_BRANCH_SCALE)
    return net.relu(net.keep("Add", y, _shortcut(net, x, width, stride)))


def _bottlenecks(net: Builder, x: str, repeats: Sequence[int], *, step_first: bool, excite: bool) -> onnx.ModelProto:
    for width, repeat in zip(_WIDTHS, repeats, strict=True):
        for index in range(repeat):
            stride = 2 if index == 0 and width != _WIDTHS[0] else 1
            y = net.relu(net.conv_bn(x, width, 1, stride=stride if step_first else 1))
            y = net.relu(net.conv_bn(y, width, 3, stride=1 if step_first else stride))
            y = net.conv_bn(y, 4 * width, 1, scale=_BRANCH_SCALE)
            y = _excited(net, y) if excite else y
            x = net.relu(net.keep("Add", y, _shortcut(net, x, 4 * width, stride)))
    return net.model({net.classify(x): (1, 1000)})


def _shortcut(net: Builder, x: str, channels: int, stride: int) -> str:
    # The shortcut's input is rectified, but its output is not: a gain of 1 keeps its power.
    return x if net.channels(x) == channels else net.conv_bn(x, channels, 1, stride=stride, gain=1.0)


def _excited(net: Builder, x: str) -> str:
    channels = net.channels(x)
    gate = net.relu(net.conv(net.keep("GlobalAveragePool", x), channels // _REDUCTION, 1))
    gate = net.keep("Sigmoid", net.conv(gate, channels, 1))
    return net.keep("Mul", x, gate)


NETWORKS: tuple[Network, ...] = (
    Network(
        "resnet18",
        "resnet",
        resnet18,
        "He, Zhang, Ren, Sun 2016, table 1; a shortcut that changes the shape is a 1x1 convolution (option B).",
        Published(11_689_512, 1.814e9, "torchvision documentation, ResNet18_Weights; its GFLOPS are MACs"),
    ),
    Network(
        "resnet50",
        "resnet",
        resnet50,
        "He, Zhang, Ren, Sun 2016, table 1, with torchvision's place of the step of 2 (known as version 1.5).",
        Published(25_557_032, 4.089e9, "torchvision documentation, ResNet50_Weights; its GFLOPS are MACs"),
    ),
    Network(
        "se_resnet50",
        "resnet",
        se_resnet50,
        "Hu, Shen, Sun 2018; layers of their Caffe model. The two layers of a gate are 1x1 convolutions with biases.",
        Published(
            28.061e6,
            3.87e9,
            "MACs: the paper, section on computational complexity (it calls them FLOPs). Parameters: Open Model Zoo, "
            "se-resnet-50, with batch normalisation folded into biases",
        ),
    ),
)
