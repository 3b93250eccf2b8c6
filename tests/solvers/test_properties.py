"""What must hold of any problem: limits of bandwidth, scaling, relabelling, both backends."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solvers import InfeasibleError, MethodError, Problem, _jit, branch_and_bound, solve
from tests import naive
from tests.scale import scaled
from tests.strategies import offloading_problems, problems, random_problem

SETTINGS = settings(max_examples=scaled(60, 600), deadline=None, derandomize=True)


def with_bandwidth(case, bandwidth):
    compute, tensors, per_byte = case
    return Problem.build(compute, tensors, per_byte=per_byte / bandwidth, max_server_visits=None)


@SETTINGS
@given(offloading_problems())
def test_an_infinite_bandwidth_sends_everything(case):
    problem = with_bandwidth(case, 1e12)
    free = np.isfinite(problem.compute).all(axis=1)
    assert solve(problem).placement[free].all()


@SETTINGS
@given(offloading_problems())
def test_no_bandwidth_keeps_everything(case):
    _, tensors, _ = case
    consumed = {v for _, _, c in tensors for v in c}
    produces = {p for p, _, c in tensors if c}
    problem = with_bandwidth(case, 1e-9)
    placement = solve(problem).placement
    assert not any(placement[v] for v in range(problem.n_layers) if v in consumed or v in produces)


@SETTINGS
@given(offloading_problems(), st.lists(st.floats(1e-3, 1e3), min_size=2, max_size=5))
def test_the_optimum_never_rises_with_bandwidth(case, bandwidths):
    values = [solve(with_bandwidth(case, bandwidth)).value for bandwidth in sorted(bandwidths)]
    assert all(later <= earlier * (1 + 1e-9) for earlier, later in pairwise(values))


def answer(problem, method="auto"):
    try:
        return solve(problem, method)
    except (InfeasibleError, MethodError) as refusal:
        return type(refusal)


@SETTINGS
@given(problems(), st.sampled_from([2.0**-30, 0.125, 8.0, 2.0**40]))
def test_scaling_all_costs_scales_the_optimum(problem, factor):
    scaled_problem = Problem(
        problem.compute * factor,
        problem.tensor_producer,
        problem.tensor_size_bytes,
        problem.consumer_offsets,
        problem.consumer_layers,
        problem.per_tensor * factor,
        problem.per_byte * factor,
        problem.delay * factor,
        problem.max_server_visits,
        encode=problem.encode * factor,
        decode=problem.decode * factor,
    )
    for method in ("chain", "dp", "min-cut"):
        before, after = answer(problem, method), answer(scaled_problem, method)
        if isinstance(before, type):
            assert after is before
        else:
            assert after.value == pytest.approx(before.value * factor, rel=1e-9, abs=1e-12 * factor)


@SETTINGS
@given(problems(), st.randoms(use_true_random=False))
def test_relabelling_layers_and_tensors_keeps_the_optimum(problem, random):
    number = list(range(problem.n_layers))
    random.shuffle(number)
    compute = np.empty_like(problem.compute)
    compute[number] = problem.compute
    tensors = []
    for t in range(problem.n_tensors):
        consumers = problem.consumer_layers[problem.consumer_offsets[t] : problem.consumer_offsets[t + 1]]
        consumers = [number[c] for c in consumers]
        random.shuffle(consumers)
        tensors.append((number[problem.tensor_producer[t]], problem.tensor_size_bytes[t], consumers))
    order = list(range(problem.n_tensors))
    random.shuffle(order)
    relabelled = Problem.build(
        compute,
        [tensors[t] for t in order],
        per_tensor=problem.per_tensor,
        per_byte=problem.per_byte,
        delay=problem.delay,
        max_server_visits=problem.max_server_visits,
        encode=problem.encode[order],
        decode=problem.decode[order],
    )
    before, after = answer(problem), answer(relabelled)
    if isinstance(before, type):
        assert after is before
    else:
        assert after.value == pytest.approx(before.value, rel=1e-9, abs=1e-9)


@SETTINGS
@given(problems(max_layers=7))
def test_small_problems_are_proven(problem):
    found = answer(problem)
    if found is InfeasibleError:
        assert naive.optimum(problem) == float("inf")
    else:
        assert found.optimal
        assert found.value == pytest.approx(naive.optimum(problem), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("seed", range(scaled(60, 600)))
def test_both_backends_give_the_same_bits(seed, monkeypatch):
    rng = np.random.default_rng((23, seed))
    problem = random_problem(rng, n_layers=int(rng.integers(2, 40)))
    for method in ("chain", "dp", "min-cut"):
        found = []
        for backend in ("plain", "compiled"):
            monkeypatch.setattr(_jit, "override", backend)
            try:
                found.append(solve(problem, method, node_limit=50))
            except (InfeasibleError, MethodError) as refusal:
                found.append(str(refusal))
        plain, compiled = found
        if isinstance(plain, str):
            assert compiled == plain
        else:
            assert compiled.placement.tolist() == plain.placement.tolist()
            assert (compiled.value, compiled.bound) == (plain.value, plain.bound)


def test_a_long_search_moves_to_the_compiler_and_finds_the_same(monkeypatch):
    """Branching that goes on and on stops paying the interpreter's price; the answer does not change."""
    rng = np.random.default_rng(7)
    n = 60
    compute = rng.normal(0, 1, (n, 2))
    compute[0] = compute[-1] = 0, np.inf
    tensors = [(v, 1.0, sorted({int(w) for w in rng.integers(v + 1, min(n, v + 10), 3)})) for v in range(n - 1)]
    links = {"per_byte": [[0, 0.2], [0.2, 0]], "delay": [[0, 1], [1, 0]]}
    problem = Problem.build(compute, tensors, **links)
    monkeypatch.setattr(_jit, "override", None)
    monkeypatch.setattr(branch_and_bound, "_PLAIN_WORK", 0)
    switched = solve(problem, "min-cut")
    monkeypatch.setattr(_jit, "override", "plain")
    plain = solve(problem, "min-cut")
    assert plain.optimal
    assert (switched.value, switched.placement.tolist()) == (plain.value, plain.placement.tolist())
