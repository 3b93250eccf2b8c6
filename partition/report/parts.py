"""The parts of a model as a table."""

from typing import TYPE_CHECKING

from partition.model_parts import ModelParts
from partition.plan_records import WeightsFile
from partition.report.columns import Indented, view_text
from partition.report.table import format_bytes

if TYPE_CHECKING:
    from rich.console import Group, RenderableType

_WIDTH, _SHOWN = 100, 3


def parts_text(parts: ModelParts) -> str:
    """Return the table as plain text."""
    return view_text(parts_view(parts), _WIDTH)


def parts_view(parts: ModelParts) -> "Group":
    """Build the table: what each part reads and puts out, its weights, its memory, and its file once it is saved."""
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column("part", no_wrap=True)
    for column in ("reads", "puts out"):
        table.add_column(column, overflow="fold")
    for column in ("layers", "weights", "memory*", "file"):
        table.add_column(column, justify="right", no_wrap=True)
    for part in parts.parts:
        cells = [
            part.file,
            _names([tensor.name for tensor in part.inputs]),
            _names([tensor.name for tensor in part.outputs]),
            str(len(part.layers)),
            format_bytes(part.weight_bytes),
            format_bytes(part.memory_bytes),
            "-" if part.file_bytes is None else format_bytes(part.file_bytes + _own_weights(part.weights_files)),
        ]
        table.add_row(*(Text(cell) for cell in cells))
    count = f"{len(parts.parts)} parts, {parts.model.n_layers} layers"
    lines: list[RenderableType] = [
        Text(f"{parts.model.name}: {count}", style="bold"),
        table,
        Text("* estimate: weights and live activations; a weight that several parts read is in each of them"),
    ]
    if parts.notes:
        lines.append(Text("assumed:"))
        lines += [Indented(Text(f"- {one}")) for one in parts.notes]
    return Group(*lines)


def _own_weights(files: tuple[WeightsFile, ...]) -> int:
    """Add up the files of weights that were written with a part."""
    return sum(one.size_bytes for one in files if one.own)


def _names(names: list[str]) -> str:
    shown = ", ".join(names[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN} more"
