"""DenseNet-121: every layer of a block reads all the layers before it, which no chain and no tree can say."""

import onnx

from benchmarks.zoo.builder import Builder
from benchmarks.zoo.network import Network, Published

_BLOCKS = (6, 12, 24, 16)
_GROWTH = 32
_BOTTLENECK = 4 * _GROWTH


def densenet121() -> onnx.ModelProto:
    """Build DenseNet-121; each layer concatenates all earlier outputs of its block in one node."""
    net = Builder("densenet121")
    x = net.relu(net.conv_bn(net.input("image", (1, 3, 224, 224)), 64, 7, stride=2))
    x = net.pool(x, 3, stride=2, pad=1)
    for index, layers in enumerate(_BLOCKS):
        parts = [x]
        for _ in range(layers):
            parts.append(_layer(net, parts))
        x = net.relu(net.batch_norm(net.concat(*parts)))
        if index < len(_BLOCKS) - 1:
            x = net.pool(net.conv(x, net.channels(x) // 2, 1, bias=False), 2, kind="Average")
    return net.model({net.classify(x): (1, 1000)})


def _layer(net: Builder, parts: list[str]) -> str:
    x = net.concat(*parts) if len(parts) > 1 else parts[0]
    x = net.relu(net.batch_norm(x))
    x = net.relu(net.conv_bn(x, _BOTTLENECK, 1))
    return net.conv(x, _GROWTH, 3, bias=False)


NETWORKS: tuple[Network, ...] = (
    Network(
        "densenet121",
        "densenet",
        densenet121,
        "Huang, Liu, van der Maaten, Weinberger 2017, table 1, growth 32, with bottlenecks and compression 0.5.",
        Published(7_978_856, 2.834e9, "torchvision documentation, DenseNet121_Weights; its GFLOPS are MACs"),
    ),
)
