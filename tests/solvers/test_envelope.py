"""Envelopes against the matrix of all lines, and the lines of a chain against their placements."""

import numpy as np
import pytest

from solvers import InfeasibleError, MethodError, Problem, ProblemError, _jit, evaluate
from solvers.chain import chain_order
from solvers.envelope import Lines, chain_lines, lower_envelope
from solvers.family import bandwidth_family, delay_family, server_load_family
from tests.scale import scaled
from tests.strategies import random_problem

INF = float("inf")


def assert_like_argmin(lines, thetas, *, exactly):
    best = lower_envelope(lines).best(thetas)
    values = lines.intercepts + lines.slopes * thetas[:, None]
    expected = values.argmin(axis=1)
    rows = np.arange(len(thetas))
    if exactly:
        assert best.tolist() == expected.tolist()
    else:
        scale = np.abs(lines.intercepts).max() + np.abs(lines.slopes).max() * np.abs(thetas)
        assert np.all(values[rows, best] <= values[rows, expected] + 1e-15 * scale)
    assert np.array_equal(lower_envelope(lines).value(thetas), values[rows, best])


@pytest.mark.parametrize("mode", ["plain", "compiled"])
def test_best_is_the_argmin_of_the_matrix(mode, monkeypatch):
    monkeypatch.setattr(_jit, "override", mode)
    rng = np.random.default_rng(1)
    for _ in range(scaled(150, 5000)):
        n = int(rng.integers(1, 30))
        n_points = int(rng.choice([7, 1500])) if rng.random() < 0.05 else 12
        if rng.random() < 0.7:  # whole numbers: parallel, equal and concurrent lines, exact ties
            lines = Lines(rng.integers(-8, 9, n), rng.integers(-4, 5, n), low=-INF)
            assert_like_argmin(lines, rng.integers(-6, 7, n_points) / rng.choice([1.0, 2.0, 4.0]), exactly=True)
        else:
            lines = Lines(rng.normal(size=n), rng.exponential(size=n), low=-INF)
            assert_like_argmin(lines, rng.normal(0, 3, n_points), exactly=False)


@pytest.mark.parametrize("mode", ["plain", "compiled"])
def test_many_points_and_a_full_envelope(mode, monkeypatch):
    monkeypatch.setattr(_jit, "override", mode)
    rng = np.random.default_rng(2)
    k = np.arange(60.0)
    for lines in (
        Lines(k**2, -2 * k, low=-INF),  # tangents of a parabola: all on the envelope, crossings even
        Lines(1.2**k, -(1.1**k), low=-INF),  # crossings crowd at one end
        Lines(k % 7, -(k % 7), low=-INF),  # all through one point
    ):
        thetas = np.concatenate([rng.uniform(-20, 130, 3000), k, k + 0.5, [-1e300, 1e300]])
        assert_like_argmin(lines, thetas, exactly=False)
        whole = np.concatenate([np.arange(-30.0, 140.0)] * 8)
        assert_like_argmin(lines, whole, exactly=lines.intercepts[1] % 1 == 0)


def test_equal_and_parallel_lines_go_to_the_first():
    lines = Lines([5.0, 1.0, 1.0, 2.0], [1.0, 1.0, 1.0, 1.0])
    envelope = lower_envelope(lines)
    assert envelope.order.tolist() == [1]
    assert envelope.best([[0.0, 3.0]]).tolist() == [[1, 1]]
    assert repr(envelope) == "Envelope(1 of 4 lines)"
    assert repr(lines) == "Lines(4 lines, theta from 0 to inf)"
    assert lower_envelope(Lines([1.0], [0.0])).best([]).shape == (0,)


def one_way(problem, path):
    """Enumerate the one-way cuts from their definition: (head, placement) in order of the head."""
    tail_end = len(path)
    while tail_end and problem.compute[path[tail_end - 1], 1] == INF:
        tail_end -= 1
    for head in range(tail_end + 1):
        placement = np.zeros(len(path), dtype=np.int64)
        placement[path[head:tail_end]] = 1
        if evaluate(problem, placement) < INF:
            yield head, placement


def test_chain_lines_are_the_one_way_cuts():
    rng = np.random.default_rng(3)
    n_compared = 0
    for _ in range(scaled(150, 3000)):
        problem = random_problem(rng, kind="chain", max_layers=8)
        if rng.random() < 0.3 and problem.n_layers > 2:
            group = tuple(sorted(rng.permutation(problem.n_layers)[:2].tolist()))
            if np.isfinite(problem.compute[list(group)]).all(axis=0).any():
                fields = [getattr(problem, name) for name in ("compute", "tensor_producer", "tensor_size_bytes")]
                problem = Problem(
                    *fields,
                    *(getattr(problem, name) for name in ("consumer_offsets", "consumer_layers")),
                    *(getattr(problem, name) for name in ("per_tensor", "per_byte", "delay")),
                    max_server_visits=problem.max_server_visits,
                    colocated=(group,),
                    encode=problem.encode,
                    decode=problem.decode,
                )
        try:
            path = chain_order(problem)
        except MethodError:
            continue
        maker = [lambda p: bandwidth_family(p, ratio=1.0), server_load_family, lambda p: delay_family(p, ratio=2.0)]
        family = maker[int(rng.integers(3))](problem)
        expected = list(one_way(family.base, path))
        if not expected:
            with pytest.raises(InfeasibleError, match="no one-way cut"):
                chain_lines(family)
            continue
        cuts = chain_lines(family)
        assert cuts.heads.tolist() == [head for head, _ in expected]
        for line, (_, placement) in enumerate(expected):
            assert cuts.placement(line).tolist() == placement.tolist()
            row = cuts.lines.intercepts[line], cuts.lines.slopes[line]
            assert row == pytest.approx(family.value_line(placement), abs=1e-9)
        n_compared += len(expected)
    assert n_compared > 200


def test_chain_lines_refuse_other_graphs():
    fork = Problem.build([[1, 1]] * 3, [(0, 1.0, [1]), (0, 1.0, [2])], per_byte=[[0, 1], [1, 0]])
    with pytest.raises(MethodError, match="chain takes one path"):
        chain_lines(bandwidth_family(fork))
    three = Problem.build([[1, 1, 1]], [], per_byte=1 - np.eye(3), max_server_visits=None)
    with pytest.raises(MethodError, match="chain_lines takes 2 machines"):
        chain_lines(bandwidth_family(three))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda: Lines([], []), "intercepts have shape"),
        (lambda: Lines([1.0], [1.0, 2.0]), "slopes"),
        (lambda: Lines([float("nan")], [1.0]), "intercepts has an entry nan"),
        (lambda: Lines(["a"], [1.0]), "intercepts is"),
        (lambda: Lines([1.0], [1.0], low=2.0, high=1.0), "hold from 2.0 to 1.0"),
        (lambda: lower_envelope(Lines([1.0], [1.0])).best([float("nan")]), "thetas has an entry nan"),
        (lambda: lower_envelope(Lines([1.0], [1.0])).best([-1.0]), "theta is -1.0; the lines hold from 0.0"),
    ],
)
def test_bad_input_is_named(wrong, words):
    with pytest.raises(ProblemError, match=words):
        wrong()
