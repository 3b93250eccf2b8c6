"""Predict the time of layers on a machine that they were never measured on, by the machine's roofline.

A layer takes as long as its arithmetic or its memory traffic, whichever is longer, plus a fixed overhead (Williams,
Waterman and Patterson, "Roofline", Communications of the ACM 52(4), 2009, doi:10.1145/1498765.1498785). The inside of a
fused layer stays in cache; only its inputs, weights and outputs count as traffic.
"""

import math
from collections.abc import Mapping
from typing import Protocol

from partition.errors import InputError
from partition.latency.machines import Roofline

# The operators whose arithmetic dominates a fused group, whatever is fused to them.
_DOMINANT = frozenset(
    {
        "Attention",
        "Conv",
        "ConvInteger",
        "ConvTranspose",
        "DeformConv",
        "Einsum",
        "GRU",
        "Gemm",
        "LSTM",
        "MatMul",
        "MatMulInteger",
        "QLinearConv",
        "QLinearMatMul",
        "RNN",
    }
)


class HasRoofline(Protocol):
    """A machine, as far as this needs it."""

    @property
    def roofline(self) -> Roofline:
        """What bounds a layer there."""


class LayerFeatures(Protocol):
    """What the prediction needs to know of a layer."""

    @property
    def op_types(self) -> tuple[str, ...]:
        """The ONNX operator types of the fused group, in topological order."""

    @property
    def flops(self) -> float:
        """Floating point operations, a multiplication with an addition being two."""

    @property
    def traffic_bytes(self) -> int:
        """Bytes moved to and from memory: inputs, outputs and weights."""


def roofline_layer_s(machine: HasRoofline, layer: LayerFeatures) -> float:
    """Predict the time of one layer.

    Parameters
    ----------
    machine : Machine
        Where it would run.
    layer : LayerFeatures
        What it does. The efficiency is that of its main operator type: the first that dominates by its nature
        (a convolution, a matrix product, a recurrent layer), else the first that the machine names, else the default.

    Returns
    -------
    float
        Seconds: the larger of arithmetic and memory time, plus the overhead of a layer. Zero only for a layer without
        any operator, operation or byte.

    Raises
    ------
    InputError
        A feature of the layer is negative or not finite.
    """
    return _roofline_s(machine, layer, "the layer")


def roofline_s(machine: HasRoofline, layers: Mapping[str, LayerFeatures]) -> dict[str, float]:
    """Predict the time of each layer; see `roofline_layer_s`.

    Parameters
    ----------
    machine : Machine
        Where they would run.
    layers : mapping of str to LayerFeatures
        What each layer does, by its id.

    Returns
    -------
    dict of str to float
        Seconds by layer id, in the order given.

    Raises
    ------
    InputError
        A feature of a layer is negative or not finite; the message names the layer.
    """
    return {name: _roofline_s(machine, layer, f"layer {name!r}") for name, layer in layers.items()}


def _roofline_s(machine: HasRoofline, layer: LayerFeatures, what: str) -> float:
    for feature in ("flops", "traffic_bytes"):
        value = getattr(layer, feature)
        if not (math.isfinite(value) and value >= 0):
            raise InputError(
                f"{what}: {feature} is {value!r}, expected a finite number, 0 or more; give its true value"
            )
    if not layer.op_types and layer.flops == 0 and layer.traffic_bytes == 0:
        return 0.0
    roofline = machine.roofline
    arithmetic_s = layer.flops / (roofline.peak_flops_per_s * _efficiency(machine, layer.op_types))
    memory_s = layer.traffic_bytes / roofline.memory_bytes_per_s
    return max(arithmetic_s, memory_s) + roofline.layer_overhead_s


def _efficiency(machine: HasRoofline, op_types: tuple[str, ...]) -> float:
    """Return the share of the peak that the main operator type of a group reaches."""
    shares = machine.roofline.compute_efficiency
    dominant = next((one for one in op_types if one in _DOMINANT), None)
    main = dominant if dominant is not None else next((one for one in op_types if one in shares), "default")
    return shares.get(main, shares["default"])
