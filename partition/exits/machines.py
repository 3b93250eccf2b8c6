"""The machines of a policy: one that predicts any segment, or measured timings of each segment, found by structure."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from partition.errors import InputError
from partition.files import read_json
from partition.latency.machines import Machine, load_machine, shipped_machines
from partition.latency.timings import TIMINGS_FORMAT, Timings

if TYPE_CHECKING:
    from graph_io import LayerGraph

SegmentMachineLike: TypeAlias = (
    "str | PathLike[str] | Machine | Timings | Sequence[str | PathLike[str] | Machine | Timings]"
)
"""As for `partition`; or timings of the segments: a folder of their files, or several of them."""


@dataclass(frozen=True, slots=True, eq=False)
class SegmentMachine:
    """The device or the server.

    Attributes
    ----------
    role : {"device", "server"}
    threads : int
        Of the runtime, where nobody says otherwise.
    machine : Machine or None
        Which predicts every segment.
    timings : mapping of str to Timings
        Otherwise those of each segment, by the hash of its structure.
    place : str
        Where these come from.
    """

    role: str
    threads: int
    machine: Machine | None
    timings: Mapping[str, Timings] = field(default_factory=dict)
    place: str = ""

    def of(self, graph: "LayerGraph", segment: str) -> Machine | Timings:
        """Return the machine of a segment.

        Raises
        ------
        InputError
            It was not measured.
        """
        if self.machine is not None:
            return self.machine
        found = self.timings.get(graph.graph["structure_sha256"])
        if found is None:
            raise InputError(
                f"segment '{segment}' is not among the timings of the {self.role} ({self.place}); write the segments "
                "(dnn-partition exits MODEL --write-segments DIR), measure each on that machine (dnn-partition "
                "profile), and give the folder of these timings"
            )
        return found


def find_machine(given: SegmentMachineLike, role: str) -> SegmentMachine:
    """Read the machine of a role.

    Raises
    ------
    InputError
        No machine or timings; a folder without timings; two timings of one segment, or of different threads.
    """
    if isinstance(given, str | PathLike) and _is_folder(given):
        return _measured(_timings_in(Path(given)), role, f"folder '{os.fspath(given)}'")
    if isinstance(given, Sequence) and not isinstance(given, str):
        loaded = [load_machine(one) for one in given]
        odd = next((one for one in loaded if not isinstance(one, Timings)), None)
        if odd is not None or not loaded:
            what = "is empty" if odd is None else f"holds {odd!r}, which predicts any segment by itself"
            raise InputError(f"{role}: the sequence {what}; give timings of the segments, or one machine")
        return _measured([one for one in loaded if isinstance(one, Timings)], role, f"{len(loaded)} given")
    machine = load_machine(given)
    if isinstance(machine, Timings):
        return _measured([machine], role, f"those of '{machine.model.name}' alone")
    return SegmentMachine(role, machine.runtime.threads, machine)


def _is_folder(given: str | PathLike[str]) -> bool:
    return not (isinstance(given, str) and given in shipped_machines()) and os.path.isdir(given)


def _timings_in(folder: Path) -> list[Timings]:
    """Read all timings files of a folder; JSON files of another format there are none of ours to read."""
    try:
        files = sorted(path for path in folder.iterdir() if path.suffix == ".json")
    except OSError as error:
        raise InputError(f"folder '{folder}' cannot be read: {error.strerror or error}") from error
    contents = [(path, read_json(path, "timings file")) for path in files]
    found = [
        Timings.from_json(content, str(path)) for path, content in contents if content.get("format") == TIMINGS_FORMAT
    ]
    if not found:
        raise InputError(
            f"folder '{folder}' holds no timings file (.json); measure the segments (dnn-partition profile)"
        )
    return found


def _measured(timings: Sequence[Timings], role: str, place: str) -> SegmentMachine:
    by_structure: dict[str, Timings] = {}
    for one in timings:
        other = by_structure.setdefault(one.model.structure_sha256, one)
        if other is not one:
            raise InputError(
                f"{role}: the timings of '{other.model.name}' and '{one.model.name}' ({place}) are of one segment; "
                "keep one of them"
            )
    threads = sorted({one.runtime.threads for one in timings})
    if len(threads) > 1:
        raise InputError(f"{role}: the timings ({place}) are for {threads} threads; measure all with the same number")
    return SegmentMachine(role, threads[0], None, by_structure, place)
