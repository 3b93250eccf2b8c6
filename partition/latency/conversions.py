"""What a cut costs besides the layers and the link: tensors put into, and out of, the runtime's own layout."""

from typing import TYPE_CHECKING

import numpy as np

from partition.latency.overhead import measure_overhead
from partition.latency.profiling import LEAST_SHARE, Repetition, kernel_level, profile_runs
from partition.latency.timings import TensorConversion

if TYPE_CHECKING:
    from graph_io import LayerGraph
    from graph_io.layouts import Extra

_REPETITION = Repetition(fewest=10, most=20, budget_s=0.1, plain=False)


def measure_conversions(graph: "LayerGraph", *, threads: int, provider: str) -> tuple[TensorConversion, ...]:
    """Measure the reorders of a graph's tensors on this machine, each shape once, in a model of one small kernel.

    Parameters
    ----------
    graph : networkx.DiGraph
        From `graph_io.load_graph`.
    threads : int
        Of the runtime.
    provider : str
        Execution provider.

    Returns
    -------
    tuple of TensorConversion
        Of the tensors that need one; medians.
    """
    from graph_io import layout_conversions

    needed = layout_conversions(graph, level=kernel_level(provider))
    shapes = dict.fromkeys(extra.shape for one in needed for extra in (*one.leaving, *one.entering))
    kernel_s = {shape: _kernel_seconds(shape, threads, provider) for shape in shapes}

    def seconds_of(extra: "Extra") -> float:
        return kernel_s[extra.shape][extra.operator]

    return tuple(TensorConversion(one.tensor, *one.seconds(seconds_of)) for one in needed)


def _kernel_seconds(shape: tuple[int, ...], threads: int, provider: str) -> dict[str, float]:
    """Return the seconds that each operator of a conversion takes at this shape."""
    from graph_io import conversion_benchmark, kernel_list, load_graph, random_inputs
    from graph_io.layouts import REORDERS

    model = conversion_benchmark(shape)
    graph = load_graph(model, granularity="node")
    kernels = kernel_list(graph, level=kernel_level(provider))
    runs = profile_runs(
        model.proto.SerializeToString(),
        random_inputs(graph.graph["input_shapes"], {"before": "float32"}),
        model.name,
        known={kernel.key for kernel in kernels},
        threads=threads,
        provider=provider,
        repetition=_REPETITION,
    )
    profiler_s = measure_overhead(threads, provider).profiler_s
    found = {}
    for kernel in kernels:
        if kernel.key in runs.profile.kernels_s:
            shown_s = float(np.median(runs.profile.kernels_s[kernel.key]))
            found[kernel.features.op_type] = max(shown_s - profiler_s, LEAST_SHARE * shown_s)
    # Some numbers of channels enter blocks but do not leave them in this model, or the other way round.
    reorder_s = max((found[name] for name in REORDERS if name in found), default=0.0)
    return dict.fromkeys(REORDERS, reorder_s) | found
