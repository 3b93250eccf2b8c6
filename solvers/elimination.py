"""The symbolic half of branch-aware dynamic programming: in which order to eliminate, where each table lies.

A vertex with at most two neighbours is minimised away: its costs become a number, a vector on one neighbour, or a
table between two. Which vertices go in which order depends on the graph alone, so it is decided once and serves
every cost vector and every number of stages. Where folding sticks, up to three hubs are conditioned on: they are
fixed, folding proceeds without them, and the numeric half runs once per state of the hubs.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from solvers.errors import MethodError

MAX_HUBS = 3
"""Layers that may be fixed, state by state, to let the others fold."""

MAX_COMBINATIONS = 64
"""States of the hubs together, counted with two labels, that are worth folding one by one."""

STEP = 17
"""Integers per elimination step in a layout, see `Layout`."""


@dataclass(frozen=True, slots=True)
class Order:
    """An elimination order. Edges carry tables; those from `len(pairs)` of the input on are made by folding."""

    pairs: tuple[tuple[int, int], ...]  # (row vertex, column vertex) of every edge, folded ones included
    hubs: tuple[int, ...]  # fixed vertices
    hub_edges: tuple[int, ...]  # edges that touch a hub
    steps: tuple[tuple[int, ...], ...]  # (v,) | (v, edge, u) | (v, edge 1, u1, edge 2, u2, edge out, is it new)


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the tables of an `Order` lie, given the number of states of each vertex.

    A step is `STEP` integers: degree, vertex, its vector's offset, its states; then (table offset, stride of the
    vertex, stride of the neighbour, neighbour, its states) for up to two neighbours; then the offset of the
    produced vector or table, whether that table is new, and the offset of the arguments that attain each minimum.
    """

    vector_offsets: list[int]  # (n_vertices + 1,)
    table_offsets: list[int]  # (n_edges + 1,)
    steps: list[int]
    n_arguments: int


def eliminate(pairs: Sequence[tuple[int, int]], n_states: Sequence[int], constants: Sequence[int]) -> Order:
    """Find an elimination order of degree at most two.

    Parameters
    ----------
    pairs : edges, at most one per unordered pair of vertices
    n_states : states of each vertex with two labels, to judge hubs by
    constants : vertices that have one state, fixed at no expense

    Raises
    ------
    MethodError
        Folding sticks although up to `MAX_HUBS` vertices were fixed; the message says how many stay.

    Notes
    -----
    O(n_vertices + edges) per attempt, at most `MAX_HUBS` + 1 attempts. Vertices go in the order in which they
    become foldable, from the lowest number on. A hub is the stuck vertex with most neighbours, the first of those.
    """
    n_vertices, hubs, combinations = len(n_states), list(constants), 1
    while True:
        order, stuck = _fold(n_vertices, pairs, hubs)
        if order is not None:
            return order
        hub = max(stuck, key=lambda vertex: (stuck[vertex], -vertex))
        n_fixed = len(hubs) - len(constants)
        combinations *= n_states[hub]
        if n_fixed == MAX_HUBS or combinations > MAX_COMBINATIONS:
            raise MethodError(
                f"dp folds layers with at most two neighbours: {len(stuck)} of {n_vertices} stay stuck "
                f"with {n_fixed} more held fixed; use min-cut"
            )
        hubs.append(hub)


def _fold(
    n_vertices: int, pairs: Sequence[tuple[int, int]], hubs: Sequence[int]
) -> tuple[Order | None, dict[int, int]]:
    """Try to fold everything but the hubs; on failure return the original degree of each stuck vertex."""
    fixed = set(hubs)
    neighbours: list[dict[int, int]] = [{} for _ in range(n_vertices)]
    ends = list(pairs)
    hub_edges = []
    for edge, (row, column) in enumerate(pairs):
        if row in fixed or column in fixed:
            hub_edges.append(edge)
        else:
            neighbours[row][column] = edge
            neighbours[column][row] = edge
    waiting = [vertex for vertex in range(n_vertices) if len(neighbours[vertex]) <= 2 and vertex not in fixed]
    gone = [False] * n_vertices
    steps: list[tuple[int, ...]] = []
    for vertex in waiting:  # grows while it is read
        if gone[vertex]:
            continue
        gone[vertex] = True
        around = tuple(neighbours[vertex].items())
        if not around:
            steps.append((vertex,))
        elif len(around) == 1:
            ((other, edge),) = around
            steps.append((vertex, edge, other))
            del neighbours[other][vertex]
            if len(neighbours[other]) <= 2:
                waiting.append(other)
        else:
            (first, first_edge), (second, second_edge) = around
            of_first, of_second = neighbours[first], neighbours[second]
            del of_first[vertex]
            del of_second[vertex]
            made = of_first.get(second)
            is_new = made is None
            if made is None:
                made = len(ends)
                ends.append((first, second))
                of_first[second] = made
                of_second[first] = made
            steps.append((vertex, first_edge, first, second_edge, second, made, int(is_new)))
            if len(of_first) <= 2:
                waiting.append(first)
            if len(of_second) <= 2:
                waiting.append(second)
    stuck = {vertex: 0 for vertex in range(n_vertices) if not gone[vertex] and vertex not in fixed}
    if not stuck:
        return Order(tuple(ends), tuple(hubs), tuple(hub_edges), tuple(steps)), stuck
    for row, column in pairs:
        if row in stuck and column not in fixed:
            stuck[row] += 1
        if column in stuck and row not in fixed:
            stuck[column] += 1
    return None, stuck


def lay_out(order: Order, n_states: Sequence[int]) -> Layout:
    """Assign offsets to the vectors, tables and arguments of `order`. O(vertices + edges)."""
    vectors = [0]
    for count in n_states:
        vectors.append(vectors[-1] + count)
    tables = [0]
    for row, column in order.pairs:
        tables.append(tables[-1] + n_states[row] * n_states[column])
    steps: list[int] = []
    n_arguments = 0
    rows = [row for row, _ in order.pairs]
    for step in order.steps:
        vertex = step[0]
        states = n_states[vertex]
        if len(step) == 1:
            steps += (0, vertex, vectors[vertex], states, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, n_arguments)
            n_arguments += 1
            continue
        edge, first = step[1], step[2]
        of_first = n_states[first]
        strides = (of_first, 1) if rows[edge] == vertex else (1, states)
        if len(step) == 3:
            steps += (1, vertex, vectors[vertex], states, tables[edge], *strides, first, of_first)
            steps += (0, 0, 0, 0, 1, vectors[first], 0, n_arguments)
            n_arguments += of_first
            continue
        second_edge, second, made, is_new = step[3:]
        of_second = n_states[second]
        second_strides = (of_second, 1) if rows[second_edge] == vertex else (1, states)
        # The produced table is walked row by row of `first`: degree 3 stands for a table stored the other way.
        degree = 2 if rows[made] == first else 3
        steps += (degree, vertex, vectors[vertex], states, tables[edge], *strides, first, of_first)
        steps += (tables[second_edge], *second_strides, second, of_second, tables[made], is_new, n_arguments)
        n_arguments += of_first * of_second
    return Layout(vectors, tables, steps, n_arguments)
