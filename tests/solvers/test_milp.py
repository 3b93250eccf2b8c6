"""The MILP against full enumeration: several machines, delays and visits, limits, deadlines, pipelines."""

import numpy as np
import pytest

from solvers import InfeasibleError, MethodError, Problem, ProblemError, evaluate, solve
from solvers.milp import (
    AdditiveLimit,
    milp_deadline,
    milp_pipeline,
    milp_within,
    pipeline_totals,
    solve_milp,
)
from tests import naive, naive_tiers
from tests.scale import scaled
from tests.strategies import EDGES, INF, random_coding, random_problem, random_size

MOST_LAYERS = {2: 9, 3: 7, 4: 5}


def close(value, expected):
    return value == expected or abs(value - expected) <= 1e-9 * max(1.0, abs(expected))


def problem_on(rng, n_machines, *, delays=False, shared=True, tiers=False, n_layers=None):
    """Draw a problem on several machines with pins, colocated layers, several inputs and outputs, odd costs.

    `shared` allows tensors with several consumers; `tiers` makes far links the sum of near ones.
    """
    n = int(n_layers or rng.integers(1, MOST_LAYERS[n_machines] + 1))
    tensors = [(p, c) for p, c in EDGES[str(rng.choice(["chain", "random", "random"]))](rng, n)]
    if not shared:
        tensors = [(p, [v]) for p, c in tensors for v in c]
    shape = (n, n_machines)
    compute = [rng.exponential(2.0, shape), rng.integers(0, 4, shape) * 1.0, rng.normal(0, 2, shape)][rng.integers(3)]
    keep = rng.integers(n_machines, size=n)
    forbidden = rng.random(shape) < rng.choice([0.0, 0.1, 0.4])
    compute[forbidden & (np.arange(n_machines) != keep[:, None])] = INF
    links = {}
    for name, scales in (
        ("per_byte", [0.0, 0.2, 0.6, 2.0]),
        ("per_tensor", [0.0, 0.0, 0.4]),
        ("delay", [0.3, 1.0, 3.0]),
    ):
        matrix = rng.choice(scales) * rng.integers(0, 4, (n_machines, n_machines)) * rng.choice([1.0, 0.37])
        if tiers:
            matrix = far_links(matrix)
        np.fill_diagonal(matrix, 0.0)
        links[name] = matrix
    if not delays:
        del links["delay"]
    groups = ()
    if n > 2 and rng.random() < 0.3:
        layers = rng.choice(n, size=2, replace=False)
        compute[layers, rng.integers(n_machines)] = 1.0
        groups = (tuple(int(layer) for layer in layers),)
    rows = [(p, random_size(rng), c) for p, c in tensors] + [(0, 1.0, [])] * int(rng.random() < 0.2)
    visits = None if n_machines > 2 else [None, 0, 1, 1, 2][rng.integers(5)]
    coding = {} if tiers else random_coding(rng, len(rows), n_machines)  # relayed tensors have no rule for it
    return Problem.build(compute, rows, **links, colocated=groups, max_server_visits=visits, **coding)


def far_links(matrix):
    """Make each far entry the sum of the near ones on its way."""
    matrix = matrix.copy()
    for i in range(len(matrix)):
        for j in range(len(matrix)):
            step = 1 if j > i else -1
            if abs(i - j) > 1:
                matrix[i, j] = sum(matrix[k, k + step] for k in range(i, j, step))
    return matrix


def checked(solution, value, best, label):
    """Check a proven solution against what the enumeration says."""
    assert solution.optimal, label
    assert solution.method == "milp"
    assert close(solution.value, best), (label, solution, best)
    assert close(value(solution.placement.tolist()), best), label


@pytest.mark.parametrize("seed", range(scaled(60, 1000)))
def test_two_machines_with_messages_equal_the_enumeration(seed):
    rng = np.random.default_rng(seed)
    if seed % 2:
        problem = random_problem(rng, max_layers=9)
    else:
        problem = problem_on(rng, 2, delays=True)
    best = min((naive.value(problem, placement) for placement in naive_tiers.placements(problem)), default=INF)
    if best == INF:
        with pytest.raises(InfeasibleError, match="no placement satisfies"):
            solve_milp(problem)
        return
    solution = solve_milp(problem)
    checked(solution, lambda placement: naive.value(problem, placement), best, seed)
    assert solution.value == evaluate(problem, solution.placement)


@pytest.mark.parametrize("n_machines", [3, 4])
@pytest.mark.parametrize("seed", range(scaled(40, 600)))
def test_several_machines_without_delays_equal_the_enumeration(n_machines, seed):
    problem = problem_on(np.random.default_rng((n_machines, seed)), n_machines)
    best = min((naive_tiers.pair_value(problem, p) for p in naive_tiers.placements(problem)), default=INF)
    if best == INF:
        with pytest.raises(InfeasibleError):
            solve_milp(problem)
        return
    checked(solve_milp(problem), lambda placement: naive_tiers.pair_value(problem, placement), best, seed)


@pytest.mark.parametrize("seed", range(scaled(15, 300)))
def test_several_machines_with_delays_give_both_bounds(seed):
    problem = problem_on(np.random.default_rng((7, seed)), 3, delays=True)
    rows = list(naive_tiers.placements(problem))
    if not rows:
        return
    solution = solve_milp(problem)
    narrow = problem.narrowed()
    if narrow is not None and narrow[0].n_machines == 2:
        # Machines that nothing may use do not count: with two left, delays are paid by message, exactly.
        assert solution.optimal
        assert close(solution.value, naive.optimum(narrow[0]))
        assert solution.value == evaluate(problem, solution.placement)
        return
    assert close(solution.value, min(naive_tiers.pair_value(problem, p) for p in rows))
    assert close(solution.bound, min(naive_tiers.pair_value(problem, p, delays=False) for p in rows))
    assert solution.bound <= solution.value == evaluate(problem, solution.placement)


@pytest.mark.parametrize("seed", range(scaled(40, 600)))
def test_limits_equal_the_enumeration(seed):
    rng = np.random.default_rng((11, seed))
    n_machines = int(rng.integers(2, 4))
    problem = problem_on(rng, n_machines, delays=n_machines == 2)
    shape = problem.compute.shape
    weights = rng.integers(0, 2**20, shape) * 1.0 if seed % 2 else rng.exponential(1.0, shape)
    rows = list(naive_tiers.placements(problem))
    if not rows:
        return
    some = rows[rng.integers(len(rows))]
    own = [sum(weights[v, k] for v, k in enumerate(some) if k == machine) for machine in range(n_machines)]
    limits = [AdditiveLimit(weights, np.array(own) * rng.choice([1.0, 1.3, 1 - 1e-10]), "weights")]
    if rng.random() < 0.4:
        limits.append(AdditiveLimit(weights, sum(own) * rng.choice([1.0, 0.8]), "all weights"))
        limits.append(AdditiveLimit(weights, [INF] * n_machines))

    def value(placement):
        for limit in limits:
            used = [0.0] * n_machines
            for layer, machine in enumerate(placement):
                used[machine] += weights[layer, machine]
            if limit.upper.ndim:
                if any(a > b * (1 + 1e-12) for a, b in zip(used, limit.upper, strict=True)):
                    return INF
            elif sum(used) > float(limit.upper) * (1 + 1e-12):
                return INF
        return naive.value(problem, placement) if n_machines == 2 else naive_tiers.pair_value(problem, placement)

    best = min(value(placement) for placement in rows)
    if best == INF:
        with pytest.raises(InfeasibleError, match="within weights"):
            milp_within(problem, limits=limits)
        return
    checked(milp_within(problem, limits=limits), value, best, seed)


@pytest.mark.parametrize("seed", range(scaled(50, 600)))
def test_deadlines_equal_the_enumeration(seed):
    rng = np.random.default_rng((13, seed))
    n_machines = int(rng.choice([2, 2, 3]))
    latency = problem_on(rng, n_machines, delays=n_machines == 2)
    joules = np.where(rng.random(latency.compute.shape) < 0.05, INF, rng.normal(2.0, 2.0, latency.compute.shape))
    for group in [*latency.colocated, *([layer] for layer in range(latency.n_layers))]:
        if np.isinf(joules[list(group)]).any(axis=0).all():
            joules[list(group)] = 1.0
    energy = latency.with_costs(
        compute=joules, per_byte=latency.per_byte * rng.uniform(0, 2), delay=latency.delay * rng.choice([0.0, 0.4])
    )

    def seconds(placement):
        return naive.value(latency, placement) if n_machines == 2 else naive_tiers.pair_value(latency, placement)

    def total(placement):
        return naive.value(energy, placement) if n_machines == 2 else naive_tiers.pair_value(energy, placement)

    rows = [p for p in naive_tiers.placements(latency) if seconds(p) < INF and total(p) < INF]
    if not rows:
        with pytest.raises(InfeasibleError):
            milp_deadline(energy, latency, 1e9)
        return
    for deadline in (seconds(rows[rng.integers(len(rows))]), float(np.quantile([seconds(p) for p in rows], 0.2))):
        for limit in (deadline, deadline - 1e-10 * abs(deadline)):
            best = min((total(p) for p in rows if seconds(p) <= limit + 1e-12 * abs(limit)), default=INF)
            if best == INF:
                with pytest.raises(InfeasibleError, match="deadline of"):
                    milp_deadline(energy, latency, limit)
                continue
            solution = milp_deadline(energy, latency, limit)
            checked(solution, total, best, seed)
            assert seconds(solution.placement.tolist()) <= limit + 2e-12 * abs(limit)


@pytest.mark.parametrize("half_duplex", [False, True])
@pytest.mark.parametrize("seed", range(scaled(25, 400)))
def test_pipelines_equal_the_enumeration(seed, half_duplex):
    rng = np.random.default_rng((17, seed))
    problem = problem_on(rng, int(rng.integers(2, 4)), delays=True)

    def value(placement):
        return naive_tiers.busiest(problem, placement, half_duplex=half_duplex)

    rows = list(naive_tiers.placements(problem))
    if not rows:
        return
    solution = milp_pipeline(problem, half_duplex=half_duplex)
    checked(solution, value, min(value(placement) for placement in rows), seed)
    assert pipeline_totals(problem, solution.placement, half_duplex=half_duplex).max() == solution.value


@pytest.mark.parametrize("scale", [1e-12, 1e-6, 1e6, 1e12])
def test_units_play_no_part(scale):
    """HiGHS has absolute tolerances: joules of a small network must not drown in them."""
    for seed in range(4):
        rng = np.random.default_rng((19, seed))
        problem = problem_on(rng, 2, delays=True)
        scaled_one = problem.with_costs(
            compute=problem.compute * scale,
            per_tensor=problem.per_tensor * scale,
            per_byte=problem.per_byte * scale,
            delay=problem.delay * scale,
            encode=problem.encode * scale,
            decode=problem.decode * scale,
        )
        try:
            expected = solve_milp(problem).value
        except InfeasibleError:
            continue
        for solution in (solve_milp(scaled_one), milp_deadline(scaled_one, scaled_one, expected * scale)):
            assert solution.optimal
            assert abs(solution.value / scale - expected) <= 1e-9 * max(1.0, abs(expected))


@pytest.mark.parametrize("seed", range(scaled(3, 30)))
def test_larger_problems_agree_with_the_other_methods(seed):
    problem = random_problem(np.random.default_rng(seed), n_layers=60, kind="series-parallel")
    try:
        expected = solve(problem)
    except InfeasibleError:
        with pytest.raises(InfeasibleError):
            solve_milp(problem)
        return
    solution = solve_milp(problem)
    assert solution.optimal
    assert close(solution.value, expected.value)


def test_out_of_time():
    rng = np.random.default_rng(0)
    problem = problem_on(rng, 4, n_layers=120).with_costs(compute=rng.exponential(1.0, (120, 4)))
    with pytest.raises(MethodError, match=r"no placement within .* raise time_limit_s"):
        milp_pipeline(problem, time_limit_s=1e-3)
    for wrong in (0, -1.0, "soon"):
        with pytest.raises(ProblemError, match=r"time_limit_s is .*; give a number of seconds > 0"):
            solve_milp(problem, time_limit_s=wrong)
    try:
        solution = milp_pipeline(problem, time_limit_s=1.0)
    except MethodError:
        return
    assert solution.bound <= solution.value


def test_no_layers_and_one_machine():
    empty = Problem.build(np.zeros((0, 3)), [], max_server_visits=None)
    assert solve_milp(empty).value == 0
    assert milp_within(empty, limits=[AdditiveLimit(np.zeros((0, 3)), 0.0)]).optimal
    with pytest.raises(InfeasibleError):
        milp_within(empty, limits=[AdditiveLimit(np.zeros((0, 3)), -1.0)])
    assert milp_pipeline(empty).value == 0
    alone = Problem.build([[1.0], [2.0]], [(0, 1.0, [1])], delay=[[0]])
    assert solve_milp(alone).value == milp_pipeline(alone).value == 3
    assert milp_pipeline(Problem.build([[-1.0]], [])).value == -1


def test_refusals():
    problem = Problem.build(np.ones((2, 3)), [(0, 1.0, [1])], max_server_visits=None)
    late = problem.with_costs(delay=1.0 - np.eye(3))
    with pytest.raises(MethodError, match="deadline with delays on 2 machines only, the problem has 3"):
        milp_deadline(problem, late, 3.0)
    with pytest.raises(ProblemError, match="differ in their graph; give two costs of one graph"):
        milp_deadline(problem, Problem.build(np.ones((2, 3)), [], max_server_visits=None), 3.0)
    with pytest.raises(ProblemError, match="deadline_s is nan"):
        milp_deadline(problem, problem, float("nan"))
    assert milp_deadline(problem, problem, INF).value == 2
    with pytest.raises(ProblemError, match=r"memory: per_layer has shape \(1, 3\); give \(2, 3\)"):
        milp_within(problem, limits=[AdditiveLimit([[1, 1, 1]], 3, "memory")])
    with pytest.raises(ProblemError, match=r"memory: per_layer has shape \(2, 3\) and upper \(2,\)"):
        AdditiveLimit(np.ones((2, 3)), [1, 2], "memory")
    with pytest.raises(ProblemError, match="memory: per_layer must be finite"):
        AdditiveLimit([[INF, 1, 1]], 3, "memory")
    with pytest.raises(ProblemError, match="memory: upper is not an array of numbers"):
        AdditiveLimit([[1, 1, 1]], "much", "memory")
    with pytest.raises(InfeasibleError, match=r"no placement satisfies .* within memory"):
        milp_within(problem, limits=[AdditiveLimit(np.ones((2, 3)), 1, "memory")])
    apart = Problem.build([[0, INF], [INF, 0]], [])
    with pytest.raises(InfeasibleError, match="no machine is allowed for layer 0"):
        milp_deadline(apart, Problem.build([[INF, 0], [INF, 0]], []), 3.0)


def wide_problem(rng):
    """Draw a problem whose costs differ by up to twenty orders of magnitude; pinned ones may cancel."""
    n_machines = int(rng.integers(2, 4))
    problem = problem_on(rng, n_machines, n_layers=int(rng.integers(1, 6)))
    compute = np.abs(problem.compute) * 10.0 ** rng.integers(-9, 12, problem.compute.shape)
    links = 10.0 ** rng.integers(-9, 12, (2, n_machines, n_machines))
    return problem.with_costs(
        compute=compute, per_byte=problem.per_byte * links[0], per_tensor=problem.per_tensor * links[1]
    )


@pytest.mark.parametrize("seed", range(scaled(60, 1000)))
def test_costs_of_many_magnitudes(seed):
    """Costs that no good placement pays must not blur HiGHS's view of the others."""
    problem = wide_problem(np.random.default_rng((23, seed)))
    two = problem.n_machines == 2

    def value(placement):
        return naive.value(problem, placement) if two else naive_tiers.pair_value(problem, placement)

    def busiest(placement):
        return naive_tiers.busiest(problem, placement, half_duplex=False)

    rows = list(naive_tiers.placements(problem))
    for method, worth in ((solve_milp, value), (milp_pipeline, busiest)):
        best = min((worth(placement) for placement in rows), default=INF)
        if best < INF:
            solution = method(problem)
            assert solution.optimal
            assert solution.value == pytest.approx(best, rel=1e-9, abs=0)


def test_what_is_paid_anyway_hides_nothing():
    compute = [[1e9, INF], [-1e9, INF], [0, INF], [3e-8, 1e-8]]
    tensors = [(0, 1.0, [1]), (1, 1.0, [2]), (2, 1.0, [3])]
    solution = solve_milp(Problem.build(compute, tensors, max_server_visits=None))
    assert (solution.value, solution.optimal) == (1e-8, True)


def test_a_value_left_over_by_cancelling_is_not_claimed():
    """Whatever can be chosen costs 1e9 or more above the least, which the value does not show."""
    compute = [[0.3, 1e9 + 0.1], [1e9 + 0.1, 0.7], [-1e9, INF]]
    tensors = [(0, 1.0, [1])]
    problem = Problem.build(compute, tensors, per_byte=[[0, 1e10], [1e10, 0]], max_server_visits=None)
    best = min(naive.value(problem, placement) for placement in naive_tiers.placements(problem))
    solution = solve_milp(problem)
    assert solution.bound <= best <= solution.value
    assert not solution.optimal
    assert solution.gap <= 10
    # Whole multiples of 2^-3 in between which HiGHS can tell.
    whole = problem.with_costs(
        compute=[[0.25, 1e9 + 0.125], [1e9 + 0.5, 0.75], [-1e9, INF]], per_byte=2.0**31 * (1 - np.eye(2))
    )
    assert not solve_milp(whole).optimal
    whole = whole.with_costs(compute=np.where(np.arange(2) == 0, [[4.0], [3.0], [-7.0]], [[9.0], [9.0], [INF]]))
    assert (solve_milp(whole).value, solve_milp(whole).optimal) == (0.0, True)


def test_costs_at_the_lower_end_of_float64():
    for cost in (1e-306, 1e-308, 5e-324):
        problem = Problem.build([[cost, 2 * cost]], [])
        for solution in (solve_milp(problem), milp_pipeline(problem), milp_deadline(problem, problem, 1e300)):
            assert (solution.value, solution.optimal) == (cost, True)
