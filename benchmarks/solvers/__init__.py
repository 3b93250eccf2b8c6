"""The benchmark ``solvers``: every promise about the solvers' speed, against the best libraries for the same problem.

PyMaxflow, igraph, OR-Tools, networkx and HiGHS solve the same problems in the same run, in turn with this library.
Every section compares the optima before it reports a time, and stops if they differ.
"""

import importlib.metadata
from importlib import import_module
from typing import Any

from rich.console import Console

from benchmarks.result import Bar, Result
from benchmarks.settings import SEED, Settings

SECTIONS = {
    "batch": "benchmarks.solvers.batch",
    "single": "benchmarks.solvers.single",
    "large": "benchmarks.solvers.large",
    "wide": "benchmarks.solvers.wide",
    "structures": "benchmarks.solvers.structures",
    "k3": "benchmarks.solvers.three_machines",
    "sweep": "benchmarks.solvers.sweep",
    "throughput": "benchmarks.solvers.throughput",
}
LIBRARIES = ("PyMaxflow", "igraph", "ortools", "networkx", "scipy", "numpy", "numba")


def run(settings: Settings) -> Result:
    """Measure all sections, or those that the settings name."""
    # "Warm" everywhere but in the fresh processes: once numba is loaded, kernels of every size run compiled.
    import_module("numba")
    console = Console(stderr=True)
    rows: list[dict[str, Any]] = [
        {"kind": "libraries", **{name: importlib.metadata.version(name) for name in LIBRARIES}},
        {"kind": "seed", "seed": SEED},
    ]
    bars: list[Bar] = []
    tables = []
    notes = [f"seed of all graphs and costs: {SEED}"]
    # All imports first: what is missing is missed before minutes of measuring.
    sections = {name: import_module(SECTIONS[name]) for name in settings.only or SECTIONS}
    for name, module in sections.items():
        # Nothing is drawn while it measures: a thread that draws would disturb that.
        console.print(f"{name} ...")
        section = module.measure(settings)
        bars += section.bars
        rows += [{"section": name, **row} for row in section.rows]
        tables += section.tables
        notes += section.notes
    return Result("solvers", tuple(bars), tuple(rows), tuple(tables), tuple(notes))
