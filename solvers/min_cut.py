"""The optimum without delays on any graph: a minimum cut between device and server."""

import numpy as np

from solvers._arrays import IntArray
from solvers._jit import PLAIN_LIMIT, choose
from solvers.blocks import merged_groups
from solvers.errors import InfeasibleError
from solvers.flow_network import DEVICE, FREE, SERVER, FlowNetwork
from solvers.max_flow import ALL_STAGES, minimum_cut
from solvers.problem import Problem

__all__ = ["DEVICE", "FREE", "SERVER", "CutNetwork"]


class CutNetwork:
    """The cut network of a problem with two machines; solved again and again under different pins.

    Parameters
    ----------
    problem : Problem
        With two machines. Colocated layers are one node.
    one_way : bool
        Forbid every edge from the server to the device: the cut is then the best with at most one message.
    stages : int
        Which stages of `max_flow.minimum_cut` to use.

    Raises
    ------
    InfeasibleError
        Colocated groups that share layers are allowed on no machine together.
    """

    __slots__ = ("_networks", "_one_way", "_problem", "_stages", "own_pins")

    own_pins: IntArray
    """(n_layers,) what each layer's forbidden machine leaves, for it and for the layers colocated with it."""

    def __init__(self, problem: Problem, *, one_way: bool = False, stages: int = ALL_STAGES) -> None:
        forbidden = np.isinf(problem.compute)
        self.own_pins = np.where(forbidden[:, 1], DEVICE, np.where(forbidden[:, 0], SERVER, FREE)).astype(np.int64)
        self._problem = problem
        self._one_way = one_way
        self._stages = stages
        self._networks: dict[bool, FlowNetwork] = {}
        for group in merged_groups(problem.n_layers, problem.colocated):
            pinned = self.own_pins[group]
            if bool(np.any(pinned == DEVICE)) and bool(np.any(pinned == SERVER)):
                names = ", ".join(problem.layer(int(layer)) for layer in group)
                raise InfeasibleError(f"no machine allows all of the colocated {names}; lift a restriction")
            if bool(np.any(pinned != FREE)):
                self.own_pins[group] = pinned.max()

    def solve(self, pins: IntArray, *, long_search: bool = False, keep: bool = True) -> IntArray:
        """Return the cheapest placement under `pins`, (n_layers,) of FREE, DEVICE or SERVER, without delays.

        `long_search` says that many solves follow, so that the kernels are compiled whatever the size; without `keep`
        this is the last one. Pins of colocated layers must agree.

        Ties go to the placement with the fewest layers on the server. With `one_way`, pins that contradict each
        other are broken somewhere: check the answer.
        """
        backend = choose(max(len(pins), PLAIN_LIMIT + 1) if long_search else len(pins))
        network = self._networks.pop(backend.plain, None)
        if network is None:
            network = FlowNetwork.of(self._problem, backend, one_way=self._one_way)
        if keep:
            self._networks[backend.plain] = network
        return minimum_cut(network, pins, backend, keep=keep, stages=self._stages)
