"""Peak activations and memory limits on them, against a simulation of every step and enumeration."""

import numpy as np
import pytest

from solvers import (
    InfeasibleError,
    MethodError,
    Problem,
    ProblemError,
    peak_activations,
    within_memory,
    within_peak_memory,
)
from tests import naive, naive_labels
from tests.scale import scaled
from tests.strategies import random_network, random_problem

INF = float("inf")


def draw(rng):
    if rng.random() < 0.5:
        return random_problem(rng, max_layers=7)
    return random_network(rng, n_machines=3, max_layers=6)


@pytest.mark.parametrize("seed", range(scaled(2, 20)))
def test_limits_on_peaks_against_enumeration(seed):
    rng = np.random.default_rng((seed, 71))
    exact = 0
    for _ in range(50):
        problem = draw(rng)
        sizes = rng.integers(0, 6, problem.n_layers).astype(np.float64)
        largest = sizes.sum() + problem.tensor_size_bytes.sum()
        limits = np.where(rng.random(problem.n_machines) < 0.4, INF, largest * rng.random(problem.n_machines))
        values = {}
        for placement in naive.placements(problem):
            used = naive_labels.peak_memory(problem, sizes, placement)
            np.testing.assert_allclose(
                peak_activations(problem, placement) + naive_labels.memory_used(sizes, placement, problem.n_machines),
                used,
                rtol=1e-12,
                atol=1e-12,
            )
            if all(one <= top for one, top in zip(used, limits, strict=True)):
                values[tuple(placement)] = naive.value(problem, placement)
        best = min(values.values(), default=INF)
        try:
            found = within_peak_memory(problem, sizes, limits)
        except InfeasibleError:
            assert best == INF
            continue
        except MethodError:
            continue
        assert values[tuple(found.placement.tolist())] == pytest.approx(found.value, rel=1e-12, abs=1e-12)
        assert found.bound <= best + 1e-9 * abs(best)
        if found.optimal:
            exact += 1
            assert found.value == pytest.approx(best, rel=1e-9, abs=1e-12)
    assert exact > 5


def test_without_tensors_it_is_the_limit_on_weights():
    problem = Problem.build([[3, 1], [3, 2]], [], max_server_visits=None)
    for limit in (11, 10, 5):
        both = [solver(problem, [6, 5], [INF, limit]).value for solver in (within_memory, within_peak_memory)]
        assert both[0] == both[1]


def test_activations_alone_can_be_too_much():
    problem = Problem.build([[3, INF], [3, INF]], [(0, 8.0, [1])])
    with pytest.raises(MethodError, match="no placement was found whose activations fit"):
        within_peak_memory(problem, [1, 1], [9, INF])
    with pytest.raises(InfeasibleError, match="no placement fits"):
        within_peak_memory(problem, [1, 1], [1, INF])
    with pytest.raises(ProblemError, match=r"-1\.0 bytes of weights"):
        within_peak_memory(problem, [1, -1], [9, INF])
    with pytest.raises(ProblemError, match="the placement has shape"):
        peak_activations(problem, [0])
