"""What a caller gives, turned into what it should be, or refused by name."""

from typing import Any

import numpy as np

from solvers._arrays import FloatArray, IntArray, frozen_copy
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


def floats(name: str, values: Any) -> FloatArray:
    """Return `values` as a read-only array of float64; ProblemError if they are texts or ragged."""
    try:
        if np.asarray(values).dtype.kind in "SUO":
            raise TypeError("it holds texts or rows of different lengths")
        return frozen_copy(values, np.float64)
    except (TypeError, ValueError) as error:
        raise ProblemError(f"{name} is not an array of numbers: {error}") from None


def integers(name: str, values: Any) -> IntArray:
    """Return `values` as a read-only array of int64; ProblemError unless they are whole numbers."""
    try:
        array = np.asarray(values)
    except (TypeError, ValueError) as error:
        raise ProblemError(f"{name} is not an array of whole numbers: {error}") from None
    if array.size and array.dtype.kind not in "iu":
        raise ProblemError(f"{name} has type {array.dtype}; give whole numbers")
    return frozen_copy(array, np.int64)


def listed(name: str, values: Any) -> tuple[Any, ...]:
    """Return `values` as a tuple; ProblemError unless it is a list of some kind."""
    if not isinstance(values, str):  # which would fall apart into letters
        try:
            return tuple(values)
        except TypeError:
            pass
    raise ProblemError(f"{name} is {values!r}; give a list")


def tensor_rows(tensors: Any, amount: str) -> list[tuple[Any, Any, tuple[Any, ...]]]:
    """Return tensors as (producer, `amount`, consumers); ProblemError names the one that is something else."""
    found = []
    for number, row in enumerate(listed("tensors", tensors)):
        parts = listed(f"tensor {number}", row)
        if len(parts) != 3:
            raise ProblemError(f"tensor {number} is {row!r}; give (producer, {amount}, consumers)")
        found.append((parts[0], parts[1], listed(f"the list of consumers of tensor {number}", parts[2])))
    return found
