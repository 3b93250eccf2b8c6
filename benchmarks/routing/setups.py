"""The machines, links and networks of the published experiments, with every free parameter in one table.

The papers give the machines (Cortex-A53, Jetson TX2, Titan XP), the rates of the link and the round trips of two
machines, and no seconds. What is missing was chosen once, by least squares over all published reductions together (but
those in parentheses), and rounded. None is chosen for a row. So the closeness of the obtained reductions shows that
one set of lines can tell the published story, no more; what the router loses to the oracle is not fitted at all.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from benchmarks.settings import SEED
from partition.latency.machines import Power
from partition.routing.length_models import LengthModel
from partition.routing.network import MachineNetwork, RoutedLink, RoutedMachine
from partition.routing.profiles import LinkProfile, round_trips

UPLINK_BITS_PER_S, DOWNLINK_BITS_PER_S = 200e3, 1e6
END, GATEWAY, SERVER, SECOND = "end node", "gateway", "server", "server 2"
MOST_WORDS = {"300 units": 100, "200 units": 100, "IMDB": 2500}
"""The longest input of each network; also the range of its curves."""

# Milliseconds of a run: at length 0, and for each word. By machine, then by network.
LINES_MS: Mapping[str, Mapping[str, tuple[float, float]]] = {
    END: {"300 units": (55.0, 12.5), "200 units": (30.25, 6.875), "IMDB": (10.0, 0.47)},
    GATEWAY: {"300 units": (7.0, 4.8), "200 units": (6.4, 4.4), "IMDB": (7.0, 1.0)},
    "slower gateway": {"300 units": (15.0, 14.7), "200 units": (12.8, 12.5), "IMDB": (15.0, 2.1)},
    SERVER: {"300 units": (0.2, 0.38), "200 units": (0.2, 0.38), "IMDB": (0.2, 0.02)},
}
STEPS_MS = (100.0, 200.0, 300.0)
SWEEP_MS = (10.0, 20.0, 40.0, 60.0, 80.0, 100.0, 150.0, 200.0, 250.0, 300.0, 400.0)
GATEWAY_RTT_MS, BEYOND_MS = 80.0, (40.0, 110.0, 180.0)
SLOWER_GATEWAY_RTT_MS, FIRST_MS, SECOND_MS = 50.0, (80.0, 150.0, 220.0), (210.0, 140.0, 70.0)
BYTES_A_WORD, RESULT_BYTES = 6.0, 16.0
NOISE = 0.03
POWER = Power(compute_watts=2.0, idle_watts=2.4, send_watts=2.8, receive_watts=2.5)

FITTED_TO = (
    ("end node, 300 units", "55 + 12.5 N ms", "N = 8 breaks even at 150 ms; stepping rows"),
    ("end node, 200 units", "0.55 times that", "stepping rows of 200 units"),
    (
        "server, per word",
        "0.38 ms, 1/33 of the end node",
        "R^2 and MSE of both published fits",
    ),
    ("IMDB: end node, server", "10 + 0.47 N, 0.2 + 0.02 N ms", "IMDB rows"),
    ("gateway: 300 units, 200 units, IMDB", "7 + 4.8 N, 6.4 + 4.4 N, IMDB 7 + N ms", "three levels"),
    ("slower gateway: the same", "15 + 14.7 N, 0.85 times, IMDB 15 + 2.1 N ms", "three levels, two servers"),
    ("round trip to the gateway, beyond it", "80 ms; 40 / 110 / 180 ms", "three levels"),
    ("the same with two servers", "50 ms; 80 / 150 / 220 and 210 / 140 / 70 ms", "three levels, two servers"),
    ("message", "6 bytes a word up, 16 bytes down", "chosen: 'about 100 bytes'"),
    ("noise of a run", "3 %, normal", "chosen; the section oracle uses measured noise"),
    (
        "power: compute, wait, send, receive",
        "2.0, 2.4, 2.8, 2.5 W",
        "chosen so that energy keeps more inputs at home, as published",
    ),
    ("round trip that all routers begin with", "the first step", "chosen: what one ping at the start tells"),
)
"""Parameter, value, and what it was fitted to."""

Profiles = dict[tuple[str, str], LinkProfile]


@dataclass(frozen=True, slots=True)
class Setup:
    """A network of machines and what its links really do."""

    network: MachineNetwork
    links: Profiles


def short_name(row: Mapping[str, Any]) -> str:
    """Write a row's data set, and its network where the data set has several."""
    return str(row["data"]) + (f" {row['network'].split()[0]}" if row["network"] in ("300 units", "200 units") else "")


def line(machine: str, network: str, ratios: tuple[float, ...]) -> LengthModel:
    """Return the run time of a network on a machine, with the noise that a simulation draws from."""
    a, b = LINES_MS[machine][network]
    return LengthModel((a / 1e3, b / 1e3, 0.0), 1, MOST_WORDS[network], ratios=ratios)


def made_up_noise() -> tuple[float, ...]:
    """Return ratios of measured over predicted time with the chosen spread."""
    return tuple(np.random.default_rng(SEED).normal(1.0, NOISE, 2000).tolist())


def two_machines(units: str, rtts_ms: tuple[float, ...], noise: Mapping[str, tuple[float, ...]] | None = None) -> Setup:
    """Return an end node and a server; the round trip takes these values for equal shares of the inputs."""
    machines = {END: line(END, units, ()), SERVER: line(SERVER, units, ())}
    return _setup(machines, {(END, SERVER): rtts_ms}, noise)


def three_levels(units: str, noise: Mapping[str, tuple[float, ...]] | None = None) -> Setup:
    """Return an end node, a gateway and a server behind it."""
    machines = {name: line(name, units, ()) for name in (END, GATEWAY, SERVER)}
    links = {(END, GATEWAY): (GATEWAY_RTT_MS,), (GATEWAY, SERVER): BEYOND_MS}
    return _setup(machines, links, noise)


def two_servers(units: str, noise: Mapping[str, tuple[float, ...]] | None = None) -> Setup:
    """Return an end node, a slower gateway and two servers behind it whose round trips step against each other."""
    machines = {
        END: line(END, units, ()),
        GATEWAY: line("slower gateway", units, ()),
        SERVER: line(SERVER, units, ()),
        SECOND: line(SERVER, units, ()),
    }
    links = {
        (END, GATEWAY): (SLOWER_GATEWAY_RTT_MS,),
        (GATEWAY, SERVER): FIRST_MS,
        (GATEWAY, SECOND): SECOND_MS,
    }
    return _setup(machines, links, noise)


def _setup(
    machines: Mapping[str, LengthModel],
    links: Mapping[tuple[str, str], tuple[float, ...]],
    noise: Mapping[str, tuple[float, ...]] | None,
) -> Setup:
    """Join machines by links, each with the round trips that it takes; the first one is known to all when it begins."""
    made_up = made_up_noise() if noise is None else ()
    network = MachineNetwork(
        machines=tuple(
            RoutedMachine(
                name,
                replace(model, ratios=made_up if noise is None else noise[name]),
                power=POWER if name == END else None,
            )
            for name, model in machines.items()
        ),
        links=tuple(
            RoutedLink(*ends, rate, rtts_ms[0] / 2e3)
            for (one, other), rtts_ms in links.items()
            for ends, rate in (((one, other), UPLINK_BITS_PER_S), ((other, one), DOWNLINK_BITS_PER_S))
        ),
        end_node=END,
        input_bytes=LengthModel((0.0, BYTES_A_WORD, 0.0), 1, machines[END].most),
        output_bytes=LengthModel((RESULT_BYTES, 0.0, 0.0), 1, machines[END].most),
    )
    profiles: Profiles = {}
    for (one, other), rtts_ms in links.items():
        profiles |= round_trips(network, one, other, [rtt_ms / 1e3 for rtt_ms in rtts_ms])
    return Setup(network, profiles)
