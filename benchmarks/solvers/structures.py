"""What real networks share between their blocks: which method solves each structure, its width and its time."""

from collections.abc import Callable
from typing import Any

from benchmarks.section import Section, seconds, spread, table
from benchmarks.settings import Settings
from benchmarks.solvers import flow_libraries
from benchmarks.solvers.graphs import COST_KINDS, STRUCTURES, with_costs
from benchmarks.solvers.highs import highs
from benchmarks.solvers.section import same_optimum, same_value
from benchmarks.solvers.timing import alternate
from solvers import Analysis, MethodError, Problem, analyse, solve

HIGHS_LIMIT_S = 30.0


def measure(settings: Settings) -> Section:
    """Measure each structure with two and three machines and both kinds of costs."""
    rounds = settings.repetitions or (3 if settings.quick else 9)
    rows: list[dict[str, Any]] = []
    for name, make in STRUCTURES.items():
        for n_machines in (2, 3):
            for kind in COST_KINDS[:1] if settings.quick else COST_KINDS:
                row = {"kind": "structure", "structure": name, "machines": n_machines, "costs": kind}
                rows.append(row | describe(with_costs(make(), kind, n_machines=n_machines), rounds))
    headings = (
        "structure",
        "layers",
        "machines",
        "costs",
        "method",
        "all phases",
        "width",
        "dp symbolic",
        "dp numeric",
        "proof by",
        "its time",
    )
    lines = [
        (
            row["structure"],
            str(row["layers"]),
            str(row["machines"]),
            row["costs"],
            row["method"],
            spread(row, "solve"),
            "too wide" if row["width"] is None else str(row["width"]),
            seconds(row["analyse_s"]),
            "" if row["width"] is None else seconds(row["analysed_s"]),
            row["checked_by"] or "nobody in time",
            seconds(row["check_s"]),
        )
        for row in rows
    ]
    return Section((), tuple(rows), (table("Structures of real networks", headings, lines),))


def describe(problem: Problem, rounds: int, *, highs_limit_s: float = HIGHS_LIMIT_S) -> dict[str, Any]:
    """Solve one problem, measure the phases, and compare with a minimum cut, or with HiGHS for three machines.

    Raises
    ------
    DifferentOptimaError
        The other found another optimum.
    """
    analysis = _analysis(problem)
    solution = solve(problem)
    if analysis is not None:
        same_value(str(problem), solution.value, {"dp": solve(problem, analysis=analysis).value})
    two = problem.n_machines == 2
    checker = "PyMaxflow" if two else "HiGHS"
    checked = flow_libraries.pymaxflow(problem) if two else highs(problem, time_limit_s=highs_limit_s)
    if checked is not None:
        same_optimum(str(problem), problem, solution.value, checker, checked)
    calls: dict[str, Callable[[], Any]] = {"analyse": lambda: _analysis(problem), "solve": lambda: solve(problem)}
    if analysis is not None:
        calls["analysed"] = lambda: solve(problem, analysis=analysis)
    timings = alternate(calls, rounds=rounds)

    def check() -> Any:
        return flow_libraries.pymaxflow(problem) if two else highs(problem, time_limit_s=highs_limit_s)

    timings |= alternate({"check": check}, rounds=3, budget_s=1.0)
    row: dict[str, Any] = {
        "layers": problem.n_layers,
        "tensors": problem.n_tensors,
        "method": solution.method,
        "width": None if analysis is None else int(analysis.width),
        "optimal": solution.optimal,
        "checked_by": checker if checked is not None else None,
    }
    for name, timing in timings.items():
        row |= timing.row(name)
    return row


def _analysis(problem: Problem) -> Analysis | None:
    """Return the symbolic phase, None if the graph is too wide for it."""
    try:
        return analyse(problem)
    except MethodError:
        return None
