"""Measure one model on this machine: a profile for the proportions, unprofiled runs for the total.

The profiler slows small kernels down, so its sum is not the model's time; scaled to the median of full runs without it,
the layers predict head and tail of a split within a few percent.
"""

import datetime
import json
import os
import platform
import re
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from partition.errors import InputError
from partition.latency.machines import Machine, load_machine
from partition.latency.predict import predict
from partition.latency.timings import (
    LayerTiming,
    MeasuredModel,
    MeasuredRuntime,
    SharedKernel,
    Timings,
    WholeModelTiming,
)

if TYPE_CHECKING:
    import onnxruntime
    from onnx import ModelProto

    from graph_io import Granularity, LayerGraph

_WARM_UP_RUNS = 3
_FEWEST_RUNS, _MOST_RUNS, _BUDGET_S = 10, 50, 10.0
# Whose roofline shares out a kernel that spans several layers; only its proportions matter.
_SHARING_MACHINE = "laptop-4-core"


@dataclass(frozen=True, slots=True)
class _Runs:
    """Seconds of each run: whole runs without the profiler, their CPU time, and each kernel's time in profiled runs."""

    whole_s: NDArray[np.float64]
    cpu_s: NDArray[np.float64]
    kernels_s: dict[str, NDArray[np.float64]]


def measure(
    model: "str | PathLike[str] | ModelProto",
    *,
    dims: Mapping[str, int] | None = None,
    granularity: "Granularity" = "layer",
    threads: int | None = None,
    inputs: Mapping[str, NDArray[Any]] | None = None,
    name: str | None = None,
    progress: Callable[[float], None] | None = None,
) -> Timings:
    """Measure a model on this machine, layer by layer, at the runtime's highest optimisation level on its CPU.

    Parameters
    ----------
    model : path or onnx.ModelProto
    dims : mapping of str to int, optional
        Values of symbolic dimensions.
    granularity : {"layer", "node"}
    threads : int, optional
        Of the runtime; as many as this process may use processors if not given.
    inputs : mapping of str to numpy.ndarray, optional
        Inputs to run on; seeded random ones if not given.
    name : str, optional
        The machine's name in the result; its host name if not given.
    progress : callable, optional
        Called with the finished share, 0 to 1.

    Returns
    -------
    Timings
        Medians; a kernel that the runtime fused over several layers is shared out by predicted time, and named.

    Raises
    ------
    graph_io.ModelError
        The model cannot be loaded or run.
    InputError
        The thread count is not a whole number of 1 or more.
    """
    import onnxruntime

    from graph_io import deployed_kernels, load_graph

    if threads is not None and (isinstance(threads, bool) or not isinstance(threads, int) or threads < 1):
        raise InputError(f"threads is {threads!r}; give a whole number of 1 or more")
    used_threads = threads if threads is not None else _available_processors()
    graph = load_graph(model, dims=dims, granularity=granularity)
    kernels = deployed_kernels(graph)
    fed = _default_inputs(graph) if inputs is None else dict(inputs)
    runs = _run(graph, fed, used_threads, progress)
    layers, shared, notes = _attribute(graph, kernels, runs)
    return Timings(
        name=name or platform.node() or "this-machine",
        model=MeasuredModel(graph.graph["name"], graph.graph["structure_sha256"], granularity),
        hardware={
            "processor": _processor_name(),
            "architecture": platform.machine(),
            "processors_available": _available_processors(),
            "system": platform.platform(),
        },
        runtime=MeasuredRuntime("onnxruntime", onnxruntime.__version__, "CPUExecutionProvider", used_threads, "all"),
        date=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        whole_model=WholeModelTiming(
            latency_s=float(np.median(runs.whole_s)),
            spread_s=_spread(runs.whole_s),
            runs=len(runs.whole_s),
            cpu_s=float(np.median(runs.cpu_s)),
        ),
        layers=layers,
        shared_kernels=shared,
        notes=(*graph.graph["notes"], *notes),
    )


def _available_processors() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _processor_name() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or "unknown"
    match = re.search(r"^(?:model name|Model)\s*:\s*(.+)$", text, re.MULTILINE)
    return match[1].strip() if match else platform.processor() or "unknown"


def _spread(seconds: NDArray[np.float64]) -> float:
    """Return the interquartile range."""
    low, high = np.percentile(seconds, [25, 75])
    return float(high - low)


def _default_inputs(graph: "LayerGraph") -> dict[str, NDArray[Any]]:
    from graph_io.shapes import fix_input_dims, input_dtypes, random_inputs

    model = graph.graph["model"]
    shapes, _ = fix_input_dims(model, graph.graph["dims"])
    return random_inputs(shapes, input_dtypes(model))


def _run(
    graph: "LayerGraph", inputs: dict[str, NDArray[Any]], threads: int, progress: Callable[[float], None] | None
) -> _Runs:
    """Alternate profiled and unprofiled runs, so that a drift of the machine's speed meets both."""
    import onnxruntime

    content = graph.graph["model"].proto.SerializeToString()

    def open_session(prefix: str | None) -> "onnxruntime.InferenceSession":
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = threads
        if prefix is not None:
            options.enable_profiling = True
            options.profile_file_prefix = prefix
        try:
            return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the runtime's exceptions share no public base class
            raise InputError(f"the model cannot be opened: {str(error).strip().splitlines()[0]}") from error

    with tempfile.TemporaryDirectory(prefix="dnn-partition-") as folder:
        plain, profiled = open_session(None), open_session(str(Path(folder) / "profile"))
        whole: list[float] = []
        cpu: list[float] = []
        try:
            for _ in range(_WARM_UP_RUNS):
                plain.run(None, inputs)
                profiled.run(None, inputs)
            start = time.perf_counter()
            while len(whole) < _FEWEST_RUNS or (len(whole) < _MOST_RUNS and time.perf_counter() - start < _BUDGET_S):
                cpu_before, before = time.process_time(), time.perf_counter()
                plain.run(None, inputs)
                whole.append(time.perf_counter() - before)
                cpu.append(time.process_time() - cpu_before)
                profiled.run(None, inputs)
                if progress is not None:
                    spent = (time.perf_counter() - start) / _BUDGET_S
                    progress(min(1.0, max(len(whole) / _MOST_RUNS, min(spent, len(whole) / _FEWEST_RUNS))))
        except InputError:
            raise
        except Exception as error:  # the runtime's exceptions share no public base class
            raise InputError(f"the model cannot be run: {str(error).strip().splitlines()[0]}") from error
        if progress is not None:
            progress(1.0)
        events = json.loads(Path(profiled.end_profiling()).read_text(encoding="utf-8"))
    return _Runs(np.array(whole), np.array(cpu), _kernel_times(events, len(whole)))


def _kernel_times(events: list[dict[str, Any]], n_runs: int) -> dict[str, NDArray[np.float64]]:
    """Collect the seconds of each kernel in each counted run."""
    suffix = "_kernel_time"
    durations: dict[str, list[float]] = {}
    for event in events:
        name = event.get("name", "")
        if event.get("cat") == "Node" and name.endswith(suffix):
            durations.setdefault(name.removesuffix(suffix), []).append(event["dur"] * 1e-6)
    total_runs = n_runs + _WARM_UP_RUNS
    # A kernel inside a loop appears several times a run; its runs then have no fixed length and are left out here,
    # since the time of the loop's own node already holds theirs.
    return {
        name: np.array(values).reshape(total_runs, -1).sum(axis=1)[_WARM_UP_RUNS:]
        for name, values in durations.items()
        if len(values) % total_runs == 0
    }


def _attribute(
    graph: "LayerGraph", kernels: Mapping[str, tuple[str, ...]], runs: _Runs
) -> tuple[tuple[LayerTiming, ...], tuple[SharedKernel, ...], tuple[str, ...]]:
    sharing = load_machine(_SHARING_MACHINE)
    assert isinstance(sharing, Machine)
    predicted = predict(sharing, {layer: data["layer"] for layer, data in graph.nodes(data=True)})
    unseen = [name for name in kernels if name not in runs.kernels_s]
    notes = []
    if unseen:
        notes.append(
            f"{len(unseen)} kernels did not appear in every profiled run and count as 0: {', '.join(unseen[:3])}"
        )
    latency = dict.fromkeys(graph.nodes, 0.0)
    spread = dict.fromkeys(graph.nodes, 0.0)
    shared = []
    for name, layers in kernels.items():
        seconds = runs.kernels_s.get(name)
        if seconds is None:
            continue
        total = sum(predicted[layer] for layer in layers)
        if len(layers) > 1:
            shared.append(SharedKernel(name, layers))
        for layer in layers:
            share = predicted[layer] / total
            latency[layer] += float(np.median(seconds)) * share
            spread[layer] += _spread(seconds) * share
    measured = sum(latency.values())
    if measured <= 0:
        raise InputError(f"model '{graph.graph['name']}' is too small to be profiled: every kernel took under 1 us")
    scale = float(np.median(runs.whole_s)) / measured
    timings = tuple(LayerTiming(layer, latency[layer] * scale, spread[layer] * scale) for layer in graph.nodes)
    return timings, tuple(shared), tuple(notes)
