"""Measured codecs as a table for a person."""

from typing import TYPE_CHECKING

from partition.report.columns import view_text
from partition.report.table import format_bytes
from partition.units import format_duration

if TYPE_CHECKING:
    from rich.console import Group, RenderableType

    from partition.codecs.table import CodecTable


def table_text(table: "CodecTable") -> str:
    """Return the table as plain text; where rich is not installed, one line a tensor and codec."""
    try:
        import rich  # noqa: F401
    except ModuleNotFoundError:
        return "\n".join(" ".join(row) for row in _rows(table))
    return view_text(table_view(table), 120)


def table_view(table: "CodecTable") -> "Group":
    """Build the table."""
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    shown.add_column("tensor", overflow="fold")
    shown.add_column("codec")
    for heading in ("bytes", "fewer", "encode", "decode", "loss", "output error"):
        shown.add_column(heading, justify="right", no_wrap=True)
    for row in _rows(table):
        shown.add_row(*(Text(cell) for cell in row))
    head = f"{table.model_name}: {len(table.tensors)} tensors on {table.data}, loss by {table.metric}"
    where = f"{table.machine}, {table.threads} thread{'s' * (table.threads != 1)}, whole model "
    lines: list[RenderableType] = [Text(head, style="bold"), Text(where + format_duration(table.model_s)), shown]
    return Group(*lines, *(Text(f"note: {one}") for one in table.notes))


def _rows(table: "CodecTable") -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for tensor in table.tensors:
        raw = format_bytes(tensor.raw_bytes)
        rows.append((tensor.name, f"none{f' ({tensor.note})' if tensor.note else ''}", raw, "", "", "", "", ""))
        for one in tensor.codecs:
            rows.append(
                (
                    "",
                    one.codec,
                    format_bytes(one.size_bytes),
                    f"{tensor.raw_bytes / one.size_bytes:.2f}",
                    format_duration(one.encode_s),
                    format_duration(one.decode_s),
                    "not finite" if one.loss is None else f"{one.loss:.3g}",
                    "not finite" if one.output_error is None else f"{one.output_error:.3g}",
                )
            )
    return rows
