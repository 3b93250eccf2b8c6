"""Timings: what one model took on one machine, layer by layer, as measured and as kept in a timings file."""

import datetime
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from partition.errors import InputError
from partition.files import FieldReader, Scalar, read_json

TIMINGS_FORMAT = "dnn-partition/timings"
TIMINGS_VERSION = 1
_PROFILE_COMMAND = "dnn-partition profile MODEL -o timings.json"


@dataclass(frozen=True, slots=True)
class MeasuredModel:
    """The model that was measured: its name, the SHA-256 of its structure, and how its nodes were grouped."""

    name: str
    structure_sha256: str
    granularity: str


@dataclass(frozen=True, slots=True)
class MeasuredRuntime:
    """The runtime that ran the model, and its settings."""

    name: str
    version: str
    provider: str
    threads: int
    optimization: str


@dataclass(frozen=True, slots=True)
class WholeModelTiming:
    """Full runs of the model without a profiler: their median, spread and number, and the CPU time of one run."""

    latency_s: float
    spread_s: float
    runs: int
    cpu_s: float


@dataclass(frozen=True, slots=True)
class LayerTiming:
    """The measured time of one layer: its median and spread."""

    id: str
    latency_s: float
    spread_s: float


@dataclass(frozen=True, slots=True)
class SharedKernel:
    """A kernel of the runtime that spans several layers; its time was shared out among them."""

    kernel: str
    layers: tuple[str, ...]


@dataclass(frozen=True, slots=True, repr=False)
class Timings:
    """One model measured on one machine.

    Parameters
    ----------
    name : str
        The machine's name.
    model : MeasuredModel
        What was measured.
    hardware : mapping
        What is known of the machine; a flat table with names of the writer's own choosing.
    runtime : MeasuredRuntime
        What it ran on.
    date : str
        When, ISO 8601 with a time zone.
    whole_model : WholeModelTiming
        The run that the layers' times are scaled to.
    layers : tuple of LayerTiming
        The time of each layer; ids are unique.
    shared_kernels : tuple of SharedKernel
        Kernels whose time was shared out.
    notes : tuple of str
        What a reader should know of this measurement.
    """

    name: str
    model: MeasuredModel
    hardware: Mapping[str, Scalar] = field(hash=False)
    runtime: MeasuredRuntime
    date: str
    whole_model: WholeModelTiming
    layers: tuple[LayerTiming, ...]
    shared_kernels: tuple[SharedKernel, ...] = ()
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"<Timings of {self.model.name!r} on {self.name!r}, {len(self.layers)} layers>"

    def __str__(self) -> str:
        whole, runtime = self.whole_model, self.runtime
        return (
            f"{self.model.name} on {self.name}: {whole.latency_s * 1e3:.4g} ms (spread {whole.spread_s * 1e3:.3g} ms, "
            f"{whole.runs} runs), {len(self.layers)} layers, {runtime.name} {runtime.version}, {runtime.provider}, "
            f"threads {runtime.threads}, {self.date}"
        )

    def to_json(self) -> dict[str, Any]:
        """Return the content of a timings file."""
        return {
            "format": TIMINGS_FORMAT,
            "version": TIMINGS_VERSION,
            "name": self.name,
            "model": asdict(self.model),
            "hardware": dict(self.hardware),
            "runtime": asdict(self.runtime),
            "date": self.date,
            "whole_model": asdict(self.whole_model),
            "layers": [asdict(layer) for layer in self.layers],
            "shared_kernels": [{"kernel": one.kernel, "layers": list(one.layers)} for one in self.shared_kernels],
            "notes": list(self.notes),
        }

    @classmethod
    def from_json(cls, obj: Mapping[str, Any], source: str) -> Self:
        """Make timings from the content of a timings file.

        Parameters
        ----------
        obj : mapping
            The content.
        source : str
            The file's name, for the messages.

        Returns
        -------
        Timings

        Raises
        ------
        InputError
            Another format or version; a field that is missing, unknown, of the wrong type or out of range; an id
            that is there twice; a shared kernel of an unknown layer.
        """
        fields = FieldReader(obj, f"timings file {source!r}")
        fields.header(TIMINGS_FORMAT, TIMINGS_VERSION)
        layers = _read_layers(fields)
        timings = cls(
            name=fields.text("name"),
            model=_read_model(fields.object("model")),
            hardware=fields.scalars("hardware"),
            runtime=_read_runtime(fields.object("runtime")),
            date=_read_date(fields),
            whole_model=_read_whole_model(fields.object("whole_model")),
            layers=layers,
            shared_kernels=_read_shared_kernels(fields, {layer.id for layer in layers}),
            notes=fields.texts("notes"),
        )
        fields.finish()
        return timings

    def latencies_for(self, structure_sha256: str, granularity: str, layer_ids: Iterable[str]) -> dict[str, float]:
        """Return the measured time of each layer asked for, if this is the same model, grouped in the same way.

        Parameters
        ----------
        structure_sha256 : str
            The SHA-256 of the structure of the model at hand.
        granularity : str
            How its nodes are grouped into layers.
        layer_ids : iterable of str
            The layers wanted.

        Returns
        -------
        dict of str to float
            Seconds by layer id, in the order asked for.

        Raises
        ------
        InputError
            The timings are of another model or of another granularity, or lack a layer.
        """
        mine = f"the timings of {self.model.name!r} on {self.name!r}"
        if structure_sha256 != self.model.structure_sha256:
            raise InputError(
                f"{mine} are of another model: its structure is {self.model.structure_sha256[:12]}..., that of the "
                f"model at hand is {structure_sha256[:12]}...; measure that one on this machine: {_PROFILE_COMMAND}"
            )
        if granularity != self.model.granularity:
            raise InputError(
                f"{mine} have the granularity {self.model.granularity!r}, asked for is {granularity!r}; "
                f"ask for {self.model.granularity!r}, or measure again with {granularity!r}: {_PROFILE_COMMAND}"
            )
        measured = {layer.id: layer.latency_s for layer in self.layers}
        wanted = list(layer_ids)
        missing = [one for one in wanted if one not in measured]
        if missing:
            more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            raise InputError(f"{mine} lack the layer {missing[0]!r}{more}; measure the model again: {_PROFILE_COMMAND}")
        return {one: measured[one] for one in wanted}


def load_timings(path: str | os.PathLike[str]) -> Timings:
    """Read a timings file.

    Parameters
    ----------
    path : str or path-like
        The file.

    Returns
    -------
    Timings

    Raises
    ------
    InputError
        The file cannot be read, or is not a timings file of this version.
    """
    return Timings.from_json(read_json(path, "timings file"), os.fspath(path))


def _read_model(fields: FieldReader) -> MeasuredModel:
    name = fields.text("name")
    structure_sha256 = fields.text("structure_sha256")
    if re.fullmatch(r"[0-9a-f]{64}", structure_sha256) is None:
        fields.refuse("structure_sha256", structure_sha256, "64 hexadecimal digits in lower case")
    model = MeasuredModel(name, structure_sha256, fields.text("granularity"))
    fields.finish()
    return model


def _read_runtime(fields: FieldReader) -> MeasuredRuntime:
    runtime = MeasuredRuntime(
        name=fields.text("name"),
        version=fields.text("version"),
        provider=fields.text("provider"),
        threads=fields.count("threads"),
        optimization=fields.text("optimization"),
    )
    fields.finish()
    return runtime


def _read_date(fields: FieldReader) -> str:
    text = fields.text("date")
    legal = "a date and time with its zone, ISO 8601: '2025-01-31T12:00:00+00:00'"
    try:
        when = datetime.datetime.fromisoformat(text)
    except ValueError:
        fields.refuse("date", text, legal)
    if when.tzinfo is None:
        fields.refuse("date", text, legal)
    return text


def _read_whole_model(fields: FieldReader) -> WholeModelTiming:
    whole = WholeModelTiming(
        latency_s=fields.positive("latency_s"),
        spread_s=fields.non_negative("spread_s"),
        runs=fields.count("runs"),
        cpu_s=fields.non_negative("cpu_s"),
    )
    fields.finish()
    return whole


def _read_layers(fields: FieldReader) -> tuple[LayerTiming, ...]:
    layers: dict[str, LayerTiming] = {}
    for one in fields.objects("layers"):
        layer = LayerTiming(one.text("id"), one.non_negative("latency_s"), one.non_negative("spread_s"))
        one.finish()
        if layer.id in layers:
            one.refuse("id", layer.id, "an id that no other layer has")
        layers[layer.id] = layer
    return tuple(layers.values())


def _read_shared_kernels(fields: FieldReader, known: set[str]) -> tuple[SharedKernel, ...]:
    kernels = []
    for one in fields.objects("shared_kernels"):
        kernel = SharedKernel(one.text("kernel"), one.texts("layers"))
        one.finish()
        if not kernel.layers or not known.issuperset(kernel.layers):
            one.refuse("layers", list(kernel.layers), "ids that are in the field 'layers' of this file")
        kernels.append(kernel)
    return tuple(kernels)
