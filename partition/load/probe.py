"""Probes: short pieces of known work that show what share of a processor, and of the memory, a thread gets now.

A probe sleeps first, since an inference also begins when its thread wakes up: the scheduler gives a thread that was
asleep another place than one that has been computing for a while. It then computes in small chunks for a fixed time
and compares CPU time with that. Turns are 2 to 4 ms long, so it takes two probes of 40 ms to see the share.
"""

import contextlib
import hashlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_CHUNK_ITERATIONS = 300
_JOIN_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class ThreadProbe:
    """What one thread got: CPU seconds, wall seconds, and the CPU seconds of its quickest chunk."""

    cpu_s: float
    wall_s: float
    chunk_s: float


def spin(duration_s: float) -> ThreadProbe:
    """Compute for `duration_s` in this thread; what it got after that time is not counted."""
    chunk_s = float("inf")
    begun_s, begun_cpu_s = time.perf_counter(), time.thread_time()
    wall_s = cpu_s = 0.0
    while True:
        hashlib.pbkdf2_hmac("sha256", b"probe", b"load", _CHUNK_ITERATIONS)
        now_s, now_cpu_s = time.perf_counter() - begun_s, time.thread_time() - begun_cpu_s
        chunk_s = min(chunk_s, now_cpu_s - cpu_s)
        if now_s >= duration_s and wall_s > 0:
            # The others' turn that is on at the end would count in full, but only some of it is within the time.
            left_s = max(0.0, duration_s - wall_s)
            return ThreadProbe(cpu_s + min(left_s, now_cpu_s - cpu_s), wall_s + left_s, chunk_s)
        wall_s, cpu_s = now_s, now_cpu_s


class ProbeThreads:
    """Threads that probe together, as many as an inference uses; kept between rounds, as a runtime keeps its own.

    Parameters
    ----------
    threads : int
        How many, 1 or more; the first is the caller's own.
    """

    def __init__(self, threads: int) -> None:
        self._results: list[ThreadProbe | None] = [None] * threads
        self._duration_s = 0.0
        self._start = threading.Barrier(threads)
        self._end = threading.Barrier(threads)
        self._others = [
            threading.Thread(target=self._serve, args=(i,), name=f"load-probe-{i}", daemon=True)
            for i in range(1, threads)
        ]
        for thread in self._others:
            thread.start()

    def __enter__(self) -> "ProbeThreads":
        return self

    def __exit__(self, *_: object) -> None:
        # Whatever the threads wait for, they leave: a spin may have been interrupted half way.
        self._start.abort()
        self._end.abort()
        for thread in self._others:
            thread.join(_JOIN_TIMEOUT_S)

    def spin(self, duration_s: float) -> tuple[ThreadProbe, ...]:
        """Compute in all threads at once."""
        if not self._others:
            return (spin(duration_s),)
        self._duration_s = duration_s
        self._start.wait()
        self._results[0] = spin(duration_s)
        self._end.wait()
        return tuple(result for result in self._results if result is not None)

    def _serve(self, place: int) -> None:
        with contextlib.suppress(threading.BrokenBarrierError):
            while True:
                self._start.wait()
                self._results[place] = spin(self._duration_s)
                self._end.wait()


class MemoryProbe:
    """A copy between two arrays, larger together than the caches that a core has to itself.

    Parameters
    ----------
    size_bytes : int
        The bytes of both arrays together.
    """

    def __init__(self, size_bytes: int) -> None:
        import numpy as np

        length = max(1, size_bytes // 16)
        source, target = np.ones(length), np.zeros(length)
        self._copy: Callable[[], Any] = lambda: np.copyto(target, source)
        self._copy()

    def copy_s(self) -> float:
        """Return the CPU seconds of one copy: waiting for memory counts, waiting for a processor does not."""
        begun_s = time.thread_time()
        self._copy()
        return time.thread_time() - begun_s
