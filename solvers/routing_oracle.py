"""The oracle of a simulation: what each route would really take for one input, as links and queues stand now."""

from typing import Any

from solvers.routing_rules import PRICE_COMPUTE, PRICE_RECEIVE, PRICE_SEND, PRICE_WAIT
from solvers.routing_state import Inputs, Outcome
from solvers.routing_truth import Truth, away_at, sent_at, speed_at


def oracle_route(
    truth: Truth,
    inputs: Inputs,
    out: Outcome,
    route_first: Any,
    route_machines: Any,
    prices: Any,
    number: int,
    time_s: float,
    share: float,
) -> tuple[int, float]:
    """Return the best route for an input at the origin, and the seconds until its result is back.

    The first route, which is to stay, is always open.
    """
    n_inputs = len(inputs.lengths)
    best, best_s, least_cost = 0, 0.0, float("inf")
    for route in range(len(route_first) - 1):
        low, high = route_first[route], route_first[route + 1]
        run_s = inputs.run_s[route_machines[high - 1] * n_inputs + number]
        end_s, sending_s, receiving_s = route_end_s(
            truth,
            out.link_free_s,
            out.machine_free_s,
            route_machines,
            low,
            high,
            run_s,
            inputs.sent_bytes[number],
            inputs.received_bytes[number],
            time_s,
            share,
        )
        if end_s == float("inf"):
            continue
        computing_s = 0.0
        if high - low == 1:
            computing_s = end_s - max(time_s, out.machine_free_s[route_machines[low]])
        cost = (
            prices[PRICE_COMPUTE] * computing_s
            + prices[PRICE_SEND] * sending_s
            + prices[PRICE_RECEIVE] * receiving_s
            + prices[PRICE_WAIT] * (end_s - time_s - computing_s - sending_s - receiving_s)
        )
        if cost < least_cost:
            best, best_s, least_cost = route, end_s - time_s, cost
    return best, best_s


def route_end_s(
    truth: Truth,
    link_free_s: Any,
    machine_free_s: Any,
    route: Any,
    first: int,
    last: int,
    run_s: float,
    sent_bytes: float,
    received_bytes: float,
    start_s: float,
    share: float,
) -> tuple[float, float, float]:
    """Return when a result is back that goes along a route and back, and how long its first link sent and received.

    The machines of the route stand at ``route[first]`` .. ``route[last - 1]``. Queues are as they stand now; what
    comes later to a link or a machine that is passed is not foreseen. Infinite where the result never comes.
    """
    n_machines = len(machine_free_s)
    at_s = start_s
    sending_s = receiving_s = 0.0
    for k in range(first, last - 1):
        link = truth.link_of[route[k] * n_machines + route[k + 1]]
        begin_s = max(at_s, link_free_s[link])
        end_s, delay_s = sent_at(truth, link, sent_bytes, begin_s, share)
        if k == first:
            sending_s = end_s - begin_s
        at_s = end_s + delay_s
        if at_s == float("inf") or away_at(truth, route[k + 1], at_s, at_s) >= 0:
            return float("inf"), 0.0, 0.0
    machine = route[last - 1]
    begin_s = max(at_s, machine_free_s[machine])
    end_s = begin_s + run_s * speed_at(truth, machine, begin_s)
    if away_at(truth, machine, at_s, end_s) >= 0:
        return float("inf"), 0.0, 0.0
    at_s = end_s
    for k in range(last - 1, first, -1):
        link = truth.link_of[route[k] * n_machines + route[k - 1]]
        begin_s = max(at_s, link_free_s[link])
        end_s, delay_s = sent_at(truth, link, received_bytes, begin_s, share)
        if k == first + 1:
            receiving_s = end_s - begin_s
        at_s = end_s + delay_s
        if at_s == float("inf") or (k > first + 1 and away_at(truth, route[k - 1], at_s, at_s) >= 0):
            return float("inf"), 0.0, 0.0
    return at_s, sending_s, receiving_s
