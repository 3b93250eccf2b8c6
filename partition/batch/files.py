"""The rows of a batch as a file: CSV, JSON Lines or Parquet, whole or not at all."""

import csv
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from partition.batch.table import COLUMNS, FLOATS, ModelRows
from partition.errors import InputError
from partition.files import draft_of

ENDINGS = (".csv", ".jsonl", ".parquet")
_WHOLE = ("uplink_bytes", "downlink_bytes", "n_layers", "n_layers_on_device")


def check_ending(path: Path) -> None:
    """Refuse, before the work that it is for, a file whose ending says nothing or needs a package that is not there.

    Raises
    ------
    InputError
    """
    ending = path.suffix.lower()
    if ending not in ENDINGS:
        raise InputError(f"file '{path}' has the ending '{path.suffix}'; give one of {', '.join(ENDINGS)}")
    if ending == ".parquet" and find_spec("pyarrow") is None:
        raise InputError(
            f"file '{path}' needs the package pyarrow, which is not installed: pip install 'dnn-partition[parquet]'; "
            "or give a file .csv or .jsonl"
        )


def write_rows(path: Path, blocks: Iterable[ModelRows]) -> Iterator[ModelRows]:
    """Write rows as they come, and pass them on; after the last one the file takes its place.

    Parameters
    ----------
    path : pathlib.Path
        Its ending tells the form: .csv (cuts as JSON lists), .jsonl or .parquet. An existing file is replaced.
    blocks : iterable of ModelRows

    Raises
    ------
    InputError
        See `check_ending`; the file cannot be written. Nothing is left then, nor where the iteration is given up, nor
        where `blocks` raises something, which is passed on as it is.
    """
    check_ending(path)
    writer = {".csv": _csv, ".jsonl": _json_lines, ".parquet": _parquet}[path.suffix.lower()]
    return _written(path, blocks, writer)


Writer = Callable[[Path], AbstractContextManager[Callable[[ModelRows], None]]]


def _written(path: Path, blocks: Iterable[ModelRows], writer: Writer) -> Iterator[ModelRows]:
    foreign: OSError | None = None

    def given() -> Iterator[ModelRows]:
        nonlocal foreign
        try:
            yield from blocks
        except OSError as error:
            # A cluster's lost connection, for one: nothing that is about this file.
            foreign = error
            raise

    try:
        with draft_of(path) as draft, writer(draft) as write:
            for block in given():
                write(block)
                yield block
    except OSError as error:
        if error is foreign:
            raise
        raise InputError(
            f"cannot write '{path}': {error.strerror or error}; "
            "give the path of a file in an existing folder that you may write to"
        ) from error


@contextmanager
def _csv(path: Path) -> Iterator[Callable[[ModelRows], None]]:
    with path.open("x", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(COLUMNS)

        def write(block: ModelRows) -> None:
            columns = block.columns()
            texts = {cut.tensors: json.dumps(cut.tensors, ensure_ascii=False) for cut in block.cuts}
            columns["cut"] = [None if cut is None else texts[cut] for cut in columns["cut"]]
            columns["optimal"] = [None if one is None else str(one).lower() for one in columns["optimal"]]
            writer.writerows(zip(*columns.values(), strict=True))

        yield write


@contextmanager
def _json_lines(path: Path) -> Iterator[Callable[[ModelRows], None]]:
    with path.open("x", encoding="utf-8", newline="\n") as stream:

        def write(block: ModelRows) -> None:
            for row in zip(*block.columns().values(), strict=True):
                text = json.dumps(dict(zip(COLUMNS, row, strict=True)), allow_nan=False, ensure_ascii=False)
                stream.write(text + "\n")

        yield write


@contextmanager
def _parquet(path: Path) -> Iterator[Callable[[ModelRows], None]]:
    import pyarrow
    from pyarrow import parquet

    kinds: dict[str, Any] = dict.fromkeys(COLUMNS, pyarrow.string())
    kinds |= dict.fromkeys((*FLOATS, "uplink_bits_per_s", "downlink_bits_per_s", "rtt_s"), pyarrow.float64())
    kinds |= dict.fromkeys(_WHOLE, pyarrow.int64())
    kinds |= {"cut": pyarrow.list_(pyarrow.string()), "optimal": pyarrow.bool_()}
    schema = pyarrow.schema(list(kinds.items()))
    with parquet.ParquetWriter(path, schema) as writer:

        def write(block: ModelRows) -> None:
            writer.write_table(pyarrow.table(block.columns(), schema=schema))

        yield write
