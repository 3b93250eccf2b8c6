"""What a lengths file holds of the model, its runs and its layers, as records that are read field by field."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from partition.files import FieldReader
from partition.routing.length_models import LengthModel, read_length_model


@dataclass(frozen=True, slots=True)
class OpenModel:
    """The model that was measured, with the names of its open dimensions where they stand in its inputs' shapes."""

    name: str
    structure_sha256: str
    granularity: str
    input_dims: Mapping[str, tuple[int | str, ...]] = field(hash=False)


@dataclass(frozen=True, slots=True)
class LengthSample:
    """Whole runs at one length, in seconds; one that is held out was not fitted to, but compared with the fit."""

    length: int
    held_out: bool
    times_s: tuple[float, ...]

    @property
    def median_s(self) -> float:
        """The median of the runs."""
        return float(np.median(self.times_s))


@dataclass(frozen=True, slots=True)
class LayerLengths:
    """The time of one layer in seconds, and the names of the model's nodes that it groups."""

    id: str
    nodes: tuple[str, ...]
    latency: LengthModel


@dataclass(frozen=True, slots=True)
class ConversionLengths:
    """What a machine pays in seconds to hand out a tensor from between two layers (encode), and to take it in."""

    tensor: str
    encode: LengthModel
    decode: LengthModel


def read_open_model(fields: FieldReader, dim: str) -> OpenModel:
    """Read the field ``model``, in whose shapes `dim` has to stand."""
    name, structure = fields.text("name"), fields.text("structure_sha256")
    if re.fullmatch(r"[0-9a-f]{64}", structure) is None:
        fields.refuse("structure_sha256", structure, "64 hexadecimal digits in lower case")
    granularity = fields.text("granularity")
    shapes, dims = fields.object("input_dims"), {}
    for one in shapes.names():
        value = shapes.take(one)
        legal = isinstance(value, list | tuple) and all(
            size == dim or (isinstance(size, int) and not isinstance(size, bool) and size >= 0) for size in value
        )
        if not legal:
            shapes.refuse(one, value, f"a list of whole numbers and {dim!r}")
        dims[one] = tuple(value)
    if not any(dim in own for own in dims.values()):
        fields.refuse(
            "input_dims", {one: list(own) for one, own in dims.items()}, f"an input with {dim!r} in its shape"
        )
    fields.finish()
    return OpenModel(name, structure, granularity, dims)


def read_samples(fields: FieldReader) -> tuple[LengthSample, ...]:
    """Read the field ``samples``, in any order."""
    samples: dict[int, LengthSample] = {}
    for one in fields.objects("samples"):
        times = one.take("times_s")
        legal = isinstance(times, list | tuple) and all(
            isinstance(time, int | float) and 0 < time < 1e9 for time in times
        )
        if not legal or not times:
            one.refuse("times_s", str(times)[:80], "a list of seconds above 0, at least one")
        sample = LengthSample(one.count("length"), one.boolean("held_out"), tuple(map(float, times)))
        median_s = one.positive("median_s")
        if not np.isclose(median_s, sample.median_s, rtol=1e-6, atol=0.0):
            one.refuse("median_s", median_s, f"the median of the field 'times_s', {sample.median_s!r}")
        one.finish()
        if sample.length in samples:
            one.refuse("length", sample.length, "a length that no other sample has")
        samples[sample.length] = sample
    return tuple(samples[length] for length in sorted(samples))


def read_layers(fields: FieldReader, whole: LengthModel) -> tuple[LayerLengths, ...]:
    """Read the field ``layers``; their curves have the range of the whole run's."""
    layers: dict[str, LayerLengths] = {}
    taken: set[str] = set()
    for one in fields.objects("layers"):
        layer = LayerLengths(one.text("id"), one.texts("nodes"), read_length_model(one.object("latency")))
        one.finish()
        if layer.id in layers:
            one.refuse("id", layer.id, "an id that no other layer has")
        if not layer.nodes or len(set(layer.nodes)) < len(layer.nodes) or not taken.isdisjoint(layer.nodes):
            one.refuse("nodes", list(layer.nodes), "one name or more, each in one place of one layer")
        if (layer.latency.least, layer.latency.most) != (whole.least, whole.most):
            own = f"{layer.latency.least} to {layer.latency.most}"
            one.refuse("latency", own, f"the range of the whole run, {whole.least} to {whole.most}")
        layers[layer.id] = layer
        taken.update(layer.nodes)
    if not layers:
        fields.refuse("layers", [], "at least one layer")
    return tuple(layers.values())


def read_conversions(fields: FieldReader) -> tuple[ConversionLengths, ...]:
    """Read the field ``conversions``."""
    found: dict[str, ConversionLengths] = {}
    for one in fields.objects("conversions"):
        tensor = one.text("tensor")
        models = [read_length_model(one.object(name)) for name in ("encode", "decode")]
        one.finish()
        if tensor in found:
            one.refuse("tensor", tensor, "a tensor that no other entry has")
        found[tensor] = ConversionLengths(tensor, *models)
    return tuple(found.values())
