"""What a calibration has finished, one model a line, so that an interrupted one goes on where it stopped."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from partition.errors import InputError
from partition.latency.calibration import TimedFeatures, TimedKernel

_FORMAT, _VERSION = "dnn-partition/calibration-checkpoint", 1


@dataclass(frozen=True, slots=True)
class TimedModel:
    """The kernels of one model of the suite at one number of threads."""

    threads: int
    kernels: tuple[TimedKernel, ...]


class Checkpoint:
    """Models that are finished, in memory and in a file.

    Parameters
    ----------
    path : Path or None
        The file: read if it exists, begun if not; None keeps nothing.
    header : mapping
        What the calibration was asked for; a file that was begun with anything else is refused.

    Attributes
    ----------
    timed : list of TimedModel
    n_models : int
        So many models of the suite are finished, the first ones.
    spent_s : float
        On timing them, over all runs.

    Raises
    ------
    InputError
        The file is something else, was begun with another header, is damaged before its last line, or cannot be
        written.
    """

    def __init__(self, path: Path | None, header: Mapping[str, Any]) -> None:
        self.timed: list[TimedModel] = []
        self.n_models = 0
        self.spent_s = 0.0
        self._path = path
        self._header = {"format": _FORMAT, "version": _VERSION, **header}
        if path is not None:
            if path.exists():
                self._read(path)
            else:
                self._append(path, self._header)

    def add(self, timed: Sequence[TimedModel], spent_s: float) -> None:
        """Add one model, timed at each number of threads."""
        self.timed += timed
        self.n_models += 1
        self.spent_s += spent_s
        if self._path is not None:
            if not self._path.exists():
                raise InputError(f"checkpoint {str(self._path)!r} is gone; calibrate again, and leave it until the end")
            self._append(self._path, {"spent_s": spent_s, "timed": [_to_json(one) for one in timed]})

    @staticmethod
    def _append(path: Path, content: Mapping[str, Any]) -> None:
        try:
            with open(path, "a", encoding="utf-8") as file:
                file.write(json.dumps(content, allow_nan=False) + "\n")
        except OSError as error:
            raise InputError(f"checkpoint {str(path)!r} cannot be written: {error.strerror}") from error

    def _read(self, path: Path) -> None:
        try:
            lines = path.read_text(encoding="utf-8").split("\n")
            found = json.loads(lines[0])
        except (OSError, ValueError):
            found = None
        if not isinstance(found, dict) or found.get("format") != _FORMAT:
            raise InputError(f"{str(path)!r} is not a checkpoint of a calibration; delete it or give another path")
        odd = next((name for name in self._header if found.get(name) != self._header[name]), None)
        if odd is not None:
            raise InputError(
                f"checkpoint {str(path)!r} was begun with {odd} {found.get(odd)!r}, now it is {self._header[odd]!r}; "
                "delete it to begin anew, or calibrate as then"
            )
        # What has no line break behind it was cut off while it was written: that model is timed again.
        whole = lines[1:-1]
        for number, line in enumerate(whole):
            try:
                content = json.loads(line)
                timed = [_from_json(one) for one in content["timed"]]
                spent_s = float(content["spent_s"])
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise InputError(
                    f"checkpoint {str(path)!r} is damaged in line {number + 2}; delete it to begin anew"
                ) from error
            self.timed += timed
            self.n_models += 1
            self.spent_s += spent_s
        if lines[-1]:
            path.write_text("".join(f"{line}\n" for line in lines[:-1]), encoding="utf-8")


def _to_json(timed: TimedModel) -> dict[str, Any]:
    return {
        "threads": timed.threads,
        "kernels": [
            [one.features.kind, one.features.op_type, dict(one.features.values), one.seconds, one.spread_s]
            for one in timed.kernels
        ],
    }


def _from_json(obj: Mapping[str, Any]) -> TimedModel:
    threads = int(obj["threads"])
    kernels = []
    for kind, op_type, values, seconds, spread_s in obj["kernels"]:
        sizes = {str(name): float(size) for name, size in values.items()}
        if not all(math.isfinite(one) and one >= 0 for one in (*sizes.values(), seconds, spread_s)):
            raise ValueError(f"a kernel of kind {kind!r} has a negative or infinite value")
        kernels.append(TimedKernel(TimedFeatures(kind, op_type, sizes), threads, float(seconds), float(spread_s)))
    return TimedModel(threads, tuple(kernels))
