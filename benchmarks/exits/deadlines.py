"""The most accurate policy within a deadline: do requests meet it, and is the accuracy that on new images?"""

import statistics
from dataclasses import dataclass
from functools import cache
from typing import Any

from rich.console import Console

from benchmarks.codecs.setting import link_at
from benchmarks.exits.emulated import Chosen, answers_of, timed
from benchmarks.exits.setting import Digits, bandwidths_mbit_s, digits
from benchmarks.result import Bar
from benchmarks.runtime.setting import SLOWDOWN
from benchmarks.section import Section, table
from benchmarks.settings import Settings
from partition.errors import InputError
from partition.exits.choice import choose_exit

SHARES, QUICK_SHARES = (0.3, 0.6, 0.9, 1.05, 1.25), (0.9, 1.25)
"""Deadlines, by what the whole network takes on the device."""
N_TIMED, QUICK_TIMED = 60, 15
LEAST_WITHIN, MOST_DEVIATION, MOST_ERROR, LEAST_ACCURACY = 0.95, 2.0, 0.15, 0.9


@dataclass(frozen=True, slots=True)
class Case:
    """One link and one deadline."""

    mbit_s: int
    share: float
    deadline_s: float


def cases(settings: Settings) -> list[Case]:
    """Return all links and deadlines."""
    whole_s = digits(settings).whole_device_s
    shares = QUICK_SHARES if settings.quick else SHARES
    return [Case(rate, share, share * whole_s) for rate in bandwidths_mbit_s(settings) for share in shares]


@cache
def own_rows(settings: Settings) -> tuple[dict[str, Any], ...]:
    """Choose and run a policy for each case; one that nothing meets has the reason alone."""
    found = digits(settings)
    rows = []
    for case in cases(settings):
        try:
            policy = choose_exit(
                found.family,
                link_at(case.mbit_s),
                exits=found.table,
                deadline=case.deadline_s,
                device=found.device,
                server=found.server,
            )
        except InputError as error:
            rows.append(_case_row(case) | {"chosen": False, "reason": str(error)})
            continue
        rows.append(_case_row(case) | {"chosen": True} | run_row(Chosen.of(policy), found, settings, case.deadline_s))
    return tuple(rows)


def _case_row(case: Case) -> dict[str, Any]:
    return {"mbit_s": case.mbit_s, "share": case.share, "deadline_s": case.deadline_s}


def run_row(chosen: Chosen, found: Digits, settings: Settings, deadline_s: float | None) -> dict[str, Any]:
    """Run a choice on the held-out images, and compare it with what was predicted."""
    answers = answers_of(chosen, found)
    run = timed(chosen, found, settings.repetitions or (QUICK_TIMED if settings.quick else N_TIMED))
    row = {
        "exits": chosen.exits,
        "sent": chosen.sent,
        "expected_s": chosen.expected_s,
        "slowest_s": chosen.slowest_s,
        "mean_s": run.mean_s,
        "slowest_measured_s": float(run.latency_s.max()),
        "accuracy": answers.accuracy,
        "predicted_accuracy": chosen.accuracy,
        "deviation": answers.deviation(chosen),
        "answered": {name: float((answers.exits == name).mean()) for name in found.family.names},
        "wrong": run.wrong,
    }
    return row if deadline_s is None else row | {"within": run.within(deadline_s)}


def measure(settings: Settings) -> Section:
    """Judge the policies of all links and deadlines."""
    found = digits(settings)
    rows = own_rows(settings)
    Console(stderr=True).print("  done")
    met = [row for row in rows if row["chosen"]]
    whole = float(answers_of_whole(found))
    bars = [
        Bar("deadlines: accuracy of the whole network on held-out images", whole, LEAST_ACCURACY, "higher"),
        Bar("deadlines: links and deadlines with a policy", float(len(met)), 1.0, "higher"),
    ]
    if met:
        errors = [abs(row["expected_s"] / row["mean_s"] - 1) for row in met]
        bars += [
            Bar(
                "deadlines: requests within the deadline, least share of a policy",
                min(row["within"] for row in met),
                LEAST_WITHIN,
                "higher",
            ),
            Bar(
                "deadlines: held-out accuracy against the predicted, most standard errors",
                max(abs(row["deviation"]) for row in met),
                MOST_DEVIATION,
                "lower",
            ),
            Bar(
                "deadlines: expected latency against the emulated mean, median error",
                statistics.median(errors),
                MOST_ERROR,
                "lower",
            ),
            Bar(
                "deadlines: emulated answers other than those in one process",
                float(sum(row["wrong"] for row in met)),
                0.0,
                "lower",
            ),
        ]
    lines = [
        [
            f"{row['mbit_s']}, {row['deadline_s'] * 1e3:.1f}",
            *(_cells(row) if row["chosen"] else ["nothing fits"]),
        ]
        for row in rows
    ]
    headings = (
        "Mbit/s, deadline ms",
        "exits",
        "sent",
        "expected",
        "ms",
        "slowest",
        "measured",
        "within",
        "accuracy",
        "on new",
        "st. errors",
    )
    title = (
        f"Most accurate policy within a deadline; {len(found.images)} held-out images, whole network {whole:.1%} and "
        f"{found.whole_device_s * 1e3:.1f} ms on the device"
    )
    shown = [line + [""] * (len(headings) - len(line)) for line in lines]
    notes = (
        f"device {SLOWDOWN:g} times slower and links emulated; thresholds, accuracies and codecs are from "
        f"{found.table.n_inputs} images, which neither trained the network nor are among the held-out ones",
        "standard errors: the difference of both accuracies over the root of the sum of both variances, since the "
        "predicted one is a sample's as well",
    )
    return Section(
        tuple(bars), tuple({"kind": "deadline", **row} for row in rows), (table(title, headings, shown),), notes
    )


def answers_of_whole(found: Digits) -> float:
    """Return the accuracy of the last exit on the held-out images."""
    from partition import partition

    name = found.family.names[-1]
    plain = found.plain(name)
    device, server = found.timings_of(name)
    plan = partition(plain.rest, link_at(1), cut=[plain.output], device=device, server=server)
    record = found.table.exit(name)
    return answers_of(Chosen(name, plain.output, plan, record.accuracy, 0.0, 0.0, 0.0), found).accuracy


def _cells(row: dict[str, Any]) -> list[str]:
    return [
        row["exits"],
        row["sent"],
        f"{row['expected_s'] * 1e3:.1f}",
        f"{row['mean_s'] * 1e3:.1f}",
        f"{row['slowest_s'] * 1e3:.1f}",
        f"{row['slowest_measured_s'] * 1e3:.1f}",
        f"{row['within']:.0%}",
        f"{row['predicted_accuracy']:.1%}",
        f"{row['accuracy']:.1%}",
        f"{row['deviation']:+.1f}",
    ]
