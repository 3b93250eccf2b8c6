"""Rewrite the steps of an elimination so that one loop runs them, whatever their number of neighbours."""

import numpy as np

from solvers.analysis import Model
from solvers.label_kernels import Program


def program_of(model: Model) -> Program:
    """Return a model's steps as rows of integers.

    Returns
    -------
    Program
        A row is: the cell of the vertex's first state, its states, number of neighbours d, tables read (its own
        vector first, two at least), whether the table made is new; the neighbours' states (d); for each table read
        its first cell, the stride of the vertex and of each neighbour; for the table made its first cell, a zero and
        the stride of each neighbour. O(n_steps) in the interpreter.
    """
    order, layout = model.order, model.layout
    code, scopes, scope_offsets = order.code.tolist(), order.scopes.tolist(), order.scope_offsets.tolist()
    vectors, tables = layout.vector_offsets.tolist(), layout.table_offsets.tolist()
    n_vectors = vectors[-1]
    final, zero = n_vectors + tables[-1], n_vectors + tables[-1] + 1
    rows: list[int] = []
    offsets = [0]

    def strides(table: int, wanted: list[int]) -> list[int]:
        found = {}
        stride = 1
        for vertex in reversed(scopes[scope_offsets[table] : scope_offsets[table + 1]]):
            found[vertex] = stride
            stride *= vectors[vertex + 1] - vectors[vertex]
        return [n_vectors + tables[table]] + [found.get(vertex, 0) for vertex in wanted]

    for place in order.step_offsets[:-1].tolist():
        degree, v = code[place : place + 2]
        if degree < 0:
            d, n_read = -degree - 1, code[place + 2]
            around = code[place + 3 : place + 3 + d]
            read = code[place + 3 + d : place + 3 + d + n_read]
            made, is_new = code[place + 3 + d + n_read : place + 5 + d + n_read]
        else:
            d = degree
            read, around = code[place + 2 : place + 2 + 2 * d : 2], code[place + 3 : place + 3 + 2 * d : 2]
            made, is_new = code[place + 6 : place + 8] if d == 2 else (-1, 0)
        if made >= 0:
            out = strides(made, [v, *around])
        else:
            is_new = 0
            out = [final, 0] if d == 0 else [vectors[around[0]], 0, 1]
        rows += [vectors[v], vectors[v + 1] - vectors[v], d, max(len(read), 1) + 1, is_new]
        rows += [vectors[u + 1] - vectors[u] for u in around]
        rows += [vectors[v], 1] + [0] * d
        for table in read:
            rows += strides(table, [v, *around])
        if not read:
            rows += [zero, 0] + [0] * d
        rows += out
        offsets.append(len(rows))
    return Program(np.array(rows, dtype=np.int64), np.array(offsets, dtype=np.int64))
