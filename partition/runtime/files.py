"""Inputs and outputs of a run as ``.npz`` files, one array for each tensor. Nothing pickled is read or written."""

import os
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from partition.errors import InputError
from partition.plan import Plan
from partition.runtime.session import Array


def read_inputs(path: Path) -> dict[str, Array]:
    """Read the arrays of an ``.npz`` file.

    Raises
    ------
    InputError
        The file is missing, is not an ``.npz`` file, or holds Python objects.
    """
    try:
        with np.load(path, allow_pickle=False) as content:
            if not hasattr(content, "files"):
                raise InputError(f"input file '{path}' holds a single array; write it with numpy.savez(name=array)")
            return {name: content[name] for name in content.files}
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"input file '{path}' cannot be read: {error.strerror or error}") from error
    except (ValueError, zipfile.BadZipFile, EOFError, TypeError, AttributeError) as error:
        raise InputError(
            f"input file '{path}' is not an .npz file of plain arrays; write it with numpy.savez"
        ) from error


def default_inputs(plan: Plan) -> dict[str, Array]:
    """Make seeded random inputs of the planned shapes from what the parts read."""
    from graph_io.shapes import random_inputs

    known = {tensor.name: tensor for part in plan.parts for tensor in part.inputs}
    wanted = [known[name] for name in plan.model.inputs if name in known]
    missing = [name for name in plan.model.inputs if name not in known]
    if missing:
        raise InputError(
            f"input '{missing[0]}' is read by no part, so its shape is unknown here; pass --input FILE.npz"
        )
    return random_inputs({one.name: one.shape for one in wanted}, {one.name: one.dtype for one in wanted})


def write_outputs(path: Path, outputs: Mapping[str, Array]) -> None:
    """Write arrays into an ``.npz`` file, which appears whole or not at all.

    Raises
    ------
    InputError
        The file cannot be written.
    """
    try:
        handle, draft = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                np.savez(file, **dict(outputs))  # type: ignore[arg-type]
            Path(draft).replace(path)
        finally:
            Path(draft).unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"output file '{path}' cannot be written: {error.strerror or error}") from error
