"""The simulated setting of a paper: its networks, its machines as scaled machine files, its links and its radios."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from benchmarks.section import table
from partition.links import Link

MOBILE_CPU_S, MOBILE_GPU_S, SERVER_S = 0.382, 0.081, 0.006
"""AlexNet on Neurosurgeon's three machines, section 3 of the paper."""
GPU_SPEED = MOBILE_CPU_S / MOBILE_GPU_S
IMAGE_BYTES = 152_000
UPLOAD_S = {"3G": 0.870, "LTE": 0.180, "Wi-Fi": 0.095}
"""The same section: what uploading its image of 152 KB takes."""

COMPUTE_WATTS = {"CPU": 8.0, "GPU": 10.0}
ANCHOR = "alexnet"
DEVICES = ("CPU", "GPU")


@dataclass(frozen=True, slots=True)
class Side:
    """A simulated machine.

    Attributes
    ----------
    shape : str
        The shipped machine that predicts how times are distributed over layers.
    factor : float or None
        Every time is multiplied by it. None: by what makes AlexNet take `anchor_s`.
    anchor_s : float or None
    fitted_to : str
        Where the factor comes from.
    """

    shape: str
    factor: float | None
    anchor_s: float | None
    fitted_to: str


@dataclass(frozen=True, slots=True)
class Setting:
    """What a paper's experiment fixes.

    Attributes
    ----------
    paper : str
    networks, quick : tuple of str
        Names in the zoo.
    sides : mapping of str to Side
        "CPU" and "GPU", the device in two kinds, and "server".
    links : mapping of str to Link
        By the paper's name for them; without delays, which none of the three papers prices.
    radios : mapping of str to str
        The radio of each link, for the energy.
    conditions_device : str
        The device on which bandwidth and load vary: the one whose choices move.
    image_bytes_per_value : int or None
        What a value of an image takes on the wire; None for the size of the tensor.
    notes : tuple of str
    """

    paper: str
    networks: tuple[str, ...]
    quick: tuple[str, ...]
    sides: Mapping[str, Side]
    links: Mapping[str, Link]
    radios: Mapping[str, str]
    conditions_device: str
    image_bytes_per_value: int | None
    notes: tuple[str, ...]


def preset_rates() -> dict[str, Link]:
    """Return Wang's three links without the round trips that this library assumes for them."""
    names = {"3G": "3g", "4G": "4g", "Wi-Fi": "wifi"}
    return {label: Link.parse(preset, rtt=0.0) for label, preset in names.items()}


def setting_table(setting: Setting, factors: Mapping[str, float], shapes: Mapping[str, str]) -> Table:
    """List machines and links with every factor."""
    rows = [
        (name, f"SIMULATED: {shapes[name]}", f"{factors[name]:.4g}", side.fitted_to)
        for name, side in setting.sides.items()
    ]
    for label, link in setting.links.items():
        rates = f"{link.uplink_bits_per_s / 1e6:.4g} / {link.downlink_bits_per_s / 1e6:.4g} Mbit/s"
        rows.append((label, "link, up / down", rates, f"radio {setting.radios[label]} (Huang et al. 2012), no delay"))
    for device, watts in COMPUTE_WATTS.items():
        rows.append((device, "power while computing", f"{watts:g} W", "our assumption for a board of that time"))
    return table(
        f"{setting.paper}: the simulated setting, chosen once", ("what", "is", "factor or value", "from"), rows
    )


def setting_rows(
    setting: Setting, factors: Mapping[str, float], shapes: Mapping[str, str]
) -> tuple[dict[str, Any], ...]:
    """Return the same as plain values."""
    return tuple(
        {
            "kind": "machine",
            "paper": setting.paper,
            "machine": name,
            "shape": shapes[name],
            "factor": factors[name],
            "fitted_to": side.fitted_to,
        }
        for name, side in setting.sides.items()
    )
