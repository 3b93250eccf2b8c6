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
from solvers.visits import crossing_costs, highest_stage_allowed, infeasible, require_two_machines


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
    unlimited = _scan(problem, path, 2, cyclic=True)
    if unlimited is None:
        raise infeasible(problem)  # pragma: no cover - every layer has a machine, so the unlimited scan succeeds
    n_messages = int(unlimited[path[0]]) + int(np.count_nonzero(np.diff(unlimited[path])))
    placement = unlimited if n_messages <= allowed else _scan(problem, path, allowed + 1, cyclic=False)
    if placement is None:
        raise infeasible(problem)
    return Solution.of(problem, placement, "chain")


def chain_order(problem: Problem) -> IntArray:
    """Return the layers along the path, (n_layers,) int64; raise MethodError if they do not form one."""
    graph, n_layers = problem.graph, problem.n_layers
    if problem.colocated:
        raise MethodError(f"chain takes layers one by one, {problem.layer(problem.colocated[0][0])} is colocated")
    shared = problem.consumer_counts() > 1
    if bool(np.any(shared)):
        tensor = problem.tensor(int(np.argmax(shared)))
        raise MethodError(f"chain takes one path of layers, {tensor} has several consumers")
    owners = np.repeat(np.arange(n_layers), np.diff(graph.successor_offsets))
    pairs = np.unique(owners * max(n_layers, 1) + graph.successors)
    if bool(np.any(np.bincount(pairs // max(n_layers, 1), minlength=1) > 1)):
        layer = int(np.argmax(np.bincount(pairs // n_layers)))
        raise MethodError(f"chain takes one path of layers, {problem.layer(layer)} feeds several layers")
    if bool(np.any(np.bincount(pairs % max(n_layers, 1), minlength=1) > 1)):
        layer = int(np.argmax(np.bincount(pairs % n_layers)))
        raise MethodError(f"chain takes one path of layers, {problem.layer(layer)} reads several layers")
    if n_layers and len(pairs) != n_layers - 1:
        raise MethodError(f"chain takes one path of layers, the problem has {n_layers - len(pairs)} separate ones")
    return graph.order


def _scan(problem: Problem, path: IntArray, n_states: int, *, cyclic: bool) -> IntArray | None:
    upwards, downwards = crossing_costs(problem)
    # With at most one consumer each, the tensors of a layer all go to the next one: their prices add up.
    used = problem.consumer_counts() == 1
    crossing = np.zeros((2, problem.n_layers))
    np.add.at(crossing[0], problem.tensor_producer[used], upwards[used])
    np.add.at(crossing[1], problem.tensor_producer[used], downwards[used])
    crossing = crossing[:, path]
    crossing[0] += problem.delay[0, 1]
    crossing[1] += problem.delay[1, 0]
    backend = choose(problem.n_layers)
    crossed = backend.full(problem.n_layers * n_states, 0, np.int8)
    costs = backend.full(n_states, np.inf, np.float64)
    before = backend.full(n_states, np.inf, np.float64)
    last = backend.run(
        _shortest,
        backend.load(problem.compute[path].ravel(), np.float64),
        backend.load(crossing.ravel(), np.float64),
        float(problem.delay[0, 1]),
        cyclic,
        costs,
        before,
        crossed,
    )
    if last < 0:
        return None
    states = backend.full(problem.n_layers, 0)
    backend.run(_walk_back, crossed, n_states, cyclic, last, states)
    placement = np.empty(problem.n_layers, dtype=np.int64)
    placement[path] = np.array(states, dtype=np.int64) % 2
    return placement


def _shortest(compute: Any, crossing: Any, start: float, cyclic: bool, costs: Any, before: Any, crossed: Any) -> int:
    """Least cost of each state after each layer; returns the best last state, -1 if there is none.

    compute is (n, 2) flat, crossing (2, n) flat: upwards and downwards after each layer, delays included; `start`
    is the delay of starting on the server. States are the machines if `cyclic`, else the stages 0 .. n_states - 1.
    `crossed` (n, n_states) flat gets 1 where the state was entered by crossing.
    """
    n = len(compute) // 2
    n_states = len(costs)
    costs[0] = compute[0]
    if n_states > 1:
        costs[1] = compute[1] + start
    for layer in range(1, n):
        upwards = crossing[layer - 1]
        downwards = crossing[n + layer - 1]
        for state in range(n_states):
            before[state] = costs[state]
        for state in range(n_states):
            best = before[state]
            if cyclic or state > 0:
                origin = 1 - state if cyclic else state - 1
                cost = before[origin] + (upwards if state % 2 == 1 else downwards)
                if cost < best:
                    best = cost
                    crossed[layer * n_states + state] = 1
            costs[state] = best + compute[2 * layer + state % 2]
    last = -1
    best = np.inf
    for state in range(n_states):
        if costs[state] < best:
            best = costs[state]
            last = state
    return last


def _walk_back(crossed: Any, n_states: int, cyclic: bool, last: int, states: Any) -> int:
    """Fill `states` from the end."""
    state = last
    for layer in range(len(states) - 1, -1, -1):
        states[layer] = state
        if crossed[layer * n_states + state] == 1:
            state = 1 - state if cyclic else state - 1
    return 0
