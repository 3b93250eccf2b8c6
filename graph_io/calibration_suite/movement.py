"""Layers that move data and compute nothing."""

import math

import numpy as np
import onnx
from onnx import TensorProto

from graph_io.calibration_suite.bag import Add, Bag, Draw, any_shape, between, draw_channels, image, log_uniform


def _concat(bag: Bag, random: Draw, share: float) -> None:
    parts = int(random.choice([2, 2, 3, 4, 4, 8, 16]))
    elements = between(share, 2e3, 2e6) / parts
    channels = max(4, draw_channels(random, 16, 512) // (2 if parts > 4 else 1))
    size = min(112, max(1, round(math.sqrt(elements / channels))))
    if random.random() < 0.75:
        pieces = [bag.computed(1, channels, size, size) for _ in range(parts)]
        bag.output(bag.node("Concat", *pieces, axis=1))
    else:
        pieces = [bag.computed(1, size * size, channels) for _ in range(parts)]
        bag.output(bag.node("Concat", *pieces, axis=int(random.choice([1, 2]))))


def _split(bag: Bag, random: Draw, share: float) -> None:
    shape = any_shape(random, share, 2e3)
    parts = int(random.choice([2, 3, 4]))
    axis = int(random.choice([1, len(shape) - 1]))
    fitting = [size if at != axis else max(parts, size // parts * parts) for at, size in enumerate(shape)]
    name = bag.node("Split", bag.computed(*fitting), outputs=parts, axis=axis)
    bag.output(name, *(f"{name}.{number}" for number in range(1, parts)))


def _slice(bag: Bag, random: Draw, share: float) -> None:
    shape = any_shape(random, share, 2e3)
    axis = int(random.integers(1, len(shape)))
    end = max(1, int(shape[axis] * random.uniform(0.1, 0.9)))
    bag.output(bag.node("Slice", bag.computed(*shape), bag.whole(0), bag.whole(end), bag.whole(axis)))


def _pad(bag: Bag, random: Draw, share: float) -> None:
    shape = image(random, share, 2e3, 1e6)
    ends = [0, 0, 1, 1, 0, 0, int(random.integers(0, 2)), 1]
    bag.output(bag.node("Pad", bag.computed(*shape), bag.whole(*ends)))


def _transpose(bag: Bag, random: Draw, share: float) -> None:
    elements = between(share, 1e3, 2e6)
    if random.random() < 0.6:
        heads, width = int(random.choice([2, 4, 8, 12, 16])), int(random.choice([32, 64, 64, 128]))
        seq = max(1, round(elements / heads / width))
        order = [[0, 2, 1, 3], [0, 2, 3, 1]][int(random.integers(2))]
        bag.output(bag.node("Transpose", bag.computed(1, seq, heads, width), perm=order))
    elif random.random() < 0.5:
        _, channels, size, _ = image(random, share, 1e3, 2e6)
        order = [[0, 2, 3, 1], [0, 3, 1, 2]][int(random.integers(2))]
        bag.output(bag.node("Transpose", bag.computed(1, channels, size, size), perm=order))
    else:
        groups = int(random.choice([2, 3, 4, 8]))
        _, channels, size, _ = image(random, share, 1e3, 2e6)
        per_group = max(1, channels // groups)
        bag.output(bag.node("Transpose", bag.computed(1, groups, per_group, size, size), perm=[0, 2, 1, 3, 4]))


def _gather(bag: Bag, random: Draw, share: float) -> None:
    if random.random() < 0.5:
        # Rows of a table, as of words.
        rows, width = int(log_uniform(random, 100, 30000)), int(random.choice([50, 64, 128, 256, 300, 512, 768]))
        rows = min(rows, 8_000_000 // width)
        wanted = max(1, int(between(share, 1, 512)))
        bag.output(bag.node("Gather", bag.weight(rows, width), bag.input(1, wanted, dtype=TensorProto.INT64), axis=0))
        return
    # Pixels of an image, one after the other or with all their channels, as of the neighbours of each.
    together, length = int(random.choice([1, 1, 4, 16, 64])), int(log_uniform(random, 100, 20000))
    wanted = max(1, int(between(share, 1e2, 2e6) / together))
    places = bag.whole(*random.integers(0, length, wanted).tolist())
    bag.output(bag.node("Gather", bag.computed(1, length, together), places, axis=1))


def _resize(bag: Bag, random: Draw, share: float) -> None:
    _, channels, size, _ = image(random, share, 5e2, 4e5)
    scales = f"w{len(bag.initializers)}"
    bag.initializers.append(onnx.numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), scales))
    mode = str(random.choice(["nearest", "linear"]))
    bag.output(bag.node("Resize", bag.computed(1, min(channels, 512), size, size), "", scales, mode=mode))


def _cast(bag: Bag, random: Draw, share: float) -> None:
    to = TensorProto.INT64 if random.random() < 0.5 else TensorProto.FLOAT16
    bag.output(bag.node("Cast", bag.computed(*any_shape(random, share)), to=to), dtype=to)


def _expand(bag: Bag, random: Draw, share: float) -> None:
    elements = max(1, round(between(share, 1e3, 1e6) / 256))
    bag.output(bag.node("Expand", bag.computed(1, 1, 256), bag.whole(1, elements, 256)))


def _view(bag: Bag, random: Draw, share: float) -> None:
    shape = any_shape(random, share, 2e3)
    # A kernel behind it, or the view would be a copy into the output.
    bag.output(bag.node("Neg", bag.node("Reshape", bag.computed(*shape), bag.whole(1, -1))))


MOVEMENT: dict[str, Add] = {
    "concat": _concat,
    "split": _split,
    "slice": _slice,
    "pad": _pad,
    "transpose": _transpose,
    "gather": _gather,
    "resize": _resize,
    "cast": _cast,
    "expand": _expand,
    "view": _view,
}
"""By layer type."""
