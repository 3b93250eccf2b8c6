"""The fields of a message of protobuf as they lie in a file, found without reading what they hold."""

from collections.abc import Iterator
from io import BufferedIOBase, RawIOBase
from typing import NamedTuple

File = BufferedIOBase | RawIOBase
# A tag and a length are numbers of up to 10 bytes.
_MOST_HEAD_BYTES = 20
_FIXED_BYTES = {1: 8, 5: 4}
BYTES = 2
"""The kind of a field that holds bytes: a text, a message, raw data."""


class Field(NamedTuple):
    """A field: its number and kind, where its tag lies, and where its value begins and ends."""

    number: int
    kind: int
    tag_at: int
    begin: int
    end: int


def fields(file: File, begin: int, end: int) -> Iterator[Field]:
    """Return the fields of the message between two places of a file, one by one.

    Raises
    ------
    ValueError
        What lies there is no message.
    OSError
    """
    at = begin
    while at < end:
        file.seek(at)
        head = file.read(_MOST_HEAD_BYTES) or b""
        tag, used = _number(head, 0)
        kind = tag & 7
        if kind == BYTES:
            length, used = _number(head, used)
        elif kind == 0:
            (_, stop), length = _number(head, used), 0
            length = stop - used
        elif kind in _FIXED_BYTES:
            length = _FIXED_BYTES[kind]
        else:
            raise ValueError(f"a field of kind {kind}")
        field = Field(tag >> 3, kind, at, at + used, at + used + length)
        if not field.number or field.end > end:
            raise ValueError("a field that ends behind its message, or has no number")
        yield field
        at = field.end


def varint(value: int) -> bytes:
    """Write a number of 0 or more in variable length."""
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes([*found, value])


def _number(head: bytes, at: int) -> tuple[int, int]:
    """Read a number of variable length; return it and where it ends."""
    value = 0
    for place, byte in enumerate(head[at : at + 10]):
        value |= (byte & 127) << 7 * place
        if byte < 128:
            return value, at + place + 1
    raise ValueError("a number that does not end")
