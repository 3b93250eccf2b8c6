"""How contestants are timed: in turn, in an order drawn anew every round, the shared machine's drift on all."""

import multiprocessing
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.settings import SEED

SLOW_S = 4.0
"""A call that takes longer is measured once."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds of one call, over the rounds."""

    median_s: float
    least_s: float
    most_s: float
    rounds: int

    @classmethod
    def of(cls, seconds: list[float]) -> "Timing":
        """Summarise the rounds."""
        return cls(float(np.median(seconds)), min(seconds), max(seconds), len(seconds))

    def scaled(self, factor: float) -> "Timing":
        """Return the same per item: each figure times `factor`."""
        return Timing(self.median_s * factor, self.least_s * factor, self.most_s * factor, self.rounds)

    def row(self, name: str) -> dict[str, float | int]:
        """Return the figures under keys that start with `name`."""
        return {
            f"{name}_s": self.median_s,
            f"{name}_least_s": self.least_s,
            f"{name}_most_s": self.most_s,
            f"{name}_rounds": self.rounds,
        }


def alternate(
    calls: Mapping[str, Callable[[], Any]], *, rounds: int, budget_s: float = 20.0, least_s: float = 2e-3
) -> dict[str, Timing]:
    """Time each of `calls` once a round, after one unmeasured call of each.

    Parameters
    ----------
    calls : mapping of str to callable
    rounds : int
        Fewer if the budget is used up, never fewer than one.
    budget_s : float
        For all calls and rounds together.
    least_s : float
        A call that is quicker is repeated within a round until it takes about this long.
    """
    repeats = {name: _repeats(call, least_s) for name, call in calls.items()}
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    names = list(calls)
    random = np.random.default_rng(SEED)
    start = time.perf_counter()
    for number in range(rounds):
        # Not in a fixed circle: what one leaves behind in caches and heap would always fall on the same other one.
        for name in random.permutation(names).tolist():
            seconds[name].append(_timed(calls[name], repeats[name]))
        used = time.perf_counter() - start
        if used * (number + 2) / (number + 1) > budget_s:
            break
    return {name: Timing.of(values) for name, values in seconds.items()}


def _repeats(call: Callable[[], Any], least_s: float) -> int:
    call()
    first_s = _timed(call, 1)
    return max(1, min(round(least_s / max(first_s, 1e-9)), 10_000))


def _timed(call: Callable[[], Any], repeats: int) -> float:
    before = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - before) / repeats


def trial(call: Callable[[], Any], limit_s: float) -> tuple[float, Any] | None:
    """Run `call` once in a process of its own: its seconds and its result, or None if it did not end within the limit.

    Needs a system that forks, so that nothing has to be copied.

    Raises
    ------
    RuntimeError
        The process failed.
    """
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(call, sender), daemon=True)
    with warnings.catch_warnings():
        # Python warns of forks beside other threads; here none holds a lock that the child could need.
        warnings.simplefilter("ignore", DeprecationWarning)
        process.start()
    sender.close()
    try:
        if not receiver.poll(limit_s):
            return None
        seconds, result = receiver.recv()
    except EOFError:
        raise RuntimeError("a contestant's process ended without an answer") from None
    finally:
        receiver.close()
        process.terminate()
        process.join()
    return float(seconds), result


def _send(call: Callable[[], Any], sender: Any) -> None:
    before = time.perf_counter()
    result = call()
    sender.send((time.perf_counter() - before, result))
    sender.close()
