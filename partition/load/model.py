"""The load model: how much longer a request takes because of the load that a reading, or a user, speaks of.

With ``w`` the seconds that a request takes on the idle machine, ``m`` the share of them that memory bounds, and the
reading's probes (their CPU share ``s``, the CPU time of a chunk and of a memory copy over their idle values, less 1,
``x`` and ``y``)::

    busy = w * (1 + processor_gain * (1 - m) * x + memory_gain * m * y)
    wall = busy + wait_gain * (1 / s - 1) * max(0, busy - head_start_s)

The first line is work that goes slower, the second waiting for a processor: for each second of its own a thread waits
``1/s - 1`` seconds, but a request begins with a fresh time slice. On average that saves it half a slice of waiting,
which a short request notices. With one thread ``wait_gain`` is 1, and not fitted: readings are noisy, which would only
bend it. With more, a thread that waits holds up those that need its result, which the fit puts into that number. Where
others leave a processor free the threads of one request tend to crowd on it, and what spins there takes the time of
what computes: ``crowded_gain`` then stands in for ``wait_gain``, in between in proportion to the free processor.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

from partition.errors import InputError
from partition.files import FieldReader
from partition.load.reading import LoadReading, allowed_cpus, checked_threads, read_load

Load = float | LoadReading
"""The share of the processor time that others take, 0 or more and below 1; or what was read."""

NOISE = 0.05
"""Probes that are slower than on the idle machine by no more than this count as equally fast: so far do they vary."""

_GAIN_RANGE = (0.0, 10.0)
_SLOWDOWN_GAIN_RANGE = (0.0, 1.5)
_HEAD_START_RANGE_S = (0.0, 0.005)
# Without evidence a gain is 1 and the head start half of a common slice; worth as much as one observation in ten.
_PRIOR_GAIN = 1.0
_PRIOR_HEAD_START_S = 0.002
_PRIOR_WEIGHT = 0.1


@dataclass(frozen=True, slots=True)
class LoadModel:
    """Predicts wall time under load; see this module's first lines for the formula.

    Parameters
    ----------
    threads : int
        The number of threads of the inferences that it speaks of; a reading has to be of as many.
    wait_gain : float
        Seconds of waiting for each second that the probe would have waited, with all processors taken by others.
    crowded_gain : float
        The same where others leave one processor free or more.
    head_start_s : float
        Seconds that a request computes before it has to share.
    processor_gain, memory_gain : float
        How much of the slow-down of the processor probe, and of the memory probe, reaches work of that kind.
    idle_chunk_s : float
        CPU seconds of a probe's chunk on the idle machine.
    idle_memory_copy_s : float or None
        CPU seconds of a memory probe on the idle machine; None where it was not calibrated.
    memory_probe_bytes : int
        The size of that probe, 0 without it.
    """

    threads: int
    wait_gain: float
    crowded_gain: float
    head_start_s: float
    processor_gain: float
    memory_gain: float
    idle_chunk_s: float
    idle_memory_copy_s: float | None
    memory_probe_bytes: int

    def wall_s(self, load: Load, idle_s: float, *, memory_share: float = 0.0) -> float:
        """Predict the wall time of a request.

        Parameters
        ----------
        load : float or LoadReading
            What others take: see `parse_load`.
        idle_s : float
            Seconds that the request takes on the idle machine, 0 or more.
        memory_share : float
            The share of them that memory bounds, 0..1.

        Returns
        -------
        float
            Seconds; `idle_s` where there is no load.

        Raises
        ------
        InputError
            A value out of range, or a reading that another number of threads or another memory probe took.
        """
        _check(idle_s, memory_share)
        busy_s = idle_s * self._slowdown(load, memory_share)
        return busy_s + self._wait_gain(load) * _waiting(load) * max(0.0, busy_s - self.head_start_s)

    def factor(self, load: Load, *, idle_s: float | None = None, memory_share: float = 0.0) -> float:
        """Return wall time over idle time, for a request of `idle_s` seconds; None for a long one.

        Raises
        ------
        InputError
            As `wall_s`; also an `idle_s` of 0.
        """
        if idle_s is not None:
            _check(idle_s, memory_share, positive=True)
            return self.wall_s(load, idle_s, memory_share=memory_share) / idle_s
        _check(0.0, memory_share)
        return self._slowdown(load, memory_share) * (1 + self._wait_gain(load) * _waiting(load))

    def _wait_gain(self, load: Load) -> float:
        """Return the gain between the two; a number from a user is a share of every processor."""
        if not isinstance(load, LoadReading):
            return self.wait_gain
        free = min(1.0, max(0.0, load.processors - load.others_processors))
        return self.wait_gain + free * (self.crowded_gain - self.wait_gain)

    def _slowdown(self, load: Load, memory_share: float) -> float:
        """Return the factor by which CPU time grows; a number from a user speaks of waiting alone."""
        if not isinstance(load, LoadReading):
            return 1.0
        if load.threads != self.threads:
            raise InputError(
                f"the load was read with {load.threads} threads, the load model is for {self.threads}; "
                f"read it with threads={self.threads}"
            )
        processor = _excess(load.chunk_s / self.idle_chunk_s)
        memory = 0.0
        if self.idle_memory_copy_s is not None and load.memory_copy_s is not None:
            if load.memory_probe_bytes != self.memory_probe_bytes:
                raise InputError(
                    f"the load was read with a memory probe of {load.memory_probe_bytes} bytes, the load model is for "
                    f"{self.memory_probe_bytes}; read it with memory_probe_bytes={self.memory_probe_bytes}"
                )
            memory = _excess(load.memory_copy_s / self.idle_memory_copy_s)
        elif self.idle_memory_copy_s is not None and memory_share > 0:
            raise InputError(
                "the load was read without a memory probe, which work with a memory share needs; "
                f"read it with memory_probe_bytes={self.memory_probe_bytes}, or pass memory_share=0"
            )
        return 1 + self.processor_gain * (1 - memory_share) * processor + self.memory_gain * memory_share * memory

    def to_json(self) -> dict[str, Any]:
        """Return the model as a JSON object."""
        return asdict(self)

    @classmethod
    def from_json(cls, fields: FieldReader | Mapping[str, Any], source: str) -> Self:
        """Make a model from its JSON object.

        Parameters
        ----------
        fields : FieldReader or mapping
            The object.
        source : str
            Where it is from, for the messages.

        Raises
        ------
        InputError
            A field that is missing, unknown, of the wrong type or out of range.
        """
        reader = fields if isinstance(fields, FieldReader) else FieldReader(fields, source)
        model = cls(
            threads=reader.count("threads"),
            wait_gain=reader.non_negative("wait_gain"),
            crowded_gain=reader.non_negative("crowded_gain"),
            head_start_s=reader.non_negative("head_start_s"),
            processor_gain=reader.non_negative("processor_gain"),
            memory_gain=reader.non_negative("memory_gain"),
            idle_chunk_s=reader.positive("idle_chunk_s"),
            idle_memory_copy_s=reader.optional_positive("idle_memory_copy_s"),
            memory_probe_bytes=reader.whole("memory_probe_bytes"),
        )
        if (model.idle_memory_copy_s is None) != (model.memory_probe_bytes == 0):
            reader.refuse("memory_probe_bytes", model.memory_probe_bytes, "0 exactly where idle_memory_copy_s is null")
        reader.finish()
        return model


@dataclass(frozen=True, slots=True)
class LoadObservation:
    """A request under load: the reading before it, its idle and its wall time, and what of it memory bounds."""

    reading: LoadReading
    idle_s: float
    wall_s: float
    memory_share: float


def fit_load_model(
    observations: Sequence[LoadObservation],
    *,
    threads: int,
    idle_chunk_s: float,
    idle_memory_copy_s: float | None,
    memory_probe_bytes: int,
) -> LoadModel:
    """Fit a `LoadModel` by robust least squares of the logarithm of the wall time.

    With one thread `wait_gain` and `crowded_gain` are 1; the other coefficients are fitted. One that the observations
    say nothing of stays near what it is in theory: 1 for a gain, 2 ms for the head start.

    Parameters
    ----------
    observations : sequence of LoadObservation
        At least one; all with readings of `threads` threads.
    threads, idle_chunk_s, idle_memory_copy_s, memory_probe_bytes
        As in `LoadModel`.

    Raises
    ------
    InputError
        No observations, or one that the model cannot take.
    """
    import numpy as np
    from scipy.optimize import least_squares

    if not observations:
        raise InputError("a load model is fitted on no observations; give one or more")
    for one in observations:
        _check(one.wall_s, one.memory_share, positive=True)
        _check(one.idle_s, one.memory_share, positive=True)

    checked_threads(threads)

    def model_of(unknowns: Sequence[float]) -> LoadModel:
        wait, crowded, head_start, processor, memory = (float(value) for value in unknowns)
        wait, crowded = (_PRIOR_GAIN, _PRIOR_GAIN) if threads == 1 else (wait, crowded)
        return LoadModel(
            threads=threads,
            wait_gain=wait,
            crowded_gain=crowded,
            head_start_s=head_start * _PRIOR_HEAD_START_S,
            processor_gain=processor,
            memory_gain=memory,
            idle_chunk_s=idle_chunk_s,
            idle_memory_copy_s=idle_memory_copy_s,
            memory_probe_bytes=memory_probe_bytes,
        )

    def residuals(unknowns: Any) -> Any:
        model = model_of(unknowns)
        errors = [
            math.log(model.wall_s(one.reading, one.idle_s, memory_share=one.memory_share) / one.wall_s)
            for one in observations
        ]
        return np.array(errors + [_PRIOR_WEIGHT * (value - _PRIOR_GAIN) for value in unknowns])

    longest = _HEAD_START_RANGE_S[1] / _PRIOR_HEAD_START_S
    lower = [_GAIN_RANGE[0], _GAIN_RANGE[0], _HEAD_START_RANGE_S[0], _SLOWDOWN_GAIN_RANGE[0], _SLOWDOWN_GAIN_RANGE[0]]
    upper = [_GAIN_RANGE[1], _GAIN_RANGE[1], longest, _SLOWDOWN_GAIN_RANGE[1], _SLOWDOWN_GAIN_RANGE[1]]
    # Absolute residuals beyond 0.1: a request that met another load than the one read must not pull the rest.
    found = least_squares(residuals, [_PRIOR_GAIN] * 5, bounds=(lower, upper), loss="soft_l1", f_scale=0.1)
    return model_of(found.x.tolist())


def parse_load(value: object, *, name: str = "load", here: bool = True, threads: int = 1) -> Load:
    """Take a load as a user gives it at planning time.

    Parameters
    ----------
    value : float, str or LoadReading
        The share of the processor time that others take, 0 or more and below 1, also as a text (``"0.3"``, ``"30%"``);
        a reading; or ``"now"``, which reads the load of this machine.
    name : str
        What it is called, for the messages.
    here : bool
        Whether it is the load of the machine that this runs on; ``"now"`` is legal only then.
    threads : int
        How many threads the inference uses, for ``"now"``.

    Returns
    -------
    float or LoadReading

    Raises
    ------
    InputError
        Anything else.
    """
    legal = "give the share that others take, 0 or more and below 1 ('0.3' or '30%')"
    legal += ", a reading, or 'now'" if here else ", or a reading that was taken there"
    if isinstance(value, LoadReading):
        return value
    if isinstance(value, str):
        if value == "now":
            if not here:
                raise InputError(f"{name} is 'now', but only the machine that this runs on can be read here; {legal}")
            available = len(allowed_cpus())
            if threads > available:
                raise InputError(
                    f"{name} is 'now', but this process may use {available} processors and the inference {threads} "
                    "threads, which would wait for each other: read it on the machine itself, or give a share"
                )
            return read_load(threads=threads)
        digits, scale = (value[:-1], 100.0) if value.endswith("%") else (value, 1.0)
        if not digits.replace(".", "", 1).isdecimal() or not digits.isascii():
            raise InputError(f"{name} is {value!r}; {legal}")
        share = float(digits) / scale
    elif isinstance(value, int | float) and not isinstance(value, bool):
        share = float(value)
    else:
        raise InputError(f"{name} is {value!r}; {legal}")
    if not 0 <= share < 1:
        raise InputError(f"{name} is {value!r}; {legal}")
    return share


def _waiting(load: Load) -> float:
    """Return the seconds of waiting for each second of computing."""
    if isinstance(load, LoadReading):
        return 1 / load.cpu_share - 1
    if isinstance(load, bool) or not isinstance(load, int | float) or not 0 <= load < 1:
        raise InputError(f"the load is {load!r}; give a share, 0 or more and below 1, or a reading")
    return load / (1 - load)


def _excess(ratio: float) -> float:
    """Return how much slower a probe was than on the idle machine, 0 within the noise."""
    return max(0.0, ratio - 1) if ratio > 1 + NOISE else 0.0


def _check(seconds: float, memory_share: float, *, positive: bool = False) -> None:
    if not math.isfinite(seconds) or seconds < 0 or (positive and seconds == 0):
        raise InputError(f"a request of {seconds!r} s; give a finite number {'above 0' if positive else '0 or more'}")
    if not 0 <= memory_share <= 1:
        raise InputError(f"memory_share is {memory_share!r}; give a share, 0 to 1")
