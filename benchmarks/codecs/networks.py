"""Zoo networks with random weights: latency against the error of the outputs, for each codec and all of them."""

import statistics
from collections.abc import Mapping
from typing import Any

from rich.table import Table

from benchmarks.codecs.setting import BANDWIDTHS_MBIT_S, Array, both_machines, link_at, on_one_core, run_emulated
from benchmarks.result import Bar
from benchmarks.runtime.setting import SLOWDOWN
from benchmarks.section import Section, geometric_mean, table
from benchmarks.settings import Settings
from benchmarks.zoo import NETWORKS as ZOO
from benchmarks.zoo.files import network_file, network_inputs
from graph_io import load_graph
from graph_io.codecs import CODECS, LOSSLESS
from partition import Plan, partition
from partition.codecs.measure import calibrate_codecs

NETWORKS = ("resnet18", "mobilenet_v2", "googlenet", "yolov2_tiny", "nin", "encoder-small")
QUICK_NETWORKS = ("encoder-small", "mobilenet_v2")
MAX_LOSSES, QUICK_MAX_LOSSES = (0.1, 0.02, 0.002), (0.02,)
TENSORS, QUICK_TENSORS = 24, 8
LEAST_RATIO = 3.5
# At this bound all plans are run as well.
EMULATED_MAX_LOSS = 0.02
N_TIMED, QUICK_TIMED = 5, 3


def measure(settings: Settings) -> Section:
    """Plan every network at every rate and bound, with each codec alone and with all of them."""
    names = settings.models or (QUICK_NETWORKS if settings.quick else NETWORKS)
    rows = [row for name in names for row in _of_network(name, settings)]
    joint = [row for row in rows if row["codec"] == "joint"]
    by_key = {(row["network"], row["mbit_s"], row["max_loss"], row["codec"]): row["latency_s"] for row in rows}
    worst, gains = 0.0, []
    for row in joint:
        key = (row["network"], row["mbit_s"], row["max_loss"])
        singles = [by_key[*key, codec] for codec in (LOSSLESS, *CODECS)]
        worst = max(worst, row["latency_s"] / min(singles))
        gains.append(by_key[*key, LOSSLESS] / row["latency_s"])
    int8 = [row["ratio"] for row in rows if row["codec"] == "int8" and row["ratio"] > 1]
    cuts = [gain for gain, row in zip(gains, joint, strict=True) if row["is_cut"]]
    bars = [Bar("networks: joint choice over the best single codec, worst", worst, 1.0 + 1e-9, "lower")]
    if int8:
        bars.append(Bar("networks: int8, fewer bytes at the cut, least", min(int8), LEAST_RATIO, "higher"))
    if cuts:
        bars.append(
            Bar("networks: gain of the joint choice over no codec, true cuts", geometric_mean(cuts), 1.0, "higher")
        )
    run = [row for row in rows if row["emulated_s"] is not None]
    sending = [abs(row["latency_s"] / row["emulated_s"] - 1) for row in run if row["is_cut"] or row["sent"]]
    if sending:
        bars.append(
            Bar("networks: predicted against emulated latency, median error", statistics.median(sending), 0.15, "lower")
        )
    lines = []
    for row in joint:
        key = (row["network"], row["mbit_s"], row["max_loss"])
        lines.append(
            [
                f"{row['network']}, {row['mbit_s']} Mbit/s, {row['max_loss']:g}",
                row["sent"] or "-",
                f"{row['loss']:.2g}",
                f"{row['latency_s'] * 1e3:.1f}",
                *(
                    f"{by_key[*key, codec] * 1e3:.1f}"
                    for codec in (LOSSLESS, "float16", "int8", "uint8", "uint4-channel")
                ),
            ]
        )
    headings = (
        "network, rate, bound",
        "joint choice",
        "loss",
        "joint ms",
        "none",
        "float16",
        "int8",
        "uint8",
        "uint4-ch.",
    )
    title = f"Predicted latency with measured costs, device {SLOWDOWN:g} times slower; loss: max error of the outputs"
    notes = (
        "each column is the best cut with that codec alone, where it stays within the bound",
        f"{len(cuts)} of {len(joint)} joint plans cut the network in two",
    )
    return Section(tuple(bars), tuple(rows), (table(title, headings, lines), _emulated_table(run)), notes)


def _emulated_table(rows: list[dict[str, Any]]) -> Table:
    """Return the latencies of the plans that were run, by network and rate."""
    shown = ("joint", LOSSLESS, "float16", "int8", "uint8", "uint4", "uint4-channel")
    found: dict[tuple[str, float], dict[str, float]] = {}
    for row in rows:
        found.setdefault((row["network"], row["mbit_s"]), {})[row["codec"]] = row["emulated_s"]
    lines = [
        [
            f"{name}, {mbit_s} Mbit/s",
            *(f"{by_codec[one] * 1e3:.1f}" for one in shown),
            f"{by_codec[LOSSLESS] / by_codec['joint']:.2f}",
        ]
        for (name, mbit_s), by_codec in found.items()
    ]
    title = f"Run on an emulated device and link, ms, at a loss of {EMULATED_MAX_LOSS:g} or less"
    return table(title, ("network, rate", *shown, "gain"), lines)


def _of_network(name: str, settings: Settings) -> list[dict[str, Any]]:
    with network_file(name, settings.cache) as path, on_one_core():
        graph = load_graph(path, dims=ZOO[name].dims)
        inputs = network_inputs(name, graph)
        device, server = both_machines(path, inputs)
        most = QUICK_TENSORS if settings.quick else TENSORS
        codecs = calibrate_codecs(graph, [inputs], max_tensors=most)
        rows: list[dict[str, Any]] = []
        timed: dict[object, float] = {}
        for mbit_s in BANDWIDTHS_MBIT_S:
            for max_loss in QUICK_MAX_LOSSES if settings.quick else MAX_LOSSES:
                for codec in ("joint", LOSSLESS, *CODECS):
                    chosen = codecs if codec == "joint" else codecs.only(*(() if codec == LOSSLESS else (codec,)))
                    plan = partition(
                        graph, link_at(mbit_s), codecs=chosen, max_loss=max_loss, device=device, server=server
                    )
                    row = _row(name, mbit_s, max_loss, codec, plan)
                    row["emulated_s"] = (
                        _emulated(plan, inputs, timed, settings) if max_loss == EMULATED_MAX_LOSS else None
                    )
                    rows.append(row)
    return rows


def _emulated(plan: Plan, inputs: Mapping[str, Array], timed: dict[object, float], settings: Settings) -> float:
    """Run a plan; the same one under another name, or one that sends nothing at another rate, is run once."""
    rate = plan.link.uplink_bits_per_s if plan.messages else None
    key = (rate, plan.layers_on_device, tuple(tuple(one.coded.items()) for one in plan.messages))
    if key not in timed:
        count = settings.repetitions or (QUICK_TIMED if settings.quick else N_TIMED)
        timed[key] = run_emulated(plan, [inputs] * count)[1]
    return timed[key]


def _row(name: str, mbit_s: float, max_loss: float, codec: str, plan: Plan) -> dict[str, Any]:
    assert plan.loss is not None
    up = [message for message in plan.messages if message.direction == "uplink"]
    coded = {tensor: one for message in up for tensor, one in message.coded.items()}
    raw = sum(message.raw_bytes or message.size_bytes for message in up)
    sent = sum(message.size_bytes for message in up)
    return {
        "kind": "plan",
        "network": name,
        "mbit_s": mbit_s,
        "max_loss": max_loss,
        "codec": codec,
        "sent": ", ".join(f"{tensor} as {one}" for tensor, one in coded.items()),
        "loss": plan.loss.loss,
        "measured": plan.loss.measured,
        "latency_s": plan.latency_s,
        "ratio": raw / sent if coded and sent else 1.0,
        "is_cut": 0 < len(plan.layers_on_device) < plan.model.n_layers,
        "optimal": plan.optimal,
    }
