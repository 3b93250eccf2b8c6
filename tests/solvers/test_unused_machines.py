"""Three machines of which two may hold layers: every question answered as for the same problem on those two."""

import numpy as np
import pytest

from solvers import Problem, breakdown, evaluate, solve
from solvers.family import Family, bandwidth_family, delay_family, load_family, weighted_family
from solvers.objectives import Power
from solvers.parametric import breakpoints
from solvers.sweeps import sweep
from tests import naive, naive_sweeps
from tests.scale import scaled
from tests.strategies import INF, random_network, random_problem

WATTS = {"compute": 2.0, "send": 1.3, "receive": 0.9, "idle": 0.4}
THETAS = np.array([0.0, 0.3, 1.0, 2.5, 8.0])

FAMILIES = {
    "bandwidth": lambda problem, machines: bandwidth_family(problem, scaled=(machines[0], machines[1])),
    "delay": lambda problem, machines: delay_family(problem, scaled=(machines[1], machines[0])),
    "load": lambda problem, machines: load_family(problem, machines[1]),
    "weighted": lambda problem, machines: weighted_family(problem, problem.with_costs(delay=2 * problem.delay)),
    "open slope": lambda problem, machines: Family(problem, problem.with_costs(compute=np.ones(problem.compute.shape))),
}


def close(value, expected):
    return value == expected or abs(value - expected) <= 1e-9 * max(1.0, abs(expected))


def pair_and_wider(rng, *, max_layers):
    """Draw a problem on two machines and the same with a third one, at any place, on which no layer is allowed."""
    drawn = random_problem(rng, max_layers=max_layers)
    unused = int(rng.integers(3))
    kept = [k for k in range(3) if k != unused]
    pairs = np.ix_(kept, kept)
    tensors = drawn.tensor_producer, drawn.tensor_size_bytes, drawn.consumer_offsets, drawn.consumer_layers
    costs = {name: getattr(drawn, name) for name in ("per_tensor", "per_byte", "delay", "encode", "decode")}
    two = Problem(drawn.compute, *tensors, **costs, max_server_visits=None)
    wide = {}
    for name in ("per_tensor", "per_byte", "delay"):
        wide[name] = rng.exponential(1.0, (3, 3)) * (1 - np.eye(3))
        wide[name][pairs] = costs[name]
    for name in ("encode", "decode"):
        wide[name] = np.ones((two.n_tensors, 3))
        wide[name][:, kept] = costs[name]
    compute = np.full((two.n_layers, 3), INF)
    compute[:, kept] = two.compute
    return two, Problem(compute, *tensors, **wide, max_server_visits=None), np.array(kept)


def waiting_pairs(seed, count, *, max_layers):
    """Yield pairs in which both machines are of use and waiting costs something."""
    rng = np.random.default_rng(seed)
    while count:
        two, three, kept = pair_and_wider(rng, max_layers=max_layers)
        if two.delay.any() and np.isfinite(two.compute).any(axis=0).all():
            count -= 1
            yield two, three, kept


def example():
    delay = [[0, 2, 0.05], [0.3, 0, 0.5], [0.3, 0.3, 0]]
    return Problem.build([[0, INF, INF], [1.35, INF, 1.0]], [], delay=delay, max_server_visits=None)


def test_breakpoints_count_messages():
    family = load_family(example(), 2)
    found = breakpoints(family, 0, 1)
    assert found.proven
    assert found.values_at([0.5]) == pytest.approx([0.55])
    assert solve(family.at(0.5)).value == pytest.approx(0.55)
    assert found.segments[0].solution.placement.tolist() == [0, 2]


def test_a_sweep_counts_messages():
    family = load_family(example(), 2)
    swept = sweep(family, [1.5, 0.5, 1.0])
    assert swept.values == pytest.approx([1.35, 0.55, 1.05])
    assert [swept.placement(point).tolist() for point in range(3)] == [[0, 0], [0, 2], [0, 2]]


def test_a_line_counts_messages():
    family = load_family(example(), 2)
    assert family.value_line([0, 2]) == (0.05, 1.0)
    assert family.value_line([0, 0]) == (1.35, 0.0)
    assert family.value_line([0, 1]) == (INF, 0.0)
    assert delay_family(example(), scaled=(0, 2)).value_line([0, 2]) == (1.0, 1.0)


def test_a_breakdown_counts_messages():
    parts = breakdown(example(), [0, 2])
    assert (parts.n_messages, parts.delay, parts.value) == (1, 0.05, 1.05)
    assert parts.compute.tolist() == [0, 0, 1]
    assert breakdown(example(), [0, 1]).value == INF


def test_one_machine_of_use_sends_no_messages():
    delay = np.ones((3, 3)) - np.eye(3)
    problem = Problem.build([[INF, 2, INF]], [], delay=delay, max_server_visits=None)
    parts = breakdown(problem, [1])
    assert (parts.n_messages, parts.delay, parts.value, solve(problem).value) == (0, 0.0, 2.0, 2.0)
    assert load_family(problem, 1).value_line([1]) == (0.0, 2.0)


@pytest.mark.parametrize("seed", range(scaled(40, 400)))
def test_the_optimum_is_that_of_the_two(seed):
    two, three, kept = pair_and_wider(np.random.default_rng((seed, 4)), max_layers=8)
    expected = solve(two)
    solution = solve(three)
    assert solution.optimal == expected.optimal
    assert close(solution.value, expected.value)
    assert evaluate(three, solution.placement) == solution.value
    assert np.isin(solution.placement, kept).all()


def test_every_breakdown_is_that_of_the_two():
    for two, three, kept in waiting_pairs(1, scaled(40, 400), max_layers=5):
        for placement in naive_sweeps.placements(two):
            wide = kept[list(placement)]
            expected, parts = breakdown(two, placement), breakdown(three, wide)
            assert close(parts.value, naive.value(two, placement))
            assert parts.value == evaluate(three, wide) == expected.value
            assert (parts.n_messages, parts.delay) == (expected.n_messages, expected.delay)
            assert parts.sent_tensors == tuple((t, kept[i], kept[j]) for t, i, j in expected.sent_tensors)
            for name in ("compute", "encode", "decode"):
                assert getattr(parts, name)[kept].tolist() == getattr(expected, name).tolist()
            assert parts.transfer[np.ix_(kept, kept)].tolist() == expected.transfer.tolist()
            total = parts.compute.sum() + parts.transfer.sum() + parts.encode.sum() + parts.decode.sum() + parts.delay
            assert close(float(total), parts.value)


def test_messages_are_counted_where_they_cost_nothing():
    for two, three, kept in waiting_pairs(2, scaled(20, 200), max_layers=5):
        free_two, free_three = (p.with_costs(delay=np.zeros_like(p.delay)) for p in (two, three))
        for placement in naive_sweeps.placements(two):
            parts, expected = breakdown(free_three, kept[list(placement)]), breakdown(free_two, placement)
            assert (parts.n_messages, parts.delay) == (expected.n_messages, 0.0)


@pytest.mark.parametrize("kind", FAMILIES)
def test_every_family_is_that_of_the_two(kind):
    n_several = 0
    for two, three, kept in waiting_pairs(list(FAMILIES).index(kind) + 10, scaled(25, 300), max_layers=6):
        narrow, wide = FAMILIES[kind](two, (0, 1)), FAMILIES[kind](three, kept.tolist())
        n_several += agrees(narrow, wide, kept)
    assert n_several >= 1


def test_energies_are_those_of_the_two():
    n_several = 0
    for two, three, kept in waiting_pairs(3, scaled(25, 300), max_layers=6):
        if kept[0] == 0:
            narrow = load_family(two, 1).in_joules(Power.of_device(**WATTS))
            wide = load_family(three, int(kept[1])).in_joules(Power.of_device(**WATTS, n_machines=3))
            n_several += agrees(narrow, wide, kept)
    assert n_several >= 1


def agrees(narrow, wide, kept):
    """Check a family of three machines against its twin of two; tell whether it has several optima."""
    rows = naive_sweeps.lines(narrow)
    for placement, row in rows.items():
        line = wide.value_line(kept[list(placement)])
        assert line == narrow.value_line(placement)
        assert line == pytest.approx(row, rel=1e-9, abs=1e-9)
    found = breakpoints(wide, float(THETAS[0]), float(THETAS[-1]))
    swept = sweep(wide, THETAS)
    assert found.proven
    assert found.thetas == pytest.approx(breakpoints(narrow, float(THETAS[0]), float(THETAS[-1])).thetas)
    for point, theta in enumerate(THETAS):
        at = wide.at(theta)
        least = naive_sweeps.least(rows.values(), theta)
        segment = found.segments[int(found.segments_at(theta))]
        assert close(solve(at).value, least)
        assert close(float(found.values_at(theta)), least)
        assert close(float(swept.values[point]), least)
        assert close(evaluate(at, segment.solution.placement), least)
        assert close(evaluate(at, swept.placement(point)), least)
        assert close(breakdown(at, swept.placement(point)).value, least)
    for segment in found.segments:
        assert close(segment.solution.value, segment.value(segment.solved_at))
        assert np.isin(segment.solution.placement, kept).all()
    return len(found.segments) > 1


def test_three_machines_of_use_out_of_four_pay_for_every_tensor():
    rng = np.random.default_rng(6)
    for _ in range(scaled(15, 150)):
        problem = random_network(rng, n_machines=4, max_layers=4, delays=True)
        costs = problem.compute.copy()
        costs[:, 3] = INF
        if np.isinf(costs).all(axis=1).any() or problem.colocated:
            continue
        problem = problem.with_costs(compute=costs)
        family = load_family(problem, 1)
        rows = naive_sweeps.lines(family)
        for placement, row in rows.items():
            parts = breakdown(problem, placement)
            assert close(parts.value, evaluate(problem, placement))
            if np.isfinite(costs).any(axis=0).sum() == 3:
                assert parts.n_messages == len(parts.sent_tensors)
                assert family.value_line(placement) == pytest.approx(row, rel=1e-9, abs=1e-9)
