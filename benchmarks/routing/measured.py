"""Networks of the zoo measured over the lengths of their input, at one thread on one core, once for all sections."""

import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from benchmarks.models import built_file
from benchmarks.runtime.setting import on_device_core
from benchmarks.settings import SEED, Settings
from benchmarks.zoo import NETWORKS
from partition.routing.lengths_file import LengthTimings
from partition.routing.sweep import SweepEffort, measure_lengths

FULL = SweepEffort(lengths=18, layer_lengths=5, fewest_rounds=15, most_rounds=150, budget_s=12.0)
QUICK = SweepEffort(lengths=7, layer_lengths=3, fewest_rounds=3, most_rounds=6, budget_s=0.5)


@dataclass(frozen=True, slots=True)
class Measurand:
    """A network, the range of lengths in which it is used, and the curve that it is fitted with.

    Where a data set is drawn for it, the range is from the 1 % to beyond the 99 % of its lengths (`sequences`).
    """

    network: str
    least: int
    most: int
    order: Literal["linear", "quadratic"]


MEASURANDS = {
    one.network: one
    for one in (
        Measurand("cove-300", 4, 64, "linear"),
        Measurand("cove-200", 4, 64, "linear"),
        Measurand("imdb-lstm", 40, 900, "linear"),
        Measurand("seq2seq", 1, 60, "linear"),
        Measurand("gru-keywords", 10, 200, "linear"),
        Measurand("encoder-small", 16, 512, "quadratic"),
    )
}
"""By network."""


def measured(network: str, settings: Settings) -> LengthTimings:
    """Return a network's lengths file, measured here and now, or earlier in this process."""
    return _measured(network, settings.quick, settings.cache and os.fspath(settings.cache))


@cache
def _measured(network: str, quick: bool, folder: str | None) -> LengthTimings:
    chosen = MEASURANDS[network]
    with (
        built_file(f"{network}.onnx", NETWORKS[network].build, None if folder is None else Path(folder)) as path,
        on_device_core(),
    ):
        return measure_lengths(
            path,
            "seq",
            (chosen.least, chosen.most),
            threads=1,
            order=chosen.order,
            effort=QUICK if quick else FULL,
            seed=SEED,
            name="this machine",
        )
