"""The dynamic program over down-sets itself: from each one, every part that may come next, with its load.

A part grows by one group at a time and shrinks again on the way back. Its load counts each tensor that crosses its
border; of that, the *floor* stays whatever else joins the part: its compute time, what it receives from the lower
down-set, and what it sends there (backward tensors). Above a floor that reaches the value to beat nothing is looked at.
"""

from typing import Any, NamedTuple, TypeAlias

import numpy as np

from solvers._arrays import IntArray
from solvers._jit import Backend, choose
from solvers.contiguous_groups import FORBIDDEN, Groups
from solvers.down_sets import DownSets, plain_size

_BLOCK = 4_096


class _Work(NamedTuple):
    """What the groups cost, flat; n_kinds varies fastest."""

    compute: Any  # (n_groups * n_kinds,)
    memory: Any  # (n_groups,)
    touch_offsets: Any  # (n_groups + 1,)
    touches: Any
    n_readers: Any  # (n_tensors,)
    receive: Any  # (n_tensors * n_kinds,)
    send: Any  # (n_tensors * n_kinds,)


class Machines(NamedTuple):
    """Combinations of used machines: mixed-radix numbers with one digit a kind."""

    used: Any  # (n_states * n_kinds,)
    strides: Any  # (n_kinds,)
    counts: Any  # (n_kinds,)
    memory_limit: Any  # (n_kinds,)
    capacity: Any  # (n_states,) float: machines left, each weighted by its speed


class _Scratch(NamedTuple):
    """Room for one run through the down-sets above another; the last four start at zero and return to it."""

    node: Any  # (n_groups + 1,) the down-set at each depth
    added: Any  # (n_groups + 1,) the group that led to it; -1 at depth 0
    cursor: Any  # (n_groups + 1,) the next cover to try there
    floor: Any  # (n_groups + 1,) the part's load that stays whatever is added
    load: Any  # (n_groups + 1,) the part's load
    memory: Any  # (n_groups + 1,)
    states: Any  # (n_states,) those to go on from
    made_inside: Any  # (n_tensors,) the part makes the tensor
    read_inside: Any  # (n_tensors,) groups of the part that read it
    made_below: Any  # (n_tensors,) the lower down-set makes it
    read_below: Any  # (n_tensors,) groups of the lower down-set that read it


Parts: TypeAlias = list[tuple[int, list[int]]]
"""Kind of machine and groups of each part, in the order of the pipeline."""


def best_parts(
    lattice: DownSets, groups: Groups, machines: Machines, upper: int, *, prune: bool
) -> tuple[int, Parts | None, int]:
    """Return the least largest load below `upper`, the parts in order as (kind, groups), and the pairs looked at."""
    backend = choose(plain_size(lattice.n_sets))
    n_states, n_tensors = len(machines.capacity), len(groups.n_readers)
    n_kinds = len(machines.counts)
    work = _Work(
        compute=backend.load(groups.compute.ravel()),
        memory=backend.load(groups.memory),
        touch_offsets=backend.load(groups.touch_offsets),
        touches=backend.load(groups.touches),
        n_readers=backend.load(groups.n_readers),
        receive=backend.load(groups.receive.ravel()),
        send=backend.load(groups.send.ravel()),
    )
    options = Machines(
        used=backend.load(machines.used),
        strides=backend.load(machines.strides),
        counts=backend.load(machines.counts),
        memory_limit=backend.load(machines.memory_limit),
        capacity=backend.load(machines.capacity, np.float64),
    )
    sets = (backend.load(one) for one in (lattice.offsets, lattice.elements, lattice.targets))
    left = backend.load(_time_left(lattice, groups, machines))
    value = backend.full(lattice.n_sets * n_states, FORBIDDEN)
    origin = backend.full(lattice.n_sets * n_states, -1)
    value[0] = 0
    best = backend.full(1, upper)
    tree = (*sets, backend.load(lattice.parent), backend.load(lattice.highest), left)
    scratch = _scratch(backend, groups.n_groups, n_states, n_tensors)
    n_pairs = 0
    # In blocks, so that Ctrl-C is heard in between.
    for first in range(0, lattice.n_sets - 1, _BLOCK):
        last = min(first + _BLOCK, lattice.n_sets - 1)
        n_pairs += backend.run(
            _extend, first, last, *tree, work, options, scratch, value, origin, best, FORBIDDEN, prune
        )
    ends = [(int(value[(lattice.n_sets - 1) * n_states + state]), state) for state in range(n_states)]
    least, state = min(ends)
    if least >= upper:
        return upper, None, n_pairs
    parts = []
    index = lattice.n_sets - 1
    while index > 0:
        below, kind = divmod(int(origin[index * n_states + state]), n_kinds)
        parts.append((kind, sorted(set(lattice.members(index)) - set(lattice.members(below)))))
        state -= int(machines.strides[kind])
        index = below
    return least, parts[::-1], n_pairs


def _time_left(lattice: DownSets, groups: Groups, machines: Machines) -> IntArray:
    """Return the compute time of what each down-set lacks, every group on its fastest kind; (n_down_sets,)."""
    fastest = np.where(machines.counts[None, :] > 0, groups.compute, FORBIDDEN).min(axis=1)
    backend = choose(plain_size(lattice.n_sets))
    left = backend.full(lattice.n_sets, int(fastest.sum()))
    parent, highest = backend.load(lattice.parent), backend.load(lattice.highest)
    backend.run(_take_away, parent, highest, backend.load(fastest), left)
    return np.array(left, dtype=np.int64)


def _scratch(backend: Backend, n_groups: int, n_states: int, n_tensors: int) -> _Scratch:
    sizes = (*(n_groups + 1,) * 6, n_states, *(n_tensors,) * 4)
    return _Scratch(*(backend.full(size, 0) for size in sizes))


def _take_away(parent: Any, highest: Any, amount: Any, left: Any) -> int:
    """Take from `left` (n_down_sets), which starts as the sum of `amount`, what each down-set holds."""
    for index in range(1, len(parent)):
        left[index] = left[parent[index]] - amount[highest[index]]
    return 0


def _extend(
    first: int,
    last: int,
    offsets: Any,
    elements: Any,
    targets: Any,
    parent: Any,
    highest: Any,
    left: Any,
    work: _Work,
    machines: Machines,
    scratch: _Scratch,
    value: Any,
    origin: Any,
    best: Any,
    forbidden: int,
    prune: bool,
) -> int:
    """Extend the down-sets `first` to `last` by one part each; return how many pairs were looked at.

    `value` and `origin` (n_down_sets * n_states) hold, for each state, the least largest load and where it came from
    (down-set * n_kinds + kind); `best` (1) the value to beat.
    """
    n_kinds = len(machines.counts)
    n_states = len(machines.capacity)
    full = len(parent) - 1
    n_pairs = 0
    for lower in range(first, last):
        marked = False
        for kind in range(n_kinds):
            # The states to go on from: those that have a machine of this kind left, can still win, and are not
            # matched by one with fewer machines used.
            n_live = 0
            least = forbidden
            for state in range(n_states):
                here = value[lower * n_states + state]
                if (
                    here >= best[0]
                    or here >= forbidden
                    or machines.used[state * n_kinds + kind] == machines.counts[kind]
                ):
                    continue
                if prune and left[lower] > best[0] * machines.capacity[state] * 1.000000000001:
                    continue
                matched = False
                for other in range(n_kinds):
                    if machines.used[state * n_kinds + other] > 0:
                        matched = matched or value[lower * n_states + state - machines.strides[other]] <= here
                if matched:
                    continue
                scratch.states[n_live] = state
                n_live += 1
                least = min(least, here)
            if n_live == 0:
                continue
            if not marked:
                marked = True
                index = lower
                while parent[index] >= 0:
                    group = highest[index]
                    for k in range(work.touch_offsets[group], work.touch_offsets[group + 1]):
                        if work.touches[k] % 2 == 1:
                            scratch.made_below[work.touches[k] // 2] = 1
                        else:
                            scratch.read_below[work.touches[k] // 2] += 1
                    index = parent[index]
            depth = 0
            scratch.node[0] = lower
            scratch.added[0] = -1
            scratch.cursor[0] = offsets[lower]
            scratch.floor[0] = 0
            scratch.load[0] = 0
            scratch.memory[0] = 0
            while depth >= 0:
                node = scratch.node[depth]
                cursor = scratch.cursor[depth]
                newest = scratch.added[depth]
                if cursor < offsets[node + 1] and elements[cursor] > newest:
                    scratch.cursor[depth] = cursor + 1
                    group = elements[cursor]
                    floor = scratch.floor[depth] + work.compute[group * n_kinds + kind]
                    memory = scratch.memory[depth] + work.memory[group]
                    n_pairs += 1
                    if floor >= forbidden or memory > machines.memory_limit[kind] or (prune and floor >= best[0]):
                        continue
                    load = scratch.load[depth] + work.compute[group * n_kinds + kind]
                    for k in range(work.touch_offsets[group], work.touch_offsets[group + 1]):
                        tensor = work.touches[k] // 2
                        if work.touches[k] % 2 == 1:
                            scratch.made_inside[tensor] = 1
                            if scratch.read_inside[tensor] > 0:
                                load -= work.receive[tensor * n_kinds + kind]
                            if scratch.read_inside[tensor] < work.n_readers[tensor]:
                                load += work.send[tensor * n_kinds + kind]
                                if scratch.read_below[tensor] > 0:
                                    floor += work.send[tensor * n_kinds + kind]
                        else:
                            scratch.read_inside[tensor] += 1
                            if scratch.made_inside[tensor] == 1:
                                if scratch.read_inside[tensor] == work.n_readers[tensor]:
                                    load -= work.send[tensor * n_kinds + kind]
                            elif scratch.read_inside[tensor] == 1:
                                load += work.receive[tensor * n_kinds + kind]
                                if scratch.made_below[tensor] == 1:
                                    floor += work.receive[tensor * n_kinds + kind]
                    target = targets[cursor]
                    depth += 1
                    scratch.node[depth] = target
                    scratch.added[depth] = group
                    scratch.cursor[depth] = offsets[target]
                    scratch.floor[depth] = floor
                    scratch.load[depth] = load
                    scratch.memory[depth] = memory
                    if prune and floor >= best[0]:
                        scratch.cursor[depth] = offsets[target + 1]
                        continue
                    if max(load, least) >= best[0]:
                        continue
                    for k in range(n_live):
                        state = scratch.states[k]
                        larger = max(load, value[lower * n_states + state])
                        state = target * n_states + state + machines.strides[kind]
                        if larger < value[state]:
                            value[state] = larger
                            origin[state] = lower * n_kinds + kind
                    if prune and target == full:
                        for state in range(n_states):
                            best[0] = min(best[0], value[full * n_states + state])
                else:
                    if depth > 0:
                        group = newest
                        for k in range(work.touch_offsets[group], work.touch_offsets[group + 1]):
                            if work.touches[k] % 2 == 1:
                                scratch.made_inside[work.touches[k] // 2] = 0
                            else:
                                scratch.read_inside[work.touches[k] // 2] -= 1
                    depth -= 1
        if marked:
            for tensor in range(len(work.n_readers)):
                scratch.made_below[tensor] = 0
                scratch.read_below[tensor] = 0
    return n_pairs
