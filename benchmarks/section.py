"""What one section of a benchmark found, and how it is laid out for a person."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.box import SIMPLE
from rich.table import Table

from benchmarks.result import Bar


@dataclass(frozen=True, slots=True)
class Section:
    """Rows, bars, tables and notes as in `benchmarks.result.Result`."""

    bars: tuple[Bar, ...]
    rows: tuple[dict[str, Any], ...]
    tables: tuple[Table, ...]
    notes: tuple[str, ...] = ()


def table(title: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """Lay rows out, the first column to the left."""
    made = Table(headings[0], title=title, box=SIMPLE)
    for heading in headings[1:]:
        made.add_column(heading, justify="right")
    for row in rows:
        made.add_row(*row)
    return made


def seconds(value: float) -> str:
    """Write a duration for a person."""
    for factor, unit in ((1.0, "s"), (1e3, "ms"), (1e6, "us")):
        if value * factor >= 1.0:
            return f"{value * factor:.3g} {unit}"
    return f"{value * 1e6:.3g} us"


def spread(row: dict[str, Any], name: str) -> str:
    """Write the median of a timing with its least and most."""
    return f"{seconds(row[f'{name}_s'])} ({seconds(row[f'{name}_least_s'])} .. {seconds(row[f'{name}_most_s'])})"


def geometric_mean(values: Sequence[float]) -> float:
    """Return the geometric mean of positive values."""
    return float(np.exp(np.mean(np.log(values))))
