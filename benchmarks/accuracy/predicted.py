"""Predicted costs: whole networks that the calibration never saw, against the clock and against layers timed alone."""

from typing import Any

import numpy as np

from benchmarks.accuracy.zoo_results import zoo_results
from benchmarks.result import Bar
from benchmarks.section import Section, seconds, table
from benchmarks.settings import Settings

WITHIN, WITHIN_SHARE, MEDIAN_LIMIT, ISOLATED_FACTOR = 0.10, 0.80, 0.06, 1.5


def measure(settings: Settings) -> Section:
    """Compare totals at one thread by the CPU clock and at two by the wall."""
    results = zoo_results(settings)
    rows: list[dict[str, Any]] = []
    for result in results:
        for threads, at in result.at.items():
            rows.append(
                {
                    "kind": "total",
                    "network": result.name,
                    "family": result.family,
                    "threads": threads,
                    "layers": result.n_layers,
                    "whole_s": at.whole_s,
                    "noise": at.noise,
                    "predicted_s": at.predicted_s,
                    "deviation": at.deviation_s / at.predicted_s,
                    "isolated_s": at.isolated_s,
                    "error": at.predicted_s / at.whole_s - 1,
                    "isolated_error": at.isolated_s / at.whole_s - 1,
                    "estimated": at.estimated,
                }
            )
    bars, notes = [], []
    for threads, clock in ((1, "CPU clock, 1 thread"), (2, "wall, 2 threads")):
        own = [row for row in rows if row["threads"] == threads]
        errors = np.abs([row["error"] for row in own])
        isolated = np.abs([row["isolated_error"] for row in own])
        bars += [
            Bar(
                f"predicted: share of networks within 10 %, {clock}",
                float(np.mean(errors <= WITHIN)),
                WITHIN_SHARE,
                "higher",
            ),
            Bar(f"predicted: median error of totals, {clock}", float(np.median(errors)), MEDIAN_LIMIT, "lower"),
            Bar(
                f"predicted: median error over that of layers timed alone, {clock}",
                float(np.median(errors) / np.median(isolated)),
                ISOLATED_FACTOR,
                "lower",
            ),
        ]
        covered = np.mean([abs(np.log1p(row["error"])) <= row["deviation"] for row in own])
        twice = np.mean([abs(np.log1p(row["error"])) <= 2 * row["deviation"] for row in own])
        notes.append(
            f"{clock}: {covered:.0%} of the totals within the stated standard deviation, {twice:.0%} within two; "
            f"layers timed alone: median error {np.median(isolated):.1%}, {np.mean(isolated <= WITHIN):.0%} within 10 %"
        )
    lines = []
    for result in results:
        cells = [result.name, str(result.n_layers)]
        for threads in result.at:
            row = next(one for one in rows if (one["network"], one["threads"]) == (result.name, threads))
            cells += [
                seconds(row["whole_s"]),
                f"{row['noise']:.1%}",
                f"{row['error']:+.1%}",
                f"{row['deviation']:.0%}",
                f"{row['isolated_error']:+.1%}",
            ]
        lines.append(cells)
    per = ("on the clock", "noise", "predicted", "±", "alone")
    headings = ("network", "layers", *(f"1: {one}" for one in per), *(f"2: {one}" for one in per))
    title = "Predicted totals, networks that no fit has seen: 1 thread (CPU clock) and 2 threads (wall)"
    return Section(tuple(bars), tuple(rows), (table(title, headings, lines),), tuple(notes))
