"""Heavy load: frames follow each other through device, link and server, and the busiest of them sets the rate."""

from typing import Any

import numpy as np

import solvers
from benchmarks.papers.baselines import SLACK, contracted
from benchmarks.papers.dads import SETTING
from benchmarks.papers.networks import bridge, chosen, network
from benchmarks.papers.setting import DEVICES
from benchmarks.result import Bar
from benchmarks.section import Section, table
from benchmarks.settings import Settings
from solvers.pipeline import pipeline_throughput, resource_totals

RATIO = 3.0
"""What the paper proves for its approximation; least sum has it, since the largest of three is at most their sum."""
TIME_LIMIT_S = 20.0
NAMES = ("all device", "all server", "least sum", "chain only", "whole blocks")
PUBLISHED = {"all device": "up to 8.31 x", "all server": "up to 14.01 x"}


def measure(settings: Settings) -> Section:
    """Find the placement of the highest rate in every case, and the rates of the simpler ones."""
    rows = [
        _case(settings, name, device, link)
        for name in chosen(SETTING, settings)
        for device in DEVICES
        for link in SETTING.links
    ]
    bars = (
        Bar("DADS, heavy: baselines with a higher rate than ours", sum(row["violations"] for row in rows), 0, "lower"),
        Bar("DADS, heavy: least sum over the best, largest", max(row["least_sum"] for row in rows), RATIO, "lower"),
        Bar("DADS, heavy: cases that are not proven", sum(not row["proven"] for row in rows), 0, "lower"),
    )
    written = [
        (
            *(row["network"], row["device"], row["link"], f"{row['rate_per_s']:.3g} /s", row["busiest"]),
            *(f"{row[_key(name)]:.2f}" for name in NAMES),
        )
        for row in rows
    ]
    gained = [
        (f"rate against {name}", PUBLISHED.get(name, ""), f"mean {np.mean(values):.2f} x, up to {max(values):.3g} x")
        for name in NAMES
        for values in [[row[_key(name)] for row in rows]]
    ]
    tables = (
        table(
            "DADS, heavy load, SIMULATED: the best rate, and how many times it is that of the others",
            ("network", "device", "link", "best rate", "busiest", *NAMES),
            written,
        ),
        table("DADS, heavy: published and obtained (SIMULATED)", ("what", "published", "obtained"), gained),
    )
    notes = (
        "least sum: the cut of least latency, taken for the rate; its bottleneck is at most 3 times the best, the "
        "ratio that the paper proves for its own approximation, whose steps were not at hand",
        "chain only and whole blocks: the best rate among the cuts of one tensor, and among those that split no block",
    )
    return Section(bars, tuple(rows), tables, notes)


def _key(name: str) -> str:
    return name.replace(" ", "_")


def _case(settings: Settings, name: str, device: str, link: str) -> dict[str, Any]:
    net = network(name, settings)
    priced = bridge(net, SETTING, settings, device=device, link=link)
    problem = priced.latency
    best = pipeline_throughput(problem, time_limit_s=TIME_LIMIT_S)
    small, group = contracted(net, priced, problem)
    blockwise = pipeline_throughput(small, time_limit_s=TIME_LIMIT_S).placement[group]
    heads = [frozenset[str](), *net.heads.values(), frozenset(priced.layers)]
    chain = min((priced.placement(head) for head in heads), key=lambda one: _busy(problem, one))
    placements = {
        "all device": priced.placement(frozenset(priced.layers)),
        "all server": priced.placement(frozenset()),
        "least sum": solvers.solve(problem).placement,
        "chain only": chain,
        "whole blocks": blockwise,
    }
    busy = {_key(one): _busy(problem, placement) for one, placement in placements.items()}
    totals = resource_totals(problem, best.placement)
    return {
        "kind": "heavy",
        "network": name,
        "device": device,
        "link": link,
        "rate_per_s": 1 / best.value,
        "busiest": ("device", "server", "uplink", "downlink")[int(totals.argmax())],
        "proven": best.optimal,
        "violations": sum(value < best.value * (1 - SLACK) for value in busy.values()),
        **{one: value / best.value for one, value in busy.items()},
    }


def _busy(problem: solvers.Problem, placement: Any) -> float:
    return float(resource_totals(problem, placement).max())
