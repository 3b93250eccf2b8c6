"""The graph of layers behind a problem: who feeds whom, in which order."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from solvers._arrays import IntArray, read_only
from solvers._jit import choose


@dataclass(frozen=True, slots=True, eq=False)
class LayerGraph:
    """Successors of each layer in CSR form and a topological order.

    A pair of layers joined by several tensors appears once per tensor. If the layers came in topological order,
    `order` is the identity.
    """

    successor_offsets: IntArray  # (n_layers + 1,)
    successors: IntArray  # (n_pairs,)
    n_producers: IntArray  # (n_layers,) incoming pairs
    order: IntArray  # (n_layers,)

    @classmethod
    def of(cls, n_layers: int, tails: IntArray, heads: IntArray) -> "LayerGraph":
        """Sort the pairs `tails[k] -> heads[k]`; on a cycle `order` holds only the layers before any cycle.

        Complexity O(n_layers + n_pairs log n_pairs).
        """
        by_tail = np.argsort(tails, kind="stable")
        offsets = np.zeros(n_layers + 1, dtype=np.int64)
        np.cumsum(np.bincount(tails, minlength=n_layers), out=offsets[1:])
        successors = heads[by_tail]
        n_producers = np.bincount(heads, minlength=n_layers).astype(np.int64)
        if bool(np.all(tails < heads)):
            order = np.arange(n_layers, dtype=np.int64)
        else:
            backend = choose(n_layers)
            out = backend.full(n_layers, 0)
            missing = backend.load(n_producers)
            found = backend.run(_sort, backend.load(offsets), backend.load(successors), missing, out)
            order = np.array(out[:found], dtype=np.int64)
        return cls(read_only(offsets), read_only(successors), read_only(n_producers), read_only(order))

    def spread(self, flags: IntArray, *, backwards: bool = False) -> IntArray:
        """Mark every layer reachable from a marked one by at least one edge; `backwards` marks the ancestors.

        Parameters
        ----------
        flags : (n_layers,) int64 array of 0 and 1.

        Returns
        -------
        (n_layers,) int64 array of 0 and 1; a marked layer stays unmarked unless another marked one reaches it.
        """
        backend = choose(len(self.order))
        out = backend.full(len(self.order), 0)
        kernel = _spread_backwards if backwards else _spread_forwards
        arguments = (self.order, self.successor_offsets, self.successors, flags)
        backend.run(kernel, *(backend.load(argument) for argument in arguments), out)
        return np.array(out, dtype=np.int64)


def _sort(offsets: Any, successors: Any, missing: Any, out: Any) -> int:
    """Kahn's topological sort; `missing` counts unplaced producers. Returns how many layers were placed."""
    n_found = 0
    for layer in range(len(missing)):
        if missing[layer] == 0:
            out[n_found] = layer
            n_found += 1
    position = 0
    while position < n_found:
        layer = out[position]
        position += 1
        for k in range(offsets[layer], offsets[layer + 1]):
            successor = successors[k]
            missing[successor] -= 1
            if missing[successor] == 0:
                out[n_found] = successor
                n_found += 1
    return n_found


def _spread_forwards(order: Any, offsets: Any, successors: Any, flags: Any, out: Any) -> int:
    """Set `out` on the descendants of flagged layers."""
    for position in range(len(order)):
        layer = order[position]
        if flags[layer] != 0 or out[layer] != 0:
            for k in range(offsets[layer], offsets[layer + 1]):
                out[successors[k]] = 1
    return 0


def _spread_backwards(order: Any, offsets: Any, successors: Any, flags: Any, out: Any) -> int:
    """Set `out` on the ancestors of flagged layers."""
    for position in range(len(order) - 1, -1, -1):
        layer = order[position]
        for k in range(offsets[layer], offsets[layer + 1]):
            successor = successors[k]
            if flags[successor] != 0 or out[successor] != 0:
                out[layer] = 1
                break
    return 0
