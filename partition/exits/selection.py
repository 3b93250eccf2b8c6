"""Policies compared: the undominated ones by expected latency and accuracy, and the one that was asked for.

A policy is a way to use the exits, a plan of its rest and a threshold for each exit on the device. Its expected latency
is the sum over the exits of share times latency; the plan of the rest has no part in the shares. So every policy is
looked at: each way with each plan of the front of its rest and each combination of thresholds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from partition.exits.thresholds import Reals, ThresholdRules

# Accuracies, and latencies in seconds, are compared to so many digits: sums leave errors behind them.
_DIGITS = 12


@dataclass(frozen=True, slots=True, eq=False)
class Option:
    """A way with one plan of its rest, under all combinations of thresholds.

    Attributes
    ----------
    way, plan : int
        Numbers of the way and of the plan among those of its rest.
    stop_s : (n_exits + 1,) float64
        Latency to the answer of each exit of the device, and last to that of the final one.
    rules : ThresholdRules
    accuracy : (n_rules,) float64
        With this plan; changed where a policy is measured as a whole.
    floor : (n_rules,) bool
        Where that is a bound from below.
    """

    way: int
    plan: int
    stop_s: Reals
    rules: ThresholdRules
    accuracy: Reals
    floor: "np.ndarray[tuple[int], np.dtype[np.bool_]]"

    @property
    def slowest_s(self) -> float:
        """Latency where no exit of the device answers."""
        return float(self.stop_s[-1])

    @property
    def expected_s(self) -> Reals:
        """Latency of each combination, weighted by the shares."""
        found: Reals = self.rules.shares @ self.stop_s
        return found


class Policy(NamedTuple):
    """An option, by its number, and one of its combinations of thresholds."""

    option: int
    rule: int


def option_of(
    way: int, plan: int, stop_s: Sequence[float], rules: ThresholdRules, *, loss: float = 0.0, measured: bool = True
) -> Option:
    """Price all combinations of thresholds on a way with one plan.

    Parameters
    ----------
    way, plan : int
    stop_s : sequence of float
    rules : ThresholdRules
    loss : float
        The share of all inputs whose answer by the rest codecs may change; what the rest gets right bounds it, too.
    measured : bool
        Whether this loss was measured with all codecs of the plan at once.
    """
    lost = np.minimum(loss, rules.rest_accuracy)
    floor = np.broadcast_to(np.array(loss > 0 or not measured), lost.shape).copy()
    return Option(way, plan, np.array(stop_s, np.float64), rules, rules.accuracy - lost, floor)


def within(options: Sequence[Option], limit_s: float | None) -> list[int]:
    """Return the numbers of the options whose slowest way takes no longer than a limit."""
    return [number for number, one in enumerate(options) if limit_s is None or one.slowest_s <= limit_s]


def tradeoff(options: Sequence[Option], numbers: Sequence[int]) -> list[Policy]:
    """Return the undominated policies of some options, the fastest first.

    Ties go to the policy with fewer exits on the device.
    """
    kept: list[tuple[float, float, int, Policy]] = []
    for number in numbers:
        one = options[number]
        expected_s, accuracy = np.round(one.expected_s, _DIGITS), np.round(one.accuracy, _DIGITS)
        n_exits = one.rules.thresholds.shape[1]
        kept += [
            (float(expected_s[rule]), float(accuracy[rule]), n_exits, Policy(number, rule))
            for rule in _undominated(expected_s, accuracy)
        ]
    kept.sort(key=lambda one: (one[0], -one[1], one[2], one[3]))
    front: list[Policy] = []
    best = -1.0
    for _, accuracy_of_one, _, policy in kept:
        if accuracy_of_one > best:
            front.append(policy)
            best = accuracy_of_one
    return front


def _undominated(expected_s: Reals, accuracy: Reals) -> list[int]:
    order = np.lexsort((-accuracy, expected_s))
    highest = np.maximum.accumulate(accuracy[order])
    rises = np.concatenate([[True], highest[1:] > highest[:-1]])
    return [int(one) for one in order[rises]]


def choose(options: Sequence[Option], front: Sequence[Policy], accuracy: float | None) -> Policy | None:
    """Return the fastest policy of a front with an accuracy, or the most accurate one; None if there is none."""
    if accuracy is None:
        return front[-1] if front else None
    return next((one for one in front if _reaches(options, one, accuracy)), None)


def _reaches(options: Sequence[Option], policy: Policy, accuracy: float) -> bool:
    return bool(np.round(options[policy.option].accuracy[policy.rule], _DIGITS) >= np.round(accuracy, _DIGITS))
