"""All placements that are optimal somewhere in a box of parameters, against the enumeration of all placements."""

from itertools import product

import numpy as np
import pytest

import solvers
from solvers import InfeasibleError, Problem, ProblemError
from solvers.regions import optimal_regions
from tests import naive
from tests.scale import scaled
from tests.strategies import random_problem


def parametric(problem, n_parameters):
    """Let the uplink, the server, the downlink and the delay vary, in this order."""

    def problem_at(point):
        uplink, server, downlink, delay = (*point, 1.0, 1.0, 1.0, 1.0)[:4] if n_parameters < 4 else point
        compute = problem.compute.copy()
        compute[:, 1] = np.where(np.isfinite(compute[:, 1]), compute[:, 1] * server, compute[:, 1])
        return problem.with_costs(
            compute=compute,
            per_byte=problem.per_byte * np.array([[1.0, uplink], [downlink, 1.0]]),
            delay=problem.delay * delay,
        )

    return problem_at


def all_planes(problem_at, lower, upper, n_layers):
    """Return what each allowed placement costs at the lower corner, and its slopes, by enumeration."""
    corners = [tuple(lower)]
    for axis in range(len(lower)):
        corners.append(tuple(upper[k] if k == axis else lower[k] for k in range(len(lower))))
    problems = [problem_at(corner) for corner in corners]
    rows = []
    for placement in product(range(2), repeat=n_layers):
        values = [naive.value(problem, placement) for problem in problems]
        if np.isfinite(values).all():
            steps = [(values[1 + k] - values[0]) / (upper[k] - lower[k]) for k in range(len(lower))]
            rows.append([values[0], *steps])
    return np.array(rows)


def check(seed, n_parameters):
    rng = np.random.default_rng(seed)
    problem = random_problem(rng, max_layers=8)
    problem_at = parametric(problem, n_parameters)
    lower = rng.uniform(0.0, 1.0, n_parameters)
    upper = lower + rng.uniform(0.1, 5.0, n_parameters)
    rows = all_planes(problem_at, lower, upper, problem.n_layers)
    if not len(rows):
        with pytest.raises(InfeasibleError):
            optimal_regions(problem_at, lower, upper)
        return 0
    found = optimal_regions(problem_at, lower, upper)
    points = rng.uniform(lower, upper, (200, n_parameters))
    corners = np.array(list(product(*zip(lower, upper, strict=True))))
    points = np.vstack([points, corners])
    values = rows[:, 0] + (points - lower) @ rows[:, 1:].T
    scale = 1 + np.abs(values).max()
    ours = np.array([found.values_at(point) for point in points])
    np.testing.assert_allclose(ours.min(axis=1), values.min(axis=1), rtol=0, atol=1e-7 * scale)
    # None of them could be left out, but for ties.
    assert len({placement.tobytes() for placement in found.placements}) == len(found.placements)
    planes = {tuple(np.round(row, 6)) for row in np.column_stack([found.intercepts, found.slopes])}
    assert len(planes) == len(found.placements)
    assert found.gap <= 1e-6 * scale
    return len(found.placements)


@pytest.mark.parametrize("n_parameters", [1, 2, 3, 4])
def test_equals_enumeration(n_parameters):
    counts = [check(seed, n_parameters) for seed in range(scaled(30, 1500))]
    assert max(counts) > 2


def three_layers():
    return Problem.build(
        [[0.0, np.inf], [4.0, 1.0], [6.0, 2.0], [0.0, np.inf]],
        [(0, 8.0, [1]), (1, 3.0, [2]), (2, 1.0, [3])],
        per_byte=[[0.0, 1.0], [1.0, 0.0]],
    )


def test_each_placement_is_the_only_best_one_somewhere():
    found = optimal_regions(parametric(three_layers(), 2), (0.01, 1.0), (5.0, 20.0))
    for number in range(len(found.placements)):
        others = [k for k in range(len(found.placements)) if k != number]
        grid = product(np.linspace(0.01, 5, 300), np.linspace(1, 20, 100))
        assert any(found.values_at(point)[number] < found.values_at(point)[others].min() for point in grid)


def test_a_box_without_width_is_one_solve():
    problem_at = parametric(three_layers(), 2)
    found = optimal_regions(problem_at, (0.5, 2.0), (0.5, 2.0))
    assert found.n_solves == len(found.placements) == 1
    assert found.values_at((0.5, 2.0))[0] == solvers.solve(problem_at((0.5, 2.0))).value


def test_one_parameter_agrees_with_breakpoints():
    problem = three_layers()
    found = optimal_regions(parametric(problem, 1), (0.01,), (5.0,))
    family = solvers.bandwidth_family(problem, scaled="uplink")
    segments = solvers.breakpoints(family, 0.01, 5.0).segments
    expected = {segment.solution.placement.tobytes() for segment in segments}
    assert {placement.tobytes() for placement in found.placements} == expected


@pytest.mark.parametrize(
    ("lower", "upper", "match"),
    [((0.0, 1.0), (1.0,), "2 lower and 1 upper"), ((2.0,), (1.0,), "lower <= upper"), ((0.0,), (np.inf,), "finite")],
)
def test_odd_boxes_are_refused(lower, upper, match):
    with pytest.raises(ProblemError, match=match):
        optimal_regions(parametric(three_layers(), len(lower)), lower, upper)


def test_costs_that_are_not_affine_are_refused():
    base = parametric(three_layers(), 1)
    with pytest.raises(ProblemError, match="not affine"):
        optimal_regions(lambda point: base((np.sqrt(point[0]),)), (0.01,), (5.0,))


def test_too_many_placements_are_refused():
    with pytest.raises(ProblemError, match="more than 1 placements"):
        optimal_regions(parametric(three_layers(), 2), (0.01, 1.0), (5.0, 20.0), max_placements=1)
