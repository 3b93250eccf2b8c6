"""How sure an exit is of its answer: one number from its output. Needs NumPy alone, since a device computes it."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from partition.errors import InputError

CONFIDENCES = ("softmax", "max")
DEFAULT_CONFIDENCE = "softmax"


def check_confidence(kind: str) -> str:
    """Return the name of a way to be confident.

    Raises
    ------
    InputError
        There is none of that name.
    """
    if kind not in CONFIDENCES:
        raise InputError(f"confidence is {kind!r}; use {', '.join(repr(one) for one in CONFIDENCES)}")
    return kind


def confidence_of(array: NDArray[Any], kind: str) -> float:
    """Return the confidence of an exit's output.

    Parameters
    ----------
    array : numpy.ndarray
        The output, of any numeric type; the last axis holds one value for each class.
    kind : {"softmax", "max"}
        The largest softmax probability, for logits; or the largest value, for probabilities.

    Returns
    -------
    float
        Of several rows the least one. NaN if a row holds NaN (or, by softmax, infinity): no threshold is below that.

    Raises
    ------
    InputError
        Another `kind`; an output without an axis or without values, or not of real numbers.
    """
    check_confidence(kind)
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu":
        what = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
        raise InputError(f"an exit's output is of {what}; its confidence takes an array of real numbers")
    if array.ndim == 0 or array.size == 0:
        raise InputError(f"an exit's output has shape {list(array.shape)}; its last axis has to hold the classes")
    values = array.astype(np.float64)
    largest = values.max(axis=-1)
    if kind == "max":
        return float(largest.min())
    with np.errstate(invalid="ignore"):
        sums = np.exp(values - largest[..., None]).sum(axis=-1)
    return float((1.0 / sums).min())
