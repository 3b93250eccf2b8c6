"""The inputs that exits are measured on, each with its label: a folder of ``.npz`` files, or pairs in memory."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from graph_io import fix_input_dims, input_dtypes
from partition.codecs.data import DataSource, Inputs, data_source, input_rows, read_folder
from partition.errors import InputError
from partition.exits.family import ExitFamily
from partition.exits.segments import dims_by_exit

Labelled: TypeAlias = tuple[Inputs, Any]
ExitData: TypeAlias = "str | PathLike[str] | Sequence[Labelled]"


@dataclass(frozen=True, slots=True, eq=False)
class LabelledData:
    """Inputs of a family, one mapping each, their labels, where they came from, and the shape of each input."""

    inputs: tuple[dict[str, NDArray[Any]], ...]
    labels: tuple[NDArray[Any], ...]
    source: DataSource
    shapes: dict[str, tuple[int, ...]]


def find_labelled(
    family: ExitFamily,
    data: ExitData,
    *,
    labels: str,
    dims: Mapping[str, int] | None = None,
    limit: int | None = None,
) -> LabelledData:
    """Read the inputs of a family of exits and their labels.

    Parameters
    ----------
    family : ExitFamily
    data : path or sequence of pairs
        A folder of ``.npz`` files, in the order of their names, each with one array more: the labels. Arrays that hold
        several inputs along their first axis are taken apart, labels too. Or pairs of inputs and label.
    labels : str
        The name of the array of labels.
    dims : mapping of str to int, optional
    limit : int, optional
        The first so many inputs.

    Raises
    ------
    InputError, graph_io.ModelError
        There are none; a limit that is no count; an input is missing, unknown or of another type or shape than planned;
        labels are missing, or not as many as inputs; models that take inputs of other shapes.
    """
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 1):
        raise InputError(f"limit is {limit!r}; give a whole number of 1 or more, or None for all inputs")
    shapes, dtypes = planned_inputs(family, dims or {})
    if labels in shapes:
        raise InputError(f"labels is '{labels}', which is an input of '{family.name}'; name the array of labels")
    rows: list[dict[str, NDArray[Any]]] = []
    found: list[NDArray[Any]] = []
    place: str | None = None
    if isinstance(data, str | PathLike):
        place, files = read_folder(data)
        for where, arrays in files:
            own = {name: array for name, array in arrays.items() if name != labels}
            if labels not in arrays:
                raise InputError(
                    f"data {where}: the labels '{labels}' are missing; its arrays are {', '.join(arrays)}; name "
                    "the one of labels, or add it"
                )
            some = input_rows(own, shapes, dtypes, where)
            found += _taken_apart(arrays[labels], len(some), where)
            rows += some
    elif isinstance(data, Sequence):
        for number, pair in enumerate(cast("Sequence[Labelled]", data)):
            where = f"input {number}"
            if not isinstance(pair, Sequence) or len(pair) != 2 or not isinstance(pair[0], Mapping):
                raise InputError(f"data {where} is a {type(pair).__name__}; give pairs of (inputs by name, label)")
            some = input_rows(pair[0], shapes, dtypes, where)
            label = np.asarray(pair[1])
            if label.dtype == np.object_:
                raise InputError(f"data {where}: its label is {pair[1]!r}; give a number, a text or an array of these")
            found += _taken_apart(label, len(some), where)
            rows += some
    else:
        raise InputError(f"data is {data!r}; give a folder of .npz files, or a list of (inputs, label)")
    rows, found = rows[:limit], found[:limit]
    source = data_source(place, [row | {labels: label} for row, label in zip(rows, found, strict=True)])
    return LabelledData(tuple(rows), tuple(found), source, shapes)


def _taken_apart(labels: NDArray[Any], count: int, where: str) -> list[NDArray[Any]]:
    """Return the labels of each of so many inputs."""
    if count == 1:
        return [labels]
    if labels.ndim == 0 or labels.shape[0] == 0 or labels.shape[0] % count:
        raise InputError(
            f"data {where}: labels of shape {list(labels.shape)} for {count} inputs; give as many along the first axis"
        )
    return np.split(labels, count)


def planned_inputs(family: ExitFamily, dims: Mapping[str, int]) -> tuple[dict[str, tuple[int, ...]], dict[str, str]]:
    """Return the shapes and types of the inputs that the models of a family take together.

    Raises
    ------
    InputError, graph_io.ModelError
        Dimensions that are missing or unknown; models that take inputs of other shapes.
    """
    own = dims_by_exit(family, dims)
    shapes: dict[str, tuple[int, ...]] = {}
    dtypes: dict[str, str] = {}
    for one in family.exits[: 1 if family.joint else None]:
        for name, shape in fix_input_dims(one.model, own[one.name])[0].items():
            if shapes.setdefault(name, shape) != shape:
                raise InputError(
                    f"input '{name}' has shape {list(shapes[name])} in an earlier model of '{family.name}' and "
                    f"{list(shape)} in '{one.model.name}'; all models of a family read the same inputs"
                )
        dtypes |= input_dtypes(one.model)
    return shapes, dtypes
