"""JSON files, in and out: written whole or not at all, read strictly, and checked field by field.

Every versioned file of this library (machines, timings, plans) goes through here, so that a file that cannot be used
is refused with its name and the name of the field, never half understood.
"""

import errno
import json
import math
import os
import re
import secrets
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import Any, NoReturn

from partition.errors import InputError
from partition.leftovers import Unfinished, tidied

# No text holds a bare line break, so this never meets the inside of one.
_NUMBERS = re.compile(r"\[\n\s*-?\d[-+\d.eE,\s]*\]")

Scalar = str | int | float | bool | None
"""What a free-form table of a file (the ``hardware`` of a machine, for one) may hold."""


def write_json(path: str | os.PathLike[str], obj: Mapping[str, Any]) -> None:
    """Write an object as a JSON file, whole or not at all.

    The text goes to a temporary file in the same folder, which then takes the place of `path`: a reader sees the old
    file or the new one, never a part of either.

    Parameters
    ----------
    path : str or path-like
        The file to write; an existing one is replaced. Its folder has to exist.
    obj : mapping
        What to write: objects, lists, strings, finite numbers, booleans and None.

    Raises
    ------
    InputError
        The file cannot be written, or `obj` holds a number that JSON does not know (NaN, infinity).
    """
    target = Path(path)
    try:
        text = json.dumps(obj, indent=2, allow_nan=False) + "\n"
        # A list of numbers on one line: a row is read as a row, and takes a third of the space.
        text = _NUMBERS.sub(lambda found: " ".join(found[0].split()).replace("[ ", "[").replace(" ]", "]"), text)
    except ValueError as error:
        raise InputError(f"cannot write {str(target)!r}: {error}; every number has to be finite") from error
    try:
        with draft_of(target) as draft, draft.open("x", encoding="utf-8", newline="\n") as stream:
            stream.write(text)
    except (OSError, ValueError) as error:
        raise InputError(
            f"cannot write {str(target)!r}: {_reason(error)}; "
            "give the path of a file in an existing folder that you may write to"
        ) from error


@contextmanager
def draft_of(target: Path) -> Iterator[Path]:
    """Give the path of a draft beside a file: it takes that file's place at the end, and is gone after an error."""
    draft = target.with_name(f".{target.name}.{secrets.token_hex(8)}.tmp")
    with tidied(Unfinished(draft, target.parent)):
        yield draft
        os.replace(draft, target)


def open_file(path: str | os.PathLike[str]) -> BufferedReader:
    """Open a file for reading, if it is one: a pipe, a socket or a device may let its reader wait for ever.

    Raises
    ------
    OSError
        With the reason as its `strerror`.
    ValueError
        The path holds a null character.
    """
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise OSError(errno.EINVAL, "it is a pipe, a socket or a device, and not a file", os.fspath(path))
    return open(path, "rb")


def read_json(path: str | os.PathLike[str], what: str) -> dict[str, Any]:
    """Read a JSON file that holds one object.

    Parameters
    ----------
    path : str or path-like
        The file to read.
    what : str
        What the file should be, for the messages: ``"machine file"``.

    Returns
    -------
    dict
        The object as it stands in the file; its fields are not checked here.

    Raises
    ------
    InputError
        The file is missing or unreadable, not UTF-8, not JSON, not an object, names a field twice, or holds one of
        the literals NaN and Infinity, which are not JSON.
    """
    source = f"{what} {str(path)!r}"

    def refuse_constant(literal: str) -> NoReturn:
        raise InputError(f"{source} holds the literal {literal}, which is not JSON; every number has to be finite")

    def refuse_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        fields = dict(pairs)
        if len(fields) < len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            raise InputError(f"{source} gives the field {twice!r} more than once in one object; keep one of them")
        return fields

    try:
        with open_file(path) as file:
            content = file.read()
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read the {source}: {_reason(error)}; check the path") from error
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{source} is not UTF-8 text ({error.reason} at byte {error.start}); save it as UTF-8"
        ) from error
    try:
        obj = json.loads(text, parse_constant=refuse_constant, object_pairs_hook=refuse_duplicates)
    except InputError:
        raise
    except (ValueError, RecursionError) as error:
        raise InputError(f"{source} is not JSON: {error}; write the file again or correct it there") from error
    if not isinstance(obj, dict):
        raise InputError(f"{source} holds a JSON {_json_type(obj)}, expected one object: {{...}}")
    return obj


class FieldReader:
    """Takes the fields of one JSON object, each checked and each once; what is left over at the end is refused.

    Parameters
    ----------
    obj : object
        The object that was read; anything but a mapping with string keys is refused.
    source : str
        What is being read and from where, for the messages: ``"machine file 'pi.json'"``.
    prefix : str
        The place of this object within the file: empty, or ``"roofline."``.
    """

    __slots__ = ("_fields", "_prefix", "source")

    def __init__(self, obj: object, source: str, prefix: str = "") -> None:
        self.source = source
        self._prefix = prefix
        if not isinstance(obj, Mapping) or not all(isinstance(name, str) for name in obj):
            where = f"the field {prefix.rstrip('.')!r}" if prefix else "the content"
            raise InputError(f"{source}: {where} is a JSON {_json_type(obj)}, expected an object: {{...}}")
        odd = next((name for name in obj if not _is_unicode(name)), None)
        if odd is not None:
            raise InputError(f"{source}: the name of the field {prefix + odd!r} is not Unicode text; correct it there")
        self._fields: dict[str, Any] = dict(obj)

    def header(self, format_name: str, version: int) -> None:
        """Take ``format`` and ``version`` and refuse every other format and version."""
        found = self._fields.pop("format", None)
        if found != format_name:
            raise InputError(
                f"{self.source} has the format {found!r}, expected {format_name!r}; give a file of that format"
            )
        got = self.take("version")
        if isinstance(got, bool) or got != version:
            raise InputError(
                f"{self.source} has version {got!r}; this release reads version {version}; "
                "write the file again with this release, or install the release that wrote it"
            )

    def refuse(self, name: str, got: object, legal: str) -> NoReturn:
        """Raise the error for a field whose value cannot be used."""
        raise InputError(
            f"{self.source}: the field {self._prefix + name!r} is {got!r}, expected {legal}; correct it there"
        )

    def take(self, name: str) -> Any:
        """Take a field of any type; missing is an error."""
        if name not in self._fields:
            raise InputError(f"{self.source}: the field {self._prefix + name!r} is missing; add it there")
        return self._fields.pop(name)

    def text(self, name: str) -> str:
        """Take a string that is not empty."""
        value = self.take(name)
        if not is_text(value):
            self.refuse(name, value, "a text that is not empty")
        return str(value)

    def optional_text(self, name: str) -> str | None:
        """Take a string that is not empty, or null."""
        return None if self._took_null(name) else self.text(name)

    def optional_path(self, name: str) -> str | None:
        """Take the path of a file, or null; it may hold bytes that are not UTF-8, as Python writes them."""
        value = self.take(name)
        if value is None:
            return None
        if not isinstance(value, str) or not value.strip() or "\0" in value or not _is_path(value):
            self.refuse(name, value, "the path of a file, or null")
        return value

    def positive(self, name: str) -> float:
        """Take a finite number above zero."""
        value = self._number(name, "a finite number above 0")
        if value <= 0:
            self.refuse(name, value, "a finite number above 0")
        return value

    def non_negative(self, name: str) -> float:
        """Take a finite number, zero or more."""
        value = self._number(name, "a finite number, 0 or more")
        if value < 0:
            self.refuse(name, value, "a finite number, 0 or more")
        return value

    def optional_non_negative(self, name: str) -> float | None:
        """Take a finite number, zero or more, or null."""
        return None if self._took_null(name) else self.non_negative(name)

    def optional_positive(self, name: str) -> float | None:
        """Take a finite number above zero, or null."""
        return None if self._took_null(name) else self.positive(name)

    def optional_count(self, name: str) -> int | None:
        """Take a whole number, one or more, or null."""
        return None if self._took_null(name) else self.count(name)

    def count(self, name: str) -> int:
        """Take a whole number, one or more."""
        value = self.take(name)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            self.refuse(name, value, "a whole number, 1 or more")
        return value

    def whole(self, name: str) -> int:
        """Take a whole number, zero or more."""
        value = self.take(name)
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            self.refuse(name, value, "a whole number, 0 or more")
        return value

    def wholes(self, name: str) -> tuple[int, ...]:
        """Take a list of whole numbers, each zero or more."""
        values = self.take(name)
        if not isinstance(values, list | tuple) or not all(
            isinstance(one, int) and not isinstance(one, bool) and one >= 0 for one in values
        ):
            self.refuse(name, values, "a list of whole numbers, 0 or more")
        return tuple(values)

    def real(self, name: str) -> float:
        """Take a finite number."""
        return self._number(name, "a finite number")

    def boolean(self, name: str) -> bool:
        """Take true or false."""
        value = self.take(name)
        if not isinstance(value, bool):
            self.refuse(name, value, "true or false")
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        """Take a list of strings that are not empty."""
        values = self.take(name)
        if not isinstance(values, list | tuple) or not all(is_text(one) for one in values):
            self.refuse(name, values, "a list of texts that are not empty")
        return tuple(values)

    def scalars(self, name: str) -> dict[str, Scalar]:
        """Take a flat object of texts, finite numbers, booleans and nulls, with names of the writer's own choosing."""
        values = self.take(name)
        if not isinstance(values, Mapping):
            self.refuse(name, values, "an object: {...}")
        for key, value in values.items():
            if not isinstance(key, str) or not (value is None or isinstance(value, str | int | float)):
                self.refuse(f"{name}.{key}", value, "a text, a number, true, false or null")
            if not _is_unicode(key) or (isinstance(value, str) and not _is_unicode(value)):
                self.refuse(f"{name}.{key}", value, "a text, a number, true, false or null")
            if isinstance(value, float) and not math.isfinite(value):
                self.refuse(f"{name}.{key}", value, "a finite number")
        return dict(values)

    def object(self, name: str) -> "FieldReader":
        """Take an object, to be read field by field."""
        return FieldReader(self.take(name), self.source, f"{self._prefix}{name}.")

    def optional_object(self, name: str) -> "FieldReader | None":
        """Take an object, to be read field by field, or null."""
        value = self.take(name)
        return None if value is None else FieldReader(value, self.source, f"{self._prefix}{name}.")

    def objects(self, name: str) -> "list[FieldReader]":
        """Take a list of objects, each to be read field by field."""
        values = self.take(name)
        if not isinstance(values, list | tuple):
            self.refuse(name, values, "a list of objects: [{...}, ...]")
        return [FieldReader(value, self.source, f"{self._prefix}{name}[{i}].") for i, value in enumerate(values)]

    def names(self) -> tuple[str, ...]:
        """Return the names of the fields that were not taken yet, in the order of the file."""
        return tuple(self._fields)

    def finish(self) -> None:
        """Refuse what was not taken: a field that this release does not know."""
        if self._fields:
            unknown = ", ".join(repr(self._prefix + name) for name in self._fields)
            raise InputError(f"{self.source}: unknown field {unknown}; remove it or correct its name")

    def _took_null(self, name: str) -> bool:
        """Take a field if it is there and null, and say whether it was."""
        is_null = name in self._fields and self._fields[name] is None
        if is_null:
            del self._fields[name]
        return is_null

    def _number(self, name: str, legal: str) -> float:
        value = self.take(name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            self.refuse(name, value, legal)
        try:
            number = float(value)
        except OverflowError:
            self.refuse(name, "a number that is too large", legal)
        if not math.isfinite(number):
            self.refuse(name, value, legal)
        return number


def is_text(value: object) -> bool:
    """Say whether a value is a text that is not empty; half of a surrogate pair, which JSON can write, is none."""
    return isinstance(value, str) and bool(value.strip()) and _is_unicode(value)


def _is_unicode(text: str) -> bool:
    return text.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in text)


def _is_path(text: str) -> bool:
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        return False
    return True


def _reason(error: OSError | ValueError) -> str:
    """Return what the system said; a path with a null character is a ValueError there."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _json_type(obj: object) -> str:
    """Name the JSON type of a value for a message."""
    if obj is None:
        return "null"
    if isinstance(obj, bool):
        return "boolean"
    if isinstance(obj, int | float):
        return "number"
    if isinstance(obj, str):
        return "string"
    return "list" if isinstance(obj, list | tuple) else type(obj).__name__
