"""Layers that must share a machine, merged: blocks of layers, most of a single one."""

import numpy as np

from solvers._arrays import IntArray


def blocks_of(n_layers: int, groups: list[tuple[int, ...]]) -> IntArray:
    """Number the sets of layers that `groups`, which may overlap, join: (n_layers,) int64, from 0 without gaps.

    Examples
    --------
    >>> blocks_of(5, [(0, 2), (2, 4)]).tolist()
    [0, 1, 0, 2, 0]
    """
    root = list(range(n_layers))

    def find(layer: int) -> int:
        while root[layer] != layer:
            root[layer] = root[root[layer]]
            layer = root[layer]
        return layer

    for group in groups:
        for layer in group[1:]:
            a, b = find(layer), find(group[0])
            root[max(a, b)] = min(a, b)
    if not groups:
        return np.arange(n_layers, dtype=np.int64)
    _, numbers = np.unique([find(layer) for layer in range(n_layers)], return_inverse=True)
    return np.asarray(numbers.ravel(), dtype=np.int64)
