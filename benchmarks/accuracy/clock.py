"""Time a run: by the CPU clock at one thread, which other work hardly moves; by the wall at more."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from partition.latency.measure import MeasuredKernels
from partition.latency.profiling import SETTLE_S

BLOCK = 4


@dataclass(frozen=True, slots=True)
class Timed:
    """Median of the runs, and the noise floor: how far the medians of the odd and the even runs lie apart, relative."""

    seconds: float
    noise: float
    runs: int


def clock(threads: int) -> Callable[[], float]:
    """Return the clock for a number of threads."""
    return time.thread_time if threads == 1 else time.perf_counter


def time_in_turn(
    runs: Sequence[Callable[[], object]], *, threads: int, fewest: int, most: int, budget_s: float
) -> list[Timed]:
    """Time several things in turn, so that a drift of the machine's speed meets all; each runs equally often.

    Each runs in blocks whose first run does not count, since it finds the caches full of another's weights: the parts
    of a split lie on different machines. The threads of a session with more than one spin for a while after its run, in
    the way of the next one's: there each block comes after a rest.
    """
    now = clock(threads)
    taken: list[list[float]] = [[] for _ in runs]
    begun_s = time.perf_counter()
    while len(taken[0]) < fewest or (len(taken[0]) < most and time.perf_counter() - begun_s < budget_s):
        for run, seconds in zip(runs, taken, strict=True):
            if threads > 1:
                time.sleep(SETTLE_S)
            run()
            for _ in range(BLOCK):
                before = now()
                run()
                seconds.append(now() - before)
    return [summary(seconds) for seconds in taken]


def kernel_seconds(found: MeasuredKernels, threads: int) -> NDArray[np.float64]:
    """Return the seconds of measured kernels; at one thread scaled to the CPU clock of the whole runs."""
    if threads > 1:
        return found.seconds
    return np.asarray(found.seconds * (np.median(found.runs.cpu_s) / np.median(found.runs.whole_s)), dtype=np.float64)


def summary(seconds: Sequence[float]) -> Timed:
    """Return the median, and how far those of the two halves lie apart."""
    middle = float(np.median(seconds))
    halves = float(np.median(seconds[::2])), float(np.median(seconds[1::2])) if len(seconds) > 1 else middle
    return Timed(middle, abs(halves[0] - halves[1]) / middle if middle > 0 else 0.0, len(seconds))
