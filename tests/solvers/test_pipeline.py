"""Throughput of the pipeline of resources against enumeration."""

import numpy as np
import pytest

from solvers import InfeasibleError, MethodError, Problem, ProblemError, _jit, analyse
from solvers.labels import LabelModel
from solvers.pipeline import _Climb, pipeline_throughput, resource_totals, resources
from tests import naive_labels, naive_tiers
from tests.scale import scaled
from tests.solvers.label_problems import draw_problem

INF = float("inf")


@pytest.fixture(autouse=True)
def compiled(monkeypatch):
    monkeypatch.setattr(_jit, "override", "compiled")


def test_the_busiest_resource_equals_enumeration():
    rng = np.random.default_rng(97)
    for _ in range(scaled(150, 1500)):
        problem = draw_problem(rng)
        half_duplex = bool(rng.integers(2))
        values = [naive_labels.busiest(problem, p, half_duplex=half_duplex) for p in naive_labels.placements(problem)]
        if not values:
            with pytest.raises(InfeasibleError):
                pipeline_throughput(problem, half_duplex=half_duplex)
            continue
        analysis = analyse(problem)
        solution = pipeline_throughput(problem, half_duplex=half_duplex, analysis=analysis)
        assert solution.value == pytest.approx(min(values), rel=1e-9, abs=1e-9)
        assert solution.optimal
        assert solution.method == "labels"
        assert solution.value == resource_totals(problem, solution.placement, half_duplex=half_duplex).max()
        climb = _Climb(LabelModel(analysis.network, analysis.model, resources(problem, half_duplex=half_duplex)))
        assert climb.bound <= min(values) + 1e-9 <= climb.value + 2e-9


def test_totals_are_those_of_milp():
    from solvers.milp import pipeline_totals

    rng = np.random.default_rng(101)
    for _ in range(scaled(20, 200)):
        problem = draw_problem(rng)
        for placement in naive_labels.placements(problem):
            for half_duplex in (False, True):
                ours = resource_totals(problem, np.array(placement), half_duplex=half_duplex)
                theirs = pipeline_totals(problem, np.array(placement), half_duplex=half_duplex)
                assert ours == pytest.approx(theirs)
            break


def test_more_machines_and_too_many_labels_go_to_milp():
    rng = np.random.default_rng(103)
    problem = Problem.build(rng.integers(1, 9, (6, 2)), [], max_server_visits=None)
    best = min(naive_labels.busiest(problem, p, half_duplex=False) for p in naive_labels.placements(problem))
    solution = pipeline_throughput(problem, label_limit=0)
    assert solution.value == pytest.approx(best)
    assert solution.bound <= best + 1e-6
    three = Problem.build(rng.integers(1, 9, (5, 3)), [], max_server_visits=None)
    assert pipeline_throughput(three).method == "milp"
    one = Problem.build([[1.0], [2.0]], [(0, 1.0, [1])], max_server_visits=None)
    assert pipeline_throughput(one).value == 3.0


def test_what_the_climb_knows_is_kept_when_milp_fails(monkeypatch):
    from solvers import milp

    def fails(*_, **__):
        raise MethodError("the time was up")

    monkeypatch.setattr(milp, "milp_pipeline", fails)
    rng = np.random.default_rng(107)
    problem = Problem.build(rng.uniform(1, 9, (9, 2)), [], max_server_visits=None)
    exact = pipeline_throughput(problem)
    rough = pipeline_throughput(problem, label_limit=0)
    assert rough.method == "lagrangian"
    assert rough.bound <= exact.value <= rough.value
    with pytest.raises(MethodError, match="2 machines"):
        pipeline_throughput(Problem.build([[1, 2, 3]], [], max_server_visits=None))


@pytest.mark.parametrize("n_machines", [1, 2, 3])
def test_nothing_to_place(n_machines):
    solution = pipeline_throughput(Problem.build(np.zeros((0, n_machines)), [], max_server_visits=None))
    assert (solution.value, solution.bound, solution.optimal) == (0.0, 0.0, True)


def test_a_link_far_dearer_than_the_rest_hides_nothing():
    compute = [[3, 0.2, 1e12], [0.1, 0.1, 0.1], [0.2, 0.2, 3]]
    per_byte = [[0, 1e12, 1], [0, 0, 0.1], [0, 0, 0]]
    problem = Problem.build(compute, [(0, 1.0, [1])], per_byte=per_byte, max_server_visits=None)
    best = min(naive_tiers.busiest(problem, p, half_duplex=False) for p in naive_tiers.placements(problem))
    solution = pipeline_throughput(problem)
    assert (solution.value, solution.optimal) == (best, True)


@pytest.mark.parametrize("cost", [1e-306, 5e-324])
def test_costs_at_the_lower_end_of_float64(cost):
    solution = pipeline_throughput(Problem.build([[cost] * 3], [], max_server_visits=None))
    assert (solution.value, solution.optimal) == (cost, True)


def test_totals_check_their_placement():
    two = Problem.build([[4, 4], [2, 2]], [(0, 1.0, [1])], per_byte=[[0, 2], [3, 0]])
    assert resource_totals(two, [0, 1]).tolist() == [4, 2, 2, 0]
    three = Problem.build([[4, 4, 1]], [], max_server_visits=None)
    assert resource_totals(three, [2]).tolist() == [0, 0, 1] + [0] * 6
    for wrong in ([0], [0, 2], [0, -1], [0.0, 1.0], "x"):
        with pytest.raises(ProblemError, match=r"placement|placed on machine"):
            resource_totals(two, wrong)


def test_options_that_are_none():
    two = Problem.build([[4, 4], [2, 2]], [])
    for wrong in (-1, 1.5, "x"):
        with pytest.raises(ProblemError, match=r"label_limit is .*; give a whole number >= 0"):
            pipeline_throughput(two, label_limit=wrong)
    for wrong in (-1, INF - INF, "x"):
        with pytest.raises(ProblemError, match=r"time_limit_s is .*; give a number of seconds > 0"):
            pipeline_throughput(two, time_limit_s=wrong)
