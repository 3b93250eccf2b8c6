"""The chains of the first partition papers: AlexNet, VGG-16, VGG-19 and Network in Network."""

from collections.abc import Sequence

import onnx

from benchmarks.zoo.builder import Builder
from benchmarks.zoo.network import Network, Published


def alexnet() -> onnx.ModelProto:
    """Build AlexNet of 2012: two groups in layers 2, 4 and 5, response normalisation before the first two poolings."""
    net = Builder("alexnet")
    x = net.input("image", (1, 3, 227, 227))
    x = _normalised(net, net.relu(net.conv(x, 96, 11, stride=4, pad=0)))
    x = net.pool(x, 3, stride=2)
    x = _normalised(net, net.relu(net.conv(x, 256, 5, groups=2)))
    x = net.pool(x, 3, stride=2)
    x = net.relu(net.conv(x, 384, 3))
    x = net.relu(net.conv(x, 384, 3, groups=2))
    x = net.relu(net.conv(x, 256, 3, groups=2))
    x = net.pool(x, 3, stride=2)
    return _fully_connected(net, x, 256 * 6 * 6)


def vgg16() -> onnx.ModelProto:
    """Build VGG-16: configuration D of the paper."""
    return _vgg("vgg16", (2, 2, 3, 3, 3))


def vgg19() -> onnx.ModelProto:
    """Build VGG-19: configuration E of the paper."""
    return _vgg("vgg19", (2, 2, 4, 4, 4))


def nin() -> onnx.ModelProto:
    """Build the Network in Network for ImageNet: four stages, each a convolution and two of 1x1."""
    net = Builder("nin")
    x = net.input("image", (1, 3, 224, 224))
    # Caffe rounds the size of a pooling up, so that 54 becomes 27.
    x = net.pool(_mlpconv(net, x, 96, 11, 96, 96, stride=4, pad=0), 3, stride=2, ceil=True)
    x = net.pool(_mlpconv(net, x, 256, 5, 256, 256), 3, stride=2, ceil=True)
    x = net.pool(_mlpconv(net, x, 384, 3, 384, 384), 3, stride=2, ceil=True)
    x = _mlpconv(net, x, 1024, 3, 1024, 1000)
    x = net.node("Flatten", net.keep("GlobalAveragePool", x), axis=1)
    return net.model({net.node("Softmax", x, axis=1): (1, 1000)})


def _normalised(net: Builder, x: str) -> str:
    # The paper multiplies the sum over 5 channels by 1e-4; ONNX divides its alpha by the number of channels.
    return net.keep("LRN", x, size=5, alpha=5e-4, beta=0.75, bias=2.0)


def _fully_connected(net: Builder, x: str, size: int) -> onnx.ModelProto:
    x = net.node("Flatten", x, axis=1)
    x = net.relu(net.dense(x, size, 4096))
    x = net.relu(net.dense(x, 4096, 4096))
    x = net.dense(x, 4096, 1000)
    return net.model({net.node("Softmax", x, axis=1): (1, 1000)})


def _vgg(name: str, repeats: Sequence[int]) -> onnx.ModelProto:
    net = Builder(name)
    x = net.input("image", (1, 3, 224, 224))
    for channels, repeat in zip((64, 128, 256, 512, 512), repeats, strict=True):
        for _ in range(repeat):
            x = net.relu(net.conv(x, channels, 3))
        x = net.pool(x, 2)
    return _fully_connected(net, x, 512 * 7 * 7)


def _mlpconv(
    net: Builder, x: str, channels: int, kernel: int, hidden: int, out: int, *, stride: int = 1, pad: int | None = None
) -> str:
    x = net.relu(net.conv(x, channels, kernel, stride=stride, pad=pad))
    x = net.relu(net.conv(x, hidden, 1))
    return net.relu(net.conv(x, out, 1))


NETWORKS: tuple[Network, ...] = (
    Network(
        "alexnet",
        "alexnet",
        alexnet,
        "Krizhevsky, Sutskever, Hinton 2012: the original in two groups with local response normalisation, at 227x227. "
        "Dropout is left out, as at inference.",
        Published(
            61e6,
            724e6,
            "K. Abdelouahab, CNN-Workload (a count over the Caffe model): 61 M "
            "parameters, 724 M MACs; convolutions and fully connected layers only. Torchvision's variant without "
            "groups (61.1 M, 0.71 G) is another network.",
        ),
    ),
    Network(
        "vgg16",
        "vgg",
        vgg16,
        "Simonyan, Zisserman 2015, configuration D. Dropout is left out.",
        Published(138_357_544, 15.47e9, "torchvision documentation, VGG16_Weights; its GFLOPS are MACs"),
    ),
    Network(
        "vgg19",
        "vgg",
        vgg19,
        "Simonyan, Zisserman 2015, configuration E. Dropout is left out.",
        Published(143_667_240, 19.63e9, "torchvision documentation, VGG19_Weights; its GFLOPS are MACs"),
    ),
    Network(
        "nin",
        "nin",
        nin,
        "Lin, Chen, Yan 2014; the paper gives no ImageNet shapes, so those of its authors' Caffe model (nin_imagenet). "
        "Dropout is left out.",
        Published(
            29 * 2**20 / 4,
            None,
            "the authors' Caffe model card: a snapshot of 29 MB, here read as MiB of float32; no MACs are published "
            "there, so the layers are listed",
        ),
        shapes=(
            "conv 11x11 / 4, 96, and twice 1x1, 96: 54x54x96",
            "max pool 3x3 / 2: 27x27x96",
            "conv 5x5, 256, and twice 1x1, 256: 27x27x256",
            "max pool 3x3 / 2: 13x13x256",
            "conv 3x3, 384, and twice 1x1, 384: 13x13x384",
            "max pool 3x3 / 2: 6x6x384",
            "conv 3x3, 1024, 1x1, 1024, and 1x1, 1000: 6x6x1000",
            "global average pool: 1000",
        ),
    ),
)
