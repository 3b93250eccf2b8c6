"""Powers and energies from a meter: what a device draws while it idles and while it works, and the joules of one run.

First nothing is done for a while, then the work is repeated for as long. Each of the two windows is split into slices,
and the spread says how much they differ. What a counter does between two moves is not seen, so one that moves rarely
says little about a short window. A window therefore has to hold `LEAST_MOVES` moves of the counter, which keeps this
error at about 2 percent; a shorter one is refused with the length that would do.

A meter sees what it is connected to: other programs that run meanwhile, a screen or a charging battery count as well.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from partition.energy.figures import non_negative, positive
from partition.energy.meter import EnergyMeter
from partition.errors import InputError
from partition.latency.machines import Power

LEAST_MOVES = 50
"""How often a counter has to move within a window."""
N_SLICES = 5
"""Into how many slices a window is split."""


@dataclass(frozen=True, slots=True)
class PowerMeasurement:
    """What a device drew while it idled and while it worked.

    Attributes
    ----------
    meter : str
        The meter's name.
    idle_watts, compute_watts : float
        Joules by seconds of the whole window.
    idle_spread_watts, compute_spread_watts : float
        Standard deviation of the slices.
    idle_s, compute_s : float
        How long the windows were.
    n_runs : int
        How often the work was run within the second one.
    """

    meter: str
    idle_watts: float
    idle_spread_watts: float
    compute_watts: float
    compute_spread_watts: float
    idle_s: float
    compute_s: float
    n_runs: int

    def power(self, *, send_watts: float, receive_watts: float) -> Power:
        """Return the four powers, with those for sending and receiving as given, in watts of the whole device.

        Where a radio gives these two, use `partition.energy.radio.power_over_radio` with the two measured powers.
        """
        return Power(
            compute_watts=positive(self.compute_watts, "compute_watts"),
            idle_watts=non_negative(self.idle_watts, "idle_watts"),
            send_watts=non_negative(send_watts, "send_watts"),
            receive_watts=non_negative(receive_watts, "receive_watts"),
        )

    def __str__(self) -> str:
        idle = f"idle {self.idle_watts:.4g} W (spread {self.idle_spread_watts:.2g} W over {self.idle_s:.3g} s)"
        compute = f"compute {self.compute_watts:.4g} W (spread {self.compute_spread_watts:.2g} W"
        return f"{self.meter}: {idle}, {compute} over {self.compute_s:.3g} s, {self.n_runs} runs)"


@dataclass(frozen=True, slots=True)
class EnergyMeasurement:
    """What one run of some work costs.

    Attributes
    ----------
    meter : str
        The meter's name.
    joules : float
        Of the whole device for one run.
    joules_above_idle : float
        The same without what it would have drawn idle in that time. Noise can push it below 0.
    spread_joules : float
        Standard deviation of the joules of one run over the slices.
    idle_watts : float
        What was subtracted, in watts.
    run_s : float
        Seconds of one run.
    n_runs : int
        How many runs were counted.
    """

    meter: str
    joules: float
    joules_above_idle: float
    spread_joules: float
    idle_watts: float
    run_s: float
    n_runs: int

    def __str__(self) -> str:
        return (
            f"{self.meter}: {self.joules:.4g} J a run (spread {self.spread_joules:.2g} J), "
            f"{self.joules_above_idle:.4g} J above idle at {self.idle_watts:.4g} W; "
            f"{self.n_runs} runs of {self.run_s:.4g} s"
        )


def measure_power(meter: EnergyMeter, busy: Callable[[], object], *, seconds: float = 10.0) -> PowerMeasurement:
    """Measure what a device draws while it idles and while it runs some work again and again.

    Parameters
    ----------
    meter : EnergyMeter
        Counts the joules of the device that this runs on.
    busy : callable
        The work, such as one inference; it is run once before the measurement, and what it returns is dropped.
    seconds : float
        How long each of the two windows is at least. The second one ends with a run.

    Returns
    -------
    PowerMeasurement

    Raises
    ------
    InputError
        The counter does not move, falls, or moves too rarely for such a window; the work draws no more than idling.
    """
    seconds = _checked(meter, busy, seconds)
    idle = _idle(meter, seconds)
    work = _busy(meter, busy, seconds)
    if work.watts <= idle.watts:
        raise InputError(
            f"meter '{meter.name}' saw {work.watts:.4g} W while working and {idle.watts:.4g} W while idle; check that "
            "it measures the device that does the work, and that nothing else runs there while it idles"
        )
    return PowerMeasurement(
        meter=meter.name,
        idle_watts=idle.watts,
        idle_spread_watts=_deviation([one.joules / one.seconds for one in idle.slices]),
        compute_watts=work.watts,
        compute_spread_watts=_deviation([one.joules / one.seconds for one in work.slices]),
        idle_s=idle.seconds,
        compute_s=work.seconds,
        n_runs=work.n_runs,
    )


def measure_energy(meter: EnergyMeter, run: Callable[[], object], *, seconds: float = 10.0) -> EnergyMeasurement:
    """Measure the joules of one run, with what the device draws idle and without.

    Parameters
    ----------
    meter : EnergyMeter
        Counts the joules of the device that this runs on.
    run : callable
        The work; it is run once before the measurement, and what it returns is dropped.
    seconds : float
        For how long it is repeated at least, after as long a time of idling.

    Returns
    -------
    EnergyMeasurement

    Raises
    ------
    InputError
        The counter does not move, falls, or moves too rarely for such a window.
    """
    seconds = _checked(meter, run, seconds)
    idle = _idle(meter, seconds)
    work = _busy(meter, run, seconds)
    return EnergyMeasurement(
        meter=meter.name,
        joules=work.joules / work.n_runs,
        joules_above_idle=(work.joules - idle.watts * work.seconds) / work.n_runs,
        spread_joules=_deviation([one.joules / one.n_runs for one in work.slices]),
        idle_watts=idle.watts,
        run_s=work.seconds / work.n_runs,
        n_runs=work.n_runs,
    )


@dataclass(frozen=True, slots=True)
class _Slice:
    seconds: float
    joules: float
    n_runs: int


@dataclass(frozen=True, slots=True)
class _Window:
    slices: tuple[_Slice, ...]

    @property
    def seconds(self) -> float:
        return math.fsum(one.seconds for one in self.slices)

    @property
    def joules(self) -> float:
        return math.fsum(one.joules for one in self.slices)

    @property
    def n_runs(self) -> int:
        return sum(one.n_runs for one in self.slices)

    @property
    def watts(self) -> float:
        return self.joules / self.seconds


def _checked(meter: object, work: object, seconds: object) -> float:
    if not isinstance(meter, EnergyMeter):
        raise InputError(f"meter is {meter!r}; give an object with a 'name' and a method 'joules', such as RaplMeter()")
    if not callable(work):
        raise InputError(f"the work to measure is {work!r}; give a function without arguments")
    return positive(seconds, "seconds", unit="seconds")


def _idle(meter: EnergyMeter, seconds: float) -> _Window:
    """Measure a window in which nothing is done, and count how often the counter moves in it."""
    # Looking four times as often as it has to move misses no move that matters, and hardly loads the device.
    pause_s = seconds / (4 * LEAST_MOVES)
    slices = []
    moves = 0
    for _ in range(N_SLICES):
        start_s, start = _read(meter)
        now_s, now = start_s, start
        while now_s - start_s < seconds / N_SLICES:
            time.sleep(pause_s)
            now_s, count = _read(meter, now)
            moves += count > now
            now = count
        slices.append(_Slice(now_s - start_s, now - start, 0))
    window = _Window(tuple(slices))
    if moves < LEAST_MOVES:
        told = "did not move" if moves == 0 else f"moved only {moves} times"
        enough = (
            f"give about {math.ceil(1.2 * window.seconds * LEAST_MOVES / moves)} seconds, or use" if moves else "use"
        )
        raise InputError(
            f"the counter of meter '{meter.name}' {told} within {window.seconds:.3g} s of idling, and a window has to "
            f"hold {LEAST_MOVES} moves; {enough} a meter that counts finer"
        )
    return window


def _busy(meter: EnergyMeter, work: Callable[[], object], seconds: float) -> _Window:
    """Measure a window in which the work is repeated; each slice holds whole runs."""
    work()
    slices = []
    for _ in range(N_SLICES):
        start_s, start = _read(meter)
        now_s, now = start_s, start
        n_runs = 0
        while n_runs == 0 or now_s - start_s < seconds / N_SLICES:
            work()
            n_runs += 1
            now_s, now = _read(meter, now)
        if now == start:
            raise InputError(
                f"the counter of meter '{meter.name}' stood still for {now_s - start_s:.3g} s while the work ran; "
                "check that the meter still measures, or give more seconds"
            )
        slices.append(_Slice(now_s - start_s, now - start, n_runs))
    return _Window(tuple(slices))


def _read(meter: EnergyMeter, last: float = -math.inf) -> tuple[float, float]:
    """Return the time of a reading and its joules, which may not be less than the last ones."""
    joules = meter.joules()
    at_s = time.perf_counter()
    if not math.isfinite(joules) or joules < last:
        raise InputError(
            f"the counter of meter '{meter.name}' went from {last!r} to {joules!r} J; joules() has to return a finite "
            "number that never falls"
        )
    return at_s, joules


def _deviation(values: list[float]) -> float:
    mean = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))
