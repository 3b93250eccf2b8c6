"""The benchmark ``wang``: networks with branches cut inside blocks (Wang, ICT-CAS 2020), and the whole zoo cut."""

from benchmarks.papers.setting import GPU_SPEED, Setting, Side, preset_rates
from benchmarks.result import Result
from benchmarks.section import run_sections
from benchmarks.settings import Settings

SECTIONS = {
    "gains": "benchmarks.papers.wang.gains",
    "blocks": "benchmarks.papers.wang.blocks",
    "conditions": "benchmarks.papers.wang.conditions",
    "zoo": "benchmarks.papers.wang.zoo",
}

# Two Cortex-A76 at 2.27 GHz against the four at 2.4 GHz of the shape.
_PHONE = 4 * 2.4 / (2 * 2.27)

SETTING = Setting(
    paper="Wang",
    networks=(
        "alexnet",
        "vgg16",
        "seq2seq",
        "dqn",
        "googlenet",
        "resnet18",
        "resnet50",
        "inception_v3",
        "inception_v4",
        "se_resnet50",
        "mobilenet_v1",
        "mobilenet_v2",
        "deepspeech2",
        "chair",
        "pix2pix",
        "vae",
    ),
    quick=("dqn", "googlenet", "resnet18", "vae"),
    sides={
        "CPU": Side("raspberry-pi-5", _PHONE, None, "Honor 9X: 2 large cores at 2.27 GHz; the shape has 4 at 2.4 GHz"),
        "GPU": Side("raspberry-pi-5", _PHONE / GPU_SPEED, None, "none in the paper: that CPU, 382 / 81 times as fast"),
        "server": Side("laptop-4-core", 2.5 / 2.2, None, "MacBook Pro: 4 cores at 2.2 GHz; the shape has 2.5 GHz"),
    },
    links=preset_rates(),
    radios={"3G": "3g", "4G": "4g", "Wi-Fi": "wifi"},
    conditions_device="CPU",
    image_bytes_per_value=None,
    notes=("links: the paper's rates; inputs travel as float32 tensors; outputs may stay where they are",),
)


def run(settings: Settings) -> Result:
    """Compute all sections, or those that the settings name."""
    return run_sections("wang", SECTIONS, settings, notes=SETTING.notes)
