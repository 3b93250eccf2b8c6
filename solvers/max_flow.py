"""The minimum cut of a network: reductions, bulk passes, search trees, and push-relabel where trees do not pay.

No algorithm is quick on every network that layers make. Search trees are where flow goes a few arcs, as with costs in
no order; they need one long search a layer where the input feeds thousands of layers. Push-relabel moves such flow
together, but is several times slower on the former. So the trees get a budget of steps for each arc, and
what they leave goes to push-relabel, whose bound holds for any capacities. Every stage starts from the flow of the
one before it.
"""

from typing import Any

import numpy as np

from solvers._arrays import IntArray
from solvers._jit import Backend
from solvers.flow_network import FREE, FlowNetwork
from solvers.flow_push import push_relabel
from solvers.flow_reduce import reduce_network, restore
from solvers.flow_sweep import sweep
from solvers.flow_trees import grow_trees

PERSISTENCY, ELIMINATION, SWEEPS, TREES = 1, 2, 4, 8
"""The stages that may be left out: fixing, eliminating, bulk passes, search trees. Without trees all is pushed."""

ALL_STAGES = PERSISTENCY | ELIMINATION | SWEEPS | TREES

_SWEEP_ROUNDS = 1
_TREE_BUDGET = 20
"""Steps of the trees for each arc; costs in no order take 3 to 10."""


def minimum_cut(
    network: FlowNetwork, pins: IntArray, backend: Backend, *, keep: bool = True, stages: int = ALL_STAGES
) -> IntArray:
    """Return the side of each layer in a minimum cut, 0 with the source, 1 with the sink; (n_layers,) int64.

    Parameters
    ----------
    network : FlowNetwork
    pins : (n_layers,) int64
        0 or 1 for layers whose side is given, -1 for the others.
    backend : Backend
        The one that `network` was built with.
    keep : bool
        Whether the network is needed again; without, its arrays are worked on in place.
    stages : int
        Sum of the stages to use; all of them give the same value.

    Notes
    -----
    Among minimum cuts the one with the fewest layers on the sink's side, up to rounding. O(n_arcs) but for the flow of
    what the reductions leave, which is O(n^2 sqrt(n_arcs)) at worst.
    """
    n_nodes, n_arcs = network.n_nodes, len(network.head)
    first, head, opposite = network.first, network.head, network.opposite
    capacity, excess = network.capacity, network.excess
    if keep:
        head, opposite = backend.load(head, np.int32), backend.load(opposite, np.int32)
        capacity, excess = backend.load(capacity, np.float64), backend.load(excess, np.float64)
    last = backend.room(n_nodes, np.int32)
    side = backend.full(n_nodes, FREE, np.int8)
    backend.run(_pin, network.node_of, backend.view(pins), side)

    arcs = (first, last, head, opposite, capacity, excess, side)
    bounds, eliminated = backend.room(2 * n_nodes, np.float64), backend.room(n_nodes, np.int32)
    counts, stack = backend.full(3 * n_nodes, 0, np.int32), backend.room(2 * n_nodes, np.int32)
    n_eliminated = backend.run(
        reduce_network, *arcs, bounds, counts, stack, eliminated, stages & (PERSISTENCY | ELIMINATION)
    )
    tree = backend.full(n_nodes, 0, np.int8)
    if stages & SWEEPS:
        backend.run(sweep, *arcs, tree, _SWEEP_ROUNDS)
        tree = backend.full(n_nodes, 0, np.int8)
    unfinished = True
    if stages & TREES:
        links, queue = backend.room(4 * n_nodes, np.int32), backend.full(2 * n_nodes, 0, np.int32)
        orphans = backend.room(n_nodes, np.int32)
        unfinished = backend.run(grow_trees, *arcs, tree, links, queue, orphans, _TREE_BUDGET * n_arcs) < 0
    if unfinished:
        height, current = backend.full(n_nodes, 0, np.int32), backend.full(n_nodes, 0, np.int32)
        links, lists = backend.full(3 * n_nodes, -1, np.int32), backend.full(2 * (n_nodes + 2), -1, np.int32)
        backend.run(push_relabel, *arcs, height, current, links, lists)
    backend.run(restore, first, last, head, capacity, excess, side, bounds, eliminated, n_eliminated)
    out = backend.full(len(pins), 0)
    backend.run(_read, network.node_of, side, out)
    return np.array(out, dtype=np.int64)


def _pin(node_of: Any, pins: Any, side: Any) -> int:
    """Give nodes the sides of their pinned layers."""
    for layer in range(len(pins)):
        if pins[layer] >= 0:
            side[node_of[layer]] = pins[layer]
    return 0


def _read(node_of: Any, side: Any, out: Any) -> int:
    """Give layers the sides of their nodes."""
    for layer in range(len(out)):
        out[layer] = side[node_of[layer]]
    return 0
