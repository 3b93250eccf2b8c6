"""Layers that compute: convolutions, matrix products, recurrent layers."""

import math
from collections.abc import Sequence

from graph_io.calibration_suite.bag import Add, Bag, Draw, between, draw_channels, log_uniform

_MOST_FLOPS = 2e9
_KERNELS: Sequence[tuple[int, int]] = ((3, 3), (1, 1), (5, 5), (7, 7), (1, 7), (7, 1), (1, 3), (3, 1), (4, 4), (2, 2))
_KERNEL_SHARES = (0.40, 0.30, 0.08, 0.04, 0.035, 0.035, 0.03, 0.03, 0.03, 0.02)


def _spatial(random: Draw, out_channels: int, in_channels: int, area: int, share: float, most: int = 224) -> int:
    """Return an output size at which a convolution does a share of the range of work that networks have."""
    flops = between(share, 3e5, _MOST_FLOPS)
    size = math.sqrt(flops / (2.0 * area * out_channels * in_channels))
    # Images are seldom smaller than this when a kernel looks at neighbours.
    least = 1 if area == 1 else int(random.integers(3, 9))
    return int(min(most, max(least, round(size * random.uniform(0.8, 1.25)))))


def _conv(bag: Bag, random: Draw, share: float) -> None:
    height, width = _KERNELS[int(random.choice(len(_KERNELS), p=_KERNEL_SHARES))]
    top = 2048 if height * width == 1 else 1024 if height * width <= 9 else 512
    source, target = draw_channels(random, 16, top), draw_channels(random, 16, top)
    size = _spatial(random, target, source, height * width, share)
    stride = 2 if random.random() < 0.15 else 1
    dilation = 2 if height * width > 1 and random.random() < 0.05 else 1
    _add_conv(bag, random, source, target, size, (height, width), stride, 1, dilation)


def _first_conv(bag: Bag, random: Draw, share: float) -> None:
    kernel, stride = [(3, 1), (3, 2), (5, 1), (5, 2), (7, 2), (8, 4), (11, 4), (4, 2), (9, 1)][int(random.integers(9))]
    source = int(random.choice([1, 2, 3, 3, 3, 4, 6, 8, 12]))
    target = int(random.choice([16, 24, 32, 32, 64, 64, 96, 128]))
    size = int(between(share, 8, 440 / stride))
    _add_conv(bag, random, source, target, size, (kernel, kernel), stride, 1, 1)


def _grouped_conv(bag: Bag, random: Draw, share: float) -> None:
    groups = int(random.choice([2, 2, 3, 4, 8, 32]))
    per_group = max(2, draw_channels(random, 8, 256) // (4 if groups > 4 else 1))
    out_per_group = max(
        2, per_group if random.random() < 0.6 else draw_channels(random, 8, 256) // (4 if groups > 4 else 1)
    )
    kernel = int(random.choice([1, 3, 3, 5]))
    size = _spatial(random, out_per_group * groups, per_group, kernel * kernel, share, 112)
    stride = 2 if random.random() < 0.2 else 1
    _add_conv(bag, random, per_group * groups, out_per_group * groups, size, (kernel, kernel), stride, groups, 1)


def _depthwise_conv(bag: Bag, random: Draw, share: float) -> None:
    channels = draw_channels(random, 16, 1280)
    kernel, stride = int(random.choice([1, 3, 3, 3, 5, 7])), int(random.choice([1, 1, 1, 2]))
    elements = between(share, 2e3, 2e6)
    size = int(min(150, max(1, round(math.sqrt(elements / channels)))))
    _add_conv(bag, random, channels, channels, size, (kernel, kernel), stride, channels, 1)


def _add_conv(
    bag: Bag,
    random: Draw,
    source: int,
    target: int,
    size: int,
    kernel: tuple[int, int],
    stride: int,
    groups: int,
    dilation: int,
) -> None:
    area = kernel[0] * kernel[1]
    if kernel[0] == kernel[1] and random.random() < 0.2:
        # Not square, as in speech: the same number of positions, another width.
        height, width = max(1, size // 2), size * 2
    else:
        height = width = size
    same = random.random() < 0.85
    pads = [dilation * (one - 1) // 2 if same else 0 for one in (*kernel, *kernel)]
    shape = [
        max((one - 1) * stride + dilation * (k - 1) + 1 - 2 * p, 1)
        for one, k, p in zip((height, width), kernel, pads[:2], strict=True)
    ]
    weight = bag.weight(target, source // groups, *kernel, fan_in=source // groups * area)
    bias = bag.weight(target, fan_in=10000)
    x = bag.input(1, source, *shape)
    y = bag.node(
        "Conv", x, weight, bias,
        kernel_shape=list(kernel), strides=[stride] * 2, pads=pads, group=groups, dilations=[dilation] * 2,
    )  # fmt: skip
    what = random.random()
    if what < 0.2 and target >= 16 and height * width > 1:
        other = bag.input(1, target, height, width)
        y = bag.node("Add", y, bag.node("MaxPool", other, kernel_shape=[1, 1], strides=[1, 1]))
    if what < 0.7:
        y = bag.node("Relu", y)
    bag.size_bytes += 4.0 * target * height * width
    bag.output(y)


def _conv_transpose(bag: Bag, random: Draw, share: float) -> None:
    source, target = draw_channels(random, 16, 512), int(random.choice([1, 3, 16, 32, 64, 128, 256, 512]))
    kernel, stride, pad = [(4, 2, 1), (2, 2, 0), (5, 2, 2), (3, 2, 1), (3, 1, 1), (4, 1, 0)][int(random.integers(6))]
    size = _spatial(random, target, source, kernel * kernel, share, 128)
    weight = bag.weight(source, target, kernel, kernel, fan_in=source * kernel)
    x = bag.computed(1, source, size, size)
    y = bag.node(
        "ConvTranspose", x, weight, bag.weight(target, fan_in=10000),
        kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=[pad] * 4,
    )  # fmt: skip
    bag.output(y)


def _gemm(bag: Bag, random: Draw, share: float) -> None:
    rows = 1 if random.random() < 0.5 else int(log_uniform(random, 2, 512))
    work = between(share, 2e3, 4e7 if rows == 1 else 1e9 / rows)
    k = int(min(25088, max(4, math.sqrt(work) * log_uniform(random, 0.25, 4))))
    n = int(min(8192, max(2, work / k)))
    if random.random() < 0.7:
        k, n = max(4, k // 16 * 16), max(2, n // 8 * 8)
    weight = (n, k)
    x = bag.computed(rows, k)
    y = bag.node("Gemm", x, bag.weight(*weight, fan_in=k), bag.weight(n), transB=1)
    bag.output(bag.node("Relu", y) if random.random() < 0.4 else y)


def _projection(bag: Bag, random: Draw, share: float) -> None:
    rows = int(log_uniform(random, 4, 512))
    work = between(share, 1e3, 1.2e9 / rows)
    k = max(8, int(math.sqrt(work) * log_uniform(random, 0.5, 2)) // 8 * 8)
    n = max(8, int(work / k) // 8 * 8)
    y = bag.node("MatMul", bag.computed(1, rows, k), bag.weight(k, n, fan_in=k))
    bag.output(bag.node("Add", y, bag.weight(n)) if random.random() < 0.5 else y)


def _matmul(bag: Bag, random: Draw, share: float) -> None:
    heads = int(random.choice([1, 2, 4, 8, 12, 12, 16]))
    m, n = int(log_uniform(random, 4, 512)), int(log_uniform(random, 4, 512))
    if random.random() < 0.6:
        n = m
    inner = int(random.choice([16, 32, 64, 64, 64, 128]))
    if random.random() < 0.5:
        inner, n = n, inner
    left, right = bag.computed(1, heads, m, inner), bag.computed(1, heads, inner, n)
    bag.output(bag.node("MatMul", left, right))


def _local(bag: Bag, random: Draw, share: float) -> None:
    """Add a product with a matrix of its own at each position, as a locally connected layer has."""
    positions, inner = int(log_uniform(random, 16, 4000)), int(random.choice([16, 75, 144, 256, 400, 784]))
    outer = max(4, min(64, int(between(share, 1e5, 2.5e7) / positions / inner)))
    positions = min(positions, max(16, int(2.5e7 / inner / outer)))
    left = bag.computed(positions, 1, inner)
    bag.output(bag.node("MatMul", left, bag.weight(positions, inner, outer, fan_in=inner)))


def _recurrent(kind: str, gates: int) -> Add:
    def add(bag: Bag, random: Draw, share: float) -> None:
        hidden = int(random.choice([32, 64, 100, 128, 200, 256, 300, 384, 512, 600, 800, 1024]))
        inputs = int(random.choice([32, 64, 100, 128, 256, 300, 512, 600, 1024, 1536]))
        directions = int(random.choice([1, 2]))
        # Sequences are seldom shorter than this.
        least = int(random.integers(3, 16))
        steps = max(least, round(between(share, 1e5, 3e9) / (2 * gates * directions * hidden * (hidden + inputs))))
        steps = min(steps, 400)
        weight = bag.weight(directions, gates * hidden, inputs, fan_in=inputs)
        recurrent = bag.weight(directions, gates * hidden, hidden, fan_in=hidden)
        bias = bag.weight(directions, 2 * gates * hidden, fan_in=100)
        y = bag.node(
            kind, bag.computed(steps, 1, inputs), weight, recurrent, bias,
            hidden_size=hidden, direction="bidirectional" if directions == 2 else "forward",
        )  # fmt: skip
        bag.output(y)

    return add


ARITHMETIC: dict[str, Add] = {
    "conv": _conv,
    "first conv": _first_conv,
    "grouped conv": _grouped_conv,
    "depthwise conv": _depthwise_conv,
    "transposed conv": _conv_transpose,
    "gemm": _gemm,
    "projection": _projection,
    "matmul": _matmul,
    "local": _local,
    "lstm": _recurrent("LSTM", 4),
    "gru": _recurrent("GRU", 3),
    "rnn": _recurrent("RNN", 1),
}
"""By layer type."""
