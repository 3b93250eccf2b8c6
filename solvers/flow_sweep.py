"""Bulk flow before any search: passes over the nodes in their order that pull excess to where it is lacking.

A flow that starts at the input and serves a thousand layers below it costs a path search per layer, but one pass if
the layers' wants are added up on the way. Whatever a pass moves is flow, so the network stays equivalent; what it
does badly the search corrects.
"""

from typing import Any


def sweep(
    first: Any, last: Any, head: Any, opposite: Any, capacity: Any, excess: Any, side: Any, reached: Any, rounds: int
) -> int:
    """Pull excess along falling and rising node numbers in turn, `rounds` times each; returns the passes made.

    A pass first marks in `reached` (n) which nodes get excess through arcs with capacity in its direction, then walks
    against it: a node that lacks excess hands its lack to such neighbours. Stops once a pass meets no more than a
    fiftieth of what the best one did. O(rounds * n_arcs).
    """
    n = len(excess)
    most = 0.0
    for i in range(2 * rounds):
        upwards = i % 2 == 1  # pull towards higher numbers
        for k in range(n):
            v = n - 1 - k if upwards else k
            mark = 0
            if side[v] < 0:
                if excess[v] > 0.0:
                    mark = 1
                else:
                    for e in range(first[v], last[v]):
                        w = head[e]
                        if w >= 0 and (w > v) == upwards and reached[w] != 0 and capacity[opposite[e]] > 0.0:
                            mark = 1
                            break
            reached[v] = mark
        met = 0.0
        for k in range(n):
            v = k if upwards else n - 1 - k
            x = excess[v]
            if x >= 0.0 or reached[v] == 0:
                continue
            for e in range(first[v], last[v]):
                w = head[e]
                if w < 0 or (w > v) != upwards or reached[w] == 0:
                    continue
                r = opposite[e]
                if capacity[r] > 0.0:
                    moved = min(capacity[r], -x)
                    capacity[r] -= moved
                    capacity[e] += moved
                    if excess[w] > 0.0:
                        met += min(moved, excess[w])
                    excess[w] -= moved
                    x += moved
                    if x == 0.0:
                        break
            excess[v] = x
        most = max(most, met)
        if met <= 0.02 * most:
            return i
    return 2 * rounds
