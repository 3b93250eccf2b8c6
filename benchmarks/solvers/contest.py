"""One solve, all phases, against every library on one problem; who is too slow is measured once, or not at all."""

from collections.abc import Callable, Mapping
from typing import Any

from rich.table import Table

from benchmarks.section import seconds, spread, table
from benchmarks.solvers.flow_libraries import INTEGER_TOLERANCE, LIBRARIES
from benchmarks.solvers.section import same_optimum
from benchmarks.solvers.timing import SLOW_S, Timing, alternate, trial
from solvers import Problem, solve

LIMIT_S = 120.0
"""After which a library is stopped and counts as not finished."""

LEAST_S = 0.1
"""A quicker call is repeated for so long within each round: every contestant warms its own caches and heap."""


def contest(
    problem: Problem,
    rounds: int,
    *,
    limit_s: float = LIMIT_S,
    libraries: Mapping[str, Callable[[Problem], Any]] = LIBRARIES,
) -> dict[str, Any]:
    """Measure `solve` and the libraries; a library without an answer has None for its time.

    A library that takes more than a few seconds runs once and in a process of its own, so that it can be stopped.

    Raises
    ------
    DifferentOptimaError
        A library found another optimum.
    RuntimeError
        This library has no proven optimum.
    """
    solution = solve(problem)
    if not solution.optimal:
        raise RuntimeError(f"{problem}: {solution} is not proven optimal")
    timings: dict[str, Timing | None] = {}
    calls: dict[str, Callable[[], Any]] = {"solve": lambda: solve(problem)}
    for name, library in libraries.items():
        key = key_of(name)
        tried = trial(lambda library=library: library(problem), limit_s)  # type: ignore[misc]
        if tried is None:
            timings[key] = None
            continue
        took, placement = tried
        tolerance = INTEGER_TOLERANCE if name == "OR-Tools" else 1e-9
        same_optimum(str(problem), problem, solution.value, name, placement, tolerance=tolerance)
        if took > SLOW_S:
            timings[key] = Timing.of([took])
        else:
            calls[key] = lambda library=library: library(problem)  # type: ignore[misc]
    timings |= alternate(calls, rounds=rounds, least_s=LEAST_S)
    row: dict[str, Any] = {"layers": problem.n_layers, "method": solution.method}
    for key in ("solve", *map(key_of, libraries)):
        timing = timings[key]
        row |= timing.row(key) if timing is not None else {f"{key}_s": None, f"{key}_limit_s": limit_s}
    finished = {name: row[f"{key_of(name)}_s"] for name in libraries if row[f"{key_of(name)}_s"] is not None}
    for name, took in finished.items():
        row[f"{key_of(name)}_ratio"] = took / row["solve_s"]
    row["best"] = min(finished, key=lambda name: finished[name])
    row["best_ratio"] = finished[row["best"]] / row["solve_s"]
    # One that was stopped took at least the limit.
    row.setdefault("pymaxflow_ratio", limit_s / row["solve_s"])
    return row


def key_of(library: str) -> str:
    """Return a library's name as rows spell it."""
    return library.lower().replace("-", "")


def contest_table(title: str, rows: list[dict[str, Any]]) -> Table:
    """Lay out the rows of `contest`."""
    lines = []
    for row in rows:
        times = [
            spread(row, key) if row[f"{key}_s"] is not None else f"over {seconds(row[f'{key}_limit_s'])}"
            for key in ("solve", *map(key_of, LIBRARIES))
        ]
        ratios = f"{row['pymaxflow_ratio']:.2f}", f"{row['best_ratio']:.2f} ({row['best']})"
        lines.append((f"{row['family']}, {row['costs']}", str(row["layers"]), row["method"], *times, *ratios))
    headings = ("all phases", "layers", "method", "this library", *LIBRARIES, "PyMaxflow ratio", "best ratio")
    return table(title, headings, lines)
