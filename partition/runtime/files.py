"""Inputs and outputs of a run as ``.npz`` files, one array for each tensor. Nothing pickled is read or written."""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from partition.errors import InputError
from partition.files import draft_of, open_file
from partition.plan import Runnable
from partition.runtime.session import Array

_WRITABLE = {"bool", "string", "float16", "float32", "float64"} | {
    f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)
}


def read_inputs(path: Path) -> dict[str, Array]:
    """Read the arrays of an ``.npz`` file.

    Raises
    ------
    InputError
        The file is missing, is not an ``.npz`` file, holds Python objects, or tells of more than fits into memory.
    """
    try:
        # Opened here, because NumPy leaves a file that it cannot read open.
        with open_file(path) as file:
            content = np.load(file, allow_pickle=False)
            if not isinstance(content, np.lib.npyio.NpzFile):
                raise InputError(f"input file '{path}' holds a single array; write it with numpy.savez(name=array)")
            with content:
                return {name: content[name] for name in content.files}
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"input file '{path}' cannot be read: {error.strerror or error}") from error
    except MemoryError as error:
        raise InputError(
            f"input file '{path}' is damaged, or its arrays do not fit into memory; write it again with numpy.savez"
        ) from error
    except Exception as error:  # each way of compression and NumPy's reader of headers raise errors of their own
        raise InputError(
            f"input file '{path}' is not an .npz file of plain arrays; write it with numpy.savez"
        ) from error


def default_inputs(plan: Runnable) -> dict[str, Array]:
    """Make seeded random inputs of the planned shapes."""
    from graph_io.inputs import random_inputs

    inputs = plan.model.inputs
    return random_inputs({one.name: one.shape for one in inputs}, {one.name: one.dtype for one in inputs})


def check_writable(path: Path, dtypes: Mapping[str, str]) -> None:
    """Refuse an ``.npz`` file for outputs that it cannot hold, such as bfloat16.

    Parameters
    ----------
    path : pathlib.Path
    dtypes : mapping of str to str
        The outputs' element types by name.

    Raises
    ------
    InputError
        NumPy has no such type.
    """
    for name, dtype in dtypes.items():
        if dtype not in _WRITABLE:
            raise InputError(
                f"output file '{path}' cannot hold output '{name}': NumPy has no type {dtype}; "
                "leave out --output, or let the model end in a Cast to float32"
            )


def dtype_and_shape(value: Any) -> tuple[str, list[int]]:
    """Describe an array, or the runtime's own container, in which comes what NumPy has no type for."""
    if _is_array(value):
        return str(value.dtype), list(value.shape)
    return value.data_type().removeprefix("tensor(").removesuffix(")"), list(value.shape())


def _is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray)


def write_outputs(path: Path, outputs: Mapping[str, Array]) -> None:
    """Write arrays into an ``.npz`` file, which appears whole or not at all.

    Raises
    ------
    InputError
        The file cannot be written, or an output is of a type that NumPy does not have.
    """
    check_writable(path, {name: dtype_and_shape(one)[0] for name, one in outputs.items() if not _is_array(one)})
    try:
        # Not by numpy.savez, whose own parameters would collide with outputs of the same name.
        with draft_of(path) as draft, zipfile.ZipFile(draft, "x", allowZip64=True) as archive:
            for name, value in outputs.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                    # Strings come as objects, which would be pickled.
                    plain = value.astype(np.str_) if value.dtype.kind == "O" else value
                    np.lib.format.write_array(file, plain, allow_pickle=False)
    except OSError as error:
        raise InputError(f"output file '{path}' cannot be written: {error.strerror or error}") from error
