"""The benchmark ``solvers``: every promise about the solvers' speed, against the best libraries for the same problem.

PyMaxflow, igraph, OR-Tools, networkx and HiGHS solve the same problems in the same run, in turn with this library.
Every section compares the optima before it reports a time, and stops if they differ.
"""

import importlib.metadata
from importlib import import_module

from benchmarks.result import Result
from benchmarks.section import run_sections
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
    libraries = {"kind": "libraries", **{name: importlib.metadata.version(name) for name in LIBRARIES}}
    notes = [f"seed of all graphs and costs: {SEED}"]
    return run_sections("solvers", SECTIONS, settings, rows=[libraries], notes=notes)
