"""The figure ``bandwidth``: the least latency at every bandwidth, and where another cut takes over."""

from dataclasses import dataclass

import numpy as np

import solvers
from partition.problem import IntArray, schedule
from partition.report.page.axes import Scale, bottom_axis, left_axis, legend, milliseconds
from partition.report.page.evidence import Candidate, MissingEvidence, Study
from partition.report.page.figure import Figure, Table
from partition.report.page.svg import Drawing, shortened
from partition.units import format_bandwidth, format_duration

KIND, TITLE = "bandwidth", "Latency against bandwidth"
_POINTS = 160
# Values that span more than this are drawn on a logarithmic scale.
_WIDE_SPAN = 8.0
_HEADROOM = 3.0
_MOST_ROWS = 60
_MOST_DOTS = 40


@dataclass(frozen=True, slots=True)
class Line:
    """A placement's latency: seconds + seconds per byte of the uplink times bytes."""

    label: str
    kind: str
    seconds: float
    slope_bytes: float

    def at(self, bits_per_s: float) -> float:
        """Return the latency at an uplink, in seconds."""
        return self.seconds + self.slope_bytes * 8.0 / bits_per_s


def bandwidth_figure(study: Study) -> Figure:
    """Draw the optimum and the simple placements over the uplink's bandwidth."""
    plan, link = study.plan, study.plan.link
    low, high = study.bandwidths
    lines = _lines(study)
    found: solvers.Breakpoints | None = None
    notes = [
        "The downlink keeps its ratio to the uplink; round trip and computing stay as they are. Lines may leave the "
        "picture at the top."
    ]
    try:
        found = study.sweep
    except MissingEvidence as reason:
        notes.append(f"The best cut at other bandwidths is not shown: {reason}.")
    if plan.objective == "energy":
        notes.append("This plan is the one of least energy, so another may be faster at its own bandwidth.")
    changes = [] if found is None else [8.0 / theta for theta in found.thetas.tolist()][::-1]
    here = format_bandwidth(link.uplink_bits_per_s)
    said = f"At {here} this plan takes {format_duration(plan.latency_s)}. "
    if found is not None:
        shown = ", ".join(format_bandwidth(one) for one in changes[:12])
        more = f" and {len(changes) - 12} more" if len(changes) > 12 else ""
        where = f"the best cut changes at {shown}{more}" if changes else "one cut is the best one everywhere"
        said += f"Between {format_bandwidth(low)} and {format_bandwidth(high)} {where}."
        if found.proven:
            said += " Between these every placement shown is proven to be the best one."
    tables = () if found is None else (_table(study, found),)
    if found is not None and len(found.segments) > _MOST_ROWS:
        notes.append(f"The table shows {_MOST_ROWS} of {len(found.segments)} ranges: those around this plan's link.")
    if len(changes) > _MOST_DOTS:
        notes.append("There are too many changes for a dot on each.")
    return Figure(KIND, TITLE, said, lambda drawing: _paint(drawing, study, lines, found), tables, tuple(notes))


def _lines(study: Study) -> list[Line]:
    named = {"device": "all on the device", "server": "all on the server"}
    if study.plan.basis is not None:
        lines = []
        for role, placement in study.simple_placements.items():
            lines.append(Line(named[role], f"line-{role}", *study.family.value_line(placement)))
        lines.append(Line("this plan", "line-mark", *_own_line(study)))
        return lines
    candidates = study.candidates().candidates
    lines = [_saved_line(study, one, named[one.role], f"line-{one.role}") for one in candidates if one.role in named]
    own = next(one for one in candidates if one.chosen)
    return [*lines, _saved_line(study, own, "this plan", "line-mark")]


def _own_line(study: Study) -> tuple[float, float]:
    # What the borders between the parts of a plan that adapts cost is not in the problem, but in the plan.
    seconds, slope = study.family.value_line(study.own_placement)
    plain_s = schedule(study.basis.bridge, study.own_placement).latency_s
    return seconds + study.plan.latency_s - plain_s, slope


def _saved_line(study: Study, one: Candidate, label: str, kind: str) -> Line:
    link = study.plan.link
    ratio = link.uplink_bits_per_s / link.downlink_bits_per_s
    size = one.uplink_bytes + ratio * one.downlink_bytes
    return Line(label, kind, one.latency_s - size * link.upload_s_per_byte, size)


def _paint(drawing: Drawing, study: Study, lines: list[Line], found: "solvers.Breakpoints | None") -> float:
    low, high = study.bandwidths
    entries = (
        []
        if found is None
        else [("line-ink", "best cut"), *([("dot", "cut changes")] if len(found.segments) > 1 else [])]
    )
    entries += [(line.kind, line.label) for line in lines]
    top = legend(drawing, 4, [*entries, ("mark", "this plan's link")], lines=True) + 26
    left, right, bottom = 58.0, drawing.width - 14, top + (300 if drawing.width > 500 else 240)
    bits = np.geomspace(low, high, _POINTS)
    values = [[line.at(one) * 1e3 for one in bits.tolist()] for line in lines]
    best = None if found is None else (found.values_at(np.clip(8.0 / bits, found.low, found.high)) * 1e3).tolist()
    every = [value for row in (*values, *([best] if best else [])) for value in row]
    # What nobody would choose there may leave at the top: else it would press what matters together.
    matters = [*(best or every), *(max(row) for line, row in zip(lines, values, strict=True) if not line.slope_bytes)]
    least, most = min(every), min(max(every), _HEADROOM * max(*matters, study.plan.latency_s * 1e3))
    wide = least > 0 and most > _WIDE_SPAN * least
    x = Scale(low, high, left, right, logarithmic=True)
    y = Scale(least / 1.15, most * 1.1, bottom, top, True) if wide else Scale(0.0, most * 1.08 or 1.0, bottom, top)
    left_axis(drawing, y, left, right, "latency, ms", lambda value: f"{value:,g}")
    bottom_axis(drawing, x, top, bottom, "bandwidth of the uplink (logarithmic)", format_bandwidth)
    if best is not None:
        drawing.path([(x(one), y(value)) for one, value in zip(bits.tolist(), best, strict=True)], "line-ink")
    for line, row in zip(lines, values, strict=True):
        shown = [(x(one), y(value)) for one, value in zip(bits.tolist(), row, strict=True) if value <= y.high]
        if shown:
            drawing.path(shown, line.kind)
    here = study.plan.link.uplink_bits_per_s
    if found is not None and len(found.segments) - 1 <= _MOST_DOTS:
        for theta in found.thetas.tolist():
            value = float(found.values_at(theta))
            tip = f"below and above {format_bandwidth(8.0 / theta)} different cuts are best; {format_duration(value)}"
            drawing.circle(x(8.0 / theta), y(value * 1e3), 4.5, "dot", tip=tip)
    drawing.path([(x(here), top), (x(here), bottom)], "line-here")
    own = f"this plan at {format_bandwidth(here)}: {format_duration(study.plan.latency_s)}"
    drawing.circle(x(here), y(study.plan.latency_s * 1e3), 6, "mark", tip=own)
    return bottom + 42


def _table(study: Study, found: "solvers.Breakpoints") -> Table:
    rows = []
    segments = list(found.segments)[::-1]
    if len(segments) > _MOST_ROWS:
        own = len(segments) - 1 - int(found.segments_at(study.plan.link.upload_s_per_byte))
        first = max(0, min(own - _MOST_ROWS // 2, len(segments) - _MOST_ROWS))
        segments = segments[first : first + _MOST_ROWS]
    from partition.report.page.candidates import name_of

    for segment in segments:
        one = study.priced(segment.solution.placement, _role(study, segment.solution.placement))
        cut = name_of(one) if one.role in ("device", "server") else shortened(", ".join(one.cut), 200)
        ends = [8.0 / segment.theta_high, 8.0 / segment.theta_low]
        latencies = [milliseconds(segment.value(8.0 / end)) for end in ends]
        layers = f"{one.n_device_layers} of {study.plan.model.n_layers}"
        rows.append((" to ".join(map(format_bandwidth, ends)), cut, layers, " to ".join(latencies)))
    return Table(("uplink", "best cut", "layers on device", "latency ms"), tuple(rows))


def _role(study: Study, placement: IntArray) -> str:
    for role, simple in study.simple_placements.items():
        if np.array_equal(simple, placement):
            return role
    return "cut"
