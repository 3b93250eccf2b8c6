"""Which kernels share a regression, by which terms their time grows, and by which coordinates they differ.

A group holds kernels that one routine of the runtime executes. Its terms are physical: the time is about a sum of
operations and bytes, each at its own rate. Its coordinates say in what else kernels of equal terms differ.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from partition.latency.baseline_variables import KernelFeatures

# Channels are worked on in blocks of this many on a processor with AVX-512, in half as many with AVX2 and Arm NEON's
# fours; the regression finds out from its rows how much of a block that is not full costs.
_BLOCK = 16
# Below this a convolution reads the image as it is, without blocks.
_FEW_CHANNELS = 16
_CONVOLUTIONS = frozenset({"conv", "grouped_conv", "depthwise_conv", "conv_transpose"})
_POOLS = frozenset({"max_pool", "average_pool"})
_RECURRENT = frozenset({"lstm", "gru", "rnn"})
_PRODUCTS = frozenset({"gemm", "matmul"})
# Of these every operator is a routine of its own.
_BY_OPERATOR = frozenset({"activation", "layer_norm", "transcendental", "reorder", "reduce", "argmax", "cast"})

_ARITHMETIC = frozenset({"Add", "Sub", "Mul", "Sum", "Max", "Min"})

# Sizes between which data moves out of a core's own cache, and out of what of the shared one a core gets.
_CACHES_BYTES = ((0.5e6, 2e6), (2e6, 16e6))
# With more than this between two runs nothing is left in a cache, and still more makes no difference.
_BEYOND_CACHES_BYTES = 16e6

Values = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Description:
    """One kernel as its regression sees it.

    Attributes
    ----------
    group : str
        Kernels of a group share a regression.
    wider : str
        The group that serves where `group` has no rows: the same layer type.
    terms : tuple of float
        Amounts of work, all 0 or more; as many in all kernels of a layer type.
    coordinates : tuple of float
        Logarithms of sizes; as many in all kernels of a layer type.
    """

    group: str
    wider: str
    terms: tuple[float, ...]
    coordinates: tuple[float, ...]


def describe(features: KernelFeatures) -> Description:
    """Describe a kernel by its static features; see `graph_io.kernel_features`."""
    kind, values = features.kind, features.values
    # How much else a run touches decides what of a kernel's data is still in a cache.
    context = math.log(min(max(values["resident_bytes"], 1.0), _BEYOND_CACHES_BYTES))
    return Description(
        _group(kind, features.op_type, values), kind, _terms(kind, values), (*_coordinates(kind, values), context)
    )


def _group(kind: str, op_type: str, values: Values) -> str:
    if kind in _CONVOLUTIONS or kind in _POOLS:
        layout = "blocked" if values.get("blocked") else "plain"
        if kind == "conv" and values["blocked"]:
            if values["in_channels"] < _FEW_CHANNELS:
                layout = "image"
            elif values["kernel_height"] * values["kernel_width"] == 1:
                layout = "pointwise"
        return f"{kind}/{layout}"
    if kind == "gemm":
        return f"{kind}/{'vector' if values['m'] == 1 else 'matrix'}"
    if kind == "elementwise":
        if op_type not in _ARITHMETIC:
            return f"{kind}/{op_type}"
        operands = "broadcast" if values.get("broadcast") else f"{min(2, round(values.get('operands', 1)))} operands"
        return f"{kind}/{operands}"
    if kind == "matmul" and values["constant"]:
        return f"{kind}/constant"
    return f"{kind}/{op_type}" if kind in _BY_OPERATOR else kind


def _up(size: float, step: int) -> float:
    return math.ceil(size / step) * step


def _terms(kind: str, values: Values) -> tuple[float, ...]:
    """Return amounts of work: one kernel, bytes of each sort, then what is special to the layer type."""
    moved = (values["read_bytes"], values["write_bytes"], values["weight_bytes"])
    common = (1.0, *moved, *(one * cold for cold in coldness(values["resident_bytes"]) for one in moved))
    if kind == "conv_transpose":
        # A matrix product, then its columns are added into the image.
        area = values["kernel_height"] * values["kernel_width"]
        columns = values["out_channels"] * area * values["batch"] * values["in_height"] * values["in_width"]
        return (*common, values["flops"], columns, columns * _up(values["in_channels"], _BLOCK))
    if kind in _CONVOLUTIONS:
        return (*common, values["flops"], *_convolution_terms(values))
    if kind in _PRODUCTS:
        m, k, n, batch = values["m"], values["k"], values["n"], values["batch"]
        return (*common, values["flops"], batch * _up(m, 6) * k * _up(n, _BLOCK), batch * m, batch * k * n)
    if kind in _RECURRENT:
        steps, hidden, inputs = values["seq"] * values["directions"], values["hidden_size"], values["input_size"]
        # Each step reads all of the recurrent weights, from the cache that holds them.
        recurrent = steps * hidden * hidden
        cold = coldness(values["weight_bytes"] * hidden / (hidden + inputs))
        return (
            *(*common, values["flops"], steps, steps * hidden, steps * hidden * inputs),
            *(recurrent, *(recurrent * one for one in cold)),
        )
    if kind in _POOLS:
        return (*common, values["flops"])
    return (*common, values["output_elements"], values.get("rows", 1.0))


def coldness(size_bytes: float) -> tuple[float, ...]:
    """Return how far, 0 to 1, data lies beyond each of the usual caches, if so much is touched before it is again."""
    return tuple(
        min(1.0, max(0.0, math.log(max(size_bytes, 1.0) / low) / math.log(high / low))) for low, high in _CACHES_BYTES
    )


def _convolution_terms(values: Values) -> tuple[float, ...]:
    """Return the work of a convolution by the shape of its innermost tiles.

    A tile computes up to four blocks of output channels at up to six positions of a row at once; what is left over goes
    by fewer, at less speed. So does each position that touches the padding. Then the reads of weights, once a row.
    """
    groups = values["groups"]
    inside, outside = values["in_channels"] / groups, values["out_channels"] / groups
    area = _taps(values, "height") * _taps(values, "width")
    rows = values["batch"] * values["out_height"]
    width = values["out_width"]
    filled = _up(inside, _BLOCK) if inside >= _FEW_CHANNELS else inside
    if outside == 1:
        # Depthwise: a block holds as many groups.
        blocks, groups, filled = _up(groups, _BLOCK) / _BLOCK, 1.0, 1.0
    else:
        blocks = _up(outside, _BLOCK) / _BLOCK
    if values["kernel_height"] * values["kernel_width"] == 1 and values["stride_width"] == 1:
        # Rows follow each other without a gap.
        width, rows, edge = width * values["out_height"], values["batch"], 0.0
    else:
        reach = (width - 1) * values["stride_width"] + values["dilation"] * (values["kernel_width"] - 1) + 1
        edge = min(width, math.ceil(max(0.0, reach - values["in_width"]) / values["stride_width"]))
    inner = math.ceil(width - edge)
    tiles = (inner // 6, inner % 6 // 3, inner % 3 + (width - inner))
    sets = (blocks // 4, *(float(blocks % 4 == left) for left in (1, 2, 3)))
    work = groups * rows * area * filled
    # Without blocks the image is first copied out, kernel by kernel, for one matrix product.
    copied = groups * inside * values["kernel_height"] * values["kernel_width"] * rows * width
    return (*(work * tile * one for tile in tiles for one in sets), groups * rows * area * inside * outside, copied)


def _taps(values: Values, axis: str) -> float:
    """Return how many positions of the kernel lie within the image along an axis, on average: padding is skipped."""
    size, out, kernel = values[f"in_{axis}"], values[f"out_{axis}"], values[f"kernel_{axis}"]
    stride, dilation = values[f"stride_{axis}"], values["dilation"]
    before = max(0.0, (out - 1) * stride + dilation * (kernel - 1) + 1 - size) // 2
    inside = 0.0
    for position in range(int(kernel)):
        offset = position * dilation - before
        first = max(0, math.ceil(-offset / stride))
        last = min(out - 1, (size - 1 - offset) // stride)
        inside += max(0.0, last - first + 1)
    return max(inside / out, 1.0 / kernel)


def _coordinates(kind: str, values: Values) -> tuple[float, ...]:
    def logs(*sizes: float) -> tuple[float, ...]:
        return tuple(math.log(max(size, 1.0)) for size in sizes)

    if kind in _CONVOLUTIONS:
        # A depthwise convolution has one channel in each of its groups: there the groups are the size.
        groups = 1.0 if kind == "depthwise_conv" else values["groups"]
        return logs(
            values["in_channels"] / groups,
            values["out_channels"] / groups,
            values["batch"] * values["out_height"] * values["out_width"],
            values["out_width"],
            1 + _taps(values, "height") * _taps(values, "width"),
            values["kernel_width"],
            values["stride_width"],
            1 + values["activation"],
            1 + values["sum"],
            values["dilation"],
            groups,
        )
    if kind in _POOLS:
        return logs(
            values["batch"] * values["channels"],
            values["out_height"] * values["out_width"],
            values["kernel_height"] * values["kernel_width"],
            values["stride_width"],
        )
    if kind in _PRODUCTS:
        return logs(values["m"], values["k"], values["n"], values["batch"], 1 + values["transposed"])
    if kind in _RECURRENT:
        return logs(values["seq"], values["input_size"], values["hidden_size"], values["directions"])
    elements = max(values["output_elements"], values["input_elements"], 1.0)
    extra = (values.get(name, 0.0) for name in ("operands", "broadcast", "parts", "inner", "last", "together"))
    return logs(elements, elements / max(values.get("rows", 1.0), 1.0), *(1 + one for one in extra))
