"""The benchmark ``report``: how long the report of a plan takes to build and how large it is."""

import statistics
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from benchmarks.models import model_file
from benchmarks.result import Bar, Result
from benchmarks.section import seconds, table
from benchmarks.settings import SEED, Settings
from graph_io import LayerGraph, load_graph
from partition import Plan, partition
from partition.report.page.evidence import Study
from partition.report.page.network import layout_of

MODEL, BANDWIDTH = "resnet50", "8.8Mbps"
LARGE_LAYERS = 5_000
SIZE_LIMIT_MB, TIME_LIMIT_S, LARGE_SIZE_LIMIT_MB = 1.0, 3.0, 5.0
_WIDTH = 16

Row = dict[str, Any]


def run(settings: Settings) -> Result:
    """Build the reports of ResNet-50 and of a graph of 5,000 layers."""
    repetitions = settings.repetitions or (3 if settings.quick else 7)
    with model_file(MODEL, settings.cache) as path:
        rows = [_row(MODEL, load_graph(path), BANDWIDTH, repetitions)]
    rows.append(_row("generated", load_graph(large_model(LARGE_LAYERS)), "2Mbps", min(repetitions, 3)))
    small, large = rows
    bars = (
        Bar(f"report of {MODEL}, MB", small["size_bytes"] / 1e6, SIZE_LIMIT_MB, "lower"),
        Bar(f"report of {MODEL}, s", small["report_s"], TIME_LIMIT_S, "lower"),
        Bar(f"report of {LARGE_LAYERS} layers, MB", large["size_bytes"] / 1e6, LARGE_SIZE_LIMIT_MB, "lower"),
    )
    shown = table(
        "Reports",
        ("model", "layers", "plan", "report", "spread", "size, kB", "boxes of the graph"),
        [
            (
                row["model"],
                f"{row['layers']:,}",
                seconds(row["plan_s"]),
                seconds(row["report_s"]),
                seconds(row["spread_s"]),
                f"{row['size_bytes'] / 1e3:,.0f}",
                str(row["boxes"]),
            )
            for row in rows
        ],
    )
    note = "report: all five figures but the measured one, tables and page, of a plan in memory; median"
    return Result("report", bars, tuple(rows), (shown,), (note,))


def _row(name: str, graph: LayerGraph, bandwidth: str, repetitions: int) -> Row:
    before = time.perf_counter()
    plan = partition(graph, bandwidth)
    planned = time.perf_counter()
    times = []
    with TemporaryDirectory() as folder:
        path = Path(folder) / "report.html"
        for _ in range(repetitions):
            start = time.perf_counter()
            plan.report(path, overwrite=True)
            times.append(time.perf_counter() - start)
        size = path.stat().st_size
    return {
        "kind": "report",
        "model": name,
        "layers": len(graph),
        "bandwidth": bandwidth,
        "plan_s": planned - before,
        "report_s": statistics.median(times),
        "spread_s": max(times) - min(times),
        "runs": repetitions,
        "size_bytes": size,
        "boxes": _boxes(plan),
    }


def _boxes(plan: Plan) -> int:
    return len(layout_of(Study(plan))[1].groups)


def large_model(n_layers: int) -> ModelProto:
    """Make a model of small matrix products in blocks of two branches and a skip connection, of `n_layers` layers."""
    random = np.random.default_rng(SEED)
    weights = [
        numpy_helper.from_array((random.standard_normal((_WIDTH, _WIDTH)) / 4).astype(np.float32), f"w{number}")
        for number in range(8)
    ]
    nodes: list[NodeProto] = []
    last, number = "data", 0
    while len(nodes) < n_layers:
        names = [f"block{number}_{part}" for part in ("left", "left2", "right", "join", "skip")]
        pairs = [(last, names[0]), (names[0], names[1]), (last, names[2])]
        nodes += [
            helper.make_node("MatMul", [read, f"w{(number + index) % 8}"], [made], made)
            for index, (read, made) in enumerate(pairs)
        ]
        nodes.append(helper.make_node("Mul", [names[1], names[2]], [names[3]], names[3]))
        nodes.append(helper.make_node("Add", [names[3], last], [names[4]], names[4]))
        last, number = names[4], number + 1
    value = helper.make_tensor_value_info("data", TensorProto.FLOAT, [64, _WIDTH])
    result = helper.make_tensor_value_info(last, TensorProto.FLOAT, [64, _WIDTH])
    graph = helper.make_graph(nodes, "blocks", [value], [result], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
