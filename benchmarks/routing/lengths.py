"""Cutting by length: the same answer as for each length on its own, where the cut moves, and what that gains."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

import solvers
from benchmarks.models import built_file
from benchmarks.result import Bar
from benchmarks.routing.measured import measured
from benchmarks.runtime.setting import SLOWDOWN
from benchmarks.section import Section, table
from benchmarks.settings import Settings
from benchmarks.zoo import NETWORKS
from graph_io import LayerGraph, load_graph, load_model
from partition import Link, partition
from partition.routing.by_length import partition_by_length
from partition.routing.length_plan import LengthPlan
from partition.routing.lengths_file import LengthTimings
from partition.routing.plan_at_length import length_bridge

LINKS = {f"{rate} Mbit/s": Link.parse(f"{rate}Mbps", rtt="20ms") for rate in (2, 10, 100, 500)}
RANGES = {"seq2seq": (1, 60), "cove-300": (4, 64), "encoder-small": (16, 96)}
QUICK_RANGES = {"cove-300": (4, 16), "encoder-small": (24, 32)}
# Two sums of the same costs in another order.
ROUNDING = 1e-9


def measure(settings: Settings) -> Section:
    """Cut each network by length on each link, solve every length again on its own, and compare."""
    rows = []
    for name, ends in (QUICK_RANGES if settings.quick else RANGES).items():
        timings = measured(name, settings)
        device = timings.slowed(SLOWDOWN, name="device")
        with built_file(f"{name}.onnx", NETWORKS[name].build, settings.cache) as path:
            graphs = _graphs(path, ends)
            rows += [_row(name, link, path, graphs, device, timings) for link in LINKS]
    bars = (
        Bar("lengths: lengths whose answer differs from their own", sum(row["different"] for row in rows), 0, "lower"),
    )
    lines = [
        [
            f"{row['network']}, {row['link']}",
            f"{row['least']} to {row['most']}",
            str(row["different"]),
            " ".join(map(str, row["break_evens"])) or "-",
            str(row["placements"]),
            # Rounding may leave a gain of nothing a little below it.
            *(f"{max(row[what], 0.0):.1%}" for what in ("over_single", "over_whole", "most_over_whole")),
        ]
        for row in rows
    ]
    headings = (
        *("network, link", "lengths", "different", "cut changes at", "cuts"),
        *("gain over one cut", "over mapping", "at most"),
    )
    notes = (
        f"round trip 20 ms; device: this machine, {SLOWDOWN:g} times slower; each length counts alike; one cut: the "
        "placement that is best for all lengths together; mapping: the quicker of device and server for each length, "
        "uncut; at most: at the length that gains most",
    )
    return Section(bars, tuple(rows), (table("Cut by length", headings, lines),), notes)


def _graphs(path: Path, ends: tuple[int, int]) -> dict[int, LayerGraph]:
    model = load_model(path)
    return {length: load_graph(model, dims={"seq": length}) for length in range(ends[0], ends[1] + 1)}


def _row(
    name: str,
    link: str,
    path: Path,
    graphs: Mapping[int, LayerGraph],
    device: LengthTimings,
    server: LengthTimings,
) -> dict[str, Any]:
    least, most = min(graphs), max(graphs)
    plan = partition_by_length(path, "seq", (least, most), bandwidth=LINKS[link], device=device, server=server)
    different = 0
    for length, graph in graphs.items():
        alone = partition(graph, LINKS[link], device=device.at(length), server=server.at(length))
        same = abs(plan.latency_s[length - least] - alone.latency_s) <= ROUNDING * alone.latency_s
        different += not (same and set(plan.choice_for(length).cut) == set(alone.cut))
    whole_s = np.minimum(plan.device_s, plan.server_s)
    gains = 1 - plan.latency_s / whole_s
    return {
        "kind": "cuts",
        "network": name,
        "link": link,
        "least": least,
        "most": most,
        "different": different,
        "break_evens": list(plan.break_evens),
        "placements": len(plan.choices),
        "over_single": 1 - float(plan.latency_s.mean()) / _single_s(plan, graphs),
        "over_whole": 1 - float(plan.latency_s.mean() / whole_s.mean()),
        "most_over_whole": float(gains.max()),
        "most_at": least + int(np.argmax(gains)),
    }


def _single_s(plan: LengthPlan, graphs: Mapping[int, LayerGraph]) -> float:
    """Return the mean time of the one placement that has the least: the costs are linear, so their means decide."""
    assert plan.basis is not None
    problems = [
        length_bridge(graph, *plan.basis.prices(row), plan.link, "device").latency
        for row, graph in enumerate(graphs.values())
    ]
    means = {
        what: np.mean([getattr(problem, what) for problem in problems], axis=0)
        for what in ("compute", "tensor_size_bytes", "encode", "decode")
        if getattr(problems[0], what) is not None
    }
    return float(solvers.solve(problems[0].with_costs(**means)).value)
