"""Measured exits as a table for a person."""

from math import sqrt
from typing import TYPE_CHECKING

import numpy as np

from partition.report.columns import view_text

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from rich.console import Group

    from partition.exits.table import ExitRecord, ExitTable

_HEADINGS = ("accuracy", "std. error", "confidence", "where right", "where wrong")


def table_text(table: "ExitTable") -> str:
    """Return the table as plain text; where rich is not installed, one line an exit."""
    try:
        import rich  # noqa: F401
    except ModuleNotFoundError:
        return "\n".join(" ".join(_row(one)) for one in table.exits)
    return view_text(table_view(table), 120)


def table_view(table: "ExitTable") -> "Group":
    """Build the table: confidences are medians over the data."""
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    shown.add_column("exit", overflow="fold")
    shown.add_column("output of", overflow="fold")
    for heading in _HEADINGS if table.measured else _HEADINGS[:1]:
        shown.add_column(heading, justify="right", no_wrap=True)
    for one in table.exits:
        shown.add_row(*(Text(cell) for cell in _row(one)))
    where = f"on {table.data}" if table.measured else "with accuracies given"
    head = Text(f"{len(table.exits)} exit{'s' * (len(table.exits) != 1)} {where}", style="bold")
    how = [Text(f"accuracy by {table.score}, confidence by {table.confidence}")] if table.measured else []
    notes = [f"note: {one}" for one in table.notes]
    if table.codecs:
        notes.insert(0, f"codecs measured on what is left behind the exits: {len(table.codecs)} ways to use them")
    return Group(head, *how, shown, *(Text(one) for one in notes))


def _row(record: "ExitRecord") -> tuple[str, ...]:
    start = (record.name, record.model_name, f"{100 * record.accuracy:.2f} %")
    if record.scores is None or record.confidences is None:
        return start
    error = sqrt(record.accuracy * (1 - record.accuracy) / len(record.scores))
    right = record.scores >= 0.5
    sure = (record.confidences, record.confidences[right], record.confidences[~right])
    return (*start, f"{100 * error:.2f} %", *(_median(one) for one in sure))


def _median(values: "NDArray[np.float64]") -> str:
    return f"{float(np.median(values)):.3f}" if len(values) else "-"
