"""A busy server: clients of all kinds compete for it, and the plan moves work back to the device."""

import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from benchmarks.result import Bar
from benchmarks.runtime.setting import (
    SERVER_CORE,
    SLOWDOWN,
    LinkProcess,
    ServerProcess,
    fixed_plans,
    folder,
    link_options,
    measured_model,
    on_device_core,
    pin,
)
from benchmarks.section import Section, table
from benchmarks.settings import Settings
from partition import Link, load_plan, partition
from partition.emulation.device import SlowDevice
from partition.remote.options import RemoteOptions
from partition.remote.records import RunRecord
from partition.remote.session import RemoteSession
from partition.remote.wire import Endpoint

MODEL, QUICK_MODEL = "bvlc_alexnet", "squeezenet"
# So fast that an idle server gets everything, and so slow that a busy one does not.
LINK = Link.parse("40Mbps", rtt="5ms")
RANGE = {"bandwidth": "1Mbps..1Gbps", "server_slowdown": "1..1000"}
CLIENTS, QUICK_CLIENTS = (0, 4, 16), (0, 4)
REQUESTS, QUICK_REQUESTS = 40, 6
# Each waits about so long between two requests, as a camera would.
_CLIENT = """
import sys, time
from partition import load_plan
from partition.remote.client import V2Client
from partition.remote.errors import RemoteError
from partition.remote.wire import Endpoint
from partition.runtime.files import default_inputs
from partition.v2.names import stage_interface
folder, url, pause_s = sys.argv[1], sys.argv[2], float(sys.argv[3])
plan = load_plan(folder)
stage = stage_interface(plan, range(len(plan.parts)))
inputs = default_inputs(plan)
client = V2Client(Endpoint.parse(url))
print("ready", flush=True)
while True:
    try:
        client.infer(stage, inputs, timeout_s=60)
    except RemoteError:
        pass
    time.sleep(pause_s)
"""


def measure(settings: Settings) -> Section:
    """Run the adaptive plan and both simple ones beside each number of clients."""
    name = settings.models[0] if settings.models else (QUICK_MODEL if settings.quick else MODEL)
    found = measured_model(name, settings)
    rows: list[dict[str, Any]] = []
    with folder() as home:
        partition(found.graph, LINK, device=found.device, server=found.server, adapt=RANGE).save(home / "out")
        plan = load_plan(home / "out")
        fixed = fixed_plans(plan)
        options = link_options(LINK)
        with ServerProcess([home / "out"], "--queue", "64", "--all-parts") as server:
            pause_s = 4 * found.server.whole_model.latency_s
            for count in QUICK_CLIENTS if settings.quick else CLIENTS:
                with _clients(count, home / "out", server.url, pause_s):
                    for policy in ("adaptive", *fixed):
                        own = fixed.get(policy, plan)
                        remote = RemoteOptions(adapt=policy == "adaptive", shortest_timeout_s=10.0)
                        device = SlowDevice(SLOWDOWN)
                        with (
                            LinkProcess(server.port, *options) as emulated,
                            on_device_core(),
                            RemoteSession(
                                own,
                                Endpoint.parse(emulated.url),
                                options=remote,
                                threads=1,
                                on_device=device.run,
                            ) as session,
                        ):
                            for _ in range(settings.repetitions or (QUICK_REQUESTS if settings.quick else REQUESTS)):
                                session.run(found.inputs)
                            records = list(session.records)[2:]
                        on_device = [_device_s(record) for record in records]
                        rows.append(
                            {
                                "kind": "competing",
                                "clients": count,
                                "policy": policy,
                                "mean_s": statistics.fmean(record.taken_s for record in records),
                                "device_s": statistics.fmean(on_device),
                                "server_slowdown": statistics.median(
                                    record.conditions.server_slowdown for record in records
                                ),
                                "faults": sum(any(visit.fault for visit in record.visits) for record in records),
                            }
                        )
    bars = []
    for count in dict.fromkeys(row["clients"] for row in rows):
        own_rows = {row["policy"]: row["mean_s"] for row in rows if row["clients"] == count}
        simple = min(own_rows["all on the device"], own_rows["all on the server"])
        ratio = own_rows["adaptive"] / simple
        bars.append(Bar(f"load: adaptive over the better simple one, {count} clients", ratio, 1.0, "lower"))
    lines = [
        [
            f"{row['clients']} clients, {row['policy']}",
            f"{row['mean_s'] * 1e3:.1f}",
            f"{row['device_s'] * 1e3:.1f}",
            f"{row['server_slowdown']:.1f}",
            str(row["faults"]),
        ]
        for row in rows
    ]
    headings = ("competing, policy", "mean ms", "planned on the device ms", "server slowdown", "finished here")
    title = f"{name} beside other clients of the server, {LINK}, device {SLOWDOWN:g} times slower"
    return Section(tuple(bars), tuple(rows), (table(title, headings, lines),))


def _device_s(record: RunRecord) -> float:
    """Return what a request's placement was planned to take on the device."""
    own = [stage.predicted_s for stage in record.stages if stage.machine == "device"]
    return sum(own) / record.conditions.device_slowdown


@contextmanager
def _clients(count: int, saved: Path, url: str, pause_s: float) -> Iterator[None]:
    with ExitStack() as stack:
        for _ in range(count):
            process = subprocess.Popen(
                [sys.executable, "-c", _CLIENT, str(saved), url, str(pause_s)],
                stdout=subprocess.PIPE,
                text=True,
                preexec_fn=lambda: pin(SERVER_CORE),
            )
            stack.callback(process.wait)
            stack.callback(process.kill)
            assert process.stdout is not None
            stack.callback(process.stdout.close)
            process.stdout.readline()
        if count:
            time.sleep(1.0)
        yield
