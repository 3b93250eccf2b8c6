"""Read a model's file without its large weights: they become references to where they lie in that file."""

from collections.abc import Callable
from itertools import islice
from pathlib import Path

from google.protobuf.message import DecodeError
from onnx import ModelProto, TensorProto

from graph_io.dtypes import dtype_name, size_bytes
from graph_io.external import LARGEST_MESSAGE_BYTES, SMALL_BYTES, Reference, set_reference
from graph_io.wire import BYTES, Field, File, fields, varint

_GRAPH_OF_MODEL, _INITIALIZER_OF_GRAPH = 7, 5
# Of whatever has more, looking at each of them is not worth it.
_MOST_FIELDS, _MOST_FIELDS_OF_TENSOR = 200_000, 100
_RAW_DATA, _EXTERNAL_DATA, _DATA_LOCATION = 9, 13, 14


def read_sparing(path: Path) -> ModelProto | None:
    """Read a model but for its large weights.

    Parameters
    ----------
    path : pathlib.Path
        A file, no pipe.

    Returns
    -------
    onnx.ModelProto or None
        Initializers of the main graph of more than 4 KiB are external data, which is the file itself: from then on the
        file has to stay as it is. None where the file is read as a whole instead, which tells what is wrong with it.
    """
    try:
        # The name is written into the references, and theirs are UTF-8.
        path.name.encode()
        with path.open("rb", buffering=0) as file:
            size = file.seek(0, 2)
            if size > LARGEST_MESSAGE_BYTES:
                return None
            content = _rewritten(file, 0, size, {_GRAPH_OF_MODEL: lambda one: _graph(file, one, path.name)})
        return ModelProto.FromString(content)
    except (OSError, ValueError, DecodeError):
        return None


def _graph(file: File, place: Field, name: str) -> bytes:
    return _rewritten(file, place.begin, place.end, {_INITIALIZER_OF_GRAPH: lambda one: _initializer(file, one, name)})


def _initializer(file: File, place: Field, name: str) -> bytes | None:
    """Return an initializer without its data, or None for one that is to be read."""
    if place.end - place.begin <= SMALL_BYTES:
        return None
    found = list(islice(fields(file, place.begin, place.end), _MOST_FIELDS_OF_TENSOR + 1))
    if len(found) > _MOST_FIELDS_OF_TENSOR:
        return None
    raw = [one for one in found if one.number == _RAW_DATA and one.kind == BYTES]
    if len(raw) != 1 or any(one.number in (_EXTERNAL_DATA, _DATA_LOCATION) for one in found):
        return None
    (data,) = raw
    length = data.end - data.begin
    tensor = TensorProto.FromString(_read(file, place.begin, data.tag_at) + _read(file, data.end, place.end))
    dtype = dtype_name(tensor.data_type)
    # One whose data is not what its shape says is refused by whoever reads it.
    if dtype is None or tensor.data_type == TensorProto.STRING or min(tensor.dims, default=0) < 0:
        return None
    if length <= SMALL_BYTES or length != size_bytes(dtype, tuple(tensor.dims)):
        return None
    set_reference(tensor, Reference(name, data.begin, length))
    return tensor.SerializeToString()


def _rewritten(file: File, begin: int, end: int, rewrite: dict[int, Callable[[Field], bytes | None]]) -> bytes:
    """Copy a message with some of its fields replaced; one whose replacement is None stays as it is."""
    parts: list[bytes] = []
    copied = begin
    for count, field in enumerate(fields(file, begin, end)):
        if count == _MOST_FIELDS:
            raise ValueError("more fields than looking at each of them is worth")
        maker = rewrite.get(field.number) if field.kind == BYTES else None
        value = None if maker is None else maker(field)
        if value is not None:
            parts += [
                _read(file, copied, field.tag_at),
                varint(field.number << 3 | BYTES),
                varint(len(value)),
                value,
            ]
            copied = field.end
    return b"".join([*parts, _read(file, copied, end)])


def _read(file: File, begin: int, end: int) -> bytes:
    """Read all bytes between two places; a raw file may give fewer at once."""
    file.seek(begin)
    parts = []
    while begin < end:
        part = file.read(end - begin)
        if not part:
            raise ValueError("the file ends")
        parts.append(part)
        begin += len(part)
    return b"".join(parts)
