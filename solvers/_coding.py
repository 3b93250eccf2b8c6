"""What machines do themselves at a crossing: checks of `Problem.encode` and `Problem.decode`, and their sums."""

from collections.abc import Callable
from typing import Any

import numpy as np

from solvers._arrays import FloatArray, read_only
from solvers._checks import floats
from solvers.errors import ProblemError

_NOTHING = read_only(np.zeros(0))
_ZERO: Any = bytes(8)


def no_coding(shape: tuple[int, int]) -> FloatArray:
    """Return read-only zeros of shape (n_tensors, n_machines) that take no memory."""
    return np.ndarray(shape, np.float64, _ZERO, strides=(0, 0))


def coded(
    shape: tuple[int, int], encode: Any, decode: Any, tensor: Callable[[int], str]
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return `encode`, `decode` and `crossing_work` of a Problem; `tensor` names one.

    None stands for zeros, and so does what `no_coding` made, whatever its shape: `dataclasses.replace` hands it on to
    problems with other machines.

    Raises ProblemError where one is not a finite array >= 0 of `shape`.
    """
    encode, decode = _given(encode), _given(decode)
    if encode is None and decode is None:
        zeros = no_coding(shape)
        return zeros, zeros, _NOTHING
    arrays = []
    for name, values in (("encode", encode), ("decode", decode)):
        if values is None:
            arrays.append(no_coding(shape))
            continue
        array = floats(name, values)
        if array.shape != shape:
            raise ProblemError(f"{name} has shape {array.shape}; give {shape}, a row per tensor, a column per machine")
        bad = ~np.isfinite(array) | (array < 0)
        if bool(bad.any()):
            row, machine = (int(k) for k in np.argwhere(bad)[0])
            raise ProblemError(
                f"{name} of {tensor(row)} on machine {machine} is {array[row, machine]}; give a finite number >= 0"
            )
        arrays.append(array if array.any() else no_coding(shape))
    return arrays[0], arrays[1], crossing_work(arrays[0], arrays[1])


def _given(values: Any) -> Any:
    return None if isinstance(values, np.ndarray) and values.base is _ZERO else values


def crossing_work(encode: FloatArray, decode: FloatArray) -> FloatArray:
    """Return the sums for each tensor, sender and receiver, flat; empty if there is nothing to add up.

    Both may have a leading dimension for many problems, as long as each other's or 1.
    """
    if not (encode.any() or decode.any()):
        return _NOTHING
    with np.errstate(over="ignore"):  # refused when all costs are added up
        work = encode[..., :, None] + decode[..., None, :]
    machines = np.arange(encode.shape[-1])
    work[..., machines, machines] = 0.0
    return read_only(work.reshape(-1))
