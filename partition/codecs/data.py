"""The inputs that codecs are measured on: a folder of ``.npz`` files, arrays in memory, or random ones if asked."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, TypeAlias, cast

from numpy.typing import NDArray

from graph_io import LayerGraph, input_dtypes, random_inputs
from partition.errors import InputError
from partition.files import FieldReader
from partition.runtime.files import read_inputs

Inputs: TypeAlias = Mapping[str, NDArray[Any]]
RANDOM = "random"
_RANDOM_INPUTS = 4


@dataclass(frozen=True, slots=True)
class DataSource:
    """Where the inputs came from, so that they can be found again.

    Attributes
    ----------
    kind : {"folder", "random", "memory"}
    folder : str or None
    sha256 : str or None
        Of the names and bytes of all arrays.
    n_inputs : int
    """

    kind: str
    folder: str | None
    sha256: str | None
    n_inputs: int

    def __str__(self) -> str:
        if self.kind == "folder":
            return f"{self.n_inputs} inputs from {self.folder}"
        return f"{self.n_inputs} {'random inputs' if self.kind == 'random' else 'inputs in memory'}"


def read_data_source(fields: FieldReader) -> DataSource:
    """Read it from a file that was measured on it. Raises InputError where it is damaged."""
    kind = fields.text("kind")
    if kind not in ("folder", "random", "memory"):
        fields.refuse("kind", kind, "'folder', 'random' or 'memory'")
    data = DataSource(kind, fields.optional_path("folder"), fields.optional_text("sha256"), fields.count("n_inputs"))
    fields.finish()
    return data


def find_data(
    graph: LayerGraph, data: "str | PathLike[str] | Sequence[Inputs]", *, limit: int | None = None
) -> tuple[list[dict[str, NDArray[Any]]], DataSource]:
    """Read the inputs of a model.

    Parameters
    ----------
    graph : networkx.DiGraph
    data : path, sequence of mappings, or "random"
        A folder of ``.npz`` files, in the order of their names. Arrays that hold several inputs along their first axis
        are taken apart.
    limit : int, optional
        The first so many inputs.

    Raises
    ------
    InputError
        There are none; an input is missing, unknown or of another type or shape than planned.
    """
    shapes: dict[str, tuple[int, ...]] = graph.graph["input_shapes"]
    dtypes = input_dtypes(graph.graph["model"])
    if isinstance(data, str) and data == RANDOM:
        made = [random_inputs(shapes, dtypes, seed=seed) for seed in range(limit or _RANDOM_INPUTS)]
        return made, DataSource(RANDOM, None, None, len(made))
    given: Iterable[tuple[str, Inputs]]
    if isinstance(data, str | PathLike):
        place, given = read_folder(data)
    elif isinstance(data, Sequence):
        place, given = None, ((f"input {number}", one) for number, one in enumerate(cast(Sequence[Inputs], data)))
    else:
        raise InputError(f"data is {data!r}; give a folder of .npz files, a list of inputs, or 'random'")
    rows = [row for where, one in given for row in input_rows(one, shapes, dtypes, where)][:limit]
    return rows, data_source(place, rows)


def read_folder(data: "str | PathLike[str]") -> tuple[str, "list[tuple[str, Inputs]]"]:
    """Return the full path of a folder, and the arrays of its ``.npz`` files with what to call each file in messages.

    Raises
    ------
    InputError
        It cannot be read, or holds no such file.
    """
    folder = Path(data)
    try:
        files = sorted(path for path in folder.iterdir() if path.suffix == ".npz")
    except OSError as error:
        raise InputError(
            f"data folder '{folder}' cannot be read: {error.strerror or error}; give a folder of .npz files"
        ) from error
    if not files:
        raise InputError(f"data folder '{folder}' holds no .npz file; write one with numpy.savez(name=array)")
    return str(folder.resolve()), [(f"'{path}'", read_inputs(path)) for path in files]


def data_source(place: str | None, rows: Sequence[Inputs]) -> DataSource:
    """Describe inputs that were read, from a folder or from memory. Raises InputError where there are none."""
    if not rows:
        raise InputError("data holds no input; give at least one")
    digest = hashlib.sha256()
    for row in rows:
        for name in sorted(row):
            digest.update(name.encode())
            digest.update(row[name].tobytes())
    return DataSource("memory" if place is None else "folder", place, digest.hexdigest(), len(rows))


def input_rows(
    arrays: Inputs, shapes: Mapping[str, tuple[int, ...]], dtypes: Mapping[str, str], where: str
) -> list[dict[str, NDArray[Any]]]:
    """Check arrays against the planned inputs, and take them apart where they hold several."""
    unknown = next((name for name in arrays if name not in shapes), None)
    if unknown is not None:
        raise InputError(f"data {where}: '{unknown}' is not an input of the model; its inputs are {', '.join(shapes)}")
    counts = set()
    for name, shape in shapes.items():
        if name not in arrays:
            raise InputError(f"data {where}: input '{name}' is missing; the model's inputs are {', '.join(shapes)}")
        got = arrays[name]
        if str(got.dtype) != dtypes[name]:
            raise InputError(f"data {where}: input '{name}' has type {got.dtype}, the model takes {dtypes[name]}")
        several = got.ndim == len(shape) > 0 and got.shape[1:] == tuple(shape[1:]) and shape[0] > 0
        if not several or got.shape[0] % shape[0]:
            if got.shape == tuple(shape):
                counts.add(1)
                continue
            raise InputError(
                f"data {where}: input '{name}' has shape {list(got.shape)}, planned is {list(shape)} or several of "
                "these along the first axis; give that, or plan for other dims"
            )
        counts.add(got.shape[0] // shape[0])
    if len(counts) > 1:
        raise InputError(f"data {where}: its arrays hold {sorted(counts)} inputs; give as many of each")
    count = counts.pop() if counts else 0
    found = []
    for number in range(count):
        row = {}
        for name, shape in shapes.items():
            length = shape[0] if shape else 0
            row[name] = arrays[name] if count == 1 else arrays[name][number * length : (number + 1) * length].copy()
        found.append(row)
    return found
