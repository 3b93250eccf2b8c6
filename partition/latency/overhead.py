"""What a run takes besides its kernels, and what the profiler adds to each: from kernels that compute nothing."""

from dataclasses import dataclass
from functools import cache

import numpy as np

from partition.latency.profiling import Repetition, profile_runs

_REPETITION = Repetition(fewest=60, most=60, budget_s=1.0)


@dataclass(frozen=True, slots=True)
class Overhead:
    """Fixed costs of the runtime.

    Attributes
    ----------
    threads : int
    call_s : float
        Of a call, whatever its model.
    profiler_s : float
        By which the profiler shows each kernel longer than it is.
    """

    threads: int
    call_s: float
    profiler_s: float


@cache
def measure_overhead(threads: int, provider: str) -> Overhead:
    """Measure the overhead on this machine: a line over the number of kernels; about a fifth of a second, once."""
    from graph_io import kernel_list, load_graph, overhead_benchmarks
    from graph_io.inputs import random_inputs
    from graph_io.shapes import input_dtypes

    counts, whole_s, profiled_s = [], [], []
    for benchmark in overhead_benchmarks():
        runs = profile_runs(
            benchmark.model.proto.SerializeToString(),
            random_inputs(benchmark.input_shapes, input_dtypes(benchmark.model)),
            benchmark.model.name,
            known={kernel.key for kernel in kernel_list(load_graph(benchmark.model, granularity="node"))},
            threads=threads,
            provider=provider,
            repetition=_REPETITION,
        )
        counts.append(float(benchmark.n_kernels))
        whole_s.append(float(np.median(runs.whole_s)))
        # The clock has whole microseconds: only a mean shows parts of one.
        profiled_s.append(sum(float(one.mean()) for one in runs.profile.kernels_s.values()))
    slope_s, call_s = np.polyfit(counts, whole_s, 1)
    profiled_slope_s, _ = np.polyfit(counts, profiled_s, 1)
    return Overhead(threads, max(0.0, float(call_s)), max(0.0, float(profiled_slope_s - slope_s)))
