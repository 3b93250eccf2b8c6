"""A small convolutional network trained on scikit-learn's digits, in plain NumPy, as an ONNX model."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import onnx
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from onnx import helper, numpy_helper

Array = NDArray[np.float32]
SIDE = 128
N_TRAIN = 1200
WIDE, NARROW = (1, 16, 16, 24, 32, 512, 512), (1, 16, 16, 24, 32, 384, 384)
"""Channels between the layers: few where the image shrinks, and many behind that, where the work is."""
_STRIDES = (2, 2, 2, 2, 1, 1)
_BATCH, _RATE = 20, 1e-3


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """The model, and data that it was not trained on beside some that it was."""

    model: onnx.ModelProto
    train_images: Array
    train_labels: NDArray[Any]
    test_images: Array
    test_labels: NDArray[Any]


def trained_network(channels: tuple[int, ...], epochs: int, *, seed: int) -> Trained:
    """Train the network; a few seconds an epoch."""
    from sklearn.datasets import load_digits
    from threadpoolctl import threadpool_limits

    digits = load_digits()
    draw = np.random.default_rng(seed)
    order = draw.permutation(len(digits.target))
    small = (digits.images[order] / 8.0 - 1.0).astype(np.float32)
    images = small.repeat(SIDE // 8, axis=1).repeat(SIDE // 8, axis=2)[:, None]
    labels = digits.target[order]
    weights = _drawn(draw, channels)
    moments = [(np.zeros_like(one), np.zeros_like(one)) for one in weights]
    batches = np.concatenate([draw.permutation(N_TRAIN).reshape(-1, _BATCH) for _ in range(epochs)])
    for step, picked in enumerate(batches, start=1):
        # Products of this size gain nothing from a second thread, and wait for it where the machine is busy.
        with threadpool_limits(1):
            gradients = _gradients(weights, images[picked], labels[picked])
        for one, gradient, (mean, square) in zip(weights, gradients, moments, strict=True):
            mean += 0.1 * (gradient - mean)
            square += 0.001 * (gradient**2 - square)
            scaled = mean / (1 - 0.9**step) / (np.sqrt(square / (1 - 0.999**step)) + 1e-8)
            one -= (_RATE * scaled).astype(np.float32)
    return Trained(_as_onnx(weights), images[:N_TRAIN], labels[:N_TRAIN], images[N_TRAIN:], labels[N_TRAIN:])


def _drawn(draw: np.random.Generator, channels: tuple[int, ...]) -> list[Array]:
    weights: list[Array] = []
    for source, target in pairwise(channels):
        weights.append((draw.standard_normal((target, source * 9)) * np.sqrt(2 / (source * 9))).astype(np.float32))
        weights.append(np.zeros(target, np.float32))
    features = channels[-1] * (SIDE // 16) ** 2
    weights.append((draw.standard_normal((features, 10)) / np.sqrt(features)).astype(np.float32))
    weights.append(np.zeros(10, np.float32))
    return weights


def _columns(x: Array, stride: int) -> Array:
    """Return the 3 x 3 neighbourhoods of each place, (batch * height * width, channels * 9)."""
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = sliding_window_view(padded, (3, 3), axis=(2, 3))[:, :, ::stride, ::stride]
    batch, channels, height, width = windows.shape[:4]
    return np.ascontiguousarray(windows.transpose(0, 2, 3, 1, 4, 5)).reshape(batch * height * width, channels * 9)


def _gradients(weights: list[Array], x: Array, labels: NDArray[Any]) -> list[Array]:
    batch = len(x)
    kept: list[tuple[Array, Array, tuple[int, ...]]] = []
    for layer, stride in enumerate(_STRIDES):
        columns = _columns(x, stride)
        side = -(-x.shape[2] // stride)
        out = np.maximum(columns @ weights[2 * layer].T + weights[2 * layer + 1], 0)
        kept.append((columns, out, x.shape))
        x = out.reshape(batch, side, side, -1).transpose(0, 3, 1, 2)
    features = x.reshape(batch, -1)
    scores = features @ weights[-2] + weights[-1]
    chances = np.exp(scores - scores.max(axis=1, keepdims=True))
    chances /= chances.sum(axis=1, keepdims=True)
    chances[np.arange(batch), labels] -= 1
    chances /= batch
    found: list[Array] = [features.T @ chances, chances.sum(axis=0)]
    flowing = (chances @ weights[-2].T).reshape(x.shape).transpose(0, 2, 3, 1).reshape(-1, x.shape[1])
    for layer in reversed(range(len(_STRIDES))):
        columns, out, shape = kept[layer]
        flowing = flowing * (out > 0)
        found = [flowing.T @ columns, flowing.sum(axis=0), *found]
        if layer:
            flowing = _scattered(flowing @ weights[2 * layer], shape, _STRIDES[layer])
    return found


def _scattered(columns: Array, shape: tuple[int, ...], stride: int) -> Array:
    """Add neighbourhoods up again, (batch * height * width, channels): the transpose of `_columns`."""
    batch, channels, height, width = shape
    rows, across = -(-height // stride), -(-width // stride)
    windows = columns.reshape(batch, rows, across, channels, 3, 3)
    padded = np.zeros((batch, height + 2, width + 2, channels), np.float32)
    for down in range(3):
        for right in range(3):
            ends = (down + stride * (rows - 1) + 1, right + stride * (across - 1) + 1)
            padded[:, down : ends[0] : stride, right : ends[1] : stride] += windows[..., down, right]
    return padded[:, 1:-1, 1:-1].reshape(-1, channels)


def _as_onnx(weights: list[Array]) -> onnx.ModelProto:
    nodes, stored, name = [], {}, "image"
    for layer, stride in enumerate(_STRIDES):
        kernel, bias, out = f"w{layer}", f"b{layer}", f"conv{layer}"
        stored[kernel] = weights[2 * layer].reshape(len(weights[2 * layer]), -1, 3, 3)
        stored[bias] = weights[2 * layer + 1]
        nodes.append(
            helper.make_node("Conv", [name, kernel, bias], [out], f"conv{layer}", strides=[stride] * 2, pads=[1] * 4)
        )
        nodes.append(helper.make_node("Relu", [out], [f"relu{layer}"], f"relu{layer}"))
        name = f"relu{layer}"
    stored |= {"w": weights[-2], "b": weights[-1]}
    nodes += [
        helper.make_node("Flatten", [name], ["features"], "flatten"),
        helper.make_node("Gemm", ["features", "w", "b"], ["scores"], "linear"),
    ]
    graph = helper.make_graph(
        nodes,
        "digits",
        [helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, [1, 1, SIDE, SIDE])],
        [helper.make_tensor_value_info("scores", onnx.TensorProto.FLOAT, [1, 10])],
        [numpy_helper.from_array(np.ascontiguousarray(value), key) for key, value in stored.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
