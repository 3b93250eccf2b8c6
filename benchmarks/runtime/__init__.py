"""The benchmark ``runtime``: plans on two machines, a slow device and a link emulated on this one, against the clock.

The device is one core of this machine, whose work then waits until it took `SLOWDOWN` times as long; the server is a
process on another core, behind a proxy that is the link.
"""

from importlib import import_module
from typing import Any

from rich.console import Console

from benchmarks.result import Bar, Result
from benchmarks.settings import SEED, Settings

SECTIONS = {
    "links": "benchmarks.runtime.links",
    "traces": "benchmarks.runtime.traced",
    "stream": "benchmarks.runtime.stream",
    "load": "benchmarks.runtime.competing",
    "faults": "benchmarks.runtime.faults",
    "clients": "benchmarks.runtime.clients",
}


def run(settings: Settings) -> Result:
    """Measure all sections, or those that the settings name."""
    console = Console(stderr=True)
    rows: list[dict[str, Any]] = [{"kind": "seed", "seed": SEED}]
    bars: list[Bar] = []
    tables = []
    notes = [f"seed of weights and inputs: {SEED}"]
    for name in settings.only or SECTIONS:
        # Nothing is drawn while it measures: a thread that draws would disturb that.
        console.print(f"{name} ...")
        section = import_module(SECTIONS[name]).measure(settings)
        bars += section.bars
        rows += [{"section": name, **row} for row in section.rows]
        tables += section.tables
        notes += section.notes
    return Result("runtime", tuple(bars), tuple(rows), tuple(tables), tuple(notes))
