"""Each layer type: the library's regression beside the published ones, from the same rows, on the zoo's kernels."""

from typing import Any

import numpy as np

from benchmarks.accuracy.machine import calibrated_machine
from benchmarks.accuracy.zoo_results import NetworkResult, zoo_results
from benchmarks.section import Section, table
from benchmarks.settings import Settings
from partition.latency.calibration import REGRESSIONS
from partition.latency.goodness import mean_absolute_percentage_error, r_squared

SHOWN = ("terms-and-process", "neurosurgeon", "edgent", "wang-linear", "wang-logarithmic", "wang-polynomial")
# Wang, ICT-CAS 2020: R^2 on the devices of that work, static and dynamic features, by the best of its regressions.
PUBLISHED_R2 = {
    "conv": 0.9758,
    "pooling": 0.9962,
    "fc": 0.9661,
    "bn": 0.9982,
    "activation": 0.8991,
    "softmax": 0.9836,
    "argmax": 0.9776,
}
TYPES = {
    "conv": ("conv", "depthwise_conv", "grouped_conv"),
    "pooling": ("max_pool", "average_pool", "global_pool"),
    "fc": ("gemm",),
    "bn": ("batch_norm", "lrn", "layer_norm", "instance_norm"),
    "activation": ("activation", "transcendental"),
    "softmax": ("softmax",),
    "argmax": ("argmax",),
    "transposed conv": ("conv_transpose",),
    "recurrent": ("lstm", "gru", "rnn"),
    "products of activations": ("matmul",),
    "elementwise": ("elementwise",),
    "data movement": (
        "concat",
        "split",
        "slice",
        "transpose",
        "gather",
        "pad",
        "reorder",
        "view",
        "cast",
        "resize",
        "expand",
    ),
}


def measure(settings: Settings) -> Section:
    """Compare kernels of the zoo at one thread, and the totals that follow."""
    machine = calibrated_machine(settings.machine, settings.quick)
    assert machine.calibration is not None
    results = zoo_results(settings)
    regressions = {name: machine.calibration.regression(name) for name in REGRESSIONS if "dynamic" not in name}
    features = [one for result in results for one in result.at[1].features]
    measured = np.concatenate([result.at[1].kernel_s for result in results])
    predicted = {name: one.predict_s(features, threads=1) for name, one in regressions.items()}
    rows: list[dict[str, Any]] = []
    for label, kinds in TYPES.items():
        chosen = np.array([one.kind in kinds for one in features])
        if chosen.sum() < 2:
            continue
        for name, values in predicted.items():
            known = chosen & ~np.isnan(values)
            row: dict[str, Any] = {"kind": "type", "type": label, "regression": name, "kernels": int(known.sum())}
            infinite = known & np.isinf(values)
            row["infinite"] = int(infinite.sum())
            known &= ~infinite
            if known.sum() >= 2:
                row["r_squared"] = _finite(r_squared(measured[known], values[known]))
                row["mape"] = mean_absolute_percentage_error(measured[known], values[known]) / 100
                row["negative"] = int((values[known] < 0).sum())
            rows.append(row)
    rows += _totals(results, predicted)
    return Section((), tuple(rows), (_type_table(rows), _total_table(rows)), (_NOTE,))


_NOTE = (
    "R2 is ruled by the largest layers, MAPE by the many small ones. The published column is R2 on that work's own "
    "devices and layers (Wang, ICT-CAS 2020, best of its regressions with dynamic features), for orientation only"
)


def _shown(fit: float | None) -> str:
    return "-" if fit is None else "< -99" if fit < -99 else f"{fit:.3f}"


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _totals(results: tuple[NetworkResult, ...], predicted: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the error of each regression's totals; what it does not know it takes from the measurement."""
    rows = []
    start = 0
    bounds = []
    for result in results:
        bounds.append((start, start + len(result.at[1].features)))
        start = bounds[-1][1]
    for name, values in predicted.items():
        errors = []
        for result, (first, last) in zip(results, bounds, strict=True):
            own, truth = values[first:last], result.at[1].kernel_s
            filled = np.where(np.isnan(own), truth, own)
            errors.append(abs(float(filled.sum() / truth.sum()) - 1))
        rows.append(
            {
                "kind": "regression totals",
                "regression": name,
                "median_error": _finite(float(np.median(errors))),
                "within": float(np.mean(np.array(errors) <= 0.10)),
                "known_share": float((~np.isnan(values)).mean()),
            }
        )
    return rows


def _type_table(rows: list[dict[str, Any]]) -> Any:
    lines = []
    for label in TYPES:
        own = {row["regression"]: row for row in rows if row["kind"] == "type" and row["type"] == label}
        if not own:
            continue
        cells = [label, str(own[SHOWN[0]]["kernels"]), f"{PUBLISHED_R2[label]:.3f}" if label in PUBLISHED_R2 else "-"]
        for name in SHOWN:
            row = own[name]
            if "mape" not in row:
                cells.append("-")
                continue
            fit = _shown(row["r_squared"])
            cells.append(f"{fit} / {row['mape']:.0%}" if row["mape"] < 100 else f"{fit} / {row['mape']:.0f}x")
        lines.append(cells)
    return table("Kernels of the zoo, 1 thread: R2 / MAPE", ("layer type", "kernels", "published R2", *SHOWN), lines)


def _total_table(rows: list[dict[str, Any]]) -> Any:
    lines = [
        [
            row["regression"],
            "infinite" if row["median_error"] is None else f"{row['median_error']:.1%}",
            f"{row['within']:.0%}",
            f"{row['known_share']:.0%}",
        ]
        for row in rows
        if row["kind"] == "regression totals"
    ]
    title = "Totals by regression, 1 thread; kernels of types that one does not know count as measured"
    return table(title, ("regression", "median error", "within 10 %", "kernels known"), lines)
