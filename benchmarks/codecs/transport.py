"""Messages compressed on the way: bytes and latency of requests over emulated links, with and without.

A network is cut at an activation behind a ReLU near its middle, sent as floats and as codes of 8 bits. Two sessions to
one server, over one link, take turns; what they compute has to be the same, bit for bit.
"""

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.codecs.setting import Array, both_machines, link_at
from benchmarks.result import Bar
from benchmarks.runtime.setting import SLOWDOWN, LinkProcess, ServerProcess, folder, link_options, on_device_core
from benchmarks.section import Section, geometric_mean, table
from benchmarks.settings import Settings
from benchmarks.zoo import NETWORKS as ZOO
from benchmarks.zoo.files import network_file, network_inputs
from graph_io import LayerGraph, load_graph, single_tensor_cuts
from partition import load_plan, partition
from partition.codecs.measure import calibrate_codecs
from partition.emulation.device import SlowDevice
from partition.remote.options import RemoteOptions
from partition.remote.session import RemoteSession
from partition.remote.wire import Endpoint
from partition.runtime.parts import open_numbered_parts

NETWORKS, QUICK_NETWORKS = ("resnet18", "mobilenet_v2", "googlenet"), ("resnet18",)
RATES_MBIT_S, QUICK_RATES_MBIT_S = (2, 5, 10, 200), (10,)
FASTEST_SLOW_MBIT_S = 10
CODECS = ("none", "int8")
RUNS, QUICK_RUNS = 9, 4
WARM_UP = 3
LEAST_BYTES = 64 * 1024
ACTIVATIONS = ("Relu", "Clip")
WORST_LATENCY, LEAST_GAIN = 1.05, 1.1


def measure(settings: Settings) -> Section:
    """Run each network, codec and rate with and without compression, request by request in turn."""
    if find_spec("zstandard") is None:
        return Section((), (), (), ("transport was left out: zstandard is not installed (extra zstd)",))
    names = settings.models or (QUICK_NETWORKS if settings.quick else NETWORKS)
    rows = [row for name in names for row in _of_network(name, settings)]
    slow = [row for row in rows if row["mbit_s"] <= FASTEST_SLOW_MBIT_S]
    gains = [row["plain_s"] / row["packed_s"] for row in slow]
    fewer = [row["plain_bytes"] / row["packed_bytes"] for row in slow]
    worst = max(row["packed_s"] / row["plain_s"] for row in rows)
    bars = (
        Bar("transport: results that differ", float(sum(not row["is_equal"] for row in rows)), 0.0, "lower"),
        Bar("transport: latency with over without, worst", worst, WORST_LATENCY, "lower"),
        Bar(
            f"transport: latency without over with, up to {FASTEST_SLOW_MBIT_S} Mbit/s, mean",
            geometric_mean(gains),
            LEAST_GAIN,
            "higher",
        ),
        Bar("transport: fewer bytes up, mean", geometric_mean(fewer), LEAST_GAIN, "higher"),
    )
    lines = [
        [
            f"{row['network']} at {row['tensor']}, {row['codec']}, {row['mbit_s']} Mbit/s",
            f"{row['zeros']:.0%}",
            f"{row['plain_bytes']}",
            f"{row['packed_bytes']}",
            f"{row['plain_bytes'] / row['packed_bytes']:.2f}",
            f"{row['plain_s'] * 1e3:.1f}",
            f"{row['packed_s'] * 1e3:.1f}",
            f"{row['gain']:.2f}",
            f"{row['coding_s'] * 1e3:.1f}",
            f"{row['share_packed']:.0%}",
        ]
        for row in rows
    ]
    headings = (
        "cut, sent as, rate",
        "zeros",
        "bytes up",
        "with zstd",
        "fewer",
        "ms",
        "with zstd",
        "gain",
        "packing ms",
        "packed",
    )
    title = f"Requests to a server, device {SLOWDOWN:g} times slower (packing, too): medians"
    notes = ("packing: both machines, request and answer; packed: requests that went out compressed",)
    return Section(bars, tuple(rows), (table(title, headings, lines),), notes)


def _of_network(name: str, settings: Settings) -> list[dict[str, Any]]:
    with network_file(name, settings.cache) as path, folder() as home:
        graph = load_graph(path, dims=ZOO[name].dims)
        inputs = network_inputs(name, graph)
        device, server = both_machines(path, inputs)
        tensor = _activation(graph)
        codecs = calibrate_codecs(graph, [inputs], tensors=[tensor])
        rates = QUICK_RATES_MBIT_S if settings.quick else RATES_MBIT_S
        rows = []
        for codec in CODECS:
            # Its cut and codec are the same at each rate, so one save serves them all.
            plan = partition(
                graph,
                link_at(rates[0]),
                cut=[tensor],
                codecs=codecs.only(*(() if codec == "none" else (codec,))),
                max_loss=1.0,
                device=device,
                server=server,
            )
            plan.save(home / codec)
            with ServerProcess([home / codec]) as running:
                for mbit_s in rates:
                    with LinkProcess(running.port, *link_options(link_at(mbit_s))) as link:
                        found = _in_turn(home / codec, link.url, inputs, settings)
                    rows.append({"network": name, "tensor": tensor, "codec": codec, "mbit_s": mbit_s} | found)
    return rows


def _activation(graph: LayerGraph) -> str:
    """Return the middle one of those cuts that are one tensor behind a ReLU, and long enough to matter."""
    tensors = graph.graph["tensors"]
    found = [
        name
        for name in single_tensor_cuts(graph)
        if tensors[name].producer is not None
        and tensors[name].size_bytes >= LEAST_BYTES
        and set(ACTIVATIONS) & set(graph.nodes[tensors[name].producer]["layer"].op_types)
    ]
    return found[len(found) // 2]


def _in_turn(home: Path, url: str, inputs: Mapping[str, Array], settings: Settings) -> dict[str, Any]:
    plan = load_plan(home)
    device = SlowDevice(SLOWDOWN)
    runs = settings.repetitions or (QUICK_RUNS if settings.quick else RUNS)

    def opened(compression: Any) -> RemoteSession:
        options = RemoteOptions(adapt=False, shortest_timeout_s=30.0, compression=compression)
        return RemoteSession(plan, Endpoint.parse(url), options=options, threads=1, on_device=device.run)

    is_equal = True
    with on_device_core(), opened(None) as plain, opened("zstd") as packed:
        for _ in range(WARM_UP + runs):
            wanted, found = plain.run(inputs), packed.run(inputs)
            is_equal &= all(found[name].tobytes() == value.tobytes() for name, value in wanted.items())
        records = {"plain": plain.records[WARM_UP:], "packed": packed.records[WARM_UP:]}
    if any(record.fault is not None for kind in records.values() for record in kind):
        raise RuntimeError(f"a request met a fault: {[one.fault for kind in records.values() for one in kind]}")
    taken = {kind: float(np.median([one.taken_s for one in found])) for kind, found in records.items()}
    sent = {kind: float(np.median([one.visits[0].sent_bytes for one in found])) for kind, found in records.items()}
    done = [record.visits[0].compression for record in records["packed"]]
    compressed = [one for one in done if one is not None]
    return {
        "kind": "transport",
        "is_equal": is_equal,
        "zeros": _zeros(plan, inputs),
        "plain_bytes": int(sent["plain"]),
        "packed_bytes": int(sent["packed"]),
        "plain_s": taken["plain"],
        "packed_s": taken["packed"],
        "gain": taken["plain"] / taken["packed"],
        "predicted_s": float(np.median([one.predicted_s for one in records["packed"]])),
        "coding_s": float(np.median([one.device_s + one.server_s for one in compressed])),
        "share_packed": float(np.mean([one.remark is None for one in compressed])),
    }


def _zeros(plan: Any, inputs: Mapping[str, Array]) -> float:
    """Return the share of zeros in the longest tensor that crosses."""
    session = open_numbered_parts(plan, [0], threads=1)[0]
    return float(np.mean(max(session.run(None, dict(inputs)), key=lambda one: one.nbytes) == 0))
