"""Networks of parallel branches: GoogLeNet, Inception-v3 and Inception-v4."""

import onnx

from benchmarks.zoo.builder import Builder
from benchmarks.zoo.network import Network, Published

# A tuple of inception modules for each size of the images in GoogLeNet. Of a module: the channels of 1x1; of the
# reduction and 3x3; of the reduction and 5x5; after the pooling.
_GOOGLENET = (
    ((64, 96, 128, 16, 32, 32), (128, 128, 192, 32, 96, 64)),
    (
        (192, 96, 208, 16, 48, 64),
        (160, 112, 224, 24, 64, 64),
        (128, 128, 256, 24, 64, 64),
        (112, 144, 288, 32, 64, 64),
        (256, 160, 320, 32, 128, 128),
    ),
    ((256, 160, 320, 32, 128, 128), (384, 192, 384, 48, 128, 128)),
)
_ROW = (1, 7)
_COLUMN = (7, 1)
# Output channels and kernel of one convolution; those with a third entry take a step of 2 without padding.
_Unit = tuple[int, int | tuple[int, int]] | tuple[int, int | tuple[int, int], int]


def googlenet() -> onnx.ModelProto:
    """Build GoogLeNet as in its paper: with 5x5 convolutions and response normalisation, no auxiliary classifiers."""
    net = Builder("googlenet")
    x = net.relu(net.conv(net.input("image", (1, 3, 224, 224)), 64, 7, stride=2))
    x = _response(net, net.pool(x, 3, stride=2, ceil=True))
    x = net.relu(net.conv(x, 64, 1))
    x = _response(net, net.relu(net.conv(x, 192, 3)))
    for modules in _GOOGLENET:
        x = net.pool(x, 3, stride=2, ceil=True)
        for one, reduce_3, three, reduce_5, five, pooled in modules:
            x = net.concat(
                net.relu(net.conv(x, one, 1)),
                net.relu(net.conv(net.relu(net.conv(x, reduce_3, 1)), three, 3)),
                net.relu(net.conv(net.relu(net.conv(x, reduce_5, 1)), five, 5)),
                net.relu(net.conv(net.pool(x, 3, stride=1, pad=1), pooled, 1)),
            )
    return net.model({net.node("Softmax", net.classify(x), axis=1): (1, 1000)})


def inception_v3() -> onnx.ModelProto:
    """Build Inception-v3 without its auxiliary classifier."""
    net = Builder("inception_v3")
    x = net.input("image", (1, 3, 299, 299))
    x = net.relu(net.conv_bn(_units(net, x, (32, 3, 2)), 32, 3, pad=0))
    x = _shrunk(net, _units(net, x, (64, 3)))
    x = net.relu(net.conv_bn(_units(net, x, (80, 1)), 192, 3, pad=0))
    x = _shrunk(net, x)
    for pooled in (32, 64, 64):
        x = net.concat(
            _units(net, x, (64, 1)),
            _units(net, x, (48, 1), (64, 5)),
            _units(net, x, (64, 1), (96, 3), (96, 3)),
            _units(net, _averaged(net, x), (pooled, 1)),
        )
    x = net.concat(_units(net, x, (384, 3, 2)), _units(net, x, (64, 1), (96, 3), (96, 3, 2)), _shrunk(net, x))
    for width in (128, 160, 160, 192):
        x = net.concat(
            _units(net, x, (192, 1)),
            _units(net, x, (width, 1), (width, _ROW), (192, _COLUMN)),
            _units(net, x, (width, 1), (width, _COLUMN), (width, _ROW), (width, _COLUMN), (192, _ROW)),
            _units(net, _averaged(net, x), (192, 1)),
        )
    x = net.concat(
        _units(net, x, (192, 1), (320, 3, 2)),
        _units(net, x, (192, 1), (192, _ROW), (192, _COLUMN), (192, 3, 2)),
        _shrunk(net, x),
    )
    for _ in range(2):
        x = net.concat(
            _units(net, x, (320, 1)),
            _forked(net, _units(net, x, (384, 1)), 384),
            _forked(net, _units(net, x, (448, 1), (384, 3)), 384),
            _units(net, _averaged(net, x), (192, 1)),
        )
    return net.model({net.classify(x): (1, 1000)})


def inception_v4() -> onnx.ModelProto:
    """Build Inception-v4: the stem, then 4, 7 and 3 modules of kinds A, B and C with a reduction between the kinds."""
    net = Builder("inception_v4")
    x = _stem_v4(net, net.input("image", (1, 3, 299, 299)))
    for _ in range(4):
        x = net.concat(
            _units(net, x, (96, 1)),
            _units(net, x, (64, 1), (96, 3)),
            _units(net, x, (64, 1), (96, 3), (96, 3)),
            _units(net, _averaged(net, x), (96, 1)),
        )
    x = net.concat(_units(net, x, (384, 3, 2)), _units(net, x, (192, 1), (224, 3), (256, 3, 2)), _shrunk(net, x))
    for _ in range(7):
        x = net.concat(
            _units(net, x, (384, 1)),
            _units(net, x, (192, 1), (224, _ROW), (256, _COLUMN)),
            _units(net, x, (192, 1), (192, _COLUMN), (224, _ROW), (224, _COLUMN), (256, _ROW)),
            _units(net, _averaged(net, x), (128, 1)),
        )
    x = net.concat(
        _units(net, x, (192, 1), (192, 3, 2)),
        _units(net, x, (256, 1), (256, _ROW), (320, _COLUMN), (320, 3, 2)),
        _shrunk(net, x),
    )
    for _ in range(3):
        x = net.concat(
            _units(net, x, (256, 1)),
            _forked(net, _units(net, x, (384, 1)), 256),
            _forked(net, _units(net, x, (384, 1), (448, (3, 1)), (512, (1, 3))), 256),
            _units(net, _averaged(net, x), (256, 1)),
        )
    return net.model({net.classify(x): (1, 1000)})


def _stem_v4(net: Builder, x: str) -> str:
    x = net.relu(net.conv_bn(_units(net, x, (32, 3, 2)), 32, 3, pad=0))
    x = _units(net, x, (64, 3))
    x = net.concat(_shrunk(net, x), _units(net, x, (96, 3, 2)))
    short = _units(net, x, (64, 1))
    long = _units(net, x, (64, 1), (64, _ROW), (64, _COLUMN))
    x = net.concat(*(net.relu(net.conv_bn(branch, 96, 3, pad=0)) for branch in (short, long)))
    return net.concat(_units(net, x, (192, 3, 2)), _shrunk(net, x))


def _units(net: Builder, x: str, *units: _Unit) -> str:
    """Add convolutions in a row, each with a normalisation and a ReLU."""
    for unit in units:
        channels, kernel = unit[0], unit[1]
        y = net.conv_bn(x, channels, kernel, stride=2, pad=0) if len(unit) == 3 else net.conv_bn(x, channels, kernel)
        x = net.relu(y)
    return x


def _forked(net: Builder, x: str, channels: int) -> str:
    """Add a 1x3 and a 3x1 convolution side by side; the references join each such pair on its own."""
    return net.concat(_units(net, x, (channels, (1, 3))), _units(net, x, (channels, (3, 1))))


def _shrunk(net: Builder, x: str) -> str:
    return net.pool(x, 3, stride=2)


def _averaged(net: Builder, x: str) -> str:
    return net.pool(x, 3, kind="Average", stride=1, pad=1)


def _response(net: Builder, x: str) -> str:
    return net.keep("LRN", x, size=5, alpha=1e-4, beta=0.75, bias=1.0)


NETWORKS: tuple[Network, ...] = (
    Network(
        "googlenet",
        "inception",
        googlenet,
        "Szegedy et al. 2015, table 1; response normalisation and rounding of pooled sizes as in Caffe's "
        "bvlc_googlenet. Dropout and the auxiliary classifiers are left out.",
        Published(
            6.999e6,
            1.58e9,
            "parameters: Open Model Zoo, googlenet-v1 (from Caffe, without auxiliary classifiers); MACs: "
            "K. Abdelouahab, CNN-Workload (a count over the Caffe model). Torchvision's variant (6.62 M, 1.50 G) has "
            "3x3 in place of 5x5",
        ),
    ),
    Network(
        "inception_v3",
        "inception",
        inception_v3,
        "Szegedy et al. 2016; layers and pads of torchvision's port, without the auxiliary classifier. Average "
        "poolings leave pads out of the mean, as TensorFlow does.",
        Published(
            23.8e6,
            5.71e9,
            "MACs: torchvision documentation, Inception_V3_Weights (GFLOPS, its word for MACs). Parameters: timm model "
            "card inception_v3.tv_in1k; torchvision's 27 161 264 count the auxiliary classifier, too",
        ),
    ),
    Network(
        "inception_v4",
        "inception",
        inception_v4,
        "Szegedy, Ioffe, Vanhoucke, Alemi 2017, figures 3 to 9; pads of timm's port. Dropout is left out.",
        Published(42.7e6, 12.3e9, "timm model card inception_v4.tf_in1k: 42.7 M parameters, 12.3 GMACs"),
    ),
)
