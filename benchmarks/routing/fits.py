"""How well a line, or a quadratic for a transformer, tells a network's run time from the length of its input."""

from typing import Any

import numpy as np

from benchmarks.result import Bar
from benchmarks.routing.measured import MEASURANDS, measured
from benchmarks.section import Section, table
from benchmarks.settings import Settings
from partition.routing.length_models import fit_length_model, relative_error

QUICK_NETWORKS = ("imdb-lstm", "encoder-small")
R_SQUARED_LIMIT, ERROR_LIMIT, HELD_OUT_LIMIT = 0.99, 0.03, 0.05


def measure(settings: Settings) -> Section:
    """Measure every network, and compare its curve with the medians, those that were held out apart."""
    rows = [_row(name, settings) for name in (QUICK_NETWORKS if settings.quick else MEASURANDS)]
    bars: list[Bar] = []
    recurrent = [row for row in rows if row["order"] == "linear"]
    if recurrent:
        r_squared, error = min(row["r_squared"] for row in recurrent), max(row["error"] for row in recurrent)
        bars.append(Bar("fits: R^2 of a line, worst recurrent network", r_squared, R_SQUARED_LIMIT, "higher"))
        bars.append(Bar("fits: mean error of a line, worst recurrent network", error, ERROR_LIMIT, "lower"))
    bars += [
        Bar(
            f"fits: mean error of a quadratic at held-out lengths, {row['network']}",
            row["held_out"],
            HELD_OUT_LIMIT,
            "lower",
        )
        for row in rows
        if row["order"] == "quadratic"
    ]
    lines = [
        [
            f"{row['network']}, {row['least']} to {row['most']}",
            row["order"],
            row["curve_ms"],
            f"{row['r_squared']:.4f}",
            f"{row['error']:.1%}",
            f"{row['held_out']:.1%}",
            f"{row['other_held_out']:.1%}",
            f"{row['noise']:.1%}",
            str(row["runs"]),
        ]
        for row in rows
    ]
    headings = ("network, lengths", "curve", "ms", "R^2", "error", "held out", "the other curve", "noise", "runs")
    notes = (
        "error: mean over the lengths' medians, in which each counts alike; held out: at lengths that the fit did not "
        "see; the other curve: the same of a quadratic instead of a line, or of a line; noise: half the range between "
        "the quartiles of measured over fitted, all runs",
    )
    return Section(tuple(bars), tuple(rows), (table("Run time over length, one thread", headings, lines),), notes)


def _row(name: str, settings: Settings) -> dict[str, Any]:
    timings, order = measured(name, settings), MEASURANDS[name].order
    fitted = [(one.length, one.median_s) for one in timings.samples if not one.held_out]
    held = [one for one in timings.samples if one.held_out]
    other = fit_length_model(
        [length for length, _ in fitted],
        [median_s for _, median_s in fitted],
        order="linear" if order == "quadratic" else "quadratic",
    )
    medians = np.array([one.median_s for one in held])
    a, b, c = (1e3 * one for one in timings.latency.coefficients)
    low, high = np.quantile(timings.latency.ratios, [0.25, 0.75])
    return {
        "kind": "fit",
        "network": name,
        "order": order,
        "least": timings.least,
        "most": timings.most,
        "coefficients_ms": [a, b, c],
        "curve_ms": f"{a:.3g} + {b:.3g} N" + (f" + {c:.3g} N^2" if c else ""),
        "r_squared": timings.latency.r_squared,
        "error": timings.latency.mape,
        "held_out": timings.held_out_mape,
        "other_held_out": relative_error(medians, other.over([one.length for one in held])),
        "noise": float(high - low) / 2,
        "runs": sum(len(one.times_s) for one in timings.samples),
        "medians_ms": {str(one.length): 1e3 * one.median_s for one in timings.samples},
    }
