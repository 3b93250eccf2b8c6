"""Branch-aware dynamic programming on one to four machines, and in batches, against full enumeration."""

import numpy as np
import pytest

from solvers import (
    InfeasibleError,
    MethodError,
    Problem,
    ProblemError,
    analyse,
    breakdown,
    evaluate,
    solve,
    solve_batch,
)
from solvers.evaluation import delay_free_value
from tests import naive
from tests.scale import scaled
from tests.strategies import INF, random_network, random_problem

MOST_LAYERS = {1: 12, 2: 12, 3: 8, 4: 6}
BATCH = 50


def close(value, expected):
    return value == expected or abs(value - expected) <= 1e-9 * max(1.0, abs(expected))


@pytest.mark.parametrize("batch", range(scaled(8, 80)))
@pytest.mark.parametrize("n_machines", [1, 2, 3, 4])
def test_without_delays_the_optimum_is_exact(n_machines, batch):
    for case in range(BATCH):
        rng = np.random.default_rng((n_machines, batch, case))
        largest = MOST_LAYERS[n_machines] if case % 10 == 0 else MOST_LAYERS[n_machines] - 1
        problem = random_network(rng, n_machines=n_machines, max_layers=min(largest, 9 if case % 10 else 12))
        values = [naive.value(problem, placement) for placement in naive.placements(problem)]
        best = min(values)
        if best == INF:
            with pytest.raises(InfeasibleError):
                solve(problem, "dp")
            continue
        try:
            solution = solve(problem, "dp")
        except MethodError:
            # Tables over all machines that several tensors of each layer may be on pass their limit, if rarely.
            assert n_machines > 2
            solution = solve(problem)
        assert solution.optimal
        assert close(solution.value, best), (n_machines, batch, case)
        assert close(naive.value(problem, solution.placement), best), (n_machines, batch, case)


@pytest.mark.parametrize("batch", range(scaled(4, 40)))
@pytest.mark.parametrize("n_machines", [3, 4])
def test_with_delays_two_bounds_bracket_the_enumeration(n_machines, batch):
    for case in range(BATCH // 2):
        rng = np.random.default_rng((n_machines, batch, case, 1))
        problem = random_network(rng, n_machines=n_machines, max_layers=6 if n_machines == 3 else 5, delays=True)
        gathered, apart = INF, INF
        for placement in naive.placements(problem):
            gathered = min(gathered, naive.value(problem, placement))
            apart = min(apart, naive.charged_apart(problem, placement))
        if gathered == INF or np.isfinite(problem.compute).any(axis=0).sum() <= 2:
            continue  # two machines left have an order of messages
        solution = solve(problem, "dp")
        assert close(solution.value, apart)
        assert close(naive.charged_apart(problem, solution.placement), solution.value)
        slack = 1e-9 * max(1.0, abs(gathered))
        assert solution.bound <= gathered + slack
        assert gathered <= solution.value + slack


@pytest.mark.parametrize("seed", range(scaled(100, 1000)))
def test_colocated_layers_share_machines_with_delays_too(seed):
    rng = np.random.default_rng((seed, 2))
    problem = random_problem(rng, max_layers=8)
    groups = [[int(v) for v in rng.permutation(problem.n_layers)[:3]]]
    try:
        problem = Problem(
            problem.compute,
            problem.tensor_producer,
            problem.tensor_size_bytes,
            problem.consumer_offsets,
            problem.consumer_layers,
            problem.per_tensor,
            problem.per_byte,
            problem.delay,
            problem.max_server_visits,
            groups,
            encode=problem.encode,
            decode=problem.decode,
        )
    except InfeasibleError:
        assert not np.isfinite(problem.compute[groups[0]]).all(axis=0).any()
        return
    best = naive.optimum(problem)
    for method in ("auto", "dp", "min-cut"):
        if best == INF:
            with pytest.raises(InfeasibleError):
                solve(problem, method)
            continue
        solution = solve(problem, method)
        assert solution.optimal
        assert close(solution.value, best), method
        assert close(naive.value(problem, solution.placement), best), method


@pytest.mark.parametrize("seed", range(scaled(60, 600)))
def test_a_batch_answers_as_single_problems_do(seed):
    rng = np.random.default_rng((seed, 3))
    if seed % 2:
        problem = random_problem(rng, max_layers=14)
    else:
        problem = random_network(rng, n_machines=3, max_layers=8, delays=seed % 4 == 0)
    n_problems = int(rng.integers(1, 40))
    finite = np.where(np.isinf(problem.compute), 0.0, problem.compute)
    costs = {
        "compute": np.where(np.isinf(problem.compute), INF, finite * rng.uniform(0.2, 2, (n_problems, *finite.shape))),
        "tensor_size_bytes": problem.tensor_size_bytes * rng.uniform(0.2, 2, (n_problems, problem.n_tensors)),
        "per_tensor": problem.per_tensor * rng.uniform(0.2, 2, (n_problems, 1, 1)),
        "encode": problem.encode * rng.uniform(0.2, 2, (n_problems, 1, 1)),
        "decode": problem.decode * rng.uniform(0.2, 2, (n_problems, 1, 1)),
        "per_byte": problem.per_byte * rng.uniform(0.2, 2, (n_problems, 1, 1)),
        "delay": problem.delay * rng.uniform(0.2, 2, (n_problems, 1, 1)),
    }
    given = {name: array for name, array in costs.items() if rng.random() < 0.6} or {"compute": costs["compute"]}
    try:
        analysis = analyse(problem)
        batch = solve_batch(problem, analysis=analysis, **given)
    except InfeasibleError:
        with pytest.raises(InfeasibleError):
            solve(problem, "dp")
        return
    assert len(batch) == n_problems
    for index in range(n_problems):
        one = problem.with_costs(**{name: array[index] for name, array in given.items()})
        single = solve(one, analysis=analysis)
        assert close(batch.values[index], single.value)
        assert close(evaluate(one, batch.placements[index]), batch.values[index])
        assert batch.optimal[index] == single.optimal
        assert close(batch.bounds[index], single.bound)


def diamond(**others):
    tensors = [(0, 1.0, [1, 2]), (1, 1.0, [3]), (2, 1.0, [3])]
    arguments = {"per_byte": [[0, 1], [1, 0]], "max_server_visits": None, **others}
    return Problem.build([[0, INF], [3, 1], [4, 1], [0, INF]], tensors, **arguments)


def test_an_analysis_serves_other_costs_and_no_other_graph():
    problem = diamond()
    analysis = analyse(problem)
    assert (analysis.width, repr(analysis)) == (1, f"Analysis(4 layers, width 1, {analysis.work} combinations)")
    dearer = problem.with_costs(per_byte=[[0, 9], [9, 0]])
    assert solve(dearer, analysis=analysis).value == 7
    assert solve(problem, analysis=analysis).value == 5
    with pytest.raises(ProblemError, match="layer 1 is allowed on other machines than in the analysis"):
        solve(problem.with_costs(compute=[[0, INF], [3, INF], [4, 1], [0, INF]]), analysis=analysis)
    other = Problem.build(problem.compute, [(0, 1.0, [1, 2, 3])], max_server_visits=None)
    with pytest.raises(ProblemError, match="made for another graph: tensor_producer differs"):
        solve(other, analysis=analysis)
    with pytest.raises(ProblemError, match="made for other layers or machines"):
        solve(diamond(colocated=[(1, 2)]), analysis=analysis)


@pytest.mark.parametrize(
    ("costs", "message"),
    [
        ({}, "a batch needs costs"),
        ({"compute": np.zeros((2, 3, 2))}, r"compute has shape \(2, 3, 2\); give \(n_problems, 4, 2\)"),
        ({"compute": np.zeros((1, 4, 2))}, "compute of layer 0 is 0.0 in problem 0; give finite costs where"),
        ({"per_byte": [[[0, -1], [1, 0]]]}, "per_byte from machine 0 to 1 is -1.0 in problem 0; give finite numbers"),
        ({"tensor_size_bytes": [[1, np.nan, 1]]}, "tensor_size_bytes of tensor 1 is nan in problem 0"),
        ({"encode": [[[0, 0], [0, -1], [0, 0]]]}, "encode of tensor 1 on machine 1 is -1.0 in problem 0"),
        ({"decode": np.zeros((4, 3, 3))}, r"decode has shape \(4, 3, 3\); give \(n_problems, 3, 2\)"),
        ({"decode": np.full((1, 3, 2), 1e308)}, "the costs of problem 0 add up to more than float64 holds"),
        ({"delay": [[["a", "b"]]]}, "delay is not an array of numbers"),
        (
            {"delay": np.zeros((2, 2, 2)), "per_byte": np.zeros((3, 2, 2))},
            "delay is for 2 problems, .* before it for 3",
        ),
    ],
)
def test_a_bad_batch_is_named(costs, message):
    with pytest.raises(ProblemError, match=message):
        solve_batch(diamond(), **costs)


def test_new_costs_are_checked_as_at_first():
    problem = diamond()
    for costs, message in [
        ({"compute": [[0, 1]]}, r"compute has shape \(1, 2\); give \(4, 2\)"),
        ({"compute": [[0, INF], [np.nan, 1], [4, 1], [0, INF]]}, "layer 1 costs nan on machine 0"),
        ({"per_byte": [[0, -1], [0, 0]]}, "per_byte from machine 0 to machine 1 is -1.0"),
        ({"tensor_size_bytes": [1, -1, 1]}, "tensor 1 has -1.0 bytes"),
        ({"per_byte": [[0, 1e308], [0, 0]]}, "the costs add up to more than float64 holds"),
        ({"compute": [[0, INF], [1e308, 1], [4, 1], [0, INF]]}, "the costs add up to more than float64 holds"),
    ]:
        with pytest.raises(ProblemError, match=message):
            problem.with_costs(**costs)
    assert problem.with_costs(delay=[[0, 1], [1, 0]]).graph is problem.graph


def test_more_machines_than_two_have_no_order_of_messages():
    compute = [[0, INF, INF], [9, 1, 5], [9, 5, 1], [0, INF, INF]]
    tensors = [(0, 1.0, [1]), (1, 1.0, [2]), (2, 1.0, [3])]
    links = np.ones((3, 3)) - np.eye(3)
    problem = Problem.build(compute, tensors, per_byte=links, delay=links, max_server_visits=None)
    solution = solve(problem)
    assert (solution.method, solution.value, solution.bound) == ("dp", 8, 5)
    assert not solution.optimal
    parts = breakdown(problem, solution.placement)
    assert parts.value == solution.value
    assert parts.n_messages == len(parts.sent_tensors)
    assert close(delay_free_value(problem, solution.placement) + parts.delay, parts.value)


def test_min_cut_and_chain_refuse_more_machines():
    problem = random_network(np.random.default_rng(0), n_machines=3, max_layers=5)
    for method in ("chain", "min-cut"):
        with pytest.raises(MethodError, match="2 machines"):
            solve(problem, method)
