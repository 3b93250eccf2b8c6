"""Shrinking a cut network before any flow: fixing nodes whose side is certain, eliminating those of degree <= 2.

A node whose excess is at least the capacity of all its outgoing arcs belongs to the source, whatever the others do;
one that lacks more than its incoming arcs can bring belongs to the sink (persistency). Fixing it turns its arcs into
excess of its neighbours, so that the rule applies again. A node with at most two neighbours is minimised out: the
least over its two sides is a submodular function of the neighbours' sides, hence a pair of arcs between them and a
change of their excess. Both are exact; `restore` goes back.
"""

from typing import Any


def reduce_network(
    first: Any,
    last: Any,
    head: Any,
    opposite: Any,
    capacity: Any,
    excess: Any,
    side: Any,
    bounds: Any,
    counts: Any,
    stack: Any,
    eliminated: Any,
    steps: int,
) -> int:
    """Shrink the network in place; returns how many nodes were eliminated, listed in `eliminated` in order.

    `steps` adds 1 for fixing what is not pinned and 2 for eliminating. On entry `side` (n) is 0 (source) or 1 (sink)
    for pinned nodes, -1 for the others; on exit also for fixed nodes, and 2 for eliminated ones. ``first[v] ..
    last[v]`` are the arcs of v that may be alive; a dead arc has head -1 and no capacity. `bounds` (2 n) sums the
    finite capacities out of and into each node; `counts` (3 n), zero at first, holds the infinite ones and the living
    arcs. `stack` (2 n) holds the nodes to look at, then a flag for each. The arcs, the excess and the bounds of an
    eliminated node keep what `restore` needs. O(n_arcs), but for repeated looks at nodes of degree 3.
    """
    n = len(excess)
    infinity = float("inf")
    n_eliminated = 0
    n_waiting = 0
    for v in range(n - 1, -1, -1):
        out = 0.0
        into = 0.0
        for e in range(first[v], first[v + 1]):
            if head[e] == v:
                head[e] = -1
                continue
            counts[3 * v + 2] += 1
            c = capacity[e]
            if c == infinity:
                counts[3 * v] += 1
            else:
                out += c
            c = capacity[opposite[e]]
            if c == infinity:
                counts[3 * v + 1] += 1
            else:
                into += c
        bounds[2 * v] = out
        bounds[2 * v + 1] = into
        last[v] = first[v + 1]
        stack[n_waiting] = v
        n_waiting += 1
        stack[n + v] = 1

    for turn in range(2):
        # First the pins alone, so that nothing is eliminated that a pin decides.
        pins_only = turn == 0
        if not pins_only:
            n_waiting = 0
            for v in range(n - 1, -1, -1):
                stack[n + v] = 0
                if side[v] < 0:
                    stack[n_waiting] = v
                    n_waiting += 1
                    stack[n + v] = 1
        while n_waiting > 0:
            n_waiting -= 1
            v = stack[n_waiting]
            stack[n + v] = 0
            decided = side[v]
            if decided == 2 or (pins_only and decided < 0):
                continue
            if decided < 0:
                x = excess[v]
                if steps & 1 != 0:
                    if counts[3 * v] == 0 and x >= bounds[2 * v]:
                        decided = 0
                    elif counts[3 * v + 1] == 0 and -x > bounds[2 * v + 1]:
                        decided = 1
            if decided < 0:
                if steps & 2 == 0 or counts[3 * v + 2] > 3:
                    continue
                # Move the living arcs to the front.
                end = first[v]
                for e in range(first[v], last[v]):
                    w = head[e]
                    if w >= 0:
                        if e != end:
                            r = opposite[e]
                            head[end] = w
                            capacity[end] = capacity[e]
                            opposite[end] = r
                            opposite[r] = end
                            head[e] = -1
                            capacity[e] = 0.0
                        end += 1
                # Join parallel arcs.
                i = first[v]
                while i < end:
                    j = i + 1
                    while j < end:
                        if head[j] == head[i]:
                            w = head[i]
                            r = opposite[i]
                            s = opposite[j]
                            # An infinite arc swallows the other one, which then counts no more.
                            out = min(capacity[i], capacity[j])
                            if max(capacity[i], capacity[j]) == infinity:
                                if out == infinity:
                                    counts[3 * v] -= 1
                                    counts[3 * w + 1] -= 1
                                else:
                                    bounds[2 * v] -= out
                                    bounds[2 * w + 1] -= out
                            into = min(capacity[r], capacity[s])
                            if max(capacity[r], capacity[s]) == infinity:
                                if into == infinity:
                                    counts[3 * v + 1] -= 1
                                    counts[3 * w] -= 1
                                else:
                                    bounds[2 * v + 1] -= into
                                    bounds[2 * w] -= into
                            capacity[i] += capacity[j]
                            capacity[r] += capacity[s]
                            counts[3 * v + 2] -= 1
                            counts[3 * w + 2] -= 1
                            head[s] = -1
                            capacity[s] = 0.0
                            end -= 1
                            if j != end:
                                head[j] = head[end]
                                capacity[j] = capacity[end]
                                opposite[j] = opposite[end]
                                opposite[opposite[j]] = j
                            head[end] = -1
                            capacity[end] = 0.0
                            if stack[n + w] == 0:
                                stack[n_waiting] = w
                                n_waiting += 1
                                stack[n + w] = 1
                        else:
                            j += 1
                    i += 1
                last[v] = end
                degree = end - first[v]
                if degree > 2:
                    continue
                x = excess[v]
                side[v] = 2
                eliminated[n_eliminated] = v
                n_eliminated += 1
                if degree == 0:
                    continue
                e = first[v]
                a = head[e]
                r = opposite[e]
                to_a = capacity[e]
                from_a = capacity[r]
                if degree == 1:
                    excess[a] += min(to_a, x) - min(0.0, x + from_a)
                    head[r] = -1
                    capacity[r] = 0.0
                    counts[3 * a + 2] -= 1
                    if from_a == infinity:
                        counts[3 * a] -= 1
                    else:
                        bounds[2 * a] -= from_a
                    if to_a == infinity:
                        counts[3 * a + 1] -= 1
                    else:
                        bounds[2 * a + 1] -= to_a
                    bounds[2 * v] = from_a
                    if stack[n + a] == 0:
                        stack[n_waiting] = a
                        n_waiting += 1
                        stack[n + a] = 1
                    continue
                b = head[e + 1]
                s = opposite[e + 1]
                to_b = capacity[e + 1]
                from_b = capacity[s]
                # The least over v's sides for both on the source's side, b alone on the sink's, a alone, both.
                neither = min(0.0, x + from_a + from_b)
                only_b = min(to_b, x + from_a)
                only_a = min(to_a, x + from_b)
                both = min(to_a + to_b, x)
                # Split `both - neither` between a and b so that the arcs have capacity >= 0 and no excess of one
                # sign is made to meet an excess of the other.
                share_b = min(max(0.5 * (both - neither), both - only_a), only_b - neither)
                share_a = both - neither - share_b
                a_to_b = max(only_b - neither - share_b, 0.0)
                b_to_a = max(only_a - neither - share_a, 0.0)
                excess[a] += share_a
                excess[b] += share_b
                bounds[2 * v] = from_a
                bounds[2 * v + 1] = from_b
                capacity[r] = a_to_b
                capacity[s] = b_to_a
                if a_to_b == 0.0 and b_to_a == 0.0:
                    head[r] = -1
                    head[s] = -1
                    counts[3 * a + 2] -= 1
                    counts[3 * b + 2] -= 1
                else:
                    head[r] = b
                    head[s] = a
                    opposite[r] = s
                    opposite[s] = r
                for k in range(2):
                    w = a if k == 0 else b
                    out = from_a if k == 0 else from_b
                    into = to_a if k == 0 else to_b
                    if out == infinity:
                        counts[3 * w] -= 1
                    else:
                        bounds[2 * w] -= out
                    if into == infinity:
                        counts[3 * w + 1] -= 1
                    else:
                        bounds[2 * w + 1] -= into
                    out = a_to_b if k == 0 else b_to_a
                    into = b_to_a if k == 0 else a_to_b
                    if out == infinity:
                        counts[3 * w] += 1
                    else:
                        bounds[2 * w] += out
                    if into == infinity:
                        counts[3 * w + 1] += 1
                    else:
                        bounds[2 * w + 1] += into
                    if stack[n + w] == 0:
                        stack[n_waiting] = w
                        n_waiting += 1
                        stack[n + w] = 1
                continue

            # The side is known: what the arcs to the other side would cost goes to the neighbours' excess.
            side[v] = decided
            for e in range(first[v], last[v]):
                w = head[e]
                if w < 0:
                    continue
                counts[3 * w + 2] -= 1
                r = opposite[e]
                out = capacity[e]
                into = capacity[r]
                head[e] = -1
                head[r] = -1
                capacity[e] = 0.0
                capacity[r] = 0.0
                if into == infinity:
                    counts[3 * w] -= 1
                else:
                    bounds[2 * w] -= into
                if out == infinity:
                    counts[3 * w + 1] -= 1
                else:
                    bounds[2 * w + 1] -= out
                if decided == 0:
                    if out == infinity:
                        side[w] = 0 if side[w] < 0 else side[w]
                    else:
                        excess[w] += out
                elif into == infinity:
                    side[w] = 1 if side[w] < 0 else side[w]
                else:
                    excess[w] -= into
                if stack[n + w] == 0:
                    stack[n_waiting] = w
                    n_waiting += 1
                    stack[n + w] = 1
            last[v] = first[v]
    return n_eliminated


def restore(
    first: Any,
    last: Any,
    head: Any,
    capacity: Any,
    excess: Any,
    side: Any,
    bounds: Any,
    eliminated: Any,
    n_eliminated: int,
) -> int:
    """Give the eliminated nodes their sides, the last one first; ties go to the source. Returns 0."""
    for k in range(n_eliminated - 1, -1, -1):
        v = eliminated[k]
        at_source = 0.0
        at_sink = excess[v]
        for e in range(first[v], last[v]):
            if side[head[e]] == 1:
                at_source += capacity[e]
            else:
                at_sink += bounds[2 * v + e - first[v]]
        side[v] = 0 if at_source <= at_sink else 1
    return 0
