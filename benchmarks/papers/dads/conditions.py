"""Changing bandwidth and server load, in the setting of this paper."""

from benchmarks.papers.conditions import measure_conditions
from benchmarks.papers.dads import SETTING
from benchmarks.section import Section
from benchmarks.settings import Settings


def measure(settings: Settings) -> Section:
    """Compare a choice that follows the conditions with fixed ones."""
    return measure_conditions(SETTING, settings)
