"""The problem that a contiguous split is really about: groups of layers that sit together, on whole numbers.

Layers become one group where every split, or some best split, has them on one machine:

- colocated layers, and groups whose edges lead around in a circle: no contiguous split parts them;
- a group without load and with one neighbour joins it. That saves a transfer and costs nothing, unless it moves bytes
  into a memory that may overflow, so a group with bytes joins only where all bytes together fit every machine.

Tensors are still charged one by one: what counts is which groups read a tensor, not which group made it.

Times become whole multiples of a power of two that is at most 2^-60 of their sum. Sums of them are exact in any order
and can be undone, so that adding a group and taking it back leaves no trace; each time is off by half a multiple.
"""

from typing import Any, NamedTuple

import numpy as np

from solvers._arrays import FloatArray, IntArray
from solvers.blocks import blocks_of
from solvers.contiguous_problem import PipelineProblem
from solvers.layer_graph import LayerGraph
from solvers.solution import LIMIT_TOLERANCE

FORBIDDEN = 1 << 61
"""Stands for an infinite time: more than any sum of finite ones."""

_TOTAL_BITS = 60
_SMALLEST_EXPONENT = -1074


class Groups(NamedTuple):
    """Groups in a topological order of the edges between them, and the tensors that join them.

    A tensor appears once per producing group and set of other groups that read it; equal ones are added up.
    """

    group_of_layer: IntArray  # (n_layers,)
    compute: IntArray  # (n_groups, n_kinds) FORBIDDEN where not allowed
    memory: IntArray  # (n_groups,)
    memory_limit: IntArray  # (n_kinds,)
    tails: IntArray  # (n_edges,) edges that may not lead back, each once, tails < heads
    heads: IntArray  # (n_edges,)
    touch_offsets: IntArray  # (n_groups + 1,)
    touches: IntArray  # 2 * tensor + (1 if the group makes it), for each tensor that a group makes or reads
    n_readers: IntArray  # (n_tensors,) groups that read it, the maker not counted
    receive: IntArray  # (n_tensors, n_kinds)
    send: IntArray  # (n_tensors, n_kinds)
    quantum: float  # what one unit of compute, receive and send stands for

    @property
    def n_groups(self) -> int:
        """Number of groups."""
        return len(self.compute)


def grouped(problem: PipelineProblem) -> Groups:
    """Merge what sits together and put times and bytes on whole numbers.

    Complexity O(n_layers + n_consumers log n_consumers), and cubic in the groups on circles, with 64 of them at a time.
    """
    group_of_layer = blocks_of(problem.n_layers, problem.colocated)
    group_of_layer = _without_circles(problem, group_of_layer)
    n_kinds = problem.n_kinds
    quantum = _quantum(problem)
    limits = problem.memory_limit_bytes
    bytes_matter = bool(np.any(problem.memory_bytes.sum() > limits[problem.machine_counts > 0]))
    byte_quantum = _power_of_two(float(problem.memory_bytes.sum()))
    layer_bytes = _on_grid(problem.memory_bytes, byte_quantum) if bytes_matter else np.zeros(problem.n_layers, np.int64)

    n_groups = int(group_of_layer.max(initial=-1)) + 1
    compute = np.zeros((n_groups, n_kinds), dtype=np.int64)
    forbidden = np.isinf(problem.compute)
    np.add.at(compute, group_of_layer, _on_grid(np.where(forbidden, 0.0, problem.compute), quantum))
    banned = np.zeros((n_groups, n_kinds), dtype=np.bool_)
    np.logical_or.at(banned, group_of_layer, forbidden)
    compute[banned] = FORBIDDEN
    memory = np.zeros(n_groups, dtype=np.int64)
    np.add.at(memory, group_of_layer, layer_bytes)

    loose = _without_loose_ends(problem, group_of_layer, compute, memory)
    members = loose[group_of_layer]
    rank = _topological_rank(problem, members)
    group_of_layer = rank[members]
    kept = np.unique(loose)
    order = np.argsort(rank[kept])
    # A loose end has no load, and what it was forbidden it is not any more: it goes where its neighbour goes.
    group_compute = compute[kept[order]]
    group_memory = np.zeros(len(kept), dtype=np.int64)
    np.add.at(group_memory, rank[loose], memory)

    makers, readers, receive, send = _tensors(problem, group_of_layer, quantum)
    touched: list[list[int]] = [[] for _ in kept]
    for tensor, maker in enumerate(makers):
        touched[maker].append(2 * tensor + 1)
        for reader in readers[tensor]:
            touched[reader].append(2 * tensor)
    tails, heads = _edges(problem, group_of_layer)
    return Groups(
        group_of_layer=group_of_layer,
        compute=group_compute,
        memory=group_memory,
        memory_limit=_limits_on_grid(problem, limits, byte_quantum),
        tails=tails,
        heads=heads,
        touch_offsets=np.cumsum([0] + [len(one) for one in touched], dtype=np.int64),
        touches=np.array([touch for one in touched for touch in one], dtype=np.int64),
        n_readers=np.array([len(one) for one in readers], dtype=np.int64),
        receive=receive,
        send=send,
        quantum=quantum,
    )


def _edges(problem: PipelineProblem, group_of_layer: IntArray) -> tuple[IntArray, IntArray]:
    """Return the edges between different groups that may not lead back, each once."""
    tails, heads = (group_of_layer[layers] for layers in problem.ordered_edges())
    n_groups = int(group_of_layer.max(initial=0)) + 1
    pairs = np.unique(tails[tails != heads] * n_groups + heads[tails != heads])
    return pairs // n_groups, pairs % n_groups


def _without_circles(problem: PipelineProblem, group_of_layer: IntArray) -> IntArray:
    """Merge groups that reach each other."""
    tails, heads = _edges(problem, group_of_layer)
    n_groups = int(group_of_layer.max(initial=-1)) + 1
    left = set(range(n_groups))
    for ends in ((tails, heads), (heads, tails)):  # what no circle leads to, and what leads to none, goes
        left -= set(LayerGraph.of(n_groups, *ends).order.tolist())
    if not left:
        return group_of_layer
    reach = {group: 1 << group for group in left}
    for tail, head in zip(tails.tolist(), heads.tolist(), strict=True):
        if tail in left and head in left:
            reach[tail] |= 1 << head
    for middle in left:
        for group in left:
            if reach[group] >> middle & 1:
                reach[group] |= reach[middle]
    root = list(range(n_groups))
    for group in left:
        root[group] = min(other for other in left if reach[group] >> other & 1 and reach[other] >> group & 1)
    return np.unique(np.array(root)[group_of_layer], return_inverse=True)[1].ravel().astype(np.int64)


def _without_loose_ends(
    problem: PipelineProblem, group_of_layer: IntArray, compute: IntArray, memory: IntArray
) -> IntArray:
    """Return, for each group, the one that it joins: itself, or its only neighbour if it has no load."""
    n_groups = len(compute)
    around: list[set[int]] = [set() for _ in range(n_groups)]
    makers = group_of_layer[problem.tensor_producer[problem.consumer_owners()]]
    for maker, reader in zip(makers.tolist(), group_of_layer[problem.consumer_layers].tolist(), strict=True):
        if maker != reader:
            around[maker].add(reader)
            around[reader].add(maker)
    joins = list(range(n_groups))
    waiting = list(range(n_groups - 1, -1, -1))
    while waiting:
        group = waiting.pop()
        if joins[group] != group or len(around[group]) != 1 or memory[group] != 0:
            continue
        (neighbour,) = around[group]
        if bool(np.any((compute[neighbour] < FORBIDDEN) & (compute[group] != 0))):
            continue
        joins[group] = neighbour
        around[group].clear()
        around[neighbour].discard(group)
        waiting.append(neighbour)
    for group in range(n_groups):
        end = group
        while joins[end] != end:
            end = joins[end]
        joins[group] = end
    return np.array(joins, dtype=np.int64)


def _topological_rank(problem: PipelineProblem, members: IntArray) -> IntArray:
    """Number the groups that are left, depth first: a branch is followed to its end before the next one starts.

    Such an order cuts few edges between one prefix and the rest, so its prefixes are good places to split.
    """
    tails, heads = _edges(problem, members)
    present = np.unique(members)
    after: dict[int, list[int]] = {int(group): [] for group in present}
    missing = dict.fromkeys(after, 0)
    for tail, head in zip(tails.tolist(), heads.tolist(), strict=True):
        after[tail].append(head)
        missing[head] += 1
    rank = np.full(int(members.max(initial=-1)) + 1, -1, dtype=np.int64)
    ready = [group for group in reversed(present.tolist()) if missing[group] == 0]
    number = 0
    while ready:
        group = ready.pop()
        rank[group] = number
        number += 1
        for head in after[group]:
            missing[head] -= 1
            if missing[head] == 0:
                ready.append(head)
    return rank


def _tensors(
    problem: PipelineProblem, group_of_layer: IntArray, quantum: float
) -> tuple[list[int], list[tuple[int, ...]], IntArray, IntArray]:
    """Return maker, readers, receive and send of the tensors that can cross, those with equal ends added up."""
    receive, send = _on_grid(problem.receive, quantum), _on_grid(problem.send, quantum)
    makers = group_of_layer[problem.tensor_producer].tolist()
    readers = group_of_layer[problem.consumer_layers].tolist()
    offsets = problem.consumer_offsets.tolist()
    number: dict[tuple[int, tuple[int, ...]], int] = {}
    kept = np.full(problem.n_tensors, -1, dtype=np.int64)
    for tensor, maker in enumerate(makers):
        others = tuple(sorted(set(readers[offsets[tensor] : offsets[tensor + 1]]) - {maker}))
        if others and (receive[tensor].any() or send[tensor].any()):
            kept[tensor] = number.setdefault((maker, others), len(number))
    totals = np.zeros((2, len(number), problem.n_kinds), dtype=np.int64)
    for total, prices in zip(totals, (receive, send), strict=True):
        np.add.at(total, kept[kept >= 0], prices[kept >= 0])
    return [maker for maker, _ in number], [others for _, others in number], totals[0], totals[1]


def _quantum(problem: PipelineProblem) -> float:
    finite = np.where(np.isinf(problem.compute), 0.0, problem.compute).max(axis=1, initial=0.0)
    total = finite.sum()
    # Each machine that reads a tensor pays for it, the sender once.
    total += problem.receive.max(axis=1, initial=0.0).sum() + problem.send.max(axis=1, initial=0.0).sum()
    return _power_of_two(float(total))


def _power_of_two(total: float) -> float:
    """Return a power of two of which `total` holds at most 2^60; not below the smallest that float64 has."""
    exponent = max(int(np.frexp(total)[1]) - _TOTAL_BITS, _SMALLEST_EXPONENT)
    return float(np.ldexp(1.0, exponent)) if total > 0 else 1.0


def _on_grid(values: FloatArray, quantum: float) -> IntArray:
    return np.rint(values / quantum).astype(np.int64)


def _limits_on_grid(problem: PipelineProblem, limits: FloatArray, quantum: float) -> IntArray:
    """Return limits that the bytes of a machine may reach, with room for the rounding of each of them."""
    total = float(problem.memory_bytes.sum())
    allowed: list[Any] = []
    for limit in limits.tolist():
        if limit >= total:
            allowed.append(FORBIDDEN)
        else:
            allowed.append(int(np.floor(limit * (1 + LIMIT_TOLERANCE) / quantum)))
    return np.array(allowed, dtype=np.int64)
