"""The benchmark ``loading``: what a model costs before anything is planned, and how that grows with its nodes.

Two questions: how much longer does `load_graph` take than the least that a user of a model does anyway, which is to
load it, infer its shapes and open it once in the runtime; and does the time grow in proportion to the nodes.
"""

import gc
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from benchmarks.models import built_file, model_file
from benchmarks.result import Bar, Result
from benchmarks.section import geometric_mean, seconds, spread, table
from benchmarks.settings import SEED, Settings
from graph_io import LIGHT_MODELS, Granularity, load_graph

RATIO_LIMIT = 2.0
LARGEST_LIMIT_S = 10.0
# The largest model has four times the nodes of the one before; in proportion, and 30 % for noise and caches.
GROWTH_LIMIT = 4 * 1.3
QUICK_MODELS = ("squeezenet", "inception_v1", "shufflenet", "resnet50")
SIZES = (1_000, 5_000, 20_000)
QUICK_SIZES = (1_000, 5_000)
GRANULARITIES: tuple[Granularity, ...] = ("layer", "node")
_BLOCK_NODES = 8
_WIDTH = 8
_SHIPPED = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"

Row = dict[str, Any]
Step = Callable[[str], None]


def run(settings: Settings) -> Result:
    """Measure the light models with random weights and as shipped, and the generated models."""
    names = settings.models or (QUICK_MODELS if settings.quick else LIGHT_MODELS)
    repetitions = settings.repetitions or (3 if settings.quick else 7)
    sizes = QUICK_SIZES if settings.quick else SIZES
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    # Drawn between measurements only: a thread that draws would disturb them.
    with Progress(*columns, console=Console(stderr=True), auto_refresh=False, transient=True) as bar:
        task = bar.add_task("", total=2 * len(names) + len(sizes))

        def step(what: str) -> None:
            bar.update(task, description=what, advance=1.0, refresh=True)

        light = _light_rows(names, settings.cache, repetitions, step)
        generated = _generated_rows(sizes, settings.repetitions or 3, step)
    return _result(light, generated)


def _light_rows(names: Sequence[str], cache: Path | None, repetitions: int, step: Step) -> list[Row]:
    rows = []
    for name in names:
        with model_file(name, cache) as path:
            rows.append(_light_row(name, "random", path, repetitions))
        step(f"{name}: random weights")
    for name in names:
        rows.append(_light_row(name, "as shipped", _SHIPPED / f"light_{name}.onnx", repetitions))
        step(f"{name}: as shipped")
    return rows


def _light_row(name: str, weights: str, path: Path, repetitions: int) -> Row:
    timings = _alternating({"graph": partial(load_graph, path), "baseline": partial(_baseline, path)}, repetitions)
    row: Row = {
        "kind": "light",
        "model": name,
        "weights": weights,
        "file_bytes": path.stat().st_size,
        "nodes": len(onnx.load(path).graph.node),
        "repetitions": repetitions,
    }
    for what, measured in timings.items():
        row |= _summary(what, measured)
    return row | {"ratio": row["graph_s"] / row["baseline_s"]}


def _baseline(path: Path) -> None:
    onnx.shape_inference.infer_shapes(onnx.load(path))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _generated_rows(sizes: Sequence[int], repetitions: int, step: Step) -> list[Row]:
    rows = []
    for n_nodes in sizes:
        with built_file(f"branches-{n_nodes}.onnx", partial(branching_model, n_nodes), None) as path:
            loads: dict[str, Callable[[], object]] = {
                name: partial(load_graph, path, granularity=name) for name in GRANULARITIES
            }
            timings = _alternating(loads | {"baseline": partial(_baseline, path)}, repetitions)
        baseline = _summary("baseline", timings.pop("baseline"))
        for granularity, measured in timings.items():
            row: Row = {"kind": "generated", "nodes": n_nodes, "granularity": granularity, "repetitions": repetitions}
            row |= _summary("graph", measured) | baseline
            rows.append(row | {"per_1000_nodes_s": 1000 * row["graph_s"] / n_nodes})
        step(f"{n_nodes} nodes")
    return rows


def _alternating(runs: dict[str, Callable[[], object]], repetitions: int) -> dict[str, list[float]]:
    """Time all of them in turn, after one unmeasured run of each; who comes first changes every time."""
    found: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(repetitions + 1):
        for name in runs if number % 2 else reversed(runs):
            # What the run before left behind is not this one's to clear away.
            gc.collect()
            before = time.perf_counter()
            made = runs[name]()
            after = time.perf_counter()
            del made
            if number > 0:
                found[name].append(after - before)
    return found


def _summary(name: str, measured: Sequence[float]) -> Row:
    return {f"{name}_s": float(np.median(measured)), f"{name}_least_s": min(measured), f"{name}_most_s": max(measured)}


def branching_model(n_nodes: int) -> ModelProto:
    """Make a chain of residual blocks, each of eight nodes with two branches that meet and weights of its own.

    Parameters
    ----------
    n_nodes : int
        A multiple of eight.

    Raises
    ------
    ValueError
        Another number of nodes.
    """
    if n_nodes < _BLOCK_NODES or n_nodes % _BLOCK_NODES:
        raise ValueError(f"a model of {n_nodes} nodes cannot be made of blocks; use a multiple of {_BLOCK_NODES}")
    generator = np.random.default_rng(SEED)
    nodes: list[NodeProto] = []
    weights: list[TensorProto] = []

    def node(op_type: str, reads: Sequence[str], output: str) -> str:
        nodes.append(helper.make_node(op_type, reads, [output], name=f"{output}_{op_type}"))
        return output

    def weight(name: str, *shape: int) -> str:
        values = generator.standard_normal(shape, dtype=np.float32) * np.float32(0.1)
        weights.append(numpy_helper.from_array(values, name))
        return name

    read = "x"
    for number in range(n_nodes // _BLOCK_NODES):
        at = f"block{number}"
        product = node("MatMul", (read, weight(f"{at}_w", _WIDTH, _WIDTH)), f"{at}_product")
        trunk = node("Relu", (node("Add", (product, weight(f"{at}_b", _WIDTH)), f"{at}_sum"),), f"{at}_trunk")
        left = node("Tanh", (trunk,), f"{at}_left")
        right = node("Neg", (node("Sigmoid", (trunk,), f"{at}_gate"),), f"{at}_right")
        read = node("Add", (read, node("Mul", (left, right), f"{at}_both")), f"{at}_end")
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, _WIDTH]) for name in ("x", read)]
    graph = helper.make_graph(nodes, f"branches{n_nodes}", ends[:1], ends[1:], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _result(light: Sequence[Row], generated: Sequence[Row]) -> Result:
    of_random = [row for row in light if row["weights"] == "random"]
    slowest = max(of_random, key=lambda row: float(row["ratio"]))
    bars = [Bar("load_graph over load, shapes and open: largest ratio", slowest["ratio"], RATIO_LIMIT, "lower")]
    of = {(row["granularity"], row["nodes"]): float(row["graph_s"]) for row in generated}
    before, largest = SIZES[-2:]
    if ("layer", largest) in of:
        bars.append(Bar(f"seconds for {largest:,} nodes, layer", of["layer", largest], LARGEST_LIMIT_S, "lower"))
        bars += [
            Bar(
                f"{largest:,} nodes over {before:,}, {name}",
                of[name, largest] / of[name, before],
                GROWTH_LIMIT,
                "lower",
            )
            for name in GRANULARITIES
        ]
    tables = (
        _light_table(f"Light models, random weights (limit {RATIO_LIMIT:g})", of_random),
        _light_table(
            "The same as the onnx package ships them (no limit)", [row for row in light if row not in of_random]
        ),
        table(
            "load_graph of generated models",
            ("granularity", "nodes", "load_graph", "per 1,000 nodes", "baseline"),
            [
                (
                    row["granularity"],
                    f"{row['nodes']:,}",
                    spread(row, "graph"),
                    seconds(row["per_1000_nodes_s"]),
                    spread(row, "baseline"),
                )
                for row in generated
            ],
        ),
    )
    notes: tuple[str, ...] = (
        "baseline: onnx.load, infer_shapes and one session at the extended level, 1 thread, in the same process",
        "medians of alternating runs after one unmeasured run of each; in brackets the least and the most",
        f"largest ratio: {slowest['model']}; geometric mean: {geometric_mean([row['ratio'] for row in of_random]):.2f}",
    )
    if ("layer", largest) in of:
        alone = {row["nodes"]: float(row["baseline_s"]) for row in generated}
        growth = alone[largest] / alone[before]
        notes += (f"from {before:,} to {largest:,} nodes the baseline, without this library, grows {growth:.1f} times",)
    return Result("loading", tuple(bars), (*light, *generated), tables, notes)


def _light_table(title: str, rows: Sequence[Row]) -> Table:
    return table(
        title,
        ("model", "MB", "nodes", "load_graph", "baseline", "ratio"),
        [
            (
                row["model"],
                f"{row['file_bytes'] / 1e6:.1f}",
                str(row["nodes"]),
                spread(row, "graph"),
                spread(row, "baseline"),
                f"{row['ratio']:.2f}",
            )
            for row in rows
        ],
    )
