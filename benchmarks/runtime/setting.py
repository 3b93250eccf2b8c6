"""What the sections share: costs measured here, and a server and a link as processes on a core of their own."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from benchmarks.models import model_file
from benchmarks.settings import SEED, Settings
from graph_io import LayerGraph, load_graph
from graph_io.inputs import random_inputs
from graph_io.shapes import input_dtypes
from partition import Link, Plan
from partition.latency.measure import measure as measure_model
from partition.latency.timings import Timings

SLOWDOWN = 8.0
"""How many times as long as the server the emulated device takes."""
BETWEEN_RUNS_S = 0.03
"""Both machines rest between two runs: while the link is busy, and the device also where it is made slower."""
DEVICE_CORE, SERVER_CORE = 0, 1

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Measured:
    """A model, its inputs, and its measured costs on the emulated device and on the server."""

    graph: LayerGraph
    inputs: dict[str, Array]
    device: Timings
    server: Timings


def measured_model(name: str, settings: Settings) -> Measured:
    """Load a light model and measure its layers on this machine, at one thread."""
    with model_file(name, settings.cache) as path:
        graph = load_graph(path)
        inputs = random_inputs(graph.graph["input_shapes"], input_dtypes(graph.graph["model"]), seed=SEED)
        server = measure_model(path, inputs=inputs, threads=1, pause_s=BETWEEN_RUNS_S)
    return Measured(graph, inputs, slowed(server, SLOWDOWN), server)


def slowed(timings: Timings, factor: float) -> Timings:
    """Return timings of a machine that takes so many times as long."""
    whole = timings.whole_model
    return replace(
        timings,
        name=f"{timings.name}, {factor:g} times slower",
        whole_model=replace(
            whole,
            latency_s=whole.latency_s * factor,
            spread_s=whole.spread_s * factor,
            cpu_s=whole.cpu_s * factor,
        ),
        layers=tuple(
            replace(one, latency_s=one.latency_s * factor, spread_s=one.spread_s * factor) for one in timings.layers
        ),
        conversions=tuple(
            replace(one, encode_s=one.encode_s * factor, decode_s=one.decode_s * factor) for one in timings.conversions
        ),
    )


@contextmanager
def folder() -> Iterator[Path]:
    """Yield a folder that is removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="dnn-partition-bench-") as path:
        yield Path(path)


class ServerProcess:
    """`dnn-partition serve` on the server's core; it can be killed and started again on the same port."""

    def __init__(self, folders: Sequence[Path], *options: str) -> None:
        self._command = ["serve", *map(str, folders), "--threads", "1", "--concurrency", "1", "--json", *options]
        self.port = 0
        self.start()

    def start(self) -> None:
        """Start it, and wait until it listens."""
        self.process, told = _started([*self._command, "--port", str(self.port)], SERVER_CORE)
        self.url = str(told["url"])
        self.port = int(self.url.rsplit(":", 1)[1])

    def kill(self) -> None:
        """End it without warning."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()

    def freeze(self) -> None:
        """Stop it where it is."""
        os.killpg(self.process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        os.killpg(self.process.pid, signal.SIGCONT)

    def resident_bytes(self) -> int:
        """Return the memory of its processes that is resident."""
        import psutil

        parent = psutil.Process(self.process.pid)
        return sum(one.memory_info().rss for one in (parent, *parent.children(recursive=True)))

    def __enter__(self) -> "ServerProcess":
        return self

    def __exit__(self, *_: object) -> None:
        _ended(self.process)


def link_options(link: Link) -> list[str]:
    """Return a link as options of `LinkProcess`."""
    up, down, rtt_ms = link.uplink_bits_per_s, link.downlink_bits_per_s, link.rtt_s * 1e3
    return ["--bandwidth", f"{up}bps", "--downlink", f"{down}bps", "--rtt", f"{rtt_ms}ms"]


def fixed_plans(plan: Plan) -> dict[str, Plan]:
    """Return the two simple placements of a plan that adapts, as plans that do not move."""
    chosen = {
        "all on the device": next(one for one in plan.choices if not one.messages),
        "all on the server": next(one for one in plan.choices if not one.stages[0].parts),
    }
    return {name: replace(plan, stages=one.stages, messages=one.messages) for name, one in chosen.items()}


class LinkProcess:
    """`dnn-partition emulate` on the server's core, in front of a port of this machine."""

    def __init__(self, port: int, *options: str) -> None:
        arguments = ["emulate", "--to", f"127.0.0.1:{port}", "--json", *options]
        self.process, told = _started(arguments, SERVER_CORE)
        self.url = f"http://127.0.0.1:{told['port']}"
        self.start_s = float(told["start_monotonic_s"])
        """When its traces began, by `time.monotonic`."""

    def __enter__(self) -> "LinkProcess":
        return self

    def __exit__(self, *_: object) -> None:
        _ended(self.process)


def _started(arguments: Sequence[str], core: int) -> "tuple[subprocess.Popen[str], dict[str, Any]]":
    """Start the command on one core, in a process group of its own, and read the JSON that it begins with."""
    process = subprocess.Popen(
        [sys.executable, "-m", "partition", *arguments],
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        start_new_session=True,
        preexec_fn=lambda: pin(core),
    )
    assert process.stdout is not None
    text = ""
    for line in process.stdout:
        text += line
        try:
            return process, json.loads(text)
        except ValueError:
            continue
    raise RuntimeError(f"'{' '.join(arguments[:2])}' ended with code {process.wait()} before it listened")


def pin(core: int) -> None:
    """Keep this process on one of the processors that it may use."""
    available = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {available[core % len(available)]})


@contextmanager
def on_device_core() -> Iterator[None]:
    """Keep this process on the device's core."""
    before = os.sched_getaffinity(0)
    pin(DEVICE_CORE)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _ended(process: "subprocess.Popen[str]") -> None:
    try:
        os.killpg(process.pid, signal.SIGCONT)
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=5)
    except (ProcessLookupError, subprocess.TimeoutExpired):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    if process.stdout is not None:
        process.stdout.close()


def wait_until(moment_s: float) -> None:
    """Sleep until a moment by `time.monotonic`."""
    left_s = moment_s - time.monotonic()
    if left_s > 0:
        time.sleep(left_s)
