"""How well predicted times fit measured ones: the coefficient of determination and the mean relative error.

The first is ruled by the largest times, the second counts each alike; publications mostly give the first alone.
"""

from typing import cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from partition.errors import InputError


def r_squared(measured: ArrayLike, predicted: ArrayLike) -> float:
    """Return the coefficient of determination, 1 - sum (measured - predicted)^2 / sum (measured - mean)^2.

    Parameters
    ----------
    measured : array_like, shape (n,)
        Measured values, finite, of any unit.
    predicted : array_like, shape (n,)
        Predicted values of the same unit; infinity is allowed.

    Returns
    -------
    float
        At most 1; negative where the mean of the measured values would be the better prediction. NaN where all measured
        values are equal, one value alone included: there it has no meaning.

    Raises
    ------
    InputError
        The lengths differ, there is nothing to compare, a measured value is not finite, or a predicted one is NaN.
    """
    truth, guess = _checked(measured, predicted)
    if np.ptp(truth) == 0.0:
        return float("nan")
    with np.errstate(over="ignore"):
        residual = float(np.sum((truth - guess) ** 2))
        return 1.0 - residual / float(np.sum((truth - truth.mean()) ** 2))


def mean_absolute_percentage_error(measured: ArrayLike, predicted: ArrayLike) -> float:
    """Return the mean of abs(predicted - measured) / measured, in percent.

    Parameters
    ----------
    measured : array_like, shape (n,)
        Measured values, finite and above 0.
    predicted : array_like, shape (n,)
        Predicted values of the same unit; infinity is allowed.

    Returns
    -------
    float
        Percent, 0 or more.

    Raises
    ------
    InputError
        As `r_squared`, and where a measured value is 0 or negative.
    """
    truth, guess = _checked(measured, predicted)
    if truth.min() <= 0.0:
        raise InputError(
            f"measured: value {int(truth.argmin())} is {truth.min()!s}, expected above 0: a relative error needs it; "
            "leave out what takes no time"
        )
    with np.errstate(over="ignore"):
        return float(100.0 * np.mean(np.abs(guess - truth) / truth))


def _checked(measured: ArrayLike, predicted: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return both as float64 arrays that can be compared."""
    truth, guess = (cast(NDArray[np.float64], np.asarray(one, dtype=np.float64)) for one in (measured, predicted))
    if truth.ndim != 1 or truth.shape != guess.shape or truth.size == 0:
        raise InputError(
            f"measured has the shape {truth.shape} and predicted {guess.shape}, expected one dimension and one length "
            "of 1 or more; pass one predicted value for each measured one"
        )
    if not np.isfinite(truth).all():
        raise InputError("measured: a value is not finite; leave out what was not measured")
    if np.isnan(guess).any():
        raise InputError(
            f"predicted: {int(np.isnan(guess).sum())} of {guess.size} values are NaN, so the regression does not know "
            "them; leave them out on both sides and say so, or predict them otherwise"
        )
    return truth, guess
