"""Bandwidths, durations and sizes as people write them, read strictly, and written back for people.

A unit that has two readings is refused with the spellings that work: ``8.8mbps`` may mean megabits or megabytes, and a
factor of eight moves the best cut. Prefixes k, M, G are powers of 1000 and Ki, Mi, Gi powers of 1024. Strings are
read as exact fractions and rounded once, so ``"40ms"`` is the float 0.04 itself.
"""

import math
import re
from collections.abc import Mapping
from fractions import Fraction
from numbers import Real

from partition.errors import InputError

_DECIMAL = {"": 1, "k": 1000, "M": 1000**2, "G": 1000**3}
_BINARY = {"Ki": 1024, "Mi": 1024**2, "Gi": 1024**3}

BANDWIDTH_UNITS: Mapping[str, Fraction] = {
    **{f"{prefix}bps": Fraction(factor) for prefix, factor in _DECIMAL.items()},
    **{f"{prefix}bit/s": Fraction(factor) for prefix, factor in _DECIMAL.items()},
    **{f"{prefix}B/s": Fraction(8 * factor) for prefix, factor in _DECIMAL.items()},
    **{f"{prefix}B/s": Fraction(8 * factor) for prefix, factor in _BINARY.items()},
}
"""The units of a bandwidth, each in bit/s."""

DURATION_UNITS: Mapping[str, Fraction] = {
    "s": Fraction(1),
    "ms": Fraction(1, 1000),
    "us": Fraction(1, 1000**2),
    "\u00b5s": Fraction(1, 1000**2),  # micro sign
    "\u03bcs": Fraction(1, 1000**2),  # Greek mu
}
"""The units of a duration, each in seconds."""

SIZE_UNITS: Mapping[str, Fraction] = {
    **{f"{prefix}B": Fraction(factor) for prefix, factor in _DECIMAL.items()},
    **{f"{prefix}B": Fraction(factor) for prefix, factor in _BINARY.items()},
}
"""The units of a size, each in bytes."""

_QUANTITY = re.compile(
    r"(?P<number>[+-]?(?:[0-9]+(?:_[0-9]+)*(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?)"
    r" *(?P<unit>[^0-9+\-.,_\s].*)?"
)
_ALMOST_BANDWIDTH = re.compile(
    r"(?P<prefix>[kmg]i?)?(?P<word>bits?|bytes?|b)(?:ps|/s|/sec|/second|p/s)?", re.IGNORECASE
)
_ALMOST_SIZE = re.compile(r"(?P<prefix>[kmg])(?P<binary>i)?(?:b|bytes?)?", re.IGNORECASE)
_BIT_WORDS = {"": "bits", "k": "kilobits", "M": "megabits", "G": "gigabits"}
_BYTE_WORDS = {"": "bytes", "k": "kilobytes", "M": "megabytes", "G": "gigabytes"}
_MAX_CHARACTERS = 64
_MOST_THREADS = 1024


def parse_bandwidth(value: str | float, *, what: str = "bandwidth") -> float:
    """Read a bandwidth.

    Parameters
    ----------
    value : str or float
        A text with its unit (``"8.8Mbps"``, ``"1.1 Mbit/s"``, ``"2MB/s"``, ``"5e6 bit/s"``; see `BANDWIDTH_UNITS`), or
        a number, which is bit/s.
    what : str
        The name of the argument, for the messages.

    Returns
    -------
    float
        bit/s, finite and above zero.

    Raises
    ------
    InputError
        No unit or an ambiguous one in a text; zero, negative, infinite or not a number.

    Examples
    --------
    >>> parse_bandwidth("8.8Mbps"), parse_bandwidth("2MB/s"), parse_bandwidth(1.1e6)
    (8800000.0, 16000000.0, 1100000.0)
    """
    example = "give a text with its unit such as '8.8Mbps' or '2MB/s', or a number of bit/s"
    if isinstance(value, str):
        number, unit = _split(value, what, example)
        if unit is None:
            raise InputError(
                f"{what} {value!r} has no unit; {_did_you_mean(value.strip(), 'M', '')} "
                "Only a number, not a text, is bit/s without a unit"
            )
        if unit not in BANDWIDTH_UNITS:
            text = _number_text(value)
            almost = _ALMOST_BANDWIDTH.fullmatch(unit)
            if almost is None:
                raise InputError(
                    f"{what} {value!r} has the unknown unit {unit!r}; legal are {', '.join(BANDWIDTH_UNITS)}"
                )
            raise InputError(
                f"{what} {value!r} has the ambiguous unit {unit!r}; "
                f"{_did_you_mean(text, almost['prefix'] or '', almost['word'].lower())}"
            )
        bits_per_s = _to_float(number * BANDWIDTH_UNITS[unit])
    else:
        bits_per_s = _real(value, what, example)
    if not (math.isfinite(bits_per_s) and bits_per_s > 0):
        raise InputError(f"{what} {value!r} is not a finite rate above 0; {example}")
    return bits_per_s


def parse_duration(value: str | float, *, what: str = "duration") -> float:
    """Read a duration.

    Parameters
    ----------
    value : str or float
        A text with its unit (``"40ms"``, ``"0.04s"``, ``"200 us"``), or a number, which is seconds.
    what : str
        The name of the argument, for the messages.

    Returns
    -------
    float
        Seconds, finite, zero or more.

    Raises
    ------
    InputError
        No unit or an unknown one in a text; negative, infinite or not a number.

    Examples
    --------
    >>> parse_duration("40ms"), parse_duration("200 us"), parse_duration(1.5)
    (0.04, 0.0002, 1.5)
    """
    example = "give a text with its unit such as '40ms', '0.04s' or '200us', or a number of seconds"
    if isinstance(value, str):
        number, unit = _split(value, what, example)
        if unit is None:
            raise InputError(f"{what} {value!r} has no unit; {example}")
        if unit not in DURATION_UNITS:
            raise InputError(f"{what} {value!r} has the unknown unit {unit!r}; legal are s, ms and us")
        seconds = _to_float(number * DURATION_UNITS[unit])
    else:
        seconds = _real(value, what, example)
    if not (math.isfinite(seconds) and seconds >= 0):
        raise InputError(f"{what} {value!r} is not a finite time of 0 or more; {example}")
    return seconds


def parse_size(value: str | int, *, what: str = "size") -> int:
    """Read a size.

    Parameters
    ----------
    value : str or int
        A text (``"152kB"``, ``"1MiB"``, ``"152_000"``) or a whole number; without a unit it is bytes.
    what : str
        The name of the argument, for the messages.

    Returns
    -------
    int
        Bytes, zero or more.

    Raises
    ------
    InputError
        An unknown or ambiguous unit; negative, or not a whole number of bytes.

    Examples
    --------
    >>> parse_size("152kB"), parse_size("152_000"), parse_size("1MiB")
    (152000, 152000, 1048576)
    """
    example = "give a text such as '152kB' or '1MiB', or a whole number of bytes"
    if isinstance(value, str):
        number, unit = _split(value, what, example)
        if unit is not None and unit not in SIZE_UNITS:
            almost = _ALMOST_SIZE.fullmatch(unit)
            if almost is None:
                raise InputError(f"{what} {value!r} has the unknown unit {unit!r}; legal are {', '.join(SIZE_UNITS)}")
            prefix, text = almost["prefix"].upper(), _number_text(value)
            binary = f"'{text}{prefix}iB' (powers of 1024)"
            decimal = f"'{text}{prefix.replace('K', 'k')}B' (powers of 1000)"
            meant = binary if almost["binary"] else f"{decimal} or {binary}"
            raise InputError(f"{what} {value!r} has the ambiguous unit {unit!r}; did you mean {meant}?")
        size = number * (SIZE_UNITS[unit] if unit is not None else 1)
        if size.denominator != 1 or size < 0:
            raise InputError(f"{what} {value!r} is not a whole number of bytes, 0 or more; {example}")
        return size.numerator
    if isinstance(value, bool) or not hasattr(value, "__index__") or value.__index__() < 0:
        raise InputError(f"{what} {value!r} is not a whole number of bytes, 0 or more; {example}")
    return value.__index__()


def check_threads(threads: object, *, what: str = "threads") -> None:
    """Refuse a number of threads that the runtime cannot be given.

    Parameters
    ----------
    threads : object
        What a user asked for.
    what : str
        What it is called, for the message.

    Raises
    ------
    InputError
        Not a whole number from 1 to 1024; a boolean is not one.
    """
    if isinstance(threads, bool) or not isinstance(threads, int) or not 1 <= threads <= _MOST_THREADS:
        raise InputError(f"{what} is {threads!r}; give a whole number of 1 or more, at most {_MOST_THREADS}")


def format_bandwidth(bits_per_s: float) -> str:
    """Write a bandwidth for a person: ``8.8 Mbit/s``, four digits at most.

    Examples
    --------
    >>> format_bandwidth(8.8e6), format_bandwidth(200e3)
    ('8.8 Mbit/s', '200 kbit/s')
    """
    for unit, factor in (("Gbit/s", 1e9), ("Mbit/s", 1e6), ("kbit/s", 1e3)):
        if bits_per_s >= factor:
            return f"{bits_per_s / factor:.4g} {unit}"
    return f"{bits_per_s:.4g} bit/s"


def format_duration(seconds: float) -> str:
    """Write a duration for a person: ``60 ms``, four digits at most.

    Examples
    --------
    >>> format_duration(0.06), format_duration(2.5), format_duration(0.0002)
    ('60 ms', '2.5 s', '200 us')
    """
    if seconds == 0:
        return "0 ms"
    for unit, factor in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= factor:
            return f"{seconds / factor:.4g} {unit}"
    return f"{seconds / 1e-6:.4g} us"


def _split(value: str, what: str, example: str) -> tuple[Fraction, str | None]:
    """Split a text into an exact number and a unit (None without one)."""
    found = _QUANTITY.fullmatch(value.strip()) if len(value) <= _MAX_CHARACTERS else None
    if found is None:
        raise InputError(f"{what} {value!r} is not a number with a unit; {example}")
    return Fraction(found["number"].replace("_", "")), found["unit"]


def _number_text(value: str) -> str:
    """Return the number of a text as it was written there, for a suggestion."""
    found = _QUANTITY.fullmatch(value.strip())
    return found["number"] if found is not None else ""


def _did_you_mean(number: str, prefix: str, word: str) -> str:
    """Suggest the legal spellings of a bandwidth: with bits, with bytes, or with both where the text leaves it open."""
    letter = prefix[:1].upper()
    if len(prefix) == 2:
        return f"did you mean '{number}{letter}iB/s' (bytes, powers of 1024)?"
    decimal = letter.replace("K", "k")
    bits = f"'{number}{decimal}bps' ({_BIT_WORDS[decimal]})"
    octets = f"'{number}{decimal}B/s' ({_BYTE_WORDS[decimal]})"
    if word.startswith("bit"):
        return f"did you mean {bits}?"
    if word.startswith("byte"):
        return f"did you mean {octets}?"
    return f"did you mean {bits} or {octets}?"


def _real(value: object, what: str, example: str) -> float:
    """Return a number of any real type as a float; a boolean is not one."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise InputError(f"{what} is {value!r}, a {type(value).__name__}; {example}")
    return _to_float(value)


def _to_float(number: Real | Fraction) -> float:
    """Round to the nearest float, infinity where it is too large for one."""
    try:
        return float(number)
    except OverflowError:
        return math.inf
