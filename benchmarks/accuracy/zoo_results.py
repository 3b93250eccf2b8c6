"""Each network of the zoo once: measured, predicted, its layers timed alone, and the cuts that follow."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

import solvers
from benchmarks.accuracy.clock import clock, kernel_seconds
from benchmarks.accuracy.machine import calibrated_machine
from benchmarks.settings import Settings
from benchmarks.zoo import NETWORKS
from benchmarks.zoo.files import network_file, network_inputs
from graph_io import KernelFeatures, LayerGraph, load_graph, split
from graph_io.inputs import random_inputs
from partition.latency.conversions import measure_conversions
from partition.latency.machines import Machine
from partition.latency.measure import measure_kernels
from partition.latency.overhead import measure_overhead
from partition.latency.predict import LayerCosts, predict_layers, total_deviation_s
from partition.latency.profiling import CPU_PROVIDER, Repetition
from partition.latency.sharing import seconds_by_layer, sharing_weights
from partition.links import Link
from partition.problem import Bridge, build_bridge
from partition.runtime.parts import open_part, session_options

QUICK = ("mnist", "dqn", "cove-200")
# The emulated device computes this many times slower than the server.
SLOWDOWN = 8.0
LINKS = ("3g", "4g", "wifi")
RATES_MBIT = tuple(float(rate) for rate in np.geomspace(1, 100, 13))
_MEASUREMENT = Repetition(fewest=8, most=40, budget_s=4.0)
_ALONE_BUDGET_S, _ALONE_FEWEST, _ALONE_MOST, _ALONE_WARM_UPS = 0.06, 5, 40, 2


@dataclass(frozen=True, slots=True)
class Decision:
    """One network and link: what the cut that the prediction chose costs more than the best one, relative."""

    link: str
    interior: bool
    loss: float


@dataclass(frozen=True, slots=True, eq=False)
class AtThreads:
    """One network at one number of threads.

    Attributes
    ----------
    whole_s, noise : float
        Median of whole runs (CPU clock at one thread, wall at more), and their interquartile range over it.
    features : tuple of KernelFeatures
        Of the measured kernels.
    kernel_s : numpy.ndarray
        Their measured seconds; at one thread scaled to the CPU clock.
    predicted_s, deviation_s : float
        The prediction of a whole run, and its own standard deviation.
    isolated_s : float
        The layers' groups, each timed alone, added up.
    estimated : bool
        Whether a layer type was estimated by the roofline.
    """

    whole_s: float
    noise: float
    features: tuple[KernelFeatures, ...]
    kernel_s: NDArray[np.float64]
    predicted_s: float
    deviation_s: float
    isolated_s: float
    estimated: bool


@dataclass(frozen=True, slots=True, eq=False)
class NetworkResult:
    """All of one network."""

    name: str
    family: str
    n_layers: int
    at: Mapping[int, AtThreads]
    decisions: tuple[Decision, ...] = field(default=())


@cache
def zoo_results(settings: Settings) -> tuple[NetworkResult, ...]:
    """Return the results of all networks, or of the quick ones, measured once."""
    machine = calibrated_machine(settings.machine, settings.quick)
    console = Console(stderr=True)
    found = []
    names = [name for name in settings.models or (QUICK if settings.quick else NETWORKS) if name in NETWORKS]
    for number, name in enumerate(names):
        start = time.perf_counter()
        found.append(_network(name, machine, settings))
        console.print(f"  {number + 1}/{len(names)} {name}: {time.perf_counter() - start:.0f} s")
    return tuple(found)


def _network(name: str, machine: Machine, settings: Settings) -> NetworkResult:
    network = NETWORKS[name]
    with network_file(name, settings.cache) as path:
        graph = load_graph(path, dims=network.dims)
    inputs = network_inputs(name, graph)
    weights = sharing_weights({layer: data["layer"] for layer, data in graph.nodes(data=True)})
    at: dict[int, AtThreads] = {}
    decisions: tuple[Decision, ...] = ()
    for threads in (1, 2):
        found = measure_kernels(graph, inputs, threads=threads, repetition=_MEASUREMENT)
        clock_s = found.runs.cpu_s if threads == 1 else found.runs.whole_s
        kernel_s = kernel_seconds(found, threads)
        low, high = np.percentile(clock_s, [25, 75])
        costs = predict_layers(machine, graph, threads=threads)
        at[threads] = AtThreads(
            whole_s=float(np.median(clock_s)),
            noise=float((high - low) / np.median(clock_s)),
            features=tuple(kernel.features for kernel in found.kernels),
            kernel_s=kernel_s,
            predicted_s=sum(costs.seconds.values()),
            deviation_s=total_deviation_s(costs.deviations_s.values()),
            isolated_s=_isolated_s(graph, threads),
            estimated=any("estimated by its roofline" in note for note in costs.notes),
        )
        if threads == 1:
            layer_s = seconds_by_layer([kernel.layers for kernel in found.kernels], kernel_s.tolist(), weights)
            conversions_s = {
                one.tensor: (one.encode_s, one.decode_s)
                for one in measure_conversions(graph, threads=threads, provider=CPU_PROVIDER)
            }
            decisions = _decisions(graph, LayerCosts(layer_s, conversions_s=conversions_s), costs)
    return NetworkResult(name, network.family, len(graph), at, decisions)


def _isolated_s(graph: LayerGraph, threads: int) -> float:
    """Time every layer in a session of its own and add up; layers of equal nodes and sizes are timed once."""
    tensors = graph.graph["tensors"]
    seconds: dict[Any, float] = {}
    total, call_s = 0.0, measure_overhead(threads, CPU_PROVIDER).call_s
    for part in split(graph, [[layer] for layer in graph.nodes]):
        layer = graph.nodes[part.layers[0]]["layer"]
        shapes = tuple(tensors[name].shape for name in part.inputs)
        attributes = tuple(
            (node.op_type, *(one.SerializeToString(deterministic=True) for one in node.attribute))
            for node in part.proto.graph.node
        )
        key = (attributes, shapes, layer.weight_bytes, layer.output_bytes, layer.flops)
        if key not in seconds:
            alone_s = _alone_s(part, {name: tensors[name] for name in part.inputs}, threads)
            # The whole model is called once, not layer by layer.
            seconds[key] = max(alone_s - call_s, 0.0)
        total += seconds[key]
    return total + call_s


def _alone_s(part: Any, inputs: Mapping[str, Any], threads: int) -> float:
    session = open_part(part.proto.SerializeToString(), "layer", session_options(threads=threads))
    feed = random_inputs(
        {name: tensor.shape for name, tensor in inputs.items()}, {name: tensor.dtype for name, tensor in inputs.items()}
    )
    now = clock(threads)
    for _ in range(_ALONE_WARM_UPS):
        session.run(None, feed)
    taken: list[float] = []
    begun_s = time.perf_counter()
    while len(taken) < _ALONE_FEWEST or (len(taken) < _ALONE_MOST and time.perf_counter() - begun_s < _ALONE_BUDGET_S):
        before = now()
        session.run(None, feed)
        taken.append(now() - before)
    return float(np.median(taken))


def _decisions(graph: LayerGraph, measured: LayerCosts, predicted: LayerCosts) -> tuple[Decision, ...]:
    """Choose cuts on predicted costs and price them at measured ones, over links and rates."""
    links = {name: Link.parse(name) for name in LINKS}
    links |= {f"{rate:.3g} Mbit/s": Link.parse(rate * 1e6) for rate in RATES_MBIT}
    found = []
    for name, link in links.items():
        truth, guess = (_bridge(graph, costs, link) for costs in (measured, predicted))
        best = solvers.solve(truth.objective)
        chosen = solvers.solve(guess.objective)
        ends = [
            solvers.evaluate(truth.objective, truth.placement(head)) for head in (frozenset(graph.nodes), frozenset())
        ]
        paid = solvers.evaluate(truth.objective, chosen.placement)
        interior = best.value < min(ends) * (1 - 1e-9)
        found.append(Decision(name, interior, paid / best.value - 1))
    return tuple(found)


def _bridge(graph: LayerGraph, costs: LayerCosts, link: Link) -> Bridge:
    conversions = costs.conversions_s
    slower = {tensor: (SLOWDOWN * one[0], SLOWDOWN * one[1]) for tensor, one in conversions.items()}
    return build_bridge(
        graph,
        {layer: (SLOWDOWN * seconds, seconds) for layer, seconds in costs.seconds.items()},
        link,
        objective="latency",
        output_on="device",
        input_bytes={},
        power=None,
        conversion_s={"device": slower, "server": conversions},
    )
