"""Maximum flow, or rather its minimum cut: two search trees that are kept from one augmentation to the next.

Boykov and Kolmogorov, "An experimental comparison of min-cut / max-flow algorithms for energy minimization in
vision", IEEE TPAMI 2004. 
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
    parent: Any,
    marks: Any,
    queue: Any,
    orphans: Any,
) -> int:
    n = len(excess)
    n_augmentations = 0
    time = 0
    at = 0  # next in the ring of active nodes
    n_active = 0
    for v in range(n):
        if side[v] >= 0:
            continue
        x = excess[v]
        if x != 0.0:
            tree[v] = 1 if x > 0.0 else 2
            parent[v] = -2
            marks[2 * v] = 0
            marks[2 * v + 1] = 1
            queue[n_active] = v
            queue[n + v] = 1
            n_active += 1
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
        e = first[v]
        while e < last[v]:
            residual = capacity[e] if mine == 1 else capacity[opposite[e]]
            if residual <= 0.0:
                e += 1
                continue
            w = head[e]
            other = tree[w]
            if other == mine:
                if marks[2 * w] <= marks[2 * v] and marks[2 * w + 1] > marks[2 * v + 1]:
                    parent[w] = opposite[e]
                    marks[2 * w] = marks[2 * v]
                    marks[2 * w + 1] = marks[2 * v + 1] + 1
                e += 1
                continue
            if other == 0:
                tree[w] = mine
                parent[w] = opposite[e]
                marks[2 * w] = marks[2 * v]
                marks[2 * w + 1] = marks[2 * v + 1] + 1
                if queue[n + w] == 0:
                    queue[n + w] = 1
                    i = at + n_active
                    queue[i if i < n else i - n] = w
                    n_active += 1
                e += 1
                continue

            # The trees meet: push what the path from source to sink can take.
            n_augmentations += 1
            time += 1
            middle = e if mine == 1 else opposite[e]
            pushed = capacity[middle]
            a = head[opposite[middle]]
            u = a
            while parent[u] >= 0:
                pushed = min(pushed, capacity[opposite[parent[u]]])
                u = head[parent[u]]
            pushed = min(pushed, excess[u])
            b = head[middle]
            u = b
            while parent[u] >= 0:
                pushed = min(pushed, capacity[parent[u]])
                u = head[parent[u]]
            pushed = min(pushed, -excess[u])

            n_orphans = 0
            front = 0
            capacity[middle] -= pushed
            capacity[opposite[middle]] += pushed
            u = a
            while parent[u] >= 0:
                f = parent[u]
                r = opposite[f]
                capacity[f] += pushed
                capacity[r] -= pushed
                if capacity[r] <= 0.0:
                    parent[u] = -3
                    orphans[n_orphans] = u
                    n_orphans += 1
                u = head[f]
            excess[u] -= pushed
            if excess[u] <= 0.0:
                parent[u] = -3
                orphans[n_orphans] = u
                n_orphans += 1
            u = b
            while parent[u] >= 0:
                f = parent[u]
                r = opposite[f]
                capacity[r] += pushed
                capacity[f] -= pushed
                if capacity[f] <= 0.0:
                    parent[u] = -3
                    orphans[n_orphans] = u
                    n_orphans += 1
                u = head[f]
            excess[u] += pushed
            if excess[u] >= 0.0:
                parent[u] = -3
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
                        if marks[2 * j] == time:
                            distance += marks[2 * j + 1]
                            break
                        up = parent[j]
                        distance += 1
                        if up == -2:
                            marks[2 * j] = time
                            marks[2 * j + 1] = 1
                            break
                        if up < 0:
                            distance = n + 1
                            break
                        j = head[up]
                    if distance <= n:
                        if distance < nearest:
                            nearest = distance
                            best = f
                        j = u
                        while marks[2 * j] != time:
                            marks[2 * j] = time
                            marks[2 * j + 1] = distance
                            distance -= 1
                            j = head[parent[j]]
                if best >= 0:
                    parent[o] = best
                    marks[2 * o] = time
                    marks[2 * o + 1] = nearest + 1
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
                    if parent[u] >= 0 and head[parent[u]] == o:
                        parent[u] = -3
                        i = front + n_orphans
                        orphans[i if i < n else i - n] = u
                        n_orphans += 1
                tree[o] = 0
            if tree[v] != mine:
                break
    for v in range(n):
        if side[v] < 0:
            side[v] = 1 if tree[v] == 2 else 0
    return n_augmentations
