"""The benchmark ``codecs``: what crossing tensors cost and lose by codecs, and plans that choose them with the cut.

Machines are measured here at one thread; the device takes `SLOWDOWN` times as long. Links are emulated.
"""

from benchmarks.result import Result
from benchmarks.section import run_sections
from benchmarks.settings import SEED, Settings

SECTIONS = {
    "throughput": "benchmarks.codecs.throughput",
    "transport": "benchmarks.codecs.transport",
    "networks": "benchmarks.codecs.networks",
    "trained": "benchmarks.codecs.trained",
}


def run(settings: Settings) -> Result:
    """Measure all sections, or those that the settings name."""
    return run_sections("codecs", SECTIONS, settings, notes=[f"seed of weights and inputs: {SEED}"])
