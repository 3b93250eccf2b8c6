"""The same problem as a minimum cut in other people's libraries: PyMaxflow, igraph, OR-Tools and networkx.

Each function goes the whole way from a `solvers.Problem` to a placement: arcs and capacities by NumPy, the library's
graph from those arrays, the cut, and its side of every layer. Source side = device. A tensor with several consumers
has an auxiliary vertex in each direction.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from solvers import Problem

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

INTEGER_TOTAL = 2**45
"""What all finite capacities add up to in OR-Tools' integers: the pins then stay far below 2**63."""

INTEGER_TOLERANCE = 1e-4
"""Relative; what rounding the capacities to integers may cost."""


@dataclass(frozen=True, slots=True, eq=False)
class Arcs:
    """The arcs of the cut network of a graph, without capacities: they serve every cost vector.

    Attributes
    ----------
    n_nodes : int
        Layers, then the auxiliary vertices.
    tails, heads : (n_pairs,) int64
        One pair of arcs each, there and back.
    single, shared : (n_single,), (n_shared,) int64
        Tensors with one consumer and with several. Pairs: the single tensors; for each shared one the arc to its
        vertex of the way up, and from its vertex of the way down; then those between vertices and consumers, up, down.
    n_reads : int
        Consumers of the shared tensors.
    """

    n_nodes: int
    tails: IntArray
    heads: IntArray
    single: IntArray
    shared: IntArray
    n_reads: int

    @classmethod
    def of(cls, problem: Problem) -> "Arcs":
        """Lay out the arcs of a problem with two machines."""
        counts, consumers, producers = problem.consumer_counts(), problem.consumer_layers, problem.tensor_producer
        n_layers = problem.n_layers
        single, shared = np.flatnonzero(counts == 1), np.flatnonzero(counts > 1)
        first = consumers[problem.consumer_offsets[single]]
        if not len(shared):
            return cls(n_layers, producers[single], first, single, shared, 0)
        upward = n_layers + np.arange(len(shared))
        downward = upward + len(shared)
        several = counts[shared]
        readers = consumers[np.repeat(counts > 1, counts)]
        source = producers[shared]
        tails = (producers[single], source, downward, np.repeat(upward, several), readers)
        heads = (first, upward, source, readers, np.repeat(downward, several))
        n_nodes = n_layers + 2 * len(shared)
        return cls(n_nodes, np.concatenate(tails), np.concatenate(heads), single, shared, len(readers))


@dataclass(frozen=True, slots=True, eq=False)
class Capacities:
    """What the arcs of a cut network hold; "infinity" is more than all finite ones together."""

    forwards: FloatArray  # (n_pairs,)
    backwards: FloatArray  # (n_pairs,)
    from_source: FloatArray  # (n_layers,)
    to_sink: FloatArray  # (n_layers,)
    finite: float  # all finite ones together
    infinity: float

    @classmethod
    def of(cls, problem: Problem, arcs: Arcs) -> "Capacities":
        """Price the arcs."""
        up, down = problem.transfer_costs(0, 1), problem.transfer_costs(1, 0)
        difference = problem.compute[:, 1] - problem.compute[:, 0]  # +-inf where pinned
        free = np.isfinite(difference)
        finite = float(np.abs(difference[free]).sum() + up.sum() + down.sum())
        infinity = 2.0 * finite if finite > 0.0 else 1.0
        difference = np.clip(difference, -infinity, infinity)
        n_pairs = len(arcs.tails)
        forwards, backwards = np.empty(n_pairs), np.zeros(n_pairs)
        n_single, n_shared = len(arcs.single), len(arcs.shared)
        forwards[:n_single], backwards[:n_single] = up[arcs.single], down[arcs.single]
        forwards[n_single : n_single + n_shared] = up[arcs.shared]
        forwards[n_single + n_shared : n_single + 2 * n_shared] = down[arcs.shared]
        forwards[n_single + 2 * n_shared :] = infinity
        return cls(forwards, backwards, np.maximum(difference, 0.0), np.maximum(-difference, 0.0), finite, infinity)


def pymaxflow(problem: Problem) -> IntArray:
    """Solve by PyMaxflow (Boykov and Kolmogorov's algorithm): arcs, capacities, graph, cut, placement."""
    return pymaxflow_rebuilt(problem, Arcs.of(problem))


def pymaxflow_rebuilt(problem: Problem, arcs: Arcs, graph: Any = None) -> IntArray:
    """Do the same with the arcs known, in the memory of an older graph if one is given."""
    return pymaxflow_filled(problem.n_layers, arcs, Capacities.of(problem, arcs), graph)


def pymaxflow_filled(n_layers: int, arcs: Arcs, capacities: Capacities, graph: Any = None) -> IntArray:
    """Do the same with the capacities known, too: what is left is PyMaxflow's own work."""
    import maxflow

    if graph is None:
        graph = maxflow.GraphFloat(arcs.n_nodes, len(arcs.tails))
    else:
        graph.reset()
    nodes = graph.add_grid_nodes(arcs.n_nodes)
    graph.add_edges(arcs.tails, arcs.heads, capacities.forwards, capacities.backwards)
    layers = nodes[:n_layers]
    graph.add_grid_tedges(layers, capacities.from_source, capacities.to_sink)
    graph.maxflow()
    return np.asarray(graph.get_grid_segments(layers), dtype=np.int64)


def pymaxflow_graph() -> Any:
    """Return an empty graph to be filled again and again."""
    import maxflow

    return maxflow.GraphFloat()


def igraph(problem: Problem) -> IntArray:
    """Solve by igraph (push-relabel)."""
    import igraph as library

    n_nodes, tails, heads, capacity, _ = _one_way_arcs(problem)
    source, sink = n_nodes - 2, n_nodes - 1
    graph = library.Graph(n=n_nodes, edges=np.column_stack([tails, heads]), directed=True)
    cut = graph.st_mincut(source, sink, capacity=capacity.tolist())
    placement = np.ones(n_nodes, dtype=np.int64)
    placement[cut.partition[0]] = 0
    return placement[: problem.n_layers]


def ortools(problem: Problem) -> IntArray:
    """Solve by OR-Tools (push-relabel) with capacities rounded to integers."""
    from ortools.graph.python import max_flow

    n_nodes, tails, heads, capacity, finite = _one_way_arcs(problem)
    scaled = np.rint(capacity * (INTEGER_TOTAL / finite if finite > 0.0 else 1.0)).astype(np.int64)
    solver = max_flow.SimpleMaxFlow()
    solver.add_arcs_with_capacity(tails, heads, scaled)
    status = solver.solve(n_nodes - 2, n_nodes - 1)
    if status != solver.OPTIMAL:
        raise RuntimeError(f"OR-Tools ended with status {status} on {problem}")
    placement = np.ones(n_nodes, dtype=np.int64)
    placement[solver.get_source_side_min_cut()] = 0
    return placement[: problem.n_layers]


def networkx(problem: Problem) -> IntArray:
    """Solve by networkx with the fastest of its algorithms on these graphs; an edge without capacity is infinite."""
    import networkx as library
    from networkx.algorithms.flow import boykov_kolmogorov

    n_nodes, tails, heads, capacity, finite = _one_way_arcs(problem)
    bounded = capacity <= finite
    graph: Any = library.DiGraph()
    graph.add_nodes_from(range(n_nodes))
    triples = zip(tails[bounded].tolist(), heads[bounded].tolist(), capacity[bounded].tolist(), strict=True)
    graph.add_weighted_edges_from(triples, weight="capacity")
    graph.add_edges_from(zip(tails[~bounded].tolist(), heads[~bounded].tolist(), strict=True))
    _, (device_side, _) = library.minimum_cut(graph, n_nodes - 2, n_nodes - 1, flow_func=boykov_kolmogorov)
    placement = np.ones(n_nodes, dtype=np.int64)
    placement[list(device_side)] = 0
    return placement[: problem.n_layers]


LIBRARIES: dict[str, Callable[[Problem], IntArray]] = {"PyMaxflow": pymaxflow, "igraph": igraph, "OR-Tools": ortools}
"""Those that take large graphs."""


def _one_way_arcs(problem: Problem) -> tuple[int, IntArray, IntArray, FloatArray, float]:
    """Return the number of nodes, source and sink being the last two, the arcs with capacities, and what is finite.

    The last arc goes from the source to the sink and holds nothing, so that both are known to every library.
    """
    arcs = Arcs.of(problem)
    capacities = Capacities.of(problem, arcs)
    source, sink = arcs.n_nodes, arcs.n_nodes + 1
    starts, ends = np.flatnonzero(capacities.from_source), np.flatnonzero(capacities.to_sink)
    both = np.flatnonzero(capacities.backwards)
    tails = (arcs.tails, arcs.heads[both], np.full(len(starts), source), ends, [source])
    heads = (arcs.heads, arcs.tails[both], starts, np.full(len(ends), sink), [sink])
    parts = (
        capacities.forwards,
        capacities.backwards[both],
        capacities.from_source[starts],
        capacities.to_sink[ends],
        [0.0],
    )
    n_nodes = arcs.n_nodes + 2
    return n_nodes, np.concatenate(tails), np.concatenate(heads), np.concatenate(parts), capacities.finite
