"""The benchmark ``accuracy``: predicted costs against the clock.

Networks of the zoo and light topologies are measured, predicted from this machine's calibration, cut, and run beside
other work. No network is in the calibration: its rows are single layers of sizes drawn at random.
"""

from importlib import import_module
from typing import Any

from rich.console import Console

from benchmarks.result import Bar, Result
from benchmarks.settings import SEED, Settings

SECTIONS = {
    "speed": "benchmarks.accuracy.speed",
    "measured": "benchmarks.accuracy.measured",
    "predicted": "benchmarks.accuracy.predicted",
    "types": "benchmarks.accuracy.types",
    "decisions": "benchmarks.accuracy.decisions",
    "load": "benchmarks.accuracy.loaded",
    "dynamic": "benchmarks.accuracy.dynamic",
}


def run(settings: Settings) -> Result:
    """Measure all sections, or those that the settings name."""
    console = Console(stderr=True)
    rows: list[dict[str, Any]] = [{"kind": "seed", "seed": SEED}]
    bars: list[Bar] = []
    tables = []
    notes = [f"seed of weights, inputs and the calibration's sizes: {SEED}"]
    for name in settings.only or SECTIONS:
        # Nothing is drawn while it measures: a thread that draws would disturb that.
        console.print(f"{name} ...")
        section = import_module(SECTIONS[name]).measure(settings)
        bars += section.bars
        rows += [{"section": name, **row} for row in section.rows]
        tables += section.tables
        notes += section.notes
    return Result("accuracy", tuple(bars), tuple(rows), tuple(tables), tuple(notes))
