"""How the cut of ResNet-18 moves with the bandwidth: every optimum from 0.1 to 100 Mbit/s, and where it changes."""

from typing import Any

import solvers
from benchmarks.papers.baselines import SLACK, compare, described
from benchmarks.papers.dads import SETTING
from benchmarks.papers.networks import bridge, network
from benchmarks.papers.neurosurgeon import SETTING as NEUROSURGEON
from benchmarks.papers.setting import DEVICES
from benchmarks.result import Bar
from benchmarks.section import Section, table
from benchmarks.settings import Settings
from partition.problem import Bridge

NETWORK = "resnet18"
LOW_MBIT, HIGH_MBIT = 0.1, 100.0
NOTE = (
    f"{NETWORK} on the machines of two papers: Neurosurgeon's are farther apart, and its images travel as one byte a "
    "value; DADS's own figure was not at hand: shown is that the cut moves and how, not at the rates of the paper"
)
RATES_MBIT = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0)


def measure(settings: Settings) -> Section:
    """Sweep the bandwidth exactly, then compare at single rates with DADS's own network."""
    rows: list[dict[str, Any]] = []
    net = network(NETWORK, settings)
    worst, violations = 0.0, 0
    for setting, kind in ((setting, kind) for setting in (SETTING, NEUROSURGEON) for kind in DEVICES):
        priced = bridge(net, setting, settings, device=kind, link="Wi-Fi")
        device = f"{setting.paper} {kind}"
        # The downlink keeps its ratio to the uplink, as in the preset.
        family = solvers.bandwidth_family(priced.latency)
        found = solvers.breakpoints(family, 8e-6 / HIGH_MBIT, 8e-6 / LOW_MBIT)
        for segment in reversed(found.segments):
            rows.append(
                {
                    "kind": "segment",
                    "device": device,
                    "from_mbit_per_s": 8e-6 / segment.theta_high,
                    "to_mbit_per_s": 8e-6 / segment.theta_low,
                    "choice": described(priced, segment.solution.placement),
                    "cut": list(_cut(priced, segment.solution.placement)),
                    "proven": segment.proven,
                }
            )
        for rate in RATES_MBIT:
            at = family.at(8e-6 / rate)
            one = Bridge(at, at, priced.layers, priced.tensors)
            compared = compare(net, one)
            swept = float(found.values_at(8e-6 / rate))
            worst = max(worst, abs(swept / compared.values["optimum"] - 1))
            violations += compared.violations
            rows.append(
                {
                    "kind": "rate",
                    "device": device,
                    "mbit_per_s": rate,
                    "choice": described(one, compared.placements["optimum"]),
                    "cut": list(_cut(one, compared.placements["optimum"])),
                    "latency_s": compared.values["optimum"],
                    **{name: compared.gain(name) for name in ("all device", "all server", "whole blocks", "DADS")},
                }
            )
    bars = (
        Bar("DADS, bandwidth: sweep against a solve at the rate, relative", worst, SLACK, "lower"),
        Bar("DADS, bandwidth: baselines cheaper than the optimum", violations, 0, "lower"),
    )
    return Section(bars, tuple(rows), (_segments(rows), _rates(rows)), (NOTE,))


def _cut(priced: Bridge, placement: Any) -> tuple[str, ...]:
    sent = solvers.breakdown(priced.objective, placement).sent_tensors
    return tuple(f"{priced.tensors[tensor]}{'' if sender == 0 else ' (back)'}" for tensor, sender, _ in sent)


def _segments(rows: list[dict[str, Any]]) -> Any:
    written = [
        (
            row["device"],
            f"{row['from_mbit_per_s']:.4g} .. {row['to_mbit_per_s']:.4g}",
            row["choice"],
            ", ".join(row["cut"]) or "nothing",
        )
        for row in rows
        if row["kind"] == "segment"
    ]
    title = f"DADS, SIMULATED: every optimal cut of {NETWORK}, {LOW_MBIT:g} to {HIGH_MBIT:g} Mbit/s up"
    return table(title, ("device", "Mbit/s", "on the device, sent", "tensors"), written)


def _rates(rows: list[dict[str, Any]]) -> Any:
    names = ("all device", "all server", "whole blocks", "DADS")
    written = [
        (
            row["device"],
            f"{row['mbit_per_s']:g}",
            row["choice"],
            ", ".join(row["cut"]) or "nothing",
            f"{1e3 * row['latency_s']:.4g} ms",
            *(f"{row[name]:.2f}" for name in names),
        )
        for row in rows
        if row["kind"] == "rate"
    ]
    headings = ("device", "Mbit/s", "on the device, sent", "tensors", "latency", *names)
    return table(f"DADS, SIMULATED: {NETWORK} at single rates, costs in units of the optimum", headings, written)
