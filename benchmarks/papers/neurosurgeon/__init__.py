"""The benchmark ``neurosurgeon``: eight networks cut between a phone and a data centre (Kang et al., ASPLOS 2017)."""

from benchmarks.papers.setting import IMAGE_BYTES, MOBILE_CPU_S, MOBILE_GPU_S, SERVER_S, UPLOAD_S, Setting, Side
from benchmarks.result import Result
from benchmarks.section import run_sections
from benchmarks.settings import Settings
from partition.links import Link

SECTIONS = {
    "choices": "benchmarks.papers.neurosurgeon.choices",
    "gains": "benchmarks.papers.neurosurgeon.gains",
    "throughput": "benchmarks.papers.neurosurgeon.throughput",
    "conditions": "benchmarks.papers.neurosurgeon.conditions",
}

SETTING = Setting(
    paper="Neurosurgeon",
    networks=("alexnet", "vgg19", "deepface", "mnist", "asr", "senna-pos", "senna-ner", "senna-chk"),
    quick=("alexnet", "mnist", "asr", "senna-pos"),
    sides={
        "CPU": Side("raspberry-pi-4", None, MOBILE_CPU_S, "AlexNet takes 382 ms on the paper's mobile CPU"),
        "GPU": Side("gpu-server", None, MOBILE_GPU_S, "AlexNet takes 81 ms on the paper's mobile GPU"),
        "server": Side("gpu-server", None, SERVER_S, "AlexNet takes 6 ms on the paper's server GPU"),
    },
    links={
        label: Link(8 * IMAGE_BYTES / upload_s, 8 * IMAGE_BYTES / upload_s, 0.0, label)
        for label, upload_s in UPLOAD_S.items()
    },
    radios={"3G": "3g", "LTE": "4g", "Wi-Fi": "wifi"},
    conditions_device="GPU",
    image_bytes_per_value=1,
    notes=(
        "links: the rates at which 152 KB go up in the paper's 870, 180 and 95 ms; an image travels as one byte a "
        "value (227 x 227 x 3 = 154,587 bytes, the paper's 152 KB)",
        "as in the paper, neither the way back nor idling is priced; a query of DIG is 100 images, of ASR 548 frames, "
        "of SENNA 28 words (the Tonic suite)",
    ),
)


def run(settings: Settings) -> Result:
    """Compute all sections, or those that the settings name."""
    return run_sections("neurosurgeon", SECTIONS, settings, notes=SETTING.notes)
