"""The parts of a plan that are open on this machine."""

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from graph_io import runtime_reason
from partition.errors import InputError
from partition.plan import Plan
from partition.runtime.session import Array, InputTypes, Step, open_step
from partition.v2.input_codec import InputCodecs

Runner = Callable[[Callable[[], None]], None]
"""Runs something once, at once or as slowly as another machine would."""


def at_once(work: Callable[[], None]) -> None:
    """Run something as it is."""
    work()


class LocalParts:
    """Some parts of a saved plan, open and ready to run.

    Parameters
    ----------
    plan : Plan
        As loaded from its folder.
    numbers : iterable of int
        Which parts.
    threads : int or None
    on_device : callable
        Runs what is computed here.
    codecs : InputCodecs, optional
        Of inputs that travel encoded.
    """

    def __init__(
        self,
        plan: Plan,
        numbers: Iterable[int],
        *,
        threads: int | None,
        on_device: Runner = at_once,
        codecs: InputCodecs | None = None,
    ) -> None:
        from partition.runtime.parts import open_numbered_parts

        sessions = open_numbered_parts(plan, numbers, threads=threads)
        self._steps: dict[int, Step] = {
            number: open_step(plan.parts[number].file, session) for number, session in sessions.items()
        }
        self._input_types = InputTypes(plan.model, sessions.values())
        self._on_device = on_device
        self._codecs = codecs or InputCodecs(plan, None)
        self._closed = False

    def close(self) -> None:
        """Release the runtime's sessions."""
        # In this order: a run that sees it open has the steps.
        self._closed = True
        self._steps = {}

    def check(self, inputs: Mapping[str, Array]) -> None:
        """Refuse inputs that the model does not take, and any where the parts are closed."""
        if self._closed:
            raise InputError("this session is closed; open another with plan.session()")
        self._input_types.check(inputs)

    def encode(self, inputs: Mapping[str, Array]) -> tuple[dict[str, bytes], float]:
        """Encode inputs as they travel; return them and the seconds that it took."""
        found: dict[str, bytes] = {}

        def work() -> None:
            found.update({name: self._codecs.encode(name, value) for name, value in inputs.items()})

        begun_s = time.perf_counter()
        self._on_device(work)
        return found, time.perf_counter() - begun_s

    def run(
        self, numbers: Iterable[int], values: dict[str, Any], *, encoded: Mapping[str, bytes] | None = None
    ) -> float:
        """Run parts one after the other.

        Parameters
        ----------
        numbers : iterable of int
        values : dict of str to numpy.ndarray
            What they read; what they write is added.
        encoded : mapping of str to bytes, optional
            Inputs in whose place they read what the decoder makes of these, as the server would.

        Returns
        -------
        float
            Seconds that it took.
        """
        opened = self._steps
        if self._closed:
            raise InputError("this session is closed; open another with plan.session()")
        steps = [opened[number] for number in numbers]
        if not steps:
            return 0.0

        def work() -> None:
            decoded = self._decoded(encoded or {})
            for step in steps:
                own = values | decoded if decoded else values
                try:
                    produced = step.run({name: own[name] for name in step.inputs})
                except InputError:
                    raise
                except Exception as error:  # the runtime's exceptions share no public base class
                    raise InputError(f"{step.name} failed in onnxruntime: {runtime_reason(error)}") from error
                values.update(zip(step.outputs, produced, strict=True))

        begun_s = time.perf_counter()
        self._on_device(work)
        return time.perf_counter() - begun_s

    def _decoded(self, encoded: Mapping[str, bytes]) -> dict[str, Array]:
        found = {name: self._codecs.decode(name, content) for name, content in encoded.items()}
        for name, value in found.items():
            self._input_types.check_one(name, value, what="decoded input")
        return found
