"""Dynamic features: layers timed beside neighbours, by Wang's regressions without and with the state of the machine.

The library's own answer is beside them: its prediction at rest times what its load model says of the same reading.
"""

from itertools import islice
from typing import Any

import numpy as np

from benchmarks.accuracy.loaded import SCENARIOS
from benchmarks.accuracy.machine import calibrated_machine
from benchmarks.section import Section, table
from benchmarks.settings import SEED, Settings
from graph_io import kernel_list, load_graph, micro_benchmarks
from graph_io.inputs import random_inputs
from graph_io.shapes import input_dtypes
from partition.latency.baselines import BASELINES
from partition.latency.calibration import TimedFeatures, TimedKernel
from partition.latency.goodness import mean_absolute_percentage_error, r_squared
from partition.latency.machines import Machine
from partition.latency.profiling import Repetition, profile_runs
from partition.load.neighbours import neighbours
from partition.load.reading import LoadReader, LoadReading

STATIC_AND_DYNAMIC = ("wang-linear", "wang-linear-dynamic", "wang-polynomial", "wang-polynomial-dynamic")
OURS = "terms-and-process, load model"
SHARE = 0.05
QUICK_MODELS = 2
_REPETITION = Repetition(fewest=10, most=10, budget_s=0.2, plain=False)
_READING_S = 0.1


def measure(settings: Settings) -> Section:
    """Time layers in all scenarios, fit to every other model, and compare on the rest."""
    machine = calibrated_machine(settings.machine, settings.quick)
    rows, readings, numbers = _timed(settings, machine)
    train = [row for row, number in zip(rows, numbers, strict=True) if number % 2 == 0]
    test = [position for position, number in enumerate(numbers) if number % 2 == 1]
    measured = np.array([rows[position].seconds for position in test])
    found: list[dict[str, Any]] = []
    for name in STATIC_AND_DYNAMIC:
        regression = BASELINES[name](train)
        predicted = np.array(
            [
                regression.predict_s([rows[position].features], threads=1, dynamic=rows[position].dynamic)[0]
                for position in test
            ]
        )
        found.append(_compared(name, measured, predicted))
    found.append(_compared(OURS, measured, _own(machine, [rows[p] for p in test], [readings[p] for p in test])))
    lines = [
        [
            row["regression"],
            str(row["kernels"]),
            f"{row['r_squared']:.3f}",
            f"{row['mape']:.0%}",
            f"{row['total']:+.1%}",
        ]
        for row in found
    ]
    title = "Single layers beside 0 to 2 busy neighbours and a memory-bound one, mean wall times, 1 thread"
    headings = ("regression", "kernels", "R2", "MAPE", "error of the total")
    note = "fitted to every other model of layers in the same scenarios, compared on the rest; ours was fitted at rest"
    return Section((), tuple(found), (table(title, headings, lines),), (note,))


def _timed(settings: Settings, machine: Machine) -> tuple[list[TimedKernel], list[LoadReading], list[int]]:
    rows: list[TimedKernel] = []
    readings: list[LoadReading] = []
    numbers: list[int] = []
    models = machine.calibration.load_models if machine.calibration is not None else ()
    probe_bytes = next((one.memory_probe_bytes for one in models if one.threads == 1), 0)
    with LoadReader(1, memory_probe_bytes=probe_bytes) as reader:
        for kind, count in SCENARIOS:
            _, benchmarks = micro_benchmarks(seed=SEED + 1, scale=SHARE)
            with neighbours(count, kind):
                for benchmark in islice(benchmarks, QUICK_MODELS if settings.quick else None):
                    graph = load_graph(benchmark.model, granularity="node")
                    kernels = kernel_list(graph)
                    inputs = random_inputs(graph.graph["input_shapes"], input_dtypes(graph.graph["model"]))
                    reading = reader.read(_READING_S)
                    content = graph.graph["model"].proto.SerializeToString()
                    known = {kernel.key for kernel in kernels}
                    runs = profile_runs(
                        content, inputs, "layers", known=known, threads=1, repetition=_REPETITION, bound=True
                    )
                    sharing = [kernel.key for kernel in kernels]
                    for kernel in kernels:
                        seconds = runs.profile.kernels_s.get(kernel.key)
                        if seconds is None or kernel.features.kind in ("reorder", "view", "slice"):
                            continue
                        features = kernel.features
                        rows.append(
                            TimedKernel(
                                TimedFeatures(features.kind, features.op_type, features.values),
                                1,
                                # A neighbour takes whole time slices: the mean shows what the median hides.
                                max(float(seconds.mean()) / sharing.count(kernel.key), 1e-6),
                                0.0,
                                _dynamic(reading),
                            )
                        )
                        readings.append(reading)
                        numbers.append(benchmark.number)
    return rows, readings, numbers


def _dynamic(reading: LoadReading) -> dict[str, float]:
    return {
        "cpu_utilisation": reading.cpu_utilisation,
        "system_cpu_share": reading.system_cpu_share,
        "free_memory_bytes": float(reading.free_memory_bytes),
        "memory_usage": reading.memory_usage,
    }


def _own(machine: Machine, rows: list[TimedKernel], readings: list[LoadReading]) -> Any:
    calibration = machine.calibration
    assert calibration is not None
    at_rest = calibration.own_regression.predict_s([row.features for row in rows], threads=1)
    model = next((one for one in calibration.load_models if one.threads == 1), None)
    factors = [1.0 / reading.cpu_share if model is None else model.factor(reading) for reading in readings]
    return at_rest * np.array(factors)


def _compared(name: str, measured: Any, predicted: Any) -> dict[str, Any]:
    known = np.isfinite(predicted)
    return {
        "kind": "dynamic",
        "regression": name,
        "kernels": int(known.sum()),
        "r_squared": float(r_squared(measured[known], predicted[known])),
        "mape": mean_absolute_percentage_error(measured[known], predicted[known]) / 100,
        "total": float(predicted[known].sum() / measured[known].sum() - 1),
    }
