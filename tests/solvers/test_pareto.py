"""Fronts against enumeration: exact ones point by point, epsilon-fronts by what they promise."""

import numpy as np
import pytest

from solvers import InfeasibleError, MethodError, Problem, ProblemError, _jit, analyse, evaluate, pareto
from solvers.pareto import pareto_front
from tests import naive_labels
from tests.scale import scaled
from tests.solvers.label_problems import draw_problem, draw_second

INF = float("inf")


@pytest.fixture(autouse=True)
def compiled(monkeypatch):
    monkeypatch.setattr(_jit, "override", "compiled")


def agree(found, wanted):
    return len(found) == len(wanted) and np.allclose(found, wanted, rtol=1e-9, atol=1e-9)


def check(first, second, **options):
    rows = naive_labels.table(first, second)
    if not rows:
        with pytest.raises(InfeasibleError):
            pareto_front(first, second, **options)
        return None
    front = pareto_front(first, second, **options)
    for point in front.points:
        assert point.first == evaluate(first, point.placement)
        assert point.second == evaluate(second, point.placement)
        assert point.first < INF
    values = front.values
    assert (np.diff(values[:, 0]) > 0).all()
    assert (np.diff(values[:, 1]) < 0).all()
    pairs = [row[1] for row in rows]
    if front.exact:
        found = naive_labels.front([tuple(pair) for pair in values.tolist()])
        assert agree(found, naive_labels.front(pairs)), (found, naive_labels.front(pairs))
    for pair in pairs:
        limit = (1 + front.epsilon) * np.array(pair) + 1e-9
        assert (values <= limit).all(axis=1).any(), (pair, values)
    return front


@pytest.mark.parametrize("n_machines", [2, 3, 4])
def test_exact_fronts_equal_enumeration(n_machines):
    rng = np.random.default_rng(41 + n_machines)
    for _ in range(scaled(100 if n_machines == 2 else 30, 1000 if n_machines == 2 else 300)):
        first = draw_problem(rng, n_machines)
        check(first, draw_second(rng, first))


def test_delays_alone_and_visits_alone():
    rng = np.random.default_rng(47)
    for trial in range(scaled(50, 500)):
        first = draw_problem(rng)
        zeros = np.zeros((2, 2))
        second = draw_second(rng, first)
        if trial % 2:
            first, second = first.with_costs(delay=zeros), second.with_costs(delay=zeros)
        check(
            first,
            second,
            analysis=analyse(first) if (np.isinf(first.compute) == np.isinf(second.compute)).all() else None,
        )


def test_epsilon_fronts_keep_their_promise(monkeypatch):
    monkeypatch.setattr(pareto, "THIN_ABOVE", 2)
    rng = np.random.default_rng(53)
    n_thinned, n_refused = 0, 0
    for trial in range(scaled(30, 400)):
        n = 7
        compute = rng.integers(1, 1000, (n, 2)).astype(float)
        tensors = [(v, float(rng.integers(1, 300)), [v + 1]) for v in range(n - 1)]
        links = {"per_byte": [[0, 0.5], [0.2, 0]], "delay": [[0, 90.0], [40.0, 0]] if trial % 2 else None}
        first = Problem.build(compute, tensors, max_server_visits=None, **links)
        second = first.with_costs(compute=rng.integers(1, 1000, (n, 2)).astype(float))
        full = check(first, second)
        for epsilon in (0.05, 0.5):
            try:
                front = check(first, second, epsilon=epsilon, label_limit=full.n_labels - 1)
            except MethodError:
                n_refused += 1
                continue
            assert front.epsilon <= epsilon
            n_thinned += not front.exact
    assert n_thinned > n_refused


def test_a_front_with_hundreds_of_points_is_thinned():
    rng = np.random.default_rng(59)
    n = 24
    compute = rng.uniform(1, 2, (n, 2))
    first = Problem.build(compute, [], max_server_visits=None)
    second = first.with_costs(compute=3.1 - compute + rng.uniform(-0.1, 0.1, (n, 2)))
    exact = pareto_front(first, second)
    assert exact.exact
    assert len(exact.points) > 200
    with pytest.raises(MethodError, match="label_limit"):
        pareto_front(first, second, label_limit=exact.n_labels // 2)
    front = pareto_front(first, second, label_limit=exact.n_labels // 2, epsilon=0.05)
    assert 0 < front.epsilon <= 0.05
    assert len(front.points) < len(exact.points)
    for pair in exact.values:
        assert (front.values <= (1 + front.epsilon) * pair).all(axis=1).any()


def test_plain_and_compiled_agree(monkeypatch):
    rng = np.random.default_rng(61)
    for _ in range(scaled(10, 60)):
        first = draw_problem(rng, int(rng.integers(2, 4)))
        second = draw_second(rng, first)
        fronts = []
        for mode in ("plain", "compiled"):
            monkeypatch.setattr(_jit, "override", mode)
            try:
                fronts.append(pareto_front(first, second).values.tolist())
            except InfeasibleError:
                fronts.append(None)
        assert fronts[0] == fronts[1]


def test_refusals():
    first = Problem.build([[1, 2], [2, 1]], [(0, 1.0, [1])])
    with pytest.raises(ProblemError, match="differ in tensor_producer"):
        pareto_front(first, Problem.build([[1, 2], [2, 1]], [(1, 1.0, [0])]))
    with pytest.raises(ProblemError, match="epsilon"):
        pareto_front(first, first, epsilon=0.0)
    three = Problem.build([[1, 2, 3]], [], delay=1 - np.eye(3), max_server_visits=None)
    with pytest.raises(MethodError, match="2 machines"):
        pareto_front(three, three)
    rng = np.random.default_rng(67)
    compute = rng.normal(0, 1, (20, 2))
    signed = Problem.build(compute, [], max_server_visits=None)
    with pytest.raises(MethodError, match="negative"):
        pareto_front(signed, signed.with_costs(compute=-compute), label_limit=50, epsilon=0.1)
    pinned = Problem.build([[1, INF]], [])
    with pytest.raises(InfeasibleError):
        pareto_front(pinned, pinned.with_costs(compute=[[INF, 1]]))


def test_no_layers_and_one_machine():
    empty = Problem.build(np.zeros((0, 2)), [])
    assert pareto_front(empty, empty).values.tolist() == [[0.0, 0.0]]
    one = Problem.build([[1.0], [2.0]], [(0, 1.0, [1])])
    assert pareto_front(one, one.with_costs(compute=[[3.0], [4.0]])).values.tolist() == [[3.0, 7.0]]
