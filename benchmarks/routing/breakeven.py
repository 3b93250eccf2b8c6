"""The length from which a server is quicker: as a router predicts it, and as measured over an emulated link.

Device and server are this machine, at one thread on one core; the device then waits until it took `SLOWDOWN` times as
long, and the link is emulated in the same process. The plain runs that the prediction is made of, and the requests over
the link and to the slow device that it is compared with, are mixed in one loop: a drift of the machine meets all alike.
Before each of them the machine rests, as between requests that come apart. Pings are in the loop, too: the round trip
that they tell, the emulation's own time included, is what the router knows of the link.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.models import built_file
from benchmarks.result import Bar
from benchmarks.routing.measured import MEASURANDS
from benchmarks.runtime.setting import BETWEEN_RUNS_S, SLOWDOWN, on_device_core
from benchmarks.section import Section, table
from benchmarks.settings import SEED, Settings
from benchmarks.zoo import NETWORKS
from graph_io import Model, fix_input_dims, input_dtypes, load_model, random_inputs
from partition import Link
from partition.emulation.device import SlowDevice
from partition.emulation.link import EmulatedLink
from partition.routing.length_models import LengthModel, exact_length_model, fit_length_model
from partition.routing.network import MachineNetwork, RoutedMachine, both_ways
from partition.routing.open_dims import log_spaced
from partition.routing.router import Router

if TYPE_CHECKING:
    import onnxruntime

END, SERVER, PING = "device", "server", "ping"
PING_TASK = (PING, 0)
LIMIT = 0.05
# Of the curve, and around the break-even.
CURVE_LENGTHS, LENGTHS, QUICK_LENGTHS = 12, 9, 3
RUNS, QUICK_RUNS = 40, 3
# Rounds of plain runs alone, which tell where to look for the break-even.
FIRST_RUNS, QUICK_FIRST_RUNS = 8, 3
# Lengths around the predicted one at which both ways are measured, as a share of it.
AROUND = 0.2


@dataclass(frozen=True, slots=True)
class Case:
    """A network, and a link (rate both ways, round trip) on which both curves cross well inside the range."""

    network: str
    rate: str
    rtt: str

    @property
    def link(self) -> Link:
        """The link as the library takes it."""
        return Link.parse(self.rate, rtt=self.rtt)

    def pinged(self, rtt_s: float) -> Link:
        """Return the link with the round trip that pings took."""
        return Link.parse(self.rate, rtt=rtt_s)


CASES = (
    Case("cove-300", "200Mbps", "30ms"),
    Case("imdb-lstm", "10Mbps", "6ms"),
)


def measure(settings: Settings) -> Section:
    """Predict and measure the break-even of each case."""
    rows = [_row(case, settings) for case in (CASES[1:] if settings.quick else CASES)]
    bars = tuple(
        Bar(f"breakeven: error of the predicted length, {row['network']}", row["counted_error"], LIMIT, "lower")
        for row in rows
    )
    lines = [
        [
            f"{row['network']}, {row['link']}",
            str(row["predicted"]),
            f"{row['measured']:.1f}",
            f"{row['error']:+.1%}",
            f"{row['at_predicted_ms'][0]:.2f}",
            f"{row['at_predicted_ms'][1]:.2f}",
            f"{row['device_error']:+.1%}",
            f"{row['server_error']:+.1%}",
        ]
        for row in rows
    ]
    headings = (
        *("network, link", "predicted N", "measured N", "error", "device ms", "server ms"),
        *("device error", "server error"),
    )
    title = f"Break-even between a device {SLOWDOWN:g} times slower and a server"
    notes = (
        f"measured: where a line through the differences of the medians crosses zero, lengths within {AROUND:.0%} of "
        "the predicted one; an error of one step or less counts as 0; device and server errors: predicted over "
        "measured, mean over these lengths",
    )
    return Section(bars, tuple(rows), (table(title, headings, lines),), notes)


def predicted_break_even(latency: LengthModel, sizes: tuple[LengthModel, LengthModel], link: Link) -> int:
    """Return the least length at which the device's router sends the input on.

    Raises
    ------
    ValueError
        There is none in the range.
    """
    machines = (RoutedMachine(END, latency, slowdown=SLOWDOWN), RoutedMachine(SERVER, latency))
    router = Router(MachineNetwork(machines, both_ways(END, SERVER, link), END, *sizes), END)
    for length in range(latency.least, latency.most + 1):
        if router.decide(length).destination == SERVER:
            return length
    raise ValueError(f"no break-even from {latency.least} to {latency.most} on {link}")


def _row(case: Case, settings: Settings) -> dict[str, Any]:
    chosen, name = MEASURANDS[case.network], case.network
    runs = settings.repetitions or (QUICK_RUNS if settings.quick else RUNS)
    first_runs = QUICK_FIRST_RUNS if settings.quick else FIRST_RUNS
    with built_file(f"{name}.onnx", NETWORKS[name].build, settings.cache) as path, on_device_core():
        bench = _Bench(path, case.link)
        curve_lengths = log_spaced(chosen.least, chosen.most, CURVE_LENGTHS)
        plain = [*(("plain", length) for length in curve_lengths), PING_TASK]
        first = bench.times(plain, first_runs)
        sizes = bench.sizes(curve_lengths)
        roughly = predicted_break_even(_curve(first), sizes, case.link)
        count = QUICK_LENGTHS if settings.quick else LENGTHS
        around = np.linspace((1 - AROUND) * roughly, (1 + AROUND) * roughly, count)
        lengths = sorted({int(np.clip(round(one), chosen.least, chosen.most)) for one in around})
        tasks = [(where, length) for where in (END, SERVER) for length in lengths]
        times_s = bench.times([*plain, *tasks], runs)
    latency, link = _curve(times_s), case.pinged(float(np.median(times_s[PING_TASK])))
    predicted = predicted_break_even(latency, sizes, link)
    device_s, server_s = (np.array([np.median(times_s[where, one]) for one in lengths]) for where in (END, SERVER))
    slope, start = np.polyfit(lengths, device_s - server_s, 1)
    crossing = float(-start / slope)
    expected_server_s = latency.over(lengths) + link.rtt_s
    expected_server_s += 8 * sizes[0].over(lengths) / link.uplink_bits_per_s
    expected_server_s += 8 * sizes[1].over(lengths) / link.downlink_bits_per_s
    error = predicted / crossing - 1
    middle = int(np.argmin(np.abs(np.array(lengths) - predicted)))
    return {
        "kind": "break-even",
        "network": name,
        "link": f"{case.rate}, {case.rtt}",
        "ping_ms": 1e3 * link.rtt_s,
        "curve_ms": [1e3 * one for one in latency.coefficients],
        "predicted": predicted,
        "measured": crossing,
        "error": error,
        "counted_error": 0.0 if abs(predicted - crossing) <= 1 else abs(error),
        "lengths": lengths,
        "device_ms": (1e3 * device_s).tolist(),
        "server_ms": (1e3 * server_s).tolist(),
        "at_predicted_ms": [1e3 * float(device_s[middle]), 1e3 * float(server_s[middle])],
        "device_error": float(np.mean(SLOWDOWN * latency.over(lengths) / device_s)) - 1,
        "server_error": float(np.mean(expected_server_s / server_s)) - 1,
    }


def _curve(times_s: Mapping[tuple[str, int], Sequence[float]]) -> LengthModel:
    """Fit the plain runs."""
    samples = [(length, one) for (where, length), own in times_s.items() if where == "plain" for one in own]
    return fit_length_model([length for length, _ in samples], [one for _, one in samples])


class _Bench:
    """The network as plain runs, on the slow device, and on the server behind the link."""

    def __init__(self, path: Path, link: Link) -> None:
        self._model: Model = load_model(path)
        self._session = _session(path)
        self._device, self._link = SlowDevice(SLOWDOWN), EmulatedLink.of(link)
        self._fed: dict[int, dict[str, Any]] = {}

    def times(self, tasks: Sequence[tuple[str, int]], runs: int) -> dict[tuple[str, int], list[float]]:
        """Return seconds by place and length; each round goes through all of them in another order."""
        found: dict[tuple[str, int], list[float]] = {task: [] for task in tasks}
        generator = np.random.default_rng(SEED)
        for run in range(-1, runs):
            # The first round finds nothing warm and does not count.
            for number in generator.permutation(len(tasks)).tolist():
                taken_s = self._once(*tasks[number])
                if run >= 0:
                    found[tasks[number]].append(taken_s)
        return found

    def sizes(self, lengths: Sequence[int]) -> tuple[LengthModel, LengthModel]:
        """Return the bytes of the input and of the output."""
        inputs = [_bytes(self._inputs(length).values()) for length in lengths]
        outputs = [_bytes(self._session.run(None, self._inputs(length))) for length in lengths]
        up, down = exact_length_model(lengths, inputs), exact_length_model(lengths, outputs)
        # The sizes of these networks are lines.
        assert up is not None
        assert down is not None
        return up, down

    def _once(self, where: str, length: int) -> float:
        inputs = self._inputs(length) if where != PING else {}
        time.sleep(BETWEEN_RUNS_S)
        before_s = time.perf_counter()
        if where == END:
            self._device.run(lambda: self._session.run(None, inputs))
        elif where == SERVER:
            sent = _bytes(inputs.values())
            self._link.call(lambda: self._session.run(None, inputs), request_bytes=sent, reply_bytes=_bytes)
        elif where == PING:
            self._link.call(lambda: None, request_bytes=0, reply_bytes=lambda _: 0)
        else:
            self._session.run(None, inputs)
        return time.perf_counter() - before_s

    def _inputs(self, length: int) -> dict[str, Any]:
        if length not in self._fed:
            shapes, _ = fix_input_dims(self._model, {"seq": length})
            self._fed[length] = random_inputs(shapes, input_dtypes(self._model), seed=SEED)
        return self._fed[length]


def _bytes(arrays: Any) -> int:
    return sum(int(one.nbytes) for one in arrays)


def _session(path: Path) -> "onnxruntime.InferenceSession":
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
