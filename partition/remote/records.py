"""What happened in a request, beside what was predicted: for a person, for a log, for a plot."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

from partition.adaptation.conditions import Conditions
from partition.plan import Runnable


@dataclass(frozen=True, slots=True)
class StageRecord:
    """One stage of a request.

    Attributes
    ----------
    machine : {"device", "server"}
        Where the plan puts it.
    ran_on : {"device", "server"}
        Where it ran: on the device also where the server failed.
    parts : tuple of int
    predicted_s : float
        Computing, under the conditions as estimated before the request.
    taken_s : float or None
        None for a server that does not tell.
    asked : bool
        Whether the server was asked for it: each such stage has one visit, in the same order.
    encode_s : float
        What the device took to encode inputs for it, which no prediction knows of; in no other time but the request's.
    """

    machine: Literal["device", "server"]
    ran_on: Literal["device", "server"]
    parts: tuple[int, ...]
    predicted_s: float
    taken_s: float | None
    asked: bool = False
    encode_s: float = 0.0


@dataclass(frozen=True, slots=True)
class CompressionRecord:
    """How the messages of a visit were compressed, where the session was asked to.

    Attributes
    ----------
    plain_sent_bytes, plain_received_bytes : int
        What the visit's `sent_bytes` and `received_bytes` were if nothing was compressed.
    predicted_s : float
        Packing and unpacking, on both machines.
    device_s, server_s : float
        What that took; a server that does not tell is charged nothing, and its part is the link's.
    remark : str or None
        Why the request went as it is, where that was not because it is small.
    """

    plain_sent_bytes: int
    plain_received_bytes: int
    predicted_s: float
    device_s: float
    server_s: float
    remark: str | None = None

    def told(self, sent_bytes: int, received_bytes: int) -> str:
        """Say how many of the plain bytes were sent, for a person."""
        ways = (("up", sent_bytes, self.plain_sent_bytes), ("down", received_bytes, self.plain_received_bytes))
        found = [f"{way} {wire} of {plain} bytes" for way, wire, plain in ways if wire != plain]
        return "; ".join([*found, *([self.remark] if self.remark else [])]) or "nothing compressed"


@dataclass(frozen=True, slots=True)
class VisitRecord:
    """One way to the server and back: all but computing there, the wait for it, and compressing at both ends.

    Attributes
    ----------
    predicted_s, taken_s : float
    queue_s : float or None
        How long the request waited in the server, where it tells.
    sent_bytes, received_bytes : int
        On the way: compressed where they were.
    fault : str or None
        Why it came to nothing; `taken_s` is then what that cost.
    predicted_uplink_s, predicted_downlink_s : float or None
        What `predicted_s` is the sum of; the round trip is counted to the uplink. None where nobody kept them.
    uplink_s, downlink_s : float or None
        To the first byte of the answer less the server's time, and from there to its last byte. None at a fault.
    compression : CompressionRecord or None
        None where nobody asked for it.
    """

    predicted_s: float
    taken_s: float
    queue_s: float | None
    sent_bytes: int
    received_bytes: int
    fault: str | None
    predicted_uplink_s: float | None = None
    predicted_downlink_s: float | None = None
    uplink_s: float | None = None
    downlink_s: float | None = None
    compression: CompressionRecord | None = None


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One request.

    Attributes
    ----------
    number : int
        Counted from 0 in a session.
    started_s : float
        Seconds since 1970 (UTC).
    choice : int
        Which of the plan's placements.
    cut : tuple of str
    conditions : Conditions
        As estimated before it.
    predicted_s, taken_s : float
    stages : tuple of StageRecord
    visits : tuple of VisitRecord
    parts_sha256 : str
        See `parts_sha256`; empty where nobody kept it.
    not_asked : str or None
        Why the device went on alone without asking the server; None if it was asked, or had nothing to do by choice.
    """

    number: int
    started_s: float
    choice: int
    cut: tuple[str, ...]
    conditions: Conditions
    predicted_s: float
    taken_s: float
    stages: tuple[StageRecord, ...]
    visits: tuple[VisitRecord, ...]
    parts_sha256: str = ""
    not_asked: str | None = None

    @property
    def fault(self) -> str | None:
        """Why the device finished what the server was to do, or went on alone; None if all went as planned."""
        return next((visit.fault for visit in self.visits if visit.fault is not None), self.not_asked)

    @property
    def on_server(self) -> bool:
        """Whether the server computed a part of it."""
        return any(stage.ran_on == "server" and stage.parts for stage in self.stages)

    def to_json(self) -> dict[str, Any]:
        """Return the record as a plain object."""
        return asdict(self) | {"fault": self.fault}

    def __str__(self) -> str:
        lines = [
            f"request {self.number}, placement {self.choice} ({cut_text(self.cut)}), {self.conditions}",
            _row("", "predicted", "measured", "parts"),
        ]
        for stage in self.stages:
            where = stage.machine if stage.machine == stage.ran_on else f"{stage.machine}, run on the {stage.ran_on}"
            parts = ", ".join(map(str, stage.parts)) or "-"
            lines.append(_row(where, _ms(stage.predicted_s), _ms(stage.taken_s), parts))
        for visit in self.visits:
            what = f"{visit.sent_bytes} bytes up, {visit.received_bytes} down"
            lines.append(_row("link, there and back", _ms(visit.predicted_s), _ms(visit.taken_s), visit.fault or what))
            if visit.compression is not None:
                one = visit.compression
                told = one.told(visit.sent_bytes, visit.received_bytes)
                lines.append(_row("compressing", _ms(one.predicted_s), _ms(one.device_s + one.server_s), told))
        lines.append(_row("all", _ms(self.predicted_s), _ms(self.taken_s), ""))
        if self.not_asked is not None:
            lines.append(f"  the server was not asked: {self.not_asked}")
        return "\n".join(line.rstrip() for line in lines)


def cut_text(cut: tuple[str, ...]) -> str:
    """Say where a model is cut, for a person."""
    return f"cut at {', '.join(cut)}" if cut else "all on the device"


def parts_sha256(plan: Runnable) -> str:
    """Return a hash over what a plan's parts compute, saved or not: the model's structure, their layers and edges."""
    parts = [
        [part.layers, [asdict(one) for one in part.inputs], [asdict(one) for one in part.outputs]]
        for part in plan.parts
    ]
    content = json.dumps([plan.model.structure_sha256, parts], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


def records_to_json(records: Iterable[RunRecord]) -> list[dict[str, Any]]:
    """Return records as plain objects, for a file of JSON lines or a plot."""
    return [one.to_json() for one in records]


def _row(*cells: str) -> str:
    what, predicted, taken, remark = cells
    return f"  {what:<30}{predicted:>13}{taken:>13}  {remark}"


def _ms(seconds: float | None) -> str:
    return "not told" if seconds is None else f"{seconds * 1e3:.2f} ms"
