"""Branch-aware dynamic programming: exact on every graph that folds by eliminating layers of degree two.

A layer's state is its label and, for each of its tensors with several consumers, whether that tensor was sent.
Without delays a label is a machine; with at most S messages the labels are 0 .. S, their parity is the machine and
they never fall along an edge. Minimising a layer away leaves a small table between its two neighbours. In the
spirit of the four (source, sink) placements of Wang et al.; the elimination is Bertele and Brioschi, "Nonserial
Dynamic Programming", 1972.
"""

from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from solvers._arrays import IntArray
from solvers._jit import Backend, choose
from solvers.elimination import Layout, Order, eliminate, lay_out
from solvers.folding import SEPARATE, TWIN, fill_tables, fold, unfold
from solvers.problem import Problem
from solvers.solution import Solution
from solvers.visits import crossing_costs, device_only, infeasible, minimise_over_stages, require_two_machines

MAX_SENT_BITS = 3
"""Tensors with several consumers that a layer's own state tracks; further ones get a pseudo-vertex each."""


@dataclass(frozen=True, slots=True)
class Network:
    """A problem prepared for elimination: what depends on the graph and the pins, and on no cost.

    Vertices are the layers, then one pseudo-vertex per tensor beyond a layer's `MAX_SENT_BITS`. Tensors of one
    producer with the same consumers form one group.
    """

    owners: list[int]  # the layer of each vertex: itself, or the producer for a pseudo-vertex
    shared: list[list[int]]  # per vertex: the groups behind its sent bits
    group_of_tensor: IntArray  # (n_tensors,), -1 for a tensor without consumers
    n_groups: int
    links: list[tuple[int, int, int, int, int]]  # kind (see folding), tail, head, edge, group
    domains: list[int]  # per layer: 1 device allowed + 2 server allowed + 4 no producer + 8 no consumer
    order: Order


def solve_series_parallel(problem: Problem) -> Solution:
    """Solve a problem whose layer graph folds; any number of components, inputs and outputs.

    Raises
    ------
    MethodError
        Not two machines, or folding sticks; the message says how many layers stay.
    InfeasibleError
        The allowed machines need more server visits than allowed.

    Notes
    -----
    O(n_layers) for each number of stages that must be looked at, times the states of up to three fixed layers
    where the graph does not fold by itself. Ties go to the earlier label, that is the device, layer by layer.
    """
    require_two_machines(problem, "dp")
    network = prepare(problem)
    relaxed = _least(problem, network, 2, ordered=False)
    if relaxed is None:
        raise infeasible(problem)  # pragma: no cover - every layer has a machine

    def at_most(stage: int, cutoff: float) -> tuple[IntArray | None, float]:
        placement = device_only(problem) if stage == 0 else _least(problem, network, stage + 1, ordered=True)
        return placement, float("inf")

    return minimise_over_stages(problem, relaxed, at_most, "dp")


def prepare(problem: Problem) -> Network:
    """Group tensors, lay links between vertices and find an elimination order; raise MethodError if it sticks.

    O(n_layers + n_consumers).
    """
    graph, n_layers = problem.graph, problem.n_layers
    allowed = np.isfinite(problem.compute)
    first = graph.n_producers == 0
    last = np.diff(graph.successor_offsets) == 0
    domains: list[int] = (allowed[:, 0] + 2 * allowed[:, 1] + 4 * first + 8 * last).tolist()

    owners = list(range(n_layers))
    shared: list[list[int]] = [[] for _ in range(n_layers)]
    edges: dict[tuple[int, int], int] = {}
    links = []

    def link(kind: int, tail: int, head: int, group: int) -> None:
        pair = (tail, head) if tail < head else (head, tail)
        links.append((kind, tail, head, edges.setdefault(pair, len(edges)), group))

    group_of_tensor, groups = _group(problem)
    for group, (producer, consumers) in enumerate(groups):
        if len(consumers) == 1:
            link(SEPARATE, producer, consumers[0], group)
            continue
        vertex = producer
        if len(shared[producer]) == MAX_SENT_BITS:
            vertex = len(owners)
            owners.append(producer)
            shared.append([])
            link(TWIN, producer, vertex, group)
        bit = len(shared[vertex])
        shared[vertex].append(group)
        for consumer in consumers:
            link(bit, vertex, consumer, group)
    constants = [v for v in range(n_layers) if not shared[v] and domains[v] > 4 and domains[v] & 3 != 3]
    two_labels = [
        (1 if domains[owner] & 3 != 3 else 2) << len(bits) for owner, bits in zip(owners, shared, strict=True)
    ]
    order = eliminate(list(edges), two_labels, constants)
    return Network(owners, shared, group_of_tensor, len(groups), links, domains, order)


def _group(problem: Problem) -> tuple[IntArray, list[tuple[int, tuple[int, ...]]]]:
    """Merge the tensors of one producer with the same consumers; groups with most consumers come first."""
    offsets, consumers = problem.consumer_offsets.tolist(), problem.consumer_layers.tolist()
    groups: dict[tuple[int, tuple[int, ...]], list[int]] = {}
    for tensor, producer in enumerate(problem.tensor_producer.tolist()):
        begin, end = offsets[tensor], offsets[tensor + 1]
        if begin < end:
            key = (producer, (consumers[begin],) if end - begin == 1 else tuple(sorted(consumers[begin:end])))
            groups.setdefault(key, []).append(tensor)
    keys = sorted(groups, key=lambda key: -len(key[1]))
    group_of_tensor = np.full(problem.n_tensors, -1, dtype=np.int64)
    for group, key in enumerate(keys):
        for tensor in groups[key]:
            group_of_tensor[tensor] = group
    return group_of_tensor, keys


def _least(problem: Problem, network: Network, n_labels: int, *, ordered: bool) -> IntArray | None:
    """Return the cheapest placement without delays over labels 0 .. n_labels - 1, or None if there is none."""
    backend = choose(problem.n_layers)
    labels, label_offsets, label_counts = _label_sets(n_labels, ordered)
    domains = [network.domains[owner] for owner in network.owners]
    if min((label_counts[domain] for domain in domains), default=1) == 0:
        return None
    n_states = [label_counts[domain] << len(bits) for domain, bits in zip(domains, network.shared, strict=True)]
    layout = lay_out(network.order, n_states)
    prices = _prices(problem, network)
    vectors = _vectors(problem, network, domains, labels, label_offsets, label_counts, prices)

    links: list[int] = []
    pairs = network.order.pairs
    for kind, tail, head, edge, group in network.links:
        row, column = pairs[edge]
        strides = (n_states[column], 1) if row == tail else (1, n_states[column])
        links += (kind, layout.table_offsets[edge], *strides)
        for vertex in (tail, head):
            links += (label_offsets[domains[vertex]], label_counts[domains[vertex]], len(network.shared[vertex]))
        links.append(group)
    tables = backend.full(layout.table_offsets[-1], 0.0, np.float64)
    backend.run(
        fill_tables,
        backend.load(links),
        backend.load(labels),
        backend.load(prices, np.float64),
        ordered,
        tables,
    )
    states = _fold_over_hubs(backend, network.order, layout, n_states, vectors, tables)
    if states is None:
        return None
    placement = np.empty(problem.n_layers, dtype=np.int64)
    for layer in range(problem.n_layers):
        label = labels[label_offsets[domains[layer]] + (states[layer] >> len(network.shared[layer]))]
        placement[layer] = label & 1
    return placement


def _label_sets(n_labels: int, ordered: bool) -> tuple[list[int], dict[int, int], dict[int, int]]:
    """Return the labels that each domain keeps: concatenated, where each starts, how many it has.

    A first layer never gains from a label above the lowest of its parity, a last one from one below the highest.
    """
    labels: list[int] = []
    offsets, counts = {}, {}
    for domain in range(16):
        kept = []
        for label in range(n_labels):
            lowest, highest = label < 2, label + 2 >= n_labels
            needless = ordered and ((domain & 4 and not lowest) or (domain & 8 and not domain & 4 and not highest))
            if domain >> (label & 1) & 1 and not needless:
                kept.append(label)
        offsets[domain], counts[domain] = len(labels), len(kept)
        labels += kept
    return labels, offsets, counts


def _prices(problem: Problem, network: Network) -> list[float]:
    """Return (upwards, downwards) of each group, flat."""
    used = network.group_of_tensor >= 0
    groups = network.group_of_tensor[used]
    prices = np.empty((network.n_groups, 2))
    for machine, costs in enumerate(crossing_costs(problem)):
        prices[:, machine] = np.bincount(groups, weights=costs[used], minlength=network.n_groups)
    flat: list[float] = prices.ravel().tolist()
    return flat


def _vectors(
    problem: Problem,
    network: Network,
    domains: list[int],
    labels: list[int],
    label_offsets: dict[int, int],
    label_counts: dict[int, int],
    prices: list[float],
) -> list[float]:
    """Return the cost of each state of each vertex by itself: compute, and the tensors that it has sent."""
    compute = problem.compute.tolist()
    sets = {
        domain: labels[label_offsets[domain] : label_offsets[domain] + label_counts[domain]] for domain in range(16)
    }
    vectors: list[float] = []
    for vertex, (domain, groups) in enumerate(zip(domains, network.shared, strict=True)):
        for label in sets[domain]:
            machine = label & 1
            cost = compute[vertex][machine] if vertex < problem.n_layers else 0.0
            if not groups:
                vectors.append(cost)
                continue
            for sent in range(1 << len(groups)):
                total = cost
                for bit, group in enumerate(groups):
                    if sent >> bit & 1:
                        total += prices[2 * group + machine]
                vectors.append(total)
    return vectors


def _fold_over_hubs(
    backend: Backend, order: Order, layout: Layout, n_states: list[int], vectors: list[float], tables: Any
) -> Any:
    """Fold once for every combination of the hubs' states; return the states of the best, None if all are inf."""
    steps = backend.load(layout.steps)
    vector_of, table_of, pairs = layout.vector_offsets, layout.table_offsets, order.pairs
    is_hub = set(order.hubs)
    best, best_states = float("inf"), None
    for combination in product(*(range(n_states[hub]) for hub in order.hubs)):
        state_of = dict(zip(order.hubs, combination, strict=True))
        own = backend.load(vectors, np.float64)
        constant = 0.0
        for hub, state in state_of.items():
            constant += vectors[vector_of[hub] + state]
        for edge in order.hub_edges:
            row, column = pairs[edge]
            n_columns = n_states[column]
            if row in is_hub and column in is_hub:
                constant += tables[table_of[edge] + state_of[row] * n_columns + state_of[column]]
                continue
            if row in is_hub:
                other, start, stride = column, table_of[edge] + state_of[row] * n_columns, 1
            else:
                other, start, stride = row, table_of[edge] + state_of[column], n_columns
            for state in range(n_states[other]):
                own[vector_of[other] + state] += tables[start + state * stride]
        if constant == float("inf"):
            continue
        arguments = backend.full(layout.n_arguments, 0)
        candidates = backend.full(max(n_states, default=0), 0)
        work = backend.load(tables, np.float64)
        cost = constant + backend.run(fold, steps, own, work, arguments, candidates)
        if cost < best:
            best = cost
            best_states = backend.load(vector_of[:-1])
            for hub, state in state_of.items():
                best_states[hub] = state
            backend.run(unfold, steps, arguments, best_states)
    return best_states
