"""A split workload as the table that a person wants: each machine's load, and which one sets the rate."""

from io import StringIO
from typing import TYPE_CHECKING

from partition.report.table import format_bytes

if TYPE_CHECKING:
    from rich.console import Group

    from partition.workload_placement import WorkloadPlacement

_WIDTH = 100


def placement_text(placement: "WorkloadPlacement") -> str:
    """Return a placement's table as plain text."""
    from rich.console import Console

    buffer = StringIO()
    Console(file=buffer, width=_WIDTH, color_system=None, legacy_windows=False).print(placement_view(placement))
    return "\n".join(line.rstrip() for line in buffer.getvalue().splitlines())


def placement_view(placement: "WorkloadPlacement") -> "Group":
    """Build a placement's table."""
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    bottleneck = placement.bottleneck
    used = [share for share in placement.machines if share.nodes]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column("machine", no_wrap=True)
    for column in ("layers", "compute", "incoming", "outgoing", "load", "memory"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for share in placement.machines:
        amounts = (share.compute, share.incoming, share.outgoing, share.load)
        cells = [share.machine, str(len(share.nodes)), *(_amount(one) for one in amounts)]
        cells.append(format_bytes(round(share.memory_bytes)) if share.memory_bytes else "-")
        cells.append("bottleneck" if share is bottleneck else "" if share.nodes else "not used")
        table.add_row(*(Text(cell) for cell in cells), style="bold" if share is bottleneck else None)
    return Group(
        Text(f"{placement.workload}: {_headline(placement, len(used))}", style="bold"),
        Text(_certainty(placement)),
        table,
        Text(_footer(placement)),
    )


def _headline(placement: "WorkloadPlacement", n_used: int) -> str:
    n_layers = sum(len(share.nodes) for share in placement.machines)
    machines = f"{n_used} of {len(placement.machines)} machines"
    return f"{n_layers} layers on {machines}, largest load {placement.value:.10g}"


def _certainty(placement: "WorkloadPlacement") -> str:
    found = f"(method {placement.method})"
    if placement.n_down_sets:
        found += f", {placement.n_down_sets:,} down-sets"
    if placement.optimal:
        return f"contiguous split, proven optimal {found}"
    return f"contiguous split, not proven {found}: none has a largest load below {placement.bound:.10g}"


def _footer(placement: "WorkloadPlacement") -> str:
    order = "machines in the order of the pipeline, times in the file's unit"
    rate = "rate: 1 / largest load"
    if any(share.kind == "accelerator" for share in placement.machines):
        order += f"; accelerators hold {format_bytes(round(placement.accelerator_memory_bytes))}"
        rate += f"; one accelerator alone: {_alone(placement)}"
    return f"{order}\n{rate}"


def _alone(placement: "WorkloadPlacement") -> str:
    alone = placement.one_accelerator
    if alone is None:
        return "cannot hold or run everything"
    ratio = f" ({alone / placement.value:,.3g} times)" if placement.value else ""
    return f"{_amount(alone)}{ratio}"


def _amount(time: float) -> str:
    return f"{time:,.4g}" if time else "-"
