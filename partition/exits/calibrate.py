"""Measure the exits of a family on data: how right each one is, how sure, and what codecs of the rests lose."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from graph_io import select_outputs, structure_sha256
from partition.codecs.judge import run_step
from partition.codecs.table import CodecTable
from partition.errors import InputError
from partition.exits.confidence import DEFAULT_CONFIDENCE, check_confidence, confidence_of
from partition.exits.data import ExitData, LabelledData, find_labelled
from partition.exits.family import ExitFamily, ModelsLike, Way
from partition.exits.score import TOP_1, Score, find_score, score_by
from partition.exits.segments import Segments, segments
from partition.exits.table import GIVEN, MEASURED, ExitRecord, ExitTable
from partition.runtime.parts import open_part, session_options
from partition.runtime.session import open_step
from partition.units import check_threads

if TYPE_CHECKING:
    from onnx import ModelProto  # noqa: TID251

    from graph_io import Model
    from partition.runtime.session import Step

Array = NDArray[Any]
DEFAULT_LABELS = "label"


def calibrate_exits(
    models: ModelsLike,
    data: ExitData,
    *,
    exits: Sequence[str] | Mapping[str, str] | None = None,
    labels: str = DEFAULT_LABELS,
    confidence: str = DEFAULT_CONFIDENCE,
    score: "str | Score" = TOP_1,
    codecs: Iterable[str] | bool = False,
    dims: Mapping[str, int] | None = None,
    limit: int | None = None,
    threads: int = 1,
    progress: Callable[[float], None] | None = None,
) -> ExitTable:
    """Measure how right and how sure each exit of a family is on every input of the data.

    Parameters
    ----------
    models, exits
        One model whose outputs are the exits, or several by name; see `ExitFamily.parse`.
    data : path or sequence of pairs
        A folder of ``.npz`` files with the inputs (several along the first axis, if you like) and an array of labels,
        or pairs of (inputs, label).
    labels : str
        The name of the array of labels: whole numbers, the places of the right classes along an output's last axis.
    confidence : {"softmax", "max"}
        The largest softmax probability of an exit's output, or its largest value where that is a probability already.
    score : str or callable
        ``"top-1"``, ``"package.module:name"``, or a function of an exit's output (a mapping of its name to the array)
        and the label that returns a number from 0 to 1.
    codecs : bool or iterable of str
        Whether codecs are measured too, all or some, on the rest of each way to use the exits.
    dims : mapping of str to int, optional
        Values of symbolic dimensions.
    limit : int, optional
        Only the first so many inputs.
    threads : int
        Of the runtime.
    progress : callable, optional
        Called with the share that is done, 0 to 1.

    Returns
    -------
    ExitTable

    Raises
    ------
    InputError, graph_io.ModelError
        What `ExitFamily.parse` refuses; data that the models do not take; labels that are missing or not those of
        classes; an output that is not finite or has no classes; an unknown confidence, score or codec.
    """
    check_threads(threads)
    check_confidence(confidence)
    family = ExitFamily.parse(models, exits)
    name, function = find_score(score)
    if codecs is not False and name != TOP_1:
        raise InputError(
            f"score is '{name}', and what codecs lose is bounded by the answers that change, which is of {TOP_1}; "
            "leave codecs or the score out"
        )
    found = find_labelled(family, data, labels=labels, dims=dims, limit=limit)
    share = progress or (lambda _: None)
    answered = 0.5 if codecs is not False else 1.0
    scores, confidences = _judged(family, found, confidence, name, function, threads, lambda one: share(answered * one))
    tables: dict[Way, CodecTable] = {}
    if codecs is not False:
        chosen = None if codecs is True else codecs
        tables = _codecs(family, found, chosen, dims, threads, lambda one: share(answered + (1 - answered) * one))
    hashes = {id(one.model): structure_sha256(one.model.proto) for one in family.exits}
    return ExitTable(
        exits=tuple(
            ExitRecord(
                one.name,
                one.model.name,
                hashes[id(one.model)],
                one.output,
                float(own.mean()),
                MEASURED,
                own,
                sure,
            )
            for one, own, sure in zip(family.exits, scores, confidences, strict=True)
        ),
        confidence=confidence,
        score=name,
        data=found.source,
        n_inputs=found.source.n_inputs,
        label_name=labels,
        codecs=tables,
        shapes=found.shapes,
        inputs=found.inputs,
        labels=found.labels,
        score_function=function,
    )


def given_exits(
    models: ModelsLike,
    accuracies: Mapping[str, float],
    *,
    exits: Sequence[str] | Mapping[str, str] | None = None,
    confidence: str = DEFAULT_CONFIDENCE,
) -> ExitTable:
    """Make a table from accuracies that are known, without data: an exit is then chosen once, for all inputs.

    Parameters
    ----------
    models, exits
        As for `calibrate_exits`.
    accuracies : mapping of str to float
        Of every exit, 0 to 1.
    confidence : {"softmax", "max"}

    Returns
    -------
    ExitTable

    Raises
    ------
    InputError, graph_io.ModelError
        An accuracy that is missing, of no exit, or not a number from 0 to 1.
    """
    check_confidence(confidence)
    family = ExitFamily.parse(models, exits)
    unknown = next((name for name in accuracies if name not in family.names), None)
    if unknown is not None:
        raise InputError(f"accuracy of '{unknown}': there is no such exit; the exits are {', '.join(family.names)}")
    records = []
    for one in family.exits:
        value = accuracies.get(one.name)
        if value is None:
            raise InputError(f"accuracy of exit '{one.name}' is missing; give it for each of {', '.join(family.names)}")
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            raise InputError(f"accuracy of exit '{one.name}' is {value!r}; give a number from 0 to 1")
        structure = structure_sha256(one.model.proto)
        records.append(ExitRecord(one.name, one.model.name, structure, one.output, float(value), GIVEN))
    note = "accuracies were given, not measured: no exit is decided by confidence"
    return ExitTable(tuple(records), confidence, GIVEN, None, 0, notes=(note,))


def rest_inputs(cut: Segments, inputs: Sequence[Mapping[str, Array]], *, threads: int = 1) -> list[dict[str, Array]]:
    """Run the heads of a way on inputs of the user's and return what the rest reads.

    Raises
    ------
    InputError
        The runtime fails.
    """
    heads = [_open(head, name, threads) for head, name in zip(cut.heads, cut.head_names, strict=True)]
    wanted = [value.name for value in cut.rest.graph.input]
    found = []
    for one in inputs:
        values = dict(one)
        # Heads of several models read inputs of the user's alone, and their outputs may be called the same.
        if not set(wanted) <= set(one):
            for head in heads:
                values |= run_step(head, values)
        found.append({name: values[name] for name in wanted})
    return found


def _judged(
    family: ExitFamily,
    data: LabelledData,
    confidence: str,
    score_name: str,
    score: Score,
    threads: int,
    progress: Callable[[float], None],
) -> tuple[list[Array], list[Array]]:
    """Return for each exit the scores and the confidences on all inputs."""
    count, total = len(data.inputs), len(data.inputs) * len(family.exits)
    scores = [np.empty(count) for _ in family.exits]
    confidences = [np.empty(count) for _ in family.exits]
    done = 0
    groups = [list(family.exits)] if family.joint else [[one] for one in family.exits]
    for group in groups:
        step = _open_model(group[0].model, [one.output for one in group], threads)
        for number, (inputs, label) in enumerate(zip(data.inputs, data.labels, strict=True)):
            outputs = run_step(step, inputs)
            for one in group:
                at, answer = family.exits.index(one), outputs[one.output]
                try:
                    _check_answer(answer, confidence, score is not None and score_name == TOP_1)
                    scores[at][number] = score_by(score, score_name, {one.output: answer}, label)
                except InputError as error:
                    raise InputError(f"exit '{one.name}', input {number} of the data: {error}") from error
                confidences[at][number] = confidence_of(answer, confidence)
                done += 1
            progress(done / total)
    return scores, confidences


def _check_answer(answer: Any, confidence: str, classes: bool) -> None:
    """Refuse an output that no confidence or class could be read off."""
    value = confidence_of(answer, confidence)
    if np.isnan(answer).any():
        raise InputError("the output holds NaN, so it has no answer; leave such inputs out, or mend the model")
    if not np.isfinite(value):
        raise InputError(f"the confidence is {value}, since the output is infinite; leave such inputs out")
    if answer.shape[-1] < 2 and (classes or confidence == DEFAULT_CONFIDENCE):
        raise InputError(
            f"the output has shape {list(answer.shape)}, and so a single class; give outputs with one value for each "
            "class along the last axis"
        )


def _codecs(
    family: ExitFamily,
    data: LabelledData,
    codecs: Iterable[str] | None,
    dims: Mapping[str, int] | None,
    threads: int,
    progress: Callable[[float], None],
) -> dict[Way, CodecTable]:
    """Measure codecs on the rest of each way; of several models the rest does not depend on what was before."""
    from partition.codecs.measure import calibrate_codecs

    chosen = None if codecs is None else list((codecs,) if isinstance(codecs, str) else codecs)
    ways = list(family.ways())
    found: dict[Way, CodecTable] = {}
    for number, way in enumerate(ways):
        alone = Way((), way.final)
        if not family.joint and alone in found:
            found[way] = found[alone]
        else:
            cut = segments(family, way, dims=dims)
            rows = rest_inputs(cut, data.inputs, threads=threads)
            found[way] = calibrate_codecs(
                cut.rest,
                rows,
                codecs=chosen,
                metric=TOP_1,
                threads=threads,
                progress=lambda one, at=number: progress((at + one) / len(ways)),  # type: ignore[misc]
            )
        progress((number + 1) / len(ways))
    return found


def _open_model(model: "Model", outputs: Sequence[str], threads: int) -> "Step":
    chosen = select_outputs(model, outputs)
    options = session_options(threads=threads, weights=model.weights)
    return open_step(model.name, open_part(chosen.proto.SerializeToString(), f"model '{model.name}'", options))


def _open(proto: "ModelProto", name: str, threads: int) -> "Step":
    return open_step(name, open_part(proto.SerializeToString(), name, session_options(threads=threads)))
