"""Which models workers begin with: what may take long, told from a file without reading its weights."""

import os
import stat
from collections.abc import Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path

from graph_io.wire import BYTES, File, fields
from partition.batch.models import BatchModel

# A model that has to be run for its shapes takes about this for each byte of weights, and one that elimination does not
# fold up to a microsecond for each node and row.
_S_PER_BYTE, _S_PER_NODE_AND_ROW = 2e-9, 5e-7
_GRAPH_OF_MODEL, _NODE_OF_GRAPH = 7, 1
MOST_FIELDS = 50_000
"""So many of a file are looked at, which takes a tenth of a second: what is no model may hold any number."""


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
        # Opening a pipe would wait for whoever writes into it.
        if not stat.S_ISREG(os.stat(model.source).st_mode):
            return 0.0
        with Path(model.source).open("rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            return size * _S_PER_BYTE + count_nodes(file, size) * n_rows * _S_PER_NODE_AND_ROW
    except OSError:
        return 0.0


def count_nodes(file: File, size_bytes: int) -> int:
    """Count the nodes of an ONNX model's graph, passing over what they hold, as far as the file is one.

    No more than `MOST_FIELDS` of the model and of its graph are looked at.
    """
    count = 0
    with suppress(ValueError):
        for field in islice(fields(file, 0, size_bytes), MOST_FIELDS):
            if field.number == _GRAPH_OF_MODEL and field.kind == BYTES:
                for one in islice(fields(file, field.begin, field.end), MOST_FIELDS):
                    count += one.number == _NODE_OF_GRAPH
                break
    return count
