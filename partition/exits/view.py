"""A policy of exits for a person: what happens as a sentence, its exits and the trade-off curve as tables."""

from collections.abc import Sequence
from statistics import median
from typing import TYPE_CHECKING, Any

from partition.exits.policy import ExitPolicy, TradeOff
from partition.report.columns import Indented, view_text
from partition.units import format_duration

if TYPE_CHECKING:
    from rich.console import Group, RenderableType
    from rich.table import Table

    from partition.exits.session import ExitResult, ExitRun

_WIDTH = 100
_MOST_SHOWN = 20
TRADEOFF_HEADINGS = ("expected", "slowest", "accuracy", "exits of the device", "then", "sent")


def policy_text(policy: ExitPolicy) -> str:
    """Return the tables of a policy as plain text; where rich is not installed, its lines without tables."""
    try:
        import rich  # noqa: F401
    except ModuleNotFoundError:
        rows = [
            ", ".join(cell for cell in row if cell) for row in (*_exit_rows(policy), *tradeoff_rows(policy.tradeoff))
        ]
        return "\n".join([sentence(policy), *_lines(policy), *rows, str(policy.plan), *_notes(policy)])
    return view_text(policy_view(policy), _WIDTH)


def policy_view(policy: ExitPolicy) -> "Group":
    """Build the sentence and the tables of a policy, and those of the plan of its rest."""
    from rich.console import Group
    from rich.text import Text

    from partition.report.table import plan_view

    lines: list[RenderableType] = [Text(sentence(policy), style="bold"), *(Text(one) for one in _lines(policy))]
    lines.append(_table(("exit", "where", "answers at", "share", "after"), _exit_rows(policy)))
    lines.append(Text(_curve_line(policy)))
    lines.append(_table(TRADEOFF_HEADINGS, tradeoff_rows(policy.tradeoff)))
    lines.append(Text("The rest, after the exits of the device:" if policy.heads else "The whole of it:"))
    lines.append(Indented(plan_view(policy.plan)))
    lines += [Text(one) for one in _notes(policy)]
    return Group(*lines)


def sentence(policy: ExitPolicy) -> str:
    """Say what happens to an input."""
    stops = [
        f"answer by {head.exit} if its confidence is {_number(head.threshold)} or more ({percent(head.share)} of the "
        f"inputs, {format_duration(head.stop_latency_s)})"
        for head in policy.heads
    ]
    sent = policy.plan.cut
    how = f"send {_names(sent)}" if sent else "go on here" if policy.heads else "compute here"
    last = f"{how} and answer by {policy.final}"
    if policy.heads:
        last += f" ({percent(policy.rest_share)}, {format_duration(policy.slowest_latency_s)})"
    return f"{policy.name}: {'; else '.join([*stops, last])}."


def _lines(policy: ExitPolicy) -> list[str]:
    expected, slowest = format_duration(policy.expected_latency_s), format_duration(policy.slowest_latency_s)
    found = [f"latency  {expected} expected, {slowest} for the slowest way{_deadline(policy)}"]
    return [*found, f"accuracy {accuracy_text(policy)}"]


def accuracy_text(policy: ExitPolicy) -> str:
    """Say how accurate a policy is, how sure that is, and where it comes from."""
    asked = "" if policy.accuracy_bound is None else f" (asked for {percent(policy.accuracy_bound)})"
    source = {"measured": "measured", "floor": "at least, by what its codecs may change", "given": "as given"}
    error = "" if policy.accuracy_standard_error is None else f" ± {policy.accuracy_standard_error * 100:.2g}"
    data = "" if policy.data is None else f" on {policy.data}"
    return f"{percent(policy.accuracy)}{error}{asked}, {source[policy.accuracy_source]}{data}"


def _deadline(policy: ExitPolicy) -> str:
    if policy.deadline_s is None:
        return ""
    kept = f", {percent(policy.margin)} of it kept free" if policy.margin else ""
    return f" (deadline {format_duration(policy.deadline_s)}{kept})"


def _exit_rows(policy: ExitPolicy) -> list[tuple[str, ...]]:
    rows = [
        (
            head.exit,
            "device",
            f"{policy.confidence} >= {_number(head.threshold)}",
            percent(head.share),
            format_duration(head.stop_latency_s),
        )
        for head in policy.heads
    ]
    machines = list(dict.fromkeys(stage.machine for stage in policy.plan.stages if stage.parts))
    last = (
        "else" if policy.heads else "always",
        percent(policy.rest_share),
        format_duration(policy.slowest_latency_s),
    )
    return [*rows, (policy.final, " + ".join(machines), *last)]


def _curve_line(policy: ExitPolicy) -> str:
    inside = " within the deadline" if policy.deadline_s is not None else ""
    shown = _shown(policy.tradeoff)
    some = f", {len(shown)} of them" if len(shown) < len(policy.tradeoff) else ""
    count = len(policy.tradeoff)
    return f"trade-off: {count} undominated polic{'y' if count == 1 else 'ies'}{inside}{some}"


def tradeoff_rows(front: Sequence[TradeOff]) -> list[tuple[str, ...]]:
    """Return the rows of the trade-off curve under `TRADEOFF_HEADINGS`; of a long one, some."""
    rows: list[tuple[str, ...]] = []
    for one in _shown(front):
        pairs = zip(one.device_exits, one.thresholds, strict=True)
        floor = ">= " if one.accuracy_source == "floor" else ""
        rows.append(
            (
                format_duration(one.expected_latency_s),
                format_duration(one.slowest_latency_s),
                f"{floor}{percent(one.accuracy)}",
                ", ".join(f"{name} {_number(threshold)}" for name, threshold in pairs) or "none",
                one.final,
                _names(one.cut) if one.cut else "nothing",
            )
        )
    return rows


def _shown(front: Sequence[TradeOff]) -> list[TradeOff]:
    """Return the points of a curve, or some of many: evenly spread, both ends among them."""
    if len(front) <= _MOST_SHOWN:
        return list(front)
    last = len(front) - 1
    return [front[round(number * last / (_MOST_SHOWN - 1))] for number in range(_MOST_SHOWN)]


def _notes(policy: ExitPolicy) -> list[str]:
    return ["assumed of the exits:", *(f"  - {one}" for one in policy.assumptions)] if policy.assumptions else []


def run_json(
    policy: ExitPolicy, result: "ExitResult", seconds: Sequence[float], records: "Sequence[ExitRun]"
) -> dict[str, Any]:
    """Return runs of one input as plain JSON values."""
    from partition.runtime.files import dtype_and_shape

    shapes = {name: dtype_and_shape(value) for name, value in result.outputs.items()}
    return {
        "policy": policy.name,
        "exit": result.exit,
        "stopped": result.stopped,
        "confidences": list(result.confidences),
        "run_s": list(seconds),
        "median_run_s": median(seconds),
        "outputs": [{"name": name, "dtype": dtype, "shape": shape} for name, (dtype, shape) in shapes.items()],
        "requests": [one.to_json() for one in records],
    }


def run_view(
    policy: ExitPolicy,
    result: "ExitResult",
    seconds: Sequence[float],
    records: "Sequence[ExitRun]",
    *,
    random: bool,
) -> "Group":
    """Build what a person reads of runs of one input."""
    from rich.console import Group
    from rich.text import Text

    where = "on the device, nothing was sent" if result.stopped else "by the rest"
    rows = []
    for head, confidence in zip(policy.heads, result.confidences, strict=False):
        asked = f"{_number(confidence)}, asked for {_number(head.threshold)}"
        rows.append((head.exit, asked, str(list(result.outputs[head.exit].shape))))
    if not result.stopped:
        rows.append((policy.final, "", str(list(result.output.shape))))
    times = f"median of {len(seconds)} runs" if len(seconds) > 1 else "one run, the first"
    lines: list[RenderableType] = [
        Text(f"{policy.name}: {result.exit} answers, {where}", style="bold"),
        _table(("exit", policy.confidence, "shape"), rows),
        Text(f"{format_duration(median(seconds))} ({times}){' on seeded random inputs' if random else ''}"),
    ]
    asked_server = [one.rest for one in records if one.rest is not None]
    if asked_server:
        lines.append(Text(str(asked_server[-1])))
        faults = sum(one.fault is not None for one in asked_server)
        if faults:
            remark = f"{faults} of {len(asked_server)} requests were finished here after a fault"
            lines.append(Text(remark, style="bold red"))
    return Group(*lines)


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> "Table":
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    return table


def _names(names: Sequence[str]) -> str:
    shown = ", ".join(names[:3])
    return f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown


def _number(value: float) -> str:
    return f"{value:.4g}"


def percent(share: float) -> str:
    """Write a share as per cent."""
    return f"{share * 100:.4g} %"
