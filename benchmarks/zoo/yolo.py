"""YOLOv2-tiny: the detector of the partition papers, a chain with large layers up front."""

import onnx

from benchmarks.zoo.builder import Builder
from benchmarks.zoo.network import Network, Published

# For each of 5 anchor boxes: 4 coordinates, an objectness and 20 classes.
_OUTPUTS = 5 * (4 + 1 + 20)


def yolov2_tiny() -> onnx.ModelProto:
    """Build YOLOv2-tiny for the 20 classes of Pascal VOC, up to the last convolution (13x13x125)."""
    net = Builder("yolov2_tiny")
    x = net.input("image", (1, 3, 416, 416))
    for channels in (16, 32, 64, 128, 256):
        x = net.pool(_leaky(net, x, channels), 2)
    # A step of 1 keeps the 13x13: one row below and one column to the right are added, none above or to the left.
    x = net.pool(_leaky(net, x, 512), 2, stride=1, pad=(0, 0, 1, 1))
    x = _leaky(net, x, 1024)
    x = _leaky(net, x, 1024)
    return net.model({net.conv(x, _OUTPUTS, 1): (1, _OUTPUTS, 13, 13)})


def _leaky(net: Builder, x: str, channels: int) -> str:
    return net.keep("LeakyRelu", net.conv_bn(x, channels, 3), alpha=0.1)


NETWORKS: tuple[Network, ...] = (
    Network(
        "yolov2_tiny",
        "yolo",
        yolov2_tiny,
        "Redmon, Farhadi 2017; layers of Darknet's yolov2-tiny-voc configuration at 416x416, batch normalisation kept. "
        "Decoding of boxes is left out.",
        Published(
            15.8587e6,
            6.9949e9 / 2,
            "Open Model Zoo, yolo-v2-tiny-ava-sparse-30-0001 (the same layers, before pruning): 15.8587 M parameters "
            "with batch normalisation folded into biases, 6.9949 GFLOPs, halved here to MACs",
        ),
    ),
)
