"""Kernels of elimination with sets of labels: completion bounds, the elimination itself, and the walk back.

A cell is one entry of a vector or table. Cells are numbered: all vectors, all tables, then the cell of the final
sum and a cell that holds the number zero. Every step is one row of integers, see `label_program`.
"""

from typing import Any, NamedTuple

import numpy as np


class Program(NamedTuple):
    """Steps in one form whatever their number of neighbours; made by `label_program.program_of`."""

    code: Any
    offsets: Any  # (n_steps + 1,)


class Bounds(NamedTuple):
    """Labels to drop: weights . values + least completion > limit."""

    weights: Any  # (n_bounds * n_objectives,)
    limits: Any  # (n_bounds,)
    current: Any  # (n_bounds * n_cells,) weighted costs; least sums once a cell has been made
    marginals: Any  # (n_bounds * n_cells,) least total through a cell


class Sets(NamedTuple):
    """Where the labels of each cell lie."""

    start: Any  # (n_cells,)
    count: Any
    thinned: Any  # how many roundings the labels of a cell went through


class Pool(NamedTuple):
    """Labels, those of one cell in lexicographic order."""

    values: Any  # (room * n_objectives,)
    traces: Any  # (room,) -1: nothing was chosen yet


class Traces(NamedTuple):
    """Where labels come from: two earlier traces (-1 for none) and a choice, the vector's cell (-1 for none)."""

    left: Any
    right: Any
    choice: Any


class Fronts(NamedTuple):
    """Four buffers for sets in the making: two for the message, two for partial sums."""

    values: Any  # (4 * room * n_objectives,)
    left: Any  # (4 * room,)
    right: Any
    choice: Any


class Small(NamedTuple):
    """Scratch of a few numbers."""

    counters: Any  # (widest,)
    places: Any  # (most tables read + 1,)
    label: Any  # (n_objectives,)
    taken: Any  # (n_objectives,)
    rest: Any  # (n_bounds,)
    completion: Any  # (n_bounds,)
    message: Any  # (n_bounds,)


def complete(program: Any, current: Any, marginals: Any, counters: Any, places: Any) -> int:
    """Write to `marginals` the least total over everything, given a cell; `current` is as `fold` left it.

    `marginals` starts at inf but for the final cell, which has the least total.
    """
    code = program.code
    for s in range(len(program.offsets) - 2, -1, -1):
        row = program.offsets[s]
        n_v = code[row + 1]
        d = code[row + 2]
        n_reads = code[row + 3]
        reads = row + 5 + d
        for q in range(d):
            counters[q] = 0
        for f in range(n_reads + 1):
            places[f] = code[reads + f * (d + 2)]
        more = True
        while more:
            total = marginals[places[n_reads]]
            if total < np.inf:
                least = np.inf
                for i in range(n_v):
                    cost = 0.0
                    for f in range(n_reads):
                        cost += current[places[f] + i * code[reads + f * (d + 2) + 1]]
                    if cost < least:
                        least = cost
                if least < np.inf:
                    for i in range(n_v):
                        cost = total - least
                        for f in range(n_reads):
                            cost += current[places[f] + i * code[reads + f * (d + 2) + 1]]
                        if cost < np.inf:
                            for f in range(n_reads):
                                cell = places[f] + i * code[reads + f * (d + 2) + 1]
                                if cost < marginals[cell]:
                                    marginals[cell] = cost
            more = False
            for q in range(d - 1, -1, -1):
                step = 1
                if counters[q] + 1 == code[row + 5 + q]:
                    step = -counters[q]
                counters[q] += step
                for f in range(n_reads + 1):
                    places[f] += step * code[reads + f * (d + 2) + 2 + q]
                if step == 1:
                    more = True
                    break
    return 0


def eliminate_labels(
    program: Any,
    n_objectives: int,
    thinning: Any,
    bounds: Any,
    sets: Any,
    pool: Any,
    traces: Any,
    fronts: Any,
    small: Any,
    result: Any,
) -> int:
    """Eliminate every vertex with sets of undominated labels; the last cell but one gets the labels of the whole.

    `thinning` is (1 + delta, labels from which a set is thinned), `result` starts as (0, 0, most labels, most work)
    and gets the labels and traces that were made. Returns 0, or 1 if over a limit, or no room for: 2 labels, 3
    traces, 4 a set.
    """
    code = program.code
    values = pool.values
    h = n_objectives
    n_bounds = len(bounds.limits)
    n_cells = len(sets.start)
    used = n_cells
    n_traces = 0
    room = len(pool.traces)
    trace_room = len(traces.left)
    front_room = len(fronts.left) // 4
    work = 0
    for s in range(len(program.offsets) - 1):
        row = program.offsets[s]
        n_v = code[row + 1]
        d = code[row + 2]
        n_reads = code[row + 3]
        reads = row + 5 + d
        for q in range(d):
            small.counters[q] = 0
        for f in range(n_reads + 1):
            small.places[f] = code[reads + f * (d + 2)]
        n_jobs = n_v * (n_reads - 1) + 1
        more = True
        while more:
            made = small.places[n_reads]
            before = n_cells - 1 if code[row + 4] == 1 else made
            reachable = True
            for b in range(n_bounds):
                least = np.inf
                for i in range(n_v):
                    cost = 0.0
                    for f in range(n_reads):
                        place = small.places[f] + i * code[reads + f * (d + 2) + 1]
                        cost += bounds.current[b * n_cells + place]
                    if cost < least:
                        least = cost
                small.message[b] = least
                small.completion[b] = bounds.marginals[b * n_cells + made] - least
                # Not a number where both are infinite.
                if not small.completion[b] < np.inf:
                    reachable = False
            if not reachable:
                n_jobs = 0
            else:
                n_jobs = n_v * (n_reads - 1) + 1
            thinned = sets.thinned[before]
            half = 0
            n_front = 0
            message_half = 0
            n_message = 0
            n_partial = 0
            for job in range(n_jobs):
                # Which two sets to add, and into which buffer: the first tables into a new one, the last into the
                # message, then the message and what the cell held before into a new one.
                is_sum = job == n_jobs - 1
                to_message = False
                choice = -1
                if is_sum:
                    cell = before
                    left = used
                    n_left = n_message
                    half = 2
                    n_front = 0
                    for b in range(n_bounds):
                        small.rest[b] = small.completion[b] - bounds.current[b * n_cells + before]
                else:
                    i = job // (n_reads - 1)
                    f = job - i * (n_reads - 1) + 1
                    cell = small.places[f] + i * code[reads + f * (d + 2) + 1]
                    if f == 1:
                        first = small.places[0] + i * code[reads + 1]
                        left = sets.start[first]
                        n_left = sets.count[first]
                        thinned = max(thinned, sets.thinned[first])
                        for b in range(n_bounds):
                            small.rest[b] = small.completion[b]
                            for g in range(1, n_reads):
                                place = small.places[g] + i * code[reads + g * (d + 2) + 1]
                                small.rest[b] += bounds.current[b * n_cells + place]
                    else:
                        left = used
                        n_left = n_partial
                    thinned = max(thinned, sets.thinned[cell])
                    if f == n_reads - 1:
                        to_message = True
                        choice = code[row] + i
                        half = message_half
                        n_front = n_message
                        for b in range(n_bounds):
                            small.rest[b] = small.completion[b]
                    else:
                        half = 2
                        n_front = 0
                        for b in range(n_bounds):
                            small.rest[b] -= bounds.current[b * n_cells + cell]
                right = sets.start[cell]
                n_right = sets.count[cell]
                if is_sum:
                    # The message becomes a set of the pool, behind all others.
                    if used + n_message > room:
                        return 2
                    if n_traces + n_message > trace_room:
                        return 3
                    for k in range(n_message):
                        place = message_half * front_room + k
                        for m in range(h):
                            values[(used + k) * h + m] = fronts.values[place * h + m]
                        traces.left[n_traces] = fronts.left[place]
                        traces.right[n_traces] = fronts.right[place]
                        traces.choice[n_traces] = fronts.choice[place]
                        pool.traces[used + k] = n_traces
                        n_traces += 1
                if n_left < n_right:
                    swapped = left
                    left = right
                    right = swapped
                    swapped = n_left
                    n_left = n_right
                    n_right = swapped
                # The larger set, shifted by each label of the smaller one, is merged into the buffer.
                for r in range(n_right):
                    n_out = 0
                    p = 0
                    q = 0
                    has_label = False
                    start = half * front_room
                    other = (half ^ 1) * front_room
                    while True:
                        if q < n_left and not has_label:
                            for m in range(h):
                                small.label[m] = values[(left + q) * h + m] + values[(right + r) * h + m]
                            keep = True
                            for b in range(n_bounds):
                                total = small.rest[b]
                                for m in range(h):
                                    total += bounds.weights[b * h + m] * small.label[m]
                                if total > bounds.limits[b]:
                                    keep = False
                                    break
                            if not keep:
                                q += 1
                                continue
                            has_label = True
                        if p < n_front:
                            take_front = True
                            if has_label:
                                for m in range(h):
                                    there = fronts.values[(start + p) * h + m]
                                    if small.label[m] < there:
                                        take_front = False
                                        break
                                    if small.label[m] > there:
                                        break
                        elif has_label:
                            take_front = False
                        else:
                            break
                        for m in range(h):
                            small.taken[m] = fronts.values[(start + p) * h + m] if take_front else small.label[m]
                        dominated = False
                        if h == 2:
                            # In this order the last one kept has the least second value.
                            dominated = n_out > 0 and fronts.values[(other + n_out - 1) * h + 1] <= small.taken[1]
                            work += 1
                        else:
                            for k in range(n_out - 1, -1, -1):
                                dominated = True
                                for m in range(1, h):
                                    if fronts.values[(other + k) * h + m] > small.taken[m]:
                                        dominated = False
                                        break
                                work += 1
                                if dominated:
                                    break
                        if not dominated:
                            if n_out == front_room:
                                return 4
                            place = other + n_out
                            for m in range(h):
                                fronts.values[place * h + m] = small.taken[m]
                            if take_front:
                                fronts.left[place] = fronts.left[start + p]
                                fronts.right[place] = fronts.right[start + p]
                                fronts.choice[place] = fronts.choice[start + p]
                            else:
                                fronts.left[place] = pool.traces[left + q]
                                fronts.right[place] = pool.traces[right + r]
                                fronts.choice[place] = choice
                            n_out += 1
                        if take_front:
                            p += 1
                        else:
                            q += 1
                            has_label = False
                    half = half ^ 1
                    n_front = n_out
                    if work > result[3]:
                        return 1
                if to_message:
                    message_half = half
                    n_message = n_front
                    continue
                if is_sum and thinning[0] > 1.0 and n_front > thinning[1]:
                    # Drop what a label before it comes close to; the first is the best in the first objective.
                    start = half * front_room
                    n_out = 1
                    for k in range(1, n_front):
                        if (
                            fronts.values[(start + n_out - 1) * h + 1]
                            > thinning[0] * fronts.values[(start + k) * h + 1]
                        ):
                            for m in range(h):
                                fronts.values[(start + n_out) * h + m] = fronts.values[(start + k) * h + m]
                            fronts.left[start + n_out] = fronts.left[start + k]
                            fronts.right[start + n_out] = fronts.right[start + k]
                            fronts.choice[start + n_out] = fronts.choice[start + k]
                            n_out += 1
                    if n_out < n_front:
                        thinned += 1
                        n_front = n_out
                # The sum takes the place of the message in the pool; its traces stay where they are.
                if used + n_front > room:
                    return 2
                for k in range(n_front):
                    place = half * front_room + k
                    for m in range(h):
                        values[(used + k) * h + m] = fronts.values[place * h + m]
                    if fronts.left[place] < 0:
                        pool.traces[used + k] = fronts.right[place]
                    elif fronts.right[place] < 0:
                        pool.traces[used + k] = fronts.left[place]
                    else:
                        if n_traces == trace_room:
                            return 3
                        traces.left[n_traces] = fronts.left[place]
                        traces.right[n_traces] = fronts.right[place]
                        traces.choice[n_traces] = -1
                        pool.traces[used + k] = n_traces
                        n_traces += 1
                n_partial = n_front
            if n_jobs == 0:
                n_partial = 0
            sets.start[made] = used
            sets.count[made] = n_partial
            sets.thinned[made] = thinned
            used += n_partial
            if used - n_cells > result[2]:
                return 1
            for b in range(n_bounds):
                if code[row + 4] == 1:
                    bounds.current[b * n_cells + made] = small.message[b]
                else:
                    bounds.current[b * n_cells + made] += small.message[b]
            more = False
            for q in range(d - 1, -1, -1):
                step = 1
                if small.counters[q] + 1 == code[row + 5 + q]:
                    step = -small.counters[q]
                small.counters[q] += step
                for f in range(n_reads + 1):
                    small.places[f] += step * code[reads + f * (d + 2) + 2 + q]
                if step == 1:
                    more = True
                    break
    result[0] = used - n_cells
    result[1] = n_traces
    return 0


def follow(traces: Any, last: int, owners: Any, vector_offsets: Any, stack: Any, states: Any) -> int:
    """Fill `states` with the choices behind trace `last`; `owners` is the vertex of each vector's cell."""
    depth = 1
    stack[0] = last
    while depth > 0:
        depth -= 1
        trace = stack[depth]
        choice = traces.choice[trace]
        if choice >= 0:
            v = owners[choice]
            states[v] = choice - vector_offsets[v]
        if traces.left[trace] >= 0:
            stack[depth] = traces.left[trace]
            depth += 1
        if traces.right[trace] >= 0:
            stack[depth] = traces.right[trace]
            depth += 1
    return 0
