"""Predict the layers of a graph on a calibrated machine, kernel by kernel, as the runtime would run them.

The kernels of the optimised graph are predicted one by one and given to the layers whose work they do, exactly as a
profile is. A layer type that was not calibrated is estimated by the machine's roofline and named.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from partition.errors import InputError
from partition.latency.baseline_variables import KernelFeatures
from partition.latency.calibration import Calibration
from partition.latency.machines import Machine
from partition.latency.profiling import kernel_level
from partition.latency.regression import NAME
from partition.latency.sharing import layer_shares, sharing_weights

if TYPE_CHECKING:
    from graph_io import DeployedKernel, LayerGraph

ESTIMATED = "estimated"
"""The source of error of what the roofline estimates."""
# Standard deviation of the logarithm of such an estimate: a factor of two either way.
_ESTIMATE_DEVIATION = 0.69


@dataclass(frozen=True, slots=True)
class LayerCosts:
    """What each layer of a graph takes on one machine.

    Attributes
    ----------
    seconds : dict of str to float
        By layer id.
    deviations_s : dict of str to dict of str to float
        By layer id the standard deviation of its error by source; errors of one source go together, those of different
        sources do not. Empty where nothing is known of the error.
    memory_shares : dict of str to float
        By layer id the share of its time, 0 to 1, that memory bounds; empty where that is not known.
    notes : tuple of str
        What a reader should know.
    conversions_s : dict of str to (float, float)
        By tensor what the machine pays to hand it out and to take it in; 0 for those that are not in it.
    """

    seconds: dict[str, float]
    deviations_s: dict[str, dict[str, float]] = field(default_factory=dict)
    memory_shares: dict[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    conversions_s: dict[str, tuple[float, float]] = field(default_factory=dict)


def predict_layers(
    machine: Machine, graph: "LayerGraph", *, threads: int | None = None, regression: str = NAME
) -> LayerCosts:
    """Predict the time of every layer of a graph on a calibrated machine.

    Parameters
    ----------
    machine : Machine
        With a calibration.
    graph : networkx.DiGraph
        From `graph_io.load_graph`; its kernels are listed once and kept in it.
    threads : int, optional
        One of those that were calibrated; the machine file's own if not given.
    regression : str
        One of `calibration.REGRESSIONS`.

    Raises
    ------
    InputError
        The machine has no calibration, or none at so many threads; an unknown regression.
    graph_io.ModelError
        The model's kernels cannot be listed.

    Notes
    -----
    Linear in the number of kernels of different size, times the square of the rows of their groups.
    """
    from graph_io import kernel_list, layout_conversions

    calibration = machine.calibration
    if calibration is None:
        raise InputError(
            f"machine '{machine.name}' is a {machine.kind}, not calibrated; run dnn-partition calibrate there"
        )
    count = _threads(machine, calibration, threads)
    level = kernel_level(machine.runtime.provider)
    kernels, conversions = kernel_list(graph, level=level), layout_conversions(graph, level=level)
    priced = _price(machine, calibration, [one.features for one in kernels], count, regression)
    extras = {
        (one.operator, one.shape): one.features for both in conversions for one in (*both.leaving, *both.entering)
    }
    extra_s = dict(
        zip(extras, _price(machine, calibration, list(extras.values()), count, regression).seconds, strict=True)
    )
    shared = any(len(kernel.layers) > 1 for kernel in kernels)
    weights = sharing_weights({layer: data["layer"] for layer, data in graph.nodes(data=True)}) if shared else {}
    call_s = calibration.overhead(count).call_s / max(1, len(kernels))
    seconds = dict.fromkeys(graph.nodes, 0.0)
    deviations: dict[str, dict[str, float]] = {layer: {} for layer in graph.nodes}
    memory_s = dict.fromkeys(graph.nodes, 0.0)
    for kernel, own_s, deviation_s, bytes_s, source in zip(
        kernels, priced.seconds, priced.deviations_s, priced.bytes_s, priced.sources, strict=True
    ):
        total_s = own_s + call_s
        for layer, share in layer_shares(kernel.layers, weights):
            seconds[layer] += total_s * share
            memory_s[layer] += min(total_s, bytes_s) * share
            if deviation_s == deviation_s:
                by_source = deviations[layer]
                by_source[source] = by_source.get(source, 0.0) + deviation_s * share
    return LayerCosts(
        seconds,
        deviations,
        {layer: memory_s[layer] / seconds[layer] if seconds[layer] > 0 else 0.0 for layer in seconds},
        _notes(machine, kernels, seconds, priced),
        {both.tensor: both.seconds(lambda extra: extra_s[extra.operator, extra.shape]) for both in conversions},
    )


def _threads(machine: Machine, calibration: Calibration, threads: int | None) -> int:
    count = machine.runtime.threads if threads is None else threads
    if count not in calibration.threads:
        known = " or ".join(map(str, calibration.threads))
        raise InputError(
            f"machine '{machine.name}' was calibrated at {known} threads, asked for is {count}; ask for one of these, "
            f"or run there: dnn-partition calibrate --threads {count}"
        )
    return count


@dataclass(frozen=True, slots=True)
class _Priced:
    """Kernels with their times; a deviation that is not known is nan."""

    seconds: list[float]
    deviations_s: list[float]
    bytes_s: list[float]
    sources: list[str]
    estimated: Counter[str]
    beyond: int


def _price(
    machine: Machine, calibration: Calibration, features: Sequence[KernelFeatures], threads: int, regression: str
) -> _Priced:
    if not features:
        return _Priced([], [], [], [], Counter(), 0)
    if regression == NAME:
        found = calibration.own_regression.predict(features, threads=threads)
        kernel_s, relative, groups = found.seconds, found.deviation, found.groups
        beyond = int(np.count_nonzero(~found.in_range & ~np.isnan(kernel_s)))
    else:
        kernel_s = calibration.regression(regression).predict_s(features, threads=threads)
        relative, groups, beyond = np.full(len(features), np.nan), tuple(one.kind for one in features), 0
    priced = _Priced([], [], [], [], Counter(), beyond)
    for one, own_s, deviation, group in zip(features, kernel_s.tolist(), relative.tolist(), groups, strict=True):
        values, source = one.values, group
        bytes_s = (
            values["read_bytes"] + values["write_bytes"] + values["weight_bytes"]
        ) / machine.roofline.memory_bytes_per_s
        if not own_s > 0:
            # No rows, or a published regression went below zero: never a silent zero.
            own_s, deviation, source = _estimate_s(machine, one, bytes_s), _ESTIMATE_DEVIATION, ESTIMATED
            priced.estimated[one.kind.removeprefix("other:")] += 1
        priced.seconds.append(own_s)
        priced.deviations_s.append(own_s * deviation)
        priced.bytes_s.append(bytes_s)
        priced.sources.append(source)
    return priced


def _notes(
    machine: Machine, kernels: "Sequence[DeployedKernel]", seconds: Mapping[str, float], priced: _Priced
) -> tuple[str, ...]:
    notes = []
    if priced.estimated:
        listed = ", ".join(f"{kind} ({number})" for kind, number in sorted(priced.estimated.items()))
        notes.append(
            f"{machine.name} has no calibration of {listed}: estimated by its roofline; measure the model there for a "
            "decision that matters: dnn-partition profile MODEL -o timings.json"
        )
    if priced.beyond:
        count = len(priced.seconds)
        notes.append(f"{priced.beyond} of {count} kernels are outside the sizes that {machine.name} was calibrated at")
    several = sum(len(kernel.layers) > 1 for kernel in kernels)
    if several:
        notes.append(f"{several} kernels do the work of several layers, which share the time by predicted parts")
    nothing = [layer for layer, own_s in seconds.items() if own_s == 0]
    if nothing:
        more = f" and {len(nothing) - 3} more" if len(nothing) > 3 else ""
        notes.append(
            f"{len(nothing)} layers take no time, since the runtime leaves them out: {', '.join(nothing[:3])}{more}"
        )
    return tuple(notes)


def total_deviation_s(deviations_s: Iterable[Mapping[str, float]]) -> float:
    """Add up the errors of layers, each by source: those of one source go together, others are independent."""
    by_source: dict[str, float] = {}
    for sources in deviations_s:
        for source, seconds in sources.items():
            by_source[source] = by_source.get(source, 0.0) + seconds
    return math.sqrt(sum(seconds * seconds for seconds in by_source.values()))


def _estimate_s(machine: Machine, features: KernelFeatures, bytes_s: float) -> float:
    roofline = machine.roofline
    efficiency = roofline.compute_efficiency.get(features.op_type, roofline.compute_efficiency["default"])
    arithmetic_s = features.values["flops"] / (roofline.peak_flops_per_s * efficiency)
    return max(arithmetic_s, bytes_s) + roofline.layer_overhead_s
