"""Inputs and outputs of a run as ``.npz`` files, one array for each tensor. Nothing pickled is read or written."""

import secrets
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from partition.errors import InputError
from partition.plan import Runnable
from partition.runtime.session import Array

# What zipfile, zlib and NumPy raise on a damaged, encrypted or oddly compressed file.
_DAMAGED = (
    ValueError,
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    TypeError,
    NotImplementedError,
    RuntimeError,
)


def read_inputs(path: Path) -> dict[str, Array]:
    """Read the arrays of an ``.npz`` file.

    Raises
    ------
    InputError
        The file is missing, is not an ``.npz`` file, or holds Python objects.
    """
    try:
        # Opened here, because NumPy leaves a file that it cannot read open.
        with path.open("rb") as file:
            content = np.load(file, allow_pickle=False)
            if not isinstance(content, np.lib.npyio.NpzFile):
                raise InputError(f"input file '{path}' holds a single array; write it with numpy.savez(name=array)")
            with content:
                return {name: content[name] for name in content.files}
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"input file '{path}' cannot be read: {error.strerror or error}") from error
    except _DAMAGED as error:
        raise InputError(
            f"input file '{path}' is not an .npz file of plain arrays; write it with numpy.savez"
        ) from error


def default_inputs(plan: Runnable) -> dict[str, Array]:
    """Make seeded random inputs of the planned shapes."""
    from graph_io.inputs import random_inputs

    inputs = plan.model.inputs
    return random_inputs({one.name: one.shape for one in inputs}, {one.name: one.dtype for one in inputs})


def write_outputs(path: Path, outputs: Mapping[str, Array]) -> None:
    """Write arrays into an ``.npz`` file, which appears whole or not at all.

    Raises
    ------
    InputError
        The file cannot be written.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        try:
            # Not by numpy.savez, whose own parameters would collide with outputs of the same name.
            with zipfile.ZipFile(draft, "x", allowZip64=True) as archive:
                for name, value in outputs.items():
                    with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                        # Strings come as objects, which would be pickled.
                        plain = value.astype(np.str_) if value.dtype.kind == "O" else value
                        np.lib.format.write_array(file, plain, allow_pickle=False)
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"output file '{path}' cannot be written: {error.strerror or error}") from error
