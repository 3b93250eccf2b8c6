"""The library's own regression: for each group of kernels physical terms, and a Gaussian process for what they leave.

The terms (`kernel_groups`) get rates that are not negative and minimise the relative error (non-negative least
squares, every row divided by its time), so no prediction is below zero and small layers count as much as large ones.
The ratio of measured to that is learnt by a Gaussian process over the logarithms of the sizes. Whether a group gets one
is decided by cross-validation over ranges of size that were held out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from partition.errors import InputError
from partition.latency.baseline_variables import KernelFeatures
from partition.latency.baselines import Row
from partition.latency.gaussian_process import (
    GaussianProcess,
    Hyperparameters,
    condition,
    find_hyperparameters,
)
from partition.latency.kernel_groups import Description, describe

FloatArray = NDArray[np.float64]

NAME = "terms-and-process"
# With fewer rows a group has no process of its own.
_FEWEST_ROWS = 12
# The share of a normal distribution that lies within one standard deviation.
_ONE_DEVIATION = 0.683
_FOLDS, _RANGES_PER_FOLD = 5, 3
# Uncertainty, as a standard deviation of the logarithm: where cross-validation is not possible, and at the least.
_UNKNOWN_DEVIATION, _LEAST_DEVIATION = 0.4, 0.02
# Kernels whose descriptions are kept for the next prediction of the same graph.
_MOST_REMEMBERED = 50_000
# A prediction is within the calibrated range while each size is within that of the rows, or this factor beyond.
_MARGIN = 1.5


@dataclass(frozen=True, slots=True)
class GroupFit:
    """What was fitted for one group of kernels at one number of threads; with the rows this is the regression.

    Attributes
    ----------
    rates : tuple of float
        Seconds for one unit of each term, none negative.
    offset : float
        Median logarithm of measured over what the rates say.
    process : Hyperparameters or None
        None where cross-validation, or too few rows, spoke against one.
    deviation : float
        Without a process the standard deviation of the logarithm of the prediction's error; with one the factor by
        which its own standard deviations come true.
    error : float
        Mean absolute relative error on held-out sizes; NaN if there were too few rows to hold any out.
    """

    rates: tuple[float, ...]
    offset: float
    process: Hyperparameters | None
    deviation: float
    error: float


@dataclass(frozen=True, slots=True, eq=False)
class KernelPrediction:
    """Predicted kernels, each array of shape (n,).

    Attributes
    ----------
    seconds : numpy.ndarray of float64
        Above zero; NaN for a layer type without rows.
    deviation : numpy.ndarray of float64
        Standard deviation of the logarithm of the true time over the predicted one.
    in_range : numpy.ndarray of bool
        Whether every size lies within those that were calibrated.
    groups : tuple of str
    """

    seconds: FloatArray
    deviation: FloatArray
    in_range: NDArray[np.bool_]
    groups: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class _Group:
    fit: GroupFit
    process: GaussianProcess | None
    floor_s: float
    low: FloatArray
    high: FloatArray


class TermsAndProcess:
    """A regression over all layer types at one or more numbers of threads; see the module.

    Parameters
    ----------
    rows : sequence of Row
        What it is fitted to.
    fits : mapping of (int, str) to GroupFit, optional
        By threads and group, as `fits` of an earlier regression on the same rows; found here if not given, which takes
        seconds to minutes.
    """

    name = NAME

    def __init__(self, rows: Sequence[Row], fits: Mapping[tuple[int, str], GroupFit] | None = None) -> None:
        if not rows:
            raise InputError("a regression needs rows, and there are none; calibrate this machine")
        data = _by_group(rows)
        if fits is None:
            # A wider group only serves where its narrower ones have no rows: it gets no process.
            narrow = {(row.threads, describe(row.features).group) for row in rows}
            fits = {key: _fit(*arrays, with_process=key in narrow) for key, arrays in data.items()}
        missing = next((key for key in data if key not in fits), None)
        if missing is not None:
            raise InputError(f"the regression lacks a fit of {missing[1]!r} at {missing[0]} threads; calibrate again")
        self.fits: Mapping[tuple[int, str], GroupFit] = {key: fits[key] for key in data}
        self.threads: tuple[int, ...] = tuple(sorted({threads for threads, _ in data}))
        self._groups = {key: _assemble(self.fits[key], *arrays) for key, arrays in data.items()}
        self._descriptions: dict[int, tuple[KernelFeatures, Description]] = {}

    def predict(self, features: Sequence[KernelFeatures], *, threads: int) -> KernelPrediction:
        """Predict kernels.

        Parameters
        ----------
        features : sequence of KernelFeatures
        threads : int
            One of `threads`.

        Raises
        ------
        InputError
            There are no rows of that number of threads.
        """
        if threads not in self.threads:
            known = ", ".join(map(str, self.threads))
            raise InputError(f"there are no rows for {threads} threads, but for {known}; calibrate with that many")
        n = len(features)
        seconds, deviation, in_range = np.full(n, np.nan), np.full(n, np.nan), np.zeros(n, np.bool_)
        members: dict[str, dict[Description, list[int]]] = {}
        for position, one in enumerate(features):
            description = self._describe(one)
            group = next((g for g in (description.group, description.wider) if (threads, g) in self._groups), None)
            if group is not None:
                members.setdefault(group, {}).setdefault(description, []).append(position)
        for group, alike in members.items():
            found = _predict(self._groups[threads, group], list(alike))
            # Layers of one size repeat in most networks: each is predicted once.
            for values, target in zip(found, (seconds, deviation, in_range), strict=True):
                for value, positions in zip(values, alike.values(), strict=True):
                    target[positions] = value
        groups = tuple(self._describe(one).group for one in features)
        return KernelPrediction(seconds, deviation, in_range, groups)

    def predict_s(
        self, features: Sequence[KernelFeatures], *, threads: int, dynamic: Mapping[str, float] | None = None
    ) -> FloatArray:
        """Predict the seconds of each kernel; NaN for a layer type without rows. `dynamic` is not used."""
        return self.predict(features, threads=threads).seconds

    def _describe(self, features: KernelFeatures) -> Description:
        known = self._descriptions.get(id(features))
        if known is None or known[0] is not features:
            if len(self._descriptions) >= _MOST_REMEMBERED:
                self._descriptions.clear()
            known = (features, describe(features))
            self._descriptions[id(features)] = known
        return known[1]


def _by_group(
    rows: Sequence[Row],
) -> dict[tuple[int, str], tuple[FloatArray, FloatArray, FloatArray]]:
    """Return terms, coordinates and seconds by threads and group; layer types with several groups also as a whole."""
    gathered: dict[tuple[int, str], list[tuple[Description, float]]] = {}
    for row in rows:
        description = describe(row.features)
        for group in dict.fromkeys((description.group, description.wider)):
            gathered.setdefault((row.threads, group), []).append((description, row.seconds))
    return {
        key: (
            np.array([one.terms for one, _ in members]),
            np.array([one.coordinates for one, _ in members]),
            np.array([seconds for _, seconds in members]),
        )
        for key, members in gathered.items()
    }


def _rates(terms: FloatArray, seconds: FloatArray) -> FloatArray:
    from scipy.optimize import nnls

    scale = np.maximum(np.abs(terms).max(axis=0), 1e-300)
    found, _ = nnls(terms / scale / seconds[:, None], np.ones(len(seconds)))
    result: FloatArray = found / scale
    return result


def _base(rates: FloatArray, terms: FloatArray, floor_s: float) -> FloatArray:
    result: FloatArray = np.maximum(terms @ rates, floor_s)
    return result


def _fit(terms: FloatArray, coordinates: FloatArray, seconds: FloatArray, *, with_process: bool) -> GroupFit:
    rates, offset = _fit_terms(terms, seconds)
    if len(seconds) < _FEWEST_ROWS:
        return GroupFit(tuple(map(float, rates)), offset, None, _UNKNOWN_DEVIATION, float("nan"))
    left = np.log(seconds / _base(rates, terms, seconds.min())) - offset
    hyperparameters = find_hyperparameters(coordinates, left) if with_process else None
    logs = np.log(seconds)
    plain, smooth, expected = np.empty_like(logs), np.empty_like(logs), np.empty_like(logs)
    fold = _held_out_sizes(terms)
    for number in range(_FOLDS):
        out = fold == number
        kept = ~out
        own_rates, own_offset = _fit_terms(terms[kept], seconds[kept])
        base = np.log(_base(own_rates, terms, seconds[kept].min())) + own_offset
        plain[out] = base[out]
        if hyperparameters is not None:
            process = condition(coordinates[kept], (logs - base)[kept], hyperparameters)
            mean, expected[out] = process.predict(coordinates[out])
            smooth[out] = base[out] + mean
    error = float(np.abs(np.expm1(plain - logs)).mean())
    if hyperparameters is not None:
        smooth_error = float(np.abs(np.expm1(smooth - logs)).mean())
        if smooth_error < error:
            # So that two thirds of the held-out rows lie within one standard deviation.
            factor = float(np.quantile(np.abs(smooth - logs) / expected, _ONE_DEVIATION))
            return GroupFit(tuple(map(float, rates)), offset, hyperparameters, factor, smooth_error)
    deviation = float(np.quantile(np.abs(plain - logs), _ONE_DEVIATION))
    return GroupFit(tuple(map(float, rates)), offset, None, max(deviation, _LEAST_DEVIATION), error)


def _fit_terms(terms: FloatArray, seconds: FloatArray) -> tuple[FloatArray, float]:
    rates = _rates(terms, seconds)
    return rates, float(np.median(np.log(seconds / _base(rates, terms, seconds.min()))))


def _held_out_sizes(terms: FloatArray) -> NDArray[np.int64]:
    """Return the fold of each row: rows sorted by work, cut into ranges, every fifth range in one fold."""
    work = np.log(np.maximum(terms[:, 1:] / np.maximum(terms[:, 1:].max(axis=0), 1e-300), 1e-12)).max(axis=1)
    rank = np.argsort(np.argsort(work, kind="stable"), kind="stable")
    result: NDArray[np.int64] = rank * _FOLDS * _RANGES_PER_FOLD // len(work) % _FOLDS
    return result


def _assemble(fit: GroupFit, terms: FloatArray, coordinates: FloatArray, seconds: FloatArray) -> _Group:
    process = None
    if len(fit.rates) != terms.shape[1]:
        raise ValueError(f"{len(fit.rates)} rates for {terms.shape[1]} terms")
    floor_s = float(seconds.min())
    if fit.process is not None:
        if len(fit.process.lengths) != coordinates.shape[1]:
            raise ValueError(f"{len(fit.process.lengths)} length scales for {coordinates.shape[1]} coordinates")
        base = _base(np.array(fit.rates), terms, floor_s)
        process = condition(coordinates, np.log(seconds / base) - fit.offset, fit.process)
    margin = np.log(_MARGIN)
    return _Group(fit, process, floor_s, coordinates.min(axis=0) - margin, coordinates.max(axis=0) + margin)


def _predict(group: _Group, kernels: Sequence[Description]) -> tuple[FloatArray, FloatArray, NDArray[np.bool_]]:
    terms = np.array([one.terms for one in kernels])
    coordinates = np.array([one.coordinates for one in kernels])
    fit = group.fit
    mean, deviation = np.full(len(kernels), fit.offset), np.full(len(kernels), fit.deviation)
    if group.process is not None:
        left, own = group.process.predict(coordinates)
        mean, deviation = mean + left, own * fit.deviation
    in_range = np.all((coordinates >= group.low) & (coordinates <= group.high), axis=1)
    base = _base(np.array(fit.rates), terms, group.floor_s)
    return base * np.exp(mean), np.maximum(deviation, _LEAST_DEVIATION), in_range
