"""A lengths file: what one model takes on one machine, layer by layer, as functions of the input's length."""

import datetime
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from partition.errors import InputError
from partition.files import FieldReader, Scalar, read_json
from partition.latency.timings import (
    LayerTiming,
    MeasuredModel,
    MeasuredRuntime,
    TensorConversion,
    Timings,
    WholeModelTiming,
    save_checked,
)
from partition.routing.length_models import LengthModel, read_length_model, whole_length
from partition.routing.length_records import (
    ConversionLengths,
    LayerLengths,
    LengthSample,
    OpenModel,
    read_conversions,
    read_layers,
    read_open_model,
    read_samples,
)

LENGTHS_FORMAT = "dnn-partition/lengths"
LENGTHS_VERSION = 1
FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True, repr=False)
class LengthTimings:
    """One model measured on one machine over a range of lengths.

    Parameters
    ----------
    name : str
        The machine's name.
    model : OpenModel
    dim : str
        The dimension that the length is of.
    hardware : mapping
        A flat table with names of the writer's own choosing.
    runtime : MeasuredRuntime
    date : str
        ISO 8601 with a time zone.
    latency : LengthModel
        Seconds of one run of the whole model.
    input_bytes, output_bytes : LengthModel
        Of all inputs, and of all outputs; exact where their ``mape`` is 0.
    output_length : LengthModel or None
        Size of the outputs' own open dimension; None where it is the input's length, or where none changes with it.
    samples : tuple of LengthSample
        In the order of their lengths.
    layers : tuple of LayerLengths
        In topological order; `layer_seconds` scales them to the whole run.
    conversions : tuple of ConversionLengths
    held_out_mape : float or None
        Mean absolute relative error of the fit at the lengths that were held out, as a share.
    cpu_share : float
        CPU time of a run over its wall time.
    energy_joules : LengthModel or None
        Of one run, where that was measured.
    notes : tuple of str
    """

    name: str
    model: OpenModel
    dim: str
    hardware: Mapping[str, Scalar] = field(hash=False)
    runtime: MeasuredRuntime
    date: str
    latency: LengthModel
    input_bytes: LengthModel
    output_bytes: LengthModel
    output_length: LengthModel | None
    samples: tuple[LengthSample, ...]
    layers: tuple[LayerLengths, ...]
    conversions: tuple[ConversionLengths, ...] = ()
    held_out_mape: float | None = None
    cpu_share: float = 1.0
    energy_joules: LengthModel | None = None
    notes: tuple[str, ...] = ()

    @property
    def least(self) -> int:
        """The least length that was measured."""
        return self.latency.least

    @property
    def most(self) -> int:
        """The greatest length that was measured."""
        return self.latency.most

    def __repr__(self) -> str:
        return f"<LengthTimings of {self.model.name!r} on {self.name!r}, {self.dim} = {self.least} to {self.most}>"

    def __str__(self) -> str:
        a, b, c = (1e3 * one for one in self.latency.coefficients)
        curve = f"{a:.4g} + {b:.4g} N{f' + {c:.4g} N^2' if c else ''} ms"
        held = "" if self.held_out_mape is None else f", {self.held_out_mape:.1%} at held-out lengths"
        runtime = self.runtime
        return (
            f"{self.model.name} on {self.name}, {self.dim} = {self.least} to {self.most}: {curve} "
            f"(R^2 {self.latency.r_squared:.4f}, mean error {self.latency.mape:.1%}{held}), {len(self.layers)} layers, "
            f"{runtime.name} {runtime.version}, {runtime.provider}, threads {runtime.threads}, {self.date}"
        )

    def layer_seconds(self, lengths: Sequence[int] | NDArray[np.int64]) -> FloatArray:
        """Return the seconds of each layer at each length, scaled so that they add up to the whole run.

        Parameters
        ----------
        lengths : (n,) int
            Those outside of the measured range are extrapolated: check the range first.

        Returns
        -------
        (n, n_layers) float64

        Raises
        ------
        InputError
            No layer takes any time at one of the lengths.
        """
        numbers = np.asarray(lengths)
        shares = np.stack([layer.latency.over(numbers) for layer in self.layers], axis=1)
        sums = shares.sum(axis=1)
        if not sums.all():
            at = int(numbers[int(np.argmin(sums))])
            raise InputError(
                f"the lengths file of {self.model.name!r} on {self.name!r}: all layers take 0 s at length {at}; "
                "measure the model again"
            )
        return np.asarray(shares * (self.latency.over(numbers) / sums)[:, None])

    def at(self, length: int, *, extrapolate: bool = False) -> Timings:
        """Return the timings at one length, which `partition` takes as a machine.

        Raises
        ------
        InputError
            The length is outside of the measured range, and `extrapolate` is not set.
        """
        whole_s = self.latency.extended(length) if extrapolate else self.latency.at(length)
        seconds = self.layer_seconds([length])[0].tolist()
        low, high = np.percentile(self.latency.ratios, [25, 75]) if self.latency.ratios else (1.0, 1.0)
        spread = float(high - low)
        return Timings(
            name=self.name,
            model=MeasuredModel(
                self.model.name,
                self.model.structure_sha256,
                self.model.granularity,
                {
                    name: tuple(whole_length(length) if one == self.dim else int(one) for one in dims)
                    for name, dims in self.model.input_dims.items()
                },
            ),
            hardware=self.hardware,
            runtime=self.runtime,
            date=self.date,
            whole_model=WholeModelTiming(
                whole_s, spread * whole_s, max(1, len(self.latency.ratios)), self.cpu_share * whole_s
            ),
            layers=tuple(
                LayerTiming(layer.id, layer.nodes, one, spread * one)
                for layer, one in zip(self.layers, seconds, strict=True)
            ),
            conversions=tuple(
                TensorConversion(one.tensor, one.encode.extended(length), one.decode.extended(length))
                for one in self.conversions
            ),
            notes=(*self.notes, f"from a fit over {self.dim} = {self.least} to {self.most}"),
        )

    def slowed(self, factor: float, *, name: str) -> "LengthTimings":
        """Return the timings of an emulated machine on which everything takes a multiple of the time.

        Raises
        ------
        InputError
            The factor is not a finite number above 0.
        """
        return replace(
            self,
            name=name,
            latency=self.latency.times(factor),
            samples=tuple(replace(one, times_s=tuple(factor * time for time in one.times_s)) for one in self.samples),
            layers=tuple(replace(one, latency=one.latency.times(factor)) for one in self.layers),
            conversions=tuple(
                replace(one, encode=one.encode.times(factor), decode=one.decode.times(factor))
                for one in self.conversions
            ),
            energy_joules=None,
            notes=(*self.notes, f"times of {self.name!r} multiplied by {factor:g}, not measured"),
        )

    def to_json(self) -> dict[str, Any]:
        """Return the content of a lengths file."""

        def optional(model: LengthModel | None) -> dict[str, Any] | None:
            return None if model is None else model.to_json()

        return {
            "format": LENGTHS_FORMAT,
            "version": LENGTHS_VERSION,
            "name": self.name,
            "model": {
                "name": self.model.name,
                "structure_sha256": self.model.structure_sha256,
                "granularity": self.model.granularity,
                "input_dims": {name: list(dims) for name, dims in self.model.input_dims.items()},
            },
            "dim": self.dim,
            "hardware": dict(self.hardware),
            "runtime": asdict(self.runtime),
            "date": self.date,
            "latency": self.latency.to_json(),
            "held_out_mape": self.held_out_mape,
            "cpu_share": self.cpu_share,
            "input_bytes": self.input_bytes.to_json(),
            "output_bytes": self.output_bytes.to_json(),
            "output_length": optional(self.output_length),
            "energy_joules": optional(self.energy_joules),
            "samples": [
                {
                    "length": one.length,
                    "held_out": one.held_out,
                    "median_s": one.median_s,
                    "times_s": list(one.times_s),
                }
                for one in self.samples
            ],
            "layers": [
                {"id": one.id, "nodes": list(one.nodes), "latency": one.latency.to_json()} for one in self.layers
            ],
            "conversions": [
                {"tensor": one.tensor, "encode": one.encode.to_json(), "decode": one.decode.to_json()}
                for one in self.conversions
            ],
            "notes": list(self.notes),
        }

    @classmethod
    def from_json(cls, obj: Mapping[str, Any], source: str) -> Self:
        """Make it from the content of a lengths file.

        Raises
        ------
        InputError
            Another format or version; a field that is missing, unknown, of the wrong type or out of range; a length,
            an id, a node or a tensor that is there twice; layers of another range than the whole run; a whole run that
            takes no time at the least length.
        """
        fields = FieldReader(obj, f"lengths file {source!r}")
        fields.header(LENGTHS_FORMAT, LENGTHS_VERSION)
        latency: LengthModel = read_length_model(fields.object("latency"))
        at_least_s = float(latency.over([latency.least])[0])
        if not at_least_s > 0:
            fields.refuse("latency", at_least_s, f"a curve that is above 0 s at its least length, {latency.least}")
        dim = fields.text("dim")
        timings = cls(
            name=fields.text("name"),
            model=read_open_model(fields.object("model"), dim),
            dim=dim,
            hardware=fields.scalars("hardware"),
            runtime=_read_runtime(fields.object("runtime")),
            date=_read_date(fields),
            latency=latency,
            input_bytes=read_length_model(fields.object("input_bytes")),
            output_bytes=read_length_model(fields.object("output_bytes")),
            output_length=_optional_model(fields, "output_length"),
            samples=read_samples(fields),
            layers=read_layers(fields, latency),
            conversions=read_conversions(fields),
            held_out_mape=fields.optional_non_negative("held_out_mape"),
            cpu_share=fields.non_negative("cpu_share"),
            energy_joules=_optional_model(fields, "energy_joules"),
            notes=fields.texts("notes"),
        )
        fields.finish()
        return timings

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Write a lengths file, which `load_lengths` reads.

        Raises
        ------
        InputError
            The file exists and `overwrite` is not set, or cannot be written, or could not be read back.
        """
        save_checked(path, self.to_json(), type(self).from_json, "lengths file", overwrite=overwrite)


def load_lengths(path: str | os.PathLike[str]) -> LengthTimings:
    """Read a lengths file.

    Raises
    ------
    InputError
        The file cannot be read, or is not a lengths file of this version.
    """
    return LengthTimings.from_json(read_json(path, "lengths file"), os.fspath(path))


def _optional_model(fields: FieldReader, name: str) -> LengthModel | None:
    reader = fields.optional_object(name)
    return None if reader is None else read_length_model(reader)


def _read_runtime(fields: FieldReader) -> MeasuredRuntime:
    runtime = MeasuredRuntime(
        fields.text("name"),
        fields.text("version"),
        fields.text("provider"),
        fields.count("threads"),
        fields.text("optimization"),
    )
    fields.finish()
    return runtime


def _read_date(fields: FieldReader) -> str:
    text = fields.text("date")
    try:
        zone = datetime.datetime.fromisoformat(text).tzinfo
    except ValueError:
        zone = None
    if zone is None:
        fields.refuse("date", text, "a date and time with its zone, ISO 8601: '2025-01-31T12:00:00+00:00'")
    return text
