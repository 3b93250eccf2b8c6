"""What a person and a program read of a run and of a measurement."""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

from partition.latency.timings import Timings
from partition.plan import Runnable
from partition.remote.records import RunRecord, records_to_json
from partition.report.explanation import RunExplanation
from partition.runtime.files import dtype_and_shape
from partition.runtime.session import Array
from partition.runtime.verify import Verification
from partition.units import format_duration

if TYPE_CHECKING:
    from rich.console import Group, RenderableType

_SLOWEST_SHOWN = 15


def execution_json(
    plan: Runnable,
    outputs: Mapping[str, Array],
    seconds: Sequence[float],
    verification: Verification | None,
    records: Sequence[RunRecord] = (),
    explained: Sequence[RunExplanation] = (),
) -> dict[str, Any]:
    """Return a run as plain JSON values."""
    content: dict[str, Any] = {
        "model": plan.model.name,
        "parts": [part.file for part in plan.parts],
        "run_s": list(seconds),
        "median_run_s": median(seconds),
        "outputs": [
            {"name": name, "dtype": dtype, "shape": shape}
            for name, (dtype, shape) in ((name, dtype_and_shape(value)) for name, value in outputs.items())
        ],
    }
    if verification is not None:
        content["verification"] = verification.to_json()
    if records:
        content["requests"] = records_to_json(records)
    if explained:
        content["explained"] = [one.to_json() for one in explained]
    return content


def execution_view(
    plan: Runnable,
    outputs: Mapping[str, Array],
    seconds: Sequence[float],
    verification: Verification | None,
    *,
    random: bool,
    records: Sequence[RunRecord] = (),
) -> "Group":
    """Build the tables of a run."""
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("output", "type", "shape", "least", "largest"):
        table.add_column(column, overflow="fold")
    for name, value in outputs.items():
        dtype, shape = dtype_and_shape(value)
        numeric = isinstance(value, np.ndarray) and value.size > 0 and value.dtype.kind in "fiub"
        least, largest = (f"{np.min(value):.6g}", f"{np.max(value):.6g}") if numeric else ("", "")
        table.add_row(Text(name), dtype, Text(str(shape)), least, largest)
    times = f"median of {len(seconds)} runs" if len(seconds) > 1 else "one run, the first"
    lines: list[RenderableType] = [
        Text(f"{plan.model.name}: {' -> '.join(part.file for part in plan.parts)} {_where(records)}"),
        table,
        Text(f"{format_duration(median(seconds))} ({times}){' on seeded random inputs' if random else ''}"),
    ]
    if records:
        lines.append(Text(str(records[-1])))
        faults = sum(one.fault is not None for one in records)
        if faults:
            remark = f"{faults} of {len(records)} requests were finished here after a fault"
            lines.append(Text(remark, style="bold red"))
    if verification is not None:
        lines.append(Text(str(verification), style="" if verification.ok else "bold red"))
    return Group(*lines)


def _where(records: Sequence[RunRecord]) -> str:
    if not records:
        return "in this process, without the link"
    if any(one.on_server for one in records):
        return "here and on the server"
    return f"here alone: {reason_of_staying(records)}"


def reason_of_staying(records: Sequence[RunRecord]) -> str:
    """Say why the server computed nothing of requests: the newest fault, or else that nothing was to be done there."""
    faults = [one.fault for one in records if one.fault is not None]
    return faults[-1] if faults else "the placement has nothing for the server"


def timings_view(timings: Timings) -> "Group":
    """Build the table of a measurement: the slowest layers first."""
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    whole = timings.whole_model
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("slowest layers", overflow="fold")
    for column in ("time ms", "share", "spread ms"):
        table.add_column(column, justify="right")
    slowest = sorted(timings.layers, key=lambda layer: -layer.latency_s)[:_SLOWEST_SHOWN]
    for layer in slowest:
        share = layer.latency_s / whole.latency_s
        table.add_row(Text(layer.id), f"{layer.latency_s * 1e3:.3f}", f"{share:.1%}", f"{layer.spread_s * 1e3:.3f}")
    rest = timings.layers[_SLOWEST_SHOWN:] and len(timings.layers) - len(slowest)
    lines: list[RenderableType] = [Text(str(timings)), table]
    if rest:
        lines.append(Text(f"and {rest} more layers"))
    if timings.shared_kernels:
        lines.append(
            Text(f"kernels that span several layers, shared out by predicted time: {len(timings.shared_kernels)}")
        )
    lines += [Text(f"note: {note}") for note in timings.notes]
    return Group(*lines)
