"""Device, gateway and server: the numeric phase of a batch against HiGHS, on the nine light topologies."""

from collections.abc import Callable
from typing import Any

from benchmarks.result import Bar
from benchmarks.section import Section, geometric_mean, spread, table
from benchmarks.settings import Settings
from benchmarks.solvers import light
from benchmarks.solvers.highs import highs
from benchmarks.solvers.section import same_value
from benchmarks.solvers.timing import alternate
from graph_io import LIGHT_MODELS
from solvers import Problem, analyse, evaluate

LIMIT = 500.0
_NOISY, _QUICK_NOISY = 11, 7
_BY_HIGHS = 3
"""Cost vectors of each kind that HiGHS solves too."""


def measure(settings: Settings) -> Section:
    """Measure each topology with both kinds of costs."""
    names = settings.models or (light.QUICK[:2] if settings.quick else LIGHT_MODELS)
    rounds = settings.repetitions or (2 if settings.quick else 5)
    by_highs = 1 if settings.quick else _BY_HIGHS
    rows: list[dict[str, Any]] = []
    for name in names:
        problem = light.with_gateway(light.light_problems(name)["layer"])
        grid = light.grid_costs(problem, _QUICK_NOISY if settings.quick else _NOISY)
        for kind, costs in (("grid", grid), ("uniform", light.uniform_costs(problem, len(grid)))):
            rows.append(
                {"kind": "three machines", "model": name, "costs": kind} | compare(problem, costs, rounds, by_highs)
            )
    ratios = {name: min(row["ratio"] for row in rows if row["model"] == name) for name in names}
    bars = [
        Bar(f"K = 3: HiGHS over the batch's numeric phase: {name}", ratio, LIMIT, "higher")
        for name, ratio in ratios.items()
    ]
    lines = [
        (
            f"{row['model']}, {row['costs']}",
            str(row["layers"]),
            str(row["width"]),
            spread(row, "batch"),
            spread(row, "highs"),
            f"{row['ratio']:.0f}",
        )
        for row in rows
    ]
    headings = ("per cost vector", "layers", "width", "this library", "HiGHS", "ratio")
    mean = geometric_mean([row["ratio"] for row in rows])
    notes = (f"K = 3: geometric mean of the ratios {mean:.0f}",)
    return Section(tuple(bars), tuple(rows), (table("Three machines", headings, lines),), notes)


def compare(problem: Problem, costs: light.Costs, rounds: int, by_highs: int = _BY_HIGHS) -> dict[str, Any]:
    """Measure one graph; figures per cost vector, HiGHS on a few spread over the batch.

    Raises
    ------
    DifferentOptimaError
        HiGHS found another optimum.
    """
    analysis = analyse(problem)
    chosen = [index * len(costs) // by_highs for index in range(by_highs)]
    every = costs.problems(problem)
    problems = [every[index] for index in chosen]
    calls: dict[str, Callable[[], Any]] = {
        "batch": lambda: costs.solved(problem, analysis),
        "highs": lambda: [highs(one) for one in problems],
    }
    found = calls["batch"]()
    for index, one, placement in zip(chosen, problems, calls["highs"](), strict=True):
        value = float(found.values[index])
        others = {"HiGHS": evaluate(one, placement), "evaluate": evaluate(one, found.placements[index])}
        same_value(f"cost vector {index} of {problem}", value, others)
    timings = alternate(calls, rounds=rounds)
    row: dict[str, Any] = {"layers": problem.n_layers, "vectors": len(costs), "width": int(analysis.width)}
    row |= timings["batch"].scaled(1.0 / len(costs)).row("batch")
    row |= timings["highs"].scaled(1.0 / len(problems)).row("highs")
    row["ratio"] = row["highs_s"] / row["batch_s"]
    return row
