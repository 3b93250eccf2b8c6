"""Weights that lie in files of their own, when a plan is saved: left where they are, copied by ranges, or hard-linked.

The runtime opens a part only if its weights lie in the part's own folder, so a plan in another folder than the model's
needs them there. Of a copy each part gets the byte ranges that it reads, packed into one file.
"""

import os
import shutil
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, Literal

from graph_io import Reference
from partition.errors import InputError
from partition.plan_records import WeightsFile
from partition.runtime.parts import file_sha256

WeightsMode = Literal["leave", "copy", "link"]
# The runtime maps files into memory by pages.
_ALIGNMENT_BYTES = 4096
_BUFFER_BYTES = 16 * 1024 * 1024
_LARGEST_CALL_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Range:
    """Bytes to copy: from where, how many, and to which place of the new file."""

    source: Path
    offset: int
    length: int
    target_offset: int


@dataclass(frozen=True, slots=True)
class PlacedFile:
    """One file of a part's weights.

    Attributes
    ----------
    file : str
        Relative to the plan's folder.
    size_bytes : int
    source : pathlib.Path or None
        The file to link to, or the one that stays where it is; None if it is made of `ranges`.
    ranges : tuple of Range
    own : bool
        Whether it is made for the plan.
    """

    file: str
    size_bytes: int
    source: Path | None
    ranges: tuple[Range, ...]
    own: bool


@dataclass(frozen=True, slots=True)
class PlacedPart:
    """A part as it will be written, and the files of its weights."""

    content: bytes
    files: tuple[PlacedFile, ...]


_Placement = tuple[tuple[PlacedFile, ...], dict[Reference, Reference]]


def place_weights(content: bytes, part_file: str, folder: Path, mode: WeightsMode) -> PlacedPart:
    """Decide where a part's weights go, and let it refer to them there; nothing is read or written yet.

    Parameters
    ----------
    content : bytes
        The serialised part; its references are relative to `folder`.
    part_file : str
        Its file name; new files of weights are called after it.
    folder : pathlib.Path
    mode : {"leave", "copy", "link"}

    Raises
    ------
    InputError
        A file of weights has gone or is shorter than it was.
    """
    from graph_io import move_references, references

    places = references(content)
    stem = part_file.removesuffix(".onnx")
    if mode == "leave":
        return PlacedPart(content, _left(places, folder))
    files, moved = (_copied if mode == "copy" else _linked)(places, folder, stem)
    return PlacedPart(move_references(content, moved), files)


def _left(places: tuple[Reference, ...], folder: Path) -> tuple[PlacedFile, ...]:
    names = dict.fromkeys(place.location for place in places)
    return tuple(PlacedFile(name, _size(folder / name), folder / name, (), own=False) for name in names)


def _copied(places: tuple[Reference, ...], folder: Path, stem: str) -> _Placement:
    name, end = f"{stem}.weights", 0
    ranges, moved = [], {}
    for place in places:
        start = -(-end // _ALIGNMENT_BYTES) * _ALIGNMENT_BYTES
        ranges.append(Range(folder / place.location, place.offset, place.length, start))
        moved[place] = replace(place, location=name, offset=start)
        end = start + place.length
    return (PlacedFile(name, end, None, tuple(ranges), own=True),) if ranges else (), moved


def _linked(places: tuple[Reference, ...], folder: Path, stem: str) -> _Placement:
    names: dict[str, str] = {}
    for place in places:
        names.setdefault(place.location, f"{stem}.{len(names)}.weights" if names else f"{stem}.weights")
    files = (
        PlacedFile(name, _size(folder / location), folder / location, (), own=True) for location, name in names.items()
    )
    return tuple(files), {place: replace(place, location=names[place.location]) for place in places}


def _size(path: Path) -> int:
    with _open(path) as file:
        return os.fstat(file.fileno()).st_size


def _open(path: Path) -> BinaryIO:
    try:
        # Looked at first: to open a pipe would wait for somebody to write into it.
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise InputError(f"weights '{path}' cannot be read: not a file any more; load the model again")
        return open(path, "rb")
    except OSError as error:
        raise InputError(f"weights '{path}' cannot be read: {error.strerror or error}; load the model again") from error


def check_space(parts: Iterable[PlacedPart], folder: Path) -> int:
    """Return how many bytes will be copied into a folder, which need not be there yet; its parent is.

    Raises
    ------
    InputError
        Its disk has less room.
    """
    needed = sum(range_.length for part in parts for file in part.files for range_ in file.ranges)
    free = shutil.disk_usage(folder.parent).free if needed else 0
    if needed > free:
        raise InputError(
            f"the weights of the parts take {needed / 1e9:.2f} GB, and the disk of '{folder}' has room for "
            f"{free / 1e9:.2f} GB; choose another folder, or the model's own, where nothing is copied"
        )
    return needed


def fetch(part: PlacedPart, folder: Path, on_bytes: Callable[[int], None]) -> None:
    """Copy or link a part's weights into a folder; `on_bytes` is told how many more bytes are there.

    Raises
    ------
    InputError
        A file became shorter, or the disk has no hard links or is another one.
    OSError
        The disk is full, or does not let itself be read or written.
    """
    for file in part.files:
        if not file.own:
            continue
        if file.source is None:
            _copy(file, folder / file.file, on_bytes)
            continue
        try:
            os.link(file.source, folder / file.file)
        except OSError as error:
            raise InputError(
                f"weights '{file.source}' cannot be hard-linked into the plan's folder: {error.strerror or error}; "
                "leave out --link-weights (link_weights=True), so that they are copied"
            ) from error


def _copy(file: PlacedFile, path: Path, on_bytes: Callable[[int], None]) -> None:
    with open(path, "xb") as target:
        for range_ in file.ranges:
            with _open(range_.source) as source:
                _copy_range(source.fileno(), target.fileno(), range_, on_bytes)
        target.truncate(file.size_bytes)


def _copy_range(source: int, target: int, range_: Range, on_bytes: Callable[[int], None]) -> None:
    done, in_kernel = 0, hasattr(os, "copy_file_range")
    while done < range_.length:
        start, place = range_.offset + done, range_.target_offset + done
        moved = 0
        if in_kernel:
            try:
                moved = os.copy_file_range(source, target, min(range_.length - done, _LARGEST_CALL_BYTES), start, place)
            except OSError:
                # Not every pair of file systems can; what really is wrong with them shows below.
                in_kernel = False
                continue
        else:
            os.lseek(source, start, os.SEEK_SET)
            block = os.read(source, min(range_.length - done, _BUFFER_BYTES))
            os.lseek(target, place, os.SEEK_SET)
            moved = os.write(target, block) if block else 0
        if moved == 0:
            raise InputError(f"weights '{range_.source}' became shorter while they were copied; load the model again")
        done += moved
        on_bytes(moved)


def weights_files(part: PlacedPart, folder: Path, *, hashed: dict[Path, str] | None) -> tuple[WeightsFile, ...]:
    """Describe a part's weights as they lie now.

    Parameters
    ----------
    part : PlacedPart
    folder : pathlib.Path
        Of the plan.
    hashed : dict or None
        Hashes of files that were read already, to which those of this part are added; None to read none.
    """
    found = []
    for file in part.files:
        path = folder / file.file if file.own or file.source is None else file.source
        if hashed is not None and path not in hashed:
            hashed[path] = file_sha256(path)
        found.append(WeightsFile(file.file, file.size_bytes, file.own, None if hashed is None else hashed[path]))
    return tuple(found)
