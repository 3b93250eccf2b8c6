"""Maximum flow by highest-label push-relabel with gaps and global relabelling, from any state of a network.

Its bound of O(n^2 sqrt(m)) holds for any capacities, floats included: a push either empties a node or fills an
arc, exactly. It moves the flow of many nodes together, which search trees do not.

Cherkassky and Goldberg, "On implementing the push-relabel method for the maximum flow problem", Algorithmica 1997.
"""

from typing import Any


def push_relabel(
    first: Any,
    last: Any,
    head: Any,
    opposite: Any,
    capacity: Any,
    excess: Any,
    side: Any,
    height: Any,
    current: Any,
    links: Any,
    lists: Any,
) -> int:
    """Push what excess is left towards the nodes that lack some; afterwards `side` tells who still reaches one.

    Nodes with `side` >= 0 take no part. `current` (n) is the arc to look at next and, during a global relabelling,
    the queue. Nodes of one height form a doubly linked list (next in links[:n], previous in links[n : 2 n], head in
    lists[: n + 2]); those with excess also a stack (links[2 n :], lists[n + 2 :]). Height n + 1 means: reaches none
    any more. Returns the number of global relabellings.
    """
    n = len(excess)
    dead = n + 1
    stack = n + 2
    n_arcs = 0
    for v in range(n):
        n_arcs += last[v] - first[v]
    limit = 6 * n + n_arcs
    work = limit + 1
    highest = 0
    top = 0
    n_relabellings = 0
    exact = False
    while True:
        if work > limit:
            # Exact distances to the sink by breadth-first search over residual arcs.
            n_relabellings += 1
            exact = True
            work = 0
            for k in range(2 * (n + 2)):
                lists[k] = -1
            n_found = 0
            for v in range(n):
                height[v] = dead
                if side[v] < 0 and excess[v] < 0.0:
                    height[v] = 1
                    current[n_found] = v
                    n_found += 1
            i = 0
            while i < n_found:
                w = current[i]
                i += 1
                distance = height[w] + 1
                for e in range(first[w], last[w]):
                    v = head[e]
                    if v >= 0 and height[v] == dead and capacity[opposite[e]] > 0.0:
                        height[v] = distance
                        current[n_found] = v
                        n_found += 1
            highest = 0
            top = 0
            for i in range(n_found):
                v = current[i]
                level = height[v]
                other = lists[level]
                links[v] = other
                links[n + v] = -1
                if other >= 0:
                    links[n + other] = v
                lists[level] = v
                top = level
                if excess[v] > 0.0:
                    links[2 * n + v] = lists[stack + level]
                    lists[stack + level] = v
                    highest = level
            for v in range(n):
                current[v] = first[v]
        while highest > 0 and lists[stack + highest] < 0:
            highest -= 1
        if highest == 0:
            if exact:
                break
            work = limit + 1  # one last exact search tells the sides apart
            continue

        exact = False
        v = lists[stack + highest]
        lists[stack + highest] = links[2 * n + v]
        level = highest
        amount = excess[v]
        while amount > 0.0:
            e = current[v]
            end = last[v]
            while e < end:
                if capacity[e] > 0.0:
                    w = head[e]
                    if height[w] == level - 1:
                        pushed = min(amount, capacity[e])
                        capacity[e] -= pushed
                        capacity[opposite[e]] += pushed
                        before = excess[w]
                        excess[w] = before + pushed
                        if before <= 0.0 and excess[w] > 0.0:
                            links[2 * n + w] = lists[stack + level - 1]
                            lists[stack + level - 1] = w
                        amount -= pushed
                        if amount == 0.0:
                            break
                e += 1
            current[v] = e
            if amount == 0.0:
                break

            lowest = dead
            for e in range(first[v], end):
                if capacity[e] > 0.0 and height[head[e]] + 1 < lowest:
                    lowest = height[head[e]] + 1
            work += end - first[v] + 12
            after = links[v]
            before_v = links[n + v]
            if after >= 0:
                links[n + after] = before_v
            if before_v >= 0:
                links[before_v] = after
            else:
                lists[level] = after
            if lists[level] < 0:
                # A gap: nothing above this level reaches the sink any more, this node included.
                for k in range(level + 1, top + 1):
                    w = lists[k]
                    while w >= 0:
                        height[w] = dead
                        w = links[w]
                    lists[k] = -1
                    lists[stack + k] = -1
                top = level - 1
                lowest = dead
            height[v] = lowest
            if lowest == dead:
                break
            other = lists[lowest]
            links[v] = other
            links[n + v] = -1
            if other >= 0:
                links[n + other] = v
            lists[lowest] = v
            level = lowest
            if level > top:
                top = level
            current[v] = first[v]
            if work > limit:
                break
        excess[v] = amount
        if level > highest:
            highest = level
    for v in range(n):
        if side[v] < 0:
            side[v] = 1 if height[v] <= n else 0
    return n_relabellings
