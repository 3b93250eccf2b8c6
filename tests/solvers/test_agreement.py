"""All methods against full enumeration on random problems of up to 12 layers."""

import numpy as np
import pytest

from solvers import InfeasibleError, MethodError, evaluate, solve
from tests import naive
from tests.scale import scaled
from tests.strategies import random_problem

BATCH = 100
N_BATCHES = scaled(20, 200)


def close(value, expected):
    return value == expected or abs(value - expected) <= 1e-9 * max(1.0, abs(expected))


@pytest.mark.parametrize("batch", range(N_BATCHES))
def test_every_method_equals_the_enumeration(batch):
    for case in range(BATCH):
        rng = np.random.default_rng((batch, case))
        max_layers = 12 if case % 10 == 0 else 9
        problem = random_problem(rng, max_layers=max_layers)
        check_against_enumeration(problem, f"batch {batch} case {case}")


def check_against_enumeration(problem, label):
    best = np.inf
    for placement in naive.placements(problem):
        best = min(best, naive.value(problem, placement))
    is_chain, folds = naive.is_chain(problem), naive.folds(problem)
    for method in ("auto", "chain", "dp", "min-cut"):
        try:
            solution = solve(problem, method)
        except InfeasibleError:
            assert best == np.inf, (label, method)
            continue
        except MethodError:
            assert method in ("chain", "dp"), (label, method)
            assert not (method == "chain" and is_chain), label
            assert not (method == "dp" and folds and few_shared(problem)), label
            continue
        assert solution.optimal, (label, method, solution)
        assert close(solution.value, best), (label, method, solution, best)
        assert close(naive.value(problem, solution.placement), solution.value), (label, method)
        assert evaluate(problem, solution.placement) == solution.value
        assert solution.bound <= solution.value
        if method == "auto":
            assert not is_chain or solution.method == "chain", label


def few_shared(problem):
    shared = problem.tensor_producer[problem.consumer_counts() > 1]
    return not len(shared) or np.bincount(shared).max() <= 3


@pytest.mark.parametrize("seed", range(scaled(300, 3000)))
def test_evaluate_equals_the_simulation(seed):
    rng = np.random.default_rng(seed)
    problem = random_problem(rng)
    for _ in range(5):
        placement = rng.integers(0, 2, problem.n_layers)
        assert close(evaluate(problem, placement), naive.value(problem, placement))
