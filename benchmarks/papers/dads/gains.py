"""The gains of the optimum over each baseline, in the setting of this paper."""

from benchmarks.papers.dads import SETTING
from benchmarks.papers.gains import measure_gains
from benchmarks.section import Section
from benchmarks.settings import Settings


def measure(settings: Settings) -> Section:
    """Compare latency and energy on every network, device and link."""
    return measure_gains(SETTING, settings)
