"""An emulated link in process: when a message arrives that is sent now, each direction one queue, as on a real link."""

import math
import threading
from collections.abc import Callable
from typing import Literal, TypeVar

from partition.emulation.clock import Clock, RealClock
from partition.emulation.profile import RateProfile
from partition.errors import InputError
from partition.links import Link

Direction = Literal["uplink", "downlink"]
"""``uplink``: from the device to the server."""

DIRECTIONS: tuple[Direction, ...] = ("uplink", "downlink")

_Result = TypeVar("_Result")


class EmulatedLink:
    """Two directions, each with its rate over time and one queue: a message waits until all before it have left.

    Parameters
    ----------
    uplink, downlink : RateProfile
        The rate of each direction over the clock's time.
    delay_s : float
        From when a bit leaves until it arrives, each way; half the round trip.
    per_message_s : float
        Occupies the direction before each message: the software's own time for one.
    clock : Clock, optional
        Default: real time from now on.

    Raises
    ------
    InputError
        A time that is not a finite number of 0 or more.

    Notes
    -----
    A message's time is queue + `per_message_s` + transfer + `delay_s`. Safe to use from several threads.
    """

    def __init__(
        self,
        uplink: RateProfile,
        downlink: RateProfile,
        *,
        delay_s: float,
        per_message_s: float = 0.0,
        clock: Clock | None = None,
    ) -> None:
        for name, figure in (("delay_s", delay_s), ("per_message_s", per_message_s)):
            if not (math.isfinite(figure) and figure >= 0):
                raise InputError(f"emulated link: {name} is {figure!r}, expected a finite time of 0 or more")
        self.profiles: dict[Direction, RateProfile] = {"uplink": uplink, "downlink": downlink}
        self.delay_s = delay_s
        self.per_message_s = per_message_s
        self.clock: Clock = RealClock() if clock is None else clock
        self._slowdown = 1.0
        self._free_s: dict[Direction, float] = {"uplink": 0.0, "downlink": 0.0}
        self._lock = threading.Lock()

    @classmethod
    def of(cls, link: Link, *, per_message_s: float = 0.0, clock: Clock | None = None) -> "EmulatedLink":
        """Return the emulation of a link with constant rates.

        Parameters
        ----------
        link : Link
        per_message_s, clock
            As of the class.

        Examples
        --------
        >>> from partition.emulation.clock import VirtualClock
        >>> link = EmulatedLink.of(Link.parse("8.8Mbps", rtt="40ms"), clock=VirtualClock())
        >>> round(link.send("uplink", 1_100_000), 9)
        1.02
        >>> round(link.send("uplink", 1_100_000), 9)  # it waits until the first has left
        2.02
        """
        return cls(
            RateProfile.constant(link.uplink_bits_per_s),
            RateProfile.constant(link.downlink_bits_per_s),
            delay_s=link.rtt_s / 2,
            per_message_s=per_message_s,
            clock=clock,
        )

    def send(self, direction: Direction, size_bytes: int, now_s: float | None = None) -> float:
        """Put a message into a direction's queue.

        Parameters
        ----------
        direction : {"uplink", "downlink"}
        size_bytes : int
            0 or more.
        now_s : float, optional
            When it is sent, on the clock. Default: now.

        Returns
        -------
        float
            When its last byte arrives, on the clock, in seconds. This call does not wait; `deliver` does.

        Raises
        ------
        InputError
            A size or time out of its range.
        """
        at_s = self.clock.now_s() if now_s is None else now_s
        return self.occupy(direction, size_bytes, at_s, before_s=self.per_message_s) + self.delay_s

    def deliver(self, direction: Direction, size_bytes: int) -> float:
        """Send a message now, wait until it has arrived, and return how long that took, in seconds."""
        start_s = self.clock.now_s()
        self.clock.sleep_until(self.send(direction, size_bytes, start_s))
        return self.clock.now_s() - start_s

    def call(
        self, work: Callable[[], _Result], *, request_bytes: int, reply_bytes: Callable[[_Result], int]
    ) -> _Result:
        """Run a function as if it were at the other end: the request goes up, its result comes down.

        Parameters
        ----------
        work : callable
            Called once the request has arrived.
        request_bytes : int
            Size of the request.
        reply_bytes : callable
            Tells the size of the result, in bytes.

        Returns
        -------
        object
            What `work` returned, once the reply has arrived.
        """
        self.deliver("uplink", request_bytes)
        result = work()
        self.deliver("downlink", reply_bytes(result))
        return result

    def rate_at(self, direction: Direction, time_s: float) -> float:
        """Return the true rate of a direction at a time on the clock, in bit/s."""
        return self.profiles[direction].rate_at(time_s) / self._slowdown

    def duration_s(self, direction: Direction, size_bytes: int, start_s: float) -> float:
        """Return how long a message takes that finds the direction free, in seconds; nothing is sent.

        Parameters
        ----------
        direction : {"uplink", "downlink"}
        size_bytes : int
        start_s : float
            When it is sent, on the clock.
        """
        begin_s = start_s + self.per_message_s
        transfer_s = self.profiles[direction].transfer_s(size_bytes * self._slowdown, begin_s)
        return self.per_message_s + transfer_s + self.delay_s

    def slow(self, factor: float) -> None:
        """Divide both rates by a factor above 0, for what is sent from now on; 1 ends it."""
        if not (math.isfinite(factor) and factor > 0):
            raise InputError(f"emulated link: slow({factor!r}); give a finite factor above 0")
        self._slowdown = factor

    def occupy(self, direction: Direction, size_bytes: int, now_s: float, *, before_s: float = 0.0) -> float:
        """Queue bytes without the message's overhead and delay, and return when the last of them leaves, in seconds.

        Parameters
        ----------
        direction : {"uplink", "downlink"}
        size_bytes : int
        now_s : float
            The time on the clock.
        before_s : float
            What passes before the first byte can leave.

        Returns
        -------
        float
            On the clock.
        """
        with self._lock:
            begin_s = max(now_s, self._free_s[direction]) + before_s
            transfer_s = self.profiles[direction].transfer_s(size_bytes * self._slowdown, begin_s)
            self._free_s[direction] = begin_s + transfer_s
            return self._free_s[direction]
