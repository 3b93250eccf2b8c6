"""The live router of one machine: the rules of the simulation, on its own clock and its own news."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from partition.errors import InputError
from partition.routing.length_models import whole_length
from partition.routing.network import MachineNetwork
from partition.routing.simulator import first_knowledge, prices_of
from solvers.routing_rules import (
    ADVERT_COEFFICIENTS,
    ADVERT_FIELDS,
    ADVERT_RTT_S,
    ADVERT_WAIT_S,
    LINK_AWAY,
    LINK_FIELDS,
    LINK_PINGED_S,
    LINK_RTT_S,
    LINK_UP_STATE,
    NO_LINK,
    OWN_COEFFICIENTS,
    PING,
    PING_BYTES,
    PROBE,
    advertise,
    choose,
    end_run,
    miss,
    next_hop,
    predicted_s,
    queue_run,
    retry_due,
    see_network_time,
    see_run_time,
    take_offer,
    time_limit_s,
)

Action = Literal["keep", "send", "probe", "ping"]
_ACTIONS: tuple[Action, ...] = ("keep", "send", "probe", "ping")
Offer = tuple[float, ...]
"""What a router tells a neighbour with every answer: finite numbers that travel as they are."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do with an input.

    Attributes
    ----------
    action : {"keep", "send", "probe", "ping"}
        Run it here; send it to `neighbour`; send it although another choice looks a little better, for the news; or
        ping `destination` through `neighbour` first, and then decide again with ``pinged=True``.
    neighbour, destination : str
        The machine itself where the input is kept.
    bound : bool
        Whether the neighbour must pass it on to `destination` and not decide anew.
    expected_s : float
        Until the result is here.
    extrapolated : bool
        Whether the length is outside of the range that was fitted for `destination`.
    """

    action: Action
    neighbour: str
    destination: str
    bound: bool
    expected_s: float
    extrapolated: bool


@dataclass(frozen=True, slots=True)
class Sent:
    """An exchange under way: give it back to `Router.answered` or `Router.timed_out`.

    Attributes
    ----------
    neighbour : str
    time_limit_s : float
        How long to wait for the answer.
    """

    neighbour: str
    time_limit_s: float
    sent_at_s: float
    sent_bytes: float
    received_bytes: float
    place: int
    far: int
    pending_s: float


class Router:
    """Decides for one machine of a network; not safe for several threads at once: let one lock guard it.

    Parameters
    ----------
    network : MachineNetwork
        What is known when it begins.
    machine : str
        Whose router this is.
    objective : {"time", "energy"} or float
        As `partition.routing.simulator.simulate` takes it. Only the end node counts energy; all others help it best by
        being quick.
    stale_s : float
        When news are old, above 0; infinite: none are asked for.
    by_pings : bool
        Whether old news are asked for by pings; otherwise by inputs that lose little by it.
    clock : callable
        Seconds, never falling. No other machine's clock matters.

    Raises
    ------
    InputError
        An unknown machine or objective, or a figure out of range.
    """

    def __init__(
        self,
        network: MachineNetwork,
        machine: str,
        *,
        objective: str | float = "time",
        stale_s: float = 60.0,
        by_pings: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._place = network.place(machine)
        if not stale_s > 0:
            raise InputError(f"stale_s is {stale_s!r}; give seconds above 0, or infinity for no pings")
        prices = prices_of(objective, network.machines[network.place(network.end_node)].power, network.end_node)
        self._prices = prices if machine == network.end_node else (1.0, 1.0, 1.0, 1.0)
        self._by_pings = bool(by_pings)
        self._network, self._clock, self._stale_s = network, clock, float(stale_s)
        self._names = network.names
        self._places = {name: place for place, name in enumerate(self._names)}
        self._ranges = [(one.latency.least, one.latency.most) for one in network.machines]
        knowledge = first_knowledge(network, [clock()] * len(self._names))
        self._own: list[float] = knowledge.own[self._place].tolist()
        self._links: list[float] = knowledge.links[self._place].tolist()
        self._adverts: list[float] = knowledge.adverts[self._place].tolist()
        self._pending = [0.0] * len(self._names)
        # Curves of the sizes, one after the other: the same formula as for times.
        self._sizes = (*network.input_bytes.coefficients, *network.output_bytes.coefficients)
        self.machine = machine

    def decide(self, length: int, *, visited: Sequence[str] = (), pinged: bool = False) -> Decision:
        """Return what to do with an input.

        Parameters
        ----------
        length : int
            1 or more; outside of the fitted range it is extrapolated, and the decision says so.
        visited : sequence of str
            Machines that had the input before; it goes to none of them again.
        pinged : bool
            Whether a ping was sent for this input already.

        Raises
        ------
        InputError
            A length that is not whole or below 1, or an unknown machine.
        """
        # Most lengths are plain; the check of any other type takes longer than the choice.
        number = length if type(length) is int and length > 0 else whole_length(length)
        seen = 1 << self._place
        for name in visited:
            seen |= 1 << self._known(name)
        action, near, far, expected_s = choose(
            self._place,
            number,
            predicted_s(self._sizes, 0, number),
            predicted_s(self._sizes, 3, number),
            seen,
            self._clock(),
            self._own,
            self._links,
            self._adverts,
            self._pending,
            self._prices,
            math.inf if pinged else self._stale_s,
            self._by_pings,
        )
        return Decision(
            _ACTIONS[action],
            self._names[near],
            self._names[far],
            action in (PROBE, PING),
            expected_s,
            self._outside(far, number),
        )

    def onward(self, destination: str, length: int, *, visited: Sequence[str] = (), ping: bool = False) -> Decision:
        """Return how an input or a ping goes on that is bound for a machine: over the quickest way.

        Parameters
        ----------
        destination : str
        length : int
            Of the input, or of the one that the ping is for.
        visited : sequence of str
            Machines that it came through.
        ping : bool

        Returns
        -------
        Decision
            "keep" on the destination itself, and where no way is known: an input is run and a ping answered here.
        """
        far, number, now_s = self._known(destination), whole_length(length), self._clock()
        seen = 1 << self._place
        for name in visited:
            seen |= 1 << self._known(name)
        near = -1 if far == self._place else next_hop(far, seen, now_s, self._links, self._adverts)
        if near < 0:
            run_s = predicted_s(self._own, OWN_COEFFICIENTS, number)
            return Decision("keep", self.machine, self.machine, False, run_s, self._outside(self._place, number))
        row = (near * len(self._names) + far) * ADVERT_FIELDS
        expected_s = self._links[near * LINK_FIELDS + LINK_RTT_S] + self._adverts[row + ADVERT_RTT_S]
        if not ping:
            expected_s += predicted_s(self._adverts, row + ADVERT_COEFFICIENTS, number)
            expected_s += self._adverts[row + ADVERT_WAIT_S]
        action: Action = "ping" if ping else "send"
        return Decision(action, self._names[near], destination, True, expected_s, self._outside(far, number))

    def run_queued(self, length: int) -> float:
        """Take in that an input waits for this machine or begins there; return the seconds that it should run."""
        run_s = predicted_s(self._own, OWN_COEFFICIENTS, whole_length(length))
        queue_run(self._own, run_s, self._clock())
        return run_s

    def run_ended(self, length: int, expected_s: float, taken_s: float | None) -> None:
        """Take in that it is done, and refit the run time.

        Parameters
        ----------
        length : int
        expected_s : float
            What `run_queued` returned.
        taken_s : float or None
            Seconds of the run alone, without its wait; None: it failed, and nothing is learnt.

        Raises
        ------
        InputError
            A time that is not finite or below 0.
        """
        number, expected_s = whole_length(length), _seconds(expected_s, "expected_s")
        if taken_s is not None:
            see_run_time(self._own, number, _seconds(taken_s, "taken_s"))
        end_run(self._own, expected_s, self._clock())

    def sent(self, decision: Decision, length: int) -> Sent:
        """Take in that an input goes out now, or a ping where the decision says so."""
        near, far = self._known(decision.neighbour), self._known(decision.destination)
        if self._links[near * LINK_FIELDS] == NO_LINK:
            raise InputError(f"{self.machine!r} has no link to {decision.neighbour!r}; send to a neighbour")
        row = (near * len(self._names) + far) * ADVERT_FIELDS
        number, now_s = whole_length(length), self._clock()
        if decision.action == "ping":
            expected_s = self._links[near * LINK_FIELDS + LINK_RTT_S] + self._adverts[row + ADVERT_RTT_S]
            return Sent(decision.neighbour, time_limit_s(expected_s), now_s, PING_BYTES, PING_BYTES, near, far, 0.0)
        # The work that goes on from another router is in that one's books.
        counts = not decision.bound or decision.action == "probe"
        run_s = predicted_s(self._adverts, row + ADVERT_COEFFICIENTS, number) if counts else 0.0
        self._pending[far] += run_s
        sizes = predicted_s(self._sizes, 0, number), predicted_s(self._sizes, 3, number)
        return Sent(decision.neighbour, time_limit_s(decision.expected_s), now_s, *sizes, near, far, run_s)

    def answered(self, sent: Sent, spent_s: float, offer: Sequence[float]) -> None:
        """Take in an answer that came in time.

        Parameters
        ----------
        sent : Sent
        spent_s : float
            What the neighbour says that passed there, by its own clock, from the message to its answer.
        offer : sequence of float
            What the neighbour told; see `offer_to`.

        Raises
        ------
        InputError
            A time that is not finite or below 0, or an offer that is none for this network. Nothing is learnt then.
        """
        spent_s = _seconds(spent_s, "spent_s")
        checked = self._checked(sent.neighbour, offer)
        now_s = self._clock()
        self._settle(sent)
        network_s = now_s - sent.sent_at_s - spent_s
        see_network_time(sent.place, network_s, sent.sent_bytes, sent.received_bytes, self._links)
        take_offer(sent.place, now_s, self._links, self._adverts, checked, 0)

    def heard(self, neighbour: str, offer: Sequence[float]) -> None:
        """Take in an answer that came after its time limit: the link works, and its news are news."""
        checked = self._checked(neighbour, offer)
        take_offer(self._known(neighbour), self._clock(), self._links, self._adverts, checked, 0)

    def timed_out(self, sent: Sent) -> None:
        """Take in that no answer came in time: the neighbour is away until it is heard of again. Decide anew."""
        self._settle(sent)
        miss(sent.place, self._clock(), self._links)

    def forget(self, sent: Sent) -> None:
        """Take in that nobody waits for the answer any more; nothing is learnt about the link."""
        self._settle(sent)

    def to_retry(self) -> tuple[Decision, ...]:
        """Return pings to neighbours that are away and should be asked again now, without waiting; each counts."""
        now_s, due = self._clock(), []
        for place, name in enumerate(self._names):
            at = place * LINK_FIELDS
            if self._links[at] == LINK_AWAY and retry_due(place, now_s, self._stale_s, self._links):
                self._links[at + LINK_PINGED_S] = now_s
                due.append(Decision("ping", name, name, True, self._links[at + LINK_RTT_S], False))
        return tuple(due)

    def offer_to(self, neighbour: str) -> Offer:
        """Return what to tell a neighbour with an answer: every machine that is reached without it."""
        offer = [0.0] * (len(self._names) * ADVERT_FIELDS)
        asker = self._known(neighbour)
        advertise(self._place, asker, self._clock(), self._own, self._links, self._adverts, offer, 0)
        return tuple(offer)

    @property
    def coefficients(self) -> tuple[float, float, float]:
        """a, b and c of this machine's run time, as refitted."""
        a, b, c = self._own[:3]
        return a, b, c

    def rtt_s(self, neighbour: str) -> float | None:
        """Return the round trip to a neighbour as it is thought to be; None: there is no link, or it is away."""
        at = self._known(neighbour) * LINK_FIELDS
        return self._links[at + LINK_RTT_S] if self._links[at] == LINK_UP_STATE else None

    def _known(self, name: str) -> int:
        place = self._places.get(name)
        return self._network.place(name) if place is None else place

    def _outside(self, place: int, length: int) -> bool:
        least, most = self._ranges[place]
        return not least <= length <= most

    def _settle(self, sent: Sent) -> None:
        left_s = self._pending[sent.far] - sent.pending_s
        self._pending[sent.far] = left_s if left_s > 1e-9 else 0.0

    def _checked(self, neighbour: str, offer: Sequence[float]) -> list[float]:
        n_machines, place = len(self._names), self._known(neighbour)
        if self._links[place * LINK_FIELDS] == NO_LINK:
            raise InputError(f"{self.machine!r} has no link to {neighbour!r}; it takes offers of neighbours")
        try:
            numbers = [float(one) for one in offer]
        except (TypeError, ValueError) as error:
            raise InputError(f"the offer of {neighbour!r} is not a list of numbers: {error}") from error
        if len(numbers) != n_machines * ADVERT_FIELDS or not all(map(math.isfinite, numbers)):
            raise InputError(
                f"the offer of {neighbour!r} has {len(numbers)} numbers; {n_machines * ADVERT_FIELDS} finite ones are "
                "due: both machines need the same network file"
            )
        for far in range(n_machines):
            way, *figures = numbers[far * ADVERT_FIELDS : (far + 1) * ADVERT_FIELDS]
            ends = 1 << far | 1 << place
            legal = way == -1 or (
                0 <= way < 1 << n_machines
                and way == int(way)
                and int(way) & ends == ends
                and not int(way) >> self._place & 1
            )
            # The three coefficients may be negative, delays and times per byte may not.
            if not legal or min(*figures[:3], *figures[6:]) < 0:
                raise InputError(f"the offer of {neighbour!r} for {self._names[far]!r} is none: {[way, *figures]}")
        return numbers


def _seconds(value: float, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not (math.isfinite(value) and value >= 0):
        raise InputError(f"{what} is {value!r}; give finite seconds of 0 or more")
    return float(value)
