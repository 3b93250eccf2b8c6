"""Constructed cases, larger graphs, deep graphs."""

import numpy as np
import pytest
from scipy.optimize import LinearConstraint, milp
from scipy.sparse import coo_array

from solvers import MethodError, Problem, breakdown, evaluate, solve, stages
from tests import naive
from tests.scale import scaled
from tests.strategies import INF, random_compute, random_links, random_problem, random_size, series_parallel_edges


def test_returning_to_the_device_pays():
    """A big skip tensor waits on the device for a heavy branch whose ends are small."""
    problem = Problem.build(
        [[0, INF], [0.1, 9], [5, 0.05], [0.1, 9], [0, INF]],
        [(0, 1e6, [1]), (1, 1e3, [2]), (1, 1e6, [3]), (2, 1e3, [3]), (3, 1e3, [4])],
        per_byte=[[0, 1e-5], [1e-5, 0]],
        delay=[[0, 0.02], [0.02, 0]],
    )
    for method in ("auto", "dp", "min-cut"):
        solution = solve(problem, method)
        assert solution.placement.tolist() == [0, 0, 1, 0, 0]
        assert solution.value == pytest.approx(0.1 + 0.05 + 0.1 + 0.01 + 0.01 + 0.04)
    assert breakdown(problem, solution.placement).sent_tensors == ((1, 0, 1), (3, 1, 0))


def test_the_way_back_is_paid_for():
    """A cut that charges the way up only would send the middle layer away and fetch its large result for nothing."""
    problem = Problem.build(
        [[0, INF], [1.0, 0.0], [0, INF]], [(0, 1.0, [1]), (1, 100.0, [2])], per_byte=[[0, 0.01], [0.05, 0]]
    )
    for method in ("auto", "chain", "dp", "min-cut"):
        solution = solve(problem, method)
        assert solution.placement.tolist() == [0, 0, 0]
        assert solution.value == 1.0
    assert evaluate(problem, [0, 1, 0]) == pytest.approx(0.01 + 5.0)


@pytest.mark.parametrize("direction", [0, 1])
def test_a_tensor_with_several_consumers_is_sent_once(direction):
    """Three consumers on the other machine cost one transfer, and one on each machine too."""
    compute = [[0, INF] if direction == 0 else [INF, 0], [9, 9], [9, 9], [9, 9]]
    for consumer in (1, 2, 3):
        compute[consumer][direction] = 50
    problem = Problem.build(compute, [(0, 4.0, [1, 2, 3])], per_byte=[[0, 1], [2, 0]], max_server_visits=None)
    for method in ("dp", "min-cut"):
        solution = solve(problem, method)
        assert solution.placement[1:].tolist() == [1 - direction] * 3
        assert solution.value == 27 + 4 * (1 + direction)


def test_stages_and_visits():
    """A layer without producers that sits on the server costs a visit, and each return another."""
    chain = [(v, 1.0, [v + 1]) for v in range(4)]
    problem = Problem.build(np.zeros((5, 2)), chain, delay=[[0, 2], [3, 0]])
    assert stages(problem, [1, 0, 1, 0, 0]).tolist() == [1, 2, 3, 4, 4]
    assert evaluate(problem, [1, 0, 0, 0, 0]) == 5
    assert evaluate(problem, [1, 0, 1, 0, 0]) == INF
    parts = breakdown(problem, [1, 0, 1, 0, 0])
    assert (parts.n_messages, parts.delay) == (4, 10)
    twice = Problem.build(np.zeros((5, 2)), chain, delay=[[0, 2], [3, 0]], max_server_visits=2)
    assert evaluate(twice, [1, 0, 1, 0, 0]) == 10


def test_a_message_carries_what_skips_stages():
    """A tensor for a later stage on the same machine rides along; delays count messages, not tensors."""
    problem = Problem.build(
        [[0, INF], [0, INF], [INF, 0], [INF, 0], [0, INF]],
        [(0, 1.0, [2]), (1, 1.0, [3]), (2, 1.0, [4]), (3, 1.0, [4])],
        delay=[[0, 1], [1, 0]],
    )
    assert evaluate(problem, [0, 0, 1, 1, 0]) == 2
    assert solve(problem).value == 2


def test_no_layers_and_one_layer():
    assert solve(Problem.build(np.zeros((0, 2)), [])).value == 0
    alone = solve(Problem.build([[3, 1]], [], delay=[[0, 1], [9, 0]]))
    assert (alone.value, alone.placement.tolist()) == (2, [1])
    assert repr(alone) == "Solution(2, optimal, 1 of 1 layers off the device, chain)"


def test_dp_fixes_hubs():
    """A mask that every block reads is fixed and the blocks fold."""
    rng = np.random.default_rng(5)
    n = 40
    tensors = [(v, random_size(rng), [v + 1]) for v in range(1, n - 1)]
    tensors.append((0, 1.0, list(range(1, n, 2))))
    tensors.append((1, 2.0, [5, 11, 12, 20, 30]))
    compute = random_compute(rng, n)
    compute[0] = 0, INF
    problem = Problem.build(compute, tensors, **random_links(rng))
    assert solve(problem, "dp").value == pytest.approx(solve(problem, "min-cut").value)


@pytest.mark.parametrize("seed", range(120))
def test_dp_tracks_more_shared_tensors_than_bits(seed):
    """Five overlapping tensors of one layer: three sent bits, and a pseudo-vertex for each of the others."""
    rng = np.random.default_rng((29, seed))
    compute = rng.normal(0, 1, (7, 2))
    compute[0, seed % 2], compute[0, 1 - seed % 2] = -1, 0
    compute[5 + seed % 3 // 2, 1] = INF
    groups = [[1, 2], [2, 3], [3, 4], [1, 4], [1, 2, 3]]
    tensors = [(0, random_size(rng), group) for group in groups] + [(v, random_size(rng), [5]) for v in (1, 2, 3, 4)]
    tensors.append((5, 1.0, [6]))
    links = {"per_byte": [[0, 0.4], [0.3, 0]], "delay": [[0, 0.1 * (seed % 3)], [0.1, 0]]}
    problem = Problem.build(compute, tensors, **links, max_server_visits=None if seed % 4 else 1)
    assert solve(problem, "dp").value == pytest.approx(naive.optimum(problem), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("seed", range(1_500, 1_500 + scaled(120, 2_000)))
def test_min_cut_branches_over_many_messages(seed):
    """Dense graphs with costs of any sign and delays that matter: three and more messages, each worth a search."""
    rng = np.random.default_rng((31, seed))
    n = 10
    compute = rng.normal(0, 1, (n, 2))
    compute[0, 1] = INF
    tensors = []
    for producer in range(n - 1):
        consumers = {int(c) for c in rng.integers(producer + 1, min(n, producer + 5), 2)}
        tensors.append((producer, float(rng.uniform(0, 0.3)), sorted(consumers)))
    up, down = rng.uniform(0.1, 1.0, 2)
    links = {"per_byte": [[0, 0.5], [0.5, 0]], "delay": [[0, up], [down, 0]]}
    problem = Problem.build(compute, tensors, **links, max_server_visits=[None, 2, 3][seed % 3])
    solution = solve(problem, "min-cut")
    assert solution.optimal
    assert solution.value == pytest.approx(naive.optimum(problem), rel=1e-9, abs=1e-9)


def test_dp_refuses_and_says_how_many_layers_stay():
    rng = np.random.default_rng(0)
    tensors = [(a, 1.0, [b]) for b in range(30) for a in range(b)]
    problem = Problem.build(rng.exponential(1, (30, 2)), tensors, per_byte=[[0, 1], [1, 0]])
    with pytest.raises(MethodError, match=r"30 of 30 layers stay, with tables over .*; use min-cut"):
        solve(problem, "dp")
    with pytest.raises(MethodError, match="chain takes one path of layers, layer 0 feeds several"):
        solve(problem, "chain")
    assert solve(problem).method == "min-cut"


def test_the_node_limit_leaves_a_gap_that_is_true():
    """Stopped early, min-cut still answers with a placement and a bound below the optimum."""
    n_open = 0
    for seed in range(60):
        rng = np.random.default_rng((11, seed))
        problem = Problem.build(
            rng.normal(0, 2, (11, 2)),
            [(a, float(rng.uniform(0, 1)), [b]) for b in range(11) for a in range(b) if rng.random() < 0.3],
            per_byte=[[0, 0.5], [0.5, 0]],
            delay=[[0, 0.4], [0.4, 0]],
            max_server_visits=1,
        )
        best = naive.optimum(problem)
        solution = solve(problem, "min-cut", node_limit=1)
        assert solution.bound <= best + 1e-9
        assert best <= solution.value + 1e-9
        if not solution.optimal:
            n_open += 1
            assert solution.gap > 0
            assert "within" in repr(solution)
    assert n_open > 0


@pytest.mark.parametrize("seed", range(scaled(30, 300)))
def test_methods_agree_on_larger_graphs(seed):
    rng = np.random.default_rng((3, seed))
    kind = ["chain", "series-parallel"][seed % 2]
    problem = random_problem(rng, kind=kind, n_layers=int(rng.integers(20, 60)))
    check_that_methods_agree(problem)


@pytest.mark.parametrize("n_layers", [500, 2500, 5000])
def test_methods_agree_on_large_graphs(n_layers):
    rng = np.random.default_rng(n_layers)
    n = n_layers
    tensors = [(p, random_size(rng), c) for p, c in series_parallel_edges(rng, n)]
    device = rng.exponential(1, n)
    compute = np.stack([device, device * rng.uniform(0.1, 0.5, n)], axis=1)
    compute[0] = 0, INF
    links = {"per_byte": [[0, 1.0], [0.7, 0]], "max_server_visits": None}
    assert check_that_methods_agree(Problem.build(compute, tensors, **links)) >= 2


def check_that_methods_agree(problem):
    answers = {}
    for method in ("chain", "dp", "min-cut"):
        try:
            answers[method] = solve(problem, method, node_limit=300)
        except MethodError as refusal:
            answers[method] = str(refusal)
        except ValueError as infeasible:
            answers[method] = type(infeasible).__name__
    solved = {method: answer for method, answer in answers.items() if not isinstance(answer, str)}
    exact = [answer.value for answer in solved.values() if answer.optimal]
    scale = 1e-9 * max(1.0, *(abs(value) for value in exact)) if exact else 0.0
    for method, answer in solved.items():
        assert answer.optimal or method == "min-cut"
        assert abs(naive_or_own(problem, answer) - answer.value) <= scale
        assert answer.bound <= min(exact) + scale
        assert answer.value >= min(exact) - scale
        if answer.optimal:
            assert abs(answer.value - min(exact)) <= scale
    return len(exact)


def naive_or_own(problem, answer):
    if problem.n_layers <= 100:
        return naive.value(problem, answer.placement)
    return evaluate(problem, answer.placement)


@pytest.mark.parametrize("seed", range(scaled(6, 40)))
def test_min_cut_equals_an_integer_programme(seed):
    """Without delays and limit: binary sides, one binary per tensor and direction that it is sent in."""
    rng = np.random.default_rng((17, seed))
    n = 60
    compute = random_compute(rng, n)
    compute[0] = 0, INF
    compute[n - 1] = 0, INF
    tensors = []
    for producer in range(n - 1):
        consumers = {int(c) for c in rng.integers(producer + 1, min(n, producer + 9), rng.integers(1, 4))}
        tensors.append((producer, float(rng.uniform(0, 3)), sorted(consumers)))
    problem = Problem.build(
        compute, tensors, per_byte=[[0, 0.5], [0.3, 0]], per_tensor=[[0, 0.2], [0.1, 0]], max_server_visits=None
    )
    solution = solve(problem, "min-cut")
    assert solution.optimal
    assert solution.value == pytest.approx(integer_programme(problem, tensors), rel=1e-6, abs=1e-6)


def integer_programme(problem, tensors):
    n, m = problem.n_layers, len(tensors)
    finite = np.where(np.isfinite(problem.compute), problem.compute, 0.0)
    cost = np.concatenate([finite[:, 1] - finite[:, 0], np.zeros(2 * m)])
    rows, columns, entries, n_rows = [], [], [], 0
    for t, (producer, size, consumers) in enumerate(tensors):
        cost[n + t] = problem.per_tensor[0, 1] + size * problem.per_byte[0, 1]
        cost[n + m + t] = problem.per_tensor[1, 0] + size * problem.per_byte[1, 0]
        for consumer in consumers:
            for sent, sign in ((n + t, 1), (n + m + t, -1)):
                rows += [n_rows] * 3
                columns += [sent, consumer, producer]
                entries += [1, -sign, sign]
                n_rows += 1
    matrix = coo_array((np.array(entries, dtype=float), (rows, columns)), shape=(n_rows, n + 2 * m)).tocsr()
    lower = np.concatenate([~np.isfinite(problem.compute[:, 0]), np.zeros(2 * m)]).astype(float)
    upper = np.concatenate([np.isfinite(problem.compute[:, 1]), np.ones(2 * m)]).astype(float)
    result = milp(
        cost,
        integrality=np.ones(n + 2 * m),
        bounds=(lower, upper),
        constraints=LinearConstraint(matrix, 0, np.inf),
        options={"mip_rel_gap": 0},
    )
    return float(result.fun + finite[:, 0].sum())


def test_a_deep_chain_goes_through_min_cut():
    rng = np.random.default_rng(0)
    n = 20_000
    device = rng.exponential(1, n)
    compute = np.stack([device, device * rng.uniform(0.05, 0.3, n)], axis=1)
    compute[0] = compute[-1] = 0, INF
    sizes = np.linspace(3_000, 1, n) * rng.uniform(0.5, 1.5, n)
    problem = Problem.build(
        compute, [(v, sizes[v], [v + 1]) for v in range(n - 1)], per_byte=[[0, 1], [1, 0]], delay=[[0, 3], [3, 0]]
    )
    assert solve(problem, "min-cut").value == pytest.approx(solve(problem, "chain").value, rel=1e-9)


@pytest.mark.parametrize("free", [False, True])
def test_a_deep_graph_of_branches_goes_through_min_cut(free):
    rng = np.random.default_rng(1)
    tensors, node = [], 0
    while node < 5_000:
        join = node + 8
        tensors.append((node, rng.uniform(1, 50), [node + 1, node + 2, node + 4, node + 7]))
        inner = [(1, join), (2, node + 3), (3, join), (4, node + 5), (5, node + 6), (6, join), (7, join)]
        tensors += [(node + k, rng.uniform(1, 50), [head]) for k, head in inner]
        node = join
    n = node + 1
    device = rng.exponential(1, n)
    compute = np.stack([device, rng.exponential(1, n) if free else device * 0.1], axis=1)
    compute[0] = compute[-1] = 0, INF
    delay = np.array([[0, 5.0], [5.0, 0]]) * (not free)
    problem = Problem.build(
        compute, tensors, per_byte=[[0, 0.05], [0.05, 0]], delay=delay, max_server_visits=None if free else 1
    )
    solution = solve(problem, "min-cut")
    assert solution.optimal
    assert solution.value == pytest.approx(solve(problem, "dp").value, rel=1e-9)
