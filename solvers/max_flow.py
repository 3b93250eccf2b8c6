"""Maximum flow, or rather its minimum cut: highest-label push-relabel with gaps and global relabelling.

Its bound of O(n^2 sqrt(m)) holds for any capacities, floats included: a push either empties a node or fills an
arc, exactly. Path-augmenting methods need one phase per distance and slow down on deep graphs.

Cherkassky and Goldberg, "On implementing the push-relabel method for the maximum flow problem", Algorithmica 1997.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from solvers._arrays import FloatArray, IntArray
from solvers._jit import choose


@dataclass(frozen=True, slots=True, eq=False)
class FlowNetwork:
    """Arcs in CSR form by tail, each with its reverse; source and sink are implicit, see `minimum_cut`."""

    first: IntArray  # (n_nodes + 1,)
    head: IntArray  # (n_arcs,)
    reverse: IntArray  # (n_arcs,) index of the opposite arc
    capacity: FloatArray  # (n_arcs,) >= 0

    @classmethod
    def of(
        cls, n_nodes: int, tails: IntArray, heads: IntArray, forwards: FloatArray, backwards: FloatArray
    ) -> "FlowNetwork":
        """Make a network from pairs of nodes with a capacity in each direction. O(n_arcs log n_arcs)."""
        n_pairs = len(tails)
        order = np.argsort(np.concatenate([tails, heads]), kind="stable")
        position = np.empty(2 * n_pairs, dtype=np.int64)
        position[order] = np.arange(2 * n_pairs)
        opposite = np.concatenate([position[n_pairs:], position[:n_pairs]])
        first = np.zeros(n_nodes + 1, dtype=np.int64)
        np.cumsum(np.bincount(tails, minlength=n_nodes) + np.bincount(heads, minlength=n_nodes), out=first[1:])
        return cls(
            first=first,
            head=np.concatenate([heads, tails])[order],
            reverse=opposite[order],
            capacity=np.concatenate([forwards, backwards])[order],
        )


def minimum_cut(network: FlowNetwork, from_source: FloatArray, to_sink: FloatArray, *, size: int) -> IntArray:
    """Return the side of each node in a minimum cut: 0 with the source, 1 with the sink; (n_nodes,) int64.

    Parameters
    ----------
    network : FlowNetwork
    from_source, to_sink : (n_nodes,) float64, >= 0
        Capacities of the arcs source -> node and node -> sink.
    size : int
        Size of the problem behind the network, to choose between interpreter and compiler.

    Notes
    -----
    Among minimum cuts the one with the fewest nodes on the sink's side.
    """
    backend, n_nodes = choose(size), len(from_source)
    through = np.minimum(from_source, to_sink)
    height = backend.full(n_nodes, 0)
    backend.run(
        _push_relabel,
        backend.load(network.first),
        backend.load(network.head),
        backend.load(network.reverse),
        backend.load(network.capacity, np.float64),
        backend.load(from_source - through, np.float64),
        backend.load(to_sink - through, np.float64),
        height,
        backend.full(n_nodes, 0),
        backend.full(3 * n_nodes, -1),
        backend.full(2 * (n_nodes + 2), -1),
    )
    return (np.array(height, dtype=np.int64) <= n_nodes).astype(np.int64)


def _push_relabel(
    first: Any,
    head: Any,
    reverse: Any,
    capacity: Any,
    excess: Any,
    to_sink: Any,
    height: Any,
    current: Any,
    links: Any,
    lists: Any,
) -> int:
    """Push the excess towards the sink; afterwards height <= n marks the nodes that still reach it.

    The n nodes start with the `excess` that the source gives them. `current` (n) is the arc to look at next and,
    during a global relabelling, the queue. Nodes of one height form a doubly linked list (next in links[:n],
    previous in links[n : 2 n], head in lists[: n + 2]); those with excess also a stack (links[2 n :],
    lists[n + 2 :]). Height n + 1 means: reaches the sink no more. Returns the number of global relabellings.
    """
    n = len(excess)
    dead = n + 1
    stack = n + 2
    limit = 6 * n + len(head)
    work = limit + 1
    highest = 0
    top = 0
    n_relabellings = 0
    while True:
        if work > limit:
            # Exact distances to the sink by breadth-first search over residual arcs.
            n_relabellings += 1
            work = 0
            for k in range(2 * (n + 2)):
                lists[k] = -1
            n_found = 0
            for v in range(n):
                if to_sink[v] > 0.0:
                    height[v] = 1
                    current[n_found] = v
                    n_found += 1
                else:
                    height[v] = dead
            i = 0
            while i < n_found:
                w = current[i]
                i += 1
                distance = height[w] + 1
                for e in range(first[w], first[w + 1]):
                    v = head[e]
                    if height[v] == dead and capacity[reverse[e]] > 0.0:
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
            if work == 0:
                return n_relabellings
            work = limit + 1  # one last exact search tells the sides apart
            continue

        v = lists[stack + highest]
        lists[stack + highest] = links[2 * n + v]
        level = highest
        amount = excess[v]
        if to_sink[v] > 0.0:
            pushed = min(amount, to_sink[v])
            to_sink[v] -= pushed
            amount -= pushed
        while amount > 0.0:
            e = current[v]
            end = first[v + 1]
            while e < end:
                if capacity[e] > 0.0:
                    w = head[e]
                    if height[w] == level - 1:
                        pushed = min(amount, capacity[e])
                        capacity[e] -= pushed
                        capacity[reverse[e]] += pushed
                        if excess[w] == 0.0:
                            links[2 * n + w] = lists[stack + level - 1]
                            lists[stack + level - 1] = w
                        excess[w] += pushed
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
            before = links[n + v]
            if after >= 0:
                links[n + after] = before
            if before >= 0:
                links[before] = after
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
