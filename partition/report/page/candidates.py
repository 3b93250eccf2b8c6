"""The figure ``candidates``: time on the device, the link and the server for each place to cut."""

from partition.report.page.axes import Scale, bottom_axis, legend, milliseconds
from partition.report.page.evidence import Candidate, Study
from partition.report.page.figure import Figure, Table
from partition.report.page.svg import Drawing, fitted, shortened, text_width
from partition.report.table import format_bytes
from partition.units import format_duration

KIND, TITLE = "candidates", "What each candidate cut costs"
_LEGS = (("device", "device"), ("uplink", "uplink"), ("server", "server"), ("downlink", "downlink"))
# Narrower than this, a name stands above its bar.
_BESIDE = 560


def candidates_figure(study: Study) -> Figure:
    """Draw one stacked bar for each candidate."""
    evidence = study.candidates()
    rows = evidence.candidates
    own = next(one for one in rows if one.chosen)
    best = min(rows, key=lambda one: one.latency_s)
    worst = max(rows, key=lambda one: one.latency_s)
    said = (
        f"{len(rows)} placements, from {format_duration(best.latency_s)} to {format_duration(worst.latency_s)}. "
        f"This plan, {name_of(own)}, takes {format_duration(own.latency_s)}: device {format_duration(own.device_s)}, "
        f"uplink {format_duration(own.uplink_s)}, server {format_duration(own.server_s)}, "
        f"downlink {format_duration(own.downlink_s)}."
    )
    return Figure(KIND, TITLE, said, lambda drawing: _paint(drawing, rows), (_table(study, rows),), evidence.notes)


def name_of(candidate: Candidate) -> str:
    """Say in few words where a candidate cuts."""
    if candidate.role == "device":
        return "all on the device"
    if candidate.role == "server":
        return "all on the server"
    prefix = "the optimum: " if candidate.role == "optimum" else ""
    if not candidate.cut:
        return f"{prefix}only the request goes up"
    more = f" and {len(candidate.cut) - 2} more" if len(candidate.cut) > 2 else ""
    return f"{prefix}{', '.join(candidate.cut[:2])}{more}"


def _paint(drawing: Drawing, rows: tuple[Candidate, ...]) -> float:
    beside = drawing.width >= _BESIDE
    left = 220.0 if beside else 4.0
    widest = max(text_width(f"{milliseconds(one.latency_s)} ms", 11, bold=one.chosen) for one in rows)
    right = drawing.width - widest - 10
    row, bar = (26.0, 16.0) if beside else (38.0, 14.0)
    top = legend(drawing, 4, [(kind, label) for kind, label in _LEGS]) + 8
    bottom = top + row * len(rows)
    scale = Scale(0.0, max(one.latency_s for one in rows) * 1e3 or 1.0, left, right)
    bottom_axis(drawing, scale, top - 4, bottom, "milliseconds", lambda value: f"{value:,g}")
    for number, one in enumerate(rows):
        y = top + number * row
        if one.chosen:
            drawing.rect(1, y - 3, drawing.width - 2, row - 1, "frame", radius=4)
        kind = "bold" if one.chosen else "ink"
        label = ("▸ " if one.chosen else "") + name_of(one)
        tip = f"{name_of(one)}: {one.n_device_layers} layers on the device" if one.n_device_layers is not None else ""
        if beside:
            drawing.text(left - 8, y + 13, fitted(label, left - 12, 12, bold=one.chosen), kind, anchor="end", tip=tip)
            bar_y = y + 1
        else:
            drawing.text(left + 2, y + 11, fitted(label, drawing.width - 12, 12, bold=one.chosen), kind, tip=tip)
            bar_y = y + 16
        x = scale.start
        for leg, seconds in one.legs.items():
            width = scale(seconds * 1e3) - scale.start
            if seconds > 0:
                size = {"uplink": one.uplink_bytes, "downlink": one.downlink_bytes}.get(leg)
                sent = "" if size is None else f", {format_bytes(size)}"
                drawing.rect(x, bar_y, max(width, 0.6), bar, leg, tip=f"{leg} {format_duration(seconds)}{sent}")
            x += width
        drawing.text(x + 5, bar_y + bar - 3, f"{milliseconds(one.latency_s)} ms", kind, size=11)
    return bottom + 40


def _table(study: Study, rows: tuple[Candidate, ...]) -> Table:
    n_layers = study.plan.model.n_layers
    headings = ("cut", "layers on device", "device ms", "uplink ms", "server ms", "downlink ms", "total ms", "sent up")
    cells = []
    for one in rows:
        layers = "not told" if one.n_device_layers is None else f"{one.n_device_layers} of {n_layers}"
        times = (milliseconds(seconds) for seconds in (*one.legs.values(), one.latency_s))
        cut = shortened(", ".join(one.cut), 200)
        name = name_of(one) if one.role in ("device", "server") or len(one.cut) < 2 else cut
        sent = format_bytes(one.uplink_bytes) if one.uplink_bytes else "nothing"
        cells.append((f"{name} (this plan)" if one.chosen else name, layers, *times, sent))
    return Table(headings, tuple(cells))
