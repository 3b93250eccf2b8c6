"""Machines: what a machine can do, from a machine file, so that a model that never ran there can be predicted.

Several machine files come with the library; each says where its figures come from. A file of the kind
``datasheet-roofline`` was computed from public datasheets, not measured: it is for a first look. One of the kind
``fitted-roofline`` holds a user's own figures, fitted to what ran there. One of the kind ``calibrated`` holds what a
calibration timed there.
"""

import datetime
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from partition.errors import InputError
from partition.files import FieldReader, Scalar, read_json
from partition.latency.calibration import Calibration
from partition.latency.timings import TIMINGS_FORMAT, Timings, save_checked

MACHINE_FORMAT = "dnn-partition/machine"
MACHINE_VERSION = 1
MACHINE_KINDS = ("datasheet-roofline", "fitted-roofline", "calibrated")
_SHIPPED = Path(__file__).parent / "shipped"


@dataclass(frozen=True, slots=True)
class Runtime:
    """The runtime that a machine file speaks of; the version is None where the figures do not depend on one."""

    name: str
    version: str | None
    provider: str
    threads: int


@dataclass(frozen=True, slots=True)
class Roofline:
    """What bounds a layer: arithmetic, memory traffic, and a fixed overhead.

    Parameters
    ----------
    peak_flops_per_s : float
        Floating point operations a second, a multiplication with an addition being two.
    memory_bytes_per_s : float
        Bytes a second to and from memory, as reached in practice.
    compute_efficiency : mapping of str to float
        The share of the peak that an operator type reaches, above 0 and at most 1; ``"default"`` is for all others.
    layer_overhead_s : float
        Seconds that each layer takes besides.
    """

    peak_flops_per_s: float
    memory_bytes_per_s: float
    compute_efficiency: Mapping[str, float] = field(hash=False)
    layer_overhead_s: float


@dataclass(frozen=True, slots=True)
class Power:
    """What the machine draws in each state, in watts."""

    compute_watts: float
    idle_watts: float
    send_watts: float
    receive_watts: float


@dataclass(frozen=True, slots=True, repr=False)
class Machine:
    """A machine that layers can be predicted for.

    Parameters
    ----------
    name : str
        The machine's name.
    kind : str
        How its figures came about; one of `MACHINE_KINDS`.
    description : str
        One line for a person.
    hardware : mapping
        What is known of it; a flat table with names of the writer's own choosing.
    runtime : Runtime
        The runtime that the figures are for.
    date : str
        When the figures were put together, YYYY-MM-DD.
    provenance : str
        Where they come from, in sentences.
    roofline : Roofline
        The predictor.
    power : Power or None
        What it draws; None where that is not known.
    calibration : Calibration or None
        What was timed there, and the regressions; in a machine of the kind ``"calibrated"``. Its roofline then serves
        only for what the calibration does not know.
    """

    name: str
    kind: str
    description: str
    hardware: Mapping[str, Scalar] = field(hash=False)
    runtime: Runtime
    date: str
    provenance: str
    roofline: Roofline
    power: Power | None = None
    calibration: Calibration | None = field(default=None, hash=False, compare=False)

    def __repr__(self) -> str:
        return f"<Machine {self.name!r}, {self.kind}>"

    def __str__(self) -> str:
        return (
            f"{self.name}: {self.description} ({self.kind}: {self.roofline.peak_flops_per_s / 1e9:.4g} GFLOP/s, "
            f"{self.roofline.memory_bytes_per_s / 1e9:.4g} GB/s, {self.roofline.layer_overhead_s * 1e6:.3g} us a layer)"
        )

    def to_json(self) -> dict[str, Any]:
        """Return the content of a machine file."""
        return {
            "format": MACHINE_FORMAT,
            "version": MACHINE_VERSION,
            "name": self.name,
            "kind": self.kind,
            "description": self.description,
            "hardware": dict(self.hardware),
            "runtime": asdict(self.runtime),
            "date": self.date,
            "provenance": self.provenance,
            "roofline": {
                "peak_flops_per_s": self.roofline.peak_flops_per_s,
                "memory_bytes_per_s": self.roofline.memory_bytes_per_s,
                "compute_efficiency": dict(self.roofline.compute_efficiency),
                "layer_overhead_s": self.roofline.layer_overhead_s,
            },
            "power": None if self.power is None else asdict(self.power),
            **({} if self.calibration is None else {"calibration": self.calibration.to_json()}),
        }

    @classmethod
    def from_json(cls, obj: Mapping[str, Any], source: str) -> Self:
        """Make a machine from the content of a machine file.

        Parameters
        ----------
        obj : mapping
            The content.
        source : str
            The file's name, for the messages.

        Returns
        -------
        Machine

        Raises
        ------
        InputError
            Another format or version; a field that is missing, unknown, of the wrong type or out of range.
        """
        fields = FieldReader(obj, f"machine file {source!r}")
        fields.header(MACHINE_FORMAT, MACHINE_VERSION)
        power = fields.optional_object("power")
        kind = _read_kind(fields)
        machine = cls(
            name=fields.text("name"),
            kind=kind,
            description=fields.text("description"),
            hardware=fields.scalars("hardware"),
            runtime=_read_runtime(fields.object("runtime")),
            date=_read_date(fields),
            provenance=fields.text("provenance"),
            roofline=_read_roofline(fields.object("roofline")),
            power=None if power is None else _read_power(power),
            calibration=Calibration.from_json(fields.object("calibration")) if kind == "calibrated" else None,
        )
        fields.finish()
        return machine

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Write a machine file, which `load_machine` reads.

        Parameters
        ----------
        path : str or path-like
            The file; its folder has to exist.
        overwrite : bool
            Whether an existing file is replaced.

        Raises
        ------
        InputError
            The file exists and `overwrite` is not set, or cannot be written, or this machine could not be read back:
            a kind that is not one of `MACHINE_KINDS`, a rate of zero, an efficiency without ``"default"``.
        """
        save_checked(path, self.to_json(), type(self).from_json, "machine file", overwrite=overwrite)


def shipped_machines() -> tuple[str, ...]:
    """Return the names of the machine files that come with the library, sorted."""
    return tuple(sorted(path.stem for path in _SHIPPED.glob("*.json")))


def shipped_machine(name: str) -> Machine:
    """Load one of `shipped_machines`."""
    path = _SHIPPED / f"{name}.json"
    return Machine.from_json(read_json(path, "machine file"), path.name)


def load_machine(name_or_path: str | os.PathLike[str] | Machine | Timings) -> Machine | Timings:
    """Load a machine: one that comes with the library, a machine file, or a timings file.

    Parameters
    ----------
    name_or_path : str, path-like, Machine or Timings
        A name of `shipped_machines`, or the path of either kind of file (its ``format`` tells which). A text that is
        such a name is never a path; write ``./NAME`` for a file of that name. What is loaded already is returned.

    Returns
    -------
    Machine or Timings

    Raises
    ------
    InputError
        Neither a shipped machine nor a file, or a file that cannot be used.
    """
    if isinstance(name_or_path, Machine | Timings):
        return name_or_path
    if not isinstance(name_or_path, str | os.PathLike):
        raise InputError(
            f"a machine is given as {name_or_path!r}; give a shipped machine ({', '.join(shipped_machines())}), or the "
            "path of a machine file or of a timings file"
        )
    names = shipped_machines()
    if isinstance(name_or_path, str) and name_or_path in names:
        return shipped_machine(name_or_path)
    path = Path(name_or_path)
    if not os.path.lexists(path):
        raise InputError(
            f"unknown machine {os.fspath(name_or_path)!r}: no shipped machine has that name and no file has that path; "
            f"give one of {', '.join(names)}, or the path of a machine file or of a timings file"
        )
    obj = read_json(path, "machine or timings file")
    found = obj.get("format")
    if found == MACHINE_FORMAT:
        return Machine.from_json(obj, str(path))
    if found == TIMINGS_FORMAT:
        return Timings.from_json(obj, str(path))
    raise InputError(
        f"machine or timings file {str(path)!r} has the format {found!r}, expected {MACHINE_FORMAT!r} or "
        f"{TIMINGS_FORMAT!r}; give a file of one of these"
    )


def _read_kind(fields: FieldReader) -> str:
    kind = fields.text("kind")
    if kind not in MACHINE_KINDS:
        fields.refuse("kind", kind, f"one of {', '.join(map(repr, MACHINE_KINDS))}")
    return kind


def _read_date(fields: FieldReader) -> str:
    text = fields.text("date")
    try:
        datetime.date.fromisoformat(text)
        legal = re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text) is not None
    except ValueError:
        legal = False
    if not legal:
        fields.refuse("date", text, "a date as YYYY-MM-DD")
    return text


def _read_runtime(fields: FieldReader) -> Runtime:
    runtime = Runtime(
        name=fields.text("name"),
        version=fields.optional_text("version"),
        provider=fields.text("provider"),
        threads=fields.count("threads"),
    )
    fields.finish()
    return runtime


def _read_roofline(fields: FieldReader) -> Roofline:
    shares = fields.object("compute_efficiency")
    operator_types = shares.names()
    if "default" not in operator_types:
        shares.take("default")
    efficiency = {}
    for operator_type in operator_types:
        efficiency[operator_type] = shares.positive(operator_type)
        if efficiency[operator_type] > 1:
            shares.refuse(operator_type, efficiency[operator_type], "a share of the peak, above 0 and at most 1")
    roofline = Roofline(
        peak_flops_per_s=fields.positive("peak_flops_per_s"),
        memory_bytes_per_s=fields.positive("memory_bytes_per_s"),
        compute_efficiency=efficiency,
        layer_overhead_s=fields.positive("layer_overhead_s"),
    )
    fields.finish()
    return roofline


def _read_power(fields: FieldReader) -> Power:
    power = Power(
        compute_watts=fields.positive("compute_watts"),
        idle_watts=fields.non_negative("idle_watts"),
        send_watts=fields.non_negative("send_watts"),
        receive_watts=fields.non_negative("receive_watts"),
    )
    fields.finish()
    return power
