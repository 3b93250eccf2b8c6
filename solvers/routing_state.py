"""What a routing simulation holds while it runs: visits, knowledge, results, and how a visit moves on."""

from typing import Any, NamedTuple

from solvers.routing_events import Heap, push
from solvers.routing_truth import Truth, sent_at

FIXED, ROUTED, CENTRAL, ORACLE = 0, 1, 2, 3
DONE, NO_ROOM, STUCK = 0, 1, 2

# Kinds of events.
ARRIVES, REACHES, ENDS, RETURNS, EXPIRES, VANISHES = 0, 1, 2, 3, 4, 5

# A visit is the presence of an input, or of a ping, at a machine. Whole numbers of a visit:
INPUT, MACHINE, PARENT, PARENT_TICKET, TICKET, VISITED, ROUTE, HOP = 0, 1, 2, 3, 4, 5, 6, 7
BOUND, PINGING, PEER, RAN, PINGED, IS_PING, HOME, FAILED, PENDING_AT, NEXT_FREE = 8, 9, 10, 11, 12, 13, 14, 15, 16, 17
WHOLE_FIELDS = 18
# Real numbers of a visit: times by the clock of the machine that notes them down.
ARRIVED_S, SENT_S, SPENT_S, PREDICTED_S, RUN_S, RECEIVING_S, PENDING_S = 0, 1, 2, 3, 4, 5, 6
REAL_FIELDS = 7

# Counters.
PINGS, RETRIES, PROBES, TIME_LIMITS, LOST = 0, 1, 2, 3, 4
N_COUNTERS = 5


class Setting(NamedTuple):
    """What is simulated: ``policy``, the origin of the inputs, when news are stale, the route of a fixed policy."""

    policy: int
    origin: int
    fixed_route: int
    refit: int
    closed: int
    stale_s: float
    by_pings: bool
    prices: Any  # of the origin
    time_prices: Any  # of all others


class Inputs(NamedTuple):
    """The inputs: lengths, bytes both ways, arrivals; ``run_s[machine * n + k]`` is the true run time of input k."""

    lengths: Any
    arrivals_s: Any
    sent_bytes: Any
    received_bytes: Any
    run_s: Any


class Knowledge(NamedTuple):
    """The rows of all routers; see `routing_rules`."""

    own: Any
    links: Any
    adverts: Any
    pending: Any


class Pool(NamedTuple):
    """Room for visits; ``offers`` has what a reply on its way tells, ``free[0]`` is the first free visit."""

    whole: Any
    real: Any
    offers: Any
    free: Any


class Outcome(NamedTuple):
    """What came out, for each input; ``seconds`` has three for each: the origin computes, sends, receives."""

    machine: Any
    started_s: Any
    taken_s: Any
    predicted_s: Any
    seconds: Any
    counters: Any
    link_free_s: Any
    machine_free_s: Any


def take_visit(pool: Pool, number: int, machine: int, parent: int) -> int:
    """Return a free visit with its first numbers set, or -1."""
    visit: int = pool.free[0]
    if visit < 0:
        return -1
    at = visit * WHOLE_FIELDS
    pool.free[0] = pool.whole[at + NEXT_FREE]
    ticket = pool.whole[at + TICKET]
    for field in range(WHOLE_FIELDS):
        pool.whole[at + field] = 0
    for field in range(REAL_FIELDS):
        pool.real[visit * REAL_FIELDS + field] = 0.0
    pool.whole[at + INPUT] = number
    pool.whole[at + MACHINE] = machine
    pool.whole[at + PARENT] = parent
    pool.whole[at + TICKET] = ticket
    pool.whole[at + VISITED] = 1 << machine
    pool.whole[at + ROUTE] = -1
    pool.whole[at + BOUND] = -1
    pool.whole[at + RAN] = -1
    pool.whole[at + PENDING_AT] = -1
    return visit


def free_visit(pool: Pool, visit: int) -> None:
    """Give a visit back; tickets to it become void."""
    at = visit * WHOLE_FIELDS
    pool.whole[at + TICKET] += 1
    pool.whole[at + NEXT_FREE] = pool.free[0]
    pool.free[0] = visit


def send(
    truth: Truth,
    pool: Pool,
    heap: Heap,
    link_free_s: Any,
    visit: int,
    child: int,
    size_bytes: float,
    time_s: float,
    share: float,
) -> float:
    """Send a visit's input or ping on, as `child`; return how long the link sent, or -1 if it never arrives.

    A message that never arrives frees its child. The heap has to have room for one event.
    """
    at, to = visit * WHOLE_FIELDS, child * WHOLE_FIELDS
    machine, peer = pool.whole[at + MACHINE], pool.whole[to + MACHINE]
    n_machines = len(truth.clock_s)
    link = truth.link_of[machine * n_machines + peer]
    pool.whole[at + PEER] = peer
    pool.whole[to + PARENT_TICKET] = pool.whole[at + TICKET]
    pool.whole[to + HOME] = machine
    pool.real[child * REAL_FIELDS + SENT_S] = time_s + truth.clock_s[machine]
    begin_s = max(time_s, link_free_s[link])
    end_s, delay_s = sent_at(truth, link, size_bytes, begin_s, share)
    if end_s == float("inf"):
        free_visit(pool, child)
        return -1.0
    link_free_s[link] = end_s
    push(heap, end_s + delay_s, REACHES, child, 0)
    return float(end_s - begin_s)


def settle(pool: Pool, knowledge: Knowledge, visit: int) -> None:
    """Take what a visit had sent on off the work that is thought to wait elsewhere."""
    at = visit * WHOLE_FIELDS
    far, machine = pool.whole[at + PENDING_AT], pool.whole[at + MACHINE]
    if far >= 0:
        left_s = knowledge.pending[machine][far] - pool.real[visit * REAL_FIELDS + PENDING_S]
        knowledge.pending[machine][far] = left_s if left_s > 1e-9 else 0.0
        pool.whole[at + PENDING_AT] = -1
