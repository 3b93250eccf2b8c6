"""The numeric half of branch-aware dynamic programming: fill tables, fold them, walk back. Kernels only.

`inf` marks a forbidden state; among equal costs the state with the lowest number wins, which is the earlier label with
fewer tensors sent. A vertex's vector and tables stay as they were when it was eliminated, so the walk back finds the
best state again from its neighbours' states alone.
"""

from typing import Any, NamedTuple

import numpy as np


class Links(NamedTuple):
    """Columns of `network.Network` that the kernels read."""

    kinds: Any
    tails: Any
    heads: Any
    pairs: Any
    groups: Any
    pair_ends: Any


class Vertices(NamedTuple):
    """States of `states.States` and where their vectors lie."""

    owners: Any
    first_shared: Any
    n_shared: Any
    shared_groups: Any
    types: Any
    type_offsets: Any
    labels: Any
    sent: Any
    vector_offsets: Any
    constant: Any  # 1: one state, in nobody's table


class Costs(NamedTuple):
    """What a problem costs."""

    compute: Any  # (n_layers * n_machines,)
    group_counts: Any  # (n_groups,) tensors
    group_sizes: Any  # (n_groups,) bytes
    per_tensor: Any  # (n_machines * n_machines,)
    per_byte: Any
    group_work: Any  # (n_groups * n_machines * n_machines,) of `Problem.crossing_work`, or empty


def group_sizes(group_of_tensor: Any, sizes: Any, out: Any) -> int:
    """Add the sizes of the tensors of each group."""
    for tensor in range(len(sizes)):
        if group_of_tensor[tensor] >= 0:
            out[group_of_tensor[tensor]] += sizes[tensor]
    return 0


def group_work(group_of_tensor: Any, work: Any, n_links: int, out: Any) -> int:
    """Add the work at crossings of the tensors of each group."""
    for tensor in range(len(group_of_tensor)):
        group = group_of_tensor[tensor]
        if group >= 0:
            for link in range(n_links):
                out[group * n_links + link] += work[tensor * n_links + link]
    return 0


def fill(
    n_machines: int, ordered: bool, links: Any, vertices: Any, costs: Any, offsets: Any, vectors: Any, tables: Any
) -> int:
    """Write every vertex's own costs to `vectors` and add the links' to `tables`, which starts at 0.

    If `ordered`, labels are stages that must not fall along a link.
    """
    n_layers = len(costs.compute) // n_machines
    n_links = n_machines * n_machines
    has_work = len(costs.group_work) > 0
    for v in range(len(vertices.types)):
        begin = vertices.type_offsets[vertices.types[v]]
        end = vertices.type_offsets[vertices.types[v] + 1]
        place = vertices.vector_offsets[v]
        for s in range(begin, end):
            machine = vertices.labels[s] & 1 if ordered else vertices.labels[s]
            cost = 0.0
            if v < n_layers:
                cost = costs.compute[v * n_machines + machine]
            sent = vertices.sent[s]
            if sent != 0:
                for k in range(vertices.n_shared[v]):
                    group = vertices.shared_groups[vertices.first_shared[v] + k]
                    for other in range(n_machines):
                        if sent >> (k * n_machines + other) & 1 == 1:
                            link = machine * n_machines + other
                            cost += costs.group_counts[group] * costs.per_tensor[link]
                            cost += costs.group_sizes[group] * costs.per_byte[link]
                            if has_work:
                                cost += costs.group_work[group * n_links + link]
            vectors[place] = cost
            place += 1
    for k in range(len(links.kinds)):
        kind = links.kinds[k]
        tail = links.tails[k]
        head = links.heads[k]
        group = links.groups[k]
        tail_begin = vertices.type_offsets[vertices.types[tail]]
        head_begin = vertices.type_offsets[vertices.types[head]]
        n_tail = vertices.vector_offsets[tail + 1] - vertices.vector_offsets[tail]
        n_head = vertices.vector_offsets[head + 1] - vertices.vector_offsets[head]
        alone = 0
        if vertices.constant[tail] == 1:
            alone = 1
        elif vertices.constant[head] == 1:
            alone = 2
        place = offsets[links.pairs[k]]
        # Links between colocated layers may run against the pair, which has the order of its scope.
        tail_stride = n_head
        head_stride = 1
        if links.pair_ends[2 * links.pairs[k]] != tail:
            tail_stride = 1
            head_stride = n_tail
        for i in range(n_tail):
            label = vertices.labels[tail_begin + i]
            machine = label & 1 if ordered else label
            sent = vertices.sent[tail_begin + i]
            for j in range(n_head):
                head_label = vertices.labels[head_begin + j]
                target = head_label & 1 if ordered else head_label
                cost = 0.0
                if kind == -2:
                    if label != head_label:
                        cost = np.inf
                elif kind == -3:
                    if machine != target:
                        cost = np.inf
                elif ordered and label > head_label:
                    cost = np.inf
                elif machine != target:
                    if kind == -1:
                        link = machine * n_machines + target
                        cost = (
                            costs.group_counts[group] * costs.per_tensor[link]
                            + costs.group_sizes[group] * costs.per_byte[link]
                        )
                        if has_work:
                            cost += costs.group_work[group * n_links + link]
                    elif sent >> (kind * n_machines + target) & 1 == 0:
                        cost = np.inf
                if cost == 0.0:
                    continue
                if alone == 0:
                    tables[place + i * tail_stride + j * head_stride] += cost
                elif alone == 1:
                    vectors[vertices.vector_offsets[head] + j] += cost
                else:
                    vectors[vertices.vector_offsets[tail] + i] += cost
    return 0


def fold(
    order: Any, vector_offsets: Any, table_offsets: Any, vectors: Any, tables: Any, best: Any, strides: Any
) -> float:
    """Eliminate every vertex in order and return the least cost.

    `order` is an `elimination.Order`; `best` (most states of a vertex) and `strides` (`Order.n_strides`) are scratch.
    """
    code = order.code
    total = 0.0
    for s in range(len(order.step_offsets) - 1):
        c = order.step_offsets[s]
        degree = code[c]
        v = code[c + 1]
        vector = vector_offsets[v]
        n_v = vector_offsets[v + 1] - vector
        if degree == 0:
            least = np.inf
            for i in range(n_v):
                if vectors[vector + i] < least:
                    least = vectors[vector + i]
            total += least
        elif degree == 1:
            table = table_offsets[code[c + 2]]
            out = vector_offsets[code[c + 3]]
            n_u = vector_offsets[code[c + 3] + 1] - out
            v_stride = n_u
            u_stride = 1
            if order.scopes[order.scope_offsets[code[c + 2]]] != v:
                v_stride = 1
                u_stride = n_v
            for j in range(n_u):
                least = np.inf
                for i in range(n_v):
                    cost = vectors[vector + i] + tables[table + i * v_stride + j * u_stride]
                    if cost < least:
                        least = cost
                vectors[out + j] += least
        elif degree == 2:
            first = table_offsets[code[c + 2]]
            u = code[c + 3]
            second = table_offsets[code[c + 4]]
            w = code[c + 5]
            n_u = vector_offsets[u + 1] - vector_offsets[u]
            n_w = vector_offsets[w + 1] - vector_offsets[w]
            v_stride = n_u
            u_stride = 1
            if order.scopes[order.scope_offsets[code[c + 2]]] != v:
                v_stride = 1
                u_stride = n_v
            v_step = n_w
            w_step = 1
            if order.scopes[order.scope_offsets[code[c + 4]]] != v:
                v_step = 1
                w_step = n_v
            out = table_offsets[code[c + 6]]
            u_out = n_w
            w_out = 1
            if order.scopes[order.scope_offsets[code[c + 6]]] != u:
                u_out = 1
                w_out = n_u
            is_new = code[c + 7] == 1
            for j in range(n_u):
                for k in range(n_w):
                    best[k] = np.inf
                for i in range(n_v):
                    cost = vectors[vector + i] + tables[first + i * v_stride + j * u_stride]
                    if cost < np.inf:
                        for k in range(n_w):
                            both = cost + tables[second + i * v_step + k * w_step]
                            if both < best[k]:
                                best[k] = both
                if is_new:
                    for k in range(n_w):
                        tables[out + j * u_out + k * w_out] = best[k]
                else:
                    for k in range(n_w):
                        tables[out + j * u_out + k * w_out] += best[k]
        else:
            # Any number of neighbours and tables. Row f of `strides`: where table f is read now, its stride of v,
            # its stride of each neighbour. The last row is the result's; before the rows: sizes and counters.
            d = -degree - 1
            n_read = code[c + 2]
            row = 2 * d
            for q in range(d):
                u = code[c + 3 + q]
                strides[q] = vector_offsets[u + 1] - vector_offsets[u]
                strides[d + q] = 0
            for f in range(n_read + 1):
                table = code[c + 3 + d + f]
                for q in range(d + 2):
                    strides[row + q] = 0
                if table >= 0:
                    strides[row] = table_offsets[table]
                    stride = 1
                    for p in range(order.scope_offsets[table + 1] - 1, order.scope_offsets[table] - 1, -1):
                        u = order.scopes[p]
                        if u == v:
                            strides[row + 1] = stride
                        for q in range(d):
                            if code[c + 3 + q] == u:
                                strides[row + 2 + q] = stride
                        stride *= vector_offsets[u + 1] - vector_offsets[u]
                elif d == 1:
                    strides[row] = vector_offsets[code[c + 3]]
                    strides[row + 2] = 1
                row += d + 2
            made = code[c + 3 + d + n_read]
            is_new = code[c + 4 + d + n_read] == 1
            result = 2 * d + n_read * (d + 2)
            more = True
            while more:
                least = np.inf
                for i in range(n_v):
                    cost = vectors[vector + i]
                    for f in range(n_read):
                        row = 2 * d + f * (d + 2)
                        cost += tables[strides[row] + i * strides[row + 1]]
                    if cost < least:
                        least = cost
                if made < 0:
                    if d == 0:
                        total += least
                    else:
                        vectors[strides[result]] += least
                elif is_new:
                    tables[strides[result]] = least
                else:
                    tables[strides[result]] += least
                more = False
                for q in range(d - 1, -1, -1):
                    step = 1
                    if strides[d + q] + 1 == strides[q]:
                        step = -strides[d + q]
                    strides[d + q] += step
                    for f in range(n_read + 1):
                        row = 2 * d + f * (d + 2)
                        strides[row] += step * strides[row + 2 + q]
                    if step == 1:
                        more = True
                        break
    return total


def unfold(
    order: Any, vector_offsets: Any, table_offsets: Any, vectors: Any, tables: Any, best: Any, states: Any
) -> int:
    """Fill `states` of all vertices, last eliminated first; `best` is scratch."""
    code = order.code
    for s in range(len(order.step_offsets) - 2, -1, -1):
        c = order.step_offsets[s]
        degree = code[c]
        v = code[c + 1]
        vector = vector_offsets[v]
        n_v = vector_offsets[v + 1] - vector
        if degree == 1:
            table = code[c + 2]
            place = table_offsets[table]
            v_stride = 1
            if order.scopes[order.scope_offsets[table]] == v:
                v_stride = vector_offsets[code[c + 3] + 1] - vector_offsets[code[c + 3]]
                place += states[code[c + 3]]
            else:
                place += states[code[c + 3]] * n_v
            chosen = 0
            least = np.inf
            for i in range(n_v):
                cost = vectors[vector + i] + tables[place + i * v_stride]
                if cost < least:
                    least = cost
                    chosen = i
            states[v] = chosen
            continue
        for i in range(n_v):
            best[i] = vectors[vector + i]
        n_read = degree
        first = c + 2
        step = 2
        if degree < 0:
            n_read = code[c + 2]
            first = c + 2 - degree
            step = 1
        for f in range(n_read):
            table = code[first + f * step]
            place = table_offsets[table]
            stride = 1
            v_stride = 0
            for p in range(order.scope_offsets[table + 1] - 1, order.scope_offsets[table] - 1, -1):
                u = order.scopes[p]
                if u == v:
                    v_stride = stride
                else:
                    place += states[u] * stride
                stride *= vector_offsets[u + 1] - vector_offsets[u]
            for i in range(n_v):
                best[i] += tables[place + i * v_stride]
        chosen = 0
        for i in range(1, n_v):
            if best[i] < best[chosen]:
                chosen = i
        states[v] = chosen
    return 0


def place(ordered: bool, types: Any, type_offsets: Any, labels: Any, states: Any, machines: Any) -> int:
    """Write the machine of each layer."""
    for v in range(len(machines)):
        label = labels[type_offsets[types[v]] + states[v]]
        machines[v] = label & 1 if ordered else label
    return 0
