"""What a vertex's state means: a label, and for each tensor that it tracks the machines it was sent to.

Without delays a label is a machine. With at most S messages between two machines the labels are the stages 0 .. S;
their parity is the machine, and they never fall along a link.
"""

from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Any

import numpy as np

from solvers._arrays import IndexArray, IntArray
from solvers._jit import choose
from solvers.network import Network

FIRST, LAST = 1, 2
"""Flags of a layer without producers, without consumers."""


@dataclass(frozen=True, slots=True, eq=False)
class States:
    """The states of every vertex under one model. Vertices of one type have the same states."""

    types: IntArray  # (n_vertices,)
    type_offsets: IntArray  # (n_types + 1,) into the two below
    labels: IntArray  # label of a state
    sent: IntArray  # bit ``place * n_machines + machine``: the tensor at `place` was sent to `machine`
    counts: IntArray  # (n_vertices,)
    ordered: bool  # whether labels are stages

    @property
    def feasible(self) -> bool:
        """Whether every vertex has a state."""
        return bool(np.all(self.counts > 0))


def machine_states(network: Network, allowed: IntArray, n_machines: int) -> States:
    """Return states whose labels are machines; `allowed` (n_layers,) has bit k set where machine k is allowed."""
    keys = allowed[network.owners] * 8 + network.n_shared
    table: dict[int, list[tuple[int, int]]] = {}
    for key in np.flatnonzero(np.bincount(keys)).tolist():
        table[key] = _machine_rows(key >> 3, key & 7, n_machines)
    return _numbered(keys, table, ordered=False)


def stage_states(network: Network, allowed: IntArray, flags: IntArray, highest: int) -> States:
    """Return states whose labels are the stages 0 .. `highest` of two machines.

    A first layer never gains from a stage above the lowest of its parity, a last one from one below the highest.
    """
    keys = (allowed[network.owners] * 4 + flags[network.owners]) * 8 + network.n_shared
    table: dict[int, list[tuple[int, int]]] = {}
    for key in np.flatnonzero(np.bincount(keys)).tolist():
        mask, flag, n_shared = key >> 5, key >> 3 & 3, key & 7
        rows = []
        for stage in range(highest + 1):
            needless = (flag & FIRST and stage > 1) or (flag == LAST and stage + 2 <= highest)
            if mask >> (stage & 1) & 1 and not needless:
                rows += [(stage, sent) for sent in _sent_sets(stage & 1, n_shared, 2)]
        table[key] = rows
    return _numbered(keys, table, ordered=True)


@cache
def _machine_rows(mask: int, n_shared: int, n_machines: int) -> list[tuple[int, int]]:
    machines = [machine for machine in range(n_machines) if mask >> machine & 1]
    return [(machine, sent) for machine in machines for sent in _sent_sets(machine, n_shared, n_machines)]


@cache
def _sent_sets(machine: int, n_shared: int, n_machines: int) -> list[int]:
    others = [k for k in range(n_machines) if k != machine]
    subsets = [sum(1 << k for j, k in enumerate(others) if chosen >> j & 1) for chosen in range(1 << len(others))]
    # The first tensor varies fastest.
    combinations = product(subsets, repeat=n_shared)
    return [sum(subset << (place * n_machines) for place, subset in enumerate(row[::-1])) for row in combinations]


def _numbered(keys: IntArray, table: dict[int, list[tuple[int, int]]], *, ordered: bool) -> States:
    number = np.zeros(max(table, default=0) + 1, dtype=np.int64)
    offsets, labels, sent = [0], [], []
    for index, (key, rows) in enumerate(table.items()):
        number[key] = index
        labels += [label for label, _ in rows]
        sent += [bits for _, bits in rows]
        offsets.append(len(labels))
    type_offsets = np.array(offsets, dtype=np.int64)
    types = number[keys]
    return States(
        types=types,
        type_offsets=type_offsets,
        labels=np.array(labels, dtype=np.int64),
        sent=np.array(sent, dtype=np.int64),
        counts=np.diff(type_offsets)[types] if len(types) else np.zeros(0, dtype=np.int64),
        ordered=ordered,
    )


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """Where vectors and tables lie under one model of states."""

    vector_offsets: IntArray  # (n_vertices + 1,)
    table_offsets: IntArray  # (n_tables + 1,)

    @property
    def n_entries(self) -> int:
        """Floats of all tables."""
        return int(self.table_offsets[-1])


def lay_out(counts: IntArray, scope_offsets: IndexArray, scopes: IndexArray) -> Layout:
    """Give every vertex a vector and every table a block. O(n_vertices + entries of scopes)."""
    backend = choose(len(counts))
    vectors = backend.full(len(counts) + 1, 0)
    tables = backend.full(len(scope_offsets), 0)
    backend.run(_lay_out, *(backend.view(array) for array in (counts, scope_offsets, scopes)), vectors, tables)
    return Layout(np.asarray(vectors, dtype=np.int64), np.asarray(tables, dtype=np.int64))


def _lay_out(counts: Any, scope_offsets: Any, scopes: Any, vectors: Any, tables: Any) -> int:
    """Add up the sizes."""
    for v in range(len(counts)):
        vectors[v + 1] = vectors[v] + counts[v]
    for table in range(len(scope_offsets) - 1):
        size = 1
        for k in range(scope_offsets[table], scope_offsets[table + 1]):
            size *= counts[scopes[k]]
        tables[table + 1] = tables[table] + size
    return 0
