"""The interface of an energy meter, and the meter that a user makes of a function that returns watts.

A meter is anything with a name and a count of joules that never falls: `partition.energy.rapl.RaplMeter`, a smart plug,
a shunt on the supply, a battery's gauge. `partition.energy.measure` turns its readings into the powers that a machine
file holds.
"""

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self, runtime_checkable

from partition.energy.figures import non_negative, positive
from partition.errors import InputError


@runtime_checkable
class EnergyMeter(Protocol):
    """What counts the joules of a device."""

    @property
    def name(self) -> str:
        """What is measured, and by what."""
        ...

    def joules(self) -> float:
        """Return the joules since some fixed moment: never less than before."""
        ...


class SampledMeter:
    """A meter made of a function that returns the present power; the samples are joined by straight lines.

    Use it in a ``with`` block: a thread of its own asks for samples from its start to its end.

    Parameters
    ----------
    watts : callable
        Returns the power of the whole device in watts, finite and 0 or more. It is called by one thread only.
    name : str
        What is measured, and by what.
    interval_s : float
        Seconds from one sample to the next; longer if `watts` itself takes longer. What the power does in between is
        not seen.

    Raises
    ------
    InputError
        An argument that cannot be used. `joules` raises it outside of the ``with`` block, and if `watts` failed or
        returned something else than a power.

    Examples
    --------
    >>> with SampledMeter(lambda: 5.0, name="a plug that always says 5 W", interval_s=0.001) as meter:
    ...     meter.joules() >= 0
    True
    """

    def __init__(self, watts: Callable[[], float], *, name: str, interval_s: float = 0.1) -> None:
        if not callable(watts):
            raise InputError(f"watts is {watts!r}; give a function without arguments that returns watts")
        if not isinstance(name, str) or not name.strip():
            raise InputError(f"the meter's name is {name!r}, expected a text that is not empty")
        self._watts = watts
        self._name = name
        self._interval_s = positive(interval_s, "interval_s", unit="seconds")
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._joules = 0.0
        self._n_samples = 0
        self._failure: Exception | None = None

    @property
    def name(self) -> str:
        """What is measured, and by what."""
        return self._name

    @property
    def n_samples(self) -> int:
        """How many samples were taken."""
        with self._lock:
            return self._n_samples

    def joules(self) -> float:
        """Return the joules from the first sample to the last one."""
        with self._lock:
            if self._failure is not None:
                raise InputError(
                    f"meter '{self._name}' failed after {self._n_samples} samples: {self._failure}; "
                    "correct the function that returns watts"
                ) from self._failure
            if self._thread is None or self._stop.is_set():
                raise InputError(f"meter '{self._name}' is not running; read it inside of 'with meter:'")
            return self._joules

    def __enter__(self) -> Self:
        if self._thread is not None:
            raise InputError(f"meter '{self._name}' was started before; make a new SampledMeter")
        self._thread = threading.Thread(target=self._run, name=f"samples of {self._name}", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        last: tuple[float, float] | None = None
        due_s = time.monotonic()
        while not self._stop.is_set():
            try:
                before_s = time.monotonic()
                watts = non_negative(self._watts(), "what it returned")
                at_s = (before_s + time.monotonic()) / 2
            except Exception as error:  # the user's code: whatever it raises is told by joules()
                with self._lock:
                    self._failure = error
                return
            with self._lock:
                if last is not None:
                    self._joules += (at_s - last[0]) * (watts + last[1]) / 2
                self._n_samples += 1
            last = (at_s, watts)
            # A slow sample shifts the ones after it: catching up would ask the instrument too fast.
            due_s = max(due_s + self._interval_s, time.monotonic())
            self._stop.wait(due_s - time.monotonic())

    def __repr__(self) -> str:
        return f"<SampledMeter {self._name!r}, every {self._interval_s:g} s>"
