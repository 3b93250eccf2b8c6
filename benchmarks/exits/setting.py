"""What the sections share: a trained network with an early exit, its exits calibrated, and its segments measured."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from benchmarks.codecs.setting import BANDWIDTHS_MBIT_S, on_one_core
from benchmarks.digits import IMAGE, Shape, trained_network
from benchmarks.runtime.setting import BETWEEN_RUNS_S, SLOWDOWN, slowed
from benchmarks.settings import SEED, Settings
from graph_io import load_model, structure_sha256
from partition.exits.calibrate import calibrate_exits, rest_inputs
from partition.exits.family import ExitFamily, Way
from partition.exits.segments import Segments, segments
from partition.exits.table import ExitTable
from partition.latency.measure import measure
from partition.latency.timings import Timings

SHAPE = Shape((1, 32, 48, 12, 192, 192, 192, 32), (2, 2, 2, 1, 1, 1, 2), exit_behind=1)
QUICK_SHAPE = Shape((1, 16, 32, 12, 128, 128, 32), (2, 2, 2, 1, 1, 2), exit_behind=1)
EPOCHS, QUICK_EPOCHS = 4, 4
N_TRAIN, N_TEST, QUICK_TEST = 800, 500, 150
N_CALIBRATION, QUICK_CALIBRATION = 497, 150
CODECS = ("float16", "uint8", "uint4")
QUICK_BANDWIDTHS_MBIT_S = (2, 20)
Image = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True, eq=False)
class Digits:
    """The network and what is known of it.

    Attributes
    ----------
    family : ExitFamily
        Two exits of one network.
    table : ExitTable
        Measured on images that the network was not trained on.
    device, server : tuple of Timings
        Of every segment.
    images, labels
        Held out from training and from `table`.
    """

    family: ExitFamily
    table: ExitTable
    device: tuple[Timings, ...]
    server: tuple[Timings, ...]
    images: tuple[Image, ...]
    labels: NDArray[np.int64]

    @property
    def whole_device_s(self) -> float:
        """What the whole network, without the early exit, takes on the device."""
        return self.timings_of(self.family.names[-1])[0].whole_model.latency_s

    def timings_of(self, exit_name: str) -> tuple[Timings, Timings]:
        """Return the timings of all layers up to an exit, on the device and on the server."""
        wanted = structure_sha256(load_model(self.plain(exit_name).rest).proto)
        found = [
            next(one for one in timings if one.model.structure_sha256 == wanted)
            for timings in (self.device, self.server)
        ]
        return found[0], found[1]

    def plain(self, exit_name: str) -> Segments:
        """Return the network up to an exit, without those before it."""
        return segments(self.family, Way((), exit_name))


def bandwidths_mbit_s(settings: Settings) -> tuple[int, ...]:
    """Return the rates of the links."""
    return QUICK_BANDWIDTHS_MBIT_S if settings.quick else BANDWIDTHS_MBIT_S


@cache
def digits(settings: Settings) -> Digits:
    """Train, calibrate and measure once."""
    console = Console(stderr=True)
    console.print("  training ...")
    shape, epochs = (QUICK_SHAPE, QUICK_EPOCHS) if settings.quick else (SHAPE, EPOCHS)
    trained = trained_network(shape, epochs, seed=SEED, n_train=N_TRAIN)
    family = ExitFamily.parse(trained.model)
    unseen: list[Image] = [{IMAGE: image[None]} for image in trained.test_images]
    count, held_out = (QUICK_CALIBRATION, QUICK_TEST) if settings.quick else (N_CALIBRATION, N_TEST)
    console.print("  calibrating exits ...")
    with on_one_core():
        pairs = [(image, int(label)) for image, label in zip(unseen[:count], trained.test_labels[:count], strict=True)]
        table = calibrate_exits(family, pairs, codecs=CODECS)
        console.print("  measuring segments ...")
        device, server = _measured(family, unseen[0])
    return Digits(
        family, table, device, server, tuple(unseen[-held_out:]), np.asarray(trained.test_labels[-held_out:], np.int64)
    )


def _measured(family: ExitFamily, image: Image) -> tuple[tuple[Timings, ...], tuple[Timings, ...]]:
    """Measure the segments of all ways, each structure once; with two exits, a head reads the image."""
    found: dict[str, tuple[Timings, Timings]] = {}
    for way in family.ways():
        cut = segments(family, way)
        for proto, values in (*((head, image) for head in cut.heads), (cut.rest, rest_inputs(cut, [image])[0])):
            structure = structure_sha256(load_model(proto).proto)
            if structure not in found:
                # The device computes without a rest, the server behind one of the link's.
                busy = measure(proto, inputs=values, threads=1)
                rested = measure(proto, inputs=values, threads=1, pause_s=BETWEEN_RUNS_S)
                found[structure] = (slowed(busy, SLOWDOWN), rested)
    return tuple(one[0] for one in found.values()), tuple(one[1] for one in found.values())
