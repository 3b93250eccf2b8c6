"""What is solved for: networks of the zoo, links drawn once, ten pairs of machines."""

from contextlib import ExitStack
from pathlib import Path

import numpy as np

from benchmarks.settings import SEED, Settings
from benchmarks.zoo import NETWORKS
from benchmarks.zoo.files import network_file
from partition.batch import BatchModel, ScaledMachine
from partition.batch.machines import MachineOfPair
from partition.batch.settings import Settings as BatchSettings
from partition.links import Link

DEVICES: tuple[MachineOfPair, ...] = ("raspberry-pi-4", "raspberry-pi-5", ScaledMachine("raspberry-pi-4", 0.5))
SERVERS: tuple[MachineOfPair, ...] = ("xeon-server", "gpu-server", ScaledMachine("xeon-server", 0.25))
PAIRS: tuple[tuple[MachineOfPair, MachineOfPair], ...] = (
    *((device, server) for device in DEVICES for server in SERVERS),
    ("raspberry-pi-4", ScaledMachine("gpu-server", 4)),
)
N_LINKS, N_LINKS_QUICK = 1000, 100
REFERENCE = "resnet50"
QUICK = ("mnist", "mobilenet_v2", "resnet18", "resnet50")


def networks(settings: Settings) -> tuple[str, ...]:
    """Return the networks to solve: those asked for, a few, or the whole zoo."""
    chosen = settings.models or (QUICK if settings.quick else tuple(NETWORKS))
    return tuple(chosen)


def links(settings: Settings) -> tuple[Link, ...]:
    """Draw links from 100 kbit/s to 1 Gbit/s, one to ten times as fast downwards, with round trips of 1 to 300 ms."""
    random = np.random.default_rng(SEED)
    count = N_LINKS_QUICK if settings.quick else N_LINKS
    uplinks = 10 ** random.uniform(5, 9, count)
    ratios = 10 ** random.uniform(0, 1, count)
    round_trips_s = 10 ** random.uniform(-3, np.log10(0.3), count)
    return tuple(
        Link(float(up), float(up * ratio), float(rtt))
        for up, ratio, rtt in zip(uplinks, ratios, round_trips_s, strict=True)
    )


def batch_settings(settings: Settings) -> BatchSettings:
    """Return the batch's own settings for these links and pairs."""
    return BatchSettings.parse(
        links(settings),
        PAIRS,
        objective="latency",
        output_on="device",
        dims=None,
        granularity="layer",
        keep_inputs=False,
        max_server_visits=1,
        radio=None,
    )


def batch_model(name: str, path: Path) -> BatchModel:
    """Return a network's file with its dims."""
    return BatchModel(path, NETWORKS[name].dims, name)


def built(names: tuple[str, ...], settings: Settings, stack: ExitStack) -> list[BatchModel]:
    """Build the files of all networks; without a cache they go when the stack is left."""
    return [batch_model(name, stack.enter_context(network_file(name, settings.cache))) for name in names]
