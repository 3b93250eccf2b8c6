"""How right an exit's answer is: its top class against the label, or a function of the user's."""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from partition.codecs.metrics import named_function
from partition.errors import InputError

Score: TypeAlias = Callable[[Mapping[str, NDArray[Any]], NDArray[Any]], float]
"""Takes the exit's output by its name and the label of one input; returns how right it is, 0 to 1."""
TOP_1 = "top-1"


def find_score(score: "str | Score") -> tuple[str, Score]:
    """Return the name of a score and what computes it.

    Parameters
    ----------
    score : str or callable
        ``"top-1"``, ``"package.module:name"``, which is imported, or the function itself.

    Raises
    ------
    InputError
        There is none.
    """
    return named_function(score, "score", {TOP_1: top_1}, takes="an exit's outputs and a label")


def top_1(outputs: Mapping[str, NDArray[Any]], label: NDArray[Any]) -> float:
    """Return the share of rows whose greatest value, along the last axis, lies where the label says.

    Raises
    ------
    InputError
        Labels that are not whole numbers, not one for each row, or not the number of a class.
    """
    (values,) = outputs.values()
    if label.dtype.kind not in "iu":
        raise InputError(f"its label is of {label.dtype}; labels are whole numbers, the places of the right classes")
    answers = values.argmax(axis=-1)
    if label.size != answers.size:
        raise InputError(
            f"it has labels of shape {list(label.shape)} for an output of shape {list(values.shape)}; give one label "
            "for each row of classes"
        )
    classes = values.shape[-1]
    if label.min() < 0 or label.max() >= classes:
        raise InputError(
            f"its label is {int(label.flat[0])}; the output has {classes} classes, from 0 to {classes - 1}"
        )
    return float(np.mean(answers.reshape(-1) == label.reshape(-1)))


def score_by(score: Score, name: str, outputs: Mapping[str, NDArray[Any]], label: NDArray[Any]) -> float:
    """Return the score of an answer.

    Raises
    ------
    InputError
        The score fails, or returns anything but a number from 0 to 1.
    """
    try:
        value = float(score(outputs, label))
    except InputError:
        raise
    except Exception as error:  # the score is the user's own code
        raise InputError(f"score '{name}' failed: {type(error).__name__}: {error}") from error
    if not 0 <= value <= 1:
        raise InputError(f"score '{name}' returned {value!r}; return a number from 0 to 1")
    return value
