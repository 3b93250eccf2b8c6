"""Load: the wall time of requests beside busy and memory-bound neighbours, from a reading that ended before each."""

import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from benchmarks.accuracy.clock import time_in_turn
from benchmarks.accuracy.machine import calibrated_machine
from benchmarks.models import model_file
from benchmarks.result import Bar
from benchmarks.section import Section, table
from benchmarks.settings import SEED, Settings
from graph_io import load_graph
from graph_io.inputs import random_inputs
from graph_io.shapes import input_dtypes
from partition.latency.machines import Machine
from partition.latency.predict import predict_layers
from partition.load.calibration import accuracy_of
from partition.load.model import LoadModel, LoadObservation
from partition.load.neighbours import neighbours
from partition.load.reading import LoadReader
from partition.runtime.parts import open_part, session_options

LIMIT = 0.15
MODELS = ("inception_v1", "resnet50", "bvlc_alexnet")
QUICK_MODELS = ("squeezenet",)
SCENARIOS = (("busy", 0), ("busy", 1), ("busy", 2), ("memory", 1))
SECONDS, QUICK_SECONDS = 20.0, 0.8
READING_S, GAP_S = 0.2, 0.01


def measure(settings: Settings) -> Section:
    """Measure each number of threads in each scenario."""
    machine = calibrated_machine(settings.machine, settings.quick)
    assert machine.calibration is not None
    rows: list[dict[str, Any]] = []
    for model in machine.calibration.load_models:
        rows += _at(model, machine, settings)
    bars = tuple(
        Bar(f"load: median error, {row['scenario']}, {row['threads']} threads", row["error"], LIMIT, "lower")
        for row in rows
    )
    lines = [
        [
            row["scenario"],
            str(row["threads"]),
            str(row["requests"]),
            f"{row['wall_over_idle']:.2f}",
            f"{row['error']:.1%}",
            f"{row['error_without']:.1%}",
            f"{row['noise']:.1%}",
        ]
        for row in rows
    ]
    headings = ("neighbours", "threads", "requests", "wall over idle", "error", "without the model", "noise")
    title = "Wall time of requests under load, predicted from a reading that ended before them: median errors"
    return Section(bars, tuple(rows), (table(title, headings, lines),))


def _at(model: LoadModel, machine: Machine, settings: Settings) -> list[dict[str, Any]]:
    requests = {
        name: _request(name, machine, model.threads, settings) for name in (QUICK_MODELS if settings.quick else MODELS)
    }
    runs = {name: run for name, (run, _) in requests.items()}
    # At rest, in a pass of its own, before any reading.
    idle_s = {name: _idle_s(run, model.threads) for name, run in runs.items()}
    taken: list[tuple[str, str, float, Any]] = []
    seconds = QUICK_SECONDS if settings.quick else SECONDS
    with LoadReader(model.threads, memory_probe_bytes=model.memory_probe_bytes) as reader:
        for kind, count in SCENARIOS:
            name = "none" if count == 0 else f"{count} {kind}"
            with neighbours(count, kind):
                end_s = time.perf_counter() + seconds
                while time.perf_counter() < end_s:
                    for network, run in runs.items():
                        reading = reader.read(READING_S)
                        time.sleep(GAP_S)
                        before_s = time.perf_counter()
                        run()
                        taken.append((name, network, time.perf_counter() - before_s, reading))
    rows = []
    for scenario in dict.fromkeys(one[0] for one in taken):
        own = [one for one in taken if one[0] == scenario]
        observed = [
            LoadObservation(reading, idle_s[network], wall_s, requests[network][1])
            for _, network, wall_s, reading in own
        ]
        found = accuracy_of(model, scenario, observed)
        rows.append(
            {
                "kind": "load",
                "scenario": scenario,
                "threads": model.threads,
                "requests": found.requests,
                "wall_over_idle": found.wall_over_idle,
                "error": found.error,
                "error_without": found.error_without,
                "noise": _noise(own),
            }
        )
    return rows


def _noise(requests: list[tuple[str, str, float, Any]]) -> float:
    """Return how far requests of one network lie from their median, the median over all."""
    middle = {
        network: statistics.median(one[2] for one in requests if one[1] == network)
        for network in {one[1] for one in requests}
    }
    return statistics.median(abs(one[2] / middle[one[1]] - 1) for one in requests)


def _idle_s(run: Callable[[], object], threads: int) -> float:
    return time_in_turn([run], threads=threads, fewest=12, most=12, budget_s=1.0)[0].seconds


def _request(name: str, machine: Machine, threads: int, settings: Settings) -> tuple[Callable[[], object], float]:
    """Return a request of a network, and the share of its time that memory bounds as the machine file predicts it."""
    with model_file(name, settings.cache) as path:
        graph = load_graph(path)
        inputs = random_inputs(graph.graph["input_shapes"], input_dtypes(graph.graph["model"]), seed=SEED)
        session = open_part(str(path), name, session_options(threads=threads))
    costs = predict_layers(machine, graph, threads=threads)
    total_s = sum(costs.seconds.values())
    share = sum(costs.seconds[layer] * costs.memory_shares[layer] for layer in costs.seconds) / total_s
    return partial(session.run, None, inputs), share
