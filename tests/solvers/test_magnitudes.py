"""Costs that differ by many orders of magnitude: right, or not claimed to be proven."""

from functools import partial

import numpy as np
import pytest

from solvers import (
    InfeasibleError,
    Problem,
    ProblemError,
    analyse,
    evaluate,
    k_best,
    solve,
    solve_batch,
    within_deadline,
    within_memory,
)
from tests import naive
from tests.scale import scaled
from tests.strategies import random_network, random_problem

INF = float("inf")


@pytest.mark.parametrize("seed", range(scaled(2, 20)))
@pytest.mark.parametrize("method", ["auto", "chain", "dp", "min-cut"])
def test_a_claim_of_optimality_holds_at_any_magnitude(seed, method):
    rng = np.random.default_rng((seed, 5))
    for _ in range(scaled(60, 200)):
        problem = random_problem(rng, max_layers=6)
        spread = 10.0 ** rng.integers(-9, 13, problem.compute.shape)
        prices = 10.0 ** rng.integers(-6, 13, (2, 2))
        wild = problem.with_costs(
            compute=np.where(np.isinf(problem.compute), INF, problem.compute * spread),
            per_byte=problem.per_byte * prices,
        )
        best = naive.optimum(wild)
        try:
            found = solve(wild, method)
        except InfeasibleError:
            assert best == INF
            continue
        except ValueError:
            assert method == "chain"
            continue
        largest = np.abs(wild.compute[np.isfinite(wild.compute)]).max(initial=0.0)
        assert found.bound <= best + 1e-12 * abs(best) + 1e-15 * largest
        if found.optimal:
            assert found.value <= best + 1e-9 * abs(best)


def test_limits_of_zero_and_of_next_to_nothing():
    problem = Problem.build([[1, 2], [3, 1]], [(0, 1.0, [1])], max_server_visits=None)
    for nothing in (0.0, 5e-324):
        assert within_memory(problem, [2e8, 3e8], [nothing, 5e8]).value == 3
        with pytest.raises(InfeasibleError):
            within_memory(problem, [2e8, 3e8], [nothing, 4e8])


@pytest.mark.parametrize(("energy", "latency", "least"), [(1e6, 1e9, 3000000.3), (1e3, 1e12, 3000.3)])
def test_a_deadline_with_large_multipliers(energy, latency, least):
    tensors = [(2, 1.0, [1]), (4, 1.0, [1]), (3, 2.0, [2])]
    joules = Problem.build(
        [[0, 3], [INF, energy], [0.1, 3], [0.2, INF], [1e-9, 0]],
        tensors,
        per_tensor=[[0, 0], [energy, 0]],
        per_byte=[[0, energy], [3, 0]],
        max_server_visits=None,
    )
    seconds = Problem.build(
        [[0, 1e-9], [INF, 0.3], [3, 0.3], [0, INF], [0.2, 1]],
        tensors,
        per_tensor=[[0, 0], [latency, 0]],
        per_byte=[[0, 0.2], [1e-9, 0]],
        max_server_visits=None,
    )
    assert within_deadline(joules, seconds, 3.9).value == pytest.approx(least, rel=1e-12)


def test_a_price_that_dwarfs_everything_else():
    problem = Problem.build(
        [[0.5, 3e12], [0, 1e-6], [0, 0.25], [1e-6, 1e12], [0.5, 0.25]],
        [(2, 1e6, [3, 4]), (3, 1.0, [4]), (3, 1e6, [4])],
        per_tensor=[[0, 1e-6], [0.5, 0]],
        per_byte=[[0, 0], [1e12, 0]],
        max_server_visits=None,
    )
    assert solve(problem).value == solve(problem, "dp").value == naive.optimum(problem)
    assert solve(problem, "min-cut").bound <= naive.optimum(problem)


def test_machines_that_nothing_may_use_do_not_count_with_an_analysis_either():
    rng = np.random.default_rng(3)
    for _ in range(scaled(40, 400)):
        problem = random_network(rng, n_machines=3, max_layers=5, delays=True)
        compute = problem.compute.copy()
        compute[:, int(rng.integers(3))] = INF
        if np.isinf(compute).all(axis=1).any() or problem.colocated:
            continue
        narrow = problem.with_costs(compute=compute)
        try:
            alone = solve(narrow, "dp")
        except InfeasibleError:
            continue
        again = solve(narrow, analysis=analyse(narrow))
        batch = solve_batch(narrow, compute=compute[None])
        assert again.value == pytest.approx(alone.value, rel=1e-12, abs=1e-12)
        assert batch.values[0] == pytest.approx(alone.value, rel=1e-12, abs=1e-12)
        assert evaluate(narrow, batch.placements[0]) == pytest.approx(alone.value, rel=1e-12, abs=1e-12)


def test_a_batch_refuses_what_a_problem_refuses():
    problem = Problem.build([[5, 1]] * 4, [(0, 1.0, [1]), (0, 1.0, [2]), (1, 1.0, [3]), (2, 1.0, [3])])
    with pytest.raises(ProblemError, match="the costs of problem 1 add up to more than float64 holds"):
        solve_batch(problem, compute=np.stack([problem.compute, np.full((4, 2), 1.7e308)]))
    one = Problem.build([[1], [2]], [(0, 1.0, [1])])
    assert solve_batch(one, compute=one.compute[None]).values.tolist() == [3.0]


def test_what_an_unproven_solver_misses_lowers_the_bounds_of_the_next():
    tensors = [(3, 0.5, [1]), (2, 0.5, []), (1, 1.0, [2, 0]), (0, 2.0, [2]), (3, 1.0, []), (4, 2.0, []), (1, 0.5, [2])]
    problem = Problem.build(
        [[4.0, 2.0], [4.0, 4.0], [0.0, 1.0], [0.0, 1.0], [INF, 2.0]],
        [*tensors, (4, 1.0, [2, 1, 3]), (3, 0.5, [0])],
        per_tensor=[[0, 0], [3.0, 0]],
        delay=[[0, 1.0], [2.0, 0]],
        max_server_visits=1,
    )
    values = sorted(naive.value(problem, placement) for placement in naive.placements(problem))
    found = k_best(problem, 8, solver=partial(solve, method="min-cut", node_limit=1))
    for place, one in enumerate(found):
        assert one.bound <= values[place] + 1e-12
