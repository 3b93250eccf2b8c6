"""The event-driven simulation of routers, machines and links: one kernel, with the rules of `routing_rules` inside."""

from typing import Any

from solvers.routing_central import choose_route, mirror, route_expected_s
from solvers.routing_events import Heap, pop, push
from solvers.routing_oracle import oracle_route
from solvers.routing_rules import (
    ADVERT_FIELDS,
    KEEP,
    LINK_AWAY,
    LINK_FIELDS,
    LINK_PINGED_S,
    LINK_RTT_S,
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
from solvers.routing_state import (
    ARRIVED_S,
    ARRIVES,
    BOUND,
    CENTRAL,
    DONE,
    ENDS,
    EXPIRES,
    FAILED,
    FIXED,
    HOME,
    HOP,
    INPUT,
    IS_PING,
    LOST,
    MACHINE,
    NO_ROOM,
    ORACLE,
    PARENT,
    PARENT_TICKET,
    PEER,
    PENDING_AT,
    PENDING_S,
    PINGED,
    PINGING,
    PINGS,
    PREDICTED_S,
    PROBES,
    RAN,
    REACHES,
    REAL_FIELDS,
    RECEIVING_S,
    RETRIES,
    RETURNS,
    ROUTE,
    ROUTED,
    RUN_S,
    SENT_S,
    SPENT_S,
    STUCK,
    TICKET,
    TIME_LIMITS,
    VANISHES,
    VISITED,
    WHOLE_FIELDS,
    Inputs,
    Knowledge,
    Outcome,
    Pool,
    Setting,
    free_visit,
    send,
    settle,
    take_visit,
)
from solvers.routing_truth import Truth, away_at, sent_at, speed_at


def run_simulation(
    setting: Setting,
    truth: Truth,
    inputs: Inputs,
    route_first: Any,
    route_machines: Any,
    knowledge: Knowledge,
    pool: Pool,
    heap: Heap,
    out: Outcome,
) -> int:
    """Simulate until every input has its result; return DONE, NO_ROOM (in pool or heap) or STUCK.

    The heap holds the arrivals already: all of them, or the first where the next input comes when one is done.
    Decisions take no time. A link carries one message after the other, a machine runs one input after the other.
    """
    n_inputs, n_machines = len(inputs.lengths), len(truth.clock_s)
    whole, real, origin, policy = pool.whole, pool.real, setting.origin, setting.policy
    finished = 0
    while finished < n_inputs:
        if heap.used[0] == 0:
            return STUCK
        # One event adds so many at most: two for each neighbour that is asked again, and two for what it does itself.
        if heap.used[0] + 2 * n_machines + 4 > len(heap.times_s):
            return NO_ROOM
        time_s, kind, visit, ticket = pop(heap)
        decides = replies = False
        if kind == ARRIVES:
            visit = take_visit(pool, visit, origin, -1)
            if visit < 0:
                return NO_ROOM
            real[visit * REAL_FIELDS + ARRIVED_S] = time_s + truth.clock_s[origin]
            out.started_s[whole[visit * WHOLE_FIELDS + INPUT]] = time_s
            decides = True
        at, here = visit * WHOLE_FIELDS, visit * REAL_FIELDS
        machine = whole[at + MACHINE]
        if kind == REACHES:
            if away_at(truth, machine, time_s, time_s) >= 0:
                out.counters[LOST] += 1
                free_visit(pool, visit)
                continue
            real[here + ARRIVED_S] = time_s + truth.clock_s[machine]
            decides = True
        elif kind == ENDS:
            now_s = time_s + truth.clock_s[machine]
            if setting.refit:
                see_run_time(knowledge.own[machine], inputs.lengths[whole[at + INPUT]], real[here + RUN_S])
            end_run(knowledge.own[machine], real[here + PREDICTED_S], now_s)
            whole[at + RAN] = machine
            replies = True
        elif kind == VANISHES:
            end_run(knowledge.own[machine], real[here + PREDICTED_S], time_s + truth.clock_s[machine])
            free_visit(pool, visit)
            continue
        elif kind == EXPIRES:
            if whole[at + TICKET] != ticket:
                continue
            settle(pool, knowledge, visit)
            whole[at + TICKET] += 1
            if away_at(truth, machine, real[here + ARRIVED_S] - truth.clock_s[machine], time_s) >= 0:
                free_visit(pool, visit)
                continue
            out.counters[TIME_LIMITS] += 1
            miss(whole[at + PEER], time_s + truth.clock_s[machine], knowledge.links[machine])
            if whole[at + IS_PING]:
                if whole[at + PARENT] < 0:
                    free_visit(pool, visit)
                    continue
                replies = True
            else:
                whole[at + PINGING] = 0
                whole[at + PINGED] = 1
                whole[at + FAILED] = 1
                whole[at + BOUND] = -1
                decides = True
        elif kind == RETURNS:
            # The visit came back to the machine that had sent it on.
            child, peer, inner = visit, machine, here
            visit, machine = whole[at + PARENT], whole[at + HOME]
            is_ping, ran, valid = whole[at + IS_PING], whole[at + RAN], whole[at + PARENT_TICKET]
            number = whole[at + INPUT]
            at, here = visit * WHOLE_FIELDS, visit * REAL_FIELDS
            in_time = whole[at + TICKET] == valid
            if away_at(truth, machine, time_s, time_s) >= 0:
                out.counters[LOST] += 1
                free_visit(pool, child)
                continue
            now_s = time_s + truth.clock_s[machine]
            if in_time:
                network_s = now_s - real[inner + SENT_S] - real[inner + SPENT_S]
                up = PING_BYTES if is_ping else inputs.sent_bytes[number]
                down = PING_BYTES if is_ping else inputs.received_bytes[number]
                see_network_time(peer, network_s, up, down, knowledge.links[machine])
            offer_at = child * n_machines * ADVERT_FIELDS
            take_offer(peer, now_s, knowledge.links[machine], knowledge.adverts[machine], pool.offers, offer_at)
            if policy == CENTRAL:
                mirror(machine, peer, now_s - truth.clock_s[machine] + truth.clock_s[peer], knowledge.links)
            receiving_s = real[inner + RECEIVING_S]
            free_visit(pool, child)
            if not in_time:
                continue
            settle(pool, knowledge, visit)
            whole[at + TICKET] += 1
            # What a machine knew of its visits is lost with it.
            if away_at(truth, machine, real[here + ARRIVED_S] - truth.clock_s[machine], time_s) >= 0:
                free_visit(pool, visit)
                continue
            if machine == origin and whole[at + PARENT] < 0 and not whole[at + IS_PING]:
                out.seconds[3 * number + 2] += receiving_s
            if whole[at + IS_PING]:
                if whole[at + PARENT] < 0:
                    free_visit(pool, visit)
                    continue
                replies = True
            elif whole[at + PINGING]:
                whole[at + PINGING] = 0
                whole[at + PINGED] = 1
                decides = True
            else:
                whole[at + RAN] = ran
                replies = True
        number = whole[at + INPUT]
        share = number / n_inputs
        now_s = time_s + truth.clock_s[machine]
        own, links, adverts = knowledge.own[machine], knowledge.links[machine], knowledge.adverts[machine]
        if decides:
            length, sent, received = inputs.lengths[number], inputs.sent_bytes[number], inputs.received_bytes[number]
            # What is decided: run here (the neighbour is the machine itself) or send on; bound: no new decision there.
            peer, bound, route, pings = machine, -1, -1, False
            expected_s = predicted_s(own, OWN_COEFFICIENTS, length)
            prices = setting.prices if machine == origin else setting.time_prices
            stale_s = float("inf") if whole[at + PINGED] else setting.stale_s
            if whole[at + IS_PING]:
                bound = whole[at + BOUND]
                if machine == bound:
                    decides, replies = False, True
                else:
                    peer = next_hop(bound, whole[at + VISITED], now_s, links, adverts)
                    if peer < 0:
                        decides, replies = False, True
                    else:
                        pings = True
            elif policy == ROUTED:
                bound = whole[at + BOUND]
                if bound >= 0 and bound != machine:
                    peer = next_hop(bound, whole[at + VISITED], now_s, links, adverts)
                    if peer < 0:
                        peer = bound = machine
                    else:
                        row = (peer * n_machines + bound) * ADVERT_FIELDS
                        expected_s = links[peer * LINK_FIELDS + LINK_RTT_S] + adverts[row + 1]
                        expected_s += predicted_s(adverts, row + 4, length) + adverts[row + 7]
                elif bound < 0:
                    action, peer, bound, expected_s = choose(
                        machine,
                        length,
                        sent,
                        received,
                        whole[at + VISITED],
                        now_s,
                        own,
                        links,
                        adverts,
                        knowledge.pending[machine],
                        prices,
                        stale_s,
                        setting.by_pings,
                    )
                    if action == PING:
                        pings = True
                    elif action == PROBE:
                        out.counters[PROBES] += 1
                    if action != KEEP and not pings:
                        row = (peer * n_machines + bound) * ADVERT_FIELDS
                        run_s = predicted_s(adverts, row + 4, length)
                        whole[at + PENDING_AT] = bound
                        real[here + PENDING_S] = run_s
                        knowledge.pending[machine][bound] += run_s
                        if action != PROBE:
                            bound = -1
            elif whole[at + FAILED] and (policy != CENTRAL or machine != origin):
                pass
            else:
                route = whole[at + ROUTE]
                if machine == origin:
                    if policy == FIXED:
                        route = setting.fixed_route
                    elif policy == ORACLE:
                        route, expected_s = oracle_route(
                            truth, inputs, out, route_first, route_machines, prices, number, time_s, share
                        )
                    else:
                        action, route, expected_s = choose_route(
                            length,
                            sent,
                            received,
                            time_s,
                            truth.clock_s,
                            route_first,
                            route_machines,
                            knowledge.own,
                            knowledge.links,
                            prices,
                            stale_s,
                            setting.by_pings,
                        )
                        pings = action == PING
                        if action == PROBE:
                            out.counters[PROBES] += 1
                    whole[at + HOP] = 0
                low, high = route_first[route], route_first[route + 1]
                place = low + whole[at + HOP]
                if place + 1 < high:
                    peer = route_machines[place + 1]
                    bound = route_machines[high - 1]
                    if policy == FIXED or machine != origin:
                        expected_s = route_expected_s(
                            length,
                            sent,
                            received,
                            time_s,
                            truth.clock_s,
                            place,
                            high,
                            route_machines,
                            knowledge.own,
                            knowledge.links,
                        )
            if decides:
                if whole[at + PARENT] < 0 and not whole[at + IS_PING] and not pings:
                    out.predicted_s[number] = now_s - real[here + ARRIVED_S] + expected_s
                for near in range(n_machines):
                    # Asked without waiting: a link that is away must not hold up every input.
                    if near == peer or whole[at + IS_PING] or links[near * LINK_FIELDS] != LINK_AWAY:
                        continue
                    if not retry_due(near, now_s, setting.stale_s, links):
                        continue
                    links[near * LINK_FIELDS + LINK_PINGED_S] = now_s
                    asking = take_visit(pool, number, machine, -1)
                    child = take_visit(pool, number, near, asking)
                    if asking < 0 or child < 0:
                        return NO_ROOM
                    out.counters[RETRIES] += 1
                    whole[asking * WHOLE_FIELDS + IS_PING] = 1
                    real[asking * REAL_FIELDS + ARRIVED_S] = now_s
                    whole[child * WHOLE_FIELDS + IS_PING] = 1
                    whole[child * WHOLE_FIELDS + BOUND] = near
                    send(truth, pool, heap, out.link_free_s, asking, child, PING_BYTES, time_s, share)
                    limit_s = time_limit_s(links[near * LINK_FIELDS + LINK_RTT_S])
                    push(heap, time_s + limit_s, EXPIRES, asking, whole[asking * WHOLE_FIELDS + TICKET])
                if peer == machine:
                    run_s = inputs.run_s[machine * n_inputs + number]
                    planned_s = predicted_s(own, OWN_COEFFICIENTS, length)
                    begin_s = max(time_s, out.machine_free_s[machine])
                    run_s *= speed_at(truth, machine, begin_s)
                    queue_run(own, planned_s, now_s)
                    real[here + PREDICTED_S] = planned_s
                    real[here + RUN_S] = run_s
                    absence = away_at(truth, machine, time_s, begin_s + run_s)
                    if absence >= 0:
                        out.counters[LOST] += 1
                        if begin_s < truth.away_from_s[absence]:
                            out.machine_free_s[machine] = truth.away_until_s[absence]
                        push(heap, truth.away_until_s[absence], VANISHES, visit, 0)
                    else:
                        out.machine_free_s[machine] = begin_s + run_s
                        if machine == origin:
                            out.seconds[3 * number] += run_s
                        push(heap, begin_s + run_s, ENDS, visit, 0)
                else:
                    child = take_visit(pool, number, peer, visit)
                    if child < 0:
                        return NO_ROOM
                    whole[child * WHOLE_FIELDS + VISITED] |= whole[at + VISITED]
                    whole[child * WHOLE_FIELDS + BOUND] = bound
                    if pings:
                        whole[child * WHOLE_FIELDS + IS_PING] = 1
                        if not whole[at + IS_PING]:
                            whole[at + PINGING] = 1
                            out.counters[PINGS] += 1
                            whole[child * WHOLE_FIELDS + BOUND] = bound
                    else:
                        whole[child * WHOLE_FIELDS + ROUTE] = route
                        whole[child * WHOLE_FIELDS + HOP] = whole[at + HOP] + 1
                    sending_s = send(
                        truth, pool, heap, out.link_free_s, visit, child, PING_BYTES if pings else sent, time_s, share
                    )
                    if machine == origin and sending_s > 0.0:
                        out.seconds[3 * number + 1] += sending_s
                    if policy != ORACLE:
                        if pings:
                            expected_s = links[peer * LINK_FIELDS + LINK_RTT_S]
                            expected_s += adverts[(peer * n_machines + bound) * ADVERT_FIELDS + 1]
                        push(heap, time_s + time_limit_s(expected_s), EXPIRES, visit, whole[at + TICKET])
        if replies:
            if whole[at + PARENT] < 0:
                out.machine[number] = whole[at + RAN]
                out.taken_s[number] = now_s - real[here + ARRIVED_S]
                free_visit(pool, visit)
                finished += 1
                if setting.closed and finished < n_inputs:
                    push(heap, time_s, ARRIVES, finished, 0)
                continue
            home = whole[at + HOME]
            link = truth.link_of[machine * n_machines + home]
            begin_s = max(time_s, out.link_free_s[link])
            size = PING_BYTES if whole[at + IS_PING] else inputs.received_bytes[number]
            end_s, delay_s = sent_at(truth, link, size, begin_s, share)
            if end_s == float("inf"):
                free_visit(pool, visit)
                continue
            out.link_free_s[link] = end_s
            real[here + SPENT_S] = now_s - real[here + ARRIVED_S]
            real[here + RECEIVING_S] = end_s - begin_s
            advertise(machine, home, now_s, own, links, adverts, pool.offers, visit * n_machines * ADVERT_FIELDS)
            push(heap, end_s + delay_s, RETURNS, visit, 0)
    return DONE
