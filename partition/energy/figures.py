"""Figures that a user or an instrument gives: finite numbers in their range, or refused."""

from math import isfinite
from numbers import Real

from partition.errors import InputError


def non_negative(value: object, what: str, *, unit: str = "watts") -> float:
    """Return a figure as a float.

    Parameters
    ----------
    value : object
        What was given.
    what, unit : str
        Its name and its unit, for the message.

    Raises
    ------
    InputError
        Not a number (a boolean is none), not finite, or below 0.
    """
    if isinstance(value, bool) or not isinstance(value, Real) or not isfinite(value) or value < 0:
        raise InputError(f"{what} is {value!r}, expected a finite number of {unit}, 0 or more")
    return float(value)


def positive(value: object, what: str, *, unit: str = "watts") -> float:
    """Return a figure as a float, as `non_negative` does, and refuse 0 as well."""
    if isinstance(value, bool) or not isinstance(value, Real) or not isfinite(value) or value <= 0:
        raise InputError(f"{what} is {value!r}, expected a finite number of {unit} above 0")
    return float(value)
