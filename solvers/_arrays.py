"""Array types and the one way in which arrays enter a frozen object."""

from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
IndexArray = NDArray[np.int32]

_Scalar = TypeVar("_Scalar", bound=np.generic)


def read_only(array: NDArray[_Scalar]) -> NDArray[_Scalar]:
    """Return `array`, which the caller owns, after taking away the right to write to it."""
    array.flags.writeable = False
    return array


def frozen_copy(values: Any, dtype: type[_Scalar]) -> NDArray[_Scalar]:
    """Return a contiguous, read-only copy; an array that already is one is shared, not copied."""
    if isinstance(values, np.ndarray) and values.dtype == dtype and values.flags.c_contiguous:
        base = values if values.base is None else values.base
        if not values.flags.writeable and not (isinstance(base, np.ndarray) and base.flags.writeable):
            return values
    return read_only(np.array(values, dtype=dtype, order="C"))
