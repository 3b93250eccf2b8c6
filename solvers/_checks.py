"""Single numbers that a caller gives: turned into what they should be, or refused by name."""

from typing import Any

import numpy as np

from solvers.errors import ProblemError


def real(name: str, value: Any) -> float:
    """Return `value` as a float; ProblemError unless it is one number that is not nan."""
    if isinstance(value, str | bytes) or np.ndim(value) != 0:
        raise ProblemError(f"{name} is {value!r}; give a number")
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        raise ProblemError(f"{name} is {value!r}; give a number") from None
    if np.isnan(number):
        raise ProblemError(f"{name} is nan; give a number")
    return number


def require_count(name: str, value: int, *, least: int = 1) -> None:
    """Raise ProblemError unless `value` is a whole number of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise ProblemError(f"{name} is {value!r}; give a whole number >= {least}")


def require_seconds(name: str, value: float | None) -> None:
    """Raise ProblemError unless `value` is None or a number of seconds >= 0."""
    if value is not None and not real(name, value) >= 0:
        raise ProblemError(f"{name} is {value!r}; give seconds >= 0, or None for no limit")
