"""Protobuf's text format, as much of it as a ``config.pbtxt`` needs, without protobuf."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias, Union


@dataclass(frozen=True, slots=True)
class Keyword:
    """The name of an enumeration's value, which goes out without quotation marks."""

    name: str


Value: TypeAlias = Union[str, int, Keyword, Sequence[int], "Fields"]
Fields: TypeAlias = tuple[tuple[str, Value], ...]
"""A message: its fields in order, each a name and a value; a field that repeats stands there as often."""


def message_text(fields: Fields) -> str:
    """Write a message, one field a line.

    Examples
    --------
    >>> print(message_text((("name", 'a"b'), ("dims", [1, -1]), ("kind", Keyword("KIND_CPU")))), end="")
    name: "a\\"b"
    dims: [1, -1]
    kind: KIND_CPU
    >>> print(message_text((("input", (("name", "x"),)),)), end="")
    input {
      name: "x"
    }
    """
    return "".join(f"{line}\n" for line in _lines(fields))


def _lines(fields: Fields) -> Iterable[str]:
    for name, value in fields:
        if isinstance(value, tuple):
            yield f"{name} {{"
            yield from (f"  {line}" for line in _lines(value))
            yield "}"
        elif isinstance(value, str):
            yield f"{name}: {quoted(value)}"
        elif isinstance(value, Keyword):
            yield f"{name}: {value.name}"
        elif isinstance(value, int):
            yield f"{name}: {value}"
        else:
            yield f"{name}: [{', '.join(map(str, value))}]"


def quoted(text: str) -> str:
    """Write a string; whatever is not printable ASCII as the octal numbers of its UTF-8 bytes.

    Examples
    --------
    >>> print(quoted("a\\\\b"), quoted("é"), quoted("two\\nlines"))
    "a\\\\b" "\\303\\251" "two\\012lines"
    """
    pieces = []
    for byte in text.encode("utf-8"):
        letter = chr(byte)
        if letter in ('"', "\\"):
            pieces.append(f"\\{letter}")
        else:
            pieces.append(letter if " " <= letter <= "~" else f"\\{byte:03o}")
    return f'"{"".join(pieces)}"'
