"""What link and machines do now, from the time stamps of real requests; old news counts less.

A request's time from its first byte out to the first byte of the answer is the round trip, its bytes over the uplink's
rate, and what the server says that it took; the rest of the answer is its bytes over the downlink's rate. So the
estimated rates and round trips are those that requests see, software included.
"""

import math
import statistics
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from partition.adaptation.conditions import SLOWEST, Conditions

# A transfer that took less than this tells nothing of a rate: it is lost in what systems do besides.
_SHORTEST_TRANSFER_S = 0.002
# The least round trip of so many seconds counts: queues only add to it.
_RTT_WINDOW_S = 30.0
_RTT_KEPT = 64
# Messages up to this tell the round trip: they are on their way for little longer than that.
_SHORT_MESSAGE_BYTES = 2048
# How far the newest sample pulls an estimate; the remainder stays with what was known.
_RATE_WEIGHT = 0.9
_SLOWDOWN_WEIGHT = 0.4
_SLOWDOWN_KEPT = 3
_SLOWDOWN_FRESH_S, _SLOWDOWN_HALF_LIFE_S = 2.0, 5.0
_LOWEST_BITS_PER_S, _HIGHEST_BITS_PER_S = 1e3, 1e12
# A machine's times this short are mostly the clock's and the scheduler's.
_SHORTEST_COMPUTE_S = 0.0002


@dataclass(frozen=True, slots=True)
class Observation:
    """One exchange with the server, as an estimator wants it.

    Attributes
    ----------
    ended_s : float
        By the same clock as everything given to the estimator.
    until_first_byte_s, receive_s : float
        See `partition.remote.client.Exchange`.
    sent_bytes, received_bytes : int
    server_s : float
        What the server took between the last byte in and the first byte out, as it says, or as was planned.
    cold : bool
        On a new connection: the network's own caution is in it, so it tells nothing.
    """

    ended_s: float
    until_first_byte_s: float
    receive_s: float
    sent_bytes: int
    received_bytes: int
    server_s: float
    cold: bool


class LinkEstimator:
    """Estimates rates and round trip of a link.

    Parameters
    ----------
    planned : Conditions
        What holds until something else was seen.
    """

    def __init__(self, planned: Conditions) -> None:
        self._planned = planned
        self._uplink_s_per_byte = 8.0 / planned.uplink_bits_per_s
        self._downlink_s_per_byte: float | None = None
        self._rtt_s = planned.rtt_s
        self._rtts: deque[tuple[float, float]] = deque(maxlen=_RTT_KEPT)
        self.newest_rtt_s = -math.inf
        """When a short message last told the round trip."""
        self.newest_s = -math.inf
        """When the link was last seen to work."""

    @property
    def rtt_s(self) -> float:
        """The round trip of a message without content, as requests see it."""
        return self._rtt_s

    @property
    def uplink_bits_per_s(self) -> float:
        """The rate at which requests go out."""
        return 8.0 / self._uplink_s_per_byte

    @property
    def downlink_bits_per_s(self) -> float:
        """The rate at which answers come in; until one was long enough to tell, in proportion to the uplink."""
        if self._downlink_s_per_byte is None:
            return self.uplink_bits_per_s * self._planned.downlink_bits_per_s / self._planned.uplink_bits_per_s
        return 8.0 / self._downlink_s_per_byte

    def observe(self, one: Observation) -> None:
        """Take in one exchange."""
        self.newest_s = max(self.newest_s, one.ended_s)
        if one.cold:
            return
        waited_s = max(0.0, one.until_first_byte_s - one.server_s)
        if one.sent_bytes <= _SHORT_MESSAGE_BYTES:
            self._see_rtt(one.ended_s, waited_s)
        # The round trip is in every message, so it is never longer than one.
        self._rtt_s = min(self._rtt_s, waited_s)
        moved_s = waited_s - self._rtt_s
        least_s = max(_SHORTEST_TRANSFER_S, 0.1 * self.rtt_s)
        if moved_s >= least_s:
            self._uplink_s_per_byte = _pulled(self._uplink_s_per_byte, moved_s / one.sent_bytes)
        else:
            # Too short to tell a rate, it still tells a least one.
            self._uplink_s_per_byte = min(self._uplink_s_per_byte, least_s / one.sent_bytes)
        known = self._downlink_s_per_byte
        if one.receive_s >= _SHORTEST_TRANSFER_S:
            sample = one.receive_s / one.received_bytes
            self._downlink_s_per_byte = sample if known is None else _pulled(known, sample)
        elif known is not None:
            self._downlink_s_per_byte = min(known, _SHORTEST_TRANSFER_S / one.received_bytes)

    def gave_up(self, sent_bytes: int, waited_s: float) -> None:
        """Take in that an answer did not come in time: the uplink may be no faster than that, or the server was ill.

        So it halves the rate at most, and requests that are answered raise it again.
        """
        slower = min(waited_s / sent_bytes, 2 * self._uplink_s_per_byte, 8.0 / _LOWEST_BITS_PER_S)
        self._uplink_s_per_byte = max(self._uplink_s_per_byte, slower)

    def _see_rtt(self, now_s: float, waited_s: float) -> None:
        while self._rtts and self._rtts[0][0] < now_s - _RTT_WINDOW_S:
            self._rtts.popleft()
        self._rtts.append((now_s, waited_s))
        self._rtt_s = min(rtt_s for _, rtt_s in self._rtts)
        self.newest_rtt_s = max(self.newest_rtt_s, now_s)


class SlowdownEstimator:
    """Estimates how many times as long as planned a machine takes: the median of the last few, smoothed.

    The first observation does not count: it finds cold caches. What was not seen for a while fades: a machine that
    gets no work because it was slow would stay slow for ever otherwise.
    """

    def __init__(self) -> None:
        self._last: deque[float] = deque(maxlen=_SLOWDOWN_KEPT)
        self._is_cold = True
        self.value = 1.0
        """The estimate when the machine was last seen."""
        self.newest_s = -math.inf
        """When the machine was last seen."""

    def observe(self, planned_s: float, taken_s: float, now_s: float) -> None:
        """Take in what the machine took for something that was planned to take `planned_s`."""
        if planned_s < _SHORTEST_COMPUTE_S:
            return
        if self._is_cold:
            self._is_cold = False
            return
        self._last.append(min(SLOWEST, max(1 / SLOWEST, taken_s / planned_s)))
        middle = statistics.median(self._last)
        first = self.newest_s == -math.inf
        self.value = middle if first else math.exp(_mixed(math.log(self.value), math.log(middle), _SLOWDOWN_WEIGHT))
        self.newest_s = now_s

    def value_at(self, now_s: float) -> float:
        """Return the estimate at a time: half of it, as a power, is gone after some seconds without news."""
        if self.newest_s == -math.inf:
            return self.value
        age_s = max(0.0, now_s - self.newest_s - _SLOWDOWN_FRESH_S)
        return float(self.value ** (0.5 ** (age_s / _SLOWDOWN_HALF_LIFE_S)))


class ConditionEstimator:
    """Estimates all conditions, for one device and one server.

    Parameters
    ----------
    planned : Conditions
    clock : callable
        Seconds; the times of observations are by it.
    """

    def __init__(self, planned: Conditions, clock: Callable[[], float]) -> None:
        self.link = LinkEstimator(planned)
        self.device = SlowdownEstimator()
        self.server = SlowdownEstimator()
        self._clock = clock

    def conditions(self) -> Conditions:
        """Return what holds now, as far as is known."""
        return Conditions(
            self.link.uplink_bits_per_s,
            self.link.downlink_bits_per_s,
            self.link.rtt_s,
            self.device.value_at(self._clock()),
            self.server.value_at(self._clock()),
        )

    def silence_s(self) -> float:
        """Return for how long nothing was heard of the link."""
        return self._clock() - self.link.newest_s


def _pulled(known_s_per_byte: float, sample: float) -> float:
    """Mix rates, not times: a single slow transfer must not weigh more than the fast ones around it."""
    rate = _mixed(8.0 / known_s_per_byte, 8.0 / sample, _RATE_WEIGHT)
    return 8.0 / min(_HIGHEST_BITS_PER_S, max(_LOWEST_BITS_PER_S, rate))


def _mixed(old: float, new: float, weight: float) -> float:
    return (1 - weight) * old + weight * new
