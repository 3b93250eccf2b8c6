"""Calibrate this machine once, for any later model: time many single layers, and fit what predicts the others.

Finished models are kept in a checkpoint, so a calibration that was interrupted goes on where it stopped.
"""

import datetime
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from partition.errors import InputError
from partition.latency.calibration import Calibration, TimedFeatures, TimedKernel
from partition.latency.checkpoint import Checkpoint, TimedModel
from partition.latency.host import available_processors, host_hardware, host_name
from partition.latency.kernel_groups import describe
from partition.latency.machines import Machine, Roofline, Runtime
from partition.latency.overhead import Overhead, measure_overhead
from partition.latency.profiling import (
    CPU_PROVIDER,
    Repetition,
    Runs,
    check_provider,
    kernel_level,
    profile_runs,
    with_fallback,
)
from partition.latency.regression import TermsAndProcess
from partition.load.calibration import (
    DEFAULT_SECONDS,
    FEWEST_SECONDS,
    QUICK_SECONDS,
    SEVERAL_THREADS_SECONDS,
    LoadWorkload,
    calibrate_load,
)
from partition.load.model import LoadModel
from partition.units import check_threads

if TYPE_CHECKING:
    from graph_io import DeployedKernel, MicroBenchmark

SUITE = 1
"""Version of the micro-benchmarks; rows of different suites do not mix."""
_SEED = 0
_REPETITION = Repetition(fewest=10, most=25, budget_s=0.1, plain=False)
# Of all layers; a quick one covers every type, and every size less densely.
_QUICK_SHARE = 0.1
_BUDGET_S, _QUICK_BUDGET_S = 420.0, 30.0
# How far the bar is when the layers are timed, and when all is.
_LAYERS_SHARE, _FITTING_SHARE = 0.70, 0.98
# Rows of one group beyond these are left out: more would not help, and fitting takes their number cubed.
_MOST_ROWS, _MOST_HELPER_ROWS = 450, 120
_HELPERS = ("reorder", "view", "slice")
# What is left of a kernel at least, when what the profiler adds is taken off.
_LEAST_S = 0.2e-6


def calibrate(
    *,
    threads: Sequence[int] | None = None,
    provider: str = CPU_PROVIDER,
    quick: bool = False,
    share: float | None = None,
    load: bool = True,
    name: str | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    progress: Callable[[float, str], None] | None = None,
) -> Machine:
    """Time single layers of all types on this machine and fit the regressions that predict any model on it.

    Parameters
    ----------
    threads : sequence of int, optional
        Numbers of threads of the runtime to calibrate for; 1 and as many as this process may use processors if not
        given. The last one is the machine file's default.
    provider : str
        Execution provider of the runtime.
    quick : bool
        A tenth of the layers: under a minute instead of under ten, and less sure.
    share : float, optional
        Of the layers to time, above 0 and at most 1; all, or those of `quick`, if not given. Every type stays.
    load : bool
        Also fit how other work slows this machine down, on busy neighbours that are started for it.
    name : str, optional
        The machine's name; its host name if not given.
    checkpoint : path, optional
        File of what is finished; if it exists the calibration goes on from it. It stays there.
    progress : callable, optional
        Called with the finished share, 0 to 1, and what is being done.

    Returns
    -------
    Machine
        Of the kind ``"calibrated"``. On a slow machine the suite stops when its time is up, and the field ``share`` of
        the calibration says how much of it was run.

    Raises
    ------
    InputError
        A thread count that is not a whole number from 1 to 1024, no or repeated ones, a share out of range, a provider
        that this host lacks, a blank name, or a checkpoint of another machine, runtime or choice of these arguments.
    graph_io.ModelError
        The runtime refuses a layer of the suite.
    """
    import onnxruntime

    from graph_io import micro_benchmarks

    chosen = _check_threads(threads)
    check_provider(provider)
    if name is not None and not (isinstance(name, str) and name.strip()):
        raise InputError(f"the machine's name is {name!r}; give a text that is not blank, or none for the host name")
    if share is not None:
        _check_share(share)
    scale = share if share is not None else _QUICK_SHARE if quick else 1.0
    tell = progress or (lambda share, what: None)
    hardware = host_hardware()
    header = {
        "suite": SUITE,
        "share": scale,
        "quick": quick,
        "threads": list(chosen),
        "provider": provider,
        "runtime": onnxruntime.__version__,
        "hardware": hardware,
    }
    budget_s = _QUICK_BUDGET_S if quick else _BUDGET_S
    n_layers, models = micro_benchmarks(seed=_SEED, scale=scale)
    done = Checkpoint(None if checkpoint is None else Path(checkpoint), header)
    finished_layers = 0
    for model in models:
        if model.number >= done.n_models:
            if done.spent_s >= budget_s:
                break
            tell(_finished(finished_layers / n_layers, done.spent_s / budget_s), f"timing layer {finished_layers + 1}")
            start = time.perf_counter()
            timed = _time(model, chosen, provider)
            done.add(timed, time.perf_counter() - start)
        finished_layers += model.n_layers
    load_models = _load_models(chosen, provider, quick=quick, tell=tell) if load else ()
    tell(_FITTING_SHARE, "fitting")
    rows = tuple(_thinned(kernel for one in done.timed for kernel in one.kernels))
    if not rows:
        raise InputError(
            f"no layer could be told apart in the runtime's profile of {provider}; this provider cannot be calibrated"
        )
    overheads = tuple(measure_overhead(count, provider) for count in sorted(chosen))
    regression = TermsAndProcess(rows)
    calibration = Calibration(SUITE, finished_layers / n_layers, rows, regression.fits, overheads, load_models)
    tell(1.0, "done")
    part = f"{calibration.share:.0%} of " if calibration.share < 1 else ""
    return Machine(
        name=name if name is not None else host_name(),
        kind="calibrated",
        description=f"{hardware['processor']}, {' or '.join(map(str, sorted(chosen)))} threads",
        hardware=hardware,
        runtime=Runtime("onnxruntime", onnxruntime.__version__, provider, chosen[-1]),
        date=datetime.datetime.now(datetime.UTC).date().isoformat(),
        provenance=f"Measured by dnn-partition calibrate{' --quick' if quick else ''}: {part}{n_layers} single layers "
        f"in {done.spent_s:.0f} s.",
        roofline=_roofline(rows, chosen[-1]),
        power=None,
        calibration=calibration,
    )


def _load_models(
    threads: Sequence[int], provider: str, *, quick: bool, tell: Callable[[float, str], None]
) -> tuple[LoadModel, ...]:
    """Run models of the runtime beside neighbours, at each number of threads."""
    import onnxruntime

    from graph_io import load_benchmarks
    from graph_io.inputs import random_inputs
    from graph_io.shapes import input_dtypes

    found = []
    for number, count in enumerate(threads):
        workloads = {}
        for benchmark in load_benchmarks():
            options = onnxruntime.SessionOptions()
            options.log_severity_level = 4
            options.intra_op_num_threads = count
            model = benchmark.model
            content = model.proto.SerializeToString()
            session = onnxruntime.InferenceSession(content, options, providers=with_fallback(provider))
            inputs = random_inputs(benchmark.input_shapes, input_dtypes(model))
            workloads[model.name] = LoadWorkload(partial(session.run, None, inputs), benchmark.memory_share)

        def progress(scenario: str, share: float, done: int = number, of: int = count) -> None:
            share_done = _LAYERS_SHARE + (_FITTING_SHARE - _LAYERS_SHARE) * (done + share) / len(threads)
            tell(share_done, f"timing beside {scenario} neighbours, {of} threads")

        several = QUICK_SECONDS if quick else SEVERAL_THREADS_SECONDS
        seconds = max(FEWEST_SECONDS, several if count > 1 else min(several, DEFAULT_SECONDS))
        found.append(calibrate_load(workloads, threads=count, seconds=seconds, progress=progress).model)
    return tuple(found)


def _check_share(share: object) -> None:
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share <= 1:
        raise InputError(f"share is {share!r}; give how much of the layers to time, above 0 and at most 1")


def _check_threads(threads: Sequence[int] | None) -> tuple[int, ...]:
    if threads is None:
        return tuple(sorted({1, available_processors()}))
    if not isinstance(threads, Iterable):
        raise InputError(f"threads are {threads!r}; give a list of numbers, such as [1, 4]")
    chosen = tuple(threads)
    for count in chosen:
        check_threads(count)
    if not chosen or len(set(chosen)) < len(chosen):
        raise InputError(f"threads are {list(chosen)}; give one number or more, each once")
    return chosen


def _finished(layers: float, time_spent: float) -> float:
    return _LAYERS_SHARE * min(1.0, max(layers, time_spent))


def _time(model: "MicroBenchmark", threads: Sequence[int], provider: str) -> list[TimedModel]:
    from graph_io import kernel_list, load_graph
    from graph_io.inputs import random_inputs
    from graph_io.shapes import input_dtypes

    graph = load_graph(model.model, granularity="node")
    kernels = kernel_list(graph, level=kernel_level(provider))
    content = graph.graph["model"].proto.SerializeToString()
    inputs = random_inputs(graph.graph["input_shapes"], input_dtypes(graph.graph["model"]))
    found = []
    for count in threads:
        runs = profile_runs(
            content,
            inputs,
            f"micro-benchmark {model.number}",
            known={kernel.key for kernel in kernels},
            threads=count,
            provider=provider,
            repetition=_REPETITION,
            bound=True,
        )
        found.append(_timed(kernels, runs, measure_overhead(count, provider)))
    return found


def _timed(kernels: "Sequence[DeployedKernel]", runs: Runs, overhead: Overhead) -> TimedModel:
    sharing = Counter(kernel.key for kernel in kernels)
    found = []
    for kernel in kernels:
        together = runs.profile.kernels_s.get(kernel.key)
        if together is not None:
            typical_s, spread_s = _typical(together / sharing[kernel.key])
            found.append((kernel.features, max(typical_s - overhead.profiler_s, _LEAST_S), spread_s))
    timed = tuple(
        TimedKernel(
            TimedFeatures(features.kind, features.op_type, features.values),
            overhead.threads,
            # More digits would be noise, and take their room in the file.
            float(f"{seconds:.5g}"),
            float(f"{spread_s:.3g}"),
        )
        for features, seconds, spread_s in found
    )
    return TimedModel(overhead.threads, timed)


def _typical(seconds: NDArray[np.float64]) -> tuple[float, float]:
    """Return the mean of the middle half (robust, and finer than the clock), and the distance of the quartiles."""
    low, high = np.percentile(seconds, [25, 75])
    middle = seconds[(seconds >= low) & (seconds <= high)]
    return float(middle.mean()), float(high - low)


def _thinned(kernels: Iterator[TimedKernel]) -> Iterator[TimedKernel]:
    """Keep the first rows of each group and number of threads, and none of what only feeds the others."""
    taken: dict[tuple[int, str], int] = {}
    for kernel in kernels:
        if kernel.features.op_type == "Neg" or _is_ending(kernel):
            continue
        group = describe(kernel.features).group
        key = (kernel.threads, group)
        taken[key] = taken.get(key, 0) + 1
        if taken[key] <= (_MOST_HELPER_ROWS if group.startswith(_HELPERS) else _MOST_ROWS):
            yield kernel


def _is_ending(kernel: TimedKernel) -> bool:
    """Tell the slice that ends a layer of the suite: of all that it reads it takes one element."""
    return kernel.features.kind.startswith("slice") and kernel.features.values["output_elements"] == 1


def _roofline(rows: Sequence[TimedKernel], threads: int) -> Roofline:
    """Return the roofline that estimates layer types without rows: the best that the rows reached."""
    own = [row for row in rows if row.threads == threads]
    rates: dict[str, list[float]] = {}
    for row in own:
        values = row.features.values
        if row.features.kind in ("conv", "gemm", "matmul", "lstm", "gru", "rnn", "conv_transpose", "grouped_conv"):
            rates.setdefault(row.features.op_type, []).append(values["flops"] / row.seconds)
    # Not the very best: padding that is skipped lets a few convolutions appear faster than they are.
    peak = float(np.percentile([rate for one in rates.values() for rate in one], 98))
    moved = [
        (row.features.values["read_bytes"] + row.features.values["write_bytes"], row.seconds)
        for row in own
        if row.features.kind in ("elementwise", "activation", "concat")
    ]
    moved.sort()
    largest = moved[-max(5, len(moved) // 5) :]
    return Roofline(
        peak_flops_per_s=peak,
        memory_bytes_per_s=float(np.median([size / seconds for size, seconds in largest])),
        compute_efficiency={
            "default": 0.1,
            **{op_type: min(1.0, float(np.median(one)) / peak) for op_type, one in sorted(rates.items())},
        },
        layer_overhead_s=float(np.percentile([row.seconds for row in own], 5)),
    )
