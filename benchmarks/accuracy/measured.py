"""Measured costs: head and tail of real splits, as the layers' measured times add up to them and as the clock shows."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy.clock import Timed, kernel_seconds, time_in_turn
from benchmarks.models import model_file
from benchmarks.result import Bar
from benchmarks.section import Section, table
from benchmarks.settings import Settings
from benchmarks.zoo import NETWORKS
from benchmarks.zoo.files import network_file, network_inputs
from graph_io import LIGHT_MODELS, LayerGraph, head_of_cut, load_graph, single_tensor_cuts, split
from partition.latency.measure import measure_kernels
from partition.latency.sharing import seconds_by_layer, sharing_weights
from partition.runtime.parts import open_part, session_options

ZOO = ("mobilenet_v2", "encoder-small", "seq2seq")
QUICK = ("squeezenet",)
MEAN_LIMIT, WORST_LIMIT = 0.03, 0.08
CUTS, FEWEST_NETWORKS = 6, 8
# A head or tail of less than this share of the model is mostly what a call costs.
LEAST_SHARE = 0.05


def measure(settings: Settings) -> Section:
    """Measure all networks at one thread by the CPU clock and at two by the wall."""
    names = settings.models or (QUICK if settings.quick else (*LIGHT_MODELS, *ZOO))
    rows = [row for name in names for row in _network(name, settings)]
    errors = {
        (threads, name): float(
            np.mean([row["head_error"] + row["tail_error"] for row in rows if row["key"] == (threads, name)])
        )
        / 2
        for threads in (1, 2)
        for name in names
    }
    bars = []
    for threads, clock in ((1, "CPU clock, 1 thread"), (2, "wall, 2 threads")):
        own = [errors[threads, name] for name in names]
        bars.append(Bar(f"measured: mean error of head and tail, {clock}", float(np.mean(own)), MEAN_LIMIT, "lower"))
        bars.append(Bar(f"measured: worst model's error, {clock}", max(own), WORST_LIMIT, "lower"))
        full = sum(sum(row["key"] == (threads, name) for row in rows) >= CUTS for name in names)
        bars.append(Bar(f"measured: networks with six cuts, {clock}", float(full), FEWEST_NETWORKS, "higher"))
    lines = []
    for name in names:
        cells = [name]
        for threads in (1, 2):
            own_rows = [row for row in rows if row["key"] == (threads, name)]
            noise = float(np.median([(row["head_noise"] + row["tail_noise"]) / 2 for row in own_rows]))
            worst = max(max(row["head_error"], row["tail_error"]) for row in own_rows)
            cells += [f"{errors[threads, name]:.1%}", f"{worst:.1%}", f"{noise:.1%}", str(len(own_rows))]
        lines.append(cells)
    headings = (
        "head and tail: error",
        *("1 thread, mean", "worst", "noise", "cuts"),
        *("2 threads, mean", "worst", "noise", "cuts"),
    )
    for row in rows:
        del row["key"]
    title = "Measured costs: layers added up against head and tail on the clock"
    note = (
        f"cuts whose head or tail takes less than {LEAST_SHARE:.0%} of the model are left out: a call weighs more there"
    )
    return Section(tuple(bars), tuple(rows), (table(title, headings, lines),), (note,))


def _network(name: str, settings: Settings) -> list[dict[str, Any]]:
    # Where both have a name, it is the light topology's.
    source = model_file if name in LIGHT_MODELS else network_file
    with source(name, settings.cache) as path:
        graph = load_graph(path, dims=None if name in LIGHT_MODELS else NETWORKS[name].dims)
    return [row for threads in (1, 2) for row in _at(name, graph, threads, settings)]


def _at(name: str, graph: LayerGraph, threads: int, settings: Settings) -> list[dict[str, Any]]:
    inputs = network_inputs(name, graph)
    layer_s = measured_layers(graph, inputs, threads)
    rows = []
    for cut in _cuts(graph, layer_s, CUTS):
        head = head_of_cut(graph, [cut])
        heads = sum(layer_s[layer] for layer in head)
        tails = sum(layer_s.values()) - heads
        timed = _time_parts(graph, head, inputs, threads, settings)
        rows.append(
            {
                "key": (threads, name),
                "kind": "cut",
                "network": name,
                "threads": threads,
                "tensor": cut,
                "head_predicted_s": heads,
                "tail_predicted_s": tails,
                "head_s": timed[0].seconds,
                "tail_s": timed[1].seconds,
                "head_error": abs(heads - timed[0].seconds) / timed[0].seconds,
                "tail_error": abs(tails - timed[1].seconds) / timed[1].seconds,
                "head_noise": timed[0].noise,
                "tail_noise": timed[1].noise,
            }
        )
    return rows


def measured_layers(graph: LayerGraph, inputs: dict[str, NDArray[Any]], threads: int) -> dict[str, float]:
    """Measure every layer; at one thread scaled to the CPU clock of whole runs."""
    found = measure_kernels(graph, inputs, threads=threads)
    weights = sharing_weights({layer: data["layer"] for layer, data in graph.nodes(data=True)})
    return seconds_by_layer(
        [kernel.layers for kernel in found.kernels], kernel_seconds(found, threads).tolist(), weights
    )


def _cuts(graph: LayerGraph, layer_s: dict[str, float], count: int) -> list[str]:
    """Choose cuts whose heads take about equal steps of the model's time."""
    ends = {*graph.graph["inputs"], *graph.graph["outputs"]}
    total = sum(layer_s.values())
    shares = {
        tensor: sum(layer_s[layer] for layer in head_of_cut(graph, [tensor])) / total
        for tensor in single_tensor_cuts(graph)
        if tensor not in ends
    }
    usable = {tensor: share for tensor, share in shares.items() if LEAST_SHARE <= share <= 1 - LEAST_SHARE}
    chosen: dict[str, None] = {}
    for target in np.linspace(LEAST_SHARE, 1 - LEAST_SHARE, count):
        left = [tensor for tensor in usable if tensor not in chosen]
        if left:
            chosen[min(left, key=lambda tensor: abs(usable[tensor] - target))] = None
    return list(chosen)


def _time_parts(
    graph: LayerGraph, head: frozenset[str], inputs: dict[str, NDArray[Any]], threads: int, settings: Settings
) -> list[Timed]:
    tail = [layer for layer in graph.nodes if layer not in head]
    parts = split(graph, [[layer for layer in graph.nodes if layer in head], tail])
    sessions = [open_part(part.proto.SerializeToString(), "part", session_options(threads=threads)) for part in parts]
    values: dict[str, Any] = dict(inputs)
    produced: Sequence[Any] = sessions[0].run(list(parts[0].outputs), {key: values[key] for key in parts[0].inputs})
    values.update(zip(parts[0].outputs, produced, strict=True))
    feeds = [{key: values[key] for key in part.inputs} for part in parts]

    def runner(number: int) -> Any:
        return lambda: sessions[number].run(list(parts[number].outputs), feeds[number])

    fewest = settings.repetitions or 7
    return time_in_turn(
        [runner(0), runner(1)],
        threads=threads,
        fewest=fewest,
        most=max(fewest, 40),
        budget_s=0.3 if settings.quick else 1.5,
    )
