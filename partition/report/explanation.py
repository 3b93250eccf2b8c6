"""One request, leg by leg: what was predicted for it beside what was measured."""

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from partition.adaptation.conditions import Conditions
from partition.adaptation.planner import choices_of
from partition.errors import InputError
from partition.plan import Plan
from partition.plan_records import Role
from partition.remote.records import RunRecord, StageRecord, VisitRecord, cut_text, parts_sha256

if TYPE_CHECKING:
    from partition.remote.session import RemoteSession
    from partition.runtime.session import SplitSession

Run: TypeAlias = "RunRecord | RemoteSession | SplitSession"
LegKind = Literal["device", "server", "uplink", "downlink", "encoding", "compressing", "queue", "other"]

_SHOWN = {"queue": "wait in the server", "other": "between these"}
_CONDITIONS = {
    "uplink_bits_per_s": "up",
    "downlink_bits_per_s": "down",
    "rtt_s": "rtt",
    "device_slowdown": "device",
    "server_slowdown": "server",
}
_NOT_SENT = "not sent: all ran in this process"


@dataclass(frozen=True, slots=True)
class Leg:
    """A stage or a message of one request, or what came in addition.

    Attributes
    ----------
    what : str
        "device" and "server": a stage; "uplink" and "downlink": a message, with the whole round trip in the former;
        "encoding": of inputs that travel encoded, with a server; "compressing": of messages, at both ends; "queue": the
        wait in the server; "other": what no leg accounts for, in process encoding and decoding among it.
    ran_on : {"device", "server"} or None
        Of a stage: the device also where the server failed.
    parts : tuple of int
    size_bytes : int or None
        Of a message on the way, HTTP included.
    predicted_s : float or None
        None for what no prediction knows of.
    measured_s : float or None
        None for what did not happen, or what the server does not tell.
    remark : str
    """

    what: LegKind
    ran_on: Role | None
    parts: tuple[int, ...]
    size_bytes: int | None
    predicted_s: float | None
    measured_s: float | None
    remark: str = ""

    @property
    def error(self) -> float | None:
        """How far the prediction is off, relative to what was measured."""
        return _error(self.predicted_s, self.measured_s)


@dataclass(frozen=True, slots=True, repr=False)
class RunExplanation:
    """What a request took beside what was predicted; it prints itself as a table.

    Attributes
    ----------
    model : str
    number : int or None
        Of the request in its session; None in process.
    choice : int or None
        Which of the placements that the session chose among; None in process.
    cut : tuple of str
    conditions : Conditions or None
        What the prediction rests on; None for those that were planned for.
    legs : tuple of Leg
        In the order of time.
    predicted_s, measured_s : float
        Of the whole; in process the former is with the link and the latter without.
    fault : str or None
        Why the device finished what the server was to do, or went on alone.
    measured : tuple of str
        Which fields of the conditions were seen in requests. The others are as planned, the downlink in proportion to
        the uplink.
    """

    model: str
    number: int | None
    choice: int | None
    cut: tuple[str, ...]
    conditions: Conditions | None
    legs: tuple[Leg, ...]
    predicted_s: float
    measured_s: float
    fault: str | None
    measured: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the content as plain JSON values."""
        content = asdict(self)
        content["legs"] = [asdict(leg) | {"error": leg.error} for leg in self.legs]
        return content

    def __repr__(self) -> str:
        return f"<RunExplanation of {self.model!r}: {_ms(self.predicted_s)} predicted, {_ms(self.measured_s)} measured>"

    def __str__(self) -> str:
        which = "in this process" if self.number is None else f"request {self.number}, placement {self.choice}"
        under = "as planned" if self.conditions is None else str(self.conditions)
        lines = [
            f"{self.model}: {which}, {cut_text(self.cut)}, {under}",
            _row("", "predicted", "measured", "error", ""),
        ]
        for leg in self.legs:
            lines.append(_row(_label(leg), *_figures(leg.predicted_s, leg.measured_s), _remark(leg)))
        whole = (
            "without the link" if self.number is None and any(leg.size_bytes is not None for leg in self.legs) else ""
        )
        figures = (
            (_ms(self.predicted_s), _ms(self.measured_s), "") if whole else _figures(self.predicted_s, self.measured_s)
        )
        lines.append(_row("all", *figures, whole))
        if self.conditions is not None:
            lines.append(f"  predicted with {_sources(self.measured)}")
        if self.fault is not None and not any(self.fault in leg.remark for leg in self.legs):
            lines.append(f"  the server was not asked: {self.fault}")
        return "\n".join(line.rstrip() for line in lines)


def explain_run(plan: Plan, run: Run) -> RunExplanation:
    """Compare a request with its prediction; see `Plan.explain_run`."""
    from partition.remote.session import RemoteSession
    from partition.runtime.session import SplitSession

    if isinstance(run, SplitSession):
        return _in_process(plan, run)
    record = run.last if isinstance(run, RemoteSession) else run
    if record is None:
        raise InputError("the session has run nothing yet; call run first")
    if not isinstance(record, RunRecord):
        raise InputError(f"explain_run got a {type(record).__name__}; pass a session or one of its records")
    known = [[stage.parts for stage in stages] for stages in (plan.stages, *(one.stages for one in choices_of(plan)))]
    # Records of older versions have no hash.
    another = record.parts_sha256 not in ("", parts_sha256(plan))
    if another or [stage.parts for stage in record.stages] not in known:
        raise InputError(f"request {record.number} is not one of this plan of '{plan.model.name}'; pass one of its own")
    legs = [*_legs(record)]
    measured = [leg.measured_s for leg in legs]
    rest_s = max(0.0, record.taken_s - sum(seconds or 0.0 for seconds in measured))
    legs.append(Leg("other", None, (), None, None, rest_s))
    return RunExplanation(
        plan.model.name,
        record.number,
        record.choice,
        record.cut,
        record.conditions,
        tuple(legs),
        record.predicted_s,
        record.taken_s,
        record.fault,
        _measured(record.conditions, Conditions.of_link(plan.link)),
    )


def _measured(now: Conditions, planned: Conditions) -> tuple[str, ...]:
    """Return what differs from the plan; of the downlink, from its proportion to the uplink, in which it is kept."""
    expected = replace(
        planned,
        downlink_bits_per_s=now.uplink_bits_per_s * planned.downlink_bits_per_s / planned.uplink_bits_per_s,
    )
    return tuple(
        name
        for name in _CONDITIONS
        if not math.isclose(getattr(now, name), getattr(expected, name), rel_tol=1e-9, abs_tol=1e-12)
    )


def _sources(measured: tuple[str, ...]) -> str:
    """Say of each of the conditions whether it is as planned or as measured."""
    told: dict[str, list[str]] = {"as planned": [], "in proportion to up": [], "as measured": []}
    for name, text in _CONDITIONS.items():
        follows = name == "downlink_bits_per_s" and "uplink_bits_per_s" in measured
        told["as measured" if name in measured else "in proportion to up" if follows else "as planned"].append(text)
    return "; ".join(f"{', '.join(texts)} {source}" for source, texts in told.items() if texts)


def _legs(record: RunRecord) -> Iterable[Leg]:
    visits = iter(record.visits)
    for stage in record.stages:
        visit = next(visits) if stage.asked else None
        if stage.encode_s:
            yield Leg("encoding", "device", (), None, None, stage.encode_s)
        if visit is not None:
            if visit.compression is not None:
                one, told = visit.compression, visit.compression.told(visit.sent_bytes, visit.received_bytes)
                yield Leg("compressing", None, (), None, one.predicted_s, one.device_s + one.server_s, told)
            yield from _way_there(visit)
        if stage.parts:
            yield _stage_leg(stage, visit)
        if visit is not None and visit.fault is None:
            yield Leg("downlink", None, (), visit.received_bytes, visit.predicted_downlink_s, visit.downlink_s)


def _way_there(visit: VisitRecord) -> Iterable[Leg]:
    if visit.fault is not None:
        yield Leg("uplink", None, (), visit.sent_bytes, visit.predicted_s, visit.taken_s, f"lost: {visit.fault}")
        return
    yield Leg("uplink", None, (), visit.sent_bytes, visit.predicted_uplink_s, visit.uplink_s)
    if visit.queue_s is not None:
        yield Leg("queue", "server", (), None, None, visit.queue_s)


def _stage_leg(stage: StageRecord, visit: VisitRecord | None) -> Leg:
    remark = ""
    if stage.machine != stage.ran_on:
        remark = f"run on the {stage.ran_on}" + ("" if visit is not None else ", the server was not asked")
    elif stage.taken_s is None:
        remark = "the server tells no times: in the uplink's"
    return Leg(stage.machine, stage.ran_on, stage.parts, None, stage.predicted_s, stage.taken_s, remark)


def _in_process(plan: Plan, session: "SplitSession") -> RunExplanation:
    if not session.part_s:
        raise InputError("the session has run nothing yet; call run first")
    if parts_sha256(session._plan) != parts_sha256(plan):
        raise InputError(
            f"the session runs other parts ({len(session.part_s)} of '{session._plan.model.name}') than this plan's "
            f"({len(plan.parts)} of '{plan.model.name}'); pass a session of this plan"
        )
    legs = []
    for number, stage in enumerate(plan.stages):
        if stage.parts:
            taken_s = sum(session.part_s[part] for part in stage.parts)
            legs.append(Leg(stage.machine, stage.machine, stage.parts, None, stage.compute_s, taken_s))
        for message in plan.messages:
            if message.after_stage == number:
                sent_s = message.transfer_s + message.delay_s
                legs.append(Leg(message.direction, None, (), message.size_bytes, sent_s, None, _NOT_SENT))
    rest_s = max(0.0, session.run_s - sum(session.part_s))
    legs.append(Leg("other", None, (), None, None, rest_s))
    return RunExplanation(plan.model.name, None, None, plan.cut, None, tuple(legs), plan.latency_s, session.run_s, None)


def _label(leg: Leg) -> str:
    return _SHOWN.get(leg.what, leg.what)


def _remark(leg: Leg) -> str:
    told = [f"parts {', '.join(map(str, leg.parts))}"] if leg.parts else []
    told += [f"{leg.size_bytes} bytes"] if leg.size_bytes is not None else []
    return "; ".join([*told, *([leg.remark] if leg.remark else [])])


def _figures(predicted_s: float | None, measured_s: float | None) -> tuple[str, str, str]:
    error = _error(predicted_s, measured_s)
    return _ms(predicted_s), _ms(measured_s), "" if error is None else f"{error:+.1%}"


def _error(predicted_s: float | None, measured_s: float | None) -> float | None:
    if predicted_s is None or not measured_s:
        return None
    return (predicted_s - measured_s) / measured_s


def _ms(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1e3:.2f} ms"


def _row(*cells: str) -> str:
    what, predicted, measured, error, remark = cells
    return f"  {what:<20}{predicted:>13}{measured:>13}{error:>10}  {remark}"
