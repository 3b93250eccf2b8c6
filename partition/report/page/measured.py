"""The figure ``measured``: what was predicted for each stage and way, beside what a run took."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import TypeAlias

from partition.errors import InputError
from partition.plan import Plan
from partition.remote.records import RunRecord, VisitRecord
from partition.report.page.axes import Scale, bottom_axis, legend, milliseconds
from partition.report.page.evidence import MissingEvidence
from partition.report.page.figure import Figure, Table
from partition.report.page.svg import Drawing, fitted, text_width
from partition.runtime.session import SplitSession
from partition.runtime.timing import StageTiming
from partition.runtime.verify import Verification
from partition.units import format_duration

KIND, TITLE = "measured", "Predicted and measured"

Measured: TypeAlias = "Sequence[RunRecord] | Sequence[StageTiming] | Verification | SplitSession"


@dataclass(frozen=True, slots=True)
class Pair:
    """What one stage, way or request was predicted to take and took, in seconds.

    Attributes
    ----------
    label : str
    kind : {"device", "uplink", "server", "downlink", "muted"}
        By what it is coloured.
    predicted_s : float
    measured_s : float or None
        None for a server that does not tell.
    """

    label: str
    kind: str
    predicted_s: float
    measured_s: float | None


def measured_figure(plan: Plan, measured: "Measured | None") -> Figure:
    """Draw two bars for each stage.

    Raises
    ------
    MissingEvidence
        No run was given.
    InputError
        It is not of this plan, or nothing was timed in it.
    """
    if measured is None:
        raise MissingEvidence(
            "no run was given; pass measured= (the records of a session, or what verify(timing=True) returned), or "
            "--run with what `dnn-partition run --json` printed"
        )
    pairs, notes = _pairs(plan, measured)
    told = [pair for pair in pairs if pair.measured_s is not None]
    words = "; ".join(
        f"{pair.label}: predicted {format_duration(pair.predicted_s)}, measured {format_duration(pair.measured_s or 0)}"
        for pair in told
    )
    said = f"{words[:1].upper()}{words[1:]}."
    return Figure(KIND, TITLE, said, lambda drawing: _paint(drawing, pairs), (_table(pairs),), notes)


def _pairs(plan: Plan, measured: "Measured") -> tuple[list[Pair], tuple[str, ...]]:
    if isinstance(measured, SplitSession):
        return _of_session(plan, measured)
    if isinstance(measured, Verification):
        measured = measured.stages
        if not measured:
            raise InputError("this verification timed nothing; call plan.verify(timing=True)")
    given = list(measured)
    if given and all(isinstance(one, RunRecord) for one in given):
        return _of_records(plan, given)  # type: ignore[arg-type]
    if given and all(isinstance(one, StageTiming) for one in given):
        return _of_timings(plan, given)  # type: ignore[arg-type]
    raise InputError(
        "measured holds no measurement; give the records of a session, what plan.verify(timing=True) returned, or a "
        "session of this process that has run"
    )


def _of_session(plan: Plan, session: SplitSession) -> tuple[list[Pair], tuple[str, ...]]:
    if len(session.part_s) != len(plan.parts):
        got = f"{len(session.part_s)} parts of {len(plan.parts)}" if session.part_s else "nothing yet"
        raise InputError(f"measured is a session that ran {got}; run it, or give a session of this plan")
    pairs = [
        _stage_pair(number, stage.machine, stage.compute_s, sum(session.part_s[index] for index in stage.parts))
        for number, stage in enumerate(plan.stages)
        if stage.parts
    ]
    return pairs, ("All stages ran on one machine, once; the link was not measured.",)


def _of_timings(plan: Plan, timings: Sequence[StageTiming]) -> tuple[list[Pair], tuple[str, ...]]:
    if any(one.stage >= len(plan.stages) for one in timings):
        raise InputError("measured names stages that this plan does not have; give measurements of this plan")
    pairs = [_stage_pair(one.stage, one.machine, one.predicted_s, one.measured_s) for one in timings]
    runs = ", ".join(str(number) for number in sorted({one.runs for one in timings}))
    return pairs, (f"Medians of {runs} runs, all stages on one machine; the link was not measured.",)


def _of_records(plan: Plan, records: Sequence[RunRecord]) -> tuple[list[Pair], tuple[str, ...]]:
    whole = [one for one in records if one.fault is None]
    if not whole:
        raise InputError("in none of these records did the server answer; give records of a session in which it did")
    choice = Counter(one.choice for one in whole).most_common(1)[0][0]
    shown = [one for one in whole if one.choice == choice]
    stages = plan.choices[choice].stages if choice < len(plan.choices) else plan.stages
    if any(len(one.stages) != len(stages) for one in shown):
        raise InputError("the stages of these records are not those of this plan; give records of this plan")
    pairs = []
    for number, stage in enumerate(shown[0].stages):
        if not stage.parts:
            continue  # it only passes data on
        taken = [one.stages[number].taken_s for one in shown]
        told = [seconds for seconds in taken if seconds is not None]
        predicted = median(one.stages[number].predicted_s for one in shown)
        pairs.append(_stage_pair(number, stage.machine, predicted, median(told) if told else None))
    for number in range(len(shown[0].visits)):
        which = f", visit {number}" if len(shown[0].visits) > 1 else ""
        pairs += _visit_pairs([one.visits[number] for one in shown], which)
    predicted, taken_s = median(one.predicted_s for one in shown), median(one.taken_s for one in shown)
    pairs.append(Pair("the whole request", "muted", predicted, taken_s))
    many = "1 request" if len(shown) == 1 else f"medians of {len(shown)} requests"
    notes = [f"Shown: {many} with the same cut, predicted under the conditions of their time."]
    if len(shown) < len(records):
        notes.append(
            f"Left out: {len(whole) - len(shown)} requests with another cut, {len(records) - len(whole)} that the "
            "device had to finish."
        )
    return pairs, tuple(notes)


def _visit_pairs(visits: Sequence[VisitRecord], which: str) -> list[Pair]:
    """Compare the way up and the way down, or both together where they were not told apart."""
    pairs = []
    for way in ("uplink", "downlink"):
        both = [(getattr(one, f"predicted_{way}_s"), getattr(one, f"{way}_s")) for one in visits]
        known = [(said, seen) for said, seen in both if said is not None and seen is not None]
        if len(known) < len(visits):
            predicted, taken = median(one.predicted_s for one in visits), median(one.taken_s for one in visits)
            return [Pair(f"link, there and back{which}", "uplink", predicted, taken)]
        pairs.append(Pair(f"{way}{which}", way, median(said for said, _ in known), median(seen for _, seen in known)))
    return pairs


def _stage_pair(number: int, machine: str, predicted_s: float, measured_s: float | None) -> Pair:
    return Pair(f"stage {number}, {machine}", machine, predicted_s, measured_s)


def _paint(drawing: Drawing, pairs: list[Pair]) -> float:
    left = 4.0
    seconds = [pair.predicted_s for pair in pairs] + [pair.measured_s or 0.0 for pair in pairs]
    right = drawing.width - 10 - max(text_width(f"{milliseconds(one)} ms predicted", 11) for one in seconds)
    kinds = {"device": "device", "uplink": "uplink", "server": "server", "downlink": "downlink", "muted": "all"}
    used = [(kind, label) for kind, label in kinds.items() if any(pair.kind == kind for pair in pairs)]
    top = legend(drawing, 4, used) + 8
    row = 54.0
    bottom = top + row * len(pairs)
    scale = Scale(0.0, max(seconds) * 1e3 or 1.0, left, right)
    bottom_axis(drawing, scale, top - 4, bottom, "milliseconds", lambda value: f"{value:,g}")
    for number, pair in enumerate(pairs):
        y = top + number * row
        drawing.text(left + 2, y + 11, fitted(pair.label, drawing.width - 12, 12, bold=True), "bold")
        width = scale(pair.predicted_s * 1e3) - left
        # Hollow for what was said, full for what was seen: without colours, too.
        drawing.rect(left, y + 17, width, 12, "soft", radius=2)
        drawing.rect(left + 0.75, y + 17.75, max(width - 1.5, 1), 10.5, f"edge-{pair.kind}", tip="predicted")
        drawing.text(left + width + 5, y + 27, f"{milliseconds(pair.predicted_s)} ms predicted", "muted", size=11)
        if pair.measured_s is None:
            drawing.text(left + 5, y + 43, "not told by the server", "muted", size=11)
            continue
        width = scale(pair.measured_s * 1e3) - left
        drawing.rect(left, y + 32, width, 12, pair.kind, tip="measured")
        drawing.text(left + width + 5, y + 42, f"{milliseconds(pair.measured_s)} ms measured", size=11)
    return bottom + 40


def _table(pairs: list[Pair]) -> Table:
    rows = []
    for pair in pairs:
        if pair.measured_s is None:
            rows.append((pair.label, milliseconds(pair.predicted_s), "not told", ""))
            continue
        error = f"{(pair.predicted_s - pair.measured_s) / pair.measured_s:+.1%}" if pair.measured_s > 0 else ""
        rows.append((pair.label, milliseconds(pair.predicted_s), milliseconds(pair.measured_s), error))
    return Table(("stage", "predicted ms", "measured ms", "error of the prediction"), tuple(rows))
