"""The best fixed cut under uncertainty against judging every placement on every sample."""

import numpy as np
import pytest

from solvers import InfeasibleError, MethodError, Problem, ProblemError, Solution, solve
from solvers.envelope import Lines, chain_lines
from solvers.family import bandwidth_family
from solvers.parametric import breakpoints
from solvers.uncertainty import (
    Distribution,
    best_expected,
    best_for_deadline,
    best_quantile,
    minimax_regret,
    optimal_probabilities,
    regrets,
    value_of_adapting,
)
from tests import naive_sweeps
from tests.scale import scaled
from tests.strategies import random_problem


def cases(seed, count):
    """Yield (family, all placements' lines, distribution, known breakpoints) of random problems."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        family = bandwidth_family(random_problem(rng, max_layers=6), ratio=1.0)
        rows = list(naive_sweeps.lines(family).values())
        if not rows:
            continue
        n = int(rng.integers(1, 12))
        thetas = rng.exponential(1.0, n) + 0.01
        if rng.random() < 0.3:
            thetas[:] = rng.choice(thetas, n)
        weights = rng.integers(0, 4, n).astype(float) + (np.arange(n) == 0)
        known = breakpoints(family, 0.0, 12.0)
        yield rng, rows, thetas, weights, Distribution.of_thetas(thetas, weights=weights), known


def test_expected_quantile_and_deadline():
    n_deadlines = 0
    for rng, rows, thetas, weights, distribution, known in cases(1, scaled(120, 3000)):
        segments = [(s.intercept, s.slope) for s in known.segments]
        scale = 1e-9 * (1 + max(abs(a) + 12 * b for a, b in rows))
        chosen = best_expected(known, distribution)
        assert chosen.value == pytest.approx(min(naive_sweeps.expected(r, thetas, weights) for r in rows), abs=scale)
        assert chosen.value == pytest.approx(naive_sweeps.expected(segments[chosen.line], thetas, weights), abs=scale)

        q = float(rng.choice([0.05, 0.5, 0.9, 1.0]))
        chosen = best_quantile(known, distribution, q)
        least = min(naive_sweeps.quantile(row, thetas, weights, q) for row in rows)
        assert chosen.value == pytest.approx(least, abs=scale)
        own = naive_sweeps.quantile(segments[chosen.line], thetas, weights, q)
        assert own == pytest.approx(least, abs=scale)

        # Off the lines' values at the samples, where rounding would decide.
        deadline = naive_sweeps.least(rows, float(rng.uniform(0, 3))) + float(rng.uniform(1e-6, 1e-5))
        chances = [naive_sweeps.chance(row, thetas, weights, deadline) for row in rows]
        if deadline < naive_sweeps.least(rows, thetas.min()):
            with pytest.raises(InfeasibleError, match="no cut meets the deadline"):
                best_for_deadline(known, distribution, deadline)
            continue
        n_deadlines += 1
        chosen = best_for_deadline(known, distribution, deadline)
        assert chosen.value == pytest.approx(max(chances), abs=1e-12)
        own = naive_sweeps.chance(segments[chosen.line], thetas, weights, deadline)
        assert own == pytest.approx(max(chances), abs=1e-12)
    assert n_deadlines > 40


def test_chances_of_being_best_and_the_value_of_adapting():
    for _, rows, thetas, weights, distribution, known in cases(2, scaled(100, 2000)):
        scale = 1e-9 * (1 + max(abs(a) + 12 * b for a, b in rows))
        shares = optimal_probabilities(known, distribution)
        assert shares.sum() == pytest.approx(1.0)
        for segment, share in zip(known.segments, shares, strict=True):
            inside = (thetas > segment.theta_low) & (thetas < segment.theta_high)
            touched = (thetas >= segment.theta_low) & (thetas <= segment.theta_high)
            total = weights.sum()
            assert weights[inside].sum() / total - 1e-9 <= share <= weights[touched].sum() / total + 1e-9
        adapted = sum(w * naive_sweeps.least(rows, x) for x, w in zip(thetas, weights, strict=True)) / weights.sum()
        fixed = min(naive_sweeps.expected(row, thetas, weights) for row in rows)
        assert value_of_adapting(known, distribution) == pytest.approx(fixed - adapted, abs=scale)


def test_regret_is_largest_at_an_end_and_bounded():
    n_proven = 0
    for rng, rows, _, _, _, known in cases(3, scaled(120, 3000)):
        low = float(rng.uniform(0, 2))
        high = low + float(rng.uniform(0.01, 8))
        scale = 1e-9 * (1 + max(abs(a) + 12 * b for a, b in rows))
        all_lines = np.array(rows)
        every = regrets(known, low, high, intercepts=all_lines[:, 0], slopes=all_lines[:, 1])
        for k in rng.permutation(len(rows))[:3]:
            assert every[k] == pytest.approx(naive_sweeps.regret(rows[k], rows, low, high), abs=scale)
        chosen = minimax_regret(known, low, high)
        assert chosen.regret == pytest.approx(regrets(known, low, high).min(), abs=scale)
        assert chosen.bound <= every.min() + scale
        assert every.min() <= chosen.regret + scale
        assert chosen.regret <= 2 * chosen.bound + scale
        n_proven += chosen.optimal
        complete = minimax_regret(Lines(all_lines[:, 0], all_lines[:, 1]), low, high)
        assert complete.regret == pytest.approx(every.min(), abs=scale)
    assert n_proven > 0


def test_the_least_regret_may_belong_to_a_cut_that_is_best_nowhere():
    envelope = Lines([0.0, 10.0], [10.0, -10.0])
    alone = minimax_regret(envelope, 0.0, 1.0)
    assert (alone.line, alone.regret, alone.bound, alone.optimal) == (0, 10.0, 5.0, False)
    scanned = minimax_regret(Lines([0.0, 10.0, 6.0], [10.0, -10.0, 0.0]), 0.0, 1.0)
    assert (scanned.line, scanned.regret, scanned.bound) == (2, 6.0, 5.0)


def test_the_cuts_of_a_chain():
    rng = np.random.default_rng(4)
    device = rng.exponential(1.0, 12)
    compute = [[0, np.inf], *([cost, 0.1 * cost] for cost in device), [0, np.inf]]
    # Falling sizes and a faster server: returning to the device before the end cannot pay.
    tensors = [(v, 10.0 * 0.7**v, [v + 1]) for v in range(13)]
    family = bandwidth_family(Problem.build(compute, tensors, per_byte=[[0, 1], [1, 0]], delay=[[0, 0.2], [0.2, 0]]))
    cuts, known = chain_lines(family), breakpoints(family, 0.0, 10.0)
    distribution = Distribution.of_bandwidths(rng.uniform(0.2, 5.0, 50))
    one, other = best_expected(cuts, distribution), best_expected(known, distribution)
    assert one.value == pytest.approx(other.value)
    assert cuts.placement(one.line).tolist() == known.segments[other.line].solution.placement.tolist()
    assert minimax_regret(cuts, 0.0, 10.0).regret <= minimax_regret(known, 0.0, 10.0).regret + 1e-12


def test_the_mean_is_of_one_over_bandwidth():
    distribution = Distribution.of_bandwidths([1.0, 4.0])
    assert distribution.mean == 0.625
    assert (distribution.quantile(0.5), distribution.quantile(0.51)) == (0.25, 1.0)
    assert Distribution.of_thetas(np.arange(1, 11)).quantile(0.3) == 3.0
    assert repr(distribution) == "Distribution(2 samples, 0.25 to 1)"


def test_what_is_not_proven_is_refused():
    rng = np.random.default_rng(6)
    family = bandwidth_family(random_problem(rng, kind="chain", max_layers=4), ratio=1.0)

    def loose(problem):
        solution = solve(problem)
        return Solution.of(problem, solution.placement, "loose", bound=solution.value - 1)

    known = breakpoints(family, 0.0, 1.0, solver=loose)
    distribution = Distribution.of_thetas([0.5])
    with pytest.raises(MethodError, match="not all proven"):
        best_expected(known, distribution)
    assert best_expected(known.lines, distribution).value == pytest.approx(solve(family.at(0.5)).value)


LINES = Lines([1.0, 2.0], [3.0, 1.0], high=5.0)
ONE = Distribution.of_thetas([1.0])


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda: Distribution.of_thetas([]), "samples have shape"),
        (lambda: Distribution.of_thetas([1.0, float("nan")]), "samples has an entry nan"),
        (lambda: Distribution.of_bandwidths([1.0, 0.0]), "a bandwidth is 0.0"),
        (lambda: Distribution.of_thetas([1.0], weights=[1.0, 2.0]), "weights have shape"),
        (lambda: Distribution.of_thetas([1.0, 2.0], weights=[1.0, -1.0]), "give weights >= 0"),
        (lambda: Distribution.of_thetas([1.0], weights=[0.0]), "the weights add up to 0.0"),
        (lambda: ONE.quantile(0.0), "q is 0.0"),
        (lambda: best_quantile(LINES, ONE, 1.5), "q is 1.5"),
        (lambda: best_expected(LINES, Distribution.of_thetas([6.0])), "theta is 6.0; the lines hold"),
        (lambda: best_for_deadline(LINES, ONE, float("nan")), "deadline is nan"),
        (lambda: minimax_regret(LINES, 2.0, 1.0), "the interval is reversed"),
        (lambda: regrets(LINES, 0.0, 6.0), "theta is 6.0"),
    ],
)
def test_bad_input_is_named(wrong, words):
    with pytest.raises(ProblemError, match=words):
        wrong()


def test_falling_lines_are_refused():
    with pytest.raises(MethodError, match="line 1 falls with theta"):
        best_quantile(Lines([1.0, 2.0], [3.0, -1.0]), ONE, 0.5)
    with pytest.raises(MethodError, match="line 0 falls"):
        best_for_deadline(Lines([1.0], [-1.0]), ONE, 2.0)
