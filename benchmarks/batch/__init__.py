"""The benchmark ``batch``: the whole zoo, a thousand links and ten pairs of machines as one table of best cuts.

Every network's rows are compared with `partition.partition` on a seeded sample, and the benchmark stops if one differs.
"""

from benchmarks.result import Result
from benchmarks.section import run_sections
from benchmarks.settings import SEED, Settings

SECTIONS = {
    "core": "benchmarks.batch.core",
    "workers": "benchmarks.batch.workers",
}


def run(settings: Settings) -> Result:
    """Measure all sections, or those that the settings name."""
    notes = [f"seed of the links and of the weights: {SEED}; machines as shipped, and scalings of them"]
    return run_sections("batch", SECTIONS, settings, notes=notes)
