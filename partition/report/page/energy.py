"""The figure ``energy``: all placements that no other beats in both latency and the device's energy."""

import numpy as np

import solvers
from partition.report.page.axes import Scale, bottom_axis, left_axis, legend, milliseconds, spread
from partition.report.page.candidates import name_of
from partition.report.page.evidence import MissingEvidence, Study
from partition.report.page.figure import Figure, Table
from partition.report.page.svg import Drawing, shortened
from partition.units import format_duration

KIND, TITLE = "energy", "Energy of the device against latency"
# Where the exact front has too many points to be found: what is found then, and how much work is put into it.
_EPSILON, _LABEL_LIMIT = 0.01, 200_000
_MOST_ROWS = 60

Point = tuple[str, float, float]


def energy_figure(study: Study) -> Figure:
    """Draw the Pareto front and this plan's place.

    Raises
    ------
    MissingEvidence
        The power of the device is not known; the front is too large.
    """
    joules, seconds = study.basis.joules, study.basis.seconds
    if joules is None:
        raise MissingEvidence(
            f"the file of the device '{study.plan.device.name}' has no power figures; fill in 'power' "
            "(compute_watts, idle_watts, send_watts, receive_watts) in a machine file and plan with that"
        )
    try:
        front = solvers.pareto_front(seconds, joules, epsilon=_EPSILON, label_limit=_LABEL_LIMIT)
    except solvers.SolverError as refusal:
        raise MissingEvidence(f"the front was not found: {refusal}") from refusal
    own_joules = solvers.evaluate(joules, study.own_placement)
    own = ("this plan", study.plan.latency_s, own_joules)
    named = {"device": "all on the device", "server": "all on the server"}
    simple: list[Point] = [
        (named[role], solvers.evaluate(seconds, one), solvers.evaluate(joules, one))
        for role, one in study.simple_placements.items()
    ]
    points = front.points
    notes = [
        "Energy is the device's: computing, idling while it waits, sending, receiving.",
        "Every undominated placement is shown."
        if front.exact
        else f"For every placement a point is shown that is at most {front.epsilon:.2%} worse in both.",
    ]
    if len(points) > _MOST_ROWS:
        notes.append(f"The table shows {_MOST_ROWS} of {len(points)} points, evenly taken.")
    fast, thrifty = points[0], points[-1]
    if len(points) == 1:
        said = f"One placement is best in both: {format_duration(fast.first)} and {_energy(fast.second)}. "
    else:
        said = (
            f"{len(points)} placements are beaten by no other in both: from {format_duration(fast.first)} and "
            f"{_energy(fast.second)} to {format_duration(thrifty.first)} and {_energy(thrifty.second)}. "
        )
    said += f"This plan takes {format_duration(own[1])} and {_energy(own_joules)}."
    pairs = [(point.first, point.second) for point in points]
    return Figure(
        KIND,
        TITLE,
        said,
        lambda drawing: _paint(drawing, pairs, own, simple),
        (_table(study, front, own),),
        tuple(notes),
    )


def _paint(drawing: Drawing, front: list[tuple[float, float]], own: Point, simple: list[Point]) -> float:
    entries = [("dot", "beaten by none"), ("mark", "this plan"), *((_kind(name), name) for name, _, _ in simple)]
    top = legend(drawing, 4, entries) + 26
    left, right, bottom = 58.0, drawing.width - 16, top + (280 if drawing.width > 500 else 230)
    every = [*front, *(one[1:] for one in (own, *simple))]
    x = spread([one[0] * 1e3 for one in every], left, right)
    y = spread([one[1] for one in every], bottom, top)
    left_axis(drawing, y, left, right, "energy, J", lambda value: f"{value:,.3g}")
    bottom_axis(drawing, x, top, bottom, "latency, ms" + _how(x), lambda value: f"{value:,g}")
    steps: list[tuple[float, float]] = []
    for first, second in front:
        if steps:
            steps.append((x(first * 1e3), steps[-1][1]))
        steps.append((x(first * 1e3), y(second)))
    drawing.path(steps, "line-muted")
    for name, latency, energy in simple:
        place = (x(latency * 1e3) - 6, y(energy) - 6)
        drawing.rect(*place, 12, 12, _kind(name), radius=2, tip=_tip(name, latency, energy))
    for latency, energy in front:
        drawing.circle(x(latency * 1e3), y(energy), 4, "dot", tip=_tip("", latency, energy))
    drawing.circle(x(own[1] * 1e3), y(own[2]), 6.5, "mark", tip=_tip(*own))
    return bottom + 42


def _how(scale: Scale) -> str:
    return " (logarithmic)" if scale.logarithmic else ""


def _kind(name: str) -> str:
    return "device" if name.endswith("device") else "server"


def _tip(name: str, latency: float, energy: float) -> str:
    return f"{f'{name}: ' if name else ''}{format_duration(latency)}, {_energy(energy)}"


def _energy(joules: float) -> str:
    return f"{joules:.4g} J" if joules >= 1 else f"{joules * 1e3:.4g} mJ"


def _table(study: Study, front: "solvers.Front", own: Point) -> Table:
    points = front.points
    if len(points) > _MOST_ROWS:
        points = tuple(points[index] for index in np.linspace(0, len(points) - 1, _MOST_ROWS).round().astype(int))
    rows = []
    for point in points:
        one = study.priced(point.placement)
        cut = shortened(", ".join(one.cut), 200) or name_of(one)
        if one.n_device_layers == study.plan.model.n_layers:
            cut = "all on the device"
        is_own = np.array_equal(point.placement, study.own_placement)
        rows.append((f"{cut} (this plan)" if is_own else cut, milliseconds(point.first), f"{point.second:.4g}"))
    if not any(row[0].endswith("(this plan)") for row in rows):
        rows.append(("this plan", milliseconds(own[1]), f"{own[2]:.4g}"))
    return Table(("cut", "latency ms", "energy J"), tuple(rows))
