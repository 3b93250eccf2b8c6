"""The rules of a central router: one table, learnt from the same messages, known to all at once."""

from typing import Any

from solvers.routing_rules import (
    FRESH_SHARE,
    KEEP,
    LINK_DOWN,
    LINK_FIELDS,
    LINK_HEARD_S,
    LINK_MISSES,
    LINK_RTT_S,
    LINK_UP,
    LINK_UP_STATE,
    PING,
    PRICE_COMPUTE,
    PRICE_RECEIVE,
    PRICE_SEND,
    PRICE_WAIT,
    PROBE,
    SEND,
    asks_now,
    believed_s,
    expected_wait_s,
    hope_of,
)


def route_expected_s(
    length: float,
    sent_bytes: float,
    received_bytes: float,
    time_s: float,
    clocks_s: Any,
    low: int,
    high: int,
    route_machines: Any,
    own: Any,
    links: Any,
) -> float:
    """Return the expected seconds from the machine at place `low` of a route to its last, at `high` - 1, and back."""
    seconds = 0.0
    for k in range(low, high - 1):
        row, at = links[route_machines[k]], route_machines[k + 1] * LINK_FIELDS
        seconds += row[at + LINK_RTT_S] + sent_bytes * row[at + LINK_UP] + received_bytes * row[at + LINK_DOWN]
    last = route_machines[high - 1]
    wait_s = expected_wait_s(own[last], time_s + clocks_s[last])
    return seconds + wait_s + believed_s(own[last], length, time_s + clocks_s[last])


def mirror(machine: int, peer: int, heard_s: float, links: Any) -> None:
    """Tell a peer what a machine knows of the link between them; `heard_s` is by the peer's clock."""
    known, told = links[machine], links[peer]
    at, to = peer * LINK_FIELDS, machine * LINK_FIELDS
    told[to] = known[at]
    told[to + LINK_RTT_S] = known[at + LINK_RTT_S]
    told[to + LINK_UP] = known[at + LINK_DOWN]
    told[to + LINK_DOWN] = known[at + LINK_UP]
    told[to + LINK_HEARD_S] = heard_s
    told[to + LINK_MISSES] = 0.0


def choose_route(
    length: float,
    sent_bytes: float,
    received_bytes: float,
    time_s: float,
    clocks_s: Any,
    route_first: Any,
    route_machines: Any,
    own: Any,
    links: Any,
    prices: Any,
    stale_s: float,
    by_pings: bool,
) -> tuple[int, int, float]:
    """Return what to do, the route, and the expected seconds; `routing_rules.choose` has the rule.

    Routes stand at ``route_first[k]`` .. ``route_first[k + 1]`` of `route_machines`; the first one is to stay.
    """
    best = best_s = float("inf")
    best_route = 0
    doubt = doubt_cost = float("inf")
    doubt_s = doubt_age_s = doubt_rtt_s = 0.0
    doubt_route = -1
    for route in range(len(route_first) - 1):
        low, high = route_first[route], route_first[route + 1]
        last = route_machines[high - 1]
        wait_s = expected_wait_s(own[last], time_s + clocks_s[last])
        run_s = believed_s(own[last], length, time_s + clocks_s[last])
        if high - low == 1:
            best, best_s = prices[PRICE_WAIT] * wait_s + prices[PRICE_COMPUTE] * run_s, wait_s + run_s
            continue
        rtt_s = rest_s = age_s = 0.0
        on_link = works = 0.0
        for k in range(low, high - 1):
            row, at = links[route_machines[k]], route_machines[k + 1] * LINK_FIELDS
            if row[at] != LINK_UP_STATE:
                works = -1.0
            up_s, down_s = sent_bytes * row[at + LINK_UP], received_bytes * row[at + LINK_DOWN]
            rtt_s += row[at + LINK_RTT_S]
            age_s = max(age_s, time_s + clocks_s[route_machines[k]] - row[at + LINK_HEARD_S])
            rest_s += up_s + down_s
            if k == low:
                on_link = (prices[PRICE_SEND] - prices[PRICE_WAIT]) * up_s
                on_link += (prices[PRICE_RECEIVE] - prices[PRICE_WAIT]) * down_s
        if works < 0.0:
            continue
        rest_s += wait_s + run_s
        cost = on_link + prices[PRICE_WAIT] * (rtt_s + rest_s)
        if cost < best:
            best, best_s, best_route = cost, rtt_s + rest_s, route
        hope = hope_of(cost, prices[PRICE_WAIT] * rtt_s, age_s, stale_s, by_pings)
        if age_s > FRESH_SHARE * stale_s and hope < doubt:
            doubt, doubt_cost, doubt_s, doubt_age_s, doubt_rtt_s = hope, cost, rtt_s + rest_s, age_s, rtt_s
            doubt_route = route
    if doubt_route >= 0 and doubt < best and doubt_route != best_route:
        asks = asks_now(doubt_cost - best, prices[PRICE_WAIT] * doubt_rtt_s, doubt_age_s / stale_s, by_pings)
        if asks == PROBE:
            return PROBE, doubt_route, doubt_s
        if asks == PING:
            return PING, doubt_route, best_s
    return (KEEP if best_route == 0 else SEND), best_route, best_s
