"""The two tables of chosen splits, six rows by eight networks each: published and obtained."""

from collections.abc import Sequence
from typing import Any

from rich.table import Table

import solvers
from benchmarks.papers.baselines import SLACK, chain_only
from benchmarks.papers.networks import Network, bridge, chosen, network
from benchmarks.papers.neurosurgeon import SETTING
from benchmarks.papers.setting import DEVICES
from benchmarks.result import Bar
from benchmarks.section import Section, table
from benchmarks.settings import Settings
from partition.problem import DEVICE, Bridge, IntArray, Objective

Row = dict[str, Any]

_COLUMNS = ("alexnet", "vgg19", "deepface", "mnist", "asr", "senna-pos", "senna-ner", "senna-chk")
_HEADINGS = ("IMC", "VGG", "FACE", "DIG", "ASR", "POS", "NER", "CHK")
# POS, NER and CHK share one cell.
_PUBLISHED: dict[tuple[Objective, str, str], str] = {
    ("latency", "CPU", "Wi-Fi"): "input input input input input fc3",
    ("latency", "CPU", "LTE"): "input input input argmax input fc3",
    ("latency", "CPU", "3G"): "argmax input input argmax input fc3",
    ("latency", "GPU", "Wi-Fi"): "pool5 input input argmax input fc3",
    ("latency", "GPU", "LTE"): "argmax argmax input argmax input fc3",
    ("latency", "GPU", "3G"): "argmax argmax argmax argmax input fc3",
    ("energy", "CPU", "Wi-Fi"): "input input input input input fc3",
    ("energy", "CPU", "LTE"): "input input input input input fc3",
    ("energy", "CPU", "3G"): "input input input argmax input fc3",
    ("energy", "GPU", "Wi-Fi"): "input input input argmax input fc3",
    ("energy", "GPU", "LTE"): "pool5 input input argmax input fc3",
    ("energy", "GPU", "3G"): "argmax argmax input argmax input fc3",
}
LAST = {"argmax", "fc3"}
"""Everything on the device: a network ends at its argmax, SENNA's three layers at fc3."""


def published(objective: Objective, device: str, link: str) -> dict[str, str]:
    """Return the published choice of each network."""
    cells = _PUBLISHED[objective, device, link].split()
    return dict(zip(_COLUMNS, [*cells, cells[-1], cells[-1]], strict=True))


def measure(settings: Settings) -> Section:
    """Choose a split in all twelve rows for each network, by the paper's rule."""
    names = [name for name in _COLUMNS if name in chosen(SETTING, settings)]
    rows = [
        _cell(network(name, settings), settings, name, device, link, objective)
        for objective, device, link in _PUBLISHED
        for name in names
    ]
    agreeing = sum(row["agrees"] for row in rows)
    close = sum(not row["agrees"] and row["published_over_chosen"] <= 1.1 for row in rows)
    differ = max((row["chain_over_optimum"] for row in rows), default=1.0)
    bars = (Bar("Neurosurgeon: its rule over the exact optimum on chains, largest", differ, 1 + SLACK, "lower"),)
    notes = (
        f"Neurosurgeon's tables: {agreeing} of {len(rows)} choices as published, {close} more where the published one "
        "costs at most 10 % more here; POS, NER and CHK share a cell of the paper and count three times; no cell was "
        "fitted, and no promise is made of that share",
        "a cell that differs: obtained (published, its cost here over that of the obtained); * = not as published",
        "input = all in the cloud, argmax and fc3 = all on the device, pool5 = AlexNet behind its last pooling",
        *(_share(name, rows) for name in names),
    )
    objectives: tuple[Objective, ...] = ("latency", "energy")
    return Section(bars, tuple(rows), tuple(_table(one, names, rows) for one in objectives), notes)


def _cell(net: Network, settings: Settings, name: str, device: str, link: str, objective: Objective) -> Row:
    priced = bridge(net, SETTING, settings, device=device, link=link, objective=objective)
    placement = chain_only(net, priced, lambda one: solvers.evaluate(priced.objective, one))
    value = solvers.evaluate(priced.objective, placement)
    expected = published(objective, device, link)[name]
    theirs = solvers.evaluate(priced.objective, _published_placement(net, priced, expected))
    got = _called(net, priced, placement, expected)
    return {
        "kind": "choice",
        "objective": objective,
        "device": device,
        "link": link,
        "network": name,
        "published": expected,
        "obtained": got,
        "agrees": got == expected,
        "published_over_chosen": theirs / value,
        "chain_over_optimum": value / solvers.solve(priced.objective).value,
    }


def _called(net: Network, priced: Bridge, placement: IntArray, expected: str) -> str:
    """Name a split as the paper does."""
    on_device = frozenset(layer for layer, machine in zip(priced.layers, placement, strict=False) if machine == DEVICE)
    if not on_device:
        return "input"
    if len(on_device) == len(priced.layers):
        return expected if expected in LAST else "fc3" if net.name.startswith("senna") else "argmax"
    if net.name == "alexnet" and on_device in pool5_heads(net):
        return "pool5"
    tensor = next(tensor for tensor, head in net.heads.items() if head == on_device)
    operators = net.graph.nodes[net.graph.graph["tensors"][tensor].producer]["layer"].op_types
    return f"{operators[0]} {len(on_device)}/{len(priced.layers)}"


def pool5_heads(net: Network) -> list[frozenset[str]]:
    """Return the heads that end at the last pooling: with and without the flattening that moves nothing."""
    found: list[frozenset[str]] = []
    for head in net.heads.values():
        operators = [net.graph.nodes[layer]["layer"].op_types for layer in head]
        pools = sum("MaxPool" in types for types in operators)
        if pools == 3 and not any("Gemm" in types for types in operators):
            found.append(head)
    return found


def _published_placement(net: Network, priced: Bridge, expected: str) -> IntArray:
    if expected == "input":
        return priced.placement(frozenset())
    if expected == "pool5":
        return priced.placement(pool5_heads(net)[0])
    return priced.placement(frozenset(priced.layers))


def _share(name: str, rows: Sequence[Row]) -> str:
    own = [row for row in rows if row["network"] == name]
    agreeing = sum(row["agrees"] for row in own)
    worst = max(row["published_over_chosen"] for row in own)
    return f"{name}: {agreeing} of {len(own)} as published; the published choice costs at most {worst:.2f} x ours here"


def _table(objective: Objective, names: Sequence[str], rows: Sequence[Row]) -> Table:
    written = []
    for device in DEVICES:
        for link in reversed(list(SETTING.links)):
            cells = []
            for name in names:
                row = next(
                    row
                    for row in rows
                    if (row["objective"], row["device"], row["link"], row["network"]) == (objective, device, link, name)
                )
                ratio = row["published_over_chosen"]
                other = "" if row["agrees"] else f"* ({row['published']} {ratio:.2f})"
                cells.append(row["obtained"] + other)
            written.append((f"{device} {link}", *cells))
    headings = [_HEADINGS[_COLUMNS.index(name)] for name in names]
    return table(f"Neurosurgeon's choices for {objective}: obtained (SIMULATED)", ("device, link", *headings), written)
