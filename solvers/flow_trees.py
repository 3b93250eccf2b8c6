"""Maximum flow by two search trees, from the sources and from the sinks, kept from one augmentation to the next.

Quick where flow has a short way to go. Boykov and Kolmogorov, "An experimental comparison of min-cut/max-flow
algorithms for energy minimization in vision", IEEE TPAMI 2004, with their marks and distances.
"""

from typing import Any


def grow_trees(
    first: Any,
    last: Any,
    head: Any,
    opposite: Any,
    capacity: Any,
    excess: Any,
    side: Any,
    tree: Any,
    links: Any,
    queue: Any,
    orphans: Any,
    budget: int,
) -> int:
    """Augment until no path is left; returns the steps, -1 if it gave up after `budget` of them.

    Nodes with `side` >= 0 take no part. At the end `side` is 1 for those that still reach a lack of excess, 0 for the
    others; after giving up `side` is as before, and arcs and excess hold the flow so far. `tree` (n): 0 = none (all at
    first), 1 = from the sources, 2 = from the sinks; `links` (4 n), of nodes in a tree: the arc to the parent, the
    parent (-2 = terminal, -3 = orphan), time and distance to the terminal when last seen; `queue` (2 n) ring of active
    nodes, then a flag for each, zero at first; `orphans` (n) ring.
    """
    n = len(excess)
    work: int = 0
    time = 0
    at = 0  # next in the ring of active nodes
    n_active = 0
    n_left = 0
    for v in range(n):
        if side[v] >= 0:
            continue
        n_left += 1
        x = excess[v]
        if x != 0.0:
            tree[v] = 1 if x > 0.0 else 2
            links[4 * v + 1] = -2
            links[4 * v + 2] = 0
            links[4 * v + 3] = 1
            queue[n_active] = v
            queue[n + v] = 1
            n_active += 1
    if 8 * n_active < n_left:
        # Far from most nodes to a terminal: two passes in order find a way for all of them, without the queue's levels,
        # each of which would walk through the whole network. Then only nodes at the border of their tree are active.
        for turn in range(2):
            for k in range(n):
                v = n - 1 - k if turn == 0 else k
                if side[v] >= 0 or (tree[v] != 0 and links[4 * v + 1] == -2):
                    continue
                nearest = links[4 * v + 3] - 1 if tree[v] != 0 else n + 1
                for e in range(first[v], last[v]):
                    w = head[e]
                    if w < 0 or tree[w] == 0 or links[4 * w + 3] >= nearest:
                        continue
                    if tree[v] != 0 and tree[w] != tree[v]:
                        continue
                    if (capacity[e] if tree[w] == 2 else capacity[opposite[e]]) > 0.0:
                        nearest = links[4 * w + 3]
                        tree[v] = tree[w]
                        links[4 * v] = e
                        links[4 * v + 1] = w
                        links[4 * v + 2] = 0
                        links[4 * v + 3] = nearest + 1
        n_active = 0
        for v in range(n):
            queue[n + v] = 0
            if tree[v] == 0:
                continue
            for e in range(first[v], last[v]):
                w = head[e]
                if w >= 0 and tree[w] != tree[v] and (capacity[e] if tree[v] == 1 else capacity[opposite[e]]) > 0.0:
                    queue[n_active] = v
                    queue[n + v] = 1
                    n_active += 1
                    break
    while n_active > 0:
        v = queue[at]
        at += 1
        if at == n:
            at = 0
        n_active -= 1
        queue[n + v] = 0
        mine = tree[v]
        if mine == 0:
            continue
        work += last[v] - first[v]
        e = first[v]
        while e < last[v]:
            w = head[e]
            residual = capacity[e] if mine == 1 else capacity[opposite[e]]
            if w < 0 or residual <= 0.0:
                e += 1
                continue
            other = tree[w]
            if other == mine:
                if links[4 * w + 2] <= links[4 * v + 2] and links[4 * w + 3] > links[4 * v + 3]:
                    links[4 * w] = opposite[e]
                    links[4 * w + 1] = v
                    links[4 * w + 2] = links[4 * v + 2]
                    links[4 * w + 3] = links[4 * v + 3] + 1
                e += 1
                continue
            if other == 0:
                tree[w] = mine
                links[4 * w] = opposite[e]
                links[4 * w + 1] = v
                links[4 * w + 2] = links[4 * v + 2]
                links[4 * w + 3] = links[4 * v + 3] + 1
                if queue[n + w] == 0:
                    queue[n + w] = 1
                    i = at + n_active
                    queue[i if i < n else i - n] = w
                    n_active += 1
                e += 1
                continue

            # The trees meet: push what the path from source to sink can take.
            if work > budget:
                return -1
            time += 1
            middle = e if mine == 1 else opposite[e]
            pushed = capacity[middle]
            a = head[opposite[middle]]
            u = a
            while links[4 * u + 1] >= 0:
                pushed = min(pushed, capacity[opposite[links[4 * u]]])
                u = links[4 * u + 1]
            pushed = min(pushed, excess[u])
            b = head[middle]
            u = b
            while links[4 * u + 1] >= 0:
                pushed = min(pushed, capacity[links[4 * u]])
                u = links[4 * u + 1]
            pushed = min(pushed, -excess[u])

            n_orphans = 0
            front = 0
            work += last[v] - first[v]
            capacity[middle] -= pushed
            capacity[opposite[middle]] += pushed
            u = a
            while links[4 * u + 1] >= 0:
                work += 1
                f = links[4 * u]
                above = links[4 * u + 1]
                r = opposite[f]
                capacity[f] += pushed
                capacity[r] -= pushed
                if capacity[r] <= 0.0:
                    links[4 * u + 1] = -3
                    orphans[n_orphans] = u
                    n_orphans += 1
                u = above
            excess[u] -= pushed
            if excess[u] <= 0.0:
                links[4 * u + 1] = -3
                orphans[n_orphans] = u
                n_orphans += 1
            u = b
            while links[4 * u + 1] >= 0:
                work += 1
                f = links[4 * u]
                above = links[4 * u + 1]
                r = opposite[f]
                capacity[r] += pushed
                capacity[f] -= pushed
                if capacity[f] <= 0.0:
                    links[4 * u + 1] = -3
                    orphans[n_orphans] = u
                    n_orphans += 1
                u = above
            excess[u] += pushed
            if excess[u] >= 0.0:
                links[4 * u + 1] = -3
                orphans[n_orphans] = u
                n_orphans += 1

            # Every orphan looks for another parent whose path still reaches a terminal.
            while n_orphans > 0:
                o = orphans[front]
                front += 1
                if front == n:
                    front = 0
                n_orphans -= 1
                kind = tree[o]
                work += last[o] - first[o]
                best = -1
                nearest = n + 1
                for f in range(first[o], last[o]):
                    u = head[f]
                    if u < 0 or tree[u] != kind:
                        continue
                    residual = capacity[opposite[f]] if kind == 1 else capacity[f]
                    if residual <= 0.0:
                        continue
                    distance = 0
                    j = u
                    while True:
                        if links[4 * j + 2] == time:
                            distance += links[4 * j + 3]
                            break
                        up = links[4 * j + 1]
                        distance += 1
                        work += 1
                        if up == -2:
                            links[4 * j + 2] = time
                            links[4 * j + 3] = 1
                            break
                        if up < 0:
                            distance = n + 1
                            break
                        j = up
                    if distance <= n:
                        if distance < nearest:
                            nearest = distance
                            best = f
                        j = u
                        while links[4 * j + 2] != time:
                            links[4 * j + 2] = time
                            links[4 * j + 3] = distance
                            distance -= 1
                            j = links[4 * j + 1]
                if best >= 0:
                    links[4 * o] = best
                    links[4 * o + 1] = head[best]
                    links[4 * o + 2] = time
                    links[4 * o + 3] = nearest + 1
                    continue
                for f in range(first[o], last[o]):
                    u = head[f]
                    if u < 0 or tree[u] != kind:
                        continue
                    residual = capacity[opposite[f]] if kind == 1 else capacity[f]
                    if residual > 0.0 and queue[n + u] == 0:
                        queue[n + u] = 1
                        i = at + n_active
                        queue[i if i < n else i - n] = u
                        n_active += 1
                    if links[4 * u + 1] == o:
                        links[4 * u + 1] = -3
                        i = front + n_orphans
                        orphans[i if i < n else i - n] = u
                        n_orphans += 1
                tree[o] = 0
            if tree[v] != mine:
                break
    for v in range(n):
        if side[v] < 0:
            side[v] = 1 if tree[v] == 2 else 0
    return work
