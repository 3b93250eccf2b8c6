"""What the routers lose to an oracle, with the noise of run times that was measured in this run."""

from typing import Any

import numpy as np

from benchmarks.result import Bar
from benchmarks.routing.measured import measured
from benchmarks.routing.sequences import Lengths, draw_lengths
from benchmarks.routing.setups import (
    END,
    GATEWAY,
    SECOND,
    SERVER,
    STEPS_MS,
    Setup,
    short_name,
    three_levels,
    two_machines,
    two_servers,
)
from benchmarks.section import Section, table
from benchmarks.settings import Settings
from partition.routing.simulator import compare, simulate

INPUTS, QUICK_INPUTS = 100_000, 5_000
LIMITS = {2: 0.01, 3: 0.015, 4: 0.015}
POLICIES = ("oracle", "routed", "routed-without-pings", "central")
# Whose measured noise stands for the published network.
NOISE_OF = {"300 units": "cove-300", "200 units": "cove-200", "IMDB": "imdb-lstm"}
QUICK_NOISE_OF = "imdb-lstm"


def measure(settings: Settings) -> Section:
    """Simulate the stepping set-ups, and two machines at fixed round trips around the break-even."""
    count = QUICK_INPUTS if settings.quick else INPUTS
    rows = [_row(*one, count, settings) for one in _cases()]
    bars = [
        Bar(
            f"oracle: time over the oracle, {n_machines} machines, worst row",
            max(row["over_oracle"]["routed"] for row in rows if row["machines"] == n_machines),
            limit,
            "lower",
        )
        for n_machines, limit in LIMITS.items()
    ]
    lines = [
        [
            f"{row['machines']} machines, {row['setup']}, {short_name(row)}",
            *(f"{100 * row['over_oracle'][policy]:.2f}" for policy in POLICIES[1:]),
            f"{100 * row['unforeseen']:.2f}",
            f"{row['probes']}, {row['pings']}",
            f"{row['noise']:.1%}",
            f"{row['worst_noise']:.2f}",
        ]
        for row in rows
    ]
    headings = ("set-up", "routed", "without pings", "central", "noise alone", "probes, pings", "noise", "worst")
    notes = (
        "the oracle knows the true links and each run's noise; noise alone: what one loses to it who knows links and "
        "curves at all times, and not which run will be slow; noise: half the range between the quartiles of measured "
        "over fitted run times; worst: the greatest ratio that was measured and drawn",
    )
    title = "Time over the oracle's in %, measured noise"
    return Section(tuple(bars), tuple(rows), (table(title, headings, lines),), notes)


def _cases() -> list[tuple[str, str, str]]:
    fixed = [(f"{rtt_ms} ms", data, "300 units") for rtt_ms in (150, 200, 250) for data in ("SNLI", "SQuAD")]
    stepping = [("stepping", data, units) for data in ("SNLI", "SQuAD") for units in ("300 units", "200 units")]
    levels = [("SNLI", "300 units"), ("SQuAD", "300 units"), ("SNLI", "200 units"), ("IMDB", "IMDB")]
    return [*fixed, *stepping, *((setup, *one) for setup in ("three levels", "two servers") for one in levels)]


def _row(setup: str, data: str, units: str, count: int, settings: Settings) -> dict[str, Any]:
    ratios = measured(QUICK_NOISE_OF if settings.quick else NOISE_OF[units], settings).latency.ratios
    made = _setup(setup, units, ratios)
    lengths = draw_lengths(data, count)
    found = {one.policy: one for one in compare(made.network, lengths, policies=POLICIES, links=made.links)}
    low, high = np.quantile(ratios, [0.25, 0.75])
    return {
        "kind": "loss",
        "setup": setup,
        "machines": len(made.network.machines),
        "data": data,
        "network": units,
        "inputs": count,
        "over_oracle": {policy: found[policy].total_s / found["oracle"].total_s - 1 for policy in POLICIES[1:]},
        "unforeseen": _unforeseen_s(made, lengths) / found["oracle"].total_s - 1,
        "probes": found["routed"].probes,
        "pings": found["routed"].pings,
        "noise": float(high - low) / 2,
        "worst_noise": max(ratios),
    }


def _unforeseen_s(made: Setup, lengths: Lengths) -> float:
    """Return the time of all inputs when each goes where the true links and the curves say."""
    chosen = simulate(made.network, lengths, policy="oracle", links=made.links, noise=False).machine
    # One input after the other, and round trips by the share of the inputs: what an input takes depends on no other.
    taken_s = np.array(
        [
            simulate(made.network, lengths, policy=f"fixed:{name}", links=made.links).taken_s
            for name in made.network.names
        ]
    )
    return float(taken_s[chosen, np.arange(len(lengths))].sum())


def _setup(setup: str, units: str, ratios: tuple[float, ...]) -> Setup:
    noise = dict.fromkeys((END, GATEWAY, SERVER, SECOND), ratios)
    if setup == "three levels":
        return three_levels(units, noise)
    if setup == "two servers":
        return two_servers(units, noise)
    return two_machines(units, STEPS_MS if setup == "stepping" else (float(setup.split()[0]),), noise)
