"""The rules of a router: what it predicts, what it chooses, what it learns and what it tells its neighbours.

Plain functions over flat sequences. The live router calls them as they are, on lists; the simulation compiles the
very same functions, so that the two cannot differ. A router knows three rows, and a row per machine of prices:

``own``
    Its own machine: coefficients of the run time, what their refit needs, the work that is queued.
``links``
    `LINK_FIELDS` numbers for each neighbour: round trip, seconds per byte each way, when it was last heard of. All
    times are by the router's own clock, so clocks that disagree do not matter.
``adverts``
    `ADVERT_FIELDS` numbers for each neighbour and each machine that it reaches: the way beyond the neighbour, the
    run time there and the expected wait, as the neighbour told them last.
``prices``
    What a second costs that the machine waits, computes, sends or receives: all 1 where only time counts.
"""

from typing import Any

# Fields of `own`: a, b, c of a + b N + c N^2, then the upper triangle of their covariance (coefficients per longest
# length), then the rest; at last the coefficients that it began with.
OWN_COEFFICIENTS, OWN_COVARIANCE = 0, 3
OWN_LONGEST, OWN_ORDER, OWN_SPREAD, OWN_STREAK, OWN_QUEUED_S, OWN_STARTED_S = 9, 10, 11, 12, 13, 14
OWN_FIRST = 15
OWN_FIELDS = 18

# Fields of `links`, for each neighbour.
LINK_STATE, LINK_RTT_S, LINK_UP, LINK_DOWN, LINK_HEARD_S, LINK_PINGED_S, LINK_MISSES = 0, 1, 2, 3, 4, 5, 6
LINK_FIELDS = 7
NO_LINK, LINK_UP_STATE, LINK_AWAY = 0.0, 1.0, 2.0

# Fields of `adverts`, for each neighbour and machine. The way is a bit for each machine on it, both ends included, so
# that no way leads back to where it was; below 0: not reached.
ADVERT_WAY, ADVERT_RTT_S, ADVERT_UP, ADVERT_DOWN, ADVERT_COEFFICIENTS = 0, 1, 2, 3, 4
ADVERT_WAIT_S, ADVERT_AGE_S = 7, 8
ADVERT_FIELDS = 9

PRICE_WAIT, PRICE_COMPUTE, PRICE_SEND, PRICE_RECEIVE = 0, 1, 2, 3

# What `choose` answers: run it here; send it on; send it on although that looks a little dearer, for the news; ping
# for news first.
KEEP, SEND, PROBE, PING = 0, 1, 2, 3

# How far the newest exchange pulls the estimates of a link.
LINK_GAIN = 0.8
LEAST_RTT_S = 1e-3
# A machine is followed over about 1 / (1 - FORGETTING) inferences.
FORGETTING = 0.995
MOST_VARIANCE = 0.05
# Residuals beyond so many spreads count as outliers; so many of them in a row, on one side, are a change.
OUTLIER, STREAK = 3.0, 3.0
# In so long without a run, half of what made a machine look slower than at first is forgotten.
UNLEARN_S = 60.0
LEAST_SPREAD, SPREAD_GAIN = 0.01, 0.05
# Two routes of equal delay are told apart by what a message of so many bytes takes.
REFERENCE_BYTES = 100.0
# Size of a ping, and of its answer.
PING_BYTES = 32.0
# News younger than this share of the limit are never asked for.
FRESH_SHARE = 0.05


def predicted_s(table: Any, at: int, length: float) -> float:
    """Return a + b N + c N^2 with the coefficients at `at`, never below 0."""
    seconds = table[at] + length * (table[at + 1] + length * table[at + 2])
    return seconds if seconds > 0.0 else 0.0


def trust_of(own: Any, now_s: float) -> float:
    """Return how far to believe what made this machine look slower than at first: less, the longer nothing ran here.

    Without this a burst of slow runs would keep all inputs away from a machine, and nothing could ever refute it.
    """
    idle_s = now_s - own[OWN_STARTED_S]
    return float(0.5 ** (idle_s / UNLEARN_S)) if own[OWN_QUEUED_S] <= 0.0 and idle_s > 0.0 else 1.0


def believed_s(own: Any, length: float, now_s: float) -> float:
    """Return what a run should take here: as refitted, and slowly as at first where that was less; see `trust_of`."""
    run_s = predicted_s(own, OWN_COEFFICIENTS, length)
    first_s = predicted_s(own, OWN_FIRST, length)
    return run_s if run_s <= first_s else first_s + (run_s - first_s) * trust_of(own, now_s)


def expected_wait_s(own: Any, now_s: float) -> float:
    """Return how long the work takes that is queued here already, as far as was predicted."""
    left_s = own[OWN_QUEUED_S] - (now_s - own[OWN_STARTED_S])
    return left_s if own[OWN_QUEUED_S] > 0.0 and left_s > 0.0 else 0.0


def queue_run(own: Any, run_s: float, now_s: float) -> None:
    """Take in that a run of so many predicted seconds was queued here."""
    if own[OWN_QUEUED_S] <= 0.0:
        own[OWN_STARTED_S] = now_s
    own[OWN_QUEUED_S] += run_s


def end_run(own: Any, run_s: float, now_s: float) -> None:
    """Take in that a run that was queued with so many predicted seconds is over."""
    left_s = own[OWN_QUEUED_S] - run_s
    # Rounding must not leave a machine busy for ever.
    own[OWN_QUEUED_S] = left_s if left_s > 1e-9 else 0.0
    own[OWN_STARTED_S] = now_s


def choose(
    machine: int,
    length: float,
    sent_bytes: float,
    received_bytes: float,
    visited: int,
    now_s: float,
    own: Any,
    links: Any,
    adverts: Any,
    pending: Any,
    prices: Any,
    stale_s: float,
    by_pings: bool,
) -> tuple[int, int, int, float]:
    """Return what to do with an input, the neighbour, the machine that should run it, and the expected seconds.

    Parameters
    ----------
    machine : int
        Whose router this is.
    length, sent_bytes, received_bytes : float
        Of the input, of the message that carries it and of the one that brings the result.
    visited : int
        A bit for each machine that had the input already, this one included.
    now_s : float
        By the clock of this machine.
    own, links, adverts, prices : sequences
        See the module.
    pending : sequence
        For each machine, the predicted seconds of what this router sent there and has no answer for.
    stale_s : float
        When news are too old; infinite: none are ever asked for.
    by_pings : bool
        Whether to ask by pings, and not by inputs.

    Notes
    -----
    Ties go to the machine itself, then to the lower neighbour and the lower machine.

    News are bought where they could change this very decision. An input brings them as a ping does: it goes where it
    would be best if round trips had fallen since, to ``stale_s / (stale_s + age)`` of what they were, once what it
    loses if they have not is below the round trip times the square of ``age / stale_s``. So it never costs a round
    trip, as a ping does. Pings, for comparison, are sent at `stale_s` where a round trip of nothing would change the
    decision.
    """
    n_machines = len(pending)
    wait_s = expected_wait_s(own, now_s)
    run_s = believed_s(own, length, now_s)
    best = prices[PRICE_WAIT] * wait_s + prices[PRICE_COMPUTE] * run_s
    best_s = wait_s + run_s
    action, neighbour, destination = KEEP, machine, machine
    doubt, doubt_cost, doubt_s, doubt_age_s, doubt_rtt_s = best, 0.0, 0.0, 0.0, 0.0
    doubt_neighbour, doubt_machine = -1, -1
    fresh_s = FRESH_SHARE * stale_s
    for near in range(n_machines):
        at = near * LINK_FIELDS
        if links[at] != LINK_UP_STATE or (visited >> near) & 1:
            continue
        up_s = sent_bytes * links[at + LINK_UP]
        down_s = received_bytes * links[at + LINK_DOWN]
        rtt_s = links[at + LINK_RTT_S]
        silence_s = now_s - links[at + LINK_HEARD_S]
        on_link = prices[PRICE_SEND] * up_s + prices[PRICE_RECEIVE] * down_s
        for far in range(n_machines):
            row = (near * n_machines + far) * ADVERT_FIELDS
            if adverts[row] < 0.0 or int(adverts[row]) & visited:
                continue
            queue_s = adverts[row + ADVERT_WAIT_S] - silence_s
            if queue_s < pending[far]:
                queue_s = pending[far]
            run_s = adverts[row + 4] + length * (adverts[row + 5] + length * adverts[row + 6])
            if run_s < 0.0:
                run_s = 0.0
            ways_s = rtt_s + adverts[row + ADVERT_RTT_S]
            rest_s = (
                queue_s + run_s + sent_bytes * adverts[row + ADVERT_UP] + received_bytes * adverts[row + ADVERT_DOWN]
            )
            cost = on_link + prices[PRICE_WAIT] * (ways_s + rest_s)
            if cost < best:
                best, best_s = cost, ways_s + rest_s + up_s + down_s
                action, neighbour, destination = SEND, near, far
            age_s = silence_s + adverts[row + ADVERT_AGE_S]
            if age_s > fresh_s:
                hope = hope_of(cost, prices[PRICE_WAIT] * ways_s, age_s, stale_s, by_pings)
                if hope < doubt:
                    doubt, doubt_cost, doubt_age_s, doubt_rtt_s = hope, cost, age_s, ways_s
                    doubt_s, doubt_neighbour, doubt_machine = ways_s + rest_s + up_s + down_s, near, far
    if doubt_neighbour < 0 or doubt >= best or (doubt_neighbour == neighbour and doubt_machine == destination):
        return action, neighbour, destination, best_s
    asks = asks_now(doubt_cost - best, prices[PRICE_WAIT] * doubt_rtt_s, doubt_age_s / stale_s, by_pings)
    if asks == PROBE:
        return PROBE, doubt_neighbour, doubt_machine, doubt_s
    if asks == PING:
        return PING, doubt_neighbour, doubt_machine, best_s
    return action, neighbour, destination, best_s


def asks_now(loss: float, round_trip: float, share: float, by_pings: bool) -> int:
    """Say how to ask for news that are `share` of the limit old: PROBE, PING, or KEEP for not yet."""
    if by_pings:
        return PING if share >= 1.0 else KEEP
    return PROBE if loss <= round_trip * share * share else KEEP


def hope_of(cost: float, round_trip: float, age_s: float, stale_s: float, by_pings: bool) -> float:
    """Return what a route may cost by now, if its round trip has fallen since it was last heard of."""
    return cost - round_trip * (1.0 if by_pings else age_s / (age_s + stale_s))


def next_hop(destination: int, visited: int, now_s: float, links: Any, adverts: Any) -> int:
    """Return the neighbour over which a machine is reached soonest by none of those in `visited`; -1: none."""
    n_machines = len(links) // LINK_FIELDS
    best, least_s = -1, float("inf")
    for near in range(n_machines):
        at = near * LINK_FIELDS
        row = (near * n_machines + destination) * ADVERT_FIELDS
        if links[at] != LINK_UP_STATE or adverts[row] < 0.0 or int(adverts[row]) & visited:
            continue
        per_byte = links[at + LINK_UP] + links[at + LINK_DOWN] + adverts[row + ADVERT_UP] + adverts[row + ADVERT_DOWN]
        seconds = links[at + LINK_RTT_S] + adverts[row + ADVERT_RTT_S] + REFERENCE_BYTES * per_byte
        queue_s = adverts[row + ADVERT_WAIT_S] - (now_s - links[at + LINK_HEARD_S])
        if queue_s > 0.0:
            seconds += queue_s
        if seconds < least_s:
            best, least_s = near, seconds
    return best


def advertise(
    machine: int, asker: int, now_s: float, own: Any, links: Any, adverts: Any, offer: Any, first: int
) -> None:
    """Write what this router tells a neighbour: every machine that it reaches without that neighbour.

    `offer` takes `ADVERT_FIELDS` numbers for each machine, from the place `first` on.
    """
    n_machines = len(links) // LINK_FIELDS
    for far in range(n_machines):
        to = first + far * ADVERT_FIELDS
        for field in range(ADVERT_FIELDS):
            offer[to + field] = 0.0
        if far == machine:
            offer[to] = float(1 << machine)
            middle = 0.5 * own[OWN_LONGEST]
            slower = predicted_s(own, OWN_COEFFICIENTS, middle) > predicted_s(own, OWN_FIRST, middle)
            trust = trust_of(own, now_s) if slower else 1.0
            for k in range(3):
                first_k = own[OWN_FIRST + k]
                offer[to + ADVERT_COEFFICIENTS + k] = first_k + trust * (own[OWN_COEFFICIENTS + k] - first_k)
            offer[to + ADVERT_WAIT_S] = expected_wait_s(own, now_s)
            continue
        offer[to] = -1.0
        if far == asker:
            continue
        near = next_hop(far, (1 << asker) | (1 << machine), now_s, links, adverts)
        if near < 0:
            continue
        at = near * LINK_FIELDS
        row = (near * n_machines + far) * ADVERT_FIELDS
        silence_s = now_s - links[at + LINK_HEARD_S]
        offer[to] = adverts[row] + float(1 << machine)
        offer[to + ADVERT_RTT_S] = links[at + LINK_RTT_S] + adverts[row + ADVERT_RTT_S]
        offer[to + ADVERT_UP] = links[at + LINK_UP] + adverts[row + ADVERT_UP]
        offer[to + ADVERT_DOWN] = links[at + LINK_DOWN] + adverts[row + ADVERT_DOWN]
        for k in range(3):
            offer[to + ADVERT_COEFFICIENTS + k] = adverts[row + ADVERT_COEFFICIENTS + k]
        queue_s = adverts[row + ADVERT_WAIT_S] - silence_s
        offer[to + ADVERT_WAIT_S] = queue_s if queue_s > 0.0 else 0.0
        offer[to + ADVERT_AGE_S] = silence_s + adverts[row + ADVERT_AGE_S]


def take_offer(neighbour: int, now_s: float, links: Any, adverts: Any, offer: Any, first: int) -> None:
    """Take in what a neighbour tells, and that the link to it works."""
    n_machines = len(links) // LINK_FIELDS
    row = neighbour * n_machines * ADVERT_FIELDS
    for k in range(n_machines * ADVERT_FIELDS):
        adverts[row + k] = offer[first + k]
    at = neighbour * LINK_FIELDS
    links[at] = LINK_UP_STATE
    links[at + LINK_HEARD_S] = now_s
    links[at + LINK_MISSES] = 0.0


def see_network_time(neighbour: int, network_s: float, sent_bytes: float, received_bytes: float, links: Any) -> None:
    """Take in what an exchange with a neighbour took, less what the neighbour says that it spent.

    The surprise is shared out by the squares of what each part was thought to take: short messages tell the round
    trip, long ones the rates.
    """
    at = neighbour * LINK_FIELDS
    rtt_s = max(links[at + LINK_RTT_S], LEAST_RTT_S)
    up_s = sent_bytes * links[at + LINK_UP]
    down_s = received_bytes * links[at + LINK_DOWN]
    surprise_s = max(network_s, 0.0) - (links[at + LINK_RTT_S] + up_s + down_s)
    pull = LINK_GAIN * surprise_s / (rtt_s * rtt_s + up_s * up_s + down_s * down_s)
    links[at + LINK_RTT_S] = max(links[at + LINK_RTT_S] + pull * rtt_s * rtt_s, 0.0)
    # At most ten times as fast at once: a rate is never thought infinite.
    links[at + LINK_UP] *= max(1.0 + pull * up_s, 0.1)
    links[at + LINK_DOWN] *= max(1.0 + pull * down_s, 0.1)


def miss(neighbour: int, now_s: float, links: Any) -> None:
    """Take in that no answer came in time: the link is away until it is heard of again."""
    at = neighbour * LINK_FIELDS
    links[at] = LINK_AWAY
    links[at + LINK_PINGED_S] = now_s
    links[at + LINK_MISSES] += 1.0


def retry_due(neighbour: int, now_s: float, stale_s: float, links: Any) -> bool:
    """Say whether a neighbour that is away should be asked again: after 1 s, 2 s, 4 s, ... up to `stale_s`."""
    at = neighbour * LINK_FIELDS
    if links[at] != LINK_AWAY or stale_s == float("inf"):
        return False
    return bool(now_s - links[at + LINK_PINGED_S] >= min(2.0 ** min(links[at + LINK_MISSES] - 1.0, 20.0), stale_s))


def time_limit_s(expected_s: float) -> float:
    """Return how long to wait for an answer that is expected after so many seconds."""
    return 4.0 * expected_s + 1.0


def start_refit(own: Any, share: float, floor: float) -> None:
    """Let the coefficients move again: by this share of them all together, and each by `floor` of the longest run."""
    longest = own[OWN_LONGEST]
    scaled = (own[0], own[1] * longest, own[2] * longest * longest)
    least = floor * predicted_s(own, OWN_COEFFICIENTS, longest)
    k = OWN_COVARIANCE
    for i in range(3):
        for j in range(i, 3):
            value = share * share * scaled[i] * scaled[j]
            if i == j:
                value += least * least
            # A straight line stays one.
            own[k] = value if j < own[OWN_ORDER] else 0.0
            k += 1


def see_run_time(own: Any, length: float, taken_s: float) -> None:
    """Refit the run time to a finished inference: least squares of relative errors, recursive and with forgetting.

    An outlier pulls no further than `OUTLIER` spreads; `STREAK` of them in a row on one side are a machine that has
    changed, and are followed at once.
    """
    expected_s = predicted_s(own, OWN_COEFFICIENTS, length)
    if expected_s <= 0.0:
        return
    longest = own[OWN_LONGEST]
    residual = taken_s / expected_s - 1.0
    bound = OUTLIER * own[OWN_SPREAD]
    clipped = min(max(residual, -bound), bound)
    if clipped == residual:
        own[OWN_STREAK] = 0.0
    elif residual > 0.0:
        own[OWN_STREAK] = max(own[OWN_STREAK], 0.0) + 1.0
    else:
        own[OWN_STREAK] = min(own[OWN_STREAK], 0.0) - 1.0
    streak = abs(own[OWN_STREAK])
    if streak == STREAK:
        start_refit(own, 1.0, 0.02)
    if streak < STREAK:
        residual = clipped
    own[OWN_SPREAD] = max(own[OWN_SPREAD] + SPREAD_GAIN * (1.25 * abs(clipped) - own[OWN_SPREAD]), LEAST_SPREAD)
    x0, x1, x2 = 1.0 / expected_s, length / longest / expected_s, (length / longest) ** 2 / expected_s
    p = OWN_COVARIANCE
    g0 = own[p] * x0 + own[p + 1] * x1 + own[p + 2] * x2
    g1 = own[p + 1] * x0 + own[p + 3] * x1 + own[p + 4] * x2
    g2 = own[p + 2] * x0 + own[p + 4] * x1 + own[p + 5] * x2
    along = x0 * g0 + x1 * g1 + x2 * g2
    noise = own[OWN_SPREAD] * own[OWN_SPREAD]
    scale = 1.0 / (noise + along)
    own[0] += scale * g0 * residual
    own[1] += scale * g1 * residual / longest
    own[2] += scale * g2 * residual / longest / longest
    # Where no input tells of a coefficient, its variance must not grow without bound.
    longest_s = predicted_s(own, OWN_COEFFICIENTS, longest)
    bounded = own[p] + own[p + 3] + own[p + 5] < MOST_VARIANCE * longest_s * longest_s
    grow = 1.0 / FORGETTING if bounded else 1.0
    own[p] = (own[p] - scale * g0 * g0) * grow
    own[p + 1] = (own[p + 1] - scale * g0 * g1) * grow
    own[p + 2] = (own[p + 2] - scale * g0 * g2) * grow
    own[p + 3] = (own[p + 3] - scale * g1 * g1) * grow
    own[p + 4] = (own[p + 4] - scale * g1 * g2) * grow
    own[p + 5] = (own[p + 5] - scale * g2 * g2) * grow
