"""Cutting inside blocks against taking each block for one layer: where it pays, and how much."""

from typing import Any

import numpy as np
from rich.table import Table

import solvers
from benchmarks.papers.baselines import SLACK, blocks, described, whole_blocks
from benchmarks.papers.dads import SETTING as DADS
from benchmarks.papers.networks import bridge, chosen, network
from benchmarks.papers.neurosurgeon import SETTING as NEUROSURGEON
from benchmarks.papers.setting import DEVICES, Setting
from benchmarks.papers.wang import SETTING
from benchmarks.result import Bar
from benchmarks.section import Section, seconds, table
from benchmarks.settings import Settings
from partition.problem import Bridge

RATES_MBIT = tuple(float(rate) for rate in np.geomspace(0.1, 100.0, 31))
QUICK_RATES_MBIT = RATES_MBIT[::3]
MACHINES = (SETTING, NEUROSURGEON, DADS)
PAYS = 1.0 + 1e-6


def measure(settings: Settings) -> Section:
    """Solve every network at every rate, both ways, on the machines of all three papers."""
    rates = QUICK_RATES_MBIT if settings.quick else RATES_MBIT
    pairs = [(setting, kind) for setting in MACHINES for kind in DEVICES]
    groups = [_rows(settings, name, *pair, rates) for name in _names(settings) for pair in pairs]
    rows = [row for group in groups for row in group]
    bars = (
        Bar("Wang, blocks: whole blocks cheaper than the optimum", sum(row["violation"] for row in rows), 0, "lower"),
    )
    paying = [row for row in rows if row["gain"] > PAYS]
    named = {row["network"] for row in paying}
    never = [name for name in _names(settings) if name not in named]
    notes = (
        f"Wang's claim, that a block taken for one layer loses the optimum in real cases: here in {len(paying)} of "
        f"{len(rows)} cases, of {len(named)} of {len(_names(settings))} networks; the paper's own numbers were not at "
        "hand; a block = the layers between two tensors that are cuts by themselves, its size in layers",
        f"it never pays on these machines for {', '.join(never) or 'none'}",
    )
    return Section(bars, tuple(rows), (_table(groups),), notes)


def _table(groups: list[list[dict[str, Any]]]) -> Table:
    written = []
    for group in groups:
        n_paying = sum(row["gain"] > PAYS for row in group)
        if n_paying:
            best = max(group, key=lambda row: float(row["gain"]))
            written.append(
                (
                    *(best["network"], best["machines"], str(best["largest_block"]), f"{n_paying} of {len(group)}"),
                    *(f"{best['gain']:.3f} x", f"{best['mbit_per_s']:.3g}", best["choice"], best["whole_choice"]),
                    *(seconds(best["latency_s"]), seconds(best["whole_s"])),
                )
            )
    headings = (
        *("network", "machines", "largest block", "pays at", "largest gain", "Mbit/s"),
        *("inside: device, sent", "whole blocks", "latency", "whole"),
    )
    return table(
        "Wang, SIMULATED: where cutting inside blocks beats whole blocks, 0.1 to 100 Mbit/s up", headings, written
    )


def _names(settings: Settings) -> tuple[str, ...]:
    names = chosen(SETTING, settings)
    return names if settings.models or settings.quick else (*names, "densenet121")


def _rows(settings: Settings, name: str, setting: Setting, kind: str, rates: tuple[float, ...]) -> list[dict[str, Any]]:
    net = network(name, settings)
    priced = bridge(net, setting, settings, device=kind, link="Wi-Fi")
    family = solvers.bandwidth_family(priced.latency)
    sizes = np.bincount(blocks(net, priced))
    rows = []
    for rate in rates:
        at = family.at(8e-6 / rate)
        one = Bridge(at, at, priced.layers, priced.tensors)
        best = solvers.solve(at)
        whole = whole_blocks(net, one)
        whole_s = solvers.evaluate(at, whole)
        rows.append(
            {
                "kind": "blocks",
                "network": name,
                "machines": f"{setting.paper} {kind}",
                "largest_block": int(sizes.max()),
                "mbit_per_s": rate,
                "latency_s": best.value,
                "whole_s": whole_s,
                "gain": whole_s / best.value,
                "violation": bool(whole_s < best.value * (1 - SLACK)),
                "choice": described(one, best.placement),
                "whole_choice": described(one, whole),
            }
        )
    return rows
