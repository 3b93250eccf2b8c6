"""Energy and weighted sums against what the machines draw, moment by moment."""

import numpy as np
import pytest

from solvers import InfeasibleError, Problem, ProblemError, evaluate, solve
from solvers.objectives import Power, energy_problem, weighted
from tests import naive, naive_sweeps
from tests.scale import scaled
from tests.strategies import random_problem

INF = float("inf")


def drawn(problem, placement, power):
    """Follow one inference: each counted machine's power times each stretch of time, transfers once per receiver."""
    machines = range(len(problem.compute[0]))
    stretches = []  # (seconds, {machine: watts})
    idle = {m: float(power.idle_watts[m]) for m in machines}
    for layer, here in enumerate(placement):
        stretches.append((float(problem.compute[layer][here]), {**idle, here: float(power.compute_watts[here])}))
    for t, producer in enumerate(problem.tensor_producer):
        i = placement[producer]
        readers = problem.consumer_layers[problem.consumer_offsets[t] : problem.consumer_offsets[t + 1]]
        for j in {placement[reader] for reader in readers} - {i}:
            seconds = float(problem.per_tensor[i][j] + problem.tensor_size_bytes[t] * problem.per_byte[i][j])
            busy = {i: float(power.send_watts[i][j]), j: float(power.receive_watts[i][j])}
            stretches.append((seconds, {**idle, **busy}))
            stretches.append((float(problem.encode[t][i]), {**idle, i: float(power.compute_watts[i])}))
            stretches.append((float(problem.decode[t][j]), {**idle, j: float(power.compute_watts[j])}))
            if len(machines) > 2:
                stretches.append((float(problem.delay[i][j]), idle))
    total = sum(seconds * watts[m] for seconds, watts in stretches for m in power.counted)
    if len(machines) == 2:
        none = np.zeros((2, 2))
        bare = problem.with_costs(delay=none)
        waits = naive.value(problem, placement) - naive.value(bare, placement)
        total += waits * sum(idle[m] for m in power.counted)
    return total


@pytest.mark.parametrize("counted", [(0,), (1,), (0, 1)])
def test_energy_is_power_times_time(counted):
    rng = np.random.default_rng(sum(counted))
    for _ in range(scaled(60, 1000)):
        problem = random_problem(rng, max_layers=6)
        power = Power(rng.uniform(1, 3, 2), rng.uniform(0, 1, 2), *rng.uniform(0, 2, (2, 2, 2)), counted=counted)
        energy = energy_problem(problem, power)
        assert energy.graph is problem.graph
        placements = list(naive.placements(problem))
        for k in rng.permutation(len(placements))[:6]:
            placement = placements[k]
            if naive.value(problem, placement) == INF:
                assert evaluate(energy, placement) == INF
            else:
                assert evaluate(energy, placement) == pytest.approx(drawn(problem, placement, power), abs=1e-9)


def test_energy_of_three_machines():
    rng = np.random.default_rng(4)
    for counted in [(0,), (0, 2), (0, 1, 2)]:
        tensors = [(0, 2.0, [1, 2]), (1, 1.0, [2]), (2, 3.0, [3])]
        links = rng.uniform(0.1, 1.0, (3, 3, 3)) * (1 - np.eye(3))
        problem = Problem.build(
            rng.exponential(1.0, (4, 3)),
            tensors,
            per_byte=links[0],
            per_tensor=links[1],
            delay=links[2],
            max_server_visits=None,
            encode=rng.exponential(0.3, (3, 3)) if len(counted) > 1 else None,
            decode=rng.exponential(0.3, (3, 3)) if len(counted) > 1 else None,
        )
        power = Power(rng.uniform(1, 3, 3), rng.uniform(0, 1, 3), *rng.uniform(0, 2, (2, 3, 3)), counted=counted)
        energy = energy_problem(problem, power)
        for placement in naive_sweeps.placements(problem):
            assert evaluate(energy, placement) == pytest.approx(drawn(problem, placement, power), abs=1e-9)


def test_the_usual_energy_of_a_device():
    latency = Problem.build(
        [[0, INF], [3, 2], [0, INF]],
        [(0, 10.0, [1]), (1, 4.0, [2])],
        per_byte=[[0, 1], [0.5, 0]],
        delay=[[0, 7], [5, 0]],
    )
    energy = energy_problem(latency, Power.of_device(compute=2.0, send=1.5, receive=1.0, idle=0.25))
    assert evaluate(energy, [0, 0, 0]) == 2.0 * 3
    assert evaluate(energy, [0, 1, 0]) == 1.5 * 10 + 1.0 * 2 + 0.25 * (2 + 7 + 5)
    assert np.isinf(energy.compute[0, 1])


def test_no_power_keeps_what_is_forbidden():
    latency = Problem.build([[0, INF], [3, 2]], [])
    nothing = energy_problem(latency, Power.of_device(compute=0, send=0, receive=0, idle=0))
    assert nothing.compute.tolist() == [[0, INF], [0, 0]]


def test_weighted_adds_values():
    rng = np.random.default_rng(9)
    for _ in range(scaled(60, 1000)):
        first = random_problem(rng, max_layers=6)
        second = energy_problem(first, Power.of_device(compute=2.0, send=1.5, receive=1.0, idle=0.25))
        weights = rng.uniform(0, 3, 2)
        both = weighted([(first, weights[0]), (second, weights[1])])
        assert both.graph is first.graph
        rows = []
        for placement in naive.placements(first):
            parts = naive.value(first, placement), naive.value(second, placement)
            rows.append(INF if INF in parts else float(weights @ parts))
            assert evaluate(both, placement) == pytest.approx(rows[-1], abs=1e-9)
        if min(rows) == INF:
            with pytest.raises(InfeasibleError):
                solve(both)
        else:
            assert solve(both).value == pytest.approx(min(rows), abs=1e-9)


def test_a_weight_of_zero_keeps_what_is_forbidden():
    first = Problem.build([[1, 2]], [])
    second = Problem.build([[INF, 2]], [])
    assert weighted([(first, 1.0), (second, 0.0)]).compute.tolist() == [[INF, 2]]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda p: weighted([]), "no objectives"),
        (lambda p: weighted([(p, -1.0)]), "the weight is -1.0"),
        (lambda p: weighted([(p, float("nan"))]), "the weight is nan"),
        (lambda p: weighted([(p, "much")]), "the weight 'much'"),
        (lambda p: weighted([(p, 1), (Problem.build([[1, 1]], []), 1)]), "differ in tensor_producer"),
        (
            lambda p: weighted([(p, 1), (Problem.build(p.compute, [(0, 1.0, [1])], max_server_visits=None), 1)]),
            "visits",
        ),
        (lambda p: weighted([(p, 1), (Problem.build([[1], [1]], [(0, 1.0, [1])]), 1)]), "layers and machines"),
        (
            lambda p: energy_problem(p, Power.of_device(compute=1, send=1, receive=1, idle=1, n_machines=3)),
            "3 machines",
        ),
        (lambda p: Power.of_device(compute=-1, send=1, receive=1, idle=1), "compute_watts|compute is -1"),
        (lambda p: Power.of_device(compute=1, send=float("nan"), receive=1, idle=1), "send is nan"),
        (lambda p: Power.of_device(compute=1, send=1, receive="x", idle=1), "receive is 'x'"),
        (lambda p: Power.of_device(compute=1, send=1, receive=1, idle=1, n_machines=0), "n_machines is 0"),
        (lambda p: Power([1, 1], [1], np.ones((2, 2)), np.ones((2, 2))), "idle_watts has shape"),
        (lambda p: Power([1, 1], [1, 1], [1, 1], np.ones((2, 2))), "send_watts has shape"),
        (lambda p: Power([1, 1], [1, 1], np.ones((2, 2)), np.ones((2, 2)), counted=()), "name at least one"),
        (lambda p: Power([1, 1], [1, 1], np.ones((2, 2)), np.ones((2, 2)), counted=(2,)), "names machine 2"),
        (lambda p: Power([1, 1], [1, 1], np.ones((2, 2)), np.ones((2, 2)), counted=(True,)), "names True"),
    ],
)
def test_bad_input_is_named(wrong, words):
    with pytest.raises(ProblemError, match=words):
        wrong(Problem.build([[1, 2], [3, 1]], [(0, 1.0, [1])]))


def test_how_powers_print():
    assert repr(Power.of_device(compute=1, send=1, receive=1, idle=1)) == "Power(2 machines, counting 0)"
