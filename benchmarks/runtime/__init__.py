"""The benchmark ``runtime``: plans on two machines, a slow device and a link emulated on this one, against the clock.

The device is one core of this machine, whose work then waits until it took `SLOWDOWN` times as long; the server is a
process on another core, behind a proxy that is the link.
"""

from benchmarks.result import Result
from benchmarks.section import run_sections
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
    return run_sections("runtime", SECTIONS, settings, notes=[f"seed of weights and inputs: {SEED}"])
