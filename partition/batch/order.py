"""Which models workers begin with: what may take long, told from a file without reading its weights."""

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from graph_io.wire import BYTES, File, fields
from partition.batch.models import BatchModel

# A model that has to be run for its shapes takes about this for each byte of weights, and one that elimination does not
# fold up to a microsecond for each node and row.
_S_PER_BYTE, _S_PER_NODE_AND_ROW = 2e-9, 5e-7
_GRAPH_OF_MODEL, _NODE_OF_GRAPH = 7, 1


def longest_first(models: Sequence[BatchModel], n_rows: int) -> list[int]:
    """Return the places of models in the order in which to begin them.

    Parameters
    ----------
    models : sequence of BatchModel
    n_rows : int
        To solve for each.

    Notes
    -----
    What is long and begins last keeps all workers but one waiting. What cannot be looked at is begun last: it is soon
    done, or was read before.
    """
    return sorted(range(len(models)), key=lambda at: -_estimate_s(models[at], n_rows))


def _estimate_s(model: BatchModel, n_rows: int) -> float:
    if not isinstance(model.source, str | os.PathLike):
        return 0.0
    try:
        with Path(model.source).open("rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            return size * _S_PER_BYTE + count_nodes(file, size) * n_rows * _S_PER_NODE_AND_ROW
    except OSError:
        return 0.0


def count_nodes(file: File, size_bytes: int) -> int:
    """Count the nodes of an ONNX model's graph, passing over what they hold, as far as the file is one."""
    count = 0
    with suppress(ValueError):
        for field in fields(file, 0, size_bytes):
            if field.number == _GRAPH_OF_MODEL and field.kind == BYTES:
                for one in fields(file, field.begin, field.end):
                    count += one.number == _NODE_OF_GRAPH
    return count
