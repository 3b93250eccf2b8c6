"""What one section of a benchmark found, and how it is laid out for a person."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from benchmarks.result import Bar, Result
from benchmarks.settings import SEED, Settings


@dataclass(frozen=True, slots=True)
class Section:
    """Rows, bars, tables and notes as in `benchmarks.result.Result`."""

    bars: tuple[Bar, ...]
    rows: tuple[dict[str, Any], ...]
    tables: tuple[Table, ...]
    notes: tuple[str, ...] = ()


def run_sections(
    benchmark: str,
    sections: Mapping[str, str],
    settings: Settings,
    *,
    rows: Sequence[dict[str, Any]] = (),
    notes: Sequence[str] = (),
) -> Result:
    """Measure all sections of a benchmark, or those that the settings name.

    Parameters
    ----------
    benchmark : str
    sections : mapping of str to str
        Names, each with the module whose ``measure`` returns a `Section`.
    settings : Settings
    rows, notes : sequence
        Of the benchmark as a whole; they come first.
    """
    console = Console(stderr=True)
    found_rows = [*rows, {"kind": "seed", "seed": SEED}]
    bars: list[Bar] = []
    tables: list[Table] = []
    found_notes = list(notes)
    # All imports first: what is missing is missed before minutes of measuring.
    modules = {name: import_module(sections[name]) for name in settings.only or sections}
    for name, module in modules.items():
        # Nothing is drawn while it measures: a thread that draws would disturb that.
        console.print(f"{name} ...")
        section = module.measure(settings)
        bars += section.bars
        found_rows += [{"section": name, **row} for row in section.rows]
        tables += section.tables
        found_notes += section.notes
    return Result(benchmark, tuple(bars), tuple(found_rows), tuple(tables), tuple(found_notes))


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
