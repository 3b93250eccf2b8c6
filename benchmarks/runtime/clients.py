"""Many clients at once: goodput against the best of few, what is turned away, and whether memory stays."""

import json
import subprocess
import sys
import time
from typing import Any

import numpy as np

from benchmarks.result import Bar
from benchmarks.runtime.setting import DEVICE_CORE, ServerProcess, folder, measured_model, pin
from benchmarks.section import Section, table
from benchmarks.settings import Settings
from graph_io import single_tensor_cuts
from partition import partition

MODEL = "squeezenet"
FEW, MANY = (1, 2, 4, 8), 64
FEW_S, MANY_S, QUICK_S = 8.0, 60.0, 1.5
GOODPUT_LIMIT = 0.80
# Resident memory after the first quarter may grow by so much in a minute.
SLOPE_LIMIT_BYTES = 16e6
_CLIENT = """
import json, sys, threading, time
from partition import load_plan
from partition.remote.client import V2Client
from partition.remote.errors import Busy, RemoteError
from partition.remote.wire import Endpoint
from partition.runtime.files import default_inputs
from partition.v2.names import stage_interface
folder, url, count, length_s = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
plan = load_plan(folder)
stage = stage_interface(plan, plan.stages[1].parts)
values = default_inputs(plan)
import numpy as np
inputs = {one.name: np.random.default_rng(0).random(one.shape, dtype=np.float32) for one in stage.inputs}
taken, busy, failed = [], [], []
client = V2Client(Endpoint.parse(url))
end_s = time.perf_counter() + length_s
def work():
    while (begun_s := time.perf_counter()) < end_s:
        try:
            client.infer(stage, inputs, timeout_s=30)
            taken.append(time.perf_counter() - begun_s)
        except Busy:
            busy.append(1)
            time.sleep(0.05)
        except RemoteError as error:
            failed.append(str(error))
threads = [threading.Thread(target=work) for _ in range(count)]
for one in threads: one.start()
for one in threads: one.join()
found = {"n": len(taken), "p50_s": float(np.median(taken)), "p99_s": float(np.quantile(taken, 0.99))}
print(json.dumps(found | {"busy": len(busy), "failed": failed[:5], "n_failed": len(failed)}))
"""


def measure(settings: Settings) -> Section:
    """Load the server with 1, 2, 4, 8 and then 64 clients, from another process on another core."""
    found = measured_model(MODEL, settings)
    rows: list[dict[str, Any]] = []
    with folder() as home:
        cuts = single_tensor_cuts(found.graph)
        cut = [cuts[len(cuts) // 3]]
        partition(found.graph, "100Mbps", device=found.device, server=found.server, cut=cut).save(home / "out")
        with ServerProcess([home / "out"], "--queue", "16") as server:
            for count in (*FEW, MANY):
                length_s = QUICK_S if settings.quick else (MANY_S if count == MANY else FEW_S)
                process = subprocess.Popen(
                    [sys.executable, "-c", _CLIENT, str(home / "out"), server.url, str(count), str(length_s)],
                    stdout=subprocess.PIPE,
                    text=True,
                    preexec_fn=lambda: pin(DEVICE_CORE),
                )
                memory: list[tuple[float, int]] = []
                while process.poll() is None:
                    memory.append((time.monotonic(), server.resident_bytes()))
                    time.sleep(0.25)
                assert process.stdout is not None
                told = json.loads(process.stdout.read())
                process.stdout.close()
                rows.append(
                    {
                        "kind": "clients",
                        "clients": count,
                        "goodput_per_s": told["n"] / length_s,
                        "turned_away": told["busy"],
                        "failed": told["n_failed"],
                        "failures": told["failed"],
                        "p50_s": told["p50_s"],
                        "p99_s": told["p99_s"],
                        "resident_bytes": memory[-1][1],
                        "slope_bytes_per_minute": _slope(memory),
                    }
                )
    best = max(row["goodput_per_s"] for row in rows if row["clients"] in FEW)
    many = rows[-1]
    bars = (
        Bar("clients: goodput of 64 over the best of 1 to 8", many["goodput_per_s"] / best, GOODPUT_LIMIT, "higher"),
        Bar("clients: requests neither answered nor turned away", float(many["failed"]), 0.0, "lower"),
        Bar(
            "clients: growth of memory, bytes a minute",
            many["slope_bytes_per_minute"],
            SLOPE_LIMIT_BYTES,
            "lower",
        ),
    )
    lines = [
        [
            str(row["clients"]),
            f"{row['goodput_per_s']:.1f}",
            str(row["turned_away"]),
            str(row["failed"]),
            f"{row['p50_s'] * 1e3:.1f}",
            f"{row['p99_s'] * 1e3:.1f}",
            f"{row['resident_bytes'] / 1e6:.0f}",
        ]
        for row in rows
    ]
    headings = ("clients", "answers 1/s", "503", "failed", "p50 ms", "p99 ms", "memory MB")
    return Section(bars, tuple(rows), (table(f"{MODEL}: clients that ask without pause", headings, lines),))


def _slope(memory: list[tuple[float, int]]) -> float:
    """Return how fast memory grows after the first quarter, in bytes a minute."""
    late = memory[len(memory) // 4 :]
    if len(late) < 3:
        return 0.0
    times, sizes = (np.array(column, dtype=np.float64) for column in zip(*late, strict=True))
    return float(np.polyfit(times - times[0], sizes, 1)[0] * 60)
