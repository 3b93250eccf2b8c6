"""The k best placements against the sorted enumeration."""

from functools import partial

import numpy as np
import pytest

from solvers import InfeasibleError, MethodError, Problem, ProblemError, Solution, analyse, evaluate, solve
from solvers.alternatives import k_best
from tests import naive_sweeps
from tests.scale import scaled
from tests.strategies import random_problem

INF = float("inf")


def warm(problem):
    try:
        return partial(solve, analysis=analyse(problem))
    except MethodError:
        return solve


@pytest.mark.parametrize("solver_of", [lambda problem: solve, warm], ids=["cold", "warm"])
def test_all_in_order(solver_of):
    rng = np.random.default_rng(1)
    n_compared = 0
    for _ in range(scaled(60, 1500)):
        problem = random_problem(rng, max_layers=6)
        rows = naive_sweeps.sorted_values(problem)
        if not rows:
            with pytest.raises(InfeasibleError):
                k_best(problem, 3)
            continue
        k = int(rng.integers(1, 9))
        found = k_best(problem, k, solver=solver_of(problem))
        assert len(found) == min(k, len(rows))
        assert len({tuple(solution.placement) for solution in found}) == len(found)
        for solution, (value, _) in zip(found, rows, strict=False):
            assert solution.value == pytest.approx(value, abs=1e-9)
            assert solution.value == evaluate(problem, solution.placement)
            assert solution.optimal or solution.gap < 1e-12
        n_compared += len(found)
    assert n_compared > 80


def test_every_placement_once():
    rng = np.random.default_rng(2)
    for _ in range(scaled(15, 200)):
        problem = random_problem(rng, max_layers=4)
        rows = naive_sweeps.sorted_values(problem)
        if rows:
            found = k_best(problem, 1000)
            assert {tuple(solution.placement) for solution in found} == {placement for _, placement in rows}


def test_three_machines_and_colocated_layers():
    rng = np.random.default_rng(3)
    for _ in range(scaled(25, 300)):
        compute = rng.exponential(1.0, (5, 3))
        compute[0, 1:] = INF
        compute[rng.integers(1, 5), rng.integers(0, 2)] = INF
        links = rng.uniform(0.1, 1.0, (3, 3)) * (1 - np.eye(3))
        colocated = [(1, 3)] if rng.random() < 0.5 and np.isfinite(compute[[1, 3]]).all() else []
        problem = Problem.build(
            compute,
            [(0, 1.0, [1, 2]), (1, 2.0, [3]), (2, 0.5, [3, 4]), (3, 1.0, [4])],
            per_byte=links,
            max_server_visits=None,
            colocated=colocated,
        )
        rows = naive_sweeps.sorted_values(problem)
        found = k_best(problem, 7)
        assert [s.value for s in found] == pytest.approx([value for value, _ in rows[:7]], abs=1e-9)
        assert len({tuple(s.placement) for s in found}) == 7


def test_distinct_on_some_layers():
    rng = np.random.default_rng(4)
    for _ in range(scaled(40, 500)):
        problem = random_problem(rng, max_layers=6)
        chosen = sorted(rng.permutation(problem.n_layers)[: rng.integers(0, problem.n_layers + 1)].tolist())
        best = {}
        for value, placement in naive_sweeps.sorted_values(problem):
            best.setdefault(tuple(placement[layer] for layer in chosen), value)
        if best:
            found = k_best(problem, 5, distinct_on=chosen)
            assert [s.value for s in found] == pytest.approx(sorted(best.values())[:5], abs=1e-9)
            assert len({tuple(s.placement[chosen]) for s in found}) == len(found)


def test_unproven_solves_show_in_the_bounds():
    problem = Problem.build([[3.0, 1.0], [3.0, 1.0]], [(0, 1.0, [1])], per_byte=[[0, 1], [1, 0]])

    def loose(given):
        solution = solve(given)
        return Solution.of(given, solution.placement, "loose", bound=solution.value - 0.5)

    found = k_best(problem, 4, solver=loose)
    assert [s.value for s in found] == [2.0, 5.0, 5.0, 6.0]
    assert [s.bound for s in found] == [1.5, 4.5, 4.5, 5.5]
    assert not any(s.optimal for s in found)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"k": 0}, "k is 0"),
        ({"k": 1.5}, "k is 1.5"),
        ({"k": True}, "k is True"),
        ({"k": 1, "distinct_on": [2]}, "distinct_on names 2"),
        ({"k": 1, "distinct_on": ["conv"]}, "distinct_on names 'conv'"),
    ],
)
def test_bad_input_is_named(arguments, words):
    with pytest.raises(ProblemError, match=words):
        k_best(Problem.build([[1, 2], [3, 1]], []), **arguments)
