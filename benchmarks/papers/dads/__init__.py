"""The benchmark ``dads``: light and heavy load by minimum cuts (Hu et al., INFOCOM 2019), and how the cut moves."""

from benchmarks.papers.setting import GPU_SPEED, Setting, Side, preset_rates
from benchmarks.result import Result
from benchmarks.section import run_sections
from benchmarks.settings import Settings

SECTIONS = {
    "gains": "benchmarks.papers.dads.gains",
    "heavy": "benchmarks.papers.dads.heavy",
    "bandwidth": "benchmarks.papers.dads.bandwidth",
    "conditions": "benchmarks.papers.dads.conditions",
}

SETTING = Setting(
    paper="DADS",
    networks=("nin", "yolov2_tiny", "vgg16", "alexnet", "resnet18", "googlenet"),
    quick=("nin", "resnet18", "googlenet"),
    sides={
        "CPU": Side("raspberry-pi-4", 1.0, None, "no ratio at hand: the shipped machine as it is"),
        "GPU": Side("raspberry-pi-4", 1 / GPU_SPEED, None, "none in the paper: that CPU, 382 / 81 times as fast"),
        "server": Side("xeon-server", 1.0, None, "no ratio at hand: the shipped machine as it is"),
    },
    links=preset_rates(),
    radios={"3G": "3g", "4G": "4g", "Wi-Fi": "wifi"},
    conditions_device="CPU",
    image_bytes_per_value=None,
    notes=(
        "links: Wang's rates, since the paper's were not at hand; inputs travel as float32 tensors; nothing returns",
    ),
)


def run(settings: Settings) -> Result:
    """Compute all sections, or those that the settings name."""
    return run_sections("dads", SECTIONS, settings, notes=SETTING.notes)
