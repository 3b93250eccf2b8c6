"""Faces, digits, speech frames, words and game screens: the networks beside image classifiers in the first papers."""

from functools import partial

import numpy as np
import onnx

from benchmarks.zoo.builder import Builder
from benchmarks.zoo.network import Network, Published

# What one query of the Tonic suite carries: the frames of an utterance, the words of a sentence.
_FRAMES, _WORDS = 548, 28

_FACE_IDENTITIES = 4030
_SENONES = 1706
_ATARI_ACTIONS = 18

_SENNA_SIZES = {"pos": (300, 45), "ner": (375, 17), "chk": (300, 42)}


def deepface() -> onnx.ModelProto:
    """Build DeepFace: two convolutions, three locally connected layers, two fully connected ones."""
    b = Builder("deepface")
    x = b.relu(b.conv(b.input("image", (1, 3, 152, 152)), 32, 11, pad=0))
    x = b.relu(b.conv(b.pool(x, 3, stride=2, ceil=True), 16, 9, pad=0))
    x = b.relu(_local(b, x, size=63, kernel=9))
    x = b.relu(_local(b, x, size=55, kernel=7, stride=2))
    x = b.relu(_local(b, x, size=25, kernel=5))
    x = b.relu(b.dense(b.node("Flatten", x, axis=1), 16 * 21 * 21, 4096))
    y = b.node("Softmax", b.dense(x, 4096, _FACE_IDENTITIES), axis=1)
    return b.model({y: (1, _FACE_IDENTITIES)})


def _local(b: Builder, x: str, *, size: int, kernel: int, stride: int = 1) -> str:
    """Add a locally connected layer to a square image: a convolution with weights of its own at each position.

    The channels of a pixel lie together, so that a patch is gathered in whole rows; each position then is one product
    of its patch with its matrix.
    """
    channels = b.channels(x)
    side = (size - kernel) // stride + 1
    corner = np.arange(side)[:, None] * stride * size + np.arange(side) * stride
    offset = np.arange(kernel)[:, None] * size + np.arange(kernel)
    pixels = corner.reshape(-1, 1) + offset.reshape(1, -1)
    patch = kernel * kernel * channels
    rows = b.node("Transpose", b.reshape(x, channels, size * size), perm=[1, 0])
    patches = b.reshape(b.node("Gather", rows, b.constant(pixels.astype(np.int64)), axis=0), side * side, 1, patch)
    y = b.node("MatMul", patches, b.weight(side * side, patch, channels, fan_in=patch))
    y = b.reshape(y, side * side, channels)
    y = b.node("Add", y, b.weight(side * side, channels, fan_in=10_000, gain=1.0))
    return b.reshape(b.node("Transpose", y, perm=[1, 0]), 1, channels, side, side, channels=channels)


def mnist() -> onnx.ModelProto:
    """Build the Caffe version of LeNet, which has one rectifier."""
    b = Builder("mnist")
    x = b.pool(b.conv(b.input("image", (1, 1, 28, 28)), 20, 5, pad=0, gain=1.0), 2)
    x = b.pool(b.conv(x, 50, 5, pad=0, gain=1.0), 2)
    x = b.relu(b.dense(b.node("Flatten", x, axis=1), 50 * 4 * 4, 500, gain=1.0))
    y = b.node("Softmax", b.dense(x, 500, 10), axis=1)
    return b.model({y: (1, 10)})


def asr() -> onnx.ModelProto:
    """Build the acoustic model of the Tonic suite: all frames of an utterance pass as the rows of one matrix."""
    b = Builder("asr")
    x = b.input("frames", ("seq", 440))
    in_size = 440
    for _ in range(6):
        # A sigmoid's slope is a quarter: four times the deviation carries the signal through six of them.
        x = b.node("Sigmoid", b.dense(x, in_size, 2048, gain=16.0))
        in_size = 2048
    return b.model({b.dense(x, in_size, _SENONES, gain=16.0): ("seq", _SENONES)})


def senna(task: str) -> onnx.ModelProto:
    """Build one of the SENNA taggers, ``"pos"``, ``"ner"`` or ``"chk"``: the words of a sentence as rows."""
    features, tags = _SENNA_SIZES[task]
    b = Builder(f"senna-{task}")
    x = b.dense(b.input("windows", ("seq", features)), features, 300, gain=1.0)
    x = b.node("Clip", x, b.scalar(-1), b.scalar(1))
    return b.model({b.dense(x, 300, tags): ("seq", tags)})


def dqn() -> onnx.ModelProto:
    """Build the deep Q-network for Atari games."""
    b = Builder("dqn")
    x = b.relu(b.conv(b.input("screens", (1, 4, 84, 84)), 32, 8, stride=4, pad=0))
    x = b.relu(b.conv(x, 64, 4, stride=2, pad=0))
    x = b.relu(b.conv(x, 64, 3, pad=0))
    x = b.relu(b.dense(b.node("Flatten", x, axis=1), 64 * 7 * 7, 512))
    return b.model({b.dense(x, 512, _ATARI_ACTIONS): (1, _ATARI_ACTIONS)})


def _senna_network(task: str) -> Network:
    features, tags = _SENNA_SIZES[task]
    return Network(
        name=f"senna-{task}",
        family="senna",
        build=partial(senna, task),
        source=(
            "SENNA (Collobert et al., JMLR 2011) as in the Tonic suite (Hauswald et al., ISCA 2015, DjiNN's "
            f"{task}.prototxt): the input is the embedded window of each word; a sentence has {_WORDS} words"
        ),
        shapes=(
            f"first layer (Gemm): seq x 300, from {features}",
            "HardTanh (Clip): seq x 300",
            f"tags (Gemm): seq x {tags}",
        ),
        dims={"seq": _WORDS},
    )


NETWORKS: tuple[Network, ...] = (
    Network(
        name="deepface",
        family="deepface",
        build=deepface,
        source=(
            "Taigman et al., CVPR 2014: C1-M2-C3-L4-L5-L6-F7-F8 with rectifiers; rounding of sizes after DjiNN's "
            "face.prototxt; ends at the probabilities, where Neurosurgeon counts an argmax, too"
        ),
        published=Published(120e6, None, "Taigman et al., CVPR 2014: more than 120 million parameters"),
    ),
    Network(
        name="mnist",
        family="lenet",
        build=mnist,
        source="LeNet as in Caffe and DjiNN's dig.prototxt; ends at the probabilities, one image at a time",
        published=Published(431e3, 2.293e6, "Han et al., NIPS 2015, table of LeNet-5: 431 K weights, 4586 K FLOP"),
    ),
    Network(
        name="asr",
        family="kaldi-dnn",
        build=asr,
        source=(
            "Kaldi's acoustic model in the Tonic suite (DjiNN's asr.prototxt): 13 layers, 440 features a frame, 1706 "
            f"senones; an utterance has {_FRAMES} frames"
        ),
        shapes=(
            *(
                line
                for layer in range(1, 7)
                for line in (f"fc{layer} (Gemm): seq x 2048", f"sig{layer} (Sigmoid): seq x 2048")
            ),
            f"fc7 (Gemm): seq x {_SENONES}",
        ),
        dims={"seq": _FRAMES},
    ),
    *(_senna_network(task) for task in _SENNA_SIZES),
    Network(
        name="dqn",
        family="dqn",
        build=dqn,
        source="Mnih et al., Nature 2015, with the 18 actions of the Atari 2600",
        published=Published(
            1_693_362,
            9.37e6,
            "parameters: Rusu et al., Policy Distillation, ICLR 2016, table of networks; multiply-adds: torchinfo's "
            "summary of the network with 4 actions",
        ),
    ),
)
