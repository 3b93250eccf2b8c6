"""Ordered tiers against full enumeration by the relay model, and against the MILP beyond."""

import numpy as np
import pytest

from solvers import InfeasibleError, MethodError, Problem, ProblemError, _jit, evaluate
from solvers.milp import solve_milp
from solvers.tiers import relay_links, relay_value, solve_tiers
from tests import naive_tiers
from tests.scale import scaled
from tests.solvers.test_milp import INF, close, problem_on


@pytest.mark.parametrize("n_tiers", [3, 4])
@pytest.mark.parametrize("seed", range(scaled(100, 2000)))
def test_tiers_without_delays_equal_the_enumeration(n_tiers, seed):
    problem = problem_on(np.random.default_rng((n_tiers, seed)), n_tiers, tiers=True)
    best = min((naive_tiers.relay_value(problem, p) for p in naive_tiers.placements(problem)), default=INF)
    if best == INF:
        with pytest.raises(InfeasibleError):
            solve_tiers(problem, relay=True)
        return
    solution = solve_tiers(problem, relay=True)
    assert solution.optimal
    assert solution.method == "tiers"
    assert close(solution.value, best), (solution, best)
    assert close(naive_tiers.relay_value(problem, solution.placement.tolist()), best)


@pytest.mark.parametrize("seed", range(scaled(150, 2000)))
def test_tiers_with_delays_equal_the_enumeration_or_bound_it(seed):
    rng = np.random.default_rng((5, seed))
    problem = problem_on(rng, 3 if seed % 3 else 4, tiers=True, delays=True)
    compute = problem.compute.copy()
    graph = problem.graph
    compute[graph.successor_offsets[1:] == graph.successor_offsets[:-1]] = [0.0] + [INF] * (problem.n_machines - 1)
    try:
        problem = problem.with_costs(compute=compute)
    except InfeasibleError:
        return
    rows = list(naive_tiers.placements(problem))
    if not rows:
        with pytest.raises(InfeasibleError):
            solve_tiers(problem, relay=True)
        return
    solution = solve_tiers(problem, relay=True)
    placement = solution.placement.tolist()
    best = min(naive_tiers.relay_value(problem, row) for row in rows)
    assert close(solution.value, naive_tiers.relay_value(problem, placement))
    assert solution.bound <= best + 1e-9
    if solution.optimal:
        assert close(solution.value, best)
    if not naive_tiers.alternates(problem, placement):
        once = {k for tier in placement for k in range(tier)}
        assert problem.delay[0, 0] == 0
        without = problem.with_costs(delay=np.zeros_like(problem.delay))
        delays = sum(problem.delay[k, k + 1] + problem.delay[k + 1, k] for k in once)
        assert close(solution.value, relay_value(without, placement) + delays)


def test_most_realistic_delays_are_proven():
    """Costs of a device, a gateway and a cloud: the answer goes up once and comes down once."""
    n_proven = 0
    for seed in range(20):
        rng = np.random.default_rng((6, seed))
        problem = realistic(rng, 30)
        solution = solve_tiers(problem, relay=True)
        n_proven += solution.optimal
    assert n_proven == 20


def test_both_backends_agree(monkeypatch):
    problem = realistic(np.random.default_rng(0), 200)
    answers = []
    for backend in ("plain", "compiled"):
        monkeypatch.setattr(_jit, "override", backend)
        answers.append(solve_tiers(problem, relay=True))
    assert answers[0].optimal
    assert answers[0].value == answers[1].value
    assert answers[0].placement.tolist() == answers[1].placement.tolist()


def realistic(rng, n):
    """Draw a network with shortcuts on a device, a gateway six times and a cloud twenty times as fast."""
    tensors = [(v, float(8 * np.exp(-3 * v / n) * rng.lognormal(0, 0.3)), [v + 1]) for v in range(n - 1)]
    tensors += [(v, 1.0, [v + 2, v + 3]) for v in range(1, n - 4, 5)]
    device = rng.exponential(1.0, n)
    compute = np.stack([device, device / 6, device / 20], axis=1)
    compute[[0, -1]] = [0.0, INF, INF]
    per_byte, delay = relay_links([0.5, 0.7], [0.5, 0.7]), relay_links([0.1, 0.4], [0.1, 0.4])
    return Problem.build(compute, tensors, per_byte=per_byte, delay=delay, max_server_visits=None)


@pytest.mark.parametrize("seed", range(scaled(100, 2000)))
def test_the_relay_value_equals_the_token(seed):
    rng = np.random.default_rng((8, seed))
    problem = problem_on(rng, int(rng.integers(3, 5)), tiers=True, delays=True, n_layers=int(rng.integers(1, 12)))
    for _ in range(5):
        placement = rng.integers(0, problem.n_machines, problem.n_layers)
        expected = naive_tiers.relay_value(problem, placement.tolist())
        if any(len(set(placement[list(group)])) > 1 for group in problem.colocated):
            expected = INF
        assert close(relay_value(problem, placement), expected)


@pytest.mark.parametrize("seed", range(scaled(6, 60)))
def test_larger_problems_agree_with_the_milp(seed):
    rng = np.random.default_rng((9, seed))
    problem = problem_on(rng, 3 + seed % 2, tiers=True, shared=False, n_layers=25)
    try:
        expected = solve_milp(problem)
    except InfeasibleError:
        with pytest.raises(InfeasibleError):
            solve_tiers(problem)
        return
    solution = solve_tiers(problem)
    assert solution.optimal
    assert close(solution.value, expected.value)
    assert solution.value == evaluate(problem, solution.placement)


def test_relay_links():
    links = relay_links([1, 2, 4], [8, 16, 32])
    assert links[0].tolist() == [0, 1, 3, 7]
    assert links[3].tolist() == [56, 48, 32, 0]
    with pytest.raises(ProblemError, match=r"upwards has shape \(2,\) and downwards \(1,\)"):
        relay_links([1, 2], [1])


def test_refusals():
    tensors = [(0, 1.0, [1, 2]), (1, 1.0, [2])]
    links = relay_links([1, 2], [1, 2])
    problem = Problem.build(np.ones((3, 3)), tensors, per_byte=links, max_server_visits=None, tensor_names=("x", "y"))
    with pytest.raises(MethodError, match=r"relays tensor 'x' once to all of its 2 consumers.*pass relay=True"):
        solve_tiers(problem)
    assert solve_tiers(problem, relay=True).value == 3
    far = links.copy()
    far[2, 0] = 2.5
    with pytest.raises(MethodError, match=r"per_byte from machine 2 to machine 0 .* on the way, 3; it is 2.5"):
        solve_tiers(problem.with_costs(per_byte=far), relay=True)
    far[2, 0] = 3 * (1 + 1e-12)
    assert solve_tiers(problem.with_costs(per_byte=far), relay=True).optimal
    with pytest.raises(MethodError, match="layer 2 ends above machine 0; keep every last layer on machine 0"):
        solve_tiers(problem.with_costs(delay=links), relay=True)
    for n_machines in (1, 2):
        few = Problem.build(np.ones((1, n_machines)), [])
        with pytest.raises(MethodError, match=f"takes 3 machines or more, the problem has {n_machines}"):
            solve_tiers(few)
        with pytest.raises(MethodError, match="takes 3 machines or more"):
            relay_value(few, [0])


def test_an_answer_that_alternates_is_not_claimed():
    """Going up twice is cheap without delays; with them the bound stays below the value."""
    only = {0: [0.0, INF, INF], 2: [INF, INF, 0.0]}
    compute = [only[0], only[2], only[0], only[2], only[0]]
    tensors = [(v, 1.0, [v + 1]) for v in range(4)]
    links = relay_links([1, 1], [1, 1])
    problem = Problem.build(compute, tensors, per_byte=links, delay=links, max_server_visits=None)
    solution = solve_tiers(problem)
    assert solution.value == 16
    assert solution.bound == 12
    assert not solution.optimal


def test_nothing_to_place():
    assert solve_tiers(Problem.build(np.zeros((0, 3)), [], max_server_visits=None)).value == 0


@pytest.mark.parametrize(
    ("upwards", "downwards", "said"),
    [
        ("a", "b", "upwards is not an array of numbers"),
        ([1], [[1], [1, 2]], "downwards is not an array of numbers"),
        ([INF - INF], [1], "upwards holds nan; give finite numbers >= 0"),
        ([1, 1], [1, -2], "downwards holds -2.0; give finite numbers >= 0"),
        ([INF], [1], "upwards holds inf"),
        ([1e308, 1e308], [1, 1], "upwards adds up to more than float64 holds; use a larger unit"),
        (1, 1, "give one cost per pair of neighbours"),
        ([1], [1, 2], "give one cost per pair of neighbours"),
    ],
)
def test_links_that_are_none(upwards, downwards, said):
    with pytest.raises(ProblemError, match=said):
        relay_links(upwards, downwards)
