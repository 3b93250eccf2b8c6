"""Measure codecs on a model and its data: bytes, the time of encoding and decoding, and what the outputs lose."""

import datetime
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import version
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from graph_io import Granularity, LayerGraph, ModelSource, Tensor, single_tensor_cuts
from graph_io.codecs import CODECS, codec_refusal, coded_tensors
from partition.codecs.data import Inputs, find_data
from partition.codecs.judge import Judge, run_step, whole_step
from partition.codecs.metrics import DEFAULT_METRIC, Metric, find_metric
from partition.codecs.table import CodecFigures, CodecTable, TensorFigures
from partition.errors import InputError
from partition.latency.host import host_name
from partition.runtime.parts import open_part, session_options
from partition.runtime.session import open_step
from partition.units import check_threads

if TYPE_CHECKING:
    from partition.runtime.session import Step

Array = NDArray[Any]
MOST_TENSORS = 32
_WARM_UP_RUNS, _FEWEST_RUNS, _MOST_RUNS, _BUDGET_S = 2, 3, 30, 0.05


def calibrate_codecs(
    model: "ModelSource | LayerGraph",
    data: "str | PathLike[str] | Sequence[Inputs]",
    *,
    codecs: Iterable[str] | None = None,
    metric: "str | Metric" = DEFAULT_METRIC,
    tensors: str | Iterable[str] = "cuts",
    max_tensors: int = MOST_TENSORS,
    limit: int | None = None,
    dims: Mapping[str, int] | None = None,
    granularity: Granularity = "layer",
    threads: int = 1,
    progress: Callable[[float], None] | None = None,
) -> CodecTable:
    """Measure codecs on the tensors of a model that a plan may send.

    Parameters
    ----------
    model : path, onnx.ModelProto or networkx.DiGraph
        As for `partition`.
    data : path, sequence of mappings, or "random"
        A folder of ``.npz`` files with the model's inputs (several along the first axis, if you like), or such inputs.
        Random inputs only say how far random outputs move: the file says that it has them.
    codecs : iterable of str, optional
        Some of `graph_io.codecs.CODECS`; all if not given.
    metric : str or callable
        ``"max-relative-error"``, ``"mean-absolute-error"``, ``"top-1"``, ``"package.module:name"``, or a function of
        the outputs of the whole model and of those with a codec (one mapping for each input) that returns a loss.
    tensors : {"cuts", "all"} or iterable of str
        Which tensors: those that are a legal cut by themselves, all between layers, or some by name.
    max_tensors : int
        Of more than so many the smallest are measured, and a note says so.
    limit : int, optional
        Only the first so many inputs.
    dims, granularity
        As for `partition`.
    threads : int
        Of the runtime.
    progress : callable, optional
        Called with the share that is done, 0 to 1.

    Returns
    -------
    CodecTable

    Raises
    ------
    InputError, graph_io.ModelError
        Data that the model does not take; an unknown codec, metric or tensor; a codec that a named tensor's type does
        not allow.

    Notes
    -----
    Every loss is measured by running the model with the decoded tensor in place of the tensor, for all its readers.
    """
    from partition.api import load_layers

    check_threads(threads)
    chosen = _codecs(codecs)
    graph = load_layers(model, dims, granularity, None)
    _check_outputs(graph)
    name, function = find_metric(metric)
    inputs, source = find_data(graph, data, limit=limit)
    judge = Judge(graph, inputs, name, function)
    names, notes = _tensors(graph, tensors, max_tensors, chosen if codecs is not None else ())
    whole = whole_step(graph, threads=threads)
    model_s = _median_s(lambda: run_step(whole, inputs[0]))
    found = []
    for number, tensor in enumerate(names):
        found.append(_measured(graph, tensor, chosen, judge, whole, threads))
        if progress is not None:
            progress((number + 1) / len(names))
    if source.kind == "random":
        notes.append("measured on random inputs: the losses are not those of real ones")
    return CodecTable(
        model_name=graph.graph["name"],
        structure_sha256=graph.graph["structure_sha256"],
        machine=host_name(),
        date=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        runtime_version=version("onnxruntime"),
        threads=threads,
        model_s=model_s,
        metric=name,
        data=source,
        tensors=tuple(found),
        notes=tuple(notes),
        inputs=tuple(inputs),
        metric_function=function,
    )


def _check_outputs(graph: LayerGraph) -> None:
    """Refuse outputs that no metric could compare."""
    known: dict[str, Tensor] = graph.graph["tensors"]
    for name in graph.graph["outputs"]:
        dtype = known[name].dtype if name in known else "float32"
        if dtype not in ("bool", "string") and not hasattr(np, dtype):
            raise InputError(
                f"output '{name}' is of {dtype}, which NumPy has not; let the model end in a Cast to float32"
            )


def _codecs(codecs: Iterable[str] | None) -> tuple[str, ...]:
    if codecs is None:
        return tuple(CODECS)
    chosen = tuple(dict.fromkeys((codecs,) if isinstance(codecs, str) else codecs))
    unknown = next((one for one in chosen if one not in CODECS), None)
    if unknown is not None:
        raise InputError(f"codec '{unknown}' is unknown; use {', '.join(CODECS)}")
    return chosen


def _tensors(
    graph: LayerGraph, wanted: str | Iterable[str], most: int, demanded: Sequence[str]
) -> tuple[list[str], list[str]]:
    """Return the tensors to measure, in the order of the graph, and notes on what is left out."""
    known: dict[str, Tensor] = graph.graph["tensors"]
    outputs = set(graph.graph["outputs"])
    if not isinstance(wanted, str):
        named = list(dict.fromkeys(wanted))
        for name in named:
            if name not in known:
                raise InputError(f"tensor '{name}' does not cross in this model; `dnn-partition inspect` lists those")
            if name in outputs:
                raise InputError(f"tensor '{name}' is an output of the model, which is sent as it is; leave it out")
            for codec in demanded:
                reason = codec_refusal(codec, known[name].dtype, known[name].shape, _opset(graph))
                if reason is not None:
                    raise InputError(f"tensor '{name}': {reason}")
        return named, []
    if wanted not in ("cuts", "all"):
        raise InputError(f"tensors is {wanted!r}; use 'cuts', 'all' or names of tensors")
    found = list(known) if wanted == "all" else list(single_tensor_cuts(graph))
    floats = [
        name
        for name in found
        if name not in outputs and known[name].consumers and known[name].dtype in ("float32", "float16")
    ]
    if len(floats) <= most:
        return floats, []
    kept = set(sorted(floats, key=lambda name: known[name].size_bytes)[:most])
    left = len(floats) - most
    note = f"{left} larger tensors were not measured; raise max_tensors (--max-tensors), or name them (--tensor)"
    return [name for name in floats if name in kept], [note]


def _measured(
    graph: LayerGraph, name: str, codecs: Sequence[str], judge: Judge, whole: "Step", threads: int
) -> TensorFigures:
    """Measure all codecs on one tensor."""
    from graph_io.codec_nodes import Crossing, codec_models, model_opset

    tensor: Tensor = graph.graph["tensors"][name]
    opset = model_opset(graph.graph["model"].proto)
    refused = {one: codec_refusal(one, tensor.dtype, tensor.shape, opset) for one in codecs}
    usable = [one for one in codecs if refused[one] is None]
    if 0 in tensor.shape:
        usable = []
    notes = [reason for reason in refused.values() if reason is not None]
    head, rest = _around(graph, tensor, whole, threads)
    given = [dict(one) | (run_step(head, one) if head is not None else {}) for one in judge.inputs]
    if not all(np.all(np.isfinite(one[name])) for one in given):
        usable, notes = [], ["holds NaN or infinity on the data, which no codec carries"]
    options = session_options(threads=threads)
    figures = []
    for codec in usable:
        crossing = Crossing(name, tensor.dtype, tensor.shape)
        encoder, decoder = (
            open_step(f"{codec} of '{name}'", open_part(content, f"{codec} of '{name}'", options))
            for content in codec_models(crossing, codec, opset)
        )
        outputs = []
        for values in given:
            coded = run_step(encoder, values)
            outputs.append(judged(rest, values | run_step(decoder, coded), graph.graph["outputs"]))
        loss, error = judge.loss(outputs)
        coded = run_step(encoder, given[0])
        first = given[0]
        figures.append(
            CodecFigures(
                codec,
                sum(one.size_bytes for one in coded_tensors(name, tensor.shape, codec)),
                _median_s(lambda: encoder.run({name: first[name]})),  # noqa: B023
                _median_s(lambda: decoder.run(coded)),  # noqa: B023
                loss if np.isfinite(loss) else None,
                error if np.isfinite(error) else None,
            )
        )
    note = "; ".join(dict.fromkeys(notes)) or None
    return TensorFigures(name, tensor.dtype, tensor.shape, tensor.size_bytes, tuple(figures), note)


def judged(rest: "Step", values: Mapping[str, Array], outputs: Iterable[str]) -> dict[str, Array]:
    """Run what follows a tensor and return the outputs of the model; some may have been there before."""
    found = {**values, **run_step(rest, values)}
    return {name: found[name] for name in outputs}


def _around(graph: LayerGraph, tensor: Tensor, whole: "Step", threads: int) -> "tuple[Step | None, Step]":
    """Open what comes before a tensor, and the rest, which holds all its readers."""
    if tensor.producer is None:
        return None, whole
    import networkx as nx

    from graph_io import split

    before = nx.ancestors(graph, tensor.producer) | {tensor.producer}
    sides = [[layer for layer in graph if (layer in before) is wanted] for wanted in (True, False)]
    options = session_options(threads=threads, weights=graph.graph["model"].weights)
    head, rest = (
        open_step(f"the model {where} '{tensor.name}'", open_part(part.proto.SerializeToString(), tensor.name, options))
        for where, part in zip(("before", "behind"), split(graph, sides), strict=True)
    )
    return head, rest


def _opset(graph: LayerGraph) -> int:
    from graph_io.codec_nodes import model_opset

    return model_opset(graph.graph["model"].proto)


def _median_s(work: Callable[[], object]) -> float:
    for _ in range(_WARM_UP_RUNS):
        work()
    taken: list[float] = []
    while len(taken) < _FEWEST_RUNS or (len(taken) < _MOST_RUNS and sum(taken) < _BUDGET_S):
        begun_s = time.perf_counter()
        work()
        taken.append(time.perf_counter() - begun_s)
    return statistics.median(taken)
