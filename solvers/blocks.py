"""Layers that must share a machine, merged: blocks of layers, most of a single one."""

from collections.abc import Iterable, Sequence

import numpy as np

from solvers._arrays import IntArray


def first_of_block(n_layers: int, groups: Iterable[Sequence[int]]) -> IntArray:
    """Return the first layer of each layer's block, (n_layers,) int64; groups that share a layer are one block.

    Examples
    --------
    >>> first_of_block(5, [(2, 0), (2, 4)]).tolist()
    [0, 1, 0, 3, 0]
    """
    root = list(range(n_layers))

    def find(layer: int) -> int:
        while root[layer] != layer:
            root[layer] = root[root[layer]]
            layer = root[layer]
        return layer

    merged = False
    for group in groups:
        for layer in group[1:]:
            a, b = find(layer), find(group[0])
            root[max(a, b)] = min(a, b)
            merged = True
    return np.array([find(layer) for layer in range(n_layers)] if merged else root, dtype=np.int64)


def blocks_of(n_layers: int, groups: Iterable[Sequence[int]]) -> IntArray:
    """Number the blocks that `groups` make: (n_layers,) int64, from 0 without gaps.

    Examples
    --------
    >>> blocks_of(5, [(0, 2), (2, 4)]).tolist()
    [0, 1, 0, 2, 0]
    """
    return np.unique(first_of_block(n_layers, groups), return_inverse=True)[1].ravel().astype(np.int64)


def merged_groups(n_layers: int, groups: Sequence[Sequence[int]]) -> list[IntArray]:
    """Return the blocks of several layers, each sorted, by their first layers.

    Examples
    --------
    >>> [group.tolist() for group in merged_groups(5, [(2, 4), (0, 2)])]
    [[0, 2, 4]]
    """
    if not groups:
        return []
    first = first_of_block(n_layers, groups)
    order = np.argsort(first, kind="stable")
    ends = np.flatnonzero(np.diff(first[order])) + 1
    return [block.astype(np.int64) for block in np.split(order, ends) if len(block) > 1]
