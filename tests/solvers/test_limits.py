"""Deadlines and memory limits against enumeration."""

import numpy as np
import pytest

from solvers import InfeasibleError, MethodError, Problem, ProblemError, _jit, analyse, evaluate
from solvers.limits import within_deadline, within_memory
from solvers.pareto import pareto_front
from solvers.pipeline import pipeline_throughput
from tests import naive_labels
from tests.scale import scaled
from tests.solvers.label_problems import draw_problem, draw_second

INF = float("inf")


@pytest.fixture(autouse=True)
def compiled(monkeypatch):
    monkeypatch.setattr(_jit, "override", "compiled")


def draw_deadline(rng, latencies):
    """Draw a deadline: between two latencies, exactly one of them, or out of reach."""
    latencies = sorted(latencies)
    pick = int(rng.integers(len(latencies)) * rng.random())
    style = rng.random()
    if style < 0.4:
        return latencies[pick]
    if style < 0.9:
        return latencies[pick] + rng.exponential(0.5)
    return latencies[0] - 0.01


def outcome(ask, *arguments):
    try:
        return ask(*arguments)
    except InfeasibleError:
        return None


def fits(sizes, placement, tops):
    used = naive_labels.memory_used(sizes, placement, len(tops))
    return all(a <= b * (1 + 1e-12) for a, b in zip(used, tops, strict=True))


def check_deadline(energy, latency, deadline_s, rows, **options):
    close = 1e-9 * (1 + abs(deadline_s))
    values = [row[1][0] for row in rows if row[1][1] <= deadline_s + 1e-12 * abs(deadline_s)]
    loose = [row[1][0] for row in rows if row[1][1] <= deadline_s + close]
    if not loose:
        with pytest.raises(InfeasibleError, match="least possible latency") as error:
            within_deadline(energy, latency, deadline_s, **options)
        if rows:
            least = float(str(error.value).rsplit(" ", 1)[1])
            assert least == pytest.approx(min(row[1][1] for row in rows), rel=1e-4, abs=1e-5)
        return None
    try:
        solution = within_deadline(energy, latency, deadline_s, **options)
    except InfeasibleError:
        assert not values or deadline_s == 0
        return None
    assert solution.value == evaluate(energy, solution.placement)
    assert evaluate(latency, solution.placement) <= deadline_s + close
    assert min(loose) - 1e-9 <= solution.value <= min(values, default=INF) + 1e-9
    return solution


@pytest.mark.parametrize("n_machines", [2, 3, 4])
def test_deadlines_equal_enumeration(n_machines):
    rng = np.random.default_rng(71 + n_machines)
    for _ in range(scaled(100 if n_machines == 2 else 25, 1000 if n_machines == 2 else 250)):
        latency = draw_problem(rng, n_machines)
        energy = draw_second(rng, latency)
        rows = naive_labels.table(energy, latency)
        if not rows:
            with pytest.raises(InfeasibleError):
                within_deadline(energy, latency, 1.0)
            continue
        for _ in range(2):
            solution = check_deadline(energy, latency, draw_deadline(rng, [row[1][1] for row in rows]), rows)
            assert solution is None or (solution.optimal and solution.method == "labels")


@pytest.mark.parametrize("n_machines", [2, 3, 4])
def test_memory_limits_equal_enumeration(n_machines):
    rng = np.random.default_rng(73 + n_machines)
    for _ in range(scaled(100 if n_machines == 2 else 25, 1000 if n_machines == 2 else 250)):
        problem = draw_problem(rng, n_machines)
        sizes = rng.integers(0, 9, problem.n_layers) if rng.random() < 0.5 else rng.exponential(3.0, problem.n_layers)
        sizes = sizes.astype(float)
        tops = [INF if rng.random() < 0.4 else sizes.sum() * rng.uniform(0, 1.0) for _ in range(n_machines)]
        wanted = [row[1][0] for row in naive_labels.table(problem) if fits(sizes, row[0], tops)]
        if not wanted:
            with pytest.raises(InfeasibleError):
                within_memory(problem, sizes, tops)
            continue
        solution = within_memory(problem, sizes, tops, analysis=analyse(problem))
        assert solution.value == pytest.approx(min(wanted), rel=1e-9, abs=1e-9)
        assert solution.optimal
        assert solution.method == "labels"
        assert fits(sizes, solution.placement, tops)


def test_delays_between_three_machines_are_bracketed():
    rng = np.random.default_rng(79)
    for _ in range(scaled(15, 150)):
        problem = draw_problem(rng, 3)
        if problem.narrowed() is not None:
            continue
        delayed = problem.with_costs(delay=rng.uniform(0.1, 1.0, (3, 3)) * (1 - np.eye(3)))
        sizes = rng.exponential(3.0, problem.n_layers)
        tops = [INF, sizes.sum() * 0.5, sizes.sum() * 0.7]
        charged = problem.with_costs(per_tensor=problem.per_tensor + delayed.delay)
        values = [[], []]
        for k, each in enumerate((problem, charged)):
            for row in naive_labels.table(each):
                if fits(sizes, row[0], tops):
                    values[k].append(row[1][0])
        if not values[0]:
            continue
        solution = within_memory(delayed, sizes, tops)
        assert solution.bound == pytest.approx(min(values[0]), abs=1e-9)
        assert solution.value == pytest.approx(min(values[1]), abs=1e-9)


def test_beyond_the_limit_of_labels_the_answer_is_milps_or_a_bound():
    rng = np.random.default_rng(83)
    methods = set()
    for _ in range(scaled(8, 60)):
        latency = draw_problem(rng, 2)
        energy = draw_second(rng, latency)
        rows = naive_labels.table(energy, latency)
        if not rows:
            continue
        deadline_s = draw_deadline(rng, [row[1][1] for row in rows])
        solution = check_deadline(energy, latency, deadline_s, rows, label_limit=0)
        if solution is not None:
            methods.add(solution.method)
            values = [row[1][0] for row in rows if row[1][1] <= deadline_s + 1e-9]
            assert solution.bound <= min(values) + 1e-6
    assert "milp" in methods


def test_what_labels_know_is_kept_when_milp_fails(monkeypatch):
    from solvers import milp

    def fails(*_, **__):
        raise MethodError("the time was up")

    monkeypatch.setattr(milp, "milp_deadline", fails)
    monkeypatch.setattr(milp, "milp_within", fails)
    rng = np.random.default_rng(89)
    n = 12
    energy = Problem.build(rng.uniform(1, 9, (n, 2)), [], max_server_visits=None)
    latency = energy.with_costs(compute=rng.uniform(1, 9, (n, 2)))
    rows = naive_labels.table(energy, latency)
    deadline_s = float(np.quantile([row[1][1] for row in rows], 0.2))
    best = min(row[1][0] for row in rows if row[1][1] <= deadline_s)
    exact = within_deadline(energy, latency, deadline_s)
    assert exact.optimal
    assert exact.value == pytest.approx(best)
    rough = within_deadline(energy, latency, deadline_s, label_limit=1)
    assert rough.method == "lagrangian"
    assert rough.bound <= best + 1e-9 <= rough.value + 2e-9
    assert evaluate(latency, rough.placement) <= deadline_s
    sizes = rng.uniform(1, 9, n)
    rough = within_memory(energy, sizes, [INF, 0.4 * sizes.sum()], label_limit=1)
    exact = within_memory(energy, sizes, [INF, 0.4 * sizes.sum()])
    assert rough.method == "lagrangian"
    assert rough.bound <= exact.value <= rough.value
    with pytest.raises(MethodError, match="the time was up"):
        within_memory(energy, np.full(n, 1.0), [5.5, 6.5], label_limit=0)


def test_machines_that_nothing_may_use_do_not_count():
    rng = np.random.default_rng(149)
    for _ in range(scaled(15, 150)):
        two = draw_problem(rng, 2)
        fields = [*Problem.__match_args__[:8], "encode", "decode"]
        two = Problem(**{name: getattr(two, name) for name in fields}, max_server_visits=None)
        energy = draw_second(rng, two)
        at = np.ix_([0, 2], [0, 2])
        wide = []
        for each in (two, energy):
            compute = np.full((two.n_layers, 3), INF)
            compute[:, [0, 2]] = each.compute
            links = {}
            for name in ("per_tensor", "per_byte", "delay"):
                links[name] = 1.0 - np.eye(3)
                links[name][at] = getattr(each, name)
            for name in ("encode", "decode"):
                links[name] = np.ones((two.n_tensors, 3))
                links[name][:, [0, 2]] = getattr(each, name)
            arrays = {name: getattr(two, name) for name in Problem.__match_args__[1:5]}
            wide.append(Problem(compute=compute, **arrays, **links, max_server_visits=None))
        sizes = rng.uniform(0, 1, two.n_layers)
        tops = [0.6 * sizes.sum(), 0.0, INF]
        deadline_s = float(np.median([row[1][1] for row in naive_labels.table(energy, two)]))
        pairs = [
            (outcome(within_memory, two, sizes, [tops[0], INF]), outcome(within_memory, wide[0], sizes, tops)),
            (outcome(within_deadline, energy, two, deadline_s), outcome(within_deadline, wide[1], wide[0], deadline_s)),
            (outcome(pipeline_throughput, two), outcome(pipeline_throughput, wide[0])),
        ]
        for wanted, found in pairs:
            assert (wanted is None) == (found is None)
            if wanted is not None:
                assert (found.value, found.bound) == (wanted.value, wanted.bound)
                assert (found.placement == 2 * wanted.placement).all()
        fronts = [pareto_front(a, b).values.tolist() for a, b in ((two, energy), tuple(wide))]
        assert fronts[0] == fronts[1]


def test_refusals():
    problem = Problem.build([[1, 2], [2, 1]], [(0, 1.0, [1])], layer_names=("a", "b"))
    with pytest.raises(ProblemError, match="deadline_s is nan"):
        within_deadline(problem, problem, float("nan"))
    assert within_deadline(problem, problem, INF).value == 2.0
    with pytest.raises(InfeasibleError, match="-inf"):
        within_deadline(problem, problem, -INF)
    three = Problem.build([[1, 2, 3]], [], delay=1 - np.eye(3), max_server_visits=None)
    with pytest.raises(MethodError, match="2 machines"):
        within_deadline(three, three, 1.0)
    with pytest.raises(ProblemError, match=r"layer 'b' has -1\.0 bytes"):
        within_memory(problem, [1, -1], [1, 1])
    with pytest.raises(ProblemError, match="give \\(2,\\)"):
        within_memory(problem, [1], [1, 1])
    with pytest.raises(ProblemError, match="limits is"):
        within_memory(problem, [1, 1], [1, -2])
    with pytest.raises(ProblemError, match="not an array"):
        within_memory(problem, ["x", 1], [1, 1])


def test_one_machine():
    one = Problem.build([[1.0], [2.0]], [(0, 1.0, [1])])
    assert within_memory(one, [1, 1], [2]).value == 3.0
    assert within_deadline(one, one, 3.0).value == 3.0
    with pytest.raises(InfeasibleError):
        within_memory(one, [1, 1], [1])
    with pytest.raises(InfeasibleError, match="least possible latency is 3"):
        within_deadline(one, one, 2.0)
