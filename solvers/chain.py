"""Chains: dynamic programming along the path, as Neurosurgeon scans it, with both directions and every limit.

State after a layer = its stage (even on the device, odd on the server). On a chain each crossing of an edge is
exactly one message, so a delay is paid at the edge that crosses, and the optimum without a limit on visits needs
only the parity. The scan is exact for compute costs of any sign.

Kang et al., "Neurosurgeon: Collaborative intelligence between the cloud and mobile edge", ASPLOS 2017, choose one
cut point; returning to the device, pins and delays are handled here in the same single pass.
"""

from typing import Any

import numpy as np

from solvers._arrays import IntArray
from solvers._jit import choose
from solvers.errors import MethodError
from solvers.problem import Problem
from solvers.solution import Solution
from solvers.visits import highest_stage_allowed, infeasible, require_two_machines


def solve_chain(problem: Problem) -> Solution:
    """Solve a problem whose layers form one path.

    Raises
    ------
    MethodError
        Not two machines, or the layers are not one path; the message names a layer that shows it.
    InfeasibleError
        The allowed machines need more server visits than allowed.

    Notes
    -----
    O(n_layers) without a limit on visits, O(n_layers * visits) with a limit that binds. Ties go to staying on the
    machine over crossing, and at the end to fewer messages.
    """
    require_two_machines(problem, "chain")
    path = chain_order(problem)
    if problem.n_layers == 0:
        return Solution.of(problem, path, "chain")
    allowed = highest_stage_allowed(problem)
    placement = _scan(problem, path, 2, cyclic=True)
    if placement is None:
        raise infeasible(problem)  # pragma: no cover - every layer has a machine, so the unlimited scan succeeds
    if allowed <= problem.n_layers:
        n_messages = int(placement[path[0]]) + int(np.count_nonzero(np.diff(placement[path])))
        if n_messages > allowed:
            placement = _scan(problem, path, allowed + 1, cyclic=False)
    if placement is None:
        raise infeasible(problem)
    return Solution.of(problem, placement, "chain")


def chain_order(problem: Problem) -> IntArray:
    """Return the layers along the path, (n_layers,) int64; raise MethodError if they do not form one. O(n_layers)."""
    graph = problem.graph
    if problem.colocated:
        raise MethodError(f"chain takes layers one by one, {problem.layer(problem.colocated[0][0])} is colocated")
    shared = problem.consumer_counts() > 1
    if bool(shared.any()):
        tensor = problem.tensor(int(np.argmax(shared)))
        raise MethodError(f"chain takes one path of layers, {tensor} has several consumers")
    backend = choose(problem.n_layers)
    arguments = (graph.order, graph.successor_offsets, graph.successors)
    broken = int(backend.run(_first_off_the_path, *(backend.view(argument) for argument in arguments)))
    if broken < 0:
        return graph.order
    layer, following = int(graph.order[broken]), int(graph.order[broken + 1])
    readers = np.unique(graph.successors[graph.successor_offsets[layer] : graph.successor_offsets[layer + 1]])
    if len(readers) > 1:
        raise MethodError(f"chain takes one path of layers, {problem.layer(layer)} feeds several layers")
    if len(readers) == 1 and graph.n_producers[readers[0]] > 1:
        raise MethodError(f"chain takes one path of layers, {problem.layer(int(readers[0]))} reads several layers")
    raise MethodError(f"chain takes one path of layers, {problem.layer(following)} lies on another than the first")


def _first_off_the_path(order: Any, offsets: Any, successors: Any) -> int:
    """Return the first position whose layer does not feed the next layer and it alone, -1 if there is none."""
    for position in range(len(order) - 1):
        layer = order[position]
        if offsets[layer] == offsets[layer + 1]:
            return position
        for k in range(offsets[layer], offsets[layer + 1]):
            if successors[k] != order[position + 1]:
                return position
    return -1


def _scan(problem: Problem, path: IntArray, n_states: int, *, cyclic: bool) -> IntArray | None:
    n_layers, backend = problem.n_layers, choose(problem.n_layers)
    up = backend.full(n_layers, float(problem.delay[0, 1]), np.float64)
    down = backend.full(n_layers, float(problem.delay[1, 0]), np.float64)
    tensors = (problem.tensor_producer, problem.tensor_size_bytes, problem.consumer_offsets)
    prices = [float(table[way]) for way in ((0, 1), (1, 0)) for table in (problem.per_tensor, problem.per_byte)]
    backend.run(
        _add_prices, *(backend.view(array) for array in tensors), *prices, backend.view(problem.crossing_work), up, down
    )
    crossed = backend.full(n_layers * n_states, 0, np.int8)
    costs, before = backend.full(n_states, np.inf, np.float64), backend.full(n_states, np.inf, np.float64)
    order, compute = backend.view(path), backend.view(problem.compute.ravel())
    last = backend.run(_shortest, order, compute, up, down, float(problem.delay[0, 1]), cyclic, costs, before, crossed)
    if last < 0:
        return None
    machines = backend.room(n_layers)
    backend.run(_walk_back, order, crossed, n_states, cyclic, last, machines)
    return np.asarray(machines, dtype=np.int64)


def _add_prices(
    producers: Any,
    sizes: Any,
    offsets: Any,
    up_per_tensor: float,
    up_per_byte: float,
    down_per_tensor: float,
    down_per_byte: float,
    work: Any,
    up: Any,
    down: Any,
) -> int:
    """Add to `up` and `down` (n_layers) what crossing after each layer costs: its tensors all go to the next one."""
    for t in range(len(producers)):
        if offsets[t] < offsets[t + 1]:
            up[producers[t]] += up_per_tensor + sizes[t] * up_per_byte
            down[producers[t]] += down_per_tensor + sizes[t] * down_per_byte
            if len(work) > 0:
                up[producers[t]] += work[4 * t + 1]
                down[producers[t]] += work[4 * t + 2]
    return 0


def _shortest(
    order: Any,
    compute: Any,
    up: Any,
    down: Any,
    start: float,
    cyclic: bool,
    costs: Any,
    before: Any,
    crossed: Any,
) -> int:
    """Least cost of each state after each layer of `order`; returns the best last state, -1 if there is none.

    compute is (n, 2) flat; `up` and `down` (n) are the prices of crossing after each layer, delays included; `start`
    is the delay of starting on the server. States are the machines if `cyclic`, else the stages 0 .. n_states - 1.
    `crossed` (n, n_states) flat, by position, gets 1 where the state was entered by crossing.
    """
    n_states = len(costs)
    costs[0] = compute[2 * order[0]]
    if n_states > 1:
        costs[1] = compute[2 * order[0] + 1] + start
    for position in range(1, len(order)):
        upwards = up[order[position - 1]]
        downwards = down[order[position - 1]]
        layer = order[position]
        for state in range(n_states):
            before[state] = costs[state]
        for state in range(n_states):
            best = before[state]
            if cyclic or state > 0:
                origin = 1 - state if cyclic else state - 1
                cost = before[origin] + (upwards if state % 2 == 1 else downwards)
                if cost < best:
                    best = cost
                    crossed[position * n_states + state] = 1
            costs[state] = best + compute[2 * layer + state % 2]
    last = -1
    best = np.inf
    for state in range(n_states):
        if costs[state] < best:
            best = costs[state]
            last = state
    return last


def _walk_back(order: Any, crossed: Any, n_states: int, cyclic: bool, last: int, machines: Any) -> int:
    """Fill `machines` (n_layers) from the end."""
    state = last
    for position in range(len(order) - 1, -1, -1):
        machines[order[position]] = state % 2
        if crossed[position * n_states + state] == 1:
            state = 1 - state if cyclic else state - 1
    return 0
