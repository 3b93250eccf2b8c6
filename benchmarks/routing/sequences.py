"""Sequences of input lengths: synthetic, with the means of public data sets."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from benchmarks.settings import SEED

Lengths = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class DataSet:
    """A distribution of lengths in words.

    Attributes
    ----------
    mean, deviation : float
        The deviation is chosen here for all of them: no paper gives it.
    source : str
        Where the mean is from.
    draw : callable
        Takes a generator and a count, and returns lengths that are not rounded yet.
    least, most : int
        Lengths beyond are drawn to these.
    """

    mean: float
    deviation: float
    source: str
    draw: Callable[[np.random.Generator, int], NDArray[np.float64]]
    least: int
    most: int


def _gamma(mean: float, deviation: float, generator: np.random.Generator, count: int) -> NDArray[np.float64]:
    shape = (mean / deviation) ** 2
    return generator.gamma(shape, mean / shape, count)


def _log_normal(mean: float, deviation: float, generator: np.random.Generator, count: int) -> NDArray[np.float64]:
    sigma2 = float(np.log1p((deviation / mean) ** 2))
    return generator.lognormal(np.log(mean) - sigma2 / 2, np.sqrt(sigma2), count)


def _data_set(
    mean: float, deviation: float, source: str, shape: Callable[..., NDArray[np.float64]], least: int, most: int
) -> DataSet:
    return DataSet(mean, deviation, source, partial(shape, mean, deviation), least, most)


DATA_SETS = {
    "SNLI": _data_set(
        14.1,
        6.0,
        "premises; Bowman et al., EMNLP 2015. Its hypotheses (8.3) are left out: with them the published figures of "
        "SNLI and SQuAD cannot both be met by one line per machine",
        _gamma,
        1,
        90,
    ),
    "SQuAD": _data_set(
        10.6, 3.6, "questions of about 10 words; Rajpurkar et al., EMNLP 2016, give no mean", _gamma, 1, 60
    ),
    "IMDB": _data_set(234.0, 173.0, "reviews; Maas et al., ACL 2011", _log_normal, 10, 2500),
}
"""By name."""


def draw_lengths(data_set: str, count: int) -> Lengths:
    """Return seeded lengths of so many inputs."""
    chosen = DATA_SETS[data_set]
    # One seed for each data set, so that a row does not depend on the rows before it.
    generator = np.random.default_rng([SEED, list(DATA_SETS).index(data_set)])
    return np.clip(np.rint(chosen.draw(generator, count)), chosen.least, chosen.most).astype(np.int64)
