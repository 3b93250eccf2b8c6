"""Train the network: Adam in plain NumPy, with an early exit on the sum of both losses."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import onnx
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from benchmarks.digits.network import EXIT_SIDE, SIDE, Array, Shape, as_onnx

N_TRAIN = 1200
WIDE, NARROW = Shape((1, 16, 16, 24, 32, 512, 512)), Shape((1, 16, 16, 24, 32, 384, 384))
"""Few channels where the image shrinks, and many behind that, where the work is."""
_BATCH, _RATE = 20, 1e-3


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """The model, and data that it was not trained on beside some that it was."""

    model: onnx.ModelProto
    train_images: Array
    train_labels: NDArray[Any]
    test_images: Array
    test_labels: NDArray[Any]


def trained_network(shape: Shape, epochs: int, *, seed: int, n_train: int = N_TRAIN) -> Trained:
    """Train the network; a few seconds an epoch.

    Parameters
    ----------
    shape : Shape
    epochs : int
    seed : int
        Of the order of the images and of the first weights.
    n_train : int
        Images to train on, a multiple of 20; the others are the test images.
    """
    from sklearn.datasets import load_digits
    from threadpoolctl import threadpool_limits

    digits = load_digits()
    draw = np.random.default_rng(seed)
    order = draw.permutation(len(digits.target))
    small = (digits.images[order] / 8.0 - 1.0).astype(np.float32)
    images = small.repeat(SIDE // 8, axis=1).repeat(SIDE // 8, axis=2)[:, None]
    labels = digits.target[order]
    weights = _drawn(draw, shape)
    if shape.exit_behind is not None:
        # From numbers of its own, so that the rest of the network starts as without it.
        weights += _drawn_linear(np.random.default_rng([seed, 1]), shape.channels[shape.exit_behind + 1] * EXIT_SIDE**2)
    moments = [(np.zeros_like(one), np.zeros_like(one)) for one in weights]
    batches = np.concatenate([draw.permutation(n_train).reshape(-1, _BATCH) for _ in range(epochs)])
    for step, picked in enumerate(batches, start=1):
        # Products of this size gain nothing from a second thread, and wait for it where the machine is busy.
        with threadpool_limits(1):
            gradients = _gradients(shape, weights, images[picked], labels[picked])
        for one, gradient, (mean, square) in zip(weights, gradients, moments, strict=True):
            mean += 0.1 * (gradient - mean)
            square += 0.001 * (gradient**2 - square)
            scaled = mean / (1 - 0.9**step) / (np.sqrt(square / (1 - 0.999**step)) + 1e-8)
            one -= (_RATE * scaled).astype(np.float32)
    return Trained(as_onnx(shape, weights), images[:n_train], labels[:n_train], images[n_train:], labels[n_train:])


def _drawn(draw: np.random.Generator, shape: Shape) -> list[Array]:
    weights: list[Array] = []
    for source, target in pairwise(shape.channels):
        weights.append((draw.standard_normal((target, source * 9)) * np.sqrt(2 / (source * 9))).astype(np.float32))
        weights.append(np.zeros(target, np.float32))
    return weights + _drawn_linear(draw, shape.channels[-1] * shape.side(-1) ** 2)


def _drawn_linear(draw: np.random.Generator, features: int) -> list[Array]:
    return [
        (draw.standard_normal((features, 10)) / np.sqrt(features)).astype(np.float32),
        np.zeros(10, np.float32),
    ]


def _columns(x: Array, stride: int) -> Array:
    """Return the 3 x 3 neighbourhoods of each place, (batch * height * width, channels * 9)."""
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = sliding_window_view(padded, (3, 3), axis=(2, 3))[:, :, ::stride, ::stride]
    batch, channels, height, width = windows.shape[:4]
    return np.ascontiguousarray(windows.transpose(0, 2, 3, 1, 4, 5)).reshape(batch * height * width, channels * 9)


def _gradients(shape: Shape, weights: list[Array], x: Array, labels: NDArray[Any]) -> list[Array]:
    linear = weights[2 * shape.n_convolutions :]
    kept: list[tuple[Array, Array, tuple[int, ...]]] = []
    early: list[Array] = []
    into_exit = np.zeros(0, np.float32)
    for layer, stride in enumerate(shape.strides):
        columns = _columns(x, stride)
        side = -(-x.shape[2] // stride)
        out = np.maximum(columns @ weights[2 * layer].T + weights[2 * layer + 1], 0)
        kept.append((columns, out, x.shape))
        x = out.reshape(len(x), side, side, -1).transpose(0, 3, 1, 2)
        if layer == shape.exit_behind:
            window = side // EXIT_SIDE
            pooled = x.reshape(len(x), -1, EXIT_SIDE, window, EXIT_SIDE, window).mean(axis=(3, 5))
            early, flowing = _of_linear(linear[2:], pooled, labels)
            into_exit = flowing.repeat(window, axis=2).repeat(window, axis=3) / window**2
    last, flowing = _of_linear(linear[:2], x, labels)
    found = [*last, *early]
    flowing = _rows(flowing)
    for layer in reversed(range(shape.n_convolutions)):
        columns, out, source = kept[layer]
        if layer == shape.exit_behind:
            flowing = flowing + _rows(into_exit)
        flowing = flowing * (out > 0)
        found = [flowing.T @ columns, flowing.sum(axis=0), *found]
        if layer:
            flowing = _scattered(flowing @ weights[2 * layer], source, shape.strides[layer])
    return found


def _of_linear(weights: list[Array], x: Array, labels: NDArray[Any]) -> tuple[list[Array], Array]:
    """Return the gradients of a linear layer's weights, and of what it reads."""
    batch = len(x)
    features = x.reshape(batch, -1)
    scores = features @ weights[0] + weights[1]
    chances = np.exp(scores - scores.max(axis=1, keepdims=True))
    chances /= chances.sum(axis=1, keepdims=True)
    chances[np.arange(batch), labels] -= 1
    chances /= batch
    return [features.T @ chances, chances.sum(axis=0)], (chances @ weights[0].T).reshape(x.shape)


def _rows(x: Array) -> Array:
    """Return maps as (batch * height * width, channels)."""
    return x.transpose(0, 2, 3, 1).reshape(-1, x.shape[1])


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
