"""Latency while bandwidth or server load changes: the choice that follows, against choices that stay."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from rich.table import Table

import solvers
from benchmarks.papers.networks import bridge, chosen, network
from benchmarks.papers.setting import Setting
from benchmarks.result import Bar
from benchmarks.section import Section, table
from benchmarks.settings import Settings

Row = dict[str, Any]
RATES_MBIT = tuple(float(rate) for rate in np.geomspace(0.25, 64.0, 17))
LOADS = (1.0, 1.5, 2.0, 3.0, 5.0, 8.0, 13.0, 20.0, 35.0, 60.0, 100.0)
"""The server takes so many times as long."""


def measure_conditions(setting: Setting, settings: Settings) -> Section:
    """Let the bandwidth and then the server's load vary, on every network of a setting."""
    rows: list[Row] = []
    fastest = list(setting.links)[-1]
    for name in chosen(setting, settings):
        net = network(name, settings)
        problem = bridge(net, setting, settings, device=setting.conditions_device, link=fastest).latency
        present = problem.per_byte[0, 1]
        by_rate = [problem.with_costs(per_byte=problem.per_byte * (8e-6 / rate / present)) for rate in RATES_MBIT]
        rows.append(_row(name, "bandwidth", RATES_MBIT, by_rate, start=len(RATES_MBIT) - 1))
        family = solvers.server_load_family(problem)
        rows.append(_row(name, "server load", LOADS, [family.at(load) for load in LOADS], start=0))
    worst = max(row["worst_violation"] for row in rows)
    bar = Bar(f"{setting.paper}: following costs more than staying, relative", worst, 1e-9, "lower")
    notes = (
        f"{setting.paper}, conditions on the {setting.conditions_device} device: bandwidth from {RATES_MBIT[0]:g} to "
        f"{RATES_MBIT[-1]:g} Mbit/s, both directions alike, fixed = the choice at the highest; server load from 1 to "
        f"{LOADS[-1]:g} times at the rate of {fastest}, fixed = the choice at 1",
    )
    return Section((bar,), tuple(rows), (_table(setting, rows),), notes)


def _row(name: str, what: str, values: Sequence[float], problems: Sequence[solvers.Problem], *, start: int) -> Row:
    found = [solvers.solve(problem) for problem in problems]
    fixed = found[start].placement
    device = np.where(np.isfinite(problems[0].compute[:, 0]), 0, 1)
    server = np.where(np.isfinite(problems[0].compute[:, 1]), 1, 0)
    best = np.array([one.value for one in found])
    row: Row = {
        "kind": "conditions",
        "network": name,
        "varies": what,
        "values": list(values),
        "latency_s": best.tolist(),
        "choices": len({one.placement.tobytes() for one in found}),
    }
    worst = 0.0
    for label, placement in (("fixed", fixed), ("all_device", device), ("all_server", server)):
        cost = np.array([solvers.evaluate(problem, placement) for problem in problems])
        row |= {f"{label}_mean": float((cost / best).mean()), f"{label}_worst": float((cost / best).max())}
        worst = max(worst, float((1 - cost / best).max()))
    return row | {"worst_violation": worst}


def _table(setting: Setting, rows: Sequence[Row]) -> Table:
    written = []
    for row in rows:
        ratios = (
            f"{row[f'{label}_mean']:.2f} / {row[f'{label}_worst']:.3g}"
            for label in ("fixed", "all_device", "all_server")
        )
        written.append((row["network"], row["varies"], str(row["choices"]), *ratios))
    return table(
        f"{setting.paper}, SIMULATED: latency in units of the choice that follows, mean / worst over the range",
        ("network", "varies", "choices", "fixed", "all device", "all server"),
        written,
    )
