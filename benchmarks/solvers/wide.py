"""Graphs too wide to fold: dense blocks of growth 12 and random layered ones, against the best library on each."""

from typing import Any

from benchmarks.result import Bar
from benchmarks.section import Section
from benchmarks.settings import Settings
from benchmarks.solvers.contest import contest, contest_table
from benchmarks.solvers.graphs import COST_KINDS, WIDE, with_costs

LIMIT = 1.5


def measure(settings: Settings) -> Section:
    """Measure both families, three sizes and both kinds of costs."""
    sizes = (1_000,) if settings.quick else (1_000, 10_000, 100_000)
    rounds = settings.repetitions or (5 if settings.quick else 15)
    rows: list[dict[str, Any]] = []
    for family, make in WIDE.items():
        for size in sizes:
            for kind in COST_KINDS:
                row = {"kind": "wide", "family": family, "costs": kind, "size": size}
                rows.append(row | contest(with_costs(make(size), kind), rounds))
    bars = tuple(
        Bar(
            f"wide: this library over the best: {row['family']}, {row['size']:g}, {row['costs']}",
            1.0 / row["best_ratio"],
            LIMIT,
            "lower",
        )
        for row in rows
    )
    return Section(bars, tuple(rows), (contest_table("Graphs too wide to fold", rows),))
