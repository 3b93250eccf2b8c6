"""Minimum cut with delays: exact by closure cuts up to one message, by branch and bound beyond.

`visits.minimise_over_stages` asks for V(S), the least delay-free cost with at most S messages. S = 0 is the device
alone, S = 1 a cut without a way back. For S >= 2 the bound of a node is the plain cut under its pins, and a node
whose placement needs too many messages is branched on:

S = 2 holds exactly when no device layer w has a server layer among its ancestors and one among its descendants.
Either w moves to the server, or w and all its ancestors stay on the device, or w and all its descendants do. Of
several such layers the middle one in index order is taken.

S >= 3: layers u_1 .. u_{S+1} along one path that alternate between the machines, the first on the server, force
S + 1 messages. Branch i keeps u_1 .. u_{i-1} where they are and flips u_i.

A layer pinned to a side takes the layers colocated with it along, and a repair that separates them does not count.
Both are exhaustive and exclude the placement at hand, so the search ends with the optimum; the limits on nodes and
time make it end sooner with a bound.
"""

import heapq
from dataclasses import replace
from time import monotonic
from typing import Any

import numpy as np

from solvers._arrays import IntArray
from solvers._checks import require_count, require_seconds
from solvers.blocks import merged_groups
from solvers.evaluation import delay_free_value, stages
from solvers.flow_network import DEVICE, FREE, SERVER
from solvers.min_cut import CutNetwork
from solvers.problem import Problem
from solvers.solution import Solution, cancellation
from solvers.visits import device_only, minimise_over_stages, require_two_machines

NODE_LIMIT = 10_000
"""Cuts that the search may solve for one problem, all numbers of messages together."""

_PLAIN_WORK = 200_000
"""Layers times nodes after which a small problem's search moves to compiled kernels: loading numba then pays."""

_TOLERANCE = 1e-13
"""Relative distance to the best known value below which a node cannot improve on it."""


def solve_min_cut(problem: Problem, *, node_limit: int = NODE_LIMIT, time_limit_s: float | None = None) -> Solution:
    """Solve any problem with two machines.

    Parameters
    ----------
    problem : Problem
    node_limit : int
        Cuts to solve at most while branching.
    time_limit_s : float, optional
        Seconds after which no more branches are looked at.

    Raises
    ------
    MethodError
        Not two machines, or the node or time limit came before any feasible placement.
    InfeasibleError
        The allowed machines need more server visits than allowed.

    Notes
    -----
    One cut decides unless delays, or the limit on visits, make a placement with fewer messages better. Proven
    optimal unless a limit is met; then `Solution.bound` is the least that any placement can cost. Ties go to
    fewer layers on the server within one cut and to fewer messages between cuts.
    """
    require_two_machines(problem, "min-cut")
    require_count("node_limit", node_limit, least=0)
    require_seconds("time_limit_s", time_limit_s)
    search = _Search(problem, node_limit, time_limit_s)
    if problem.max_server_visits is None and not bool(np.any(problem.delay)):
        placement = search.network.solve(search.network.own_pins, keep=False)
        return _rounded(problem, Solution.of(problem, placement, "min-cut"))
    relaxed = search.network.solve(search.network.own_pins)
    return _rounded(problem, minimise_over_stages(problem, relaxed, search.at_most, "min-cut"))


def _rounded(problem: Problem, solution: Solution) -> Solution:
    """Lower the bound by what flows lose in float64 where a price or a cost dwarfs the value.

    No placement costs less than its layers' least costs together, whatever was lost.
    """
    dearest = problem.per_tensor.max() + problem.tensor_size_bytes.max(initial=0.0) * problem.per_byte.max()
    lost = cancellation(np.append(problem.compute, dearest + problem.dearest_coding()), solution.value)
    if lost == 0.0:
        return solution
    least = float(problem.compute.min(axis=1).sum())
    return replace(solution, bound=min(solution.bound, max(solution.value - lost, least)))


class _Search:
    """The solver for V(S), with one budget of nodes for all S."""

    __slots__ = ("_deadline_s", "_groups", "_n_nodes", "_node_limit", "_problem", "network")

    def __init__(self, problem: Problem, node_limit: int, time_limit_s: float | None) -> None:
        self._deadline_s = np.inf if time_limit_s is None else monotonic() + time_limit_s
        self._groups = merged_groups(problem.n_layers, problem.colocated)
        self.network = CutNetwork(problem)
        self._problem = problem
        self._node_limit = node_limit
        self._n_nodes = 0

    def at_most(self, highest: int, cutoff: float) -> tuple[IntArray | None, float]:
        """Answer as `visits.StagedSolver` asks."""
        if highest == 0:
            return device_only(self._problem), float("inf")
        if highest == 1:
            one_way = CutNetwork(self._problem, one_way=True)
            placement = one_way.solve(one_way.own_pins, keep=False)
            feasible = not self._breaks_a_rule(placement) and self._n_messages(placement) <= 1
            return (placement if feasible else None), float("inf")
        return self._branch(highest, cutoff)

    def _branch(self, highest: int, cutoff: float) -> tuple[IntArray | None, float]:
        """Search best first for a placement below `cutoff`."""
        best: IntArray | None = None
        best_value = cutoff
        root = self.network.own_pins
        queue: list[tuple[float, int, IntArray, IntArray]] = []
        n_pushed = 0
        children = [root]
        while True:
            for pins in children:
                tightened = _propagate(self._problem, pins, self._groups) if highest == 2 else pins
                if tightened is None:
                    continue
                self._n_nodes += 1
                long = self._n_nodes * self._problem.n_layers > _PLAIN_WORK
                placement = self.network.solve(tightened, long_search=long)
                value = delay_free_value(self._problem, placement)
                if not _improves(value, best_value):
                    continue
                for candidate in self._repaired(placement, highest):
                    candidate_value = delay_free_value(self._problem, candidate)
                    if candidate_value < best_value:
                        best, best_value = candidate, candidate_value
                if _improves(value, best_value):
                    heapq.heappush(queue, (value, n_pushed, tightened, placement))
                    n_pushed += 1
            if not queue or not _improves(queue[0][0], best_value):
                return best, float("inf")
            if self._n_nodes >= self._node_limit or monotonic() >= self._deadline_s:
                return best, queue[0][0]
            _, _, pins, placement = heapq.heappop(queue)
            children = self._children(pins, placement, highest)

    def _children(self, pins: IntArray, placement: IntArray, highest: int) -> list[IntArray]:
        """Return the pins of each branch; at least one message too many is assumed."""
        children = []
        if highest == 2:
            _, inside, _ = _violations(self._problem, placement)
            candidates = np.flatnonzero(inside)
            middle = int(candidates[len(candidates) // 2])
            mark = np.zeros(self._problem.n_layers, dtype=np.int64)
            mark[middle] = 1
            children.append(self._pinned(pins, np.array([middle]), SERVER))
            for backwards in (True, False):
                group = np.append(np.flatnonzero(self._problem.graph.spread(mark, backwards=backwards)), middle)
                children.append(self._pinned(pins, group, DEVICE))
        else:
            fixed: IntArray | None = pins
            for layer in _alternation(self._problem, placement, highest):
                if fixed is None:
                    break
                side = int(placement[layer])
                children.append(self._pinned(fixed, np.array([layer]), 1 - side))
                fixed = self._pinned(fixed, np.array([layer]), side)
        return [child for child in children if child is not None]

    def _repaired(self, placement: IntArray, highest: int) -> list[IntArray]:
        """Return feasible placements near one that may need too many messages, itself if it does not."""
        stage = stages(self._problem, placement)
        if int(stage.max(initial=0)) <= highest:
            return [placement]
        # Whatever comes too late joins the last stage that is allowed, or the one before it.
        repaired = [np.where(stage >= last, last % 2, placement) for last in (highest, highest - 1)]
        if highest == 2:
            _, inside, _ = _violations(self._problem, placement)
            repaired.append(np.where(inside, SERVER, placement))
        return [
            candidate
            for candidate in repaired
            if not self._breaks_a_rule(candidate) and self._n_messages(candidate) <= highest
        ]

    def _breaks_a_rule(self, placement: IntArray) -> bool:
        """Tell whether a layer is where it is not allowed, or apart from one it is colocated with."""
        pins = self.network.own_pins
        if bool(np.any((pins != FREE) & (pins != placement))):
            return True
        return any(bool(np.any(placement[group] != placement[group[0]])) for group in self._groups)

    def _pinned(self, pins: IntArray, layers: IntArray, side: int) -> IntArray | None:
        """Return `pins` with `layers` and what is colocated with them pinned to `side`, or None if they contradict."""
        changed = pins.copy()
        changed[layers] = side
        for group in self._groups:
            if bool(np.any((changed[group] == side) & (pins[group] != side))):
                changed[group] = side
        return None if bool(np.any((pins != FREE) & (changed != pins))) else changed

    def _n_messages(self, placement: IntArray) -> int:
        return int(stages(self._problem, placement).max(initial=0))


def _improves(value: float, best_value: float) -> bool:
    if best_value == np.inf:
        return True
    return value < best_value - _TOLERANCE * abs(best_value)


def _violations(problem: Problem, placement: IntArray) -> tuple[IntArray, Any, IntArray]:
    """Return (has a server ancestor, lies between server layers but on the device, has a server descendant)."""
    below_server = problem.graph.spread(placement)
    above_server = problem.graph.spread(placement, backwards=True)
    return below_server, (placement == DEVICE) & (below_server == 1) & (above_server == 1), above_server


def _propagate(problem: Problem, pins: IntArray, groups: list[IntArray]) -> IntArray | None:
    """Add the pins that S = 2 and colocated layers force, or return None if they cannot hold.

    What lies between two server layers is on the server. A device layer below the server has only device layers
    below it, one above the server only device layers above it.
    """
    while True:
        below_server, _, above_server = _violations(problem, (pins == SERVER).astype(np.int64))
        device = pins == DEVICE
        between = (below_server == 1) & (above_server == 1)
        if bool(np.any(device & between)):
            return None
        forced_device = problem.graph.spread((device & (below_server == 1)).astype(np.int64)) == 1
        forced_device |= problem.graph.spread((device & (above_server == 1)).astype(np.int64), backwards=True) == 1
        if bool(np.any(forced_device & (between | (pins == SERVER)))):
            return None
        tightened = np.where(between, SERVER, np.where(forced_device, DEVICE, pins))
        for group in groups:
            sides = tightened[group]
            if bool(np.any(sides == DEVICE)) and bool(np.any(sides == SERVER)):
                return None
            tightened[group] = sides.max()
        if bool(np.array_equal(tightened, pins)):
            return pins
        pins = tightened


def _alternation(problem: Problem, placement: IntArray, highest: int) -> list[int]:
    """Return layers u_1 .. u_{highest + 1} along one path, u_k with stage k, so that each forces the next stage."""
    graph = problem.graph
    stage = stages(problem, placement)
    layer = int(np.argmax(stage == highest + 1))
    tails = np.repeat(np.arange(problem.n_layers), np.diff(graph.successor_offsets))
    by_head = np.argsort(graph.successors, kind="stable")
    offsets = np.searchsorted(graph.successors[by_head], np.arange(problem.n_layers + 1))
    path = [layer]
    while True:
        # A producer that explains this stage: one stage earlier across a message, or the same stage.
        producers = tails[by_head[offsets[layer] : offsets[layer + 1]]]
        earlier = producers[stage[producers] == stage[layer] - 1]
        if len(earlier) and stage[layer] > 1:
            layer = int(earlier[0])
            path.append(layer)
        elif stage[layer] > 1:
            layer = int(producers[stage[producers] == stage[layer]][0])
        else:
            return path[::-1]
