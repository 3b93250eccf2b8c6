"""The check that all contestants found the same optimum."""

from typing import Any

from solvers import Problem, evaluate

TOLERANCE = 1e-9
"""Relative, between optima."""


class DifferentOptimaError(RuntimeError):
    """Two contestants answered one problem with different values: no timing counts."""


def same_value(what: str, ours: float, others: dict[str, float], *, tolerance: float = TOLERANCE) -> None:
    """Compare values.

    Raises
    ------
    DifferentOptimaError
        One of `others` is not `ours`.
    """
    for name, value in others.items():
        if not abs(value - ours) <= tolerance * abs(ours):
            raise DifferentOptimaError(f"{what}: {name} found {value!r}, this library {ours!r}")


def same_optimum(
    what: str, problem: Problem, ours: float, name: str, placement: Any, *, tolerance: float = TOLERANCE
) -> None:
    """Evaluate another contestant's placement and compare; same error as `same_value`."""
    same_value(what, ours, {name: evaluate(problem, placement)}, tolerance=tolerance)
