"""Timings: what one model took on one machine, layer by layer, as measured and as kept in a timings file."""

import datetime
import math
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from partition.errors import InputError
from partition.files import FieldReader, Scalar, read_json, write_json

TIMINGS_FORMAT = "dnn-partition/timings"
TIMINGS_VERSION = 1
MOST_SPREAD = 0.1
"""Interquartile range over median beyond which runs are called noisy. Layers that were measured at rest predict a split
within a few percent; where runs differ by more than that, what else ran decides between neighbouring cuts."""
# Layers are scaled to the run, so their sum is that up to rounding.
_SUM_TOLERANCE = 1e-6


@dataclass(frozen=True, slots=True)
class MeasuredModel:
    """The model that was measured.

    Attributes
    ----------
    name : str
    structure_sha256 : str
        See `graph_io.structure_sha256`.
    granularity : str
        How its nodes were grouped.
    input_shapes : mapping of str to tuple of int
    """

    name: str
    structure_sha256: str
    granularity: str
    input_shapes: Mapping[str, tuple[int, ...]] = field(hash=False)


@dataclass(frozen=True, slots=True)
class MeasuredRuntime:
    """The runtime that ran the model, and its settings.

    Attributes
    ----------
    name, version, provider : str
    threads : int
    optimization : str
        The level to which it optimised the graph.
    """

    name: str
    version: str
    provider: str
    threads: int
    optimization: str


@dataclass(frozen=True, slots=True)
class WholeModelTiming:
    """Full runs of the model without a profiler.

    Attributes
    ----------
    latency_s, spread_s : float
        Median and spread.
    runs : int
    cpu_s : float
        The CPU time of one run.
    """

    latency_s: float
    spread_s: float
    runs: int
    cpu_s: float


@dataclass(frozen=True, slots=True)
class LayerTiming:
    """The measured time of one layer.

    Attributes
    ----------
    id : str
    nodes : tuple of str
        Names of the model's nodes that it groups.
    latency_s, spread_s : float
        Median and spread.
    """

    id: str
    nodes: tuple[str, ...]
    latency_s: float
    spread_s: float


@dataclass(frozen=True, slots=True)
class SharedKernel:
    """A kernel of the runtime that spans several layers; its time was shared out among them."""

    kernel: str
    layers: tuple[str, ...]


def spread_notes(relative: float) -> tuple[str, ...]:
    """Say that runs differ too much to tell cuts apart: a note where their spread is beyond a tenth of their median.

    Parameters
    ----------
    relative : float
        Interquartile range over median.

    Returns
    -------
    tuple of str
        None, or one.
    """
    if relative <= MOST_SPREAD:
        return ()
    return (
        f"noisy: the middle half of the runs spans {relative:.0%} of their median, more than {MOST_SPREAD:.0%}; end "
        "what else runs there and measure again",
    )


@dataclass(frozen=True, slots=True)
class TensorConversion:
    """What a machine pays to hand out a tensor from between two layers (encode), and to take it in (decode)."""

    tensor: str
    encode_s: float
    decode_s: float


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
        The time of each layer; ids are unique, and no node is in two layers.
    shared_kernels : tuple of SharedKernel
        Kernels whose time was shared out.
    conversions : tuple of TensorConversion
        The tensors that the runtime keeps in a layout of its own, so that a cut there costs more than the layers.
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
    conversions: tuple[TensorConversion, ...] = ()
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
            "model": {
                "name": self.model.name,
                "structure_sha256": self.model.structure_sha256,
                "granularity": self.model.granularity,
                "input_shapes": {name: list(shape) for name, shape in self.model.input_shapes.items()},
            },
            "hardware": dict(self.hardware),
            "runtime": asdict(self.runtime),
            "date": self.date,
            "whole_model": asdict(self.whole_model),
            "layers": [asdict(layer) | {"nodes": list(layer.nodes)} for layer in self.layers],
            "shared_kernels": [{"kernel": one.kernel, "layers": list(one.layers)} for one in self.shared_kernels],
            "conversions": [asdict(one) for one in self.conversions],
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
            or a node that is there twice; a shared kernel of an unknown layer; layers that do not add up to the run.
        """
        fields = FieldReader(obj, f"timings file {source!r}")
        fields.header(TIMINGS_FORMAT, TIMINGS_VERSION)
        layers = _read_layers(fields)
        whole_model = _read_whole_model(fields.object("whole_model"))
        layers_s = sum(layer.latency_s for layer in layers)
        if not math.isclose(layers_s, whole_model.latency_s, rel_tol=_SUM_TOLERANCE):
            legal = f"the sum of the layers' latencies, {layers_s!r}, since they are scaled to it"
            fields.refuse("whole_model.latency_s", whole_model.latency_s, legal)
        timings = cls(
            name=fields.text("name"),
            model=_read_model(fields.object("model")),
            hardware=fields.scalars("hardware"),
            runtime=_read_runtime(fields.object("runtime")),
            date=_read_date(fields),
            whole_model=whole_model,
            layers=layers,
            shared_kernels=_read_shared_kernels(fields, {layer.id for layer in layers}),
            conversions=_read_conversions(fields),
            notes=fields.texts("notes"),
        )
        fields.finish()
        return timings

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Write a timings file, which `load_timings` reads.

        Parameters
        ----------
        path : str or path-like
            The file; its folder has to exist.
        overwrite : bool
            Whether an existing file is replaced.

        Raises
        ------
        InputError
            The file exists and `overwrite` is not set, or cannot be written, or these timings could not be read back.
        """
        save_checked(path, self.to_json(), type(self).from_json, "timings file", overwrite=overwrite)


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


def save_checked(
    path: str | os.PathLike[str],
    content: dict[str, Any],
    read: Callable[[Mapping[str, Any], str], object],
    what: str,
    *,
    overwrite: bool,
) -> None:
    """Write a file that does not exist yet, or may be replaced, once its own reader takes the content."""
    if not overwrite and os.path.lexists(path):
        raise InputError(f"{what} {os.fspath(path)!r} exists; choose another path, or pass overwrite=True")
    read(content, os.fspath(path))
    write_json(path, content)


def _read_model(fields: FieldReader) -> MeasuredModel:
    name = fields.text("name")
    structure_sha256 = fields.text("structure_sha256")
    if re.fullmatch(r"[0-9a-f]{64}", structure_sha256) is None:
        fields.refuse("structure_sha256", structure_sha256, "64 hexadecimal digits in lower case")
    granularity = fields.text("granularity")
    shapes = fields.object("input_shapes")
    model = MeasuredModel(name, structure_sha256, granularity, {name: shapes.wholes(name) for name in shapes.names()})
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
    taken: set[str] = set()
    for one in fields.objects("layers"):
        layer = LayerTiming(
            one.text("id"), one.texts("nodes"), one.non_negative("latency_s"), one.non_negative("spread_s")
        )
        one.finish()
        if layer.id in layers:
            one.refuse("id", layer.id, "an id that no other layer has")
        if not layer.nodes or len(set(layer.nodes)) < len(layer.nodes) or not taken.isdisjoint(layer.nodes):
            one.refuse("nodes", list(layer.nodes), "one name or more, each in one place of one layer")
        layers[layer.id] = layer
        taken.update(layer.nodes)
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


def _read_conversions(fields: FieldReader) -> tuple[TensorConversion, ...]:
    conversions: dict[str, TensorConversion] = {}
    for one in fields.objects("conversions"):
        found = TensorConversion(one.text("tensor"), one.non_negative("encode_s"), one.non_negative("decode_s"))
        one.finish()
        if found.tensor in conversions:
            one.refuse("tensor", found.tensor, "a tensor that no other entry has")
        conversions[found.tensor] = found
    return tuple(conversions.values())
