"""Edgent's rule beside ours: per-layer linear regressions, and the last exit whose best cut is predicted in time.

Li, Zhou and Chen, "Edge Intelligence", MECOMM 2018: exits are tried from the last to the first, each with the cut of
least predicted latency, and the first one within the deadline is taken, for all requests. Layers are predicted by
linear regressions over measured layers. Here any single visit to the server may be the cut: the published ones too.
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
from rich.console import Console

from benchmarks.accuracy.machine import calibrated_machine
from benchmarks.codecs.setting import link_at
from benchmarks.exits.deadlines import Case, cases, own_rows, run_row
from benchmarks.exits.emulated import Chosen
from benchmarks.exits.setting import Digits, digits
from benchmarks.runtime.setting import SLOWDOWN, slowed
from benchmarks.section import Section, table
from benchmarks.settings import Settings
from graph_io import load_graph
from partition import partition
from partition.latency.calibrate import calibrate
from partition.latency.machines import Machine
from partition.latency.predict import predict_layers
from partition.latency.timings import TensorConversion, Timings

QUICK_CALIBRATION = 0.001
REGRESSION = "edgent"
IN_TIME, MORE_ACCURATE, FASTER = 0.95, 0.01, 0.05
"""The share of requests that a choice needs in time; smaller differences of accuracy or mean latency count as none."""
Costs = dict[str, tuple[Timings, Timings]]
EDGENT, MEASURED = "Edgent", "Edgent, measured"
"""Its rule on its regressions, and the same on what was measured here: no regression could do better."""


@cache
def machine(settings: Settings) -> Machine:
    """Return this machine's calibration: the settings' file, or a short one that is made now."""
    if settings.machine is not None:
        return calibrated_machine(settings.machine, settings.quick)
    Console(stderr=True).print("  calibrating for Edgent's regressions ...")
    return calibrate(
        threads=(1,), quick=True, load=False, share=QUICK_CALIBRATION if settings.quick else None, name="this-machine"
    )


def predicted_costs(found: Digits, calibrated: Machine) -> Costs:
    """Return for each exit the layers up to it as Edgent's regressions have them, on the device and on the server."""
    costs: Costs = {}
    for name in found.family.names:
        graph = load_graph(found.plain(name).rest)
        layers = predict_layers(calibrated, graph, threads=1, regression=REGRESSION)
        measured = found.timings_of(name)[1]
        server = replace(
            measured,
            whole_model=replace(measured.whole_model, latency_s=sum(layers.seconds.values())),
            layers=tuple(replace(one, latency_s=layers.seconds[one.id]) for one in measured.layers),
            conversions=tuple(TensorConversion(tensor, *both) for tensor, both in layers.conversions_s.items()),
        )
        costs[name] = (slowed(server, SLOWDOWN), server)
    return costs


def chosen_by_rule(found: Digits, costs: Costs, case: Case) -> Chosen | None:
    """Return the last exit whose best cut is in time at these costs, or None."""
    for name in reversed(found.family.names):
        plain = found.plain(name)
        device, server = costs[name]
        plan = partition(plain.rest, link_at(case.mbit_s), device=device, server=server)
        if plan.latency_s <= case.deadline_s:
            accuracy = found.table.exit(name).accuracy
            error = float(np.sqrt(accuracy * (1 - accuracy) / found.table.n_inputs))
            return Chosen(name, plain.output, plan, accuracy, error, plan.latency_s, plan.latency_s)
    return None


def measure(settings: Settings) -> Section:
    """Run both rules on the same links and deadlines as our policies."""
    found = digits(settings)
    calibrated = machine(settings)
    measured = {name: found.timings_of(name) for name in found.family.names}
    costs = {EDGENT: predicted_costs(found, calibrated), MEASURED: measured}
    rows: list[dict[str, Any]] = []
    for case, own in zip(cases(settings), own_rows(settings), strict=True):
        common = {"mbit_s": case.mbit_s, "deadline_s": case.deadline_s}
        rows.append({"kind": "policy", "by": "ours", **own})
        for rule, by_exit in costs.items():
            chosen = chosen_by_rule(found, by_exit, case)
            row = {"kind": "policy", "by": rule, "share": case.share, **common, "chosen": chosen is not None}
            rows.append(row if chosen is None else row | run_row(chosen, found, settings, case.deadline_s))
    errors = {
        name: costs[EDGENT][name][1].whole_model.latency_s / one[1].whole_model.latency_s
        for name, one in measured.items()
    }
    rows += [{"kind": "regression", "exit": name, "ratio": ratio} for name, ratio in errors.items()]
    headings = ("Mbit/s, deadline ms", "by", "exits", "sent", "predicted", "ms", "within", "on new", "against ours")
    title = f"Ours beside Edgent's, {len(found.images)} held-out images"
    ratios = ", ".join(f"{name} {ratio:.2f}" for name, ratio in errors.items())
    notes = (
        f"{EDGENT}: its rule on its regressions; {MEASURED}: its rule on what was measured here, which no regression "
        "could better. Both without codecs and without a margin, as published; ours keeps 10 % of the deadline",
        f"against ours: in time is {IN_TIME:.0%} of the requests; then {MORE_ACCURATE:.0%} of accuracy counts, then "
        f"{FASTER:.0%} of the mean latency",
        f"Edgent's regressions, all layers up to an exit over what was measured: {ratios}; calibrated on "
        f"{_share(calibrated):.1%} of the layers of a full calibration",
        *(_summary(rule, rows) for rule in costs),
    )
    return Section((), tuple(rows), (table(title, headings, list(_lines(rows))),), notes)


def _share(calibrated: Machine) -> float:
    assert calibrated.calibration is not None
    return calibrated.calibration.share


def _lines(rows: list[dict[str, Any]]) -> Iterator[list[str]]:
    own: dict[str, Any] = {}
    for row in rows:
        if row["kind"] != "policy":
            continue
        if row["by"] == "ours":
            own = row
        label = f"{row['mbit_s']}, {row['deadline_s'] * 1e3:.1f}" if row is own else ""
        if not row["chosen"]:
            against = verdict(own, row) if row["by"] != "ours" else ""
            yield [label, row["by"], "nothing fits", *[""] * 5, against]
            continue
        yield [
            label,
            row["by"],
            row["exits"],
            row["sent"],
            f"{row['expected_s'] * 1e3:.1f}",
            f"{row['mean_s'] * 1e3:.1f}",
            f"{row['within']:.0%}",
            f"{row['accuracy']:.1%}",
            verdict(own, row) if row["by"] != "ours" else "",
        ]


def in_time(row: dict[str, Any]) -> bool:
    """Say whether a row's choice meets its deadline often enough."""
    return bool(row["chosen"] and row["within"] >= IN_TIME)


def verdict(own: dict[str, Any], other: dict[str, Any]) -> str:
    """Say which of two choices is better: in time first, then by accuracy on new images, then by the mean latency."""
    if not (own["chosen"] and other["chosen"]):
        return "only ours fits" if own["chosen"] else "only theirs fits" if other["chosen"] else "nothing fits"
    if (own["exits"], own["sent"]) == (other["exits"], other["sent"]):
        return "the same"
    if in_time(own) != in_time(other):
        return "ours in time" if in_time(own) else "theirs in time"
    if not in_time(own):
        return "both late"
    if abs(own["accuracy"] - other["accuracy"]) >= MORE_ACCURATE:
        return "ours more accurate" if own["accuracy"] > other["accuracy"] else "theirs more accurate"
    if abs(own["mean_s"] / other["mean_s"] - 1) >= FASTER:
        return "ours faster" if own["mean_s"] < other["mean_s"] else "theirs faster"
    return "alike"


def _summary(rule: str, rows: list[dict[str, Any]]) -> str:
    own = [row for row in rows if row["kind"] == "policy" and row["by"] == "ours"]
    other = [row for row in rows if row["kind"] == "policy" and row["by"] == rule]
    found: dict[str, int] = {}
    for one, two in zip(own, other, strict=True):
        name = verdict(one, two)
        found[name] = found.get(name, 0) + 1
    late = sum(row["chosen"] and not in_time(row) for row in other)
    counts = ", ".join(f"{name} {count}" for name, count in sorted(found.items()))
    return f"ours against {rule}, {len(own)} cases: {counts}; {rule} is late in {late}, ours in {_late(own)}"


def _late(rows: list[dict[str, Any]]) -> int:
    return sum(bool(row["chosen"]) and not in_time(row) for row in rows)
