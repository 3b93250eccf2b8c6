"""A slow device on a fast machine: work runs on one core, and then waits until a slower one would have finished."""

import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from partition.emulation.clock import Clock, RealClock
from partition.errors import InputError

DEFAULT_SLOWDOWN = 8.0
"""How many times longer the emulated device takes, unless told otherwise."""

_Result = TypeVar("_Result")


class SlowDevice:
    """Runs functions so that each takes a multiple of its own time.

    Parameters
    ----------
    slowdown : float
        1 or more.
    clock : Clock, optional
        Default: real time.
    own_time : bool
        Multiply the processor time of the calling thread, and let what other threads took of its core count once: for a
        runtime with one thread in a process that also sends and receives.

    Raises
    ------
    InputError
        A slowdown that is not a finite number of 1 or more.

    Notes
    -----
    Without `own_time` what is multiplied is the time that passed while the function ran: keep its core free.
    `compute_s` holds the time of the last call before the multiplication.

    Examples
    --------
    >>> from partition.emulation.clock import VirtualClock
    >>> clock = VirtualClock()
    >>> device = SlowDevice(8, clock=clock)
    >>> device.run(lambda: clock.advance(0.25))
    >>> clock.now_s(), device.compute_s
    (2.0, 0.25)
    """

    def __init__(
        self, slowdown: float = DEFAULT_SLOWDOWN, *, clock: Clock | None = None, own_time: bool = False
    ) -> None:
        if not (math.isfinite(slowdown) and slowdown >= 1):
            raise InputError(f"slow device: slowdown is {slowdown!r}, expected a finite number of 1 or more")
        self.slowdown = slowdown
        self.compute_s = 0.0
        self._clock: Clock = RealClock() if clock is None else clock
        self._spent_s = time.thread_time if own_time else self._clock.now_s

    def run(self, work: Callable[[], _Result]) -> _Result:
        """Call a function, wait `slowdown - 1` times its own time, and return its result."""
        start_s = self._spent_s()
        result = work()
        self.compute_s = self._spent_s() - start_s
        self._clock.sleep_until(self._clock.now_s() + (self.slowdown - 1) * self.compute_s)
        return result


@contextmanager
def pinned(core: int) -> Iterator[bool]:
    """Keep this thread, and threads that it starts within, on one core.

    Parameters
    ----------
    core : int
        One of those that this thread may use.

    Yields
    ------
    bool
        False where the system cannot do it (macOS, Windows); the thread then stays as it was.

    Raises
    ------
    InputError
        A core that this thread may not use.
    """
    # Getters, because the type checker knows these functions on some systems only.
    get, put = getattr(os, "sched_getaffinity", None), getattr(os, "sched_setaffinity", None)
    if get is None or put is None:
        yield False
        return
    before = get(0)
    if core not in before:
        raise InputError(f"core {core!r} is not one that this thread may use; choose from {sorted(before)}")
    put(0, {core})
    try:
        yield True
    finally:
        put(0, before)
