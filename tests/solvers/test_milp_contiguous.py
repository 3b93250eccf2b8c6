"""Contiguous throughput by MILP against full enumeration, and against down-sets beyond."""

from dataclasses import replace

import numpy as np
import pytest

from solvers import InfeasibleError, MethodError
from solvers.contiguous import maximise_throughput
from solvers.contiguous_problem import PipelineProblem, pipeline_loads
from solvers.milp_contiguous import milp_contiguous
from tests import naive_throughput as naive
from tests.scale import scaled
from tests.solvers.test_contiguous import random_pipeline

INF = float("inf")


@pytest.mark.parametrize("seed", range(scaled(40, 800)))
def test_agrees_with_enumeration(seed):
    problem = random_pipeline(np.random.default_rng((31, seed)))
    best = naive.optimum(problem)
    if best == INF:
        with pytest.raises(InfeasibleError):
            milp_contiguous(problem)
        return
    solution = milp_contiguous(problem)
    assert solution.optimal
    assert solution.value == pytest.approx(best, rel=1e-9, abs=1e-9)
    assert naive.value(problem, solution.placement.tolist()) == pytest.approx(best, rel=1e-9, abs=1e-9)
    assert set(solution.pipeline) == set(solution.placement.tolist())


def layered(rng, n, machine_counts):
    """Draw a network with branches, one reader per tensor or a few."""
    heads = [sorted({v + 1, min(n - 1, v + int(rng.integers(1, 4)))}) for v in range(n - 1)]
    tensors = [(v, float(rng.exponential(0.1)), heads[v]) for v in range(n - 1)]
    compute = rng.exponential(1.0, (n, 1)) * np.array([[1.0, 5.0]])[:, : len(machine_counts)]
    return PipelineProblem.build(compute, tensors, machine_counts=machine_counts)


@pytest.mark.parametrize("seed", range(scaled(4, 40)))
def test_agrees_with_down_sets(seed):
    rng = np.random.default_rng((32, seed))
    problem = layered(rng, 16, [[3], [2, 1]][seed % 2])
    expected = maximise_throughput(problem)
    solution = milp_contiguous(problem)
    assert solution.optimal
    assert solution.value == pytest.approx(expected.value, rel=1e-9)
    again = milp_contiguous(problem, incumbent=expected.placement)
    assert again.value == pytest.approx(expected.value, rel=1e-9)
    assert again.optimal


def test_out_of_time_with_and_without_an_incumbent():
    problem = layered(np.random.default_rng(1), 80, [6])
    guess = milp_contiguous(problem, time_limit_s=1e-3)
    assert guess.value == pipeline_loads(problem, guess.placement).value
    assert guess.bound == 0
    with pytest.raises(MethodError, match="milp found no placement"):
        milp_contiguous(replace(problem, colocated=((0, 40),)), time_limit_s=1e-3)
    known = np.arange(80) * 6 // 80
    solution = milp_contiguous(problem, incumbent=known, time_limit_s=1e-3)
    assert solution.value == pipeline_loads(problem, known).value
    assert solution.bound == 0
    assert not solution.optimal
    with pytest.raises(MethodError, match="the incumbent is not allowed: the parts are not contiguous"):
        milp_contiguous(problem, incumbent=known[::-1] % 2)


def test_nothing_to_place():
    empty = PipelineProblem.build(np.zeros((0, 1)), [], machine_counts=[2])
    assert milp_contiguous(empty).value == 0


@pytest.mark.parametrize("seed", range(scaled(30, 600)))
def test_costs_of_many_magnitudes(seed):
    """Times that no good split spends must not blur HiGHS's view of the others."""
    rng = np.random.default_rng((33, seed))
    problem = random_pipeline(rng)
    wide = [
        times * 10.0 ** rng.integers(-9, 12, times.shape) for times in (problem.compute, problem.receive, problem.send)
    ]
    problem = replace(problem, compute=wide[0], receive=wide[1], send=wide[2])
    best = naive.optimum(problem)
    if best < INF:
        solution = milp_contiguous(problem)
        assert solution.value == pytest.approx(best, rel=1e-9, abs=0)
        assert solution.bound <= best * (1 + 1e-9)
        # Where HiGHS's tolerances are coarser than a proof needs, the gap says by how little.
        assert solution.optimal or 0 < solution.value - solution.bound <= 1e-6 * solution.value
