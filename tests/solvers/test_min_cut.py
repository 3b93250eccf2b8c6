"""The minimum cut against enumeration, PyMaxflow and elimination, with every stage on and off."""

import sys
from itertools import product

import numpy as np
import pytest

from solvers import InfeasibleError, Problem, _jit, evaluate, solve
from solvers.branch_and_bound import solve_min_cut
from solvers.evaluation import delay_free_value
from solvers.flow_network import FlowNetwork
from solvers.max_flow import ALL_STAGES, ELIMINATION, PERSISTENCY, SWEEPS, TREES
from solvers.min_cut import FREE, CutNetwork
from tests import naive
from tests.scale import scaled
from tests.strategies import EDGES, random_coding, random_compute, random_links, random_problem, random_size

INF = float("inf")


def close(value, expected):
    return value == expected or abs(value - expected) <= 1e-9 * max(1.0, abs(expected))


def with_groups(rng, problem):
    """Add up to three colocated groups, which may overlap; None if no machine allows one of them."""
    n = problem.n_layers
    groups = [rng.choice(n, size=int(rng.integers(1, min(n, 4) + 1)), replace=False) for _ in range(rng.integers(4))]
    try:
        return Problem.build(
            problem.compute,
            [
                (int(p), float(size), problem.consumer_layers[a:b].tolist())
                for p, size, a, b in zip(
                    problem.tensor_producer,
                    problem.tensor_size_bytes,
                    problem.consumer_offsets[:-1],
                    problem.consumer_offsets[1:],
                    strict=True,
                )
            ],
            per_tensor=problem.per_tensor,
            per_byte=problem.per_byte,
            delay=problem.delay,
            max_server_visits=problem.max_server_visits,
            colocated=[[int(layer) for layer in group] for group in groups],
            encode=problem.encode,
            decode=problem.decode,
        )
    except InfeasibleError:
        return None


def enumerated(problem):
    """Return the least value over the placements that keep colocated layers together."""
    best = INF
    for placement in naive.placements(problem):
        if all(len({placement[layer] for layer in group}) == 1 for group in problem.colocated):
            best = min(best, naive.value(problem, placement))
    return best


def wide_problem(rng, n_layers, *, without_limits=True):
    """Draw blocks whose layers read all earlier outputs of the block, or layers that read three of the level before."""
    tensors = []
    dense, width = rng.random() < 0.5, int(rng.integers(3, 9))
    readers = {}
    for layer in range(1, n_layers):
        block = (layer - 1) // width * width
        if dense:
            sources = range(block, layer)
        else:
            sources = {int(v) for v in rng.integers(max(block - width + 1, 0), block + 1, 3)}
        for source in sources:
            readers.setdefault(source, []).append(layer)
    tensors = [(p, random_size(rng), consumers) for p, consumers in readers.items()]
    tensors += [(p, random_size(rng), consumers) for p, _, consumers in tensors if rng.random() < 0.1]
    compute = random_compute(rng, n_layers)
    compute[0] = 0.0, INF
    for layer in range(1, n_layers):
        if layer not in readers or rng.random() < 0.02:
            compute[layer, int(rng.random() < 0.8)] = INF
    links = random_links(rng)
    if without_limits:
        links |= {"delay": None, "max_server_visits": None}
    return Problem.build(compute, tensors, **links, **random_coding(rng, len(tensors), 2))


@pytest.mark.parametrize("batch", range(10))
def test_equals_the_enumeration(batch):
    for case in range(scaled(40, 400)):
        rng = np.random.default_rng((7, batch, case))
        problem = random_problem(rng, max_layers=9)
        if case % 2:
            problem = wide_problem(rng, int(rng.integers(2, 10)), without_limits=case % 4 == 1)
        problem = with_groups(rng, problem)
        if problem is None:
            continue
        best = enumerated(problem)
        if best == INF:
            with pytest.raises(InfeasibleError):
                solve_min_cut(problem)
            continue
        solution = solve_min_cut(problem)
        assert solution.optimal, case
        assert close(solution.value, best), (case, solution, best)
        assert close(naive.value(problem, solution.placement), solution.value)
        assert evaluate(problem, solution.placement) == solution.value


@pytest.mark.parametrize("mode", ["plain", "compiled"])
def test_closure_cut_equals_the_enumeration(mode, monkeypatch):
    monkeypatch.setattr(_jit, "override", mode)
    for case in range(scaled(60, 1000)):
        rng = np.random.default_rng((8, case))
        problem = with_groups(rng, wide_problem(rng, int(rng.integers(2, 10))))
        if problem is None:
            continue
        best = INF
        for placement in naive.placements(problem):
            together = all(len({placement[layer] for layer in group}) == 1 for group in problem.colocated)
            if together and not goes_back(problem, placement):
                best = min(best, delay_free_value(problem, np.array(placement)))
        try:
            network = CutNetwork(problem, one_way=True)
        except InfeasibleError:
            assert best == INF
            continue
        placement = network.solve(network.own_pins)
        if best < INF:
            assert close(delay_free_value(problem, placement), best), case
        else:
            assert goes_back(problem, placement) or delay_free_value(problem, placement) == INF


def goes_back(problem, placement):
    return any(
        placement[int(problem.tensor_producer[t])] == 1 and placement[int(consumer)] == 0
        for t in range(problem.n_tensors)
        for consumer in problem.consumer_layers[problem.consumer_offsets[t] : problem.consumer_offsets[t + 1]]
    )


@pytest.mark.parametrize("seed", range(scaled(30, 300)))
def test_every_stage_may_be_left_out(seed):
    rng = np.random.default_rng((9, seed))
    problem = wide_problem(rng, int(rng.integers(30, 200)))
    pins = CutNetwork(problem).own_pins
    values = []
    for mask in range(ALL_STAGES + 1):
        network = CutNetwork(problem, stages=mask)
        placement = network.solve(pins)
        assert np.array_equal(network.solve(pins, keep=False), placement)
        values.append(delay_free_value(problem, placement))
    assert np.allclose(values, values[0], rtol=1e-12, atol=1e-12), values


@pytest.mark.parametrize("stages", [PERSISTENCY, ELIMINATION, SWEEPS, TREES, 0, ALL_STAGES])
def test_ties_go_to_the_device(stages):
    for case in range(scaled(20, 300)):
        rng = np.random.default_rng((10, case))
        n = int(rng.integers(2, 9))
        tensors = [(p, float(rng.integers(0, 3)), c) for p, c in EDGES["random"](rng, n)]
        problem = Problem.build(rng.integers(0, 3, (n, 2)).astype(float), tensors, per_byte=[[0, 1], [1, 0]])
        costs = {placement: delay_free_value(problem, np.array(placement)) for placement in product((0, 1), repeat=n)}
        least = min(costs.values())
        fewest = min(sum(placement) for placement, cost in costs.items() if cost == least)
        network = CutNetwork(problem, stages=stages)
        placement = network.solve(network.own_pins)
        assert delay_free_value(problem, placement) == least
        assert placement.sum() == fewest


def test_interpreter_and_compiler_agree_to_the_last_bit(monkeypatch):
    for case in range(scaled(20, 200)):
        rng = np.random.default_rng((11, case))
        problem = wide_problem(rng, int(rng.integers(30, 120)))
        placements = []
        for mode in ("plain", "compiled"):
            monkeypatch.setattr(_jit, "override", mode)
            placements.append(CutNetwork(problem).solve(np.full(problem.n_layers, FREE)))
        assert np.array_equal(*placements)


def test_a_dense_block_needs_few_arcs():
    n = 40
    problem = Problem.build(
        np.ones((n, 2)), [(p, 1.0, range(p + 1, n)) for p in range(n - 1)], per_byte=[[0, 1], [1, 0]]
    )
    network = FlowNetwork.of(problem, _jit.choose(n))
    assert len(network.head) <= 2 * 6 * n


def test_empty_and_lonely_layers():
    lonely = Problem.build([[1.0, 0.0], [0.0, 1.0], [2.0, INF]], [(0, 5.0, [])])
    assert solve_min_cut(lonely).placement.tolist() == [1, 0, 0]
    assert solve_min_cut(Problem.build(np.zeros((0, 2)), [])).value == 0.0


def test_a_limit_on_time_leaves_a_bound():
    rng = np.random.default_rng(12)
    n = 60
    tensors = [(p, float(rng.random()), c) for p, c in EDGES["random"](rng, n)]
    problem = Problem.build(rng.random((n, 2)), tensors, per_byte=[[0, 0.03], [0.03, 0]], delay=[[0, 0.01], [0.01, 0]])
    stopped = solve_min_cut(problem, time_limit_s=0.0)
    proven = solve_min_cut(problem, node_limit=400)
    assert stopped.bound <= proven.value + 1e-9
    assert proven.bound <= stopped.value + 1e-9
    assert stopped.value >= proven.value - 1e-9


@pytest.mark.parametrize("seed", range(scaled(4, 40)))
def test_agrees_with_elimination_on_large_graphs(seed):
    rng = np.random.default_rng((13, seed))
    kind = "chain" if seed % 4 == 3 else "series-parallel"
    problem = random_problem(rng, kind=kind, n_layers=scaled(1500, 5000))
    problem = Problem.build(
        problem.compute,
        [
            (int(p), float(s), problem.consumer_layers[a:b].tolist())
            for p, s, a, b in zip(
                problem.tensor_producer,
                problem.tensor_size_bytes,
                problem.consumer_offsets[:-1],
                problem.consumer_offsets[1:],
                strict=True,
            )
        ],
        per_tensor=problem.per_tensor,
        per_byte=problem.per_byte,
        max_server_visits=None,
        encode=problem.encode,
        decode=problem.decode,
    )
    assert close(solve_min_cut(problem).value, solve(problem, "dp").value)


@pytest.mark.parametrize("seed", range(scaled(6, 40)))
def test_agrees_with_pymaxflow_on_large_graphs(seed):
    maxflow = pytest.importorskip("maxflow")
    rng = np.random.default_rng((14, seed))
    problem = wide_problem(rng, scaled(2000, 20000))
    n = problem.n_layers
    graph = maxflow.Graph[float](n, n)
    graph.add_nodes(n)
    allowed = np.isfinite(problem.compute)
    costs = np.where(allowed, problem.compute, 0.0)
    up = problem.per_tensor[0, 1] + problem.tensor_size_bytes * problem.per_byte[0, 1]
    down = problem.per_tensor[1, 0] + problem.tensor_size_bytes * problem.per_byte[1, 0]
    up, down = up + problem.encode[:, 0] + problem.decode[:, 1], down + problem.encode[:, 1] + problem.decode[:, 0]
    infinity = 2.0 * (np.abs(costs).sum() + up.sum() + down.sum()) + 1.0
    for v in range(n):
        difference = costs[v, 0] - costs[v, 1] if allowed[v].all() else 0.0
        graph.add_tedge(
            v,
            max(-difference, 0.0) if allowed[v, 1] else infinity,
            max(difference, 0.0) if allowed[v, 0] else infinity,
        )
    for t in range(problem.n_tensors):
        outward, inward = graph.add_nodes(2)
        graph.add_edge(int(problem.tensor_producer[t]), outward, up[t], 0.0)
        graph.add_edge(inward, int(problem.tensor_producer[t]), down[t], 0.0)
        for c in problem.consumer_layers[problem.consumer_offsets[t] : problem.consumer_offsets[t + 1]]:
            graph.add_edge(outward, int(c), infinity, 0.0)
            graph.add_edge(int(c), inward, infinity, 0.0)
    graph.maxflow()
    theirs = np.array([graph.get_segment(v) for v in range(n)])
    assert close(solve_min_cut(problem).value, delay_free_value(problem, theirs))


def test_a_small_problem_loads_no_numba():
    import subprocess

    code = (
        "import sys, numpy as np; from solvers import Problem; from solvers.branch_and_bound import solve_min_cut;"
        "n = 60; problem = Problem.build(np.ones((n, 2)), [(p, 1.0, range(p + 1, n)) for p in range(n - 1)],"
        "per_byte=[[0, 1], [1, 0]]); solve_min_cut(problem); assert 'numba' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
