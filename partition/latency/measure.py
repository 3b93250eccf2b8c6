"""Measure one model on this machine: a profile for the proportions, unprofiled runs for the total.

The profiler slows small kernels down, so its sum is not the model's time; scaled to the median of full runs without it,
the layers predict head and tail of a split within a few percent.
"""

import datetime
import json
import math
import os
import platform
import re
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from partition.errors import InputError
from partition.latency.annotate import sharing_weights
from partition.latency.timings import (
    LayerTiming,
    MeasuredModel,
    MeasuredRuntime,
    SharedKernel,
    Timings,
    WholeModelTiming,
)
from partition.units import check_threads

if TYPE_CHECKING:
    import onnxruntime

    from graph_io import Granularity, LayerGraph, ModelSource

_WARM_UP_RUNS = 3
_FEWEST_RUNS, _MOST_RUNS, _BUDGET_S = 10, 50, 10.0
# The share of the profiled time that may belong to kernels without a layer; above, the proportions would be wrong.
_MOST_LOST = 0.01
_WITH_BODIES = frozenset({"If", "Loop", "Scan"})
# Start and length of a kernel are rounded down to whole microseconds: its true end is less than this after their sum.
_CLOCK_US = 2


@dataclass(frozen=True, slots=True)
class _Runs:
    """Seconds of each run: whole runs without the profiler, their CPU time, and what the profiler told."""

    whole_s: NDArray[np.float64]
    cpu_s: NDArray[np.float64]
    profile: "_Profile"


@dataclass(frozen=True, slots=True)
class _Profile:
    """Each kernel's seconds in each counted run, and in all runs together, for kernels outside of any other's body."""

    kernels_s: dict[str, NDArray[np.float64]]
    total_s: dict[str, float]


def measure(
    model: "ModelSource",
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
        Of the runtime, 1024 at most; as many as this process may use processors if not given.
    inputs : mapping of str to numpy.ndarray, optional
        Inputs to run on, of the shapes that the model has with `dims`; seeded random ones if not given.
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
        The model cannot be loaded, opened or run, or its kernels cannot be followed back to its layers.
    InputError
        A thread count that is not a whole number from 1 to 1024, a blank name, an input that is missing, unknown or of
        another type or shape than the model's; a model that is too small for the profiler's clock, or of whose
        profiled time more than 1 % belongs to no layer.
    """
    import onnxruntime

    from graph_io import deployed_kernels, load_graph

    if threads is not None:
        check_threads(threads)
    if name is not None and not (isinstance(name, str) and name.strip()):
        raise InputError(f"the machine's name is {name!r}; give a text that is not blank, or none for the host name")
    used_threads = threads if threads is not None else _available_processors()
    graph = load_graph(model, dims=dims, granularity=granularity)
    kernels = deployed_kernels(graph)
    fed = _inputs(graph, inputs)
    runs = _run(graph, kernels, fed, used_threads, progress)
    layers, shared, notes = _attribute(graph, kernels, runs)
    return Timings(
        name=name if name is not None else platform.node().strip() or "this-machine",
        model=MeasuredModel(
            graph.graph["name"],
            graph.graph["structure_sha256"],
            granularity,
            {name: tuple(array.shape) for name, array in fed.items()},
        ),
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


def _inputs(graph: "LayerGraph", inputs: Mapping[str, NDArray[Any]] | None) -> dict[str, NDArray[Any]]:
    """Return the inputs to run on: made here, or a user's own once they fit the graph."""
    from graph_io.shapes import input_dtypes, random_inputs

    shapes: Mapping[str, tuple[int, ...]] = graph.graph["input_shapes"]
    dtypes = input_dtypes(graph.graph["model"])
    if inputs is None:
        return random_inputs(shapes, dtypes)
    unknown = next((name for name in inputs if name not in shapes), None)
    if unknown is not None:
        raise InputError(f"input {unknown!r} is not in the model; its inputs are {', '.join(shapes)}")
    for name, shape in shapes.items():
        if name not in inputs:
            raise InputError(f"input {name!r} is missing; the model's inputs are {', '.join(shapes)}")
        array = inputs[name]
        if not isinstance(array, np.ndarray):
            raise InputError(f"input {name!r} is a {type(array).__name__}; pass a numpy array")
        if array.dtype.name != dtypes[name]:
            raise InputError(f"input {name!r} is of type {array.dtype}, the model's is {dtypes[name]}; pass that")
        if array.shape != tuple(shape):
            raise InputError(
                f"input {name!r} has the shape {list(array.shape)}, the model has it as {list(shape)}; "
                "pass an array of that shape, or the array's dimensions as dims"
            )
    return {name: inputs[name] for name in shapes}


def _run(
    graph: "LayerGraph",
    kernels: Collection[str],
    inputs: dict[str, NDArray[Any]],
    threads: int,
    progress: Callable[[float], None] | None,
) -> _Runs:
    """Alternate profiled and unprofiled runs, so that a drift of the machine's speed meets both."""
    import onnxruntime

    def open_session(prefix: str | None) -> "onnxruntime.InferenceSession":
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = threads
        if prefix is not None:
            options.enable_profiling = True
            options.profile_file_prefix = prefix
        content = graph.graph["model"].proto.SerializeToString()
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])

    def run(session: "onnxruntime.InferenceSession") -> None:
        with _model_errors(graph, "run"):
            session.run(None, inputs)

    with tempfile.TemporaryDirectory(prefix="dnn-partition-") as folder:
        with _model_errors(graph, "be opened"):
            plain, profiled = open_session(None), open_session(str(Path(folder) / "profile"))
        whole: list[float] = []
        cpu: list[float] = []
        for _ in range(_WARM_UP_RUNS):
            run(plain)
            run(profiled)
        start = time.perf_counter()
        while len(whole) < _FEWEST_RUNS or (len(whole) < _MOST_RUNS and time.perf_counter() - start < _BUDGET_S):
            cpu_before, before = time.process_time(), time.perf_counter()
            run(plain)
            whole.append(time.perf_counter() - before)
            cpu.append(time.process_time() - cpu_before)
            run(profiled)
            if progress is not None:
                spent = (time.perf_counter() - start) / _BUDGET_S
                progress(min(1.0, max(len(whole) / _MOST_RUNS, min(spent, len(whole) / _FEWEST_RUNS))))
        if progress is not None:
            progress(1.0)
        events = json.loads(Path(profiled.end_profiling()).read_text(encoding="utf-8"))
    return _Runs(np.array(whole), np.array(cpu), _read_profile(events, len(whole), kernels))


@contextmanager
def _model_errors(graph: "LayerGraph", what: str) -> Iterator[None]:
    from graph_io import ModelError
    from graph_io.errors import runtime_reason

    try:
        yield
    except Exception as error:  # the runtime's exceptions share no public base class
        raise ModelError(
            f"model '{graph.graph['name']}' cannot {what} in onnxruntime: {runtime_reason(error)}"
        ) from error


def _read_profile(events: list[dict[str, Any]], n_runs: int, known: Collection[str]) -> _Profile:
    """Collect the seconds of each kernel: in each counted run, and of all runs together if it is in no other's body."""
    from graph_io import unnamed_kernel

    suffix = "_kernel_time"
    timed = [one for one in events if one.get("cat") == "Node" and one.get("name", "").endswith(suffix)]
    # One kernel runs at a time: what starts within the time of another is in its body (of a loop, of a branch), whose
    # time the other already holds.
    timed.sort(key=lambda one: (one["ts"], -one["dur"]))
    durations: dict[str, list[float]] = {}
    total_s: dict[str, float] = {}
    end = end_of_body = -math.inf
    for one in timed:
        name, seconds = one["name"].removesuffix(suffix), one["dur"] * 1e-6
        together = unnamed_kernel(one.get("args", {}).get("op_name", ""))
        if name not in known and together in known:
            name = together
        if one["ts"] < end or (one["ts"] < end_of_body and name not in known):
            continue
        end = one["ts"] + one["dur"]
        if one.get("args", {}).get("op_name") in _WITH_BODIES:
            end_of_body = end + _CLOCK_US
        durations.setdefault(name, []).append(seconds)
        total_s[name] = total_s.get(name, 0.0) + seconds
    total_runs = n_runs + _WARM_UP_RUNS
    kernels_s = {
        name: np.array(values).reshape(total_runs, -1).sum(axis=1)[_WARM_UP_RUNS:]
        for name, values in durations.items()
        if len(values) % total_runs == 0
    }
    return _Profile(kernels_s, total_s)


def _unattributed(model: str, kernels: Mapping[str, tuple[str, ...]], profile: _Profile) -> tuple[str, ...]:
    """Say what the profile and the layers do not share; refuse it if it is too much to be left out."""
    notes = []
    unseen = [name for name in kernels if name not in profile.total_s]
    if unseen:
        notes.append(f"{len(unseen)} kernels did not appear in the profile and count as 0: {', '.join(unseen[:3])}")
    lost = {
        name: seconds
        for name, seconds in profile.total_s.items()
        if name not in kernels or name not in profile.kernels_s
    }
    if lost:
        share = sum(lost.values()) / max(sum(profile.total_s.values()), 1e-12)
        slowest = ", ".join(repr(name) for name in sorted(lost, key=lambda name: -lost[name])[:3])
        more = f" and {len(lost) - 3} more" if len(lost) > 3 else ""
        if share > _MOST_LOST:
            raise InputError(
                f"model '{model}': {share:.1%} of the profiled time is in kernels that belong to no layer or did not "
                f"run every time ({slowest}{more}), so it cannot be measured by layer; plan it with a machine file"
            )
        notes.append(f"{share:.2%} of the profiled time belongs to no layer and is left out: {slowest}{more}")
    return tuple(notes)


def _attribute(
    graph: "LayerGraph", kernels: Mapping[str, tuple[str, ...]], runs: _Runs
) -> tuple[tuple[LayerTiming, ...], tuple[SharedKernel, ...], tuple[str, ...]]:
    notes = _unattributed(graph.graph["name"], kernels, runs.profile)
    weights = sharing_weights({layer: data["layer"] for layer, data in graph.nodes(data=True)})
    latency = dict.fromkeys(graph.nodes, 0.0)
    spread = dict.fromkeys(graph.nodes, 0.0)
    shared = []
    for name, layers in kernels.items():
        seconds = runs.profile.kernels_s.get(name)
        if seconds is None:
            continue
        total = sum(weights[layer] for layer in layers)
        if len(layers) > 1:
            shared.append(SharedKernel(name, layers))
        for layer in layers:
            share = weights[layer] / total
            latency[layer] += float(np.median(seconds)) * share
            spread[layer] += _spread(seconds) * share
    measured = sum(latency.values())
    if measured <= 0:
        raise InputError(
            f"model '{graph.graph['name']}' is too small to be profiled: every kernel took under 1 us; "
            "plan it with a machine file"
        )
    scale = float(np.median(runs.whole_s)) / measured
    timings = tuple(
        LayerTiming(layer, data["layer"].nodes, latency[layer] * scale, spread[layer] * scale)
        for layer, data in graph.nodes(data=True)
    )
    return timings, tuple(shared), notes
