"""The optimum without delays on any graph: a minimum cut between device and server.

Source side = device. A layer's costs are arcs to the terminals after its cheaper one is taken off both, so that any
sign is fine. A tensor with one consumer is a pair of arcs, one per direction. A tensor with several is sent once:
an auxiliary vertex per direction gathers them, after Hu, Bao, Wang and Liu, "Dynamic adaptive DNN surgery for
inference acceleration on the edge" (INFOCOM 2019), who have it for the way up only.
"""

import numpy as np

from solvers._arrays import FloatArray, IntArray
from solvers._jit import PLAIN_LIMIT
from solvers.max_flow import FlowNetwork, minimum_cut
from solvers.problem import Problem
from solvers.visits import crossing_costs

FREE, DEVICE, SERVER = -1, 0, 1
"""What a layer is pinned to in the array of pins."""


class CutNetwork:
    """The cut network of a problem with two machines; solved again and again under different pins.

    Parameters
    ----------
    problem : Problem
        With two machines.
    one_way : bool
        Forbid every edge from the server to the device: the cut is then the best with at most one message.

    Notes
    -----
    n_layers + 2 * (tensors with several consumers) nodes. "Infinity" is twice the sum of all finite costs, so that
    float64 keeps its precision whatever the unit.
    """

    __slots__ = ("_device", "_infinity", "_network", "_server", "own_pins")

    own_pins: IntArray
    """(n_layers,) what each layer's forbidden machine leaves."""

    def __init__(self, problem: Problem, *, one_way: bool = False) -> None:
        allowed = np.isfinite(problem.compute)
        self.own_pins = np.where(allowed.all(axis=1), FREE, np.where(allowed[:, 0], DEVICE, SERVER)).astype(np.int64)
        costs = np.where(allowed, problem.compute, 0.0)
        difference = np.where(self.own_pins == FREE, costs[:, 0] - costs[:, 1], 0.0)
        self._device = np.maximum(-difference, 0.0)  # lost if the layer goes to the server
        self._server = np.maximum(difference, 0.0)
        upwards, downwards = crossing_costs(problem)
        used = problem.consumer_counts() > 0
        total = float(np.abs(difference).sum() + upwards[used].sum() + downwards[used].sum())
        self._infinity = 2.0 * total if total > 0.0 else 1.0
        self._network = _network(problem, upwards, downwards, self._infinity if one_way else None)

    def solve(self, pins: IntArray, *, long_search: bool = False) -> IntArray:
        """Return the cheapest placement under `pins`, (n_layers,) of FREE, DEVICE or SERVER, without delays.

        `long_search` says that many solves follow, so that the kernel is compiled whatever the size.

        Ties go to the placement with the fewest layers on the server. With `one_way`, pins that contradict each
        other are broken somewhere: check the answer.
        """
        n_layers, n_nodes = len(pins), len(self._network.first) - 1
        from_source, to_sink = np.zeros(n_nodes), np.zeros(n_nodes)
        from_source[:n_layers] = np.where(pins == FREE, self._device, np.where(pins == DEVICE, self._infinity, 0.0))
        to_sink[:n_layers] = np.where(pins == FREE, self._server, np.where(pins == SERVER, self._infinity, 0.0))
        size = max(n_layers, PLAIN_LIMIT + 1) if long_search else n_layers
        return minimum_cut(self._network, from_source, to_sink, size=size)[:n_layers]


def _network(problem: Problem, upwards: FloatArray, downwards: FloatArray, forbidden: float | None) -> FlowNetwork:
    """Build the arcs between layers and auxiliary vertices; `forbidden` is the capacity against the way back."""
    counts, consumers, n_layers = problem.consumer_counts(), problem.consumer_layers, problem.n_layers
    owner = np.repeat(np.arange(problem.n_tensors), counts)
    producers = problem.tensor_producer
    alone = counts[owner] == 1
    shared = np.flatnonzero(counts > 1)
    outward = np.full(problem.n_tensors, -1, dtype=np.int64)
    outward[shared] = n_layers + np.arange(len(shared))
    inward = outward + len(shared)
    tensor, consumer = owner[~alone], consumers[~alone]

    tails = [producers[owner[alone]], producers[shared], outward[tensor], inward[shared], consumer]
    heads = [consumers[alone], outward[shared], consumer, producers[shared], inward[tensor]]
    forwards = [upwards[owner[alone]], upwards[shared], upwards[tensor], downwards[shared], downwards[tensor]]
    nothing = np.zeros(len(shared)), np.zeros(len(tensor))
    backwards = [downwards[owner[alone]], *nothing, *nothing]
    if forbidden is not None:
        tails.append(consumers)
        heads.append(producers[owner])
        forwards.append(np.full(len(owner), forbidden))
        backwards.append(np.zeros(len(owner)))
    n_nodes = n_layers + 2 * len(shared)
    return FlowNetwork.of(n_nodes, *(np.concatenate(parts) for parts in (tails, heads, forwards, backwards)))
