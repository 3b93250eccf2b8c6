"""The fastest policy at an accuracy, and the trade-off of expected latency against accuracy."""

import statistics
from typing import Any

from benchmarks.codecs.setting import link_at
from benchmarks.exits.deadlines import MOST_DEVIATION, MOST_ERROR, run_row
from benchmarks.exits.emulated import Chosen
from benchmarks.exits.setting import bandwidths_mbit_s, digits
from benchmarks.result import Bar
from benchmarks.section import Section, geometric_mean, table
from benchmarks.settings import Settings
from partition import partition
from partition.exits.choice import choose_exit

ALLOWED_LOSSES, QUICK_LOSSES = (0.0, 0.01, 0.03), (0.01,)
"""How much less accurate than the last exit a policy may be, on the calibration set."""
CURVE_MBIT_S, CURVE_LINES = 5, 12


def measure(settings: Settings) -> Section:
    """Choose at each rate and accuracy, run, and compare with the last exit alone."""
    found = digits(settings)
    last = found.family.names[-1]
    best = found.table.exit(last).accuracy
    plain = found.plain(last)
    device, server = found.timings_of(last)
    rows: list[dict[str, Any]] = []
    curve: list[dict[str, Any]] = []
    for mbit_s in bandwidths_mbit_s(settings):
        link = link_at(mbit_s)
        alone_s = partition(plain.rest, link, device=device, server=server).latency_s
        for loss in QUICK_LOSSES if settings.quick else ALLOWED_LOSSES:
            policy = choose_exit(
                found.family,
                link,
                exits=found.table,
                accuracy=best - loss,
                device=found.device,
                server=found.server,
            )
            row = {"kind": "accuracy", "mbit_s": mbit_s, "bound": best - loss, "alone_s": alone_s}
            rows.append(row | run_row(Chosen.of(policy), found, settings, None))
        curve += [
            {
                "kind": "trade-off",
                "mbit_s": mbit_s,
                "exits": ", ".join((*one.device_exits, one.final)),
                "thresholds": list(one.thresholds),
                "cut": list(one.cut),
                "expected_s": one.expected_latency_s,
                "slowest_s": one.slowest_latency_s,
                "accuracy": one.accuracy,
            }
            for one in policy.tradeoff
        ]
    bars = (
        Bar(
            "accuracy: expected latency against the emulated mean, median error",
            statistics.median(abs(row["expected_s"] / row["mean_s"] - 1) for row in rows),
            MOST_ERROR,
            "lower",
        ),
        Bar(
            "accuracy: held-out accuracy against the predicted, most standard errors",
            max(abs(row["deviation"]) for row in rows),
            MOST_DEVIATION,
            "lower",
        ),
        Bar(
            "accuracy: last exit alone at its best cut over the policies, predicted",
            geometric_mean([row["alone_s"] / row["expected_s"] for row in rows]),
            1.0,
            "higher",
        ),
    )
    lines = [
        [
            f"{row['mbit_s']} Mbit/s, {row['bound']:.1%}",
            row["exits"],
            row["sent"],
            f"{row['expected_s'] * 1e3:.1f}",
            f"{row['mean_s'] * 1e3:.1f}",
            f"{row['alone_s'] * 1e3:.1f}",
            f"{row['alone_s'] / row['mean_s']:.2f}",
            f"{row['predicted_accuracy']:.1%}",
            f"{row['accuracy']:.1%}",
            f"{row['deviation']:+.1f}",
        ]
        for row in rows
    ]
    headings = (
        "rate, bound",
        "exits",
        "sent",
        "expected",
        "ms",
        "last exit alone",
        "gain",
        "accuracy",
        "on new",
        "st. errors",
    )
    title = "Fastest policy at an accuracy; beside it the last exit at its best cut without codecs, predicted"
    shown_mbit_s = min(bandwidths_mbit_s(settings), key=lambda rate: abs(rate - CURVE_MBIT_S))
    shown = [row for row in curve if row["mbit_s"] == shown_mbit_s]
    picked = sorted({round(place * (len(shown) - 1) / (CURVE_LINES - 1)) for place in range(CURVE_LINES)})
    curve_lines = [
        [
            f"{shown[place]['expected_s'] * 1e3:.2f}",
            f"{shown[place]['accuracy']:.1%}",
            shown[place]["exits"],
            ", ".join(f"{one:.3f}" for one in shown[place]["thresholds"]) or "-",
            ", ".join(shown[place]["cut"]) or "-",
            f"{shown[place]['slowest_s'] * 1e3:.1f}",
        ]
        for place in picked
    ]
    curve_title = f"Trade-off at {shown_mbit_s} Mbit/s: {len(picked)} of {len(shown)} undominated policies, predicted"
    curve_headings = ("expected ms", "accuracy", "exits", "thresholds", "cut", "slowest ms")
    tables = (table(title, headings, lines), table(curve_title, curve_headings, curve_lines))
    return Section(bars, (*rows, *curve), tables)
