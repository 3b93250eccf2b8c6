"""Which models workers begin with: what may take long, told from a file without reading its weights."""

import io
import os
from collections.abc import Sequence
from pathlib import Path

from partition.batch.models import BatchModel

# A worker reads some hundred megabytes a second, and where elimination does not fold needs up to a microsecond for
# each node and row.
_S_PER_BYTE, _S_PER_NODE_AND_ROW = 4e-9, 5e-7
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


def count_nodes(file: io.RawIOBase | io.BufferedIOBase, size_bytes: int) -> int:
    """Count the nodes of an ONNX model's graph, passing over what they hold; 0 where the file is something else."""
    begin, end = _find(file, 0, size_bytes, _GRAPH_OF_MODEL)
    count, at = 0, begin
    while at < end:
        at, past = _find(file, at, end, _NODE_OF_GRAPH)
        count += at < end
        at = past
    return count


def _find(file: io.RawIOBase | io.BufferedIOBase, at: int, end: int, field: int) -> tuple[int, int]:
    """Return where the next field of this number that holds bytes begins and ends, or twice the end."""
    while at < end:
        file.seek(at)
        # A tag and a length, each a number of up to 10 bytes.
        head = file.read(20)
        tag, used = _number(head, 0)
        kind = tag & 7
        value, used = _number(head, used) if kind in (0, 2) else (0, used + {1: 8, 5: 4}.get(kind, end))
        begin = at + used
        at = begin + (value if kind == 2 else 0)
        if kind == 2 and tag >> 3 == field:
            return begin, min(at, end)
    return end, end


def _number(head: bytes, at: int) -> tuple[int, int]:
    """Read a number of variable length; return it and where it ends."""
    value = 0
    for place, byte in enumerate(head[at : at + 10]):
        value |= (byte & 127) << 7 * place
        if byte < 128:
            return value, at + place + 1
    # Cut short, or no number at all: nothing is to be found behind it.
    return 0, len(head) + at + (1 << 62)
