"""What running a model as two parts costs against running it whole, on the same machine with one thread.

The whole model is opened as a user opens it, the parts as this library opens them: both at the runtime's default
optimisation level. Whole and parts run in turn, and which of them comes first changes every time, so that a drift of
the machine meets both. At most one whole model and one pair of parts are open at a time.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from benchmarks.settings import SEED
from graph_io import LayerGraph, Part, head_of_cut, load_graph, load_model, single_tensor_cuts, split
from graph_io.inputs import random_inputs
from partition.runtime.parts import session_options
from partition.runtime.verify import relative_error

Array = NDArray[Any]
Place = Literal["layer boundary", "inside a fusion"]
_SECONDS_A_CUT = 2.0


@dataclass(frozen=True, slots=True)
class Effort:
    """How much to measure of one model; repetitions of a cut follow from the model's latency between the two limits."""

    boundaries: int
    inside: int
    least_repetitions: int
    most_repetitions: int


@dataclass(frozen=True, slots=True)
class CutTiming:
    """One cut: medians over the repetitions.

    Attributes
    ----------
    model, tensor : str
    place : {"layer boundary", "inside a fusion"}
        Whether the runtime would have fused the nodes on both sides.
    repetitions : int
    whole_s, parts_s : float
        Medians; ``parts_s`` is head, handing over the tensor, and tail.
    whole_spread_s, parts_spread_s : float
        Interquartile ranges.
    max_relative_error : float
        Of the parts' outputs over two inputs: max |parts - whole| / max |whole|.
    bit_identical : bool
    """

    model: str
    tensor: str
    place: Place
    repetitions: int
    whole_s: float
    parts_s: float
    whole_spread_s: float
    parts_spread_s: float
    max_relative_error: float
    bit_identical: bool

    @property
    def ratio(self) -> float:
        """Parts over whole."""
        return self.parts_s / self.whole_s


def measure_overhead(
    name: str, path: Path, effort: Effort, step: Callable[[str, float], None]
) -> tuple[CutTiming, ...]:
    """Time one model at its cuts of one tensor.

    Parameters
    ----------
    name : str
        Of the model, for the rows.
    path : Path
    effort : Effort
    step : callable
        Told what comes next and which share of the model is done.
    """
    whole = _open(str(path), _whole_options())
    model = load_model(path)
    layers, nodes = load_graph(model), load_graph(model, granularity="node")
    boundaries = _evenly(_boundaries(layers), effort.boundaries)
    inside = [tensor for tensor in _boundaries(nodes) if tensor not in layers.graph["tensors"]]
    todo: list[tuple[LayerGraph, str, Place]] = [(layers, tensor, "layer boundary") for tensor in boundaries]
    todo += [(nodes, tensor, "inside a fusion") for tensor in _evenly(inside, effort.inside)]
    feeds = [_feed(layers, SEED + trial) for trial in range(2)]
    repetitions = _repetitions(whole, feeds[0], effort)
    found = []
    for number, (graph, tensor, place) in enumerate(todo):
        step(f"{name}: {tensor}", number / len(todo))
        found.append(_time_cut(name, whole, graph, tensor, place, feeds, repetitions))
    return tuple(found)


def _boundaries(graph: LayerGraph) -> list[str]:
    ends = {*graph.graph["inputs"], *graph.graph["outputs"]}
    return [tensor for tensor in single_tensor_cuts(graph) if tensor not in ends]


def _evenly(names: Sequence[str], count: int) -> list[str]:
    if len(names) <= count:
        return list(names)
    return [names[round(index)] for index in np.linspace(0, len(names) - 1, count)]


def _feed(graph: LayerGraph, seed: int) -> dict[str, Array]:
    tensors = {name: graph.graph["tensors"][name] for name in graph.graph["inputs"]}
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    return random_inputs(shapes, {name: tensor.dtype for name, tensor in tensors.items()}, seed=seed)


def _whole_options() -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    return options


def _open(source: str | bytes, options: onnxruntime.SessionOptions) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def _repetitions(whole: onnxruntime.InferenceSession, feed: Mapping[str, Array], effort: Effort) -> int:
    seconds = []
    for _ in range(4):
        before = time.perf_counter()
        whole.run(None, dict(feed))
        seconds.append(time.perf_counter() - before)
    affordable = round(_SECONDS_A_CUT / (2 * min(seconds)))
    return max(effort.least_repetitions, min(effort.most_repetitions, affordable))


def _time_cut(
    name: str,
    whole: onnxruntime.InferenceSession,
    graph: LayerGraph,
    tensor: str,
    place: Place,
    feeds: Sequence[Mapping[str, Array]],
    repetitions: int,
) -> CutTiming:
    parts = _open_parts(graph, tensor)
    outputs: tuple[str, ...] = graph.graph["outputs"]

    def run_whole(feed: Mapping[str, Array]) -> dict[str, Array]:
        return dict(zip(outputs, whole.run(list(outputs), dict(feed)), strict=True))

    def run_parts(feed: Mapping[str, Array]) -> dict[str, Array]:
        values = dict(feed)
        for session, reads, gives in parts:
            values.update(zip(gives, session.run(gives, {key: values[key] for key in reads}), strict=True))
        return values

    error, same = 0.0, True
    for feed in feeds:  # the unmeasured first runs
        reference, result = run_whole(feed), run_parts(feed)
        for output in outputs:
            error = max(error, relative_error(result[output], reference[output]))
            same &= result[output].tobytes() == reference[output].tobytes()
    seconds: dict[Callable[..., Any], list[float]] = {run_whole: [], run_parts: []}
    for repetition in range(repetitions):
        for run in (run_whole, run_parts) if repetition % 2 == 0 else (run_parts, run_whole):
            before = time.perf_counter()
            run(feeds[0])
            seconds[run].append(time.perf_counter() - before)
    return CutTiming(
        model=name,
        tensor=tensor,
        place=place,
        repetitions=repetitions,
        whole_s=float(np.median(seconds[run_whole])),
        parts_s=float(np.median(seconds[run_parts])),
        whole_spread_s=interquartile_range(seconds[run_whole]),
        parts_spread_s=interquartile_range(seconds[run_parts]),
        max_relative_error=error,
        bit_identical=same,
    )


def interquartile_range(values: Sequence[float]) -> float:
    """Return the distance between the quartiles."""
    low, high = np.percentile(values, [25, 75])
    return float(high - low)


def _open_parts(
    graph: LayerGraph, tensor: str
) -> list[tuple[onnxruntime.InferenceSession, tuple[str, ...], tuple[str, ...]]]:
    head = head_of_cut(graph, [tensor])
    tail = [layer for layer in graph.nodes if layer not in head]
    return [_open_part(part) for part in split(graph, [sorted(head), tail])]


def _open_part(part: Part) -> tuple[onnxruntime.InferenceSession, tuple[str, ...], tuple[str, ...]]:
    # From memory: writing gigabytes of parts would keep the disk busy while the next cut is timed.
    content = part.proto.SerializeToString()
    return _open(content, session_options(threads=1)), part.inputs, part.outputs
