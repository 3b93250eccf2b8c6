"""A policy on held-out images: all its answers, and what some requests take on an emulated device and link.

The device is slow because it does all its work `SLOWDOWN` times. Waiting instead would multiply the time that this
machine takes to wake up, which is as long as the first layers take: heads would seem slower than they are.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from benchmarks.codecs.setting import EmulatedSession, on_one_core
from benchmarks.exits.setting import Digits, Image
from benchmarks.runtime.setting import SLOWDOWN
from partition import Plan
from partition.exits.confidence import DEFAULT_CONFIDENCE, confidence_of
from partition.exits.policy import ExitHead, ExitPolicy
from partition.exits.policy_folder import open_heads
from partition.exits.session import ExitSession
from partition.runtime.session import SplitSession, Step, open_step


@dataclass(frozen=True, slots=True, eq=False)
class Chosen:
    """What answers requests: a policy, or one exit with its plan.

    Attributes
    ----------
    final, output : str
        The exit that answers where none of the device does, and its tensor.
    plan : Plan
        Of the rest; of all, without a policy.
    accuracy, standard_error : float
        On the calibration set.
    expected_s, slowest_s : float
        Predicted.
    policy : ExitPolicy or None
    """

    final: str
    output: str
    plan: Plan
    accuracy: float
    standard_error: float
    expected_s: float
    slowest_s: float
    policy: ExitPolicy | None = None

    @classmethod
    def of(cls, policy: ExitPolicy) -> "Chosen":
        """Return a policy as a choice."""
        error = policy.accuracy_standard_error
        assert error is not None
        return cls(
            policy.final,
            policy.final_output,
            policy.plan,
            policy.accuracy,
            error,
            policy.expected_latency_s,
            policy.slowest_latency_s,
            policy,
        )

    @property
    def exits(self) -> str:
        """The exits for a person, with their thresholds."""
        heads = self.policy.heads if self.policy is not None else ()
        return ", ".join((*(f"{head.exit} from {head.threshold:.2f}" for head in heads), self.final))

    @property
    def sent(self) -> str:
        """What the rest sends, for a person."""
        up = [one for one in self.plan.messages if one.direction == "uplink"]
        coded = {name: codec for one in up for name, codec in one.coded.items()}
        names = dict.fromkeys(name for one in up for name in one.tensors)
        return ", ".join(f"{name} as {coded[name]}" if name in coded else name for name in names) or "-"

    @property
    def key(self) -> tuple[str, str]:
        """What the answers depend on."""
        thresholds = self.policy.thresholds if self.policy is not None else ()
        return f"{self.exits} {thresholds}", self.sent


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """Which exit answered each held-out image, and whether that was right."""

    exits: NDArray[Any]
    right: NDArray[np.bool_]

    @property
    def accuracy(self) -> float:
        """The share of right answers."""
        return float(self.right.mean())

    def deviation(self, chosen: Chosen) -> float:
        """Return how far the accuracy is above the predicted one, in standard errors of both together."""
        own = self.accuracy * (1 - self.accuracy) / len(self.right)
        return (self.accuracy - chosen.accuracy) / math.sqrt(max(own + chosen.standard_error**2, 1e-12))


@dataclass(frozen=True, slots=True, eq=False)
class Timed:
    """Seconds of requests on the emulated device and link.

    Attributes
    ----------
    latency_s : (n_timed,) float64
        Of the first held-out images.
    mean_s : float
        Mean over all held-out images: of each exit the timed ones, weighted by how many it answers.
    wrong : int
        Answers here that are other than those of the session in one process.
    """

    latency_s: NDArray[np.float64]
    mean_s: float
    wrong: int

    def within(self, deadline_s: float) -> float:
        """Return the share of requests that met a deadline."""
        return float(np.mean(self.latency_s <= deadline_s))


def on_slow_device(work: Callable[[], None]) -> None:
    """Do something as often as the device takes longer; it has to come to the same each time."""
    for _ in range(round(SLOWDOWN)):
        work()


class EmulatedPolicy:
    """A choice whose device is slow and whose messages cross an emulated link."""

    def __init__(self, chosen: Chosen) -> None:
        self._chosen = chosen
        policy = chosen.policy
        self._heads: list[tuple[ExitHead, Step]] = []
        if policy is not None:
            sessions = open_heads(policy, threads=1)
            self._heads = [
                (head, open_step(head.part.file, session)) for head, session in zip(policy.heads, sessions, strict=True)
            ]
        self._rest = EmulatedSession(chosen.plan, on_slow_device)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._rest.close()

    def answer(self, image: Image) -> tuple[str, int]:
        """Return which exit answers, and its class."""
        values: dict[str, Any] = dict(image)
        for head, step in self._heads:
            confidence = 0.0

            def work(head: ExitHead = head, step: Step = step) -> None:
                nonlocal confidence
                values.update(zip(step.outputs, step.run({name: values[name] for name in step.inputs}), strict=True))
                confidence = confidence_of(values[head.output], DEFAULT_CONFIDENCE)

            on_slow_device(work)
            if confidence >= head.threshold:
                return head.exit, int(values[head.output].argmax())
        found = self._rest.run({name: values[name] for name in self._chosen.plan.model.input_names})
        return self._chosen.final, int(found[self._chosen.output].argmax())


_answers: dict[tuple[int, tuple[str, str]], tuple[Answers, NDArray[Any]]] = {}


def answers_of(chosen: Chosen, digits: Digits) -> Answers:
    """Answer all held-out images in this process."""
    return _all_answers(chosen, digits)[0]


def _all_answers(chosen: Chosen, digits: Digits) -> tuple[Answers, NDArray[Any]]:
    key = (id(digits), chosen.key)
    if key not in _answers:
        opened = chosen.plan.session(threads=1) if chosen.policy is None else chosen.policy.session(threads=1)
        with opened as session:
            found = [_answer(session, chosen, image) for image in digits.images]
        classes = np.array([one for _, one in found])
        _answers[key] = (Answers(np.array([name for name, _ in found]), classes == digits.labels), classes)
    return _answers[key]


def timed(chosen: Chosen, digits: Digits, count: int) -> Timed:
    """Time the first held-out images, and one more of each exit that answers none of these."""
    answers, classes = _all_answers(chosen, digits)
    numbers = list(range(min(count, len(digits.images))))
    numbers += [
        int(np.argmax(answers.exits == name)) for name in np.unique(answers.exits) if name not in answers.exits[numbers]
    ]
    taken, wrong = [], 0
    with EmulatedPolicy(chosen) as emulated, on_one_core():
        # All ways out once, to warm up.
        for number in {str(answers.exits[one]): one for one in numbers}.values():
            emulated.answer(digits.images[number])
        for number in numbers:
            begun_s = time.perf_counter()
            found = emulated.answer(digits.images[number])
            taken.append(time.perf_counter() - begun_s)
            wrong += found != (answers.exits[number], classes[number])
    latency_s = np.array(taken)
    mean_s = sum(
        float(np.mean(answers.exits == name)) * float(latency_s[answers.exits[numbers] == name].mean())
        for name in np.unique(answers.exits)
    )
    return Timed(latency_s[:count], mean_s, wrong)


def _answer(session: ExitSession | SplitSession, chosen: Chosen, image: Image) -> tuple[str, int]:
    """Return which exit answers, and its class."""
    if isinstance(session, ExitSession):
        found = session.run(image)
        return found.exit, int(found.output.argmax())
    return chosen.final, int(session.run(image)[chosen.output].argmax())
