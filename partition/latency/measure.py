"""Measure one model on this machine: a profile for the proportions, unprofiled runs for the total.

The profiler slows small kernels down, so its sum is not the model's time; scaled to the median of full runs without it,
the layers predict head and tail of a split within a few percent.
"""

import datetime
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from partition.errors import InputError
from partition.latency.conversions import measure_conversions
from partition.latency.host import available_processors, host_hardware, host_name
from partition.latency.overhead import measure_overhead
from partition.latency.profiling import (
    CPU_PROVIDER,
    LEAST_SHARE,
    MEASUREMENT,
    Profile,
    Repetition,
    Runs,
    check_provider,
    kernel_level,
    profile_runs,
)
from partition.latency.sharing import seconds_by_layer, sharing_weights
from partition.latency.timings import (
    LayerTiming,
    MeasuredModel,
    MeasuredRuntime,
    SharedKernel,
    Timings,
    WholeModelTiming,
    spread_notes,
)
from partition.units import check_threads

if TYPE_CHECKING:
    from graph_io import DeployedKernel, Granularity, LayerGraph, ModelSource

# The share of the profiled time that may belong to kernels without a layer; above, the proportions would be wrong.
_MOST_LOST = 0.01
_LONGEST_PAUSE_S = 10.0


def measure(
    model: "ModelSource",
    *,
    dims: Mapping[str, int] | None = None,
    granularity: "Granularity" = "layer",
    threads: int | None = None,
    provider: str = CPU_PROVIDER,
    inputs: Mapping[str, NDArray[Any]] | None = None,
    name: str | None = None,
    pause_s: float = 0.0,
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
        Inputs to run on, which tell the symbolic dimensions; seeded random ones if not given.
    name : str, optional
        The machine's name in the result; its host name if not given.
    pause_s : float
        Rest before each run, 0 to 10 seconds. Without it the runs follow each other at once and find their weights in
        the caches; requests that come apart find them cold, and small models then take up to a third longer.
    progress : callable, optional
        Called with the finished share, 0 to 1.

    Returns
    -------
    Timings
        Medians; a kernel that the runtime fused over several layers is shared out by predicted time, and named.

    Raises
    ------
    graph_io.ModelError
        The model cannot be loaded, opened or run, or its kernels cannot be followed back to its layers; an input that
        is missing, unknown or of another type or shape than the model's.
    InputError
        A thread count that is not a whole number from 1 to 1024, a provider that this host lacks, a blank name, a pause
        out of its range; a model that is too small for the profiler's clock, or of whose profiled time more than 1 %
        belongs to no layer.
    """
    import onnxruntime

    from graph_io import load_graph

    if threads is not None:
        check_threads(threads)
    if name is not None and not (isinstance(name, str) and name.strip()):
        raise InputError(f"the machine's name is {name!r}; give a text that is not blank, or none for the host name")
    check_pause(pause_s)
    check_provider(provider)
    used_threads = threads if threads is not None else available_processors()
    graph = load_graph(model, dims=dims, granularity=granularity, inputs=inputs)
    fed = _inputs(graph)
    repetition = replace(MEASUREMENT, pause_s=pause_s)
    measured = measure_kernels(
        graph, fed, threads=used_threads, provider=provider, repetition=repetition, progress=progress
    )
    paused = (f"{pause_s:g} s of rest before each run, as between requests that come apart",) if pause_s else ()
    layers, shared = _attribute(graph, measured)
    runs = measured.runs
    median_s, spread_s = float(np.median(runs.whole_s)), _spread(runs.whole_s)
    return Timings(
        name=name if name is not None else host_name(),
        model=MeasuredModel(
            graph.graph["name"],
            graph.graph["structure_sha256"],
            granularity,
            {name: tuple(array.shape) for name, array in fed.items()},
        ),
        hardware=host_hardware(),
        runtime=MeasuredRuntime("onnxruntime", onnxruntime.__version__, provider, used_threads, "all"),
        date=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        whole_model=WholeModelTiming(
            latency_s=median_s,
            spread_s=spread_s,
            runs=len(runs.whole_s),
            cpu_s=float(np.median(runs.cpu_s)),
        ),
        layers=layers,
        shared_kernels=shared,
        conversions=measure_conversions(graph, threads=used_threads, provider=provider),
        notes=(*graph.graph["notes"], *measured.notes, *paused, *spread_notes(spread_s / median_s)),
    )


def check_pause(pause_s: float) -> None:
    """Refuse a rest before each run that is not 0 to 10 seconds."""
    if isinstance(pause_s, bool) or not isinstance(pause_s, int | float) or not 0 <= pause_s <= _LONGEST_PAUSE_S:
        raise InputError(f"pause_s is {pause_s!r}; give 0 to {_LONGEST_PAUSE_S:g} seconds")


def _spread(seconds: NDArray[np.float64]) -> float:
    """Return the interquartile range."""
    low, high = np.percentile(seconds, [25, 75])
    return float(high - low)


def _inputs(graph: "LayerGraph") -> dict[str, NDArray[Any]]:
    """Return the inputs to run on: a user's own, which loading has checked, or random ones."""
    from graph_io import input_dtypes, random_inputs

    given: dict[str, NDArray[Any]] | None = graph.graph["given_inputs"]
    if given is not None:
        return given
    return random_inputs(graph.graph["input_shapes"], input_dtypes(graph.graph["model"]))


def _unattributed(model: str, known: Collection[str], profile: Profile) -> tuple[str, ...]:
    """Say what the profile and the layers do not share; refuse it if it is too much to be left out."""
    notes = []
    unseen = [key for key in known if key not in profile.total_s]
    if unseen:
        notes.append(f"{len(unseen)} kernels did not appear in the profile and count as 0: {', '.join(unseen[:3])}")
    lost = {
        key: seconds for key, seconds in profile.total_s.items() if key not in known or key not in profile.kernels_s
    }
    if lost:
        share = sum(lost.values()) / max(sum(profile.total_s.values()), 1e-12)
        slowest = ", ".join(repr(key) for key in sorted(lost, key=lambda key: -lost[key])[:3])
        more = f" and {len(lost) - 3} more" if len(lost) > 3 else ""
        if share > _MOST_LOST:
            raise InputError(
                f"model '{model}': {share:.1%} of the profiled time is in kernels that belong to no layer or did not "
                f"run every time ({slowest}{more}), so it cannot be measured by layer; plan it with a machine file"
            )
        notes.append(f"{share:.2%} of the profiled time belongs to no layer and is left out: {slowest}{more}")
    return tuple(notes)


@dataclass(frozen=True, slots=True, eq=False)
class MeasuredKernels:
    """The kernels of a model as measured.

    Attributes
    ----------
    kernels : tuple of DeployedKernel
        Those that the profile shows, in the order of running.
    seconds, spread_s : numpy.ndarray, shape (n,)
        Median and interquartile range of each, scaled so that the medians add up to the model's run without the
        profiler.
    runs : Runs
    notes : tuple of str
        What the profile and the kernels do not share.
    """

    kernels: "tuple[DeployedKernel, ...]"
    seconds: NDArray[np.float64]
    spread_s: NDArray[np.float64]
    runs: Runs
    notes: tuple[str, ...]


def measure_kernels(
    graph: "LayerGraph",
    inputs: Mapping[str, NDArray[Any]],
    *,
    threads: int,
    provider: str = CPU_PROVIDER,
    repetition: Repetition = MEASUREMENT,
    progress: Callable[[float], None] | None = None,
) -> MeasuredKernels:
    """Measure every kernel of a graph's model; see `measure` and `profile_runs`."""
    from graph_io import kernel_list

    name = graph.graph["name"]
    kernels = kernel_list(graph, level=kernel_level(provider))
    sharing = Counter(one.key for one in kernels)
    runs = profile_runs(
        graph.graph["model"].proto.SerializeToString(),
        inputs,
        name,
        known=sharing,
        threads=threads,
        weights=graph.graph["model"].weights,
        provider=provider,
        repetition=repetition,
        progress=progress,
    )
    notes = _unattributed(name, sharing, runs.profile)
    seen = tuple(one for one in kernels if one.key in runs.profile.kernels_s)
    shares = _key_shares(seen, sharing, graph)
    profiler_s = measure_overhead(threads, provider).profiler_s
    seconds, spread_s = np.empty(len(seen)), np.empty(len(seen))
    for number, (kernel, share) in enumerate(zip(seen, shares, strict=True)):
        together_s = runs.profile.kernels_s[kernel.key]
        shown_s = float(np.median(together_s))
        # The profiler shows every kernel a little longer than it is; small ones took less than that alone.
        seconds[number] = share * max(shown_s - sharing[kernel.key] * profiler_s, LEAST_SHARE * shown_s)
        spread_s[number] = share * _spread(together_s)
    if seconds.sum() <= 0:
        raise InputError(
            f"model '{name}' is too small to be profiled: every kernel took under 1 us; plan it with a machine file"
        )
    scale = float(np.median(runs.whole_s)) / float(seconds.sum())
    return MeasuredKernels(seen, seconds * scale, spread_s * scale, runs, notes)


def _key_shares(kernels: "Sequence[DeployedKernel]", sharing: Mapping[str, int], graph: "LayerGraph") -> list[float]:
    """Return for each kernel its share of the time that the profile has under its key.

    Kernels of one key share equally if they have the same features (reorders of one shape), else as the layers whose
    work they do.
    """
    members: dict[str, list[DeployedKernel]] = {}
    for kernel in kernels:
        members.setdefault(kernel.key, []).append(kernel)
    uneven = {key for key, own in members.items() if any(one.features.values != own[0].features.values for one in own)}
    weights = sharing_weights({layer: data["layer"] for layer, data in graph.nodes(data=True)}) if uneven else {}

    def weight(kernel: "DeployedKernel") -> float:
        return sum(weights[layer] for layer in kernel.layers)

    return [
        weight(kernel) / sum(map(weight, members[kernel.key])) if kernel.key in uneven else 1 / sharing[kernel.key]
        for kernel in kernels
    ]


def _attribute(
    graph: "LayerGraph", measured: MeasuredKernels
) -> tuple[tuple[LayerTiming, ...], tuple[SharedKernel, ...]]:
    weights = sharing_weights({layer: data["layer"] for layer, data in graph.nodes(data=True)})
    layers_of = [kernel.layers for kernel in measured.kernels]
    latency = seconds_by_layer(layers_of, measured.seconds.tolist(), weights)
    spread = seconds_by_layer(layers_of, measured.spread_s.tolist(), weights)
    shared = tuple(SharedKernel(one.name, one.layers) for one in measured.kernels if len(one.layers) > 1)
    timings = tuple(
        LayerTiming(layer, data["layer"].nodes, latency[layer], spread[layer]) for layer, data in graph.nodes(data=True)
    )
    return timings, shared
