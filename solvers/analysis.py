"""What can be worked out about a problem before its costs are known, to be used for any number of them."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from solvers._arrays import FloatArray, IntArray
from solvers._jit import Backend, choose
from solvers.elimination import Order, eliminate
from solvers.errors import ProblemError
from solvers.folding import Costs, Links, Vertices, fill, fold, group_sizes, group_work, place, unfold
from solvers.network import Network, build_network
from solvers.problem import Problem
from solvers.states import FIRST, LAST, Layout, States, lay_out, machine_states, stage_states
from solvers.visits import ends_on_device

WORK_LIMIT = 1 << 30
"""Combinations of states that an elimination may run over; about a second of compiled work."""


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """One meaning of labels with everything that the numeric phase needs for it."""

    states: States
    order: Order
    layout: Layout
    links: Links
    vertices: Vertices


@dataclass(frozen=True, slots=True, eq=False)
class Analysis:
    """The symbolic phase of a problem's elimination: reusable for every problem with the same graph and pins.

    Attributes
    ----------
    width : int
        Most neighbours that a layer has when it is eliminated: 1 on a chain, 2 on series-parallel graphs.
    work : int
        Combinations of states that one pass runs over.
    problem : Problem
        The one that was analysed.
    network : Network
        Its layers and tensors as they are eliminated.
    model : Model
        The states of the layers, the order of elimination, and what the numeric phase fills in.
    work_limit : int
        Combinations of states that one pass may run over.
    returns : bool
        Whether every last layer is pinned to machine 0.
    """

    problem: Problem
    network: Network
    model: Model
    work_limit: int
    returns: bool  # every last layer is pinned to machine 0
    _staged: dict[int, Model | None] = field(default_factory=dict, repr=False)

    @property
    def width(self) -> int:
        """Most neighbours that a layer has when it is eliminated."""
        return self.model.order.width

    @property
    def work(self) -> int:
        """Combinations of states that one numeric pass runs over."""
        return self.model.order.work

    def __repr__(self) -> str:
        return f"Analysis({self.problem.n_layers} layers, width {self.width}, {self.work} combinations)"

    def require(self, problem: Problem) -> None:
        """Check that `problem` has this analysis' layers, tensors and pins.

        Raises
        ------
        ProblemError
            It does not; analyse it anew.
        """
        mine = self.problem
        if problem is mine:
            return
        if problem.graph is not mine.graph:
            for name in ("tensor_producer", "consumer_offsets", "consumer_layers"):
                if not np.array_equal(getattr(problem, name), getattr(mine, name)):
                    raise ProblemError(f"the analysis was made for another graph: {name} differs; analyse this problem")
        if problem.compute.shape != mine.compute.shape or problem.colocated != mine.colocated:
            raise ProblemError("the analysis was made for other layers or machines; analyse this problem")
        if problem.compute is not mine.compute:
            differs = np.isinf(problem.compute) != np.isinf(mine.compute)
            if differs.any():
                layer = int(np.argmax(differs.any(axis=1)))
                raise ProblemError(
                    f"{problem.layer(layer)} is allowed on other machines than in the analysis; analyse this problem"
                )

    def staged(self, highest: int) -> Model | None:
        """Return the model with the stages 0 .. `highest`, None if a layer has no stage.

        Raises
        ------
        MethodError
            With these states it is over the limit of work.
        """
        if highest not in self._staged:
            problem, network = self.problem, self.network
            graph = problem.graph
            flags = FIRST * (graph.n_producers == 0) + LAST * (np.diff(graph.successor_offsets) == 0)
            states = stage_states(network, _allowed(problem), flags, highest)
            self._staged[highest] = _model(network, states, self.work_limit) if states.feasible else None
        return self._staged[highest]


def analyse(problem: Problem, *, work_limit: int = WORK_LIMIT) -> Analysis:
    """Find out how to eliminate the layers of `problem`, for these and all other costs.

    Parameters
    ----------
    problem : Problem
        Any number of machines; which are allowed where matters, other costs do not.
    work_limit : int
        Combinations of states that one pass may run over.

    Returns
    -------
    Analysis

    Raises
    ------
    MethodError
        Too wide: tables would pass their limit; the message says how many layers stay.

    Notes
    -----
    Linear for graphs that fold by eliminating layers with two neighbours.
    """
    network = build_network(problem)
    states = machine_states(network, _allowed(problem), problem.n_machines)
    model = _model(network, states, work_limit)
    return Analysis(problem, network, model, work_limit, problem.n_machines == 2 and ends_on_device(problem))


def filled(
    backend: Backend,
    problem: Problem,
    network: Network,
    model: Model,
    vertices: Vertices,
    offsets: Any,
    per_tensor: FloatArray | None = None,
) -> tuple[Any, Any]:
    """Return the vectors and tables of `model` under the problem's costs; views and results are the backend's."""
    sizes = backend.full(len(network.group_counts), 0.0, np.float64)
    backend.run(group_sizes, backend.view(network.group_of_tensor), backend.view(problem.tensor_size_bytes), sizes)
    n_links = problem.n_machines**2
    work = backend.full(len(network.group_counts) * n_links if problem.crossing_work.size else 0, 0.0, np.float64)
    if problem.crossing_work.size:
        groups, all_work = backend.view(network.group_of_tensor), backend.view(problem.crossing_work)
        backend.run(group_work, groups, all_work, n_links, work)
    costs = Costs(
        backend.view(problem.compute.ravel()),
        backend.view(network.group_counts),
        sizes,
        backend.view((problem.per_tensor if per_tensor is None else per_tensor).ravel()),
        backend.view(problem.per_byte.ravel()),
        work,
    )
    vectors = backend.full(int(model.layout.vector_offsets[-1]), 0.0, np.float64)
    tables = backend.full(model.layout.n_entries, 0.0, np.float64)
    links, ordered = backend.views(model.links), model.states.ordered
    backend.run(fill, problem.n_machines, ordered, links, vertices, costs, offsets, vectors, tables)
    return vectors, tables


def least(problem: Problem, network: Network, model: Model, per_tensor: FloatArray | None = None) -> IntArray | None:
    """Return the cheapest placement without delays under `model`, or None if there is none. One numeric pass."""
    backend, order, ordered = choose(problem.n_layers), model.order, model.states.ordered
    vertices, offsets = backend.views(model.vertices), backend.view(model.layout.table_offsets)
    vectors, tables = filled(backend, problem, network, model, vertices, offsets, per_tensor)
    steps = backend.views(order)
    best = backend.full(int(model.states.counts.max(initial=0)), 0.0, np.float64)
    strides = backend.full(order.n_strides, 0)
    cost = backend.run(fold, steps, vertices.vector_offsets, offsets, vectors, tables, best, strides)
    if not cost < np.inf:
        return None
    states = backend.full(len(network.owners), 0)
    backend.run(unfold, steps, vertices.vector_offsets, offsets, vectors, tables, best, states)
    machines = backend.full(problem.n_layers, 0)
    backend.run(place, ordered, vertices.types, vertices.type_offsets, vertices.labels, states, machines)
    return np.asarray(machines, dtype=np.int64)


def _allowed(problem: Problem) -> IntArray:
    weights = 1 << np.arange(problem.n_machines, dtype=np.int64)
    return np.asarray(np.isfinite(problem.compute) @ weights, dtype=np.int64)


def _model(network: Network, states: States, work_limit: int) -> Model:
    constant = ((states.counts == 1) & (network.n_shared == 0)).astype(np.int64)
    order = eliminate(states.counts, network.pair_ends, constant, work_limit=work_limit)
    layout = lay_out(states.counts, order.scope_offsets, order.scopes)
    links = Links(
        network.link_kinds,
        network.link_tails,
        network.link_heads,
        network.link_pairs,
        network.link_groups,
        network.pair_ends,
    )
    vertices = Vertices(
        network.owners,
        network.first_shared,
        network.n_shared,
        network.shared_groups,
        states.types,
        states.type_offsets,
        states.labels,
        states.sent,
        layout.vector_offsets,
        constant,
    )
    return Model(states, order, layout, links, vertices)
