"""Readings: how loaded this machine is now, as seen by the system's counters and by short probes."""

import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from partition.errors import InputError
from partition.files import FieldReader
from partition.load.probe import MemoryProbe, ProbeThreads, ThreadProbe

DEFAULT_WINDOW_S = 0.2
DEFAULT_MEMORY_PROBE_BYTES = 32 << 20
_SHORTEST_WINDOW_S = 0.05
_ROUND_S = 0.1
_PROBED_PART = 0.4
_SAMPLE_S = 0.005
_LOADAVG = Path("/proc/loadavg")


@dataclass(frozen=True, slots=True)
class LoadReading:
    """How loaded a machine was during a short window that has ended.

    Parameters
    ----------
    ended_s : float
        When the window ended, seconds since 1970 (UTC).
    window_s : float
        How long it was.
    processors : int
        How many processors the reading process might use; the next three fields are of these alone.
    system_cpu_share : float
        The share of their time that went to the system, 0..1.
    cpu_utilisation : float
        The share of their time that was not idle, 0..1, between the probes.
    others_processors : float
        How many of them other processes kept busy between the probes.
    own_processors : float
        How many processors this process itself kept busy besides the probes, over the whole window. An inference that
        ran meanwhile shows here: it disturbed the probes.
    runnable : float or None
        How many other threads of the whole machine wanted a processor, the mean over samples between the probes; None
        where the system does not tell.
    free_memory_bytes : int
        Memory that could be given out without swapping.
    memory_usage : float
        The share of the memory that is in use, 0..1.
    threads : int
        How many threads probed at once.
    cpu_share : float
        CPU time over wall time of the probes, the mean over their threads, above 0 and at most 1.
    lowest_cpu_share : float
        The same of the thread that got least.
    chunk_s : float
        CPU seconds of one probe's quickest chunk: how fast the processor itself is now.
    memory_copy_s : float or None
        CPU seconds of one copy within `memory_probe_bytes`; None without that probe.
    memory_probe_bytes : int
        The size of the memory probe, 0 without it.
    """

    ended_s: float
    window_s: float
    processors: int
    system_cpu_share: float
    cpu_utilisation: float
    others_processors: float
    own_processors: float
    runnable: float | None
    free_memory_bytes: int
    memory_usage: float
    threads: int
    cpu_share: float
    lowest_cpu_share: float
    chunk_s: float
    memory_copy_s: float | None
    memory_probe_bytes: int

    def __str__(self) -> str:
        return (
            f"CPU share {self.cpu_share:.0%} ({self.threads} threads probed), {self.others_processors:.2f} of "
            f"{self.processors} processors busy with other work, memory {self.memory_usage:.0%} used"
        )

    def to_json(self) -> dict[str, Any]:
        """Return the reading as a JSON object."""
        return asdict(self)

    @classmethod
    def from_json(cls, fields: FieldReader | Mapping[str, Any], source: str) -> Self:
        """Make a reading from its JSON object.

        Parameters
        ----------
        fields : FieldReader or mapping
            The object.
        source : str
            Where it is from, for the messages.

        Returns
        -------
        LoadReading

        Raises
        ------
        InputError
            A field that is missing, unknown, of the wrong type or out of range.
        """
        reader = fields if isinstance(fields, FieldReader) else FieldReader(fields, source)
        reading = cls(
            ended_s=reader.positive("ended_s"),
            window_s=reader.positive("window_s"),
            processors=reader.count("processors"),
            system_cpu_share=_share(reader, "system_cpu_share"),
            cpu_utilisation=_share(reader, "cpu_utilisation"),
            others_processors=reader.non_negative("others_processors"),
            own_processors=reader.non_negative("own_processors"),
            runnable=reader.optional_non_negative("runnable"),
            free_memory_bytes=reader.whole("free_memory_bytes"),
            memory_usage=_share(reader, "memory_usage"),
            threads=reader.count("threads"),
            cpu_share=_share(reader, "cpu_share", positive=True),
            lowest_cpu_share=_share(reader, "lowest_cpu_share", positive=True),
            chunk_s=reader.positive("chunk_s"),
            memory_copy_s=reader.optional_positive("memory_copy_s"),
            memory_probe_bytes=reader.whole("memory_probe_bytes"),
        )
        if (reading.memory_copy_s is None) != (reading.memory_probe_bytes == 0):
            reader.refuse("memory_probe_bytes", reading.memory_probe_bytes, "0 exactly where memory_copy_s is null")
        reader.finish()
        return reading


class LoadReader:
    """Takes readings one after another; the probe's threads and arrays are kept in between.

    Parameters
    ----------
    threads : int
        How many threads probe at once: those of the inference.
    memory_probe_bytes : int
        The size of the memory probe, all of it resident; 0 leaves that probe out.

    Raises
    ------
    InputError
        A value out of range.
    """

    def __init__(self, threads: int = 1, *, memory_probe_bytes: int = DEFAULT_MEMORY_PROBE_BYTES) -> None:
        self._threads = checked_threads(threads)
        if isinstance(memory_probe_bytes, bool) or not isinstance(memory_probe_bytes, int) or memory_probe_bytes < 0:
            raise InputError(f"memory_probe_bytes is {memory_probe_bytes!r}; give a whole number, 0 or more")
        self._memory_probe_bytes = memory_probe_bytes
        self._memory = MemoryProbe(memory_probe_bytes) if memory_probe_bytes else None
        self._probes = ProbeThreads(self._threads)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._probes.__exit__()

    def read(self, window_s: float = DEFAULT_WINDOW_S) -> LoadReading:
        """Read the load now; the window ends before this returns.

        Parameters
        ----------
        window_s : float
            About how long to look, 0.05 s or more. On a busy machine it may take twice as long.
        """
        reading = self.read_unless(lambda: False, window_s)
        assert reading is not None
        return reading

    def read_unless(self, stop: Callable[[], bool], window_s: float = DEFAULT_WINDOW_S) -> LoadReading | None:
        """Read the load, but give up with None as soon as `stop` says so; it is asked every few milliseconds."""
        import psutil

        checked_window(window_s)
        rounds = max(1, round(window_s / _ROUND_S))
        # The window ends quietly too: probing has stirred the scheduler, which would show in a request soon after it.
        quiet_s, probed_s = (1 - _PROBED_PART) * window_s / (rounds + 1), _PROBED_PART * window_s / rounds
        begun_s, begun_cpu_s = time.perf_counter(), time.process_time()
        cpus = allowed_cpus()
        quiet = _Quiet(cpus)
        probes: list[tuple[ThreadProbe, ...]] = []
        copies: list[float] = []
        for _ in range(rounds):
            if not quiet.wait(quiet_s, stop):
                return None
            probes.append(self._probes.spin(probed_s))
            if self._memory is not None and len(copies) < 3:
                copies.append(self._memory.copy_s())
        if not quiet.wait(quiet_s, stop):
            return None
        window_s = time.perf_counter() - begun_s
        probed_cpu_s = sum(copies) + sum(probe.cpu_s for one in probes for probe in one)
        memory = psutil.virtual_memory()
        by_thread = [
            min(1.0, sum(probe.cpu_s for probe in one) / sum(probe.wall_s for probe in one))
            for one in zip(*probes, strict=True)
        ]
        return LoadReading(
            ended_s=time.time(),
            window_s=window_s,
            processors=len(cpus),
            system_cpu_share=quiet.share("system"),
            cpu_utilisation=quiet.share("busy"),
            others_processors=quiet.others_processors(),
            own_processors=max(0.0, time.process_time() - begun_cpu_s - probed_cpu_s) / window_s,
            runnable=quiet.runnable(),
            free_memory_bytes=int(memory.available),
            memory_usage=min(1.0, max(0.0, memory.percent / 100)),
            threads=self._threads,
            cpu_share=sum(by_thread) / len(by_thread),
            lowest_cpu_share=min(by_thread),
            chunk_s=min(probe.chunk_s for one in probes for probe in one),
            memory_copy_s=min(copies) if copies else None,
            memory_probe_bytes=self._memory_probe_bytes,
        )


def read_load(
    window_s: float = DEFAULT_WINDOW_S, threads: int = 1, *, memory_probe_bytes: int = DEFAULT_MEMORY_PROBE_BYTES
) -> LoadReading:
    """Read the load of this machine now, as an inference with `threads` threads of this process would meet it.

    The probes inherit the processors that this process may run on. The window ends before this returns.

    Parameters
    ----------
    window_s : float
        About how long to look, 0.05 s or more.
    threads : int
        How many threads the inference uses, 1 or more.
    memory_probe_bytes : int
        The size of the memory probe; 0 leaves it out.

    Returns
    -------
    LoadReading

    Raises
    ------
    InputError
        A value out of range.
    """
    checked_window(window_s)
    with LoadReader(threads, memory_probe_bytes=memory_probe_bytes) as reader:
        return reader.read(window_s)


def allowed_cpus() -> tuple[int, ...]:
    """Return the processors that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return tuple(sorted(os.sched_getaffinity(0)))
    return tuple(range(os.cpu_count() or 1))


def checked_threads(threads: object) -> int:
    """Return a number of threads, or refuse it."""
    if isinstance(threads, bool) or not isinstance(threads, int) or threads < 1:
        raise InputError(f"the number of threads is {threads!r}; give a whole number, 1 or more")
    return threads


def checked_window(window_s: object) -> float:
    """Return the length of a window in seconds, or refuse it."""
    legal = isinstance(window_s, int | float) and not isinstance(window_s, bool)
    if not legal or not _SHORTEST_WINDOW_S <= window_s <= 60:  # type: ignore[operator]
        raise InputError(f"the window is {window_s!r} s; give {_SHORTEST_WINDOW_S} to 60 seconds")
    return float(window_s)  # type: ignore[arg-type]


class _Quiet:
    """The system's counters over the stretches in which this process sleeps."""

    def __init__(self, cpus: Iterable[int]) -> None:
        self._cpus = tuple(cpus)
        self._seconds = {"busy": 0.0, "system": 0.0, "total": 0.0, "own": 0.0}
        self._samples: list[float] = []

    def wait(self, duration_s: float, stop: Callable[[], bool]) -> bool:
        """Sleep for `duration_s`, and count; return whether that was not stopped."""
        before = self._counters()
        end_s = time.perf_counter() + duration_s
        while (left_s := end_s - time.perf_counter()) > 0:
            if stop():
                return False
            time.sleep(min(left_s, _SAMPLE_S))
            sample = _other_runnable_threads()
            if sample is not None:
                self._samples.append(sample)
        for name, after in self._counters().items():
            self._seconds[name] += after - before[name]
        return not stop()

    def share(self, name: str) -> float:
        """Return the share of the time, 0..1; the counters move in steps, so none may have moved at all."""
        total_s = self._seconds["total"]
        return min(1.0, max(0.0, self._seconds[name] / total_s)) if total_s > 0 else 0.0

    def others_processors(self) -> float:
        """Return how many processors other processes kept busy."""
        total_s = self._seconds["total"]
        if total_s <= 0:
            return 0.0
        others = (self._seconds["busy"] - self._seconds["own"]) / total_s
        return len(self._cpus) * min(1.0, max(0.0, others))

    def runnable(self) -> float | None:
        """Return the mean number of other threads that wanted a processor."""
        return sum(self._samples) / len(self._samples) if self._samples else None

    def _counters(self) -> dict[str, float]:
        import psutil

        each = psutil.cpu_times(percpu=True)
        # Processors that are switched off have no row; then all rows are taken, as the whole machine's.
        rows = [each[cpu] for cpu in self._cpus] if self._cpus[-1] < len(each) else each
        idle_s = sum(row.idle + getattr(row, "iowait", 0.0) for row in rows)
        # Guest time is already within user time.
        guest_s = sum(getattr(row, "guest", 0.0) + getattr(row, "guest_nice", 0.0) for row in rows)
        total_s = sum(sum(row) for row in rows) - guest_s
        system_s = sum(row.system + getattr(row, "irq", 0.0) + getattr(row, "softirq", 0.0) for row in rows)
        return {"busy": total_s - idle_s, "system": system_s, "total": total_s, "own": time.process_time()}


def _other_runnable_threads() -> float | None:
    """Return how many threads besides the asking one are running or want to; None where the system does not tell."""
    try:
        return max(0.0, float(_LOADAVG.read_text(encoding="ascii").split()[3].split("/")[0]) - 1)
    except (OSError, ValueError, IndexError):
        return None


def _share(reader: FieldReader, name: str, *, positive: bool = False) -> float:
    value = reader.positive(name) if positive else reader.non_negative(name)
    if value > 1:
        reader.refuse(name, value, "a share, at most 1")
    return value
