"""Run a model that is cut by length: each input passes through the stages that are best for its own length."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from graph_io import runtime_reason
from partition.closing import Closing
from partition.errors import InputError
from partition.routing.length_plan import LengthPlan
from partition.routing.open_dims import length_of
from partition.runtime.parts import open_parts
from partition.runtime.session import InputTypes, open_step
from partition.units import check_threads

if TYPE_CHECKING:
    from partition.emulation.device import SlowDevice
    from partition.emulation.link import EmulatedLink

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class LengthRun:
    """How one input was run.

    Attributes
    ----------
    length : int
    extrapolated : bool
        Whether it is outside of the planned range.
    choice : int
        The number of the placement that it took.
    cut : tuple of str
        The tensors that went up.
    stage_s : tuple of float
        Wall time of each stage.
    message_bytes : tuple of int
        Size of each message between two stages.
    taken_s : float
        Wall time of everything.
    """

    length: int
    extrapolated: bool
    choice: int
    cut: tuple[str, ...]
    stage_s: tuple[float, ...]
    message_bytes: tuple[int, ...]
    taken_s: float


class LengthSession(Closing):
    """All parts of a model that is cut by length, open in this process; use it as a context manager.

    Attributes
    ----------
    last : LengthRun or None
        How the last input was run.

    Examples
    --------
    >>> with plan.session() as session:                     # doctest: +SKIP
    ...     outputs = session.run({"words": words})          # cut for len(words)
    """

    def __init__(
        self,
        plan: LengthPlan,
        *,
        threads: int | None,
        extrapolate: bool,
        device: "SlowDevice | None",
        link: "EmulatedLink | None",
    ) -> None:
        self._plan = plan
        self._extrapolate = extrapolate
        self._device = device
        self._link = link
        sessions = open_parts(plan.parts, threads=threads)
        self._steps = [open_step(part.file, one) for part, one in zip(plan.parts.parts, sessions, strict=True)]
        self._input_types = InputTypes(plan.parts.model, sessions)
        self.last: LengthRun | None = None

    def __repr__(self) -> str:
        return f"<LengthSession of {self._plan.parts.model.name!r}, {len(self._steps)} parts>"

    def close(self) -> None:
        """Release the runtime's sessions; the session cannot run afterwards."""
        self._steps = []

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run the model on one input, cut for its length.

        Parameters
        ----------
        inputs : mapping of str to numpy.ndarray
            Every model input by its name, of the model's own type.

        Returns
        -------
        dict of str to numpy.ndarray
            The model's outputs by name, in the model's order.

        Raises
        ------
        InputError
            A missing or unknown input, another type or shape than the model's; a length of 0, outside of the planned
            range, or on which the inputs disagree; a closed session.
        """
        if not self._steps:
            raise InputError("this session is closed; open another with plan.session()")
        self._input_types.check(inputs)
        plan = self._plan
        length = length_of(inputs, plan.axes, plan.dim)
        own = plan.range_of(length, extrapolate=self._extrapolate)
        choice = plan.choices[own.choice]
        values: dict[str, Any] = dict(inputs)
        stage_s, message_bytes = [], []
        start = time.perf_counter()
        for number, stage in enumerate(choice.stages):
            before = time.perf_counter()
            run = self._runner(stage.parts, values)
            if self._device is not None and stage.machine == "device":
                self._device.run(run)
            else:
                run()
            stage_s.append(time.perf_counter() - before)
            if number < len(choice.messages):
                size = sum(_size_bytes(values[name]) for name in choice.messages[number])
                message_bytes.append(size)
                if self._link is not None:
                    self._link.deliver("uplink" if stage.machine == "device" else "downlink", size)
        taken_s = time.perf_counter() - start
        outside = not plan.least <= length <= plan.most
        self.last = LengthRun(length, outside, own.choice, choice.cut, tuple(stage_s), tuple(message_bytes), taken_s)
        return {name: values[name] for name in plan.parts.model.output_names}

    def _runner(self, parts: tuple[int, ...], values: dict[str, Any]) -> Callable[[], None]:
        """Return a function that runs some parts and puts what they compute among the values."""

        def run() -> None:
            for number in parts:
                step = self._steps[number]
                try:
                    produced = step.run({name: values[name] for name in step.inputs})
                except Exception as error:  # the runtime's exceptions share no public base class
                    raise InputError(f"{step.name} failed in onnxruntime: {runtime_reason(error)}") from error
                values.update(zip(step.outputs, produced, strict=True))

        return run


def _size_bytes(value: Any) -> int:
    if not isinstance(value, np.ndarray):
        return int(value.tensor_size_in_bytes())
    if value.dtype.kind in "OU":
        return sum(len(str(one).encode()) + 4 for one in value.ravel().tolist())
    return int(value.nbytes)


def open_length_session(
    plan: LengthPlan,
    *,
    threads: int | None,
    extrapolate: bool,
    device: "SlowDevice | None",
    link: "EmulatedLink | None",
) -> LengthSession:
    """Open the parts; see `LengthPlan.session`."""
    if threads is not None:
        check_threads(threads)
    return LengthSession(plan, threads=threads, extrapolate=extrapolate, device=device, link=link)
