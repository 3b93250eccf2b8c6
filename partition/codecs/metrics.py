"""What outputs lose: the measures that ship, and those of a user by name."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import import_module
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from partition.errors import InputError
from partition.runtime.verify import relative_error

Outputs: TypeAlias = Sequence[Mapping[str, NDArray[Any]]]
Metric: TypeAlias = Callable[[Outputs, Outputs], float]
"""Takes the outputs of the whole model and those to judge, one mapping for each input; returns a loss, 0 for none."""


def max_relative_error(reference: Outputs, outputs: Outputs) -> float:
    """Return the largest |outputs - reference| over the largest |reference| of that output, input by input.

    It is infinite where places of infinities or NaN differ, or whole numbers.
    """
    pairs = zip(reference, outputs, strict=True)
    return max((relative_error(got[name], wanted[name]) for wanted, got in pairs for name in wanted), default=0.0)


def mean_absolute_error(reference: Outputs, outputs: Outputs) -> float:
    """Return the mean of |outputs - reference| over all values of all outputs, in their own unit."""
    total = count = 0.0
    for expected, got in zip(reference, outputs, strict=True):
        for name, wanted in expected.items():
            total += float(np.sum(np.abs(wanted.astype(np.float64) - got[name])))
            count += wanted.size
    return total / count if count else 0.0


def top_1_disagreement(reference: Outputs, outputs: Outputs) -> float:
    """Return the share of rows whose greatest value lies elsewhere: of the first output, along its last axis."""
    differing = count = 0
    for expected, got in zip(reference, outputs, strict=True):
        name = next(iter(expected))
        wanted, result = expected[name].argmax(axis=-1), got[name].argmax(axis=-1)
        differing += int(np.sum(wanted != result))
        count += wanted.size
    return differing / count if count else 0.0


METRICS: dict[str, Metric] = {
    "max-relative-error": max_relative_error,
    "mean-absolute-error": mean_absolute_error,
    "top-1": top_1_disagreement,
}
DEFAULT_METRIC = "max-relative-error"


def find_metric(metric: str | Metric) -> tuple[str, Metric]:
    """Return the name of a metric and what computes it.

    Parameters
    ----------
    metric : str or callable
        One of `METRICS`, ``"package.module:name"``, which is imported, or the function itself.

    Raises
    ------
    InputError
        There is none.
    """
    return named_function(metric, "metric", METRICS, takes="two lists of outputs")


def named_function(
    given: object, what: str, known: Mapping[str, Callable[..., Any]], *, takes: str
) -> tuple[str, Callable[..., Any]]:
    """Return the name of a function and the function: a known one, one of the user's to import, or the function itself.

    Parameters
    ----------
    given : str or callable
    what : str
        What it is, for the messages: ``"metric"``.
    known : mapping
        Those that ship, by name.
    takes : str
        What the function gets.

    Raises
    ------
    InputError
        There is none.
    """
    if callable(given):
        name = getattr(given, "__qualname__", type(given).__name__)
        return f"{getattr(given, '__module__', '?')}:{name}", given
    if not isinstance(given, str):
        raise InputError(f"{what} is {given!r}; use {', '.join(known)}, 'package.module:name' or a function")
    return given, known[given] if given in known else _imported(given, what, legal=known, takes=takes)


def _imported(path: str, what: str, *, legal: Iterable[str], takes: str) -> Callable[..., Any]:
    """Import a function of the user's, as `named_function` says."""
    module, colon, name = path.partition(":")
    if not colon or not module or not name.isidentifier():
        raise InputError(f"{what} '{path}' is unknown; use {', '.join(legal)} or 'package.module:name'")
    try:
        found = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(f"{what} '{path}' cannot be imported: {error}; run where that module is found") from error
    if not callable(found):
        raise InputError(f"{what} '{path}' is a {type(found).__name__}; name a function of {takes}")
    function: Callable[..., Any] = found
    return function


def loss_by(metric: Metric, name: str, reference: Outputs, outputs: Outputs) -> float:
    """Return the loss of outputs; infinite where it is NaN, as with features beyond what a codec carries.

    Raises
    ------
    InputError
        The metric fails, or returns no number.
    """
    try:
        loss = float(metric(reference, outputs))
    except Exception as error:  # the metric is the user's own code
        raise InputError(f"metric '{name}' failed: {type(error).__name__}: {error}") from error
    return float("inf") if np.isnan(loss) else loss
