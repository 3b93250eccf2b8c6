"""The benchmark ``exits``: policies of early exits chosen with the cut, on a network that is trained for it.

Machines are measured here at one thread; the device takes `SLOWDOWN` times as long. Links are emulated.
"""

from benchmarks.result import Result
from benchmarks.section import run_sections
from benchmarks.settings import SEED, Settings

SECTIONS = {
    "deadlines": "benchmarks.exits.deadlines",
    "edgent": "benchmarks.exits.edgent",
    "accuracy": "benchmarks.exits.accuracy",
}


def run(settings: Settings) -> Result:
    """Measure all sections, or those that the settings name."""
    return run_sections("exits", SECTIONS, settings, notes=[f"seed of weights and images: {SEED}"])
