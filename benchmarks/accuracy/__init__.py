"""The benchmark ``accuracy``: predicted costs against the clock.

Networks of the zoo and light topologies are measured, predicted from this machine's calibration, cut, and run beside
other work. No network is in the calibration: its rows are single layers of sizes drawn at random.
"""

from benchmarks.result import Result
from benchmarks.section import run_sections
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
    notes = [f"seed of weights, inputs and the calibration's sizes: {SEED}"]
    return run_sections("accuracy", SECTIONS, settings, notes=notes)
