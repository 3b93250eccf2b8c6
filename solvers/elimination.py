"""The symbolic half of branch-aware dynamic programming: in which order to minimise vertices away.

Minimising a vertex over its states leaves a number, a vector on its one neighbour, a table between its two, or a
table over all of its neighbours. Always the vertex with fewest neighbours goes next; among those, the one that came
to that number last, which keeps the work local. Graphs that fold by degree two take linear time; others go on with
wider tables while these stay under a limit. The order depends on the graph and the pins alone and serves every cost.

Bertele and Brioschi, "Nonserial Dynamic Programming", 1972; the order is the minimum degree of sparse elimination,
Rose, "A graph-theoretic study of the numerical solution of sparse positive definite systems of linear equations",
1972.
"""

from typing import Any, NamedTuple

import numpy as np

from solvers._arrays import IndexArray, IntArray
from solvers._jit import choose
from solvers.errors import MethodError
from solvers.network import INDEX

STEP_LIMIT = 1 << 22
"""Combinations of states that one step may run over."""

WIDEST = 16
"""Neighbours that a step may have; tables over more are over every limit of work anyway."""


class Order(NamedTuple):
    """Steps of an elimination and the tables that they make.

    A step is ``(n_neighbours, vertex, ...)`` in `code`: 0 and nothing; 1, table, neighbour; 2, table, neighbour,
    table, neighbour, table made, whether it is new; or `-n_neighbours - 1` for a wider one: number of tables read, the
    neighbours, the tables read, the table made (-1 for a vector on the only neighbour), whether it is new. Tables
    come row by row in the order of their scope. The first tables are those of the network's pairs.
    """

    code: IndexArray
    step_offsets: IndexArray  # (n_steps + 1,) into `code`
    scope_offsets: IndexArray  # (n_tables + 1,)
    scopes: IndexArray
    width: int  # most neighbours that a step has
    work: int  # combinations of states that all steps run over, with the states that the order was made for
    n_strides: int  # scratch that the widest step needs


def eliminate(n_states: IntArray, pair_ends: IndexArray, constant: IntArray, *, work_limit: int) -> Order:
    """Find an order.

    Parameters
    ----------
    n_states : (n_vertices,) int64
        States of each vertex in the simplest model, to judge widths by.
    pair_ends : (2 * n_pairs,) int64
        Tail and head of each pair of linked vertices, no pair twice.
    constant : (n_vertices,) int64
        1 for a vertex with one state: it is nobody's neighbour.
    work_limit : int
        Combinations of states that all steps together may run over.

    Raises
    ------
    MethodError
        Tables would pass `STEP_LIMIT` or the work its limit; the message says how many vertices stay.

    Notes
    -----
    O(n_vertices + n_pairs) for graphs that fold by degree two and have few hubs, O(width^2) a step beyond.
    """
    n_vertices, n_pairs = len(n_states), len(pair_ends) // 2
    backend = choose(n_vertices)
    room = 1
    while True:
        n_halves = 2 * n_pairs + (0 if room == 1 else room * 2 * n_vertices)
        n_code = 8 * n_vertices * room + 64
        n_tables = n_pairs + n_vertices
        n_scopes = 2 * n_tables + (0 if room == 1 else room * 4 * n_vertices)
        code, step_offsets = backend.full(n_code, 0, INDEX), backend.full(n_vertices + 1, 0, INDEX)
        scope_offsets, scopes = backend.full(n_tables + 1, 0, INDEX), backend.full(n_scopes, 0, INDEX)
        result = backend.full(6, 0)
        halves = _Halves(*backend.rows(5, n_halves, 0, INDEX))
        status = backend.run(
            _eliminate,
            backend.view(n_states),
            backend.view(pair_ends),
            backend.view(constant),
            work_limit,
            _Vertices(*backend.rows(7, n_vertices, -1, INDEX)),
            halves,
            _Members(
                backend.full(n_scopes, 0, INDEX), backend.full(n_scopes, 0, INDEX), backend.full(n_tables, 0, INDEX)
            ),
            _Made(code, step_offsets, scope_offsets, scopes),
            _Small(*backend.rows(3, WIDEST + 2, -1, INDEX)),
            result,
        )
        if status == 0:
            break
        if status == 1:
            raise MethodError(
                f"dp eliminates layers while their tables are small: {result[0]} of {n_vertices} layers stay, with "
                f"tables over {STEP_LIMIT} combinations of states or over {work_limit} in all; use min-cut or milp"
            )
        room *= 4
    n_steps, n_code, n_tables = (int(result[k]) for k in (0, 1, 2))
    ints = [np.asarray(array, dtype=INDEX) for array in (code, step_offsets, scope_offsets, scopes)]
    return Order(
        code=ints[0][:n_code],
        step_offsets=ints[1][: n_steps + 1],
        scope_offsets=ints[2][: n_tables + 1],
        scopes=ints[3][: int(ints[2][n_tables])],
        width=int(result[3]),
        work=int(result[4]),
        n_strides=int(result[5]),
    )


class _Vertices(NamedTuple):
    head: Any  # first half-edge
    degree: Any
    after: Any  # list of the vertices with the same degree
    before: Any
    place: Any  # which of those lists
    members: Any  # first membership in a table over more than two
    n_wide: Any  # live tables over more than two


class _Halves(NamedTuple):
    target: Any
    twin: Any
    after: Any
    before: Any
    table: Any  # -1: the pair has no table of its own, only wider ones


class _Small(NamedTuple):
    lists: Any
    around: Any
    around_half: Any


class _Members(NamedTuple):
    table: Any
    after: Any
    gone: Any  # per table


class _Made(NamedTuple):
    code: Any
    step_offsets: Any
    scope_offsets: Any
    scopes: Any


def _eliminate(
    n_states: Any,
    pair_ends: Any,
    constant: Any,
    work_limit: int,
    vertices: Any,
    halves: Any,
    members: Any,
    made: Any,
    small: Any,
    result: Any,
) -> int:
    """Fill `made` and `result` (steps, code, tables, width, work, strides); returns 1 if too wide, 2 without room."""
    n = len(n_states)
    n_pairs = len(pair_ends) // 2
    widest = 16
    target, twin, after, before, table_of = halves.target, halves.twin, halves.after, halves.before, halves.table
    head, degree = vertices.head, vertices.degree
    n_steps = 0
    n_code = 0
    n_tables = n_pairs
    n_scopes = 0
    n_members = 0
    width = 0
    work = 0
    n_strides = 1
    free = -1  # half-edges to use again, linked by `after`
    n_halves = 2 * n_pairs
    for v in range(n):
        degree[v] = 0
        vertices.n_wide[v] = 0
    for pair in range(n_pairs - 1, -1, -1):
        a = pair_ends[2 * pair]
        b = pair_ends[2 * pair + 1]
        if constant[a] == 1 or constant[b] == 1:
            continue
        for side in range(2):
            v = a if side == 0 else b
            h = 2 * pair + side
            target[h] = b if side == 0 else a
            twin[h] = h + 1 - 2 * side
            table_of[h] = pair
            after[h] = head[v]
            before[h] = -1
            if head[v] >= 0:
                before[head[v]] = h
            head[v] = h
            degree[v] += 1
    for table in range(n_pairs):
        made.scope_offsets[table] = 2 * table
        made.scopes[2 * table] = pair_ends[2 * table]
        made.scopes[2 * table + 1] = pair_ends[2 * table + 1]
    n_scopes = 2 * n_pairs
    made.scope_offsets[n_tables] = n_scopes

    # Vertices by degree, those with more than `widest` neighbours in one last list.
    lists, around, around_half = small.lists, small.around, small.around_half
    for v in range(n - 1, -1, -1):
        d = min(degree[v], widest + 1)
        vertices.place[v] = d
        vertices.after[v] = lists[d]
        vertices.before[v] = -1
        if lists[d] >= 0:
            vertices.before[lists[d]] = v
        lists[d] = v
    n_left = n
    while n_left > 0:
        d = 0
        while d <= widest and lists[d] < 0:
            d += 1
        if d > widest:
            break
        v = lists[d]
        lists[d] = vertices.after[v]
        if lists[d] >= 0:
            vertices.before[lists[d]] = -1
        combinations = n_states[v]
        h = head[v]
        for q in range(d):
            around[q] = target[h]
            around_half[q] = h
            combinations *= n_states[target[h]]
            h = after[h]
        if d > 2 and combinations > 4194304:
            # Set aside, in the last list, until its degree changes.
            vertices.place[v] = widest + 1
            vertices.after[v] = lists[widest + 1]
            if lists[widest + 1] >= 0:
                vertices.before[lists[widest + 1]] = v
            lists[widest + 1] = v
            continue
        work += combinations
        if work > work_limit:
            break
        width = max(width, d)
        n_left -= 1
        made.step_offsets[n_steps] = n_code
        n_steps += 1
        if n_code + 8 + 3 * d > len(made.code):
            return 2
        plain = d <= 2 and vertices.n_wide[v] == 0
        code = made.code
        code[n_code + 1] = v
        start = n_code
        n_read = 0
        if plain:
            code[n_code] = d
            n_code += 2
            for q in range(d):
                code[n_code] = table_of[around_half[q]]
                code[n_code + 1] = around[q]
                n_code += 2
        else:
            code[n_code] = -d - 1
            n_code += 3
            for q in range(d):
                code[n_code] = around[q]
                n_code += 1
            for q in range(d):
                if table_of[around_half[q]] >= 0:
                    code[n_code] = table_of[around_half[q]]
                    n_code += 1
                    n_read += 1
            m = vertices.members[v]
            while m >= 0:
                table = members.table[m]
                if members.gone[table] == 0:
                    members.gone[table] = 1
                    if n_code + 4 > len(code):
                        return 2
                    code[n_code] = table
                    n_code += 1
                    n_read += 1
                    for k in range(made.scope_offsets[table], made.scope_offsets[table + 1]):
                        vertices.n_wide[made.scopes[k]] -= 1
                m = members.after[m]
            code[start + 2] = n_read
            n_strides = max(n_strides, 2 * d + (n_read + 1) * (d + 2))

        # Take v away, then join its neighbours pairwise.
        for q in range(d):
            x = twin[around_half[q]]
            u = around[q]
            if before[x] >= 0:
                after[before[x]] = after[x]
            else:
                head[u] = after[x]
            if after[x] >= 0:
                before[after[x]] = before[x]
            degree[u] -= 1
            after[x] = free
            after[around_half[q]] = x
            free = around_half[q]
        joined = -1
        for q in range(d):
            for r in range(q + 1, d):
                u = around[q]
                w = around[r]
                if degree[w] < degree[u]:
                    u = around[r]
                    w = around[q]
                n_looked = 0
                joined = head[u]
                while joined >= 0 and target[joined] != w:
                    joined = after[joined]
                    n_looked += 1
                if joined >= 0:
                    if n_looked > 4:
                        # To the front: two hubs meet again and again.
                        after[before[joined]] = after[joined]
                        if after[joined] >= 0:
                            before[after[joined]] = before[joined]
                        before[joined] = -1
                        after[joined] = head[u]
                        before[head[u]] = joined
                        head[u] = joined
                    continue
                for side in range(2):
                    h = free
                    if h >= 0:
                        free = after[h]
                    else:
                        h = n_halves
                        n_halves += 1
                        if n_halves > len(target):
                            return 2
                    a = u if side == 0 else w
                    target[h] = w if side == 0 else u
                    table_of[h] = -1
                    after[h] = head[a]
                    before[h] = -1
                    if head[a] >= 0:
                        before[head[a]] = h
                    head[a] = h
                    degree[a] += 1
                    if side == 1:
                        twin[h] = joined
                        twin[joined] = h
                    joined = h
        out = -1
        is_new = 1
        if d == 2 and table_of[joined] >= 0:
            out = table_of[joined]
            is_new = 0
        elif d >= 2:
            out = n_tables
            n_tables += 1
            if n_scopes + d > len(made.scopes):
                return 2
            for q in range(d):
                made.scopes[n_scopes] = around[q]
                n_scopes += 1
            made.scope_offsets[n_tables] = n_scopes
            if d == 2:
                table_of[joined] = out
                table_of[twin[joined]] = out
            else:
                if n_members + d > len(members.table):
                    return 2
                for q in range(d):
                    u = around[q]
                    members.table[n_members] = out
                    members.after[n_members] = vertices.members[u]
                    vertices.members[u] = n_members
                    n_members += 1
                    vertices.n_wide[u] += 1
        if d == 2 or not plain:
            code[n_code] = out
            code[n_code + 1] = is_new
            n_code += 2
        for q in range(d):
            u = around[q]
            old = vertices.place[u]
            new = min(degree[u], widest + 1)
            if old == new:
                continue
            if vertices.before[u] >= 0:
                vertices.after[vertices.before[u]] = vertices.after[u]
            else:
                lists[old] = vertices.after[u]
            if vertices.after[u] >= 0:
                vertices.before[vertices.after[u]] = vertices.before[u]
            vertices.place[u] = new
            vertices.after[u] = lists[new]
            vertices.before[u] = -1
            if lists[new] >= 0:
                vertices.before[lists[new]] = u
            lists[new] = u
    if n_left > 0:
        result[0] = n_left
        return 1
    made.step_offsets[n_steps] = n_code
    result[0] = n_steps
    result[1] = n_code
    result[2] = n_tables
    result[3] = width
    result[4] = work
    result[5] = n_strides
    return 0
