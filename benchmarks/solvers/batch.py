"""Many cost vectors on one graph: this library's batch against one minimum cut each, on the nine light topologies."""

from collections.abc import Callable
from typing import Any

from benchmarks.result import Bar
from benchmarks.section import Section, geometric_mean, seconds, spread, table
from benchmarks.settings import Settings
from benchmarks.solvers import flow_libraries, light
from benchmarks.solvers.section import same_optimum, same_value
from benchmarks.solvers.timing import alternate
from graph_io import LIGHT_MODELS
from solvers import Problem, analyse, evaluate

LIMIT = 5.0
_NOISY, _QUICK_NOISY = 11, 7
"""Device profiles for each of the nine settings of the grid; the uniform batch is as large."""


def measure(settings: Settings) -> Section:
    """Measure each topology, granularity and kind of costs."""
    names = settings.models or (light.QUICK if settings.quick else LIGHT_MODELS)
    rounds = settings.repetitions or (3 if settings.quick else 15)
    rows: list[dict[str, Any]] = []
    for name in names:
        for granularity, priced in light.light_problems(name).items():
            problem = light.without_delays(priced)
            n_noisy = _QUICK_NOISY if settings.quick else _NOISY
            grid = light.grid_costs(problem, n_noisy)
            for kind, costs in (("grid", grid), ("uniform", light.uniform_costs(problem, len(grid)))):
                row = {"kind": "batch", "model": name, "granularity": granularity, "costs": kind}
                rows.append(row | compare(problem, costs, rounds, networkx=not settings.quick))
    return _section(rows)


def compare(problem: Problem, costs: light.Costs, rounds: int, *, networkx: bool) -> dict[str, Any]:
    """Measure one graph with many cost vectors; all figures per cost vector.

    Raises
    ------
    DifferentOptimaError
        A contestant found another optimum for one of the vectors.
    """
    problems = costs.problems(problem)
    analysis = analyse(problem)
    arcs, graph = flow_libraries.Arcs.of(problem), flow_libraries.pymaxflow_graph()
    capacities = [flow_libraries.Capacities.of(one, arcs) for one in problems]
    calls: dict[str, Callable[[], Any]] = {
        "batch": lambda: costs.solved(problem, analysis),
        "pymaxflow": lambda: [flow_libraries.pymaxflow(one) for one in problems],
        "pymaxflow_rebuilt": lambda: [flow_libraries.pymaxflow_rebuilt(one, arcs, graph) for one in problems],
        "pymaxflow_filled": lambda: [
            flow_libraries.pymaxflow_filled(problem.n_layers, arcs, one, graph) for one in capacities
        ],
    }
    found = calls["batch"]()
    cuts = calls["pymaxflow"]()
    for index, one in enumerate(problems):
        what, value = f"cost vector {index} of {problem}", float(found.values[index])
        same_value(what, value, {"evaluate": evaluate(one, found.placements[index])})
        same_optimum(what, one, value, "PyMaxflow", cuts[index])
    timings = {name: one.scaled(1.0 / len(costs)) for name, one in alternate(calls, rounds=rounds).items()}
    row: dict[str, Any] = {"layers": problem.n_layers, "tensors": problem.n_tensors, "vectors": len(costs)}
    for name, timing in timings.items():
        row |= timing.row(name)
    if networkx:
        same_optimum("networkx", problems[0], float(found.values[0]), "networkx", flow_libraries.networkx(problems[0]))
        row |= alternate({"networkx": lambda: flow_libraries.networkx(problems[0])}, rounds=3)["networkx"].row(
            "networkx"
        )
    row["ratio"] = row["pymaxflow_s"] / row["batch_s"]
    row["ratio_filled"] = row["pymaxflow_filled_s"] / row["batch_s"]
    row["ratio_rebuilt"] = row["pymaxflow_rebuilt_s"] / row["batch_s"]
    return row


def _section(rows: list[dict[str, Any]]) -> Section:
    ratios = [row["ratio"] for row in rows]
    rebuilt = [row["ratio_rebuilt"] for row in rows]
    filled = [row["ratio_filled"] for row in rows]
    worst = min(rows, key=lambda row: row["ratio"])
    bars = (Bar("batch: PyMaxflow over this library, geometric mean", geometric_mean(ratios), LIMIT, "higher"),)
    lines = [
        (
            f"{row['model']}, {row['granularity']}, {row['costs']}",
            str(row["layers"]),
            spread(row, "batch"),
            spread(row, "pymaxflow"),
            seconds(row["pymaxflow_rebuilt_s"]),
            seconds(row["pymaxflow_filled_s"]),
            f"{row['ratio']:.1f}",
            f"{row['ratio_rebuilt']:.1f}",
            f"{row['ratio_filled']:.1f}",
        )
        for row in rows
    ]
    headings = (
        "per cost vector",
        "layers",
        "this library",
        "PyMaxflow",
        "rebuilt",
        "filled",
        "ratio",
        "rebuilt",
        "filled",
    )
    notes = (
        f"batch: worst ratio {worst['ratio']:.2f} ({worst['model']}, {worst['granularity']}, {worst['costs']}); with "
        f"PyMaxflow's arcs known and only capacities rebuilt: geometric mean {geometric_mean(rebuilt):.2f}, worst "
        f"{min(rebuilt):.2f}; with the capacities known, too: {geometric_mean(filled):.2f}, worst {min(filled):.2f}",
        "PyMaxflow: arcs and capacities by NumPy, graph, cut, placement; rebuilt: the arcs are known, the graph's "
        "memory is used again; filled: the capacities are known, too, PyMaxflow's own work is left",
    )
    return Section(bars, tuple(rows), (table("Batch: one graph, many cost vectors", headings, lines),), notes)
