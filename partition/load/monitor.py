"""A monitor keeps a recent load reading at hand while a program runs, so that no request waits for one.

Its price: probes keep each probing thread busy for about ``0.4 * window_s`` of every ``interval_s + window_s``, 4 % of
a processor with the defaults and one thread. `LoadMonitor.own_cpu_s` says what it really was.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

from partition.errors import InputError
from partition.load.reading import (
    DEFAULT_MEMORY_PROBE_BYTES,
    DEFAULT_WINDOW_S,
    LoadReader,
    LoadReading,
    checked_window,
)

# A reading during which this process computed more than this share of a processor has measured the process itself.
_OWN_PROCESSORS = 0.1
_STOP_TIMEOUT_S = 5.0


class LoadMonitor:
    """Reads the load again and again in a thread of its own; a context manager.

    Parameters
    ----------
    threads : int
        How many threads the inference uses, 1 or more.
    interval_s : float
        The pause between two readings, above 0.
    window_s : float
        The length of a reading.
    memory_probe_bytes : int
        The size of the memory probe, resident as long as the monitor lives; 0 leaves it out.

    Raises
    ------
    InputError
        A value out of range.
    """

    def __init__(
        self,
        threads: int = 1,
        *,
        interval_s: float = 2.0,
        window_s: float = DEFAULT_WINDOW_S,
        memory_probe_bytes: int = DEFAULT_MEMORY_PROBE_BYTES,
    ) -> None:
        if isinstance(interval_s, bool) or not isinstance(interval_s, int | float) or not 0 < interval_s < 86400:
            raise InputError(f"interval_s is {interval_s!r}; give a number of seconds above 0 and below a day")
        self._window_s = checked_window(window_s)
        self._interval_s = float(interval_s)
        self._reader = LoadReader(threads, memory_probe_bytes=memory_probe_bytes)
        self._lock = threading.Lock()
        self._pauses = 0
        self._wake = threading.Event()
        self._stopping = False
        self._first = threading.Event()
        self._latest: LoadReading | None = None
        self._failure: Exception | None = None
        self._taken = self._dropped = 0
        self._own_cpu_s = 0.0
        self._thread = threading.Thread(target=self._run, name="load-monitor", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping = True
        self._wake.set()
        self._thread.join(_STOP_TIMEOUT_S)
        self._reader.__exit__()

    @property
    def latest(self) -> LoadReading | None:
        """The latest reading; None before the first. Its ``ended_s`` tells its age.

        Raises
        ------
        RuntimeError
            Reading failed; the monitor has stopped.
        """
        if self._failure is not None:
            raise RuntimeError(f"the load monitor stopped: {self._failure}") from self._failure
        return self._latest

    @property
    def readings(self) -> int:
        """How many readings were kept."""
        return self._taken

    @property
    def dropped(self) -> int:
        """How many readings were given up or dropped, because this process itself was computing meanwhile."""
        return self._dropped

    @property
    def own_cpu_s(self) -> float:
        """CPU seconds that the monitor's first thread has used so far; the other probing threads use as much each."""
        return self._own_cpu_s

    def wait(self, timeout_s: float) -> LoadReading | None:
        """Wait for the first reading and return the latest; None where there was none within `timeout_s`."""
        self._first.wait(timeout_s)
        return self.latest

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Keep the monitor from probing, for the time of an inference; a probe that is on ends within its turn."""
        with self._lock:
            self._pauses += 1
        try:
            yield
        finally:
            with self._lock:
                self._pauses -= 1

    def _interrupted(self) -> bool:
        return self._stopping or self._pauses > 0

    def _run(self) -> None:
        try:
            while not self._stopping:
                reading = None if self._pauses else self._reader.read_unless(self._interrupted, self._window_s)
                if reading is not None and reading.own_processors <= _OWN_PROCESSORS:
                    self._latest = reading
                    self._taken += 1
                    self._first.set()
                else:
                    self._dropped += 1
                self._own_cpu_s = time.thread_time()
                # After a disturbed reading sooner, but never so soon that probing is all that is done.
                self._wake.wait(self._interval_s if reading is not None else min(self._interval_s, self._window_s))
        except Exception as error:
            self._failure = error
            self._first.set()
