"""Breakpoints of every family against the enumeration of all placements' lines; sweeps, margins, brackets."""

from itertools import pairwise

import numpy as np
import pytest

import solvers
from solvers import MethodError, Problem, ProblemError, Solution, evaluate
from solvers.family import (
    Family,
    bandwidth_family,
    delay_family,
    device_load_family,
    load_family,
    seconds_per_byte,
    server_load_family,
    weighted_family,
)
from solvers.objectives import Power
from solvers.parametric import breakpoints
from solvers.sweeps import margin, refine, sweep
from tests import naive_sweeps
from tests.scale import scaled
from tests.strategies import random_coding, random_compute, random_problem

INF = float("inf")
POWER = Power.of_device(compute=2.0, send=1.3, receive=0.9, idle=0.4)


def second_objective(rng, problem):
    costs = np.abs(random_compute(rng, problem.n_layers))
    return problem.with_costs(
        compute=np.where(np.isfinite(problem.compute), costs, INF), delay=2 * problem.delay, decode=2 * problem.decode
    )


FAMILIES = {
    "bandwidth": lambda rng, p: bandwidth_family(p, ratio=float(rng.choice([0.0, 0.5, 1.0, 3.0]))),
    "uplink": lambda rng, p: bandwidth_family(p, scaled="uplink"),
    "downlink": lambda rng, p: bandwidth_family(p, scaled="downlink", overhead_per_byte=p.per_byte / 2),
    "energy": lambda rng, p: bandwidth_family(p, ratio=1.0).in_joules(POWER),
    "delay": lambda rng, p: delay_family(p, ratio=float(rng.choice([0.5, 1.0]))),
    "one delay": lambda rng, p: delay_family(p, scaled=(1, 0)),
    "server load": lambda rng, p: server_load_family(p),
    "device load": lambda rng, p: device_load_family(p),
    "device load energy": lambda rng, p: device_load_family(p).in_joules(POWER),
    "weighted": lambda rng, p: weighted_family(p, second_objective(rng, p)),
}


def assert_exact(family, found, low, high):
    rows = list(naive_sweeps.lines(family).values())
    expected = naive_sweeps.envelope(rows, low, high)
    scale = 1 + max(abs(a) + abs(b) * max(abs(low), abs(high)) for a, b in rows)
    assert found.proven
    assert found.low == low
    assert found.high == high
    grid = np.array([*np.linspace(low, high, 9), *found.thetas])
    for theta, value in zip(grid, found.values_at(grid), strict=True):
        assert value == pytest.approx(naive_sweeps.least(rows, theta), abs=1e-11 * scale)
    for segment in found.segments:
        placement = segment.solution.placement
        assert (segment.intercept, segment.slope) == pytest.approx(family.value_line(placement), abs=1e-11 * scale)
        for theta in (segment.theta_low, segment.theta_high):
            assert segment.value(theta) == pytest.approx(evaluate(family.at(theta), placement), abs=1e-11 * scale)
        assert segment.solution.value == pytest.approx(segment.value(segment.solved_at), abs=1e-11 * scale)
    clear = [row for row in expected if row[1] - row[0] > 1e-6 * (high - low)]
    if len(clear) == len(expected) and all(before[3] - after[3] > 1e-6 for before, after in pairwise(clear)):
        assert len(found.segments) == len(expected)
        assert found.thetas == pytest.approx([float(row[0]) for row in expected[1:]], rel=1e-6, abs=1e-6)
    assert found.n_solves <= max(2, 2 * naive_sweeps.n_touching(rows, low, high) - 1)
    return len(expected)


@pytest.mark.parametrize("kind", FAMILIES)
def test_every_optimum_and_where_it_changes(kind):
    rng = np.random.default_rng(list(FAMILIES).index(kind))
    n_several = 0
    for _ in range(scaled(160, 2500)):
        problem = random_problem(rng, max_layers=7)
        family = FAMILIES[kind](rng, problem)
        low = float(rng.choice([0.0, 0.0, 0.1]))
        high = low + float(rng.choice([1.0, 8.0, 100.0]))
        if not naive_sweeps.lines(family):
            with pytest.raises(solvers.InfeasibleError):
                breakpoints(family, low, high)
            continue
        n_several += assert_exact(family, breakpoints(family, low, high), low, high) > 1
    assert n_several >= (3 if kind in ("downlink", "one delay") else 10)


def test_more_machines():
    rng = np.random.default_rng(5)
    n_several = 0
    for _ in range(scaled(40, 1000)):
        n = int(rng.integers(2, 6))
        compute = rng.exponential(1.0, (n, 3)) * [3.0, 1.0, 0.2]
        compute[0], compute[-1] = (0, INF, INF), (0, INF, INF)
        tensors = [(v, float(rng.exponential(1.0)), list(range(v + 1, min(n, v + 3)))) for v in range(n - 1)]
        links = rng.uniform(0.1, 1.0, (3, 3))
        np.fill_diagonal(links, 0.0)
        coding = random_coding(rng, len(tensors), 3)
        problem = Problem.build(compute, tensors, per_byte=links, max_server_visits=None, **coding)
        family = [bandwidth_family(problem), bandwidth_family(problem, scaled=(1, 2)), load_family(problem, 2)][
            int(rng.integers(3))
        ]
        n_several += assert_exact(family, breakpoints(family, 0.0, 5.0), 0.0, 5.0) > 1
    assert n_several >= 10


def test_each_step_of_a_long_chain_of_optima():
    # Cut k costs k^2 + (20 - k)^2 * theta: each of them is the best somewhere.
    n = 20
    steps = [2 * k + 1 for k in range(n)]
    compute = [[0.0, INF], *([step, 0.0] for step in steps)]
    sizes = [float((n - k) ** 2) for k in range(n)]
    tensors = [(k, sizes[k], [k + 1]) for k in range(n)]
    family = bandwidth_family(Problem.build(compute, tensors, per_byte=[[0, 1], [1e6, 0]]))
    found = breakpoints(family, 0.0, 50.0)
    assert len(found.segments) == n + 1
    assert found.n_solves <= 2 * (n + 1) - 1
    assert found.thetas == pytest.approx([(2 * k + 1) / (2 * (n - k) - 1) for k in range(n)])
    with pytest.raises(MethodError, match="max_segments=5"):
        breakpoints(family, 0.0, 50.0, max_segments=5)
    assert breakpoints(family, 3.0, 3.0).n_solves == 1


def test_one_optimum_takes_two_solves():
    problem = Problem.build([[1, 5], [1, 5]], [(0, 1.0, [1])], per_byte=[[0, 1], [1, 0]])
    found = breakpoints(bandwidth_family(problem), 0, 10)
    assert (found.n_solves, len(found.segments)) == (2, 1)
    assert found.thetas.shape == (0,)


def test_negative_theta_and_ranges_that_price_transfers_below_zero():
    problem = Problem.build([[2, 1]], [])
    assert breakpoints(server_load_family(problem), -1.0, 3.0).values_at([-1.0, 1.0, 3.0]).tolist() == [-1.0, 1.0, 2.0]
    linked = Problem.build([[2, 1], [2, 1]], [(0, 1.0, [1])], per_byte=[[0, 1], [1, 0]])
    with pytest.raises(ProblemError, match=r"at theta = -1\.0 per_byte has a negative entry"):
        breakpoints(bandwidth_family(linked), -1.0, 1.0)


def loose(family):
    """A solver that tries few placements and proves no more than a margin of 0.5 below the optimum."""
    rows = naive_sweeps.lines(family)
    tried = list(rows)[::3] or list(rows)

    def solver(problem):
        least = min(evaluate(problem, placement) for placement in rows)
        placement = min(tried, key=lambda placement: evaluate(problem, placement))
        return Solution.of(problem, np.array(placement), "loose", bound=least - 0.5)

    return solver, rows


def test_unproven_segments_say_by_how_much():
    rng = np.random.default_rng(3)
    for _ in range(scaled(60, 1000)):
        family = bandwidth_family(random_problem(rng, max_layers=6), ratio=1.0)
        if not naive_sweeps.lines(family):
            continue
        solver, rows = loose(family)
        found = breakpoints(family, 0.0, 4.0, solver=solver)
        assert not found.proven
        assert [s.theta_high for s in found.segments[:-1]] == [s.theta_low for s in found.segments[1:]]
        for segment in found.segments:
            for theta in np.linspace(segment.theta_low, segment.theta_high, 7):
                least = naive_sweeps.least(rows.values(), theta)
                assert least - 1e-9 <= segment.value(theta) <= least + segment.gap + 1e-9


def test_sweep_in_any_order():
    rng = np.random.default_rng(11)
    for _ in range(scaled(30, 300)):
        family = bandwidth_family(random_problem(rng, max_layers=6), ratio=1.0)
        rows = list(naive_sweeps.lines(family).values())
        if not rows:
            continue
        thetas = seconds_per_byte(rng.uniform(0.1, 20.0, 15))
        swept = sweep(family, thetas)
        for point, theta in enumerate(thetas):
            assert swept.values[point] == pytest.approx(naive_sweeps.least(rows, theta), rel=1e-9, abs=1e-9)
            assert evaluate(family.at(theta), swept.placement(point)) == pytest.approx(swept.values[point], abs=1e-9)
    assert "placements" in repr(swept)


def test_margin_in_bandwidth():
    chain = Problem.build(
        [[0, INF], [4, 1], [4, 1], [0, INF]],
        [(0, 3.0, [1]), (1, 1.0, [2]), (2, 0.5, [3])],
        per_byte=[[0, 1], [1, 0]],
    )
    found = breakpoints(bandwidth_family(chain), 0, 10)
    inside = margin(found, 1.75)
    assert (inside.segment, inside.theta_low, inside.theta_high) == (1, 1.5, 2.0)
    assert (inside.bandwidth_low, inside.bandwidth_high) == pytest.approx((1 / 2, 1 / 1.5))
    assert inside.changes_low
    assert inside.changes_high
    first = margin(found, 1.0)
    assert (first.theta_low, first.bandwidth_high, first.changes_low) == (0.0, INF, False)
    assert repr(first) == "Margin(1 in at least [0, 1.5])"
    assert margin(found, 1.5).segment == 0  # a breakpoint belongs to the segment before it
    with pytest.raises(ProblemError, match="theta is 11"):
        margin(found, 11.0)


def test_brackets_by_bisection():
    family = bandwidth_family(Problem.build([[0, INF], [4, 1]], [(0, 2.0, [1])], per_byte=[[0, 1], [1, 0]]))

    def within_deadline(theta):
        if theta > 3.0:
            raise solvers.InfeasibleError("too late")
        return solvers.solve(family.at(theta))

    seen = refine(within_deadline, 0.0, 4.0, tolerance=1e-3, n_start=5)
    assert seen.complete
    assert len(seen.brackets) == 2
    for (left, right), change in zip(seen.brackets, (1.5, 3.0), strict=True):
        assert left <= change <= right <= left + 1e-3
    assert seen.solutions[-1] is None
    assert list(seen.thetas) == sorted(seen.thetas)
    few = refine(within_deadline, 0.0, 4.0, tolerance=1e-3, n_start=2, max_solves=4)
    assert not few.complete
    assert len(few.thetas) == 4


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda f: breakpoints(f, 2.0, 1.0), "reversed: low is 2.0, high is 1.0"),
        (lambda f: breakpoints(f, 0.0, float("nan")), "high is nan"),
        (lambda f: breakpoints(f, 0.0, INF), "theta is inf"),
        (lambda f: breakpoints(f, 0.0, 1.0, max_segments=0), "max_segments is 0"),
        (lambda f: breakpoints(f, 0.0, 1e308), "more than float64 holds"),
        (lambda f: f.at(float("nan")), "theta is nan"),
        (lambda f: sweep(f, []), "thetas have shape"),
        (lambda f: sweep(f, [1.0, float("nan")]), "thetas has an entry nan"),
        (lambda f: seconds_per_byte([1.0, 0.0]), "a bandwidth is 0.0"),
        (lambda f: seconds_per_byte(float("nan")), "a bandwidth is nan"),
        (lambda f: seconds_per_byte(1e-320), "too little to invert"),
        (lambda f: seconds_per_byte("fast"), "give bytes per second"),
        (lambda f: refine(None, 1.0, 1.0, tolerance=1.0), "the range is 1.0 to 1.0"),
        (lambda f: refine(None, 0.0, 1.0, tolerance=0.0), "tolerance is 0.0"),
        (lambda f: refine(None, 0.0, 1.0, tolerance=1.0, n_start=1), "n_start is 1"),
        (lambda f: bandwidth_family(f.base, scaled="both"), "scaled is 'both'"),
        (lambda f: bandwidth_family(f.base, scaled=(0, 2)), r"scaled is \(0, 2\)"),
        (lambda f: bandwidth_family(f.base, ratio=-1.0), "ratio is -1.0"),
        (lambda f: bandwidth_family(f.base, scaled="uplink", ratio=1.0), "a ratio needs"),
        (lambda f: bandwidth_family(f.base), "per_byte from machine 0 to 1 is 0"),
        (lambda f: bandwidth_family(f.base, overhead_per_byte=[[0, 1], [1, 0]]), "more than per_byte itself"),
        (lambda f: delay_family(Problem.build([[1]], [], max_server_visits=None)), "no link"),
        (lambda f: load_family(f.base, 2), "machine is 2"),
        (lambda f: server_load_family(Problem.build([[1]], [])), "takes 2 machines, the problem has 1"),
        (lambda f: Family(f.base, Problem.build([[1, 1]], [])), "differ in tensor_producer"),
        (lambda f: Family(f.base, f.base.with_costs(compute=[[INF, 0], [0, 0]])), "the slope forbids layer 0"),
        (lambda f: Family(f.base, Problem.build(f.base.compute, [(0, 2.0, [1])])), "differ in tensor_size_bytes"),
    ],
)
def test_bad_input_is_named(wrong, words):
    problem = Problem.build([[1, 2], [3, 1]], [(0, 1.0, [1])], per_byte=[[0, 1], [1, 0]])
    with pytest.raises(solvers.SolverError, match=words):
        wrong(bandwidth_family(problem))


def test_what_families_share_and_show():
    problem = Problem.build([[1, 2], [3, 1]], [(0, 1.0, [1])], per_byte=[[0, 1], [1, 0]], delay=[[0, 1], [1, 0]])
    family = bandwidth_family(problem)
    at = family.at(0.5)
    assert at.graph is problem.graph
    assert at.compute is problem.compute
    assert at.per_byte.tolist() == [[0, 0.5], [0.5, 0]]
    assert not at.per_byte.flags.writeable
    assert repr(family) == "Family(Problem(2 layers, 1 tensors, 2 machines), theta in per_byte)"
    assert family.value_line([0, 1]) == (1 + 1 + 1, 1.0)
    blocked = bandwidth_family(problem.with_costs(compute=[[0, INF], [3, 1]]))
    assert blocked.value_line([1, 1]) == (INF, 0.0)
