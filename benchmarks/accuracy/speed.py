"""How long a prediction takes: every layer of a large graph, warm; the limit is for 700 layers."""

import time

import numpy as np

from benchmarks.accuracy.machine import calibrated_machine
from benchmarks.result import Bar
from benchmarks.section import Section, seconds, table
from benchmarks.settings import Settings
from benchmarks.zoo.files import network_file
from graph_io import kernel_list, load_graph
from partition.latency.predict import predict_layers

LIMIT_S, LAYERS = 5e-3, 700
MODEL, QUICK_MODEL = "bert-base", "encoder-small"
REPETITIONS = 50


def measure(settings: Settings) -> Section:
    """Time `predict_layers` on BERT-base, node by node."""
    machine = calibrated_machine(settings.machine, settings.quick)
    name = QUICK_MODEL if settings.quick else MODEL
    with network_file(name, settings.cache) as path:
        graph = load_graph(path, dims={"seq": 128}, granularity="node")
    kernels = len(kernel_list(graph))
    start = time.perf_counter()
    predict_layers(machine, graph, threads=1)
    first_s = time.perf_counter() - start
    taken = []
    for _ in range(settings.repetitions or REPETITIONS):
        start = time.perf_counter()
        predict_layers(machine, graph, threads=1)
        taken.append(time.perf_counter() - start)
    low, middle, high = (float(one) for one in np.percentile(taken, [25, 50, 75]))
    row = {
        "kind": "speed",
        "layers": len(graph),
        "kernels": kernels,
        "first_s": first_s,
        "warm_s": middle,
        "spread_s": high - low,
    }
    line = [name, str(len(graph)), str(kernels), seconds(first_s), f"{seconds(middle)} ({seconds(high - low)})"]
    made = table("Predicting every layer of a graph", ("graph", "layers", "kernels", "first", "warm (spread)"), [line])
    # In proportion: the time is linear in the layers.
    scaled_ms = 1e3 * middle * LAYERS / len(graph)
    bar = Bar(f"speed: predict {LAYERS} layers, ms", scaled_ms, 1e3 * LIMIT_S, "lower")
    return Section((bar,), (row,), (made,), (f"speed: {len(graph)} layers, scaled to {LAYERS}",))
