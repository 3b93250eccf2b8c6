"""A session that stops at a confident exit on the device, and sends only what no exit was confident of."""

import itertools
import math
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from graph_io import runtime_reason
from partition.closing import Closing
from partition.errors import InputError
from partition.exits.confidence import confidence_of
from partition.exits.policy import ExitHead, ExitPolicy
from partition.exits.policy_folder import open_heads
from partition.plan_records import ModelInfo
from partition.remote.local_parts import Runner, at_once
from partition.remote.records import RunRecord
from partition.runtime.session import Array, InputTypes, SplitSession, Step, open_step
from partition.units import check_threads

if TYPE_CHECKING:
    from partition.remote.options import RemoteOptions
    from partition.remote.session import RemoteSession
    from partition.v2.input_codec import InputCodec

_KEPT_RECORDS = 10_000


@dataclass(frozen=True, slots=True, eq=False)
class ExitResult:
    """An answer.

    Attributes
    ----------
    exit : str
        Which exit answers.
    output : numpy.ndarray
        Its answer.
    outputs : dict of str to numpy.ndarray
        The outputs of all exits that were computed, by the exits' names; this one's last.
    confidences : tuple of float
        Of the exits that were decided on the device, in order.
    stopped : bool
        Whether an exit of the device answers; then nothing was sent.
    latency_s : float
        Wall time.
    """

    exit: str
    output: Array
    outputs: dict[str, Array]
    confidences: tuple[float, ...]
    stopped: bool
    latency_s: float

    def __repr__(self) -> str:
        where = "on the device" if self.stopped else "by the rest"
        return f"<ExitResult {self.exit!r} {where}, {self.latency_s * 1e3:.4g} ms>"


@dataclass(frozen=True, slots=True)
class ExitRun:
    """One request.

    Attributes
    ----------
    number : int
        Counted from 0 in a session.
    started_s : float
        Seconds since 1970 (UTC).
    exit : str
    stopped : bool
    confidences : tuple of float
    predicted_s, taken_s : float
    rest : RunRecord or None
        What the rest took, with a server; None where it was not run, or runs in this process. Where several requests
        run at once it may be that of another.
    """

    number: int
    started_s: float
    exit: str
    stopped: bool
    confidences: tuple[float, ...]
    predicted_s: float
    taken_s: float
    rest: RunRecord | None = field(default=None, hash=False)

    def to_json(self) -> dict[str, Any]:
        """Return the record as a plain object."""
        return asdict(self)


class ExitSession(Closing):
    """The heads of a policy and its rest, open and ready to run; use it as a context manager.

    Parameters
    ----------
    policy : ExitPolicy
    rest : SplitSession or RemoteSession
        Of the policy's plan; closed with this session.
    threads : int, optional
        Of each head's session.
    on_device : callable
        Runs what the device computes; an emulated device waits here. The rest has its own.

    Examples
    --------
    >>> with policy.session(server="http://server:8000") as session:      # doctest: +SKIP
    ...     result = session.run({"data": image})
    ...     print(result.exit, result.stopped)
    """

    def __init__(
        self,
        policy: ExitPolicy,
        rest: "SplitSession | RemoteSession",
        *,
        threads: int | None = None,
        on_device: Runner = at_once,
    ) -> None:
        sessions = open_heads(policy, threads=threads)
        self._policy = policy
        self._rest = rest
        self._on_device = on_device
        self._steps = [open_step(head.part.file, session) for head, session in zip(policy.heads, sessions, strict=True)]
        dims = policy.plan.model.dims
        told = ModelInfo(policy.name, None, "", "layer", dims, 0, policy.inputs, ())
        self._input_types = InputTypes(told, sessions)
        self._lock = threading.Lock()
        self._closed = False
        self._numbers = itertools.count()
        self._records: deque[ExitRun] = deque(maxlen=_KEPT_RECORDS)

    def __repr__(self) -> str:
        return f"<ExitSession of {self._policy.name!r}, {len(self._steps)} exits on the device, then {self._rest!r}>"

    def close(self) -> None:
        """Release the sessions of the heads and close the rest; the session cannot run afterwards."""
        self._closed = True
        self._steps = []
        self._rest.close()

    @property
    def records(self) -> tuple[ExitRun, ...]:
        """The last 10,000 requests, oldest first."""
        with self._lock:
            return tuple(self._records)

    @property
    def last(self) -> ExitRun | None:
        """The record of the last request; None before the first."""
        with self._lock:
            return self._records[-1] if self._records else None

    @property
    def rest(self) -> "SplitSession | RemoteSession":
        """The session of the rest."""
        return self._rest

    def run(self, inputs: Mapping[str, Array]) -> ExitResult:
        """Run one inference: head by head until an exit is confident, else the rest.

        Parameters
        ----------
        inputs : mapping of str to numpy.ndarray
            Every input by its name, of the models' own type; nothing is cast.

        Returns
        -------
        ExitResult

        Raises
        ------
        InputError
            A missing or unknown input, another type or shape than the models', an exit whose output holds NaN, or a
            closed session.
        RemoteError
            The server failed, and the device does not hold its parts.
        """
        steps = self._steps
        if self._closed:
            raise InputError("this session is closed; open another with policy.session()")
        self._input_types.check(inputs)
        policy = self._policy
        started_s, begun_s = time.time(), time.perf_counter()
        values: dict[str, Any] = dict(inputs)
        outputs: dict[str, Array] = {}
        confidences: list[float] = []
        for number, (head, step) in enumerate(zip(policy.heads, steps, strict=True)):
            found, confidence = self._run_head(head, step, values)
            outputs[head.exit] = found[head.output]
            confidences.append(confidence)
            if policy.joint:
                values.update(found)
            if confidence >= head.threshold:
                return self._answer(outputs, confidences, number, started_s, begun_s)
        answers = self._rest.run({name: values[name] for name in policy.plan.model.input_names})
        outputs[policy.final] = answers[policy.final_output]
        return self._answer(outputs, confidences, None, started_s, begun_s)

    def _run_head(self, head: ExitHead, step: Step, values: Mapping[str, Any]) -> tuple[dict[str, Any], float]:
        """Run a head; return what it puts out, and how confident its exit is."""
        found: dict[str, Any] = {}
        confidence = math.nan

        def work() -> None:
            nonlocal confidence
            try:
                produced = step.run({name: values[name] for name in step.inputs})
            except Exception as error:  # the runtime's exceptions share no public base class
                raise InputError(f"{step.name} failed in onnxruntime: {runtime_reason(error)}") from error
            found.update(zip(step.outputs, produced, strict=True))
            confidence = confidence_of(found[head.output], self._policy.confidence)

        self._on_device(work)
        if math.isnan(confidence):
            raise InputError(
                f"exit '{head.exit}': its output '{head.output}' holds NaN or infinity, of which no confidence can be "
                "computed; check the input"
            )
        return found, confidence

    def _answer(
        self,
        outputs: dict[str, Array],
        confidences: list[float],
        stop: int | None,
        started_s: float,
        begun_s: float,
    ) -> ExitResult:
        exit_name, output = next(reversed(outputs.items()))
        taken_s = time.perf_counter() - begun_s
        predicted_s = self._policy.stop_latency_s[-1 if stop is None else stop]
        told = None if stop is not None or isinstance(self._rest, SplitSession) else self._rest.last
        with self._lock:
            run = ExitRun(
                next(self._numbers),
                started_s,
                exit_name,
                stop is not None,
                tuple(confidences),
                predicted_s,
                taken_s,
                told,
            )
            self._records.append(run)
        return ExitResult(exit_name, output, outputs, tuple(confidences), stop is not None, taken_s)


def open_exit_session(
    policy: ExitPolicy,
    *,
    server: str | None,
    token: str | None = None,
    ca_file: str | None = None,
    options: "RemoteOptions | None" = None,
    codecs: "Mapping[str, InputCodec] | None" = None,
    threads: int | None = None,
) -> ExitSession:
    """Open a policy's heads and its rest; see `ExitPolicy.session`."""
    if threads is not None:
        check_threads(threads)
    rest: SplitSession | RemoteSession
    if server is None:
        if token is not None or ca_file is not None or options is not None:
            raise InputError("token, ca_file and options belong to a server; give its URL, or leave them out")
        rest = policy.plan.session(codecs=codecs, threads=threads)
    else:
        rest = policy.plan.session(
            server=server, token=token, ca_file=ca_file, options=options, codecs=codecs, threads=threads
        )
    try:
        return ExitSession(policy, rest, threads=threads)
    except BaseException:
        rest.close()
        raise
