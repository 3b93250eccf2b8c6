"""How long a prediction takes: every layer of a graph of 700 layers or more, warm."""

import time

import numpy as np

from benchmarks.accuracy.machine import calibrated_machine
from benchmarks.result import Bar
from benchmarks.section import Section, seconds, table
from benchmarks.settings import Settings
from benchmarks.zoo.files import network_file
from graph_io import kernel_list, load_graph
from partition.latency.predict import predict_layers

LIMIT_S = 5e-3
MODEL = "bert-base"
REPETITIONS = 50


def measure(settings: Settings) -> Section:
    """Time `predict_layers` on BERT-base, node by node."""
    machine = calibrated_machine(settings.machine, settings.quick)
    with network_file(MODEL, settings.cache) as path:
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
    line = [MODEL, str(len(graph)), str(kernels), seconds(first_s), f"{seconds(middle)} ({seconds(high - low)})"]
    made = table("Predicting every layer of a graph", ("graph", "layers", "kernels", "first", "warm (spread)"), [line])
    return Section((Bar("speed: predict 700 layers, ms", 1e3 * middle, 1e3 * LIMIT_S, "lower"),), (row,), (made,))
