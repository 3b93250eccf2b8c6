"""The choice among a plan's placements for the next request: microseconds, with a little reluctance to switch."""

from collections.abc import Sequence
from dataclasses import dataclass

from partition.adaptation.conditions import Conditions
from partition.plan import Plan
from partition.plan_records import PlanChoice

DEFAULT_HYSTERESIS = 0.02
"""By which part a placement has to be faster than the one in use before it takes its place."""
MESSAGE_BYTES = 512
"""What a message has besides its tensors: HTTP headers and the JSON that describes them."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What one placement's latency is made of."""

    device_s: float
    server_s: float
    uplink_bytes: int
    downlink_bytes: int
    n_messages: int

    @classmethod
    def of(cls, choice: PlanChoice) -> "Terms":
        """Add up a placement."""
        sizes = {
            direction: sum(one.size_bytes + MESSAGE_BYTES for one in choice.messages if one.direction == direction)
            for direction in ("uplink", "downlink")
        }
        return cls(
            sum(stage.compute_s for stage in choice.stages if stage.machine == "device"),
            sum(stage.compute_s for stage in choice.stages if stage.machine == "server"),
            sizes["uplink"],
            sizes["downlink"],
            len(choice.messages),
        )

    def latency_s(self, now: Conditions) -> float:
        """Return the latency under some conditions, in seconds."""
        return (
            self.device_s * now.device_slowdown
            + self.server_s * now.server_slowdown
            + self.uplink_bytes * 8.0 / now.uplink_bits_per_s
            + self.downlink_bytes * 8.0 / now.downlink_bits_per_s
            + self.n_messages * now.rtt_s / 2
        )

    def bottleneck_s(self, now: Conditions) -> float:
        """Return the time of the busiest of device, server, uplink and downlink: what bounds the rate of a stream."""
        return max(
            self.device_s * now.device_slowdown,
            self.server_s * now.server_slowdown,
            self.uplink_bytes * 8.0 / now.uplink_bits_per_s,
            self.downlink_bytes * 8.0 / now.downlink_bits_per_s,
        )


class Planner:
    """Chooses among the placements of a plan.

    Parameters
    ----------
    choices : sequence of PlanChoice
        At least one.
    hysteresis : float
        0 or more; 0.02 switches for a gain of 2 %.

    Notes
    -----
    Linear in the number of placements, some 0.3 microseconds each.
    """

    def __init__(self, choices: Sequence[PlanChoice], *, hysteresis: float = DEFAULT_HYSTERESIS) -> None:
        self.terms = tuple(Terms.of(choice) for choice in choices)
        self._hysteresis = hysteresis
        self.current: int | None = None
        """The number of the placement in use; None before the first choice."""

    def choose(self, now: Conditions, *, allowed: Sequence[int] | None = None) -> int:
        """Return the number of the placement for the next request.

        Parameters
        ----------
        now : Conditions
        allowed : sequence of int, optional
            Among which to choose; all if not given.
        """
        numbers = range(len(self.terms)) if allowed is None else allowed
        predicted = {number: self.terms[number].latency_s(now) for number in numbers}
        best = min(predicted, key=predicted.__getitem__)
        kept = self.current
        if kept in predicted and predicted[kept] <= predicted[best] * (1 + self._hysteresis):
            return kept
        self.current = best
        return best

    def choose_for_rate(self, now: Conditions, requests_per_s: float) -> int:
        """Return the placement of least latency among those that keep up with a rate, else that of most throughput.

        As DADS does: latency while the load is light, throughput while it is heavy.
        """
        keeping_up = [number for number, one in enumerate(self.terms) if one.bottleneck_s(now) * requests_per_s <= 1.0]
        if keeping_up:
            return self.choose(now, allowed=keeping_up)
        self.current = min(range(len(self.terms)), key=lambda number: self.terms[number].bottleneck_s(now))
        return self.current


def choices_of(plan: Plan) -> tuple[PlanChoice, ...]:
    """Return the placements of a plan; of one that does not adapt, its only one."""
    return plan.choices or (PlanChoice(plan.stages, plan.messages),)
