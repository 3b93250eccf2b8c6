"""Calibration of the load model: requests beside neighbours that are started for the purpose, each after a reading."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from partition.errors import InputError
from partition.load.model import LoadModel, LoadObservation, fit_load_model
from partition.load.neighbours import neighbours
from partition.load.reading import (
    DEFAULT_MEMORY_PROBE_BYTES,
    LoadReader,
    LoadReading,
    allowed_cpus,
    checked_threads,
)

DEFAULT_SECONDS = 20.0
"""For one thread, whose wait the probe tells."""
SEVERAL_THREADS_SECONDS = 120.0
"""For more threads: where the system puts them beside a neighbour changes every few requests, and the fit is of many.

With 18 s two calibrations of one machine gave waits that lay 30 % apart.
"""
QUICK_SECONDS = 4.5
FEWEST_SECONDS = 3.0
_READING_S = 0.2
# A request comes a while after the one before; its thread has slept.
_GAP_S = 0.01
_UNDISTURBED_SHARE = 0.9
_WARM_UPS = 2


@dataclass(frozen=True, slots=True)
class LoadWorkload:
    """Work to calibrate with: one call is one request; and the share of its idle time that memory bounds, 0..1."""

    run: Callable[[], object]
    memory_share: float


@dataclass(frozen=True, slots=True)
class LoadScenario:
    """Neighbours to run beside the work: their kind and number."""

    kind: str
    count: int

    @property
    def name(self) -> str:
        """What a person reads."""
        return "idle" if self.count == 0 else f"{self.count} {self.kind}"


@dataclass(frozen=True, slots=True)
class LoadRow:
    """One request of the calibration: where, what, and the observation."""

    scenario: str
    workload: str
    observation: LoadObservation


@dataclass(frozen=True, slots=True)
class LoadAccuracy:
    """Median relative error of the wall time over the requests of one scenario, with and without the load model.

    These requests are also those that the model was fitted to.
    """

    scenario: str
    requests: int
    wall_over_idle: float
    error: float
    error_without: float


@dataclass(frozen=True, slots=True, repr=False)
class LoadCalibration:
    """A fitted load model, the requests it was fitted to, and remarks a reader should know."""

    model: LoadModel
    rows: tuple[LoadRow, ...]
    notes: tuple[str, ...]

    def __repr__(self) -> str:
        return f"<LoadCalibration, {len(self.rows)} requests, {self.model.threads} threads>"

    def __str__(self) -> str:
        head = f"{'scenario':<12}{'requests':>9}{'wall/idle':>11}{'error':>8}{'without':>9}"
        lines = [
            f"{one.scenario:<12}{one.requests:>9}{one.wall_over_idle:>11.2f}{one.error:>8.1%}{one.error_without:>9.1%}"
            for one in self.accuracy()
        ]
        return "\n".join([head, *lines])

    def accuracy(self) -> tuple[LoadAccuracy, ...]:
        """Return how well the model tells the wall time of its own requests, by scenario."""
        return tuple(
            accuracy_of(self.model, name, [row.observation for row in self.rows if row.scenario == name])
            for name in dict.fromkeys(row.scenario for row in self.rows)
        )


def accuracy_of(model: LoadModel, scenario: str, observations: Sequence[LoadObservation]) -> LoadAccuracy:
    """Compare predicted with measured wall time over the requests of one scenario; at least one request."""
    if not observations:
        raise InputError(f"the scenario {scenario!r} has no requests; give one or more")
    predicted = [model.wall_s(one.reading, one.idle_s, memory_share=one.memory_share) for one in observations]
    return LoadAccuracy(
        scenario=scenario,
        requests=len(observations),
        wall_over_idle=statistics.median(one.wall_s / one.idle_s for one in observations),
        error=statistics.median(
            abs(value / one.wall_s - 1) for value, one in zip(predicted, observations, strict=True)
        ),
        error_without=statistics.median(abs(one.idle_s / one.wall_s - 1) for one in observations),
    )


def default_scenarios(processors: int) -> tuple[LoadScenario, ...]:
    """Return idle, several numbers of busy neighbours up to one more than there are processors, and one of memory."""
    counts = sorted({0, 1, processors // 2, processors, processors + 1})
    return (*(LoadScenario("busy", count) for count in counts), LoadScenario("memory", 1))


def default_workloads() -> dict[str, LoadWorkload]:
    """Return NumPy work for one thread: a short and a longer one in the caches, and one that streams memory."""
    import numpy as np

    generator = np.random.default_rng(0)
    # Matrices so small that the linear algebra library does not hand them to threads of its own.
    small = generator.standard_normal((64, 32, 32), dtype=np.float32)
    large = generator.standard_normal(DEFAULT_MEMORY_PROBE_BYTES // 8, dtype=np.float32)
    target = np.empty_like(large)
    return {
        "compute, short": LoadWorkload(_repeated(lambda: np.matmul(small, small), 0.008), 0.0),
        "compute": LoadWorkload(_repeated(lambda: np.matmul(small, small), 0.04), 0.0),
        "memory": LoadWorkload(_repeated(lambda: np.add(large, 1.0, out=target), 0.04), 1.0),
    }


def calibrate_load(
    workloads: Mapping[str, LoadWorkload] | None = None,
    *,
    threads: int = 1,
    scenarios: Sequence[LoadScenario] | None = None,
    seconds: float = DEFAULT_SECONDS,
    memory_probe_bytes: int = DEFAULT_MEMORY_PROBE_BYTES,
    progress: Callable[[str, float], None] | None = None,
) -> LoadCalibration:
    """Fit a `LoadModel` on load that this function makes itself.

    In each scenario the neighbours run on the processors that this process may run on, and requests of all workloads
    take turns, each after a reading that has ended. Keep the machine free of other work.

    Parameters
    ----------
    workloads : mapping of str to LoadWorkload, or None
        What to run, by name; None for `default_workloads`, which is for one thread. Take requests of 5 to 100 ms.
    threads : int
        How many threads a request uses, 1 or more.
    scenarios : sequence of LoadScenario, or None
        The first one is without neighbours; None for `default_scenarios`.
    seconds : float
        About how long to take, 3 or more; each scenario takes at least one request of each workload.
    memory_probe_bytes : int
        The size of the memory probe; 0 leaves it out.
    progress : callable or None
        Called before each scenario with its name and the share that is done, 0..1.

    Returns
    -------
    LoadCalibration

    Raises
    ------
    InputError
        A value out of range; a machine that other work keeps busy, where `threads` is above 1.
    """
    checked_threads(threads)
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not FEWEST_SECONDS <= seconds <= 3600:
        raise InputError(f"the calibration is given {seconds!r} s; give {FEWEST_SECONDS:g} to 3600 seconds")
    if workloads is None:
        if threads > 1:
            raise InputError(
                f"the default workloads of a load calibration are for 1 thread, not {threads}; "
                f"pass workloads= that use {threads} threads, as the inference will"
            )
        workloads = default_workloads()
    if not workloads:
        raise InputError("a load calibration is given no workloads; give one or more, or None for the default ones")
    chosen = default_scenarios(len(allowed_cpus())) if scenarios is None else tuple(scenarios)
    if not chosen or chosen[0].count != 0:
        raise InputError("a load calibration starts without neighbours; let the first scenario have the count 0")
    for workload in workloads.values():
        for _ in range(_WARM_UPS):
            workload.run()

    taken: list[tuple[str, str, float, float, LoadReading]] = []
    begun_s = time.perf_counter()
    with LoadReader(threads, memory_probe_bytes=memory_probe_bytes) as reader:
        for i, scenario in enumerate(chosen):
            if progress is not None:
                progress(scenario.name, i / len(chosen))
            end_s = begun_s + seconds * (i + 1) / len(chosen)
            with neighbours(scenario.count, scenario.kind):
                while True:
                    for name, workload in workloads.items():
                        reading = reader.read(_READING_S)
                        time.sleep(_GAP_S)
                        wall_s, cpu_s = _timed(workload.run)
                        taken.append((scenario.name, name, wall_s, cpu_s, reading))
                    if time.perf_counter() >= end_s:
                        break
    idle = [one for one in taken if one[0] == chosen[0].name]
    readings = [one[-1] for one in idle]
    share = statistics.median(reading.cpu_share for reading in readings)
    notes = _notes(share, threads)
    # With one thread the CPU time is the idle wall time, whatever else ran; with several their sum says nothing of it.
    idle_s = {
        name: statistics.median(one[3] if threads == 1 else one[2] for one in idle if one[1] == name)
        for name in workloads
    }
    rows = tuple(
        LoadRow(scenario, name, LoadObservation(reading, idle_s[name], wall_s, workloads[name].memory_share))
        for scenario, name, wall_s, _, reading in taken
    )
    copies = [reading.memory_copy_s for reading in readings if reading.memory_copy_s is not None]
    model = fit_load_model(
        [row.observation for row in rows],
        threads=threads,
        idle_chunk_s=statistics.median(reading.chunk_s for reading in readings),
        idle_memory_copy_s=statistics.median(copies) if copies else None,
        memory_probe_bytes=memory_probe_bytes,
    )
    return LoadCalibration(model, rows, notes)


def _notes(share: float, threads: int) -> tuple[str, ...]:
    """Return what to remark about the idle scenario; refuse it where nothing can be learnt from it."""
    if share >= _UNDISTURBED_SHARE:
        return ()
    remark = f"other work left a thread {share:.0%} of a processor while no neighbour ran"
    if threads > 1:
        raise InputError(f"the machine is not idle: {remark}; stop that work and calibrate again")
    return (f"The machine was not idle during the calibration: {remark}.",)


def _timed(run: Callable[[], object]) -> tuple[float, float]:
    """Return wall and CPU seconds of one request."""
    begun_s, begun_cpu_s = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - begun_s, time.process_time() - begun_cpu_s


def _repeated(step: Callable[[], object], duration_s: float) -> Callable[[], None]:
    """Return work of about `duration_s` CPU seconds: as many steps as take that long now."""
    step()
    steps, begun_s = 0, time.process_time()
    while time.process_time() - begun_s < duration_s:
        step()
        steps += 1

    def run() -> None:
        for _ in range(steps):
            step()

    return run
