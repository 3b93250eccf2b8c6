"""One live run of two routers against its simulation: the same lengths, the same steps of the link, measured curves.

The end node is this machine made `SLOWDOWN` times slower; the server is this machine in another thread; between them an
emulated link in real time, whose round trip steps. Each machine has a router of its own.
"""

import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.result import Bar
from benchmarks.routing.sequences import draw_lengths
from benchmarks.section import Section, seconds, table
from benchmarks.settings import SEED, Settings
from benchmarks.zoo.recurrent import cove
from graph_io import load_model
from partition.emulation.clock import Clock, RealClock
from partition.emulation.device import SlowDevice
from partition.emulation.link import EmulatedLink
from partition.links import Link
from partition.routing.hops import Array, EmulatedHop, Message, Reply
from partition.routing.length_models import LengthModel, fit_length_model
from partition.routing.live import RoutedSession, open_runner, slowed
from partition.routing.live_machine import Runner
from partition.routing.network import MachineNetwork, RoutedMachine, both_ways
from partition.routing.open_dims import log_spaced
from partition.routing.profiles import round_trips
from partition.routing.simulator import policies_of, simulate
from partition.units import parse_bandwidth

INPUTS, QUICK_INPUTS = 2000, 80
ROUNDS, QUICK_ROUNDS = 10, 4
SLOWDOWN = 8.0
UNITS, WORD_SIZE = 300, 300
DATA_SET = "SNLI"
LEAST, MOST = 1, 64
LINK = "200Mbps"
BREAK_EVENS = (12, 22, 16, 8)
"""The round trip steps so that these lengths take equally long on both machines."""
LEAST_RTT_S = 1e-3
INPUT_BYTES = LengthModel((0.0, 4.0 * WORD_SIZE, 0.0), LEAST, MOST)
OUTPUT_BYTES = LengthModel((0.0, 8.0 * UNITS, 0.0), LEAST, MOST)
STALE_S = 3.0
REST_S = 0.03
END, SERVER = "end node", "server"
WITHIN = 0.10


def measure(settings: Settings) -> Section:
    """Measure both machines, let the routers run, and simulate the same."""
    n_inputs, rounds = (QUICK_INPUTS, QUICK_ROUNDS) if settings.quick else (INPUTS, ROUNDS)
    model = load_model(cove(UNITS))
    clock = RealClock()
    plain = open_runner(model, threads=1)[0]
    runners = {END: slowed(open_runner(model, threads=1)[0], SlowDevice(SLOWDOWN, clock=clock)), SERVER: plain}
    # The server rests while messages travel. The end node is asked again at once; its rest is the wait of a slow one.
    curves = {
        END: _curve(runners[END], rounds, rest_s=0.0, in_thread=False),
        SERVER: _curve(runners[SERVER], rounds, rest_s=REST_S, in_thread=True),
    }
    software_s = _software_s(clock, rounds)
    lengths = draw_lengths(DATA_SET, n_inputs)
    rtts_s = _rtts_s(curves)
    network = MachineNetwork(
        tuple(RoutedMachine(name, curve) for name, curve in curves.items()),
        both_ways(END, SERVER, Link.parse(LINK, rtt=rtts_s[0] + software_s)),
        END,
        INPUT_BYTES,
        OUTPUT_BYTES,
    )
    link = EmulatedLink.of(Link.parse(LINK, rtt=rtts_s[0]), clock=clock)
    live: list[dict[str, Any]] = []
    with RoutedSession(
        network, runners, {"words": (0,)}, links={(END, SERVER): link}, clock=clock, stale_s=STALE_S
    ) as session:
        for number, length in enumerate(lengths.tolist()):
            link.delay_s = rtts_s[number * len(rtts_s) // n_inputs] / 2
            session.run(_input(length))
            assert session.last is not None
            one = session.last
            live.append(
                {
                    "length": length,
                    "machine": one.machine,
                    "taken_s": one.taken_s,
                    "expected_s": one.expected_s,
                    "action": one.action,
                    "pings": one.pings,
                    "faults": len(one.faults),
                }
            )
    links = round_trips(network, END, SERVER, [one + software_s for one in rtts_s])
    simulations = {
        policy: simulate(network, lengths, policy=policy, links=links, stale_s=STALE_S, seed=SEED)
        for policy in policies_of(network)
    }
    routed = simulations["routed"]
    total_s = sum(one["taken_s"] for one in live)
    equal = float(
        np.mean([one["machine"] == network.names[place] for one, place in zip(live, routed.machine, strict=True)])
    )
    off = abs(total_s / routed.total_s - 1)
    bars = (
        Bar("live: total time of two routers off its simulation", off, WITHIN, "lower"),
        Bar("live: inputs lost", float(n_inputs - len(live)), 0.0, "lower"),
    )
    rows: list[dict[str, Any]] = [
        {"kind": "curve", "machine": name, "curve": curve.to_json()} for name, curve in curves.items()
    ]
    rows += [
        {"kind": "simulated", "policy": name, "total_s": one.total_s, "shares": one.shares, "pings": one.pings}
        for name, one in simulations.items()
    ]
    rows.append(
        {
            "kind": "live",
            "total_s": total_s,
            "simulated_s": routed.total_s,
            "equal_decisions": equal,
            "software_s": software_s,
            "rtts_s": rtts_s,
        }
    )
    rows += [{"kind": "input", "number": number, **one} for number, one in enumerate(live)]
    steps = _steps(rtts_s, live, routed.taken_s, [network.names[place] for place in routed.machine])
    tables = (
        table(
            f"Two routers, {n_inputs} inputs: live against simulated",
            ["round trip", "inputs", "live", "simulated", "off", "on the server, live", "simulated", "equal"],
            [
                *steps,
                [
                    "all",
                    str(n_inputs),
                    seconds(total_s),
                    seconds(routed.total_s),
                    f"{total_s / routed.total_s - 1:+.1%}",
                    f"{np.mean([one['machine'] == SERVER for one in live]):.0%}",
                    f"{routed.shares[SERVER]:.0%}",
                    f"{equal:.0%}",
                ],
            ],
        ),
        table(
            "The same, simulated with other policies",
            ["policy", "total", "on the server", "pings", "probes"],
            [
                [name, seconds(one.total_s), f"{one.shares[SERVER]:.0%}", str(one.pings), str(one.probes)]
                for name, one in simulations.items()
            ],
        ),
    )
    notes = (
        f"live: cove-{UNITS}, end node slowed {SLOWDOWN:g} times, {LINK} both ways, lengths as of {DATA_SET} "
        f"(synthetic), news stale after {STALE_S:g} s; the software adds "
        f"{seconds(software_s)} to a round trip, simulated too; mean error of the curves: "
        + ", ".join(f"{name} {curve.mape:.1%}" for name, curve in curves.items()),
    )
    return Section(bars, tuple(rows), tables, notes)


def _rtts_s(curves: Mapping[str, LengthModel]) -> list[float]:
    """Return the round trips, so that the benchmark asks the same of any machine's speed."""
    found = []
    for length in BREAK_EVENS:
        moved_s = 8 * (INPUT_BYTES.extended(length) + OUTPUT_BYTES.extended(length)) / parse_bandwidth(LINK)
        found.append(max(curves[END].extended(length) - curves[SERVER].extended(length) - moved_s, LEAST_RTT_S))
    return found


def _input(length: int) -> dict[str, Array]:
    return {"words": np.full((length, 1, WORD_SIZE), 0.5, np.float32)}


def _software_s(clock: Clock, rounds: int) -> float:
    """Return what threads and wake-ups add to a round trip: of an exchange whose answer is ready, less its link."""
    rtt_s, size = 0.02, 10_000
    link = EmulatedLink.of(Link.parse(LINK, rtt=rtt_s), clock=clock)
    reply = Reply(None, size, (SERVER,), 0.0, ())
    hop = EmulatedHop(link, "uplink", lambda message: reply)
    taken_s = []
    for _ in range(4 * rounds):
        time.sleep(REST_S)
        start_s = time.perf_counter()
        hop.exchange(Message(1, None, size, (END,), SERVER), 10.0, lambda late: None)
        taken_s.append(time.perf_counter() - start_s)
    return max(float(np.median(taken_s)) - rtt_s - 2 * 8 * size / parse_bandwidth(LINK), 0.0)


def _curve(run: Runner, rounds: int, *, rest_s: float, in_thread: bool) -> LengthModel:
    """Fit a machine's curve to runs as they come in the network: after a rest, on the server in a new thread."""
    lengths = log_spaced(LEAST, MOST, 12)
    found: list[tuple[int, float]] = []

    def once(length: int) -> None:
        start_s = time.perf_counter()
        run(_input(length))
        found.append((length, time.perf_counter() - start_s))

    for length in lengths:
        once(length)
    found.clear()
    generator = np.random.default_rng(SEED)
    for _ in range(rounds):
        for length in generator.permutation(lengths).tolist():
            time.sleep(rest_s)
            if in_thread:
                thread = threading.Thread(target=once, args=(length,))
                thread.start()
                thread.join()
            else:
                once(length)
    return fit_length_model([length for length, _ in found], [taken_s for _, taken_s in found])


def _steps(
    rtts_s: Sequence[float], live: Sequence[dict[str, Any]], simulated_s: NDArray[np.float64], machines: Sequence[str]
) -> list[list[str]]:
    rows = []
    for step, rtt_s in enumerate(rtts_s):
        own = [number for number in range(len(live)) if number * len(rtts_s) // len(live) == step]
        taken_s, expected_s = sum(live[number]["taken_s"] for number in own), float(simulated_s[own].sum())
        rows.append(
            [
                seconds(rtt_s),
                str(len(own)),
                seconds(taken_s),
                seconds(expected_s),
                f"{taken_s / expected_s - 1:+.1%}",
                f"{np.mean([live[number]['machine'] == SERVER for number in own]):.0%}",
                f"{np.mean([machines[number] == SERVER for number in own]):.0%}",
                f"{np.mean([live[number]['machine'] == machines[number] for number in own]):.0%}",
            ]
        )
    return rows
