"""Recorded links: files that tell the rate of one direction over time, as profiles.

Two formats are read. ``mahimahi`` (Netravali et al., "Mahimahi: Accurate Record-and-Replay for HTTP", USENIX ATC 2015):
each line is a whole number of milliseconds at which one packet of 1500 bytes may leave; the trace begins anew at its
last time. ``rows``: each line is a time in seconds and a rate in Mbit/s, which holds until the next row.
"""

import math
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NoReturn, get_args

from partition.emulation.profile import RateProfile
from partition.errors import InputError

PACKET_BYTES = 1500
"""What one line of a mahimahi trace lets pass."""

TraceFormat = Literal["auto", "mahimahi", "rows"]
"""How a trace is written; ``auto`` tells by the number of columns in the first line that is not a comment."""

_PACKET_S = 1e-3
_COMMAS = re.compile(r"[ \t]*[,;][ \t]*")
_WHOLE = re.compile(r"[0-9]{1,12}")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")
_TIME_NAME = re.compile(r"t|time|(?:.*[ _(\[])?s(?:ec(?:ond)?s?)?[)\]]?", re.IGNORECASE)
# Megabits in any case, but for a large B alone, which is bytes.
_RATE_NAME = re.compile(r".*[Mm](?:b|[Bb]it|egabit).*")
_SHOWN_CHARACTERS = 40


@dataclass(frozen=True, slots=True)
class NamedTrace:
    """A recorded link: its name and the profile of each direction."""

    name: str
    uplink: RateProfile
    downlink: RateProfile


def read_trace(path: str | os.PathLike[str], format: TraceFormat = "auto", *, loop: bool = True) -> RateProfile:
    """Read the rate of one direction over time.

    Parameters
    ----------
    path : str or path-like
        A text file in UTF-8. Empty lines and lines that begin with ``#`` say nothing.
    format : {"auto", "mahimahi", "rows"}
        ``mahimahi``: one whole number of milliseconds a line, never falling; the packet passes within the millisecond
        that begins there, and the last number is the period, so that what is due then is due at time 0 of the next
        round. ``rows``: seconds and Mbit/s, separated by blanks, a comma or a semicolon; times strictly rise and count
        from the first row. A header may name the columns; it has to name seconds and Mbit/s.
    loop : bool
        Begin anew at the end. The last of several rows then lasts as long as the row before it. Otherwise the last rate
        holds for ever; a mahimahi trace always begins anew.

    Returns
    -------
    RateProfile

    Raises
    ------
    InputError
        The file cannot be read, or a line is not of the format; the message gives its number.
    """
    if format not in get_args(TraceFormat):
        raise InputError(f"trace format {format!r} does not exist; use {', '.join(get_args(TraceFormat))}")
    source = f"trace '{os.fspath(path)}'"
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = (error.strerror or error) if isinstance(error, OSError) else "it is not text in UTF-8"
        raise InputError(f"{source} cannot be read: {reason}; give a text file, one line for each time") from error
    lines = list(_lines(text))
    if not lines:
        raise InputError(f"{source} holds no line; give one line for each time")
    if format == "auto":
        format = "mahimahi" if len(lines[0][1]) == 1 else "rows"
    if format == "rows":
        return _of_rows(lines, source, loop)
    if not loop:
        raise InputError(f"{source}: a mahimahi trace always begins anew; leave loop=False out")
    return _of_packets(lines, source)


def read_traces(folder: str | os.PathLike[str]) -> tuple[NamedTrace, ...]:
    """Read all traces of a folder.

    Parameters
    ----------
    folder : str or path-like
        Every file in it is a trace, but for hidden ones and ``.md``. ``NAME.up`` and ``NAME.down`` are the directions
        of one link, and neither may be alone; any other file is both directions of one.

    Returns
    -------
    tuple of NamedTrace
        By name.

    Raises
    ------
    InputError
        Not a folder, no trace in it, half a pair, or a file that is not a trace.
    """
    home = Path(folder)
    if not home.is_dir():
        raise InputError(f"traces '{home}' is not a folder; give a folder of trace files")
    files = sorted(
        path for path in home.iterdir() if path.is_file() and path.name[0] != "." and path.suffix.lower() != ".md"
    )
    if not files:
        raise InputError(f"traces '{home}' holds no file; give a folder of trace files")
    found = []
    for path in files:
        other = {".up": ".down", ".down": ".up"}.get(path.suffix)
        if other is None:
            profile = read_trace(path)
            found.append(NamedTrace(path.stem, profile, profile))
            continue
        if path.with_suffix(other) not in files:
            raise InputError(f"trace '{path}' has no '{path.with_suffix(other).name}' beside it; add it, or rename it")
        if path.suffix == ".up":
            found.append(NamedTrace(path.stem, read_trace(path), read_trace(path.with_suffix(".down"))))
    return tuple(sorted(found, key=lambda trace: trace.name))


def _lines(text: str) -> Iterator[tuple[int, list[str]]]:
    for number, line in enumerate(text.split("\n"), 1):
        stripped = line.strip()
        if stripped and not stripped.startswith("#"):
            by_commas = _COMMAS.split(stripped)
            yield number, by_commas if len(by_commas) > 1 else stripped.split()


def _refuse(source: str, number: int, fields: list[str], expected: str) -> NoReturn:
    shown = " ".join(fields)
    shown = shown if len(shown) <= _SHOWN_CHARACTERS else f"{shown[:_SHOWN_CHARACTERS]}..."
    raise InputError(f"{source}, line {number}: got {shown!r}, expected {expected}")


def _of_packets(lines: list[tuple[int, list[str]]], source: str) -> RateProfile:
    packets: Counter[int] = Counter()
    last_ms = 0
    for number, fields in lines:
        if len(fields) != 1 or _WHOLE.fullmatch(fields[0]) is None:
            _refuse(source, number, fields, "one whole number of milliseconds (format mahimahi)")
        time_ms = int(fields[0])
        if time_ms < last_ms:
            _refuse(source, number, fields, f"{last_ms} or more: the times of a mahimahi trace never fall")
        last_ms = time_ms
        packets[time_ms] += 1
    if last_ms == 0:
        number, fields = lines[-1]
        _refuse(source, number, fields, "a last time above 0: it is the length of the trace")
    # What is due at the end is due at the beginning of the next round.
    packets[0] += packets.pop(last_ms)
    return _profile(packets.items(), last_ms)


def _profile(packets: Iterable[tuple[int, int]], period_ms: int) -> RateProfile:
    starts_ms, rates = [], []
    free_ms = 0
    for time_ms, count in sorted(packets):
        if time_ms > free_ms:
            starts_ms.append(free_ms)
            rates.append(0.0)
        starts_ms.append(time_ms)
        rates.append(count * PACKET_BYTES * 8 / _PACKET_S)
        free_ms = time_ms + 1
    if free_ms < period_ms:
        starts_ms.append(free_ms)
        rates.append(0.0)
    return RateProfile(tuple(start_ms / 1000 for start_ms in starts_ms), tuple(rates), period_ms / 1000)


def _of_rows(lines: list[tuple[int, list[str]]], source: str, loop: bool) -> RateProfile:
    number, fields = lines[0]
    if not any(_NUMBER.fullmatch(one) for one in fields):
        _check_header(source, number, fields)
        lines = lines[1:]
        if not lines:
            raise InputError(f"{source} holds a header alone; give one row for each time")
    times_s: list[float] = []
    rates: list[float] = []
    for number, fields in lines:
        if len(fields) != 2 or not all(_NUMBER.fullmatch(one) for one in fields):
            _refuse(source, number, fields, "two numbers, seconds and Mbit/s (format rows)")
        time_s, rate = float(fields[0]), float(fields[1]) * 1e6
        if not (math.isfinite(time_s) and math.isfinite(rate) and rate >= 0):
            _refuse(source, number, fields, "a finite time, and a finite rate of 0 or more")
        if times_s and not time_s > times_s[-1]:
            _refuse(source, number, fields, f"a time after {times_s[-1]!r} s: the times of rows rise")
        times_s.append(time_s)
        rates.append(rate)
    starts_s = tuple(time_s - times_s[0] for time_s in times_s)
    period_s = 2 * starts_s[-1] - starts_s[-2] if loop and len(starts_s) > 1 else None
    try:
        return RateProfile(starts_s, tuple(rates), period_s)
    except InputError as error:
        raise InputError(f"{source}: {error}") from None


def _check_header(source: str, number: int, fields: list[str]) -> None:
    fields = [one.strip("\"'") for one in fields]
    if len(fields) != 2 or _TIME_NAME.fullmatch(fields[0]) is None or _RATE_NAME.fullmatch(fields[1]) is None:
        _refuse(source, number, fields, "two numbers, or a header for seconds and Mbit/s such as 'time_s,rate_mbit_s'")
