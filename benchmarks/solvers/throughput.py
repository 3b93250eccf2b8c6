"""The best contiguous pipeline: workloads with known optima, and generated graphs with many down-sets."""

from typing import Any

from benchmarks.result import Bar
from benchmarks.section import Section, seconds, table
from benchmarks.settings import Settings
from benchmarks.solvers import down_set_graphs
from benchmarks.solvers.section import TOLERANCE, DifferentOptimaError


def measure(settings: Settings) -> Section:
    """Measure the generated graphs, and the workloads if their folder is given."""
    generated: list[dict[str, Any]] = list(down_set_graphs.measure_down_sets(settings.quick))
    workloads: list[dict[str, Any]] = []
    notes: tuple[str, ...] = ()
    if settings.workloads is None:
        notes = ("the three workloads with known optima were skipped: give their folder by --workloads DIR",)
    else:
        workloads = list(down_set_graphs.measure_workloads(settings.workloads))
    return _section(generated, workloads, notes)


def _section(generated: list[dict[str, Any]], workloads: list[dict[str, Any]], notes: tuple[str, ...]) -> Section:
    bars = []
    for row in generated:
        if not row["equal_without_pruning"]:
            raise DifferentOptimaError(f"graph {row['graph']}: pruning changes the optimum")
        name = f"throughput, s: {row['graph']}, {row['down_sets']} down-sets"
        bars.append(Bar(name, row["seconds"], row["limit_s"], "lower"))
        limit = row["limit_without_pruning_s"]
        bars.append(Bar(f"{name}, without pruning", row["seconds_without_pruning"], limit, "lower"))
    lines = [
        (
            row["graph"],
            *(str(row[key]) for key in ("n_layers", "down_sets", "comparable_pairs", "pairs_looked_at")),
            seconds(row["seconds"]),
            seconds(row["seconds_without_pruning"]),
        )
        for row in generated
    ]
    headings = ("generated graph", "layers", "down-sets", "comparable pairs", "looked at", "time", "without pruning")
    tables = [table("Throughput of six equal machines", headings, lines)]
    if workloads:
        for row in workloads:
            error = row["difference"] / row["known_optimum"]
            bars.append(Bar(f"throughput, relative error: {row['workload']}", error, TOLERANCE, "lower"))
        results = [
            (
                row["workload"],
                *(str(row[key]) for key in ("n_layers", "accelerators", "cpus", "down_sets", "value")),
                f"{row['difference']:.1e}",
                seconds(row["seconds"]),
            )
            for row in workloads
        ]
        titles = ("workload", "layers", "accelerators", "CPUs", "down-sets", "largest load", "error", "time")
        tables.append(table("Throughput of workloads with known optima", titles, results))
    rows = [{"kind": "down-sets", **row} for row in generated] + [{"kind": "workload", **row} for row in workloads]
    return Section(tuple(bars), tuple(rows), tuple(tables), notes)
