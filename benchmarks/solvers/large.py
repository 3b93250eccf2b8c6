"""Large graphs that fold, solved from nothing: against all libraries at 1e5 layers, and from 1e4 to 1e6 layers."""

import tracemalloc
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from benchmarks.result import Bar
from benchmarks.section import Section, geometric_mean, seconds, spread, table
from benchmarks.settings import Settings
from benchmarks.solvers.contest import LEAST_S, contest, contest_table
from benchmarks.solvers.graphs import COST_KINDS, FOLDING, with_costs
from benchmarks.solvers.timing import alternate
from solvers import Problem, Solution, solve

REALISTIC_LIMIT = 30.0
BEST_LIMIT = 1.2
HARD_LIMIT = 1.2
TIME_LIMIT = 2.0
MEMORY_LIMIT = 1.3


def measure(settings: Settings) -> Section:
    """Measure chain, inception-like and transformer-like graphs with both kinds of costs."""
    n_layers = 10_000 if settings.quick else 100_000
    sizes = (1_000, 10_000) if settings.quick else (10_000, 100_000, 1_000_000)
    rounds = settings.repetitions or (5 if settings.quick else 15)
    rows = []
    growth = []
    for family, make in FOLDING.items():
        for kind in COST_KINDS:
            row = {"kind": "large", "family": family, "costs": kind}
            rows.append(row | contest(with_costs(make(n_layers), kind), rounds))
            row = {"kind": "scaling", "family": family, "costs": kind}
            growth += [row | one for one in scaling([with_costs(make(size), kind) for size in sizes], rounds)]
    return _section(rows, growth, sizes, promised=not settings.quick)


def scaling(problems: Sequence[Problem], rounds: int) -> list[dict[str, Any]]:
    """Measure time, and peak memory beyond the problem's own, of one solve with everything in it; sizes in turn."""
    calls = {str(problem.n_layers): partial(solve, problem) for problem in problems}
    timings = alternate(calls, rounds=rounds, least_s=LEAST_S)
    rows = []
    for problem in problems:
        timing = timings[str(problem.n_layers)]
        peak = peak_bytes(partial(solve, problem))
        rows.append(
            {
                "layers": problem.n_layers,
                **timing.row("solve"),
                "per_layer_s": timing.median_s / problem.n_layers,
                "peak_bytes": peak,
                "peak_bytes_per_layer": peak / problem.n_layers,
            }
        )
    return rows


def peak_bytes(call: Callable[[], Solution]) -> int:
    """Return the most memory that a call holds beyond what was held before; NumPy reports to tracemalloc."""
    tracemalloc.start()
    try:
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        call()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


def _section(
    rows: list[dict[str, Any]], growth: list[dict[str, Any]], sizes: tuple[int, ...], *, promised: bool
) -> Section:
    tables = [contest_table("Large graphs that fold", rows)]
    headings = ("all phases", "layers", "time", "per layer", "peak bytes per layer")
    lines = [
        (
            f"{row['family']}, {row['costs']}",
            str(row["layers"]),
            spread(row, "solve"),
            seconds(row["per_layer_s"]),
            f"{row['peak_bytes_per_layer']:.0f}",
        )
        for row in growth
    ]
    tables.append(table("Scaling", headings, lines))
    if not promised:
        note = "large: the promises are for 1e5 layers and more, this run is smaller: no limits shown"
        return Section((), (*rows, *growth), tuple(tables), (note,))
    return Section(_bars(rows, growth, sizes), (*rows, *growth), tuple(tables))


def _bars(rows: list[dict[str, Any]], growth: list[dict[str, Any]], sizes: tuple[int, ...]) -> tuple[Bar, ...]:
    bars = []
    for row in rows:
        if row["costs"] == "realistic":
            name = f"{row['family']}, realistic"
            bars.append(
                Bar(f"large: PyMaxflow over this library: {name}", row["pymaxflow_ratio"], REALISTIC_LIMIT, "higher")
            )
            bars.append(Bar(f"large: best library over this library: {name}", row["best_ratio"], BEST_LIMIT, "higher"))
    hard = geometric_mean([row["pymaxflow_ratio"] for row in rows if row["costs"] == "hard"])
    bars.append(Bar("large: PyMaxflow over this library, hard, geometric mean", hard, HARD_LIMIT, "higher"))
    time_growth = {}
    memory_growth = {}
    for row in growth:
        if row["layers"] != max(one["layers"] for one in growth if _same_graph(one, row)):
            continue
        small = min((one for one in growth if _same_graph(one, row)), key=lambda one: one["layers"])
        key = f"{row['family']}, {row['costs']}"
        time_growth[key] = row["per_layer_s"] / small["per_layer_s"]
        memory_growth[key] = row["peak_bytes_per_layer"] / small["peak_bytes_per_layer"]
    span = f"{sizes[-1]:g} over {sizes[0]:g} layers, worst of {len(time_growth)}"
    bars.append(Bar(f"scaling: time per layer, {span}", max(time_growth.values()), TIME_LIMIT, "lower"))
    bars.append(Bar(f"scaling: bytes per layer, {span}", max(memory_growth.values()), MEMORY_LIMIT, "lower"))
    return tuple(bars)


def _same_graph(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return bool(one["family"] == other["family"] and one["costs"] == other["costs"])
