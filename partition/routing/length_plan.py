"""The result of cutting by length: ranges of lengths, each with its cut; it prints itself, saves itself and runs."""

import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from partition.errors import InputError
from partition.files import FieldReader, read_json, write_json
from partition.leftovers import Unfinished, tidied
from partition.links import Link
from partition.model_parts import ModelParts, load_parts
from partition.routing.length_models import whole_length
from partition.units import format_duration

if TYPE_CHECKING:
    from partition.emulation.device import SlowDevice
    from partition.emulation.link import EmulatedLink
    from partition.plan import Plan
    from partition.routing.by_length_session import LengthSession
    from partition.routing.plan_at_length import LengthBasis

BY_LENGTH_FORMAT, BY_LENGTH_VERSION = "dnn-partition/by-length", 1
FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class LengthStage:
    """What one machine runs between two messages: the numbers of its parts, none if it only passes data on."""

    machine: Literal["device", "server"]
    parts: tuple[int, ...]
    n_layers: int


@dataclass(frozen=True, slots=True)
class LengthChoice:
    """One placement of the parts.

    Attributes
    ----------
    stages : tuple of LengthStage
        In the order of time; stage 0 is the device's.
    messages : tuple of tuples of str
        The tensors that travel after each stage but the last: up after the device's, down after the server's.
    """

    stages: tuple[LengthStage, ...]
    messages: tuple[tuple[str, ...], ...]

    @property
    def cut(self) -> tuple[str, ...]:
        """The tensors that go up; empty if everything stays on the device."""
        return tuple(name for sent in self.messages[::2] for name in sent)


@dataclass(frozen=True, slots=True)
class LengthRange:
    """Lengths from `least` to `most` for which one choice, by its number, is best."""

    least: int
    most: int
    choice: int


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class LengthPlan:
    """Where to cut a model for each length of its input.

    Attributes
    ----------
    dim : str
        The open dimension that the length is of.
    axes : mapping of str to tuple of int
        The inputs, and their axes, where it stands.
    ranges : tuple of LengthRange
        In order, without gaps.
    choices : tuple of LengthChoice
        The placements in use; neighbouring ranges have different ones.
    latency_s, device_s, server_s : (n,) float64
        Predicted seconds at each length of the range: of the best placement, of everything on the device, and of
        everything on the server.
    optimal : bool
        Whether each of them is proven to be the best for its length.
    parts : ModelParts
        The segments between all cuts in use; each placement runs each of them on one machine.
    link : Link
    device, server : str
        Names of the machines.
    output_on : str
    notes : tuple of str
        What was taken for granted.
    basis : LengthBasis or None
        What it was made from, for `plan_for`; None for a plan that was loaded.
    """

    manifest: ClassVar[str] = "by-length.json"

    dim: str
    axes: Mapping[str, tuple[int, ...]]
    ranges: tuple[LengthRange, ...]
    choices: tuple[LengthChoice, ...]
    latency_s: FloatArray
    device_s: FloatArray
    server_s: FloatArray
    optimal: bool
    parts: ModelParts
    link: Link
    device: str
    server: str
    output_on: str
    notes: tuple[str, ...] = ()
    basis: "LengthBasis | None" = None

    @property
    def least(self) -> int:
        """The least length of the range."""
        return self.ranges[0].least

    @property
    def most(self) -> int:
        """The greatest length of the range."""
        return self.ranges[-1].most

    @property
    def break_evens(self) -> tuple[int, ...]:
        """The lengths from which on another cut is best than for the length before."""
        return tuple(one.least for one in self.ranges[1:])

    def range_of(self, length: int, *, extrapolate: bool = False) -> LengthRange:
        """Return the range that holds a length; with `extrapolate` the first or the last one for what is outside.

        Raises
        ------
        InputError
            The length is not a whole number of 1 or more, or outside, and `extrapolate` is not set.
        """
        number = whole_length(length)
        if not self.least <= number <= self.most and not extrapolate:
            raise InputError(
                f"length {number} of '{self.dim}' is outside of the planned range {self.least} to {self.most}; plan "
                "a range that holds it, or pass extrapolate=True to take the cut of the nearest length"
            )
        return next((one for one in self.ranges if number <= one.most), self.ranges[-1])

    def choice_for(self, length: int, *, extrapolate: bool = False) -> LengthChoice:
        """Return the placement for a length; errors as of `range_of`."""
        return self.choices[self.range_of(length, extrapolate=extrapolate).choice]

    def plan_for(self, length: int) -> "Plan":
        """Return the plan of one length, on the same costs.

        Raises
        ------
        InputError
            The length is outside of the range; or this was loaded from a folder, which holds no costs.
        """
        from partition.routing.plan_at_length import plan_at_length

        return plan_at_length(self, length)

    def session(
        self,
        *,
        threads: int | None = None,
        extrapolate: bool = False,
        device: "SlowDevice | None" = None,
        link: "EmulatedLink | None" = None,
    ) -> "LengthSession":
        """Open all parts in this process; each input runs in the stages of its own length.

        Parameters
        ----------
        threads : int, optional
            Of each runtime session; the runtime's default if not given.
        extrapolate : bool
            Take the cut of the nearest length for inputs outside of the range, instead of refusing them.
        device : SlowDevice, optional
            Runs the device's stages.
        link : EmulatedLink, optional
            Delivers the messages.

        Returns
        -------
        LengthSession
        """
        from partition.routing.by_length_session import open_length_session

        return open_length_session(self, threads=threads, extrapolate=extrapolate, device=device, link=link)

    def __repr__(self) -> str:
        changes = ", ".join(map(str, self.break_evens)) or "none"
        return (
            f"<LengthPlan of {self.parts.model.name!r}: {self.dim} = {self.least} to {self.most}, "
            f"{len(self.choices)} placements, break-even at {changes}>"
        )

    def __str__(self) -> str:
        header = ("length", "sent up", "device layers", "best", "all on the device", "all on the server")
        rows: list[tuple[str, ...]] = [header]
        for one in self.ranges:
            choice = self.choices[one.choice]
            cut = ", ".join(choice.cut[:3]) + (" ..." if len(choice.cut) > 3 else "")
            on_device = sum(stage.n_layers for stage in choice.stages if stage.machine == "device")
            ends = (one.least, one.most) if one.least < one.most else (one.least,)
            times = [
                " to ".join(format_duration(float(values[end - self.least])) for end in ends)
                for values in (self.latency_s, self.device_s, self.server_s)
            ]
            lengths = f"{one.least} to {one.most}" if one.least < one.most else f"{one.least}"
            rows.append((lengths, cut or "nothing", f"{on_device} of {self.parts.model.n_layers}", *times))
        widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
        table = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        changes = ", ".join(map(str, self.break_evens)) or "none in the range"
        placements, parts = len(self.choices), len(self.parts.parts)
        return "\n".join(
            [
                f"{self.parts.model.name} by the length of '{self.dim}', {self.least} to {self.most}: "
                f"{placements} placement{'s' * (placements != 1)} of {parts} part{'s' * (parts != 1)}",
                f"link   {self.link}",
                f"device {self.device}, server {self.server}",
                "",
                *table,
                "",
                f"the best cut changes at: {changes}",
                *([] if self.optimal else ["not all of them are proven optimal"]),
                *([] if not self.notes else ["assumed:", *(f"- {note}" for note in self.notes)]),
            ]
        )

    def to_json(self) -> dict[str, Any]:
        """Return the content of ``by-length.json``; see docs/lengths.md."""
        return {
            "format": BY_LENGTH_FORMAT,
            "version": BY_LENGTH_VERSION,
            "dim": self.dim,
            "axes": {name: list(own) for name, own in self.axes.items()},
            "ranges": [{"least": one.least, "most": one.most, "choice": one.choice} for one in self.ranges],
            "choices": [
                {
                    "stages": [
                        {"machine": stage.machine, "parts": list(stage.parts), "n_layers": stage.n_layers}
                        for stage in choice.stages
                    ],
                    "messages": [list(sent) for sent in choice.messages],
                }
                for choice in self.choices
            ],
            "latency_s": self.latency_s.tolist(),
            "device_s": self.device_s.tolist(),
            "server_s": self.server_s.tolist(),
            "optimal": self.optimal,
            "link": self.link.to_json(),
            "device": self.device,
            "server": self.server,
            "output_on": self.output_on,
            "notes": list(self.notes),
        }

    def save(self, folder: str | PathLike[str]) -> "LengthPlan":
        """Write the parts, ``parts.json`` and ``by-length.json`` into a new folder, whole or not at all.

        Returns
        -------
        LengthPlan
            The same, with the folder as the source of its parts.

        Raises
        ------
        InputError
            The folder exists or cannot be written, or the runtime refuses a part.
        """
        target = Path(folder)
        if os.path.lexists(target):
            raise InputError(f"output folder '{target}' exists; choose another, or delete it first")
        draft = target.with_name(f".dnn-partition-{secrets.token_hex(8)}")
        try:
            with tidied(Unfinished(draft, target.parent)):
                saved = replace(self, parts=self.parts.save(draft))
                write_json(draft / self.manifest, self.to_json())
                if os.path.lexists(target):
                    raise InputError(f"output folder '{target}' exists; choose another, or delete it first")
                os.replace(draft, target)
        except OSError as error:
            raise InputError(f"output folder '{target}' cannot be written: {error.strerror or error}") from error
        return replace(saved, parts=replace(saved.parts, source=target))


def load_length_plan(folder: str | PathLike[str], *, check_weights: bool = False) -> LengthPlan:
    """Read what `LengthPlan.save` wrote.

    Raises
    ------
    InputError
        A file is missing, of another version, damaged, or not the one that was saved.
    """
    folder = Path(folder)
    path = folder / LengthPlan.manifest
    fields = FieldReader(read_json(path, "by-length file"), f"by-length file '{path}'")
    fields.header(BY_LENGTH_FORMAT, BY_LENGTH_VERSION)
    parts = load_parts(folder, check_weights=check_weights)
    axes = fields.object("axes")
    dim, output_on = fields.text("dim"), fields.text("output_on")
    if dim not in parts.model.dims:
        fields.refuse("dim", dim, f"an open dimension of the model: {', '.join(parts.model.dims) or 'it has none'}")
    if output_on not in ("device", "server", "any"):
        fields.refuse("output_on", output_on, "'device', 'server' or 'any'")
    choices = tuple(_read_choice(one, parts) for one in fields.objects("choices"))
    ranges = _read_ranges(fields, len(choices))
    count = ranges[-1].most - ranges[0].least + 1
    plan = LengthPlan(
        dim=dim,
        axes=_read_axes(axes, dim, parts),
        ranges=ranges,
        choices=choices,
        latency_s=_read_seconds(fields, "latency_s", count),
        device_s=_read_seconds(fields, "device_s", count),
        server_s=_read_seconds(fields, "server_s", count),
        optimal=fields.boolean("optimal"),
        parts=parts,
        link=Link.from_json(fields.take("link"), f"by-length file '{path}'"),
        device=fields.text("device"),
        server=fields.text("server"),
        output_on=output_on,
        notes=fields.texts("notes"),
    )
    fields.finish()
    if not plan.axes:
        fields.refuse("axes", [], f"inputs of the model: {', '.join(parts.model.input_names)}")
    return plan


def _read_axes(fields: FieldReader, dim: str, parts: ModelParts) -> dict[str, tuple[int, ...]]:
    """Read where the dimension stands; each of its axes had its value when the parts were described."""
    size, shapes = parts.model.dims[dim], {one.name: one.shape for one in parts.model.inputs}
    found: dict[str, tuple[int, ...]] = {}
    for name in fields.names():
        own = fields.wholes(name)
        if name not in shapes:
            fields.refuse(name, list(own), f"inputs of the model: {', '.join(shapes)}")
        legal = [axis for axis, one in enumerate(shapes[name]) if one == size]
        if not own or len(set(own)) < len(own) or not set(own) <= set(legal):
            fields.refuse(name, list(own), f"axes of '{name}' that are of size {size}, as '{dim}' is: {legal}")
        found[name] = own
    fields.finish()
    return found


def _read_ranges(fields: FieldReader, n_choices: int) -> tuple[LengthRange, ...]:
    ranges: list[LengthRange] = []
    for one in fields.objects("ranges"):
        found = LengthRange(one.count("least"), one.count("most"), one.whole("choice"))
        one.finish()
        if found.most < found.least or (ranges and found.least != ranges[-1].most + 1):
            one.refuse("least", found.least, "ranges in order, without gaps")
        if found.choice >= n_choices:
            one.refuse("choice", found.choice, f"the number of one of the {n_choices} choices")
        ranges.append(found)
    if not ranges:
        fields.refuse("ranges", [], "at least one range")
    return tuple(ranges)


def _read_choice(fields: FieldReader, parts: ModelParts) -> LengthChoice:
    n_parts = len(parts.parts)
    stages = []
    for number, one in enumerate(fields.objects("stages")):
        machine = one.text("machine")
        expected: Literal["device", "server"] = "server" if number % 2 else "device"
        if machine != expected:
            one.refuse("machine", machine, f"{expected!r}: stages alternate, the device's first")
        stages.append(LengthStage(expected, one.wholes("parts"), one.whole("n_layers")))
        one.finish()
    messages = fields.take("messages")
    legal = isinstance(messages, list) and all(
        isinstance(sent, list) and all(isinstance(name, str) for name in sent) for sent in messages
    )
    if not legal or len(messages) != len(stages) - 1:
        fields.refuse("messages", str(messages)[:80], "one list of tensor names between each two stages")
    if sorted(part for stage in stages for part in stage.parts) != list(range(n_parts)):
        fields.refuse("stages", [stage.parts for stage in stages], f"each of the {n_parts} parts once")
    _check_flow(fields, stages, messages, parts)
    fields.finish()
    return LengthChoice(tuple(stages), tuple(tuple(sent) for sent in messages))


def _check_flow(fields: FieldReader, stages: list[LengthStage], messages: list[list[str]], parts: ModelParts) -> None:
    """Refuse parts that run before what they read is computed, and messages of what is not there by then."""
    there = set(parts.model.input_names)
    for number, stage in enumerate(stages):
        for at in stage.parts:
            late = next((one.name for one in parts.parts[at].inputs if one.name not in there), None)
            if late is not None:
                fields.refuse("stages", [one.parts for one in stages], f"part {at} after the one that makes '{late}'")
            there.update(one.name for one in parts.parts[at].outputs)
        sent = messages[number] if number < len(messages) else []
        unknown = next((name for name in sent if name not in there), None)
        if unknown is not None:
            fields.refuse("messages", unknown, f"a tensor that is known after stage {number}")


def _read_seconds(fields: FieldReader, name: str, count: int) -> FloatArray:
    values = fields.take(name)
    legal = isinstance(values, list) and all(isinstance(one, int | float) and 0 <= one < 1e18 for one in values)
    if not legal or len(values) != count:
        fields.refuse(name, str(values)[:80], f"{count} finite numbers, 0 or more: one for each length")
    return np.array(values, dtype=np.float64)
