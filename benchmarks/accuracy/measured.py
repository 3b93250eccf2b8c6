"""Measured costs: head and tail of real splits, as the layers' measured times add up to them and as the clock shows."""

from collections.abc import Iterable, Sequence
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
from partition.latency.conversions import measure_conversions
from partition.latency.measure import measure_kernels
from partition.latency.profiling import CPU_PROVIDER
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

    def mean(kind: str, threads: int, name: str) -> float:
        own = [row for row in rows if row["key"] == (threads, name)]
        return float(np.mean([row[f"{part}_{kind}"] for row in own for part in ("head", "tail")]))

    errors = {(threads, name): mean("error", threads, name) for threads in (1, 2) for name in names}
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
            noise, drifting = (mean(kind, threads, name) for kind in ("noise", "error_with_drift"))
            worst = max(max(row["head_error"], row["tail_error"]) for row in own_rows)
            shown = (errors[threads, name], worst, noise, drifting)
            cells += [*(f"{one:.1%}" for one in shown), str(len(own_rows))]
        lines.append(cells)
    headings = (
        "head and tail: error",
        *("1 thread, mean", "worst", "noise", "with drift", "cuts"),
        *("2 threads, mean", "worst", "noise", "with drift", "cuts"),
    )
    for row in rows:
        del row["key"]
    title = "Measured costs: layers added up against head and tail on the clock"
    notes = (
        f"cuts whose head or tail takes less than {LEAST_SHARE:.0%} of the model are left out: calls weigh there",
        "the layers are scaled to the whole model as timed in turn with its parts; with drift: as it was when measured",
    )
    return Section(tuple(bars), tuple(rows), (table(title, headings, lines),), notes)


def _network(name: str, settings: Settings) -> list[dict[str, Any]]:
    # Where both have a name, it is the light topology's.
    source = model_file if name in LIGHT_MODELS else network_file
    with source(name, settings.cache) as path:
        graph = load_graph(path, dims=None if name in LIGHT_MODELS else NETWORKS[name].dims)
    return [row for threads in (1, 2) for row in _at(name, graph, threads, settings)]


def _at(name: str, graph: LayerGraph, threads: int, settings: Settings) -> list[dict[str, Any]]:
    inputs = network_inputs(name, graph)
    layer_s = measured_layers(graph, inputs, threads)
    total_s = sum(layer_s.values())
    conversions = {one.tensor: one for one in measure_conversions(graph, threads=threads, provider=CPU_PROVIDER)}
    rows = []
    for head in _cuts(graph, layer_s, CUTS):
        head_s = sum(layer_s[layer] for layer in head)
        crossing = [
            tensor.name
            for tensor in graph.graph["tensors"].values()
            if tensor.producer in head and not head.issuperset(tensor.consumers)
        ]
        converted = [conversions[name] for name in crossing if name in conversions]
        layers_s = {"head": head_s, "tail": total_s - head_s}
        reorder_s = {
            "head": sum(one.encode_s for one in converted),
            "tail": sum(one.decode_s for one in converted),
        }
        whole, *timed = _time_parts(graph, head, inputs, threads, settings)
        row: dict[str, Any] = {
            "key": (threads, name),
            "kind": "cut",
            "network": name,
            "threads": threads,
            "tensors": crossing,
            "whole_measured_s": total_s,
            "whole_s": whole.seconds,
        }
        for part, clocked in zip(("head", "tail"), timed, strict=True):
            drifting = layers_s[part] + reorder_s[part]
            predicted = layers_s[part] * whole.seconds / total_s + reorder_s[part]
            row |= {
                f"{part}_predicted_s": predicted,
                f"{part}_reorder_s": reorder_s[part],
                f"{part}_s": clocked.seconds,
                f"{part}_error": abs(predicted - clocked.seconds) / clocked.seconds,
                f"{part}_error_with_drift": abs(drifting - clocked.seconds) / clocked.seconds,
                f"{part}_noise": clocked.noise,
            }
        rows.append(row)
    return rows


def measured_layers(graph: LayerGraph, inputs: dict[str, NDArray[Any]], threads: int) -> dict[str, float]:
    """Measure every layer; at one thread scaled to the CPU clock of whole runs."""
    found = measure_kernels(graph, inputs, threads=threads)
    weights = sharing_weights({layer: data["layer"] for layer, data in graph.nodes(data=True)})
    return seconds_by_layer(
        [kernel.layers for kernel in found.kernels], kernel_seconds(found, threads).tolist(), weights
    )


def _cuts(graph: LayerGraph, layer_s: dict[str, float], count: int) -> list[frozenset[str]]:
    """Choose heads that take about equal steps of the model's time: at single tensors if there are enough of them.

    Else, as in a network of several streams, heads are what is computed first, in topological order.
    """
    layers = list(graph.nodes)
    total = sum(layer_s.values())

    def usable(heads: Iterable[frozenset[str]]) -> dict[frozenset[str], float]:
        shares = {head: sum(layer_s[layer] for layer in head) / total for head in heads}
        return {head: share for head, share in shares.items() if LEAST_SHARE <= share <= 1 - LEAST_SHARE}

    ends = {*graph.graph["inputs"], *graph.graph["outputs"]}
    heads = usable(head_of_cut(graph, [tensor]) for tensor in single_tensor_cuts(graph) if tensor not in ends)
    if len(heads) < count:
        heads |= usable(frozenset(layers[:end]) for end in range(1, len(layers)))
    chosen: dict[frozenset[str], None] = {}
    for target in np.linspace(LEAST_SHARE, 1 - LEAST_SHARE, count):
        left = [head for head in heads if head not in chosen]
        if left:
            chosen[min(left, key=lambda head: abs(heads[head] - target))] = None
    return list(chosen)


def _time_parts(
    graph: LayerGraph, head: frozenset[str], inputs: dict[str, NDArray[Any]], threads: int, settings: Settings
) -> list[Timed]:
    tail = [layer for layer in graph.nodes if layer not in head]
    parts = split(graph, [[layer for layer in graph.nodes if layer in head], tail])
    whole, *sessions = (
        open_part(proto.SerializeToString(), "part", session_options(threads=threads))
        for proto in (graph.graph["model"].proto, *(part.proto for part in parts))
    )
    values: dict[str, Any] = dict(inputs)
    produced: Sequence[Any] = sessions[0].run(list(parts[0].outputs), {key: values[key] for key in parts[0].inputs})
    values.update(zip(parts[0].outputs, produced, strict=True))
    feeds = [{key: values[key] for key in part.inputs} for part in parts]

    def runner(number: int) -> Any:
        return lambda: sessions[number].run(list(parts[number].outputs), feeds[number])

    fewest = settings.repetitions or 8
    return time_in_turn(
        [lambda: whole.run(None, dict(inputs)), runner(0), runner(1)],
        threads=threads,
        fewest=fewest,
        most=max(fewest, 40),
        budget_s=0.4 if settings.quick else 2.0,
    )
