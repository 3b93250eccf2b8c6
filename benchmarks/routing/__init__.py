"""The benchmark ``routing``: where each input runs, by its length, in published set-ups and on measured curves.

What is rebuilt from published tables is simulated; the other sections measure on this machine.
"""

from benchmarks.result import Result
from benchmarks.section import run_sections
from benchmarks.settings import Settings

SECTIONS = {
    "published": "benchmarks.routing.published",
    "fits": "benchmarks.routing.fits",
    "oracle": "benchmarks.routing.oracle",
    "breakeven": "benchmarks.routing.breakeven",
    "decision": "benchmarks.routing.decision",
    "lengths": "benchmarks.routing.lengths",
    "live": "benchmarks.routing.live",
}
"""Names, each with the module that measures it."""


def run(settings: Settings) -> Result:
    """Measure all sections, or those that the settings name."""
    return run_sections("routing", SECTIONS, settings)
