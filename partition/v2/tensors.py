"""One tensor on the wire: an array as bytes or as JSON values, and back, with nothing believed that can be checked."""

import math
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from partition.v2.datatypes import NUMPY_TYPES, STRINGS
from partition.v2.errors import ProtocolError, shown

Array = NDArray[Any]
Bytes = bytes | bytearray | memoryview

_MOST_DIMENSIONS = 32
_LARGEST_DIMENSION = 2**31 - 1
_LARGEST_STRING_BYTES = 2**32 - 1
_ALIGNMENT = 8
_LENGTH = struct.Struct("<I")


def read_shape(value: object, tensor: str) -> tuple[int, ...]:
    """Return a shape from JSON.

    Raises
    ------
    ProtocolError
        It is not a list of at most 32 whole numbers from 0 to 2^31 - 1.
    """
    legal = isinstance(value, list) and len(value) <= _MOST_DIMENSIONS
    if (
        legal
        and isinstance(value, list)
        and all(type(size) is int and 0 <= size <= _LARGEST_DIMENSION for size in value)
    ):
        return tuple(value)
    raise ProtocolError(
        f"tensor {shown(tensor)} has shape {shown(value)}; legal is a list of at most {_MOST_DIMENSIONS} whole numbers "
        f"from 0 to {_LARGEST_DIMENSION}"
    )


def to_bytes(array: Array, datatype: str, tensor: str) -> Bytes:
    """Return an array's content in row-major order; a view of its memory where that is possible.

    Raises
    ------
    ProtocolError
        A string that is none, or does not fit.
    """
    if datatype == STRINGS:
        return b"".join(_packed_string(one, tensor) for one in array.flat)
    # Flat, because a memoryview of an empty or 0-dimensional array cannot be cast.
    flat: Array = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    return flat.data


def _packed_string(value: object, tensor: str) -> bytes:
    if isinstance(value, str):
        try:
            content = value.encode("utf-8")
        except UnicodeEncodeError as error:
            raise ProtocolError(f"tensor '{tensor}' holds {shown(value)}, which is not valid Unicode") from error
    elif isinstance(value, bytes):
        content = value
    else:
        raise ProtocolError(f"tensor '{tensor}' holds a {type(value).__name__} where strings are; pass an array of str")
    if len(content) > _LARGEST_STRING_BYTES:
        raise ProtocolError(f"tensor '{tensor}' holds a string of {len(content)} bytes; at most 2^32 - 1 travel")
    return _LENGTH.pack(len(content)) + content


def from_bytes(content: memoryview, datatype: str, shape: tuple[int, ...], tensor: str) -> Array:
    """Return the array that lies in bytes: a view of them where they are aligned, else a copy.

    Raises
    ------
    ProtocolError
        The bytes are more or fewer than type and shape tell, or are not of that type.
    """
    if datatype == STRINGS:
        return _strings(content, shape, tensor)
    dtype = NUMPY_TYPES[datatype]
    wanted_bytes = math.prod(shape) * dtype.itemsize
    if len(content) != wanted_bytes:
        raise ProtocolError(
            f"tensor {shown(tensor)} of {datatype} and shape {list(shape)} takes {wanted_bytes} bytes, "
            f"but {len(content)} came"
        )
    raw: Array = np.frombuffer(content, np.uint8)
    if datatype == "BOOL" and raw.size and int(raw.max()) > 1:
        raise ProtocolError(f"tensor {shown(tensor)} of BOOL holds a byte that is neither 0 nor 1")
    if raw.ctypes.data % min(dtype.itemsize, _ALIGNMENT):
        raw = raw.copy()
    return _reshaped(raw.view(dtype), shape, tensor)


def encoded_bytes(content: memoryview, tensor: str) -> bytes:
    """Return the only element of a tensor of BYTES, which is not text.

    Raises
    ------
    ProtocolError
        Its length is not that of what came.
    """
    size = len(content) - _LENGTH.size
    if size < 0 or _LENGTH.unpack_from(content)[0] != size:
        raise ProtocolError(
            f"tensor {shown(tensor)} comes encoded in {len(content)} bytes, which are not a length of 4 bytes and as "
            "many as it says"
        )
    return bytes(content[_LENGTH.size :])


def _reshaped(flat: Array, shape: tuple[int, ...], tensor: str) -> Array:
    try:
        return flat.reshape(shape)
    except ValueError as error:
        # An empty tensor, whose other dimensions are too large for NumPy together.
        raise ProtocolError(f"tensor {shown(tensor)} has shape {list(shape)}, which is too large") from error


def _strings(content: memoryview, shape: tuple[int, ...], tensor: str) -> Array:
    count = math.prod(shape)
    if count * _LENGTH.size > len(content):
        raise ProtocolError(
            f"tensor {shown(tensor)} of BYTES and shape {list(shape)} takes at least {count * _LENGTH.size} bytes, "
            f"but {len(content)} came"
        )
    values: list[str] = []
    place = 0
    for _ in range(count):
        start = place + _LENGTH.size
        if start > len(content):
            raise ProtocolError(f"tensor {shown(tensor)} of BYTES ends within the length of string {len(values)}")
        place = start + _LENGTH.unpack_from(content, place)[0]
        if place > len(content):
            raise ProtocolError(f"tensor {shown(tensor)} of BYTES ends within string {len(values)}")
        try:
            values.append(str(content[start:place], "utf-8"))
        except UnicodeDecodeError as error:
            raise ProtocolError(f"string {len(values)} of tensor {shown(tensor)} is not valid UTF-8") from error
    if place != len(content):
        raise ProtocolError(
            f"tensor {shown(tensor)} of BYTES and shape {list(shape)} has {len(content) - place} bytes too many"
        )
    return _objects(values, shape, tensor)


def _objects(values: list[str], shape: tuple[int, ...], tensor: str) -> Array:
    flat = np.empty(len(values), np.object_)
    flat[:] = values
    return _reshaped(flat, shape, tensor)


def to_json(array: Array, datatype: str, tensor: str) -> list[Any]:
    """Return an array's elements in row-major order, as JSON values.

    Raises
    ------
    ProtocolError
        JSON cannot hold them: float16, NaN and infinities travel as binary data alone.
    """
    if datatype == "FP16":
        raise ProtocolError(f"tensor '{tensor}' is of FP16, which JSON cannot carry; ask for binary data")
    if datatype in ("FP32", "FP64") and not bool(np.isfinite(array).all()):
        raise ProtocolError(f"tensor '{tensor}' holds NaN or infinity, which JSON cannot carry; ask for binary data")
    values: list[Any] = array.reshape(-1).tolist()
    if datatype == STRINGS:
        values = [one.decode("utf-8", "replace") if isinstance(one, bytes) else one for one in values]
        wrong = next((one for one in values if not isinstance(one, str)), None)
        if wrong is not None:
            raise ProtocolError(f"tensor '{tensor}' holds a {type(wrong).__name__} where strings are")
    return values


def from_json(data: object, datatype: str, shape: tuple[int, ...], tensor: str) -> Array:
    """Return the array that lies in JSON values, flat or nested as its shape tells.

    Raises
    ------
    ProtocolError
        Another number of values, values of another kind, or beyond the range of the type.
    """
    if datatype == "FP16":
        raise ProtocolError(f"tensor {shown(tensor)} is of FP16, which JSON cannot carry; send binary data")
    count = math.prod(shape)
    values = _flat(data, shape, tensor)
    if len(values) != count:
        raise ProtocolError(
            f"tensor {shown(tensor)} of shape {list(shape)} takes {count} values, but {len(values)} came"
        )
    kinds = set(map(type, values))
    legal: set[type]
    if datatype == STRINGS:
        legal = {str}
    elif datatype == "BOOL":
        legal = {bool}
    elif datatype in ("FP32", "FP64"):
        legal = {int, float}
    else:
        legal = {int}
    if not kinds <= legal:
        raise ProtocolError(
            f"tensor {shown(tensor)} of {datatype} holds a {next(iter(kinds - legal)).__name__} in its data; legal are "
            f"{' and '.join(sorted(kind.__name__ for kind in legal))}"
        )
    if datatype == STRINGS:
        if not all(map(_is_unicode, values)):
            raise ProtocolError(f"tensor {shown(tensor)} holds a string that is not valid Unicode")
        return _objects(values, shape, tensor)
    dtype = NUMPY_TYPES[datatype]
    if dtype.kind in "iu" and values:
        # Asked in Python: older NumPy wraps around.
        limits = np.iinfo(dtype)
        if min(values) < limits.min or max(values) > limits.max:
            raise ProtocolError(f"tensor {shown(tensor)} holds a number beyond the range of {datatype}")
    try:
        with np.errstate(over="ignore"):
            flat = np.array(values, dtype if dtype.kind != "f" else np.float64).astype(dtype, copy=False)
    except OverflowError as error:
        raise ProtocolError(f"tensor {shown(tensor)} holds a number beyond the range of {datatype}") from error
    if dtype.kind == "f" and not bool(np.isfinite(flat).all()):
        raise ProtocolError(f"tensor {shown(tensor)} holds a number beyond the range of {datatype}")
    return _reshaped(flat, shape, tensor)


def _is_unicode(text: str) -> bool:
    # JSON can name half of a pair, which no encoding takes.
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _flat(data: object, shape: tuple[int, ...], tensor: str) -> list[Any]:
    """Return the values of a flat list, or of lists nested as a shape tells."""
    if not isinstance(data, list):
        raise ProtocolError(f"tensor {shown(tensor)} has no list as its data, but {type(data).__name__}")
    if not data or not isinstance(data[0], list):
        return data
    level = [data]
    for depth, size in enumerate(shape):
        if any(not isinstance(one, list) or len(one) != size for one in level):
            raise ProtocolError(
                f"tensor {shown(tensor)} of shape {list(shape)} has data nested in another way at depth {depth}"
            )
        level = [inner for one in level for inner in one]
    return level
