"""Which thresholds are tried on the exits of the device, and what each combination means on measured inputs.

An input stops at the first exit whose confidence reaches that exit's threshold. So the inputs that stop at an exit are
told by how many of its thresholds each confidence reaches, and by the same of the exits before it: one histogram over
these counts holds all combinations, and sums along its axes give the shares of every one of them at once.
"""

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from partition.errors import InputError

Reals = NDArray[np.float64]

MOST_THRESHOLDS = 100
MOST_COMBINATIONS = 20_000


@dataclass(frozen=True, slots=True, eq=False)
class ThresholdRules:
    """Combinations of thresholds on the same exits, each with what it means on the measured inputs.

    Attributes
    ----------
    thresholds : (n_rules, n_exits) float64
        One for each exit that is decided on the device, in order.
    shares : (n_rules, n_exits + 1) float64
        Of the inputs, those that stop at each exit, and last those that go on to the rest.
    accuracy : (n_rules,) float64
        Mean score of what answers.
    rest_accuracy : (n_rules,) float64
        What the answers of the rest contribute to that: more cannot be lost by changing these answers.
    complete : bool
        Whether every threshold that makes a difference on the measured inputs is among them.
    """

    thresholds: Reals
    shares: Reals
    accuracy: Reals
    rest_accuracy: Reals
    complete: bool


def thresholds_of(confidences: NDArray[Any], most: int) -> Reals:
    """Return the thresholds to try on one exit, rising, one for each measured confidence, or for some evenly by rank.

    Parameters
    ----------
    confidences : (n_inputs,) float64
    most : int
        How many at the most.

    Notes
    -----
    Each lies halfway down to the next lower confidence: on the measured inputs that is the same as at the confidence
    itself, and another machine, whose last digits differ, decides the same.
    """
    measured = np.sort(np.asarray(confidences, np.float64))
    values: Reals = np.unique(measured)
    halves = values.copy()
    halves[1:] = values[:-1] + (values[1:] - values[:-1]) / 2
    # Between neighbouring numbers there is none.
    halves[1:] = np.where(halves[1:] > values[:-1], halves[1:], values[1:])
    if len(values) <= most:
        return halves
    ranks = np.round(np.linspace(0, len(measured) - 1, most)).astype(np.int64)
    return halves[np.searchsorted(values, np.unique(measured[ranks]))]


def most_thresholds(n_exits: int) -> int:
    """Return how many thresholds are tried on each of some exits, so that all combinations stay few enough."""
    if n_exits <= 1:
        return MOST_THRESHOLDS
    most = MOST_THRESHOLDS
    while most**n_exits > MOST_COMBINATIONS:
        most -= 1
    return most


def threshold_rules(confidences: NDArray[Any], scores: NDArray[Any]) -> ThresholdRules:
    """Try all combinations of thresholds on some exits.

    Parameters
    ----------
    confidences : (n_exits, n_inputs) float64
        Of the exits that are decided on the device, in order; there may be none.
    scores : (n_exits + 1, n_inputs) float64
        Of the same exits and last of the final one.

    Returns
    -------
    ThresholdRules
        An exit that is never taken is not among the combinations: that is the same as without this exit.

    Raises
    ------
    InputError
        Arrays that do not fit together, or numbers that are not finite.
    """
    confidences, scores = np.asarray(confidences, np.float64), np.asarray(scores, np.float64)
    n_exits, n_inputs = len(confidences), scores.shape[1] if scores.ndim == 2 else 0
    if scores.shape != (n_exits + 1, n_inputs) or confidences.size != n_exits * n_inputs or not n_inputs:
        raise InputError(
            f"confidences of shape {list(confidences.shape)} and scores of shape {list(scores.shape)} do not belong "
            "together; give one confidence for each exit of the device and one score more, for the same inputs"
        )
    if not (np.all(np.isfinite(confidences)) and np.all(np.isfinite(scores))):
        raise InputError("a confidence or a score is NaN or infinite; measure the exits again on finite outputs")
    most = most_thresholds(n_exits)
    grids = [thresholds_of(one, most) for one in confidences]
    complete = all(len(grid) == len(np.unique(one)) for grid, one in zip(grids, confidences, strict=True))
    # How many thresholds of each exit an input reaches: it stops at threshold number j if it reaches more than j.
    sizes = tuple(len(grid) + 1 for grid in grids)
    reached = [np.searchsorted(grid, one, side="right") for grid, one in zip(grids, confidences, strict=True)]
    cells = np.ravel_multi_index(reached, sizes) if n_exits else np.zeros(n_inputs, np.int64)

    def sums(weights: Reals | None, stop: int) -> Reals:
        counted = np.bincount(cells, weights, minlength=prod(sizes)).reshape(sizes).astype(np.float64)
        return _stopped(counted, stop).reshape(-1)

    shares = np.stack([sums(None, stop) for stop in range(n_exits + 1)], axis=-1) / n_inputs
    right = [sums(scores[stop], stop) for stop in range(n_exits + 1)]
    mesh = np.meshgrid(*grids, indexing="ij") if grids else []
    thresholds = np.stack([one.reshape(-1) for one in mesh], axis=-1) if mesh else np.zeros((1, 0))
    # Divided last, so that counts give the very share that a bound names.
    return ThresholdRules(thresholds, shares, np.sum(right, axis=0) / n_inputs, right[-1] / n_inputs, complete)


def _stopped(counted: Reals, stop: int) -> Reals:
    """Sum a histogram over the inputs that stop at an exit, for all combinations of thresholds.

    Parameters
    ----------
    counted : (n_thresholds_0 + 1, n_thresholds_1 + 1, ...) float64
        By how many thresholds of each exit are reached.
    stop : int
        The exit's number; the number of exits for the rest.

    Returns
    -------
    (n_thresholds_0, n_thresholds_1, ...) float64
    """
    shape = tuple(size - 1 for size in counted.shape)
    later = tuple(range(stop + 1, counted.ndim))
    found: Reals = counted.sum(axis=later, keepdims=True) if later else counted
    for axis in range(min(stop + 1, counted.ndim)):
        below = np.cumsum(found, axis=axis)
        kept = [slice(None)] * counted.ndim
        kept[axis] = slice(0, shape[axis])
        # Not reached at an exit before; reached at the exit itself.
        found = below[tuple(kept)] if axis < stop else (found.sum(axis=axis, keepdims=True) - below)[tuple(kept)]
    whole: Reals = np.broadcast_to(found, shape)
    return whole
