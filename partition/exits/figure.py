"""The figure ``trade-off``: all policies of exits that no other beats in both expected latency and accuracy."""

from partition.exits.policy import ExitPolicy
from partition.exits.view import TRADEOFF_HEADINGS, tradeoff_rows
from partition.report.page.axes import bottom_axis, left_axis, legend, spread
from partition.report.page.figure import Figure, Table
from partition.report.page.svg import Drawing, fitted
from partition.units import format_duration

KIND, TITLE = "trade-off", "Accuracy against expected latency"


def tradeoff_figure(policy: ExitPolicy) -> Figure:
    """Draw the trade-off curve and this policy's place."""
    front = policy.tradeoff
    fast, right = front[0], front[-1]
    if len(front) == 1:
        said = f"One policy is best in both: {format_duration(fast.expected_latency_s)}, {fast.accuracy:.2%} right. "
    else:
        said = (
            f"{len(front)} policies are beaten by no other in both: from {format_duration(fast.expected_latency_s)} "
            f"and {fast.accuracy:.2%} right answers to {format_duration(right.expected_latency_s)} and "
            f"{right.accuracy:.2%}. "
        )
    said += f"This one is expected to take {format_duration(policy.expected_latency_s)}, with {policy.accuracy:.2%}."
    notes = ["The expected latency weighs that of each exit by the share of the inputs that it answers."]
    if policy.deadline_s is not None:
        notes.append(f"Only policies whose slowest way stays within {format_duration(policy.deadline_s)} are shown.")
    if policy.accuracy_standard_error is not None:
        error = policy.accuracy_standard_error
        notes.append(
            f"Measured on {policy.n_inputs:,} inputs: the accuracy of this policy is ± {error:.2%} (one sigma)."
        )
    if any(one.accuracy_source == "floor" for one in front):
        notes.append("Where codecs lose, the accuracy is the least that they can leave.")
    table = Table(TRADEOFF_HEADINGS, tuple(tradeoff_rows(front)))
    return Figure(KIND, TITLE, said, lambda drawing: _paint(drawing, policy), (table,), tuple(notes))


def _paint(drawing: Drawing, policy: ExitPolicy) -> float:
    front = policy.tradeoff
    own_place = (policy.expected_latency_s, policy.accuracy)
    if len(front) == 1 and (front[0].expected_latency_s, front[0].accuracy) == own_place:
        return _say(drawing, policy)
    top = legend(drawing, 4, [("dot", "beaten by none"), ("mark", "this policy")]) + 26
    left, right, bottom = 58.0, drawing.width - 16, top + (280 if drawing.width > 500 else 230)
    x = spread([1e3 * policy.expected_latency_s, *(1e3 * one.expected_latency_s for one in front)], left, right)
    y = spread([100 * policy.accuracy, *(100 * one.accuracy for one in front)], bottom, top, linear=True)
    left_axis(drawing, y, left, right, "right answers, %", lambda value: f"{value:,.4g}")
    how = " (logarithmic)" if x.logarithmic else ""
    bottom_axis(drawing, x, top, bottom, "expected latency, ms" + how, lambda value: f"{value:,g}")
    steps: list[tuple[float, float]] = []
    for one in front:
        place = (x(1e3 * one.expected_latency_s), y(100 * one.accuracy))
        if steps:
            steps.append((place[0], steps[-1][1]))
        steps.append(place)
    drawing.path(steps, "line-muted")
    for one in front:
        exits = ", ".join((*one.device_exits, one.final))
        tip = f"{exits}: {format_duration(one.expected_latency_s)}, {one.accuracy:.2%}"
        drawing.circle(x(1e3 * one.expected_latency_s), y(100 * one.accuracy), 4, "dot", tip=tip)
    own = f"this policy: {format_duration(policy.expected_latency_s)}, {policy.accuracy:.2%}"
    drawing.circle(x(1e3 * policy.expected_latency_s), y(100 * policy.accuracy), 6.5, "mark", tip=own)
    return bottom + 42


def _say(drawing: Drawing, policy: ExitPolicy) -> float:
    """Write what a single point would show: axes around it would have nothing to compare."""
    drawing.rect(0, 4, drawing.width, 60, "soft", radius=6)
    drawing.circle(22, 34, 6.5, "mark")
    found = f"{format_duration(policy.expected_latency_s)} expected, {policy.accuracy:.2%} right"
    drawing.text(42, 30, found, "bold", size=14)
    drawing.text(42, 50, fitted("this policy: none is faster or more accurate", drawing.width - 50, 12), size=12)
    return 68
