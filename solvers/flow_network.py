"""The cut network of a problem with two machines, built in two linear passes.

Source side = device. A layer is a node (a group of colocated layers is one) whose excess is what the server costs
more than the device. A tensor with one consumer is a pair of opposite arcs. A tensor with several is sent once: a
node per direction gathers its consumers, after Hu, Bao, Wang and Liu, "Dynamic adaptive DNN surgery for inference
acceleration on the edge" (INFOCOM 2019), who have it for the way up only. If the first consumer's own tensor goes to
exactly the other consumers, as in a dense block, its node stands for them: n arcs instead of n^2 / 2.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from solvers._jit import Backend
from solvers.blocks import first_of_block
from solvers.problem import Problem

FREE, DEVICE, SERVER = -1, 0, 1
"""What a layer is pinned to in an array of pins, and the side of a node; -1 = not known yet."""

AMPLE = 1.0 + 1e-12
"""Times what can come into a gathering node: the capacity of an arc that must never fill, rounding included."""


@dataclass(frozen=True, slots=True, eq=False)
class FlowNetwork:
    """Arcs in CSR form by tail, each with its opposite; lists or arrays, as the backend stores them.

    Nodes that belong together have numbers close to each other. ``capacity`` may be ``inf``.
    """

    n_nodes: int
    first: Any  # (n_nodes + 1,) int32
    head: Any  # (n_arcs,) int32
    opposite: Any  # (n_arcs,) int32
    capacity: Any  # (n_arcs,) float64, >= 0
    excess: Any  # (n_nodes,) float64: arc from the source if positive, to the sink if negative
    node_of: Any  # (n_layers,) int32 node of each layer

    @classmethod
    def of(cls, problem: Problem, backend: Backend, *, one_way: bool = False) -> "FlowNetwork":
        """Build the network; `one_way` makes arcs from the server back to the device infinite. O(n_consumers)."""
        n_layers, n_tensors, n_consumers = problem.n_layers, problem.n_tensors, len(problem.consumer_layers)
        n_pairs = 2 * (n_consumers + n_tensors) + (n_consumers if one_way else 0)
        ends, capacities = backend.room(2 * n_pairs, np.int32), backend.room(2 * n_pairs, np.float64)
        excess = backend.full(n_layers + 2 * n_tensors, 0.0, np.float64)
        node_of = backend.full(n_layers, -1, np.int32)
        sizes = backend.full(2, 0)
        prices = [problem.per_tensor[0, 1], problem.per_byte[0, 1], problem.per_tensor[1, 0], problem.per_byte[1, 0]]
        backend.run(
            _list_pairs,
            backend.view(problem.compute.ravel()),
            backend.view(problem.tensor_producer),
            backend.view(problem.tensor_size_bytes),
            backend.view(problem.consumer_offsets),
            backend.view(problem.consumer_layers),
            backend.view(problem.graph.order),
            backend.load(np.array([*prices, float(one_way)]), np.float64),
            backend.view(problem.crossing_work),
            backend.load(first_of_block(n_layers, problem.colocated) if problem.colocated else []),
            backend.full(n_layers + 1 + 4 * n_tensors + n_layers, 0, np.int32),
            backend.full(2 * n_tensors, 0.0, np.float64),
            node_of,
            excess,
            ends,
            capacities,
            sizes,
        )
        n_nodes, n_pairs = int(sizes[0]), int(sizes[1])
        first = backend.full(n_nodes + 1, 0, np.int32)
        head, opposite = backend.room(2 * n_pairs, np.int32), backend.room(2 * n_pairs, np.int32)
        capacity = backend.room(2 * n_pairs, np.float64)
        backend.run(_index_pairs, n_pairs, ends, capacities, first, head, opposite, capacity)
        return cls(n_nodes, first, head, opposite, capacity, excess[:n_nodes], node_of)


def _list_pairs(
    compute: Any,
    producers: Any,
    sizes: Any,
    offsets: Any,
    consumers: Any,
    order: Any,
    prices: Any,
    work: Any,
    representative: Any,
    scratch: Any,
    through: Any,
    node_of: Any,
    excess: Any,
    ends: Any,
    capacities: Any,
    counts: Any,
) -> int:
    """Number the nodes and list pairs of opposite arcs: `ends` 2 k and 2 k + 1, `capacities` there and back.

    `prices`: per tensor and per byte upwards, the same downwards, and 1 if the way back is forbidden; `work` at the
    crossings of each tensor, or empty. `scratch` holds the tensors by producer, (n_layers + 1) and (n_tensors), the
    nodes upwards and downwards and the tensor whose consumers are all but one of a tensor's, (n_tensors) each, and a
    mark per layer. Returns 0.
    """
    n_layers = len(node_of)
    n_tensors = len(producers)
    made = n_layers + 1
    upward = made + n_tensors
    downward = upward + n_tensors
    nested = downward + n_tensors
    mark = nested + n_tensors
    infinity = np.inf
    has_work = len(work) > 0

    for t in range(n_tensors):
        scratch[producers[t] + 1] += 1
    for v in range(n_layers):
        scratch[v + 1] += scratch[v]
    for t in range(n_tensors):
        v = producers[t]
        scratch[made + scratch[v]] = t
        scratch[v] += 1
    for v in range(n_layers, 0, -1):
        scratch[v] = scratch[v - 1]
    scratch[0] = 0

    n_nodes = 0
    grouped = len(representative) > 0
    for i in range(n_layers):
        v = order[i]
        scratch[mark + v] = -1
        if not grouped or representative[v] == v:
            node_of[v] = n_nodes
            n_nodes += 1
        for k in range(scratch[v], scratch[v + 1]):
            t = scratch[made + k]
            scratch[upward + t] = -1
            scratch[downward + t] = -1
            scratch[nested + t] = -1
            if offsets[t + 1] - offsets[t] > 1:
                if prices[0] + sizes[t] * prices[1] > 0.0 or (has_work and work[4 * t + 1] > 0.0):
                    scratch[upward + t] = n_nodes
                    n_nodes += 1
                if prices[2] + sizes[t] * prices[3] > 0.0 or (has_work and work[4 * t + 2] > 0.0):
                    scratch[downward + t] = n_nodes
                    n_nodes += 1
    if grouped:
        for v in range(n_layers):
            node_of[v] = node_of[representative[v]]
    for v in range(n_layers):
        device = compute[2 * v]
        server = compute[2 * v + 1]
        if device < infinity and server < infinity:
            excess[node_of[v]] += server - device

    n_pairs = 0
    for i in range(n_layers):
        v = order[i]
        p = node_of[v]
        for j in range(scratch[v], scratch[v + 1]):
            t = scratch[made + j]
            begin = offsets[t]
            end = offsets[t + 1]
            up = prices[0] + sizes[t] * prices[1]
            down = prices[2] + sizes[t] * prices[3]
            if has_work:
                up += work[4 * t + 1]
                down += work[4 * t + 2]
            if prices[4] != 0.0:
                for k in range(begin, end):
                    ends[2 * n_pairs] = node_of[consumers[k]]
                    ends[2 * n_pairs + 1] = p
                    capacities[2 * n_pairs] = infinity
                    capacities[2 * n_pairs + 1] = 0.0
                    n_pairs += 1
            if end - begin == 1:
                if up > 0.0 or down > 0.0:
                    ends[2 * n_pairs] = p
                    ends[2 * n_pairs + 1] = node_of[consumers[begin]]
                    capacities[2 * n_pairs] = up
                    capacities[2 * n_pairs + 1] = down
                    n_pairs += 1
                continue
            u = scratch[upward + t]
            d = scratch[downward + t]
            through[2 * t] += up
            through[2 * t + 1] += down
            ample_up = through[2 * t] * AMPLE
            ample_down = through[2 * t + 1] * AMPLE
            rest = -1
            if end - begin > 2:
                c = consumers[begin]
                for k in range(begin + 1, end):
                    if node_of[consumers[k]] < node_of[c]:
                        c = consumers[k]
                for k in range(scratch[c], scratch[c + 1]):
                    other = scratch[made + k]
                    if (
                        offsets[other + 1] - offsets[other] == end - begin - 1
                        and (u < 0 or scratch[upward + other] >= 0)
                        and (d < 0 or scratch[downward + other] >= 0)
                    ):
                        for m in range(begin, end):
                            scratch[mark + consumers[m]] = t
                        rest = other
                        for m in range(offsets[other], offsets[other + 1]):
                            if scratch[mark + consumers[m]] != t:
                                rest = -1
                                break
                        if rest >= 0:
                            break
            if u >= 0:
                ends[2 * n_pairs] = p
                ends[2 * n_pairs + 1] = u
                capacities[2 * n_pairs] = up
                capacities[2 * n_pairs + 1] = 0.0
                n_pairs += 1
            if d >= 0:
                ends[2 * n_pairs] = d
                ends[2 * n_pairs + 1] = p
                capacities[2 * n_pairs] = down
                capacities[2 * n_pairs + 1] = 0.0
                n_pairs += 1
            if rest >= 0:
                first_node = node_of[c]
                for k in range(2):
                    if u >= 0:
                        ends[2 * n_pairs] = u
                        ends[2 * n_pairs + 1] = first_node if k == 0 else scratch[upward + rest]
                        capacities[2 * n_pairs] = ample_up
                        capacities[2 * n_pairs + 1] = 0.0
                        n_pairs += 1
                    if d >= 0:
                        ends[2 * n_pairs] = first_node if k == 0 else scratch[downward + rest]
                        ends[2 * n_pairs + 1] = d
                        capacities[2 * n_pairs] = ample_down
                        capacities[2 * n_pairs + 1] = 0.0
                        n_pairs += 1
                through[2 * rest] += through[2 * t]
                through[2 * rest + 1] += through[2 * t + 1]
                continue
            for k in range(begin, end):
                w = node_of[consumers[k]]
                if u >= 0:
                    ends[2 * n_pairs] = u
                    ends[2 * n_pairs + 1] = w
                    capacities[2 * n_pairs] = ample_up
                    capacities[2 * n_pairs + 1] = 0.0
                    n_pairs += 1
                if d >= 0:
                    ends[2 * n_pairs] = w
                    ends[2 * n_pairs + 1] = d
                    capacities[2 * n_pairs] = ample_down
                    capacities[2 * n_pairs + 1] = 0.0
                    n_pairs += 1
    counts[0] = n_nodes
    counts[1] = n_pairs
    return 0


def _index_pairs(n_pairs: int, ends: Any, capacities: Any, first: Any, head: Any, opposite: Any, capacity: Any) -> int:
    """Sort the pairs into arcs by tail; arcs from a node to itself stay without capacity. Returns 0."""
    n_nodes = len(first) - 1
    for k in range(2 * n_pairs):
        first[ends[k]] += 1
    total = 0
    for v in range(n_nodes + 1):
        total += first[v]
        first[v] = total
    for k in range(n_pairs - 1, -1, -1):
        a = ends[2 * k]
        b = ends[2 * k + 1]
        i = first[a] - 1
        first[a] = i
        j = first[b] - 1
        first[b] = j
        head[i] = b
        head[j] = a
        opposite[i] = j
        opposite[j] = i
        capacity[i] = capacities[2 * k] if a != b else 0.0
        capacity[j] = capacities[2 * k + 1] if a != b else 0.0
    return 0
