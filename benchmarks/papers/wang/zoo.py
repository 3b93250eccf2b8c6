"""Every network of the zoo, split at the optimum for 3G, 4G and Wi-Fi, run, and compared with the whole model."""

import shutil
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.result import Bar
from benchmarks.section import Section, seconds, table
from benchmarks.settings import Settings
from benchmarks.zoo import NETWORKS
from benchmarks.zoo.files import network_file, network_inputs
from graph_io import LayerGraph, head_of_cut, load_graph, single_tensor_cuts
from partition import partition

LINKS = ("3g", "4g", "wifi")
HALVED = "halved"
"""Beside the links, where all three optima have everything on one machine: the cut that halves the arithmetic."""
QUICK = ("mnist", "dqn", "senna-pos", "cove-200", "gru-keywords", "vae")
DEVICE, SERVER = "raspberry-pi-4", "xeon-server"


def measure(settings: Settings) -> Section:
    """Plan, save and verify; links with the same parts share one run."""
    names = settings.models or (QUICK if settings.quick else tuple(NETWORKS))
    rows = [row for name in names for row in _network(name, settings)]
    ok = sum(row["ok"] for row in rows)
    optima = [row for row in rows if row["link"] != HALVED]
    bars = (
        Bar("zoo: splits that do not give the whole model's answer", len(rows) - ok, 0, "lower"),
        Bar("zoo: optima that are not proven", sum(not row["proven"] for row in optima), 0, "lower"),
    )
    written = [
        (
            row["network"],
            row["link"],
            f"{row['layers_on_device']} of {row['n_layers']}",
            row["cut"],
            seconds(row["latency_s"]),
            f"{row['gain_over_device']:.2f}",
            f"{row['gain_over_server']:.2f}",
            "bit-identical" if row["bit_identical"] else f"{row['max_relative_error']:.1e}",
            "yes" if row["ok"] else "[bold red]NO[/]",
        )
        for row in rows
    ]
    shown = table(
        f"The zoo, split at the optimum and run: {DEVICE} and {SERVER} (latencies PREDICTED, answers run here)",
        (
            "network",
            "link",
            "on the device",
            "sent up",
            "latency",
            "all device",
            "all server",
            "largest error",
            "equal",
        ),
        written,
    )
    inner = sum(0 < row["layers_on_device"] < row["n_layers"] for row in optima)
    notes = (
        f"zoo: {ok} of {len(rows)} splits of {len(names)} networks give the whole model's answer: "
        f"{len(optima)} optima, {inner} of them with layers on both sides, and {len(rows) - len(optima)} cuts that "
        "halve the arithmetic of networks whose optima have all on one machine; links are the presets with their round "
        "trips, outputs wanted on the device; all device and all server in units of the split's latency; three inputs "
        "each",
    )
    return Section(bars, tuple(rows), (shown,), notes)


def _network(name: str, settings: Settings) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    checked: dict[frozenset[frozenset[str]], dict[str, Any]] = {}
    with network_file(name, settings.cache) as path:
        graph = load_graph(path, dims=dict(NETWORKS[name].dims))
        inputs = [network_inputs(name, graph)] if NETWORKS[name].ones else None
        plans = {link: partition(graph, link, device=DEVICE, server=SERVER) for link in LINKS}
        halving = _halving_cut(graph)
        if halving is not None and all(len(plan.parts) == 1 for plan in plans.values()):
            plans[HALVED] = partition(graph, LINKS[-1], device=DEVICE, server=SERVER, cut=[halving])
        for link, plan in plans.items():
            head = plan.layers_on_device
            # All on the device and all on the server are one and the same part.
            same = frozenset(frozenset(part.layers) for part in plan.parts)
            if same not in checked:
                checked[same] = _verified(plan, inputs)
            whole = {estimate.name: estimate.latency_s for estimate in plan.estimates}
            rows.append(
                {
                    "kind": "zoo",
                    "network": name,
                    "link": link,
                    "n_layers": plan.model.n_layers,
                    "layers_on_device": len(head),
                    "cut": _cut(plan),
                    "latency_s": plan.latency_s,
                    "gain_over_device": whole["all on the device"] / plan.latency_s,
                    "gain_over_server": whole["all on the server"] / plan.latency_s,
                    "proven": plan.optimal,
                    **checked[same],
                }
            )
    return rows


def _halving_cut(graph: LayerGraph) -> str | None:
    """Return the tensor whose cut comes nearest to halving the arithmetic; None if no tensor is a cut inside."""
    flops = {layer: float(data["layer"].flops) for layer, data in graph.nodes(data=True)}
    heads = {tensor: head_of_cut(graph, [tensor]) for tensor in single_tensor_cuts(graph)}
    inner = {tensor: head for tensor, head in heads.items() if 0 < len(head) < len(graph)}
    half = sum(flops.values()) / 2
    return min(inner, key=lambda tensor: abs(sum(flops[layer] for layer in inner[tensor]) - half), default=None)


def _cut(plan: Any) -> str:
    sent = [name for message in plan.messages if message.direction == "uplink" for name in message.tensors]
    return "nothing" if not sent else sent[0] if len(sent) == 1 else f"{len(sent)} tensors"


def _verified(plan: Any, inputs: Any) -> dict[str, Any]:
    folder = Path(tempfile.mkdtemp(prefix="dnn-partition-bench-"))
    try:
        saved = plan.save(folder / "plan")
        found = saved.verify(inputs=inputs, threads=1)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return {
        "ok": found.ok,
        "bit_identical": found.bit_identical,
        "max_relative_error": found.max_relative_error,
        "depends_on_input": found.depends_on_input,
    }
