"""A plan as the tables that a person wants: the stages, and what else was possible."""

from typing import TYPE_CHECKING

from partition.plan import Plan
from partition.plan_records import Estimate, PlanChoice, PlanLoss, PlanMessage
from partition.report.columns import Indented, view_text
from partition.units import format_duration

if TYPE_CHECKING:
    from rich.console import Group, RenderableType
    from rich.table import Table

_WIDTH = 100
_UNCERTAINTY_NOTE = (
    "± one standard deviation of the error in computing: two thirds of such predictions come true within it"
)


def plan_text(plan: Plan) -> str:
    """Return a plan's tables as plain text; where rich is not installed, its lines without tables."""
    try:
        import rich  # noqa: F401
    except ModuleNotFoundError:
        return "\n".join(_plain_lines(plan))

    return view_text(plan_view(plan), _WIDTH)


def _plain_lines(plan: Plan) -> list[str]:
    lines = [
        f"{plan.model.name}: {_headline(plan)}",
        _certainty(plan),
        f"link   {plan.link}",
        f"device {plan.device.name} ({plan.device.kind}), server {plan.server.name} ({plan.server.kind})",
    ]
    for number, stage in enumerate(plan.stages):
        files = ", ".join(plan.parts[index].file for index in stage.parts) or "nothing"
        lines.append(f"{number} {stage.machine}: {files}, {stage.n_layers} layers, {_ms(stage.compute_s)} ms")
        if number < len(plan.messages):
            message = plan.messages[number]
            names = _names(message.tensors) if message.tensors else "only the request"
            time = _ms(message.transfer_s + message.delay_s)
            lines.append(f"  {message.direction}: {names}, {format_bytes(message.size_bytes)}, {time} ms")
            lines += [f"    {line}" for line in _codec_lines(message)]
    return lines


def plan_view(plan: Plan) -> "Group":
    """Build a plan's tables."""
    from rich.console import Group
    from rich.text import Text

    lines: list[RenderableType] = [
        Text(f"{plan.model.name}: {_headline(plan)}", style="bold"),
        Text(_certainty(plan)),
        Text(f"link   {plan.link}"),
        Text(f"device {plan.device.name} ({plan.device.kind}), server {plan.server.name} ({plan.server.kind})"),
        _stage_table(plan),
        Text(_memory_note(plan)),
        *([Text(_UNCERTAINTY_NOTE)] if plan.estimates[0].deviation_s else []),
        _comparison_table(plan),
    ]
    if plan.loss is not None and any(message.coded for message in plan.messages):
        lines.append(Text(_loss_note(plan.loss)))
    if plan.adapts_to is not None:
        lines += [Text(_adapting_note(plan)), _choice_table(plan)]
    if plan.assumptions:
        lines.append(Text("assumed:"))
        lines += [Indented(Text(f"- {one}")) for one in plan.assumptions]
    return Group(*lines)


def _codec_lines(message: PlanMessage) -> list[str]:
    """Say by which codecs the tensors of a message cross."""
    if not message.coded or message.raw_bytes is None:
        return []
    ratio = message.raw_bytes / max(message.size_bytes, 1)
    whole = f"{ratio:.2f} times fewer bytes than {format_bytes(message.raw_bytes)}"
    shown = [f"{name} as {codec}" for name, codec in list(message.coded.items())[:3]]
    more = len(message.coded) - len(shown)
    return [f"{', '.join(shown)}{f' and {more} more' if more else ''}: {whole}"]


def _loss_note(loss: PlanLoss) -> str:
    how = "measured" if loss.measured else "assumed: the sum of single codecs, measured"
    return (
        f"loss   {loss.loss:.3g} by {loss.metric} (allowed {loss.max_loss:g}), outputs off by {loss.output_error:.2g} "
        f"of their largest value: {how} on {loss.data}"
    )


def _adapting_note(plan: Plan) -> str:
    parts = "one part" if len(plan.parts) == 1 else f"the same {len(plan.parts)} parts"
    placements = "one placement" if len(plan.choices) == 1 else f"{len(plan.choices)} placements"
    return f"adapts to {plan.adapts_to}: {placements} of {parts}, all of which the device holds"


def _choice_table(plan: Plan) -> "Table":
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("placement: what goes up", overflow="fold")
    for column in ("device ms", "server ms", "up", "down", "here ms"):
        table.add_column(column, justify="right")
    for choice in sorted(plan.choices, key=lambda one: _on(one, "device")):
        own = choice.stages == plan.stages
        sizes = [
            sum(one.size_bytes for one in choice.messages if one.direction == direction)
            for direction in ("uplink", "downlink")
        ]
        table.add_row(
            Text(_names(choice.cut) if choice.messages else "nothing"),
            _ms(_on(choice, "device")),
            _ms(_on(choice, "server")),
            *(format_bytes(size) if choice.messages else "-" for size in sizes),
            _ms(choice.latency_s),
            style="bold" if own else "",
        )
    return table


def _on(choice: PlanChoice, machine: str) -> float:
    return sum(stage.compute_s for stage in choice.stages if stage.machine == machine)


def format_bytes(size: int) -> str:
    """Write a size for a person, in powers of 1000."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= factor:
            return f"{size / factor:.3g} {unit}"
    return f"{size} B"


def _ms(seconds: float) -> str:
    if not seconds:
        return "-"
    milliseconds = seconds * 1e3
    digits = 1 if milliseconds >= 10 else 2 if milliseconds >= 1 else 3
    return f"{milliseconds:,.{digits}f}"


def _headline(plan: Plan) -> str:
    n_up = sum(message.direction == "uplink" for message in plan.messages)
    total = f"{format_duration(plan.latency_s)}{_uncertainty(plan)}{_gain(plan)}"
    on_device = sum(stage.n_layers for stage in plan.stages if stage.machine == "device")
    if on_device == plan.model.n_layers:
        return f"everything on the device, {total}"
    if on_device == 0:
        return f"everything on the server, {total}"
    where = _names(plan.cut)
    visits = "" if n_up == 1 else f" in {n_up} visits to the server"
    return f"cut at {where}{visits}, {on_device} of {plan.model.n_layers} layers on the device, {total}"


def _uncertainty(plan: Plan) -> str:
    """Say within what the prediction is expected to come true, where that is known."""
    deviation = plan.estimates[0].deviation_s
    return "" if not deviation else f" ± {format_duration(deviation)}"


def _memory_note(plan: Plan) -> str:
    alone = {one.name: one for one in plan.estimates}
    device = format_bytes(alone["all on the device"].device_memory_bytes)
    note = f"* estimate: weights and live activations; everything on the device takes {device}"
    if plan.keep_inputs:
        return note
    return f"{note}, on the server {format_bytes(alone['all on the server'].server_memory_bytes)}"


def _gain(plan: Plan) -> str:
    """Compare with the simple choices, where the plan is better than both."""
    simple = [one for one in plan.estimates if one.name.startswith("all on")]
    best = min(one.latency_s for one in simple)
    if plan.objective != "latency" or plan.chosen_by == "user" or best < 1.005 * plan.latency_s:
        return ""
    others = "all-device" if plan.keep_inputs else "the better of all-device and all-server"
    return f", {best / plan.latency_s:.2f} times faster than {others}"


def _certainty(plan: Plan) -> str:
    unit = "J" if plan.objective == "energy" else "s"
    least = f"least {plan.objective}" + (" with the inputs kept on the device" if plan.keep_inputs else "")
    if plan.chosen_by == "user":
        if plan.optimal:
            return f"your own cut; it has the {least}, proven"
        optimum = next((one for one in plan.estimates if one.name == "the optimum"), None)
        if optimum is None:
            return "your own cut"
        return f"your own cut; {plan.objective} {_above(plan, optimum)} the optimum, which is {_place(plan, optimum)}"
    if plan.optimal:
        return f"{least}, proven optimal (method {plan.method})"
    bound = f"within {plan.relative_gap:.2%} of the bound {plan.bound:.6g} {unit}"
    return f"{least} not proven (method {plan.method}): {bound}"


def _above(plan: Plan, optimum: Estimate) -> str:
    if optimum.objective_value <= 0:
        return "above"
    ratio = plan.value / optimum.objective_value
    return f"{ratio:.2f} times" if ratio >= 1.1 else f"{ratio - 1:.3%} above"


def _place(plan: Plan, estimate: Estimate) -> str:
    """Say where a placement cuts, recognising the two simple ones by their legs."""
    for simple in plan.estimates:
        if simple.name.startswith("all on") and (simple.cut, simple.device_s) == (estimate.cut, estimate.device_s):
            return simple.name
    return f"at {_names(estimate.cut)}"


def _names(names: tuple[str, ...], limit: int = 3) -> str:
    shown = ", ".join(names[:limit])
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit} more"


def _add_row(table: "Table", *cells: str, style: str | None = None) -> None:
    """Add cells as they are: a name may hold brackets, which rich would take for markup."""
    from rich.text import Text

    table.add_row(*(Text(cell) for cell in cells), style=style)


def _stage_table(plan: Plan) -> "Table":
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column("stage", no_wrap=True)
    table.add_column("runs or sends", overflow="fold")
    for column in ("layers", "ms", "sent", "weights", "memory*"):
        table.add_column(column, justify="right", no_wrap=True)
    for number, stage in enumerate(plan.stages):
        parts = [plan.parts[index] for index in stage.parts]
        weights, memory = (sum(getattr(part, size) for part in parts) for size in ("weight_bytes", "memory_bytes"))
        _add_row(
            table,
            f"{number} {stage.machine}",
            ", ".join(part.file for part in parts) or "nothing",
            str(stage.n_layers),
            _ms(stage.compute_s),
            "",
            format_bytes(weights) if parts else "",
            format_bytes(memory) if parts else "",
        )
        if number < len(plan.messages):
            message = plan.messages[number]
            names = _names(message.tensors) if message.tensors else "only the request"
            time = _ms(message.transfer_s + message.delay_s)
            _add_row(table, f"  {message.direction}", names, "", time, format_bytes(message.size_bytes))
            for line in _codec_lines(message):
                _add_row(table, "", line)
    _add_row(table, "total", "", str(plan.model.n_layers), _ms(plan.latency_s), style="bold")
    return table


def _comparison_table(plan: Plan) -> "Table":
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column("compared, in ms", no_wrap=True)
    for column in ("device", "uplink", "server", "downlink", "total", "up", "down"):
        table.add_column(column, justify="right", no_wrap=True)
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
        _add_row(table, *cells, style="bold" if estimate.name == "this plan" else None)
    return table
