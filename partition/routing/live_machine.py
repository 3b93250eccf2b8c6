"""One machine of a live network: it decides, runs or passes on, and answers its neighbours."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from partition.emulation.clock import Clock
from partition.errors import InputError
from partition.routing.hops import Hop, HopFailed, Message, Reply
from partition.routing.router import Decision, Router, Sent
from solvers.routing_rules import PING_BYTES

Array = NDArray[Any]
Runner = Callable[[Mapping[str, Array]], dict[str, Array]]
"""Runs the whole model on one input."""


@dataclass(frozen=True, slots=True)
class Done:
    """What became of an input on a machine.

    Attributes
    ----------
    outputs : dict of str to numpy.ndarray
    route : tuple of str
        From this machine to the one that ran it.
    expected_s : float
        From its arrival here, by the last decision.
    decision : Decision
        The last one.
    pings : int
        That it waited for.
    faults : tuple of str
        Why answers did not come.
    """

    outputs: dict[str, Array]
    route: tuple[str, ...]
    expected_s: float
    decision: Decision
    pings: int
    faults: tuple[str, ...]


class LiveMachine:
    """A machine with its own router; several threads may use it at once, and it runs one input after the other.

    Parameters
    ----------
    router : Router
        On `clock`, or on one that goes like it.
    runner : callable
    clock : Clock
    in_threads : bool
        Whether neighbours that are away are asked again in the background.
    """

    def __init__(self, router: Router, runner: Runner, *, clock: Clock, in_threads: bool = True) -> None:
        self.router = router
        self.name = router.machine
        self.hops: dict[str, Hop] = {}
        self._runner = runner
        self._clock = clock
        self._in_threads = in_threads
        # One guards what the router knows, the other one the processor.
        self._lock = threading.Lock()
        self._processor = threading.Lock()
        self._away = False
        self._vanished = 0

    def vanish(self) -> None:
        """Be away from now on: what is here or comes here gets no answer."""
        self._away = True
        self._vanished += 1

    def come_back(self) -> None:
        """Be there again; what was here when it went stays lost."""
        self._away = False

    def receive(self, message: Message) -> Reply | None:
        """Answer a message of a neighbour; None where this machine is away, or was meanwhile."""
        if self._away:
            return None
        epoch, arrived_s = self._vanished, self._clock.now_s()
        outputs, size_bytes = None, int(PING_BYTES)
        route: tuple[str, ...] = (self.name,)
        if message.inputs is None:
            self._pass_ping_on(message)
        else:
            done = self.work(message)
            outputs, route, size_bytes = done.outputs, done.route, size_of(done.outputs)
        if self._away or self._vanished != epoch:
            return None
        with self._lock:
            offer = self.router.offer_to(message.visited[-1])
        return Reply(outputs, size_bytes, route, self._clock.now_s() - arrived_s, offer)

    def work(self, message: Message) -> Done:
        """Get an input done: here, or by whom the router chooses; whatever fails, it is done in the end.

        Raises
        ------
        InputError
            The model does not run on it here.
        """
        assert message.inputs is not None
        begun_s, bound, pinged = self._clock.now_s(), message.bound, False
        pings = 0
        faults: list[str] = []
        while True:
            with self._lock:
                if bound is not None:
                    decision = self.router.onward(bound, message.length, visited=message.visited)
                else:
                    decision = self.router.decide(message.length, visited=message.visited, pinged=pinged)
                due = self.router.to_retry()
            for one in due:
                self._ask_again(one, message)
            if decision.action == "ping":
                self._exchange(decision, self._ping(decision, message))
                pings, pinged = pings + 1, True
                continue
            expected_s = self._clock.now_s() - begun_s + decision.expected_s
            if decision.action == "keep":
                return Done(self._run(message), (self.name,), expected_s, decision, pings, tuple(faults))
            onward = decision.destination if decision.bound else None
            sent = Message(message.length, message.inputs, message.size_bytes, (*message.visited, self.name), onward)
            reply = self._exchange(decision, sent)
            if isinstance(reply, HopFailed):
                # It is decided anew, without pings: enough time was lost.
                faults.append(f"{decision.neighbour}: {reply}")
                pinged, bound = True, None
                continue
            assert reply.outputs is not None
            return Done(reply.outputs, (self.name, *reply.route), expected_s, decision, pings, tuple(faults))

    def _run(self, message: Message) -> dict[str, Array]:
        assert message.inputs is not None
        with self._lock:
            expected_s = self.router.run_queued(message.length)
        taken_s = None
        try:
            with self._processor:
                start_s = self._clock.now_s()
                outputs = self._runner(message.inputs)
                taken_s = self._clock.now_s() - start_s
        finally:
            with self._lock:
                self.router.run_ended(message.length, expected_s, taken_s)
        return outputs

    def _ping(self, decision: Decision, message: Message) -> Message:
        return Message(message.length, None, int(PING_BYTES), (*message.visited, self.name), decision.destination)

    def _pass_ping_on(self, message: Message) -> None:
        assert message.bound is not None
        with self._lock:
            decision = self.router.onward(message.bound, message.length, visited=message.visited, ping=True)
        if decision.action != "keep":
            self._exchange(decision, self._ping(decision, message))

    def _ask_again(self, decision: Decision, message: Message) -> None:
        """Ask a neighbour that is away whether it is back; no input waits for that."""
        ping = Message(message.length, None, int(PING_BYTES), (self.name,), decision.neighbour)
        if self._in_threads:
            threading.Thread(target=self._exchange, args=(decision, ping), daemon=True).start()
        else:
            self._exchange(decision, ping)

    def _exchange(self, decision: Decision, message: Message) -> Reply | HopFailed:
        """Send a message on and let the router learn from what comes back."""
        neighbour = decision.neighbour
        with self._lock:
            sent = self.router.sent(decision, message.length)
        try:
            hop = self.hops[neighbour]
            reply = hop.exchange(message, sent.time_limit_s, lambda late: self._heard_late(neighbour, late))
            with self._lock:
                self.router.answered(sent, reply.spent_s, reply.offer)
        except (HopFailed, InputError) as error:
            return self._failed(sent, error)
        return reply

    def _failed(self, sent: Sent, error: HopFailed | InputError) -> HopFailed:
        with self._lock:
            self.router.timed_out(sent)
        return error if isinstance(error, HopFailed) else HopFailed(str(error))

    def _heard_late(self, neighbour: str, reply: Reply) -> None:
        with self._lock:
            self.router.heard(neighbour, reply.offer)


def size_of(tensors: Mapping[str, Any]) -> int:
    """Return the size of tensors in bytes; texts as UTF-8 with four bytes for the length of each."""
    total = 0
    for value in tensors.values():
        if value.dtype.kind in "OU":
            total += sum(len(str(one).encode()) + 4 for one in value.ravel().tolist())
        else:
            total += int(value.nbytes)
    return total
