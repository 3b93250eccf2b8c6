"""The open dimension that a length is of: where it stands in a model's inputs, and which lengths a range holds."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from partition.errors import InputError
from partition.routing.length_models import whole_length

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from graph_io import Model


def check_range(dim: str, lengths: object) -> tuple[int, int]:
    """Return the least and the greatest length of a range.

    Raises
    ------
    InputError
        Not two whole numbers of 1 or more, the first below the second.
    """
    legal = f"give the least and the greatest length of '{dim}', such as (1, 512), or 1..512 on the command line"
    if isinstance(lengths, str) or not isinstance(lengths, Sequence) or len(lengths) != 2:
        raise InputError(f"the range of '{dim}' is {lengths!r}; {legal}")
    try:
        least, most = whole_length(lengths[0]), whole_length(lengths[1])
    except InputError as error:
        raise InputError(f"the range of '{dim}' is {tuple(lengths)!r}: {error}") from error
    if least > most:
        raise InputError(f"the range of '{dim}' is {least} to {most}, which is reversed; {legal}")
    if least == most:
        raise InputError(f"the range of '{dim}' holds the one length {least}; for one, give dims={{'{dim}': {least}}}")
    return least, most


def log_spaced(least: int, most: int, count: int) -> list[int]:
    """Return up to `count` different lengths, evenly spaced in their logarithms, both ends among them."""
    return sorted({round(one) for one in np.geomspace(least, most, count).tolist()} | {least, most})


def open_axes(model: "Model", dim: str, dims: Mapping[str, int] | None = None) -> dict[str, tuple[int, ...]]:
    """Return the inputs that have an open dimension, each with the axes where it stands.

    Parameters
    ----------
    model : Model
        From `graph_io.load_model`.
    dim : str
        Its name, or ``"input.axis"``.
    dims : mapping of str to int, optional
        Values of the other open dimensions; one for a single axis, as ``"input.axis"``, fixes that axis.

    Raises
    ------
    InputError
        The model has no such dimension, or its value is among `dims`.
    """
    if not isinstance(dim, str) or not dim:
        raise InputError(f"dim is {dim!r}; give the name of an open dimension, such as 'seq'")
    given = dims or {}
    if dim in given:
        raise InputError(f"'{dim}' is the dimension whose lengths are wanted, and dims gives it a value; leave it out")
    found: dict[str, list[int]] = {}
    known: dict[str, None] = {}
    for value in model.proto.graph.input:
        for axis, size in enumerate(value.type.tensor_type.shape.dim):
            if size.HasField("dim_value") and size.dim_value >= 0:
                continue
            own_name = f"{value.name}.{axis}"
            known[size.dim_param or own_name] = None
            if dim == own_name or (dim == size.dim_param and own_name not in given):
                found.setdefault(value.name, []).append(axis)
    if not found:
        names = ", ".join(f"'{name}'" for name in known)
        has = f"its open dimensions are {names}" if names else "all its shapes are fixed, so its inputs have one length"
        raise InputError(f"dimension '{dim}' is not in the model '{model.name}'; {has}")
    return {name: tuple(axes) for name, axes in found.items()}


def length_of(inputs: "Mapping[str, NDArray[Any]]", axes: Mapping[str, tuple[int, ...]], dim: str) -> int:
    """Read the length off inputs.

    Raises
    ------
    InputError
        An input is missing or has too few axes, two disagree, or the length is 0.
    """
    seen: dict[int, str] = {}
    for name, own in axes.items():
        if name not in inputs:
            raise InputError(f"input '{name}' is missing; its shape tells the length '{dim}'")
        shape = inputs[name].shape
        if len(shape) <= max(own):
            raise InputError(
                f"input '{name}' has shape {list(shape)}; its axis {max(own)} has to be the length '{dim}'"
            )
        for axis in own:
            seen.setdefault(shape[axis], name)
    if len(seen) > 1:
        said = ", ".join(f"{size} in '{name}'" for size, name in seen.items())
        raise InputError(f"the inputs disagree on the length '{dim}': {said}; give all of them one length")
    length = next(iter(seen))
    if length < 1:
        raise InputError(f"input '{seen[length]}' has the length 0 in '{dim}'; give an input of 1 or more")
    return length
