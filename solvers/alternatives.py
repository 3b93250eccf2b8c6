"""The k best placements, in order: each next one is the best of what is left.

What is left after some placements were taken is split into parts that do not overlap: a part fixes the first layers
as in a known placement and forbids the next layer the machine it has there. The best of each part is one solve, and
the least of them is the next placement. Lawler, "A procedure for computing the k best solutions to discrete
optimization problems and its application to the shortest path problem", Management Science 1972,
https://doi.org/10.1287/mnsc.18.7.401; Murty, Operations Research 1968, for assignments.
"""

import heapq
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import count

import numpy as np

from solvers._arrays import FloatArray
from solvers._checks import require_count
from solvers.errors import InfeasibleError, ProblemError
from solvers.problem import Problem
from solvers.solution import Solution
from solvers.solve import solve


def k_best(
    problem: Problem,
    k: int,
    *,
    distinct_on: Iterable[int] | None = None,
    solver: Callable[[Problem], Solution] = solve,
) -> tuple[Solution, ...]:
    """Find the k cheapest placements, no two of them equal.

    Parameters
    ----------
    problem : Problem
        Any number of machines.
    k : int
        At least 1. There may be fewer placements: then all of them are returned.
    distinct_on : iterable of int, optional
        Layers in which alternatives must differ: of placements that agree on them all, only the best counts. All
        layers if not given. A layer with one allowed machine makes no difference, nor do colocated layers twice.
    solver : callable
        Problem to Solution. It gets the same graph with the same forbidden placements and other compute costs, so
        that one symbolic phase serves all: ``functools.partial(solve, analysis=analyse(problem))``.

    Returns
    -------
    tuple of Solution
        By rising value; equal values in the order in which they were found. The bound of each says that no placement
        other than those before it costs less; it reaches the value, and `optimal` is true, if every solve so far was
        proven. A solver that stops at a limit may miss placements: then fewer come back than there are.

    Raises
    ------
    ProblemError
        `k` is not a whole number >= 1, or `distinct_on` names no layer.
    InfeasibleError
        There is no placement at all.
    MethodError
        From `solver`.

    Notes
    -----
    At most 1 + (k - 1) * n solves for n layers that can differ. A layer is kept off a machine by a cost beyond the
    sum of all others; the values are exact all the same, because no placement that counts contains it.

    Examples
    --------
    >>> problem = Problem.build([[2, 1], [3, 1]], [(0, 1.0, [1])], per_byte=[[0, 1], [1, 0]])
    >>> [(alternative.value, alternative.placement.tolist()) for alternative in k_best(problem, 3)]
    [(2.0, [1, 1]), (4.0, [0, 1]), (5.0, [1, 0])]
    """
    require_count("k", k)
    branching = _branching_layers(problem, distinct_on)
    penalty = _penalty(problem)
    numbers = count()
    heap = [_Part(solution.value, next(numbers), solution) for solution in [solver(problem)]]
    best: list[Solution] = []
    unseen = float("inf")  # the least bound of the parts in which the solver found nothing
    while heap:
        # Nothing that was not taken costs less than the least bound of all parts.
        bound = min(unseen, *(part.solution.bound for part in heap))
        part = heapq.heappop(heap)
        found = part.solution
        best.append(Solution(found.placement, found.value, min(bound, found.value), found.method))
        if len(best) == k:
            break
        for position, excluded, costs in _split(problem, branching, part, penalty):
            try:
                solution = solver(problem.with_costs(compute=costs))
            except InfeasibleError:
                continue
            if solution.value < penalty / 2:
                heapq.heappush(heap, _Part(solution.value, next(numbers), solution, position, excluded))
            elif solution.bound < penalty / 2:
                unseen = min(unseen, solution.bound)
    return tuple(best)


@dataclass(frozen=True, slots=True, order=True)
class _Part:
    """Placements that agree with the solution before `position` and avoid `excluded` there: it is the best of them."""

    value: float
    number: int
    solution: Solution = field(compare=False)
    position: int = field(compare=False, default=0)
    excluded: frozenset[int] = field(compare=False, default=frozenset())


def _split(
    problem: Problem, branching: list[int], part: _Part, penalty: float
) -> Iterable[tuple[int, frozenset[int], FloatArray]]:
    """Yield (position, excluded machines, compute) of the parts that make up `part` without its solution."""
    placement = part.solution.placement
    fixed = problem.compute.copy()
    for position, layer in enumerate(branching):
        taken = int(placement[layer])
        if position >= part.position:
            before = part.excluded if position == part.position else frozenset()
            excluded = before | {taken}
            allowed = np.flatnonzero(np.isfinite(problem.compute[layer])).tolist()
            if not excluded.issuperset(allowed):
                costs = fixed.copy()
                for machine in excluded.intersection(allowed):
                    costs[layer, machine] = penalty
                yield position, excluded, costs
        others = np.isfinite(problem.compute[layer])
        others[taken] = False
        fixed[layer, others] = penalty


def _branching_layers(problem: Problem, distinct_on: Iterable[int] | None) -> list[int]:
    """Return the layers whose machine tells placements apart: several machines, one of each colocated group."""
    n_layers = problem.n_layers
    if distinct_on is not None and (isinstance(distinct_on, str | bytes) or not isinstance(distinct_on, Iterable)):
        raise ProblemError(f"distinct_on is {distinct_on!r}; give layers, such as [0, 3]")
    chosen = range(n_layers) if distinct_on is None else list(distinct_on)
    for layer in chosen:
        if isinstance(layer, bool) or not isinstance(layer, int | np.integer) or not 0 <= layer < n_layers:
            raise ProblemError(f"distinct_on names {layer!r}; layers are 0 to {n_layers - 1}")
    n_allowed = np.isfinite(problem.compute).sum(axis=1)
    settled: set[int] = set()
    branching = []
    for layer in dict.fromkeys(int(layer) for layer in chosen):
        if layer in settled or n_allowed[layer] < 2:
            continue
        branching.append(layer)
        for group in problem.colocated:
            if layer in group:
                settled.update(group)
    return branching


def _penalty(problem: Problem) -> float:
    """Return a cost that no sum of others reaches, whatever the placement: finite, so that pins stay the same."""
    with np.errstate(over="ignore"):
        total = np.abs(problem.compute[np.isfinite(problem.compute)]).sum()
        total += (problem.n_layers + problem.n_tensors * problem.n_machines + 1) * problem.delay.max(initial=0.0)
        prices = problem.per_tensor.max(initial=0.0) + problem.tensor_size_bytes * problem.per_byte.max(initial=0.0)
        prices = prices + problem.dearest_coding()
        return float(4 * (total + prices.sum() * problem.n_machines) + 1)
