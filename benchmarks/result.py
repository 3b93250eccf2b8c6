"""What a benchmark found: figures against their limits, all measurements, and the machine they come from."""

import datetime
import importlib.metadata
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from rich.box import SIMPLE
from rich.table import Table

from partition.latency.host import available_processors, processor_name


@dataclass(frozen=True, slots=True)
class Bar:
    """A promised figure.

    Attributes
    ----------
    name : str
        Unique in its benchmark.
    value, limit : float
    better : {"lower", "higher"}
        Which side of the limit is promised; the limit itself holds.
    """

    name: str
    value: float
    limit: float
    better: Literal["lower", "higher"]

    @property
    def holds(self) -> bool:
        """Whether the figure is on the promised side of its limit."""
        return self.value <= self.limit if self.better == "lower" else self.value >= self.limit


@dataclass(frozen=True, slots=True)
class Result:
    """What one benchmark found.

    Attributes
    ----------
    benchmark : str
    bars : tuple of Bar
    rows : tuple of mapping
        Every measurement as plain JSON values; units are suffixes of the keys, ``kind`` says what a row is.
    tables : tuple of rich.table.Table
        The same for a person.
    notes : tuple of str
        What a reader of the tables has to know.
    """

    benchmark: str
    bars: tuple[Bar, ...]
    rows: tuple[Mapping[str, Any], ...]
    tables: tuple[Table, ...]
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the content as plain JSON values."""
        return {
            "benchmark": self.benchmark,
            "machine": machine(),
            "bars": [asdict(bar) | {"holds": bar.holds} for bar in self.bars],
            "rows": [dict(row) for row in self.rows],
        }


def machine() -> dict[str, str | int]:
    """Describe this machine by what matters to a timing, without its name."""
    return {
        "processor": processor_name(),
        "cores": available_processors(),
        "python": platform.python_version(),
        "onnx": importlib.metadata.version("onnx"),
        "onnxruntime": importlib.metadata.version("onnxruntime"),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }


def bars_table(bars: Sequence[Bar]) -> Table:
    """Show the promised figures, those that do not hold included."""
    table = Table("promised figure", title="Limits", box=SIMPLE)
    for heading in ("value", "limit", "holds"):
        table.add_column(heading, justify="right")
    for bar in bars:
        limit = f"{'<=' if bar.better == 'lower' else '>='} {bar.limit:g}"
        verdict = "yes" if bar.holds else "[bold red]NO[/]"
        table.add_row(bar.name, f"{bar.value:.3f}", limit, verdict)
    return table
