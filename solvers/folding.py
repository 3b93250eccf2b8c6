"""The numeric half of branch-aware dynamic programming: fill tables, fold them, walk back. Kernels only.

See `elimination.Layout` for the integers of a step. `inf` marks a forbidden state; among equal costs the state with
the lowest number wins, which is the earlier stage with fewer tensors sent.
"""

from typing import Any

import numpy as np

LINK = 11
"""Integers per link: kind, table offset, row stride, column stride, tail's first label, its labels, its bits,
head's first label, its labels, its bits, index of the price pair."""

SEPARATE = -1
"""Kind of a link whose tensor has this consumer only: it pays when the machines differ. Kinds >= 0 are the number
of the sent bit that must be set when the machines differ."""

TWIN = -2
"""Kind of a link from a layer to the pseudo-vertex that carries one of its tensors: the labels must agree."""


def fill_tables(links: Any, labels: Any, prices: Any, ordered: bool, tables: Any) -> int:
    """Add the cost of each link to its table, (n_links * LINK,) integers over flat `tables`.

    labels are the labels of each vertex's states, one after the other without sent bits; a label's parity is its
    machine. prices holds (upwards, downwards) pairs. If `ordered`, labels must not fall along a link.
    """
    for start in range(0, len(links), 11):
        kind = links[start]
        row_stride = links[start + 2]
        column_stride = links[start + 3]
        tail_labels = links[start + 4]
        tail_bits = links[start + 6]
        head_labels = links[start + 7]
        head_bits = links[start + 9]
        price = links[start + 10]
        for i in range(links[start + 5] << tail_bits):
            tail = labels[tail_labels + (i >> tail_bits)]
            for j in range(links[start + 8] << head_bits):
                head = labels[head_labels + (j >> head_bits)]
                cost = 0.0
                if kind == -2:
                    if tail != head:
                        cost = np.inf
                elif ordered and tail > head:
                    cost = np.inf
                elif (tail ^ head) & 1 == 1:
                    if kind == -1:
                        cost = prices[2 * price + (tail & 1)]
                    elif (i >> kind) & 1 == 0:
                        cost = np.inf
                tables[links[start + 1] + i * row_stride + j * column_stride] += cost
    return 0


def fold(steps: Any, vectors: Any, tables: Any, arguments: Any, candidates: Any) -> float:
    """Eliminate every vertex of `steps` and return the least cost.

    `vectors` and `tables` are overwritten; `arguments` receives the best state of each eliminated vertex for each
    state of its neighbours, -1 where all are forbidden. `candidates` is scratch for the states of one vertex.
    """
    total = 0.0
    for s in range(0, len(steps), 17):
        degree = steps[s]
        vector = steps[s + 2]
        n_states = steps[s + 3]
        argument = steps[s + 16]
        if degree == 0:
            best = np.inf
            state = -1
            for i in range(n_states):
                if vectors[vector + i] < best:
                    best = vectors[vector + i]
                    state = i
            arguments[argument] = state
            total += best
            continue
        table = steps[s + 4]
        stride = steps[s + 5]
        first_stride = steps[s + 6]
        n_first = steps[s + 8]
        out = steps[s + 14]
        if degree == 1:
            for j in range(n_first):
                best = np.inf
                state = -1
                for i in range(n_states):
                    cost = vectors[vector + i] + tables[table + i * stride + j * first_stride]
                    if cost < best:
                        best = cost
                        state = i
                arguments[argument + j] = state
                vectors[out + j] += best
            continue
        other = steps[s + 9]
        other_stride = steps[s + 10]
        second_stride = steps[s + 11]
        n_second = steps[s + 13]
        is_new = steps[s + 15] == 1
        for j in range(n_first):
            n_candidates = 0
            for i in range(n_states):
                if vectors[vector + i] + tables[table + i * stride + j * first_stride] < np.inf:
                    candidates[n_candidates] = i
                    n_candidates += 1
            for k in range(n_second):
                best = np.inf
                state = -1
                for c in range(n_candidates):
                    i = candidates[c]
                    cost = (
                        vectors[vector + i]
                        + tables[table + i * stride + j * first_stride]
                        + tables[other + i * other_stride + k * second_stride]
                    )
                    if cost < best:
                        best = cost
                        state = i
                arguments[argument + j * n_second + k] = state
                place = out + j * n_second + k if degree == 2 else out + k * n_first + j
                if is_new:
                    tables[place] = best
                else:
                    tables[place] += best
    return total


def unfold(steps: Any, arguments: Any, states: Any) -> int:
    """Fill `states` of the eliminated vertices, last eliminated first."""
    for s in range(len(steps) - 17, -1, -17):
        degree = steps[s]
        place = steps[s + 16]
        if degree == 1:
            place += states[steps[s + 7]]
        elif degree > 1:
            place += states[steps[s + 7]] * steps[s + 13] + states[steps[s + 12]]
        states[steps[s + 1]] = arguments[place]
    return 0
