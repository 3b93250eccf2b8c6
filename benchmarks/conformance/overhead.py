"""What a request costs on each pair of client and server, on a model that returns its input; in turns, in one run."""

import socket
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from benchmarks.conformance.checks import Driver
from benchmarks.result import Bar
from benchmarks.section import Section, seconds, table
from partition.remote.client import V2Client
from partition.remote.wire import Endpoint
from partition.v2.names import StageInterface

SIZES = {"4 B": 4, "100 KB": 100_000, "1 MB": 1_000_000, "4 MB": 4_000_000}
LIMITS = {"4 B": 1.2, "100 KB": 1.2, "1 MB": 2.0, "4 MB": 2.0}
OURS, TRITON, TRITON_OWN, TCP = "ours", "Triton, our client", "Triton, tritonclient", "TCP alone"
TRITON_BARE = "no runtime, our client"
_TRITONS = (TRITON, TRITON_OWN, TRITON_BARE)
_ROUNDS = 10
# In one round, of each pair; the first of a round is not counted.
_COUNTS = {"4 B": 120, "100 KB": 120, "1 MB": 40, "4 MB": 20}
_TIMEOUT_S = 60


def measure_overhead(
    stage: StageInterface,
    bare: StageInterface,
    *,
    ours: str,
    triton: str,
    echo: tuple[str, int],
    asked: Driver,
    quick: bool,
) -> Section:
    """Time all pairs in turns, and judge ours against the fastest of Triton's.

    Parameters
    ----------
    stage : StageInterface
        Of one float tensor, that it returns.
    bare : StageInterface
        The same in Triton alone, which runs nothing there but Python.
    ours, triton : str
        URLs of servers that have it.
    echo : tuple of str and int
        Where what is sent comes back over TCP.
    asked : Driver
        Of tritonclient.
    quick : bool
        A fifth of the rounds.
    """
    rounds = _ROUNDS // 5 if quick else _ROUNDS
    times: dict[tuple[str, str], list[float]] = {}
    with V2Client(Endpoint.parse(ours)) as here, V2Client(Endpoint.parse(triton)) as there, _connected(echo) as end:
        for label, size in SIZES.items():
            array = np.random.default_rng(0).standard_normal(size // 4).astype(np.float32)
            pairs: dict[str, Callable[[int], Sequence[float]]] = {
                OURS: lambda count, array=array: _inferences(here, stage, array, count),  # type: ignore[misc]
                TRITON: lambda count, array=array: _inferences(there, stage, array, count),  # type: ignore[misc]
                TRITON_BARE: lambda count, array=array: _inferences(there, bare, array, count),  # type: ignore[misc]
                TRITON_OWN: lambda count, size=size: asked.ask(  # type: ignore[misc]
                    do="time",
                    url=triton.removeprefix("http://"),
                    model=stage.name,
                    given=stage.inputs[0].name,
                    wanted=stage.outputs[0].name,
                    size=size,
                    count=count,
                ),
                TCP: lambda count, size=size: _echoes(end, size, count),  # type: ignore[misc]
            }
            for number in range(rounds + 1):
                # The order turns round: what comes after an idle moment is not always the same.
                for name in (*pairs,) if number % 2 else reversed((*pairs,)):
                    taken = pairs[name](_COUNTS[label] + 1)[1:]
                    if number > 0:
                        times.setdefault((label, name), []).extend(taken)
    return _section(times)


def _section(times: dict[tuple[str, str], list[float]]) -> Section:
    rows: list[dict[str, Any]] = []
    bars = []
    lines = []
    for label, size in SIZES.items():
        found = {name: np.percentile(times[label, name], [50, 99]) for name in (OURS, *_TRITONS, TCP)}
        ratio = float(found[OURS][0] / min(found[name][0] for name in _TRITONS))
        bars.append(Bar(f"p50 of ours over the fastest of Triton's, {label}", ratio, LIMITS[label], "lower"))
        for name, (median, high) in found.items():
            rows.append(
                {
                    "kind": "overhead",
                    "pair": name,
                    "size_bytes": size,
                    "requests": len(times[label, name]),
                    "p50_s": float(median),
                    "p99_s": float(high),
                }
            )
        cells = [f"{seconds(float(median))} / {seconds(float(high))}" for median, high in found.values()]
        lines.append([label, *cells, f"{ratio:.2f}"])
    headings = ["request, and response", OURS, *_TRITONS, TCP, "ratio of p50"]
    return Section(tuple(bars), tuple(rows), (table("p50 / p99 over HTTP on loopback", headings, lines),))


def _inferences(client: V2Client, stage: StageInterface, array: Any, count: int) -> list[float]:
    name = stage.inputs[0].name
    times = []
    for _ in range(count):
        start = time.perf_counter()
        outputs, _ = client.infer(stage, {name: array}, timeout_s=_TIMEOUT_S)
        times.append(time.perf_counter() - start)
        assert outputs[stage.outputs[0].name].size == array.size
    return times


def _connected(address: tuple[str, int]) -> socket.socket:
    end = socket.create_connection(address)
    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return end


def _echoes(end: socket.socket, size: int, count: int) -> list[float]:
    content = size.to_bytes(8, "big") + bytes(size)
    buffer = memoryview(bytearray(size))
    times = []
    for _ in range(count):
        start = time.perf_counter()
        end.sendall(content)
        place = 0
        while place < size:
            place += end.recv_into(buffer[place:])
        times.append(time.perf_counter() - start)
    return times
