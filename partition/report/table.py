"""A plan as the tables that a person wants: the stages, and what else was possible."""

from io import StringIO
from typing import TYPE_CHECKING

from partition.plan import Estimate, Plan
from partition.units import format_duration

if TYPE_CHECKING:
    from rich.console import Console, Group
    from rich.table import Table

_WIDTH = 110


def plan_text(plan: Plan) -> str:
    """Return a plan's tables as plain text."""
    from rich.console import Console

    buffer = StringIO()
    console = Console(file=buffer, width=_WIDTH, color_system=None, legacy_windows=False)
    print_plan(plan, console)
    return "\n".join(line.rstrip() for line in buffer.getvalue().splitlines())


def print_plan(plan: Plan, console: "Console") -> None:
    """Print a plan on a rich console."""
    console.print(plan_view(plan))


def plan_view(plan: Plan) -> "Group":
    """Build a plan's tables."""
    from rich.console import Group
    from rich.padding import Padding
    from rich.text import Text

    lines = [
        Text(f"{plan.model.name}: {_headline(plan)}", style="bold"),
        Text(f"{plan.link}; device {plan.device.name}, server {plan.server.name}"),
        Text(_certainty(plan)),
        Text(""),
        _stage_table(plan),
        Text(""),
        _comparison_table(plan),
    ]
    if plan.assumptions:
        lines += [Text(""), Text("assumed:")]
        lines += [Padding(Text(f"- {one}"), (0, 0, 0, 2)) for one in plan.assumptions]
    return Group(*lines)


def format_bytes(size: int) -> str:
    """Write a size for a person, in powers of 1000."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= factor:
            return f"{size / factor:.3g} {unit}"
    return f"{size} B"


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:,.1f}" if seconds else "-"


def _headline(plan: Plan) -> str:
    n_up = sum(message.direction == "uplink" for message in plan.messages)
    total = format_duration(plan.latency_s)
    on_device = sum(stage.n_layers for stage in plan.stages if stage.machine == "device")
    if on_device == plan.model.n_layers:
        return f"everything on the device, {total}"
    if on_device == 0:
        return f"everything on the server, {total}"
    where = _names(plan.cut)
    visits = "" if n_up == 1 else f" in {n_up} visits to the server"
    return f"cut at {where}{visits}, {on_device} of {plan.model.n_layers} layers on the device, {total}"


def _certainty(plan: Plan) -> str:
    unit = "J" if plan.objective == "energy" else "s"
    least = f"least {plan.objective}"
    if plan.method == "given":
        if plan.optimal:
            return f"your own cut; it has the {least}, proven"
        optimum = next(one for one in plan.estimates if one.name == "the optimum")
        if optimum.objective_value > 0:
            factor = plan.value / optimum.objective_value
            return f"your own cut; {plan.objective} {factor:.2f} times that of the optimum, which is {_place(optimum)}"
        return f"your own cut; the optimum is {_place(optimum)}"
    if plan.optimal:
        return f"{least}, proven optimal (method {plan.method})"
    return f"{least} not proven (method {plan.method}): within {plan.gap:.2%} of the bound {plan.bound:.6g} {unit}"


def _place(estimate: Estimate) -> str:
    return f"at {_names(estimate.cut)}" if estimate.cut else "all on the device"


def _names(names: tuple[str, ...], limit: int = 3) -> str:
    shown = ", ".join(names[:limit])
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit} more"


def _stage_table(plan: Plan) -> "Table":
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("stage")
    table.add_column("what", overflow="fold")
    table.add_column("time ms", justify="right")
    table.add_column("bytes sent", justify="right")
    table.add_column("weights", justify="right")
    table.add_column("memory (estimate)", justify="right")
    for number, stage in enumerate(plan.stages):
        parts = [plan.parts[index] for index in stage.parts]
        what = f"{stage.n_layers} layers: {', '.join(part.file for part in parts)}" if parts else "no layer"
        table.add_row(
            f"{number} {stage.machine}",
            what,
            _ms(stage.compute_s),
            "",
            format_bytes(sum(part.weight_bytes for part in parts)) if parts else "",
            format_bytes(sum(part.memory_bytes for part in parts)) if parts else "",
        )
        if number < len(plan.messages):
            message = plan.messages[number]
            names = _names(message.tensors) if message.tensors else "only the request"
            table.add_row(
                f"  {message.direction}",
                names,
                _ms(message.transfer_s + message.delay_s),
                format_bytes(message.size_bytes),
            )
    table.add_row("total", "", _ms(plan.latency_s), "", "", "", style="bold")
    return table


def _comparison_table(plan: Plan) -> "Table":
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("compared, in ms")
    for column in ("device", "uplink", "server", "downlink", "total", "sent up", "sent down"):
        table.add_column(column, justify="right")
    energy = plan.objective == "energy"
    if energy:
        table.add_column("energy J", justify="right")
    for estimate in plan.estimates:
        cells = [
            estimate.name,
            _ms(estimate.device_s),
            _ms(estimate.uplink_s),
            _ms(estimate.server_s),
            _ms(estimate.downlink_s),
            _ms(estimate.latency_s),
            format_bytes(estimate.uplink_bytes) if estimate.uplink_bytes else "-",
            format_bytes(estimate.downlink_bytes) if estimate.downlink_bytes else "-",
        ]
        if energy:
            cells.append(f"{estimate.objective_value:.4g}")
        table.add_row(*cells, style="bold" if estimate.name == "this plan" else None)
    return table
