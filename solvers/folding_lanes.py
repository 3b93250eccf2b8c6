"""The numeric half of branch-aware dynamic programming for many cost vectors at once. Kernels only.

The same as `folding`, with `n_lanes` problems side by side as the innermost dimension of every vector and table, so
that the processor's vector units work on all of them in step.
"""

from typing import Any

import numpy as np


def group_sizes_lanes(group_of_tensor: Any, sizes: Any, first: int, n_problems: int, out: Any) -> int:
    """Add the sizes of the tensors of each group; `sizes` holds one row for all problems, or one for each."""
    n_tensors = len(group_of_tensor)
    for k in range(len(out)):
        out[k] = 0.0
    if n_tensors == 0:
        return 0
    n_rows = len(sizes) // n_tensors
    n_lanes = 16
    for w in range(n_lanes):
        problem = min(first + w, n_problems - 1)
        row = problem * n_tensors if n_rows > 1 else 0
        for tensor in range(n_tensors):
            if group_of_tensor[tensor] >= 0:
                out[group_of_tensor[tensor] * n_lanes + w] += sizes[row + tensor]
    return 0


def group_work_lanes(group_of_tensor: Any, work: Any, n_links: int, first: int, n_problems: int, out: Any) -> int:
    """Add the work at crossings of the tensors of each group; `work` holds one row for all problems, or one each."""
    n_tensors = len(group_of_tensor)
    for k in range(len(out)):
        out[k] = 0.0
    n_lanes = 16
    for w in range(n_lanes):
        problem = min(first + w, n_problems - 1)
        row = problem * n_tensors * n_links if len(work) > n_tensors * n_links else 0
        for tensor in range(n_tensors):
            group = group_of_tensor[tensor]
            if group >= 0:
                for link in range(n_links):
                    out[(group * n_links + link) * n_lanes + w] += work[row + tensor * n_links + link]
    return 0


def fill_lanes(
    n_machines: int, first: int, n_problems: int, links: Any, vertices: Any, costs: Any, offsets: Any, arrays: Any
) -> int:
    """Write vectors and tables of the problems `first` .. `first` + 15; labels are machines.

    Past the last of `n_problems` that one is repeated. `costs` as in `folding`, with a row for each problem, or one
    for all in `per_tensor` and `per_byte`; `group_sizes` and `group_work` have lanes already.
    """
    n_lanes = 16
    vectors, tables, prices = arrays.vectors, arrays.tables, arrays.prices
    n_links = n_machines * n_machines
    n_layers = len(costs.compute) // (n_machines * n_problems)
    has_work = len(costs.group_work) > 0
    for k in range(len(tables)):
        tables[k] = 0.0
    # Rates by lane: per tensor, then per byte.
    for w in range(n_lanes):
        problem = min(first + w, n_problems - 1)
        for link in range(n_links):
            row = problem * n_links if len(costs.per_tensor) > n_links else 0
            prices[link * n_lanes + w] = costs.per_tensor[row + link]
            row = problem * n_links if len(costs.per_byte) > n_links else 0
            prices[(n_links + link) * n_lanes + w] = costs.per_byte[row + link]
    for v in range(len(vertices.types)):
        begin = vertices.type_offsets[vertices.types[v]]
        end = vertices.type_offsets[vertices.types[v] + 1]
        place = vertices.vector_offsets[v] * n_lanes
        for s in range(begin, end):
            machine = vertices.labels[s]
            sent = vertices.sent[s]
            if v >= n_layers:
                for w in range(n_lanes):
                    vectors[place + w] = 0.0
            elif sent != 0 and s > begin and vertices.labels[s - 1] == machine:
                # The state before it has the same machine: start from its compute, kept in `own`.
                for w in range(n_lanes):
                    vectors[place + w] = arrays.own[w]
            else:
                for w in range(n_lanes):
                    problem = min(first + w, n_problems - 1)
                    cost = costs.compute[(problem * n_layers + v) * n_machines + machine]
                    arrays.own[w] = cost
                    vectors[place + w] = cost
            if sent != 0:
                for k in range(vertices.n_shared[v]):
                    group = vertices.shared_groups[vertices.first_shared[v] + k]
                    count = float(costs.group_counts[group])
                    for other in range(n_machines):
                        if sent >> (k * n_machines + other) & 1 == 1:
                            a = (machine * n_machines + other) * n_lanes
                            b = a + n_links * n_lanes
                            c = group * n_lanes
                            for w in range(n_lanes):
                                vectors[place + w] += count * prices[a + w] + costs.group_sizes[c + w] * prices[b + w]
                            if has_work:
                                a = (group * n_links + machine * n_machines + other) * n_lanes
                                for w in range(n_lanes):
                                    vectors[place + w] += costs.group_work[a + w]
            place += n_lanes
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
        tail_stride = n_head
        head_stride = 1
        if links.pair_ends[2 * links.pairs[k]] != tail:
            tail_stride = 1
            head_stride = n_tail
        for i in range(n_tail):
            machine = vertices.labels[tail_begin + i]
            sent = vertices.sent[tail_begin + i]
            for j in range(n_head):
                target = vertices.labels[head_begin + j]
                if machine == target:
                    continue
                if kind >= 0 and sent >> (kind * n_machines + target) & 1 == 1:
                    continue
                out = tables
                place = (offsets[links.pairs[k]] + i * tail_stride + j * head_stride) * n_lanes
                if alone == 1:
                    out = vectors
                    place = (vertices.vector_offsets[head] + j) * n_lanes
                elif alone == 2:
                    out = vectors
                    place = (vertices.vector_offsets[tail] + i) * n_lanes
                if kind == -1:
                    count = float(costs.group_counts[group])
                    a = (machine * n_machines + target) * n_lanes
                    b = a + n_links * n_lanes
                    c = group * n_lanes
                    for w in range(n_lanes):
                        out[place + w] += count * prices[a + w] + costs.group_sizes[c + w] * prices[b + w]
                    if has_work:
                        a = (group * n_links + machine * n_machines + target) * n_lanes
                        for w in range(n_lanes):
                            out[place + w] += costs.group_work[a + w]
                else:
                    for w in range(n_lanes):
                        out[place + w] = np.inf
    return 0


def fold_lanes(order: Any, vector_offsets: Any, table_offsets: Any, arrays: Any, strides: Any) -> float:
    """Eliminate every vertex in order and return the least cost of the first lane; it is `inf` in all or in none."""
    total = 0.0
    n_lanes = 16
    code = order.code
    vectors, tables, sums, best = arrays.vectors, arrays.tables, arrays.sums, arrays.best
    for s in range(len(order.step_offsets) - 1):
        c = order.step_offsets[s]
        degree = code[c]
        v = code[c + 1]
        vector = vector_offsets[v]
        n_v = vector_offsets[v + 1] - vector
        if degree == 0:
            least = np.inf
            for i in range(n_v):
                least = min(least, vectors[(vector + i) * n_lanes])
            total += least
            continue
        if degree == 1:
            table = table_offsets[code[c + 2]]
            out = vector_offsets[code[c + 3]]
            n_u = vector_offsets[code[c + 3] + 1] - out
            v_stride = n_u
            u_stride = 1
            if order.scopes[order.scope_offsets[code[c + 2]]] != v:
                v_stride = 1
                u_stride = n_v
            for j in range(n_u):
                for w in range(n_lanes):
                    best[w] = np.inf
                for i in range(n_v):
                    x = (vector + i) * n_lanes
                    y = (table + i * v_stride + j * u_stride) * n_lanes
                    for w in range(n_lanes):
                        best[w] = min(best[w], vectors[x + w] + tables[y + w])
                x = (out + j) * n_lanes
                for w in range(n_lanes):
                    vectors[x + w] += best[w]
        elif degree == 2:
            first = table_offsets[code[c + 2]]
            u = code[c + 3]
            second = table_offsets[code[c + 4]]
            other = code[c + 5]
            n_u = vector_offsets[u + 1] - vector_offsets[u]
            n_w = vector_offsets[other + 1] - vector_offsets[other]
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
                for i in range(n_v):
                    x = (vector + i) * n_lanes
                    y = (first + i * v_stride + j * u_stride) * n_lanes
                    for w in range(n_lanes):
                        sums[i * n_lanes + w] = vectors[x + w] + tables[y + w]
                for k in range(n_w):
                    for w in range(n_lanes):
                        best[w] = np.inf
                    for i in range(n_v):
                        y = (second + i * v_step + k * w_step) * n_lanes
                        for w in range(n_lanes):
                            best[w] = min(best[w], sums[i * n_lanes + w] + tables[y + w])
                    x = (out + j * u_out + k * w_out) * n_lanes
                    if is_new:
                        for w in range(n_lanes):
                            tables[x + w] = best[w]
                    else:
                        for w in range(n_lanes):
                            tables[x + w] += best[w]
        else:
            # As in `folding.fold`.
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
                for w in range(n_lanes):
                    best[w] = np.inf
                for i in range(n_v):
                    x = (vector + i) * n_lanes
                    for w in range(n_lanes):
                        sums[w] = vectors[x + w]
                    for f in range(n_read):
                        row = 2 * d + f * (d + 2)
                        y = (strides[row] + i * strides[row + 1]) * n_lanes
                        for w in range(n_lanes):
                            sums[w] += tables[y + w]
                    for w in range(n_lanes):
                        best[w] = min(best[w], sums[w])
                x = strides[result] * n_lanes
                if made < 0:
                    if d > 0:
                        for w in range(n_lanes):
                            vectors[x + w] += best[w]
                elif is_new:
                    for w in range(n_lanes):
                        tables[x + w] = best[w]
                else:
                    for w in range(n_lanes):
                        tables[x + w] += best[w]
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


def unfold_lanes(
    first: int, order: Any, vertices: Any, table_offsets: Any, arrays: Any, states: Any, placements: Any
) -> int:
    """Write the placements, (n_problems, n_layers) flat, of the problems from `first` on; `states` is scratch."""
    n_lanes = 16
    code = order.code
    vector_offsets = vertices.vector_offsets
    vectors, tables, best, places = arrays.vectors, arrays.tables, arrays.best, arrays.places
    n_vertices = len(vertices.types)
    n_layers = arrays.n_layers
    n_here = min(n_lanes, len(placements) // max(n_layers, 1) - first)
    for s in range(len(order.step_offsets) - 2, -1, -1):
        c = order.step_offsets[s]
        degree = code[c]
        v = code[c + 1]
        vector = vector_offsets[v]
        n_v = vector_offsets[v + 1] - vector
        n_read = degree
        start = c + 2
        step = 2
        if degree < 0:
            n_read = code[c + 2]
            start = c + 2 - degree
            step = 1
        sums = arrays.sums
        for k in range(n_v * n_lanes):
            sums[k] = vectors[vector * n_lanes + k]
        for f in range(n_read):
            table = code[start + f * step]
            for w in range(n_lanes):
                places[w] = table_offsets[table] * n_lanes + w
            stride = 1
            v_stride = 0
            for p in range(order.scope_offsets[table + 1] - 1, order.scope_offsets[table] - 1, -1):
                u = order.scopes[p]
                if u == v:
                    v_stride = stride
                else:
                    for w in range(n_lanes):
                        places[w] += states[u * n_lanes + w] * stride * n_lanes
                stride *= vector_offsets[u + 1] - vector_offsets[u]
            for i in range(n_v):
                for w in range(n_lanes):
                    sums[i * n_lanes + w] += tables[places[w] + i * v_stride * n_lanes]
        x = v * n_lanes
        for w in range(n_lanes):
            best[w] = sums[w]
            states[x + w] = 0
        for i in range(1, n_v):
            for w in range(n_lanes):
                if sums[i * n_lanes + w] < best[w]:
                    best[w] = sums[i * n_lanes + w]
                    states[x + w] = i
    for v in range(min(n_layers, n_vertices)):
        begin = vertices.type_offsets[vertices.types[v]]
        for w in range(n_here):
            placements[(first + w) * n_layers + v] = vertices.labels[begin + states[v * n_lanes + w]]
    return 0
