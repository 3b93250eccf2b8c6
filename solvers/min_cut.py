"""The optimum without delays on any graph: a minimum cut between device and server.

The network is built, then shrunk by exact reductions, and a flow decides what is left.
"""

import numpy as np

from solvers._arrays import IntArray
from solvers._jit import PLAIN_LIMIT, choose
from solvers.flow_network import DEVICE, FREE, SERVER, FlowNetwork, representatives
from solvers.flow_reduce import ELIMINATION, PERSISTENCY, reduce_network, restore
from solvers.flow_sweep import sweep
from solvers.max_flow import grow_trees
from solvers.problem import Problem

__all__ = ["DEVICE", "FREE", "SERVER", "CutNetwork"]

steps = PERSISTENCY | ELIMINATION


class CutNetwork:
    __slots__ = ("_network", "_one_way", "_problem", "own_pins", "rounds", "statistics")

    def __init__(self, problem, *, one_way=False):
        allowed = np.isfinite(problem.compute)
        self.own_pins = np.where(allowed[:, 0] & allowed[:, 1], FREE, np.where(allowed[:, 0], DEVICE, SERVER)).astype(np.int64)
        self._problem = problem
        self._one_way = one_way
        self._network = {}

    def solve(self, pins, *, long_search=False):
        n_layers = len(pins)
        backend = choose(max(n_layers, PLAIN_LIMIT + 1) if long_search else n_layers)
        if backend.plain not in self._network:
            self._network[backend.plain] = FlowNetwork.of(self._problem, backend, one_way=self._one_way)
        net = self._network[backend.plain]
        n = net.n_nodes
        side = backend.full(n, FREE, np.int8)
        last = backend.full(n, 0, np.int32)
        head, opposite = backend.load(net.head, np.int32), backend.load(net.opposite, np.int32)
        capacity, excess = backend.load(net.capacity, np.float64), backend.load(net.excess, np.float64)
        bounds = backend.full(2*n, 0.0, np.float64)
        eliminated = backend.full(n, 0, np.int32)
        backend.run(_pin, backend.view(pins), net.node_of, side)
        import time
        t0=time.perf_counter()
        ne = backend.run(reduce_network, net.first, last, head, opposite, capacity, excess, side, bounds, backend.full(3*n, 0, np.int32), backend.full(2*n, 0, np.int32), eliminated, steps)
        import os
        R = int(os.environ.get("R", "0"))
        self.rounds = backend.run(sweep, net.first, last, head, opposite, capacity, excess, side, backend.full(n, 0, np.int8), R) if R else 0
        t1=time.perf_counter()
        self.statistics = (n, ne, sum(1 for x in side if x<0) if n<0 else int((np.asarray(side)<0).sum()))
        na = backend.run(grow_trees, net.first, last, head, opposite, capacity, excess, side, backend.full(n,0,np.int8), backend.full(n,-1,np.int32), backend.full(2*n,0,np.int32), backend.full(2*n,0,np.int32), backend.full(n,0,np.int32))
        t2=time.perf_counter()
        backend.run(restore, net.first, last, head, capacity, excess, bounds, side, eliminated, ne)
        self.statistics += (na, t1-t0, t2-t1, self.rounds)
        out = backend.full(n_layers, 0)
        backend.run(_read, net.node_of, side, out)
        return np.array(out, dtype=np.int64)


def _pin(pins, node_of, side):
    for v in range(len(pins)):
        if pins[v] >= 0:
            side[node_of[v]] = pins[v]
    return 0


def _read(node_of, side, out):
    for v in range(len(out)):
        out[v] = side[node_of[v]]
    return 0
