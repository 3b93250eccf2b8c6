"""What the optimum is compared with: all on one machine, Neurosurgeon's chain, whole blocks, DADS's minimum cut."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import networkx as nx
import numpy as np

import solvers
from benchmarks.papers.networks import Network
from partition.problem import DEVICE, SERVER, Bridge, IntArray

SLACK = 1e-9
"""Relative: how far sums of the same costs in another order may differ."""

# Whole numbers of Python, so that a saturated arc has nothing left: floats leave a last digit that joins the sides.
_PER_UNIT = 10**18

Value = Callable[[IntArray], float]


@dataclass(frozen=True, slots=True, eq=False)
class Compared:
    """The optimum and the baselines on one problem, all priced by the same evaluator.

    Attributes
    ----------
    placements : mapping of str to ndarray
        By the names of `NAMES`.
    values : mapping of str to float
        Seconds or joules.
    proven : bool
        Whether the optimum is.
    believed : float
        What DADS's cut costs by its own construction, which leaves out the way back.
    """

    placements: Mapping[str, IntArray]
    values: Mapping[str, float]
    proven: bool
    believed: float

    @property
    def violations(self) -> int:
        """Baselines that cost less than the optimum."""
        best = self.values["optimum"]
        return sum(value < best - SLACK * abs(best) for value in self.values.values())

    def gain(self, name: str) -> float:
        """Return a baseline's cost over the optimum's."""
        best = self.values["optimum"]
        return self.values[name] / best if best > 0 else 1.0


NAMES = ("all device", "all server", "chain only", "whole blocks", "DADS")


def compare(net: Network, bridge: Bridge) -> Compared:
    """Solve one problem in all ways, by the bridge's objective."""
    problem = bridge.objective
    found = solvers.solve(problem)
    cut, believed = dads_cut(problem)
    placements = {
        "optimum": found.placement,
        "all device": bridge.placement(frozenset(bridge.layers)),
        "all server": bridge.placement(frozenset()),
        "chain only": chain_only(net, bridge, lambda one: solvers.evaluate(problem, one)),
        "whole blocks": whole_blocks(net, bridge),
        "DADS": cut,
    }
    values = {name: solvers.evaluate(problem, placement) for name, placement in placements.items()}
    return Compared(placements, values, found.optimal, believed)


def chain_only(net: Network, bridge: Bridge, value: Value) -> IntArray:
    """Return Neurosurgeon's choice: one tensor goes up, or the input, or nothing; what comes first wins a tie.

    Its rule is for chains. On a graph with branches it can cut only where one tensor carries everything.
    """
    heads = [frozenset[str](), *net.heads.values(), frozenset(bridge.layers)]
    return min((bridge.placement(head) for head in heads), key=value)


def blocks(net: Network, bridge: Bridge) -> IntArray:
    """Return the number of each layer's block: what lies between two tensors that are cuts by themselves."""
    heads = [head for head in net.heads.values() if head]
    return np.array([sum(layer not in head for head in heads) for layer in bridge.layers], dtype=np.int64)


def contracted(net: Network, bridge: Bridge, problem: solvers.Problem) -> tuple[solvers.Problem, IntArray]:
    """Return the problem with each block as one layer, and the new layer of each old one."""
    own = blocks(net, bridge)
    n_pseudo = problem.n_layers - len(bridge.layers)
    _, group = np.unique(own, return_inverse=True)
    n_blocks = int(group.max(initial=-1)) + 1
    group = np.concatenate([group, np.arange(n_blocks, n_blocks + n_pseudo)])
    compute = np.zeros((n_blocks + n_pseudo, 2))
    np.add.at(compute, group, problem.compute)
    tensors = []
    for tensor, producer in enumerate(problem.tensor_producer):
        first, last = problem.consumer_offsets[tensor], problem.consumer_offsets[tensor + 1]
        readers = sorted(set(group[problem.consumer_layers[first:last]].tolist()) - {int(group[producer])})
        if readers:
            tensors.append((int(group[producer]), float(problem.tensor_size_bytes[tensor]), readers))
    small = solvers.Problem.build(
        compute,
        tensors,
        per_tensor=problem.per_tensor,
        per_byte=problem.per_byte,
        delay=problem.delay,
        max_server_visits=problem.max_server_visits,
    )
    return small, group


def whole_blocks(net: Network, bridge: Bridge) -> IntArray:
    """Return the best placement that splits no block."""
    small, group = contracted(net, bridge, bridge.objective)
    return np.asarray(solvers.solve(small).placement[group], dtype=np.int64)


def dads_cut(problem: solvers.Problem) -> tuple[IntArray, float]:
    """Return the minimum cut of DADS's network, and its capacity.

    As published: an arc from the source to a layer costs its time in the cloud, one from a layer to the sink its time
    at the edge, one along a tensor its upload. A layer whose output feeds several gets an auxiliary vertex that its
    upload leads to, with free arcs to all of them. There are no arcs for the way back: what a layer at the edge reads
    from the cloud costs nothing in this network. `solvers.evaluate` charges it.
    """
    network: nx.DiGraph[object] = nx.DiGraph()
    uploads = problem.transfer_costs(DEVICE, SERVER)
    for layer in range(problem.n_layers):
        _arc(network, "edge", layer, problem.compute[layer, SERVER])
        _arc(network, layer, "cloud", problem.compute[layer, DEVICE])
    for tensor, producer in enumerate(problem.tensor_producer.tolist()):
        first, last = problem.consumer_offsets[tensor], problem.consumer_offsets[tensor + 1]
        readers = problem.consumer_layers[first:last].tolist()
        if len(readers) == 1:
            _arc(network, producer, readers[0], uploads[tensor])
        else:
            _arc(network, producer, ("auxiliary", tensor), uploads[tensor])
            for reader in readers:
                _arc(network, ("auxiliary", tensor), reader, np.inf)
    capacity, (edge, _) = nx.minimum_cut(network, "edge", "cloud", flow_func=nx.flow.boykov_kolmogorov)
    sides = [DEVICE if layer in edge else SERVER for layer in range(problem.n_layers)]
    return np.array(sides, dtype=np.int64), capacity / _PER_UNIT


def _arc(network: "nx.DiGraph[object]", tail: object, head: object, capacity: float) -> None:
    # Two tensors between one pair of layers are two parallel arcs; without an attribute a capacity has no limit.
    if not np.isfinite(capacity):
        network.add_edge(tail, head)
    elif not network.has_edge(tail, head):
        network.add_edge(tail, head, capacity=round(capacity * _PER_UNIT))
    elif "capacity" in network.edges[tail, head]:
        network.edges[tail, head]["capacity"] += round(capacity * _PER_UNIT)


def described(bridge: Bridge, placement: IntArray) -> str:
    """Write a placement for a person: where it cuts, and how many layers stay on the device."""
    n_layers = len(bridge.layers)
    at_home = int((placement[:n_layers] == DEVICE).sum())
    if at_home == n_layers:
        return "all device"
    if at_home == 0:
        return "all server"
    sent = len({tensor for tensor, sender, _ in solvers.breakdown(bridge.objective, placement).sent_tensors})
    return f"{at_home} of {n_layers}, {sent} tensor{'s' * (sent != 1)}"
