"""Measure one model on this machine: a profile for the proportions, unprofiled runs for the total.

The profiler slows small kernels down, so its sum is not the model's time; scaled to the median of full runs without it,
the layers predict head and tail of a split within a few percent.
"""

import datetime
import os
import platform
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from partition.errors import InputError
from partition.latency.annotate import sharing_weights
from partition.latency.profiling import CPU_PROVIDER, Profile, Runs, check_provider, profile_runs
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
    from graph_io import Granularity, LayerGraph, ModelSource

# The share of the profiled time that may belong to kernels without a layer; above, the proportions would be wrong.
_MOST_LOST = 0.01


def measure(
    model: "ModelSource",
    *,
    dims: Mapping[str, int] | None = None,
    granularity: "Granularity" = "layer",
    threads: int | None = None,
    provider: str = CPU_PROVIDER,
    inputs: Mapping[str, NDArray[Any]] | None = None,
    name: str | None = None,
    progress: Callable[[float], None] | None = None,
) -> Timings:
    """Measure a model on this machine, layer by layer, at the runtime's highest optimisation level.

    Parameters
    ----------
    model : path or onnx.ModelProto
    dims : mapping of str to int, optional
        Values of symbolic dimensions.
    granularity : {"layer", "node"}
    threads : int, optional
        Of the runtime, 1024 at most; as many as this process may use processors if not given.
    provider : str
        Execution provider of the runtime; what it lacks the CPU does.
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
        A thread count that is not a whole number from 1 to 1024, a provider that this host lacks, a blank name; an
        input that is missing, unknown or of another type or shape than the model's; a model that is too small for the
        profiler's clock, or of whose profiled time more than 1 % belongs to no layer.
    """
    import onnxruntime

    from graph_io import deployed_kernels, load_graph

    if threads is not None:
        check_threads(threads)
    if name is not None and not (isinstance(name, str) and name.strip()):
        raise InputError(f"the machine's name is {name!r}; give a text that is not blank, or none for the host name")
    check_provider(provider)
    used_threads = threads if threads is not None else _available_processors()
    graph = load_graph(model, dims=dims, granularity=granularity)
    kernels = deployed_kernels(graph)
    fed = _inputs(graph, inputs)
    content = graph.graph["model"].proto.SerializeToString()
    runs = profile_runs(
        content, fed, graph.graph["name"], known=kernels, threads=used_threads, provider=provider, progress=progress
    )
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
        runtime=MeasuredRuntime("onnxruntime", onnxruntime.__version__, provider, used_threads, "all"),
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


def _unattributed(model: str, kernels: Mapping[str, tuple[str, ...]], profile: Profile) -> tuple[str, ...]:
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
    graph: "LayerGraph", kernels: Mapping[str, tuple[str, ...]], runs: Runs
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
