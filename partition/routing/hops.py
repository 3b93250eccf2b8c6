"""How an input gets from one machine to a neighbour and its result back: messages, replies, and an emulated link."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import NDArray

from partition.emulation.link import Direction, EmulatedLink
from partition.routing.router import Offer

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Message:
    """An input, or a ping, on its way to a machine.

    Attributes
    ----------
    length : int
        Of the input, or of the one that the ping is for.
    inputs : mapping of str to numpy.ndarray, or None
        None: a ping.
    size_bytes : int
    visited : tuple of str
        The machines that it came through, in order.
    bound : str or None
        The machine that it has to go to; None: the next one decides anew.
    """

    length: int
    inputs: Mapping[str, Array] | None
    size_bytes: int
    visited: tuple[str, ...]
    bound: str | None


@dataclass(frozen=True, slots=True)
class Reply:
    """What comes back.

    Attributes
    ----------
    outputs : dict of str to numpy.ndarray, or None
        None: the answer to a ping.
    size_bytes : int
    route : tuple of str
        The machines that it went through, from the one that answers to the one that ran it.
    spent_s : float
        From the message to the reply, by the clock of the one that answers.
    offer : tuple of float
        What it knows of its part of the network; see `partition.routing.router.Router.offer_to`.
    """

    outputs: dict[str, Array] | None
    size_bytes: int
    route: tuple[str, ...]
    spent_s: float
    offer: Offer


Receive = Callable[[Message], Reply | None]
"""What a machine does with a message; None: it is away, and nobody ever answers."""


class HopFailed(RuntimeError):
    """No reply in time, or a failure there; the message says which."""


class Hop(Protocol):
    """A way to one neighbour; several threads may use it at once."""

    def exchange(self, message: Message, time_limit_s: float, late: Callable[[Reply], None]) -> Reply:
        """Send a message and wait for its reply.

        Parameters
        ----------
        message : Message
        time_limit_s : float
            For everything together.
        late : callable
            Gets the reply where it comes after the limit; from any thread.

        Raises
        ------
        HopFailed
            There is none in time.
        """

    def close(self) -> None:
        """Let go of what it holds."""


class EmulatedHop:
    """A hop in this process, over an emulated link.

    Parameters
    ----------
    link : EmulatedLink
    direction : {"uplink", "downlink"}
        The link's direction that leads to the neighbour.
    receive : callable
        The neighbour.
    in_threads : bool
        Each exchange in a thread of its own, so that a time limit ends the wait for it. Otherwise in the caller's: a
        reply that came too late is only noticed once it is there. A virtual clock has one thread of time.
    """

    def __init__(self, link: EmulatedLink, direction: Direction, receive: Receive, *, in_threads: bool = True) -> None:
        self._link = link
        self._there: Direction = direction
        self._back: Direction = "downlink" if direction == "uplink" else "uplink"
        self._receive = receive
        self._in_threads = in_threads

    def exchange(self, message: Message, time_limit_s: float, late: Callable[[Reply], None]) -> Reply:
        """Send a message and wait for its reply; see `Hop`."""
        if not self._in_threads:
            return self._inline(message, time_limit_s, late)
        answer = _Answer(late)
        # A daemon: what waits for an outage to end must not keep the process from ending.
        threading.Thread(target=self._carry_into, args=(message, answer), daemon=True).start()
        return answer.wait(time_limit_s)

    def close(self) -> None:
        """Do nothing: it holds nothing."""

    def _carry(self, message: Message) -> Reply | None:
        self._link.deliver(self._there, message.size_bytes)
        reply = self._receive(message)
        if reply is not None:
            self._link.deliver(self._back, reply.size_bytes)
        return reply

    def _carry_into(self, message: Message, answer: "_Answer") -> None:
        try:
            reply = self._carry(message)
        except Exception as error:  # of the neighbour's, whatever it is: this side goes on without it
            answer.fail(error)
            return
        if reply is not None:
            answer.put(reply)

    def _inline(self, message: Message, time_limit_s: float, late: Callable[[Reply], None]) -> Reply:
        clock = self._link.clock
        end_s = clock.now_s() + time_limit_s
        try:
            reply = self._carry(message)
        except Exception as error:
            raise HopFailed(f"the neighbour failed: {error}") from error
        if reply is None:
            clock.sleep_until(end_s)
        elif clock.now_s() <= end_s:
            return reply
        else:
            late(reply)
        raise HopFailed(_too_late(time_limit_s))


class _Answer:
    """What one thread waits for and another one brings, perhaps too late."""

    def __init__(self, late: Callable[[Reply], None]) -> None:
        self._late = late
        self._lock = threading.Lock()
        self._there = threading.Event()
        self._given_up = False
        self._reply: Reply | None = None
        self._error: Exception | None = None

    def put(self, reply: Reply) -> None:
        with self._lock:
            given_up = self._given_up
            self._reply = reply
        if given_up:
            self._late(reply)
        self._there.set()

    def fail(self, error: Exception) -> None:
        with self._lock:
            self._error = error
        self._there.set()

    def wait(self, time_limit_s: float) -> Reply:
        self._there.wait(min(time_limit_s, threading.TIMEOUT_MAX))
        with self._lock:
            if self._reply is not None:
                return self._reply
            if self._error is not None:
                raise HopFailed(f"the neighbour failed: {self._error}") from self._error
            self._given_up = True
        raise HopFailed(_too_late(time_limit_s))


def _too_late(time_limit_s: float) -> str:
    return f"no answer within {time_limit_s:.3g} s"
