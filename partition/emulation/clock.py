"""The time of an emulation: real, which waits, or virtual, which jumps and so is exact and the same each time."""

import math
import time
from typing import Protocol

from partition.errors import InputError

# A sleeping thread is woken late by about this much; for the rest of a wait the processor is kept.
_SPIN_S = 2e-4


class Clock(Protocol):
    """Tells the time in seconds since its start, and waits."""

    def now_s(self) -> float:
        """Return the seconds since the start."""

    def sleep_until(self, time_s: float) -> None:
        """Wait until a time; return at once where it has passed."""


class RealClock:
    """Real time. `start_s` is the ``time.monotonic()`` of its time 0: on Linux one scale for all processes."""

    def __init__(self) -> None:
        self.start_s = time.monotonic()

    def now_s(self) -> float:
        """Return the seconds since the start."""
        return time.monotonic() - self.start_s

    def restart(self) -> None:
        """Make now time 0, so that a trace begins here."""
        self.start_s = time.monotonic()

    def sleep_until(self, time_s: float) -> None:
        """Sleep until 0.2 ms before a time, then keep the processor until it."""
        wake_s = self.start_s + time_s
        left_s = wake_s - time.monotonic()
        if left_s > _SPIN_S:
            time.sleep(left_s - _SPIN_S)
        while time.monotonic() < wake_s:
            pass


class VirtualClock:
    """Time that passes only where it is waited for, or where the caller moves it."""

    def __init__(self) -> None:
        self._now_s = 0.0

    def now_s(self) -> float:
        """Return the seconds since the start."""
        return self._now_s

    def sleep_until(self, time_s: float) -> None:
        """Jump to a time; stay where it has passed."""
        self._now_s = max(self._now_s, time_s)

    def advance(self, seconds: float) -> None:
        """Let a time of 0 or more pass, such as that of a computation."""
        if not (math.isfinite(seconds) and seconds >= 0):
            raise InputError(f"virtual clock: cannot advance by {seconds!r} s; give a finite time of 0 or more")
        self._now_s += seconds
