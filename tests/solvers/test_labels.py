"""The multi-objective elimination itself: sets of labels, their placements, and what cuts may drop."""

import numpy as np
import pytest

from solvers import InfeasibleError, MethodError, Problem, _jit, analyse
from solvers.label_search import cheapest_within
from solvers.labels import Cut, LabelModel
from tests import naive_labels
from tests.scale import scaled
from tests.solvers.label_problems import draw_compute, draw_problem

INF = float("inf")


@pytest.fixture(autouse=True)
def compiled(monkeypatch):
    monkeypatch.setattr(_jit, "override", "compiled")


def draw_objectives(rng, n_objectives, n_machines):
    first = draw_problem(rng, n_machines, delays=False)
    others = [
        first.with_costs(compute=np.where(np.isinf(first.compute), INF, draw_compute(rng, first.compute.shape)))
        for _ in range(n_objectives - 1)
    ]
    return [first, *others]


def undominated(points, tolerance=1e-6):
    """Return the points that no other one is below in every objective by `tolerance` at least in one."""
    points = sorted({tuple(round(value, 7) + 0.0 for value in point) for point in points})
    return [
        p
        for k, p in enumerate(points)
        if not any(
            all(a <= b + tolerance for a, b in zip(q, p, strict=True))
            and (any(a < b - tolerance for a, b in zip(q, p, strict=True)) or j < k)
            for j, q in enumerate(points)
            if j != k
        )
    ]


@pytest.mark.parametrize("n_objectives", [1, 2, 3, 4])
def test_labels_are_the_undominated_totals(n_objectives):
    rng = np.random.default_rng(109 + n_objectives)
    for _ in range(scaled(40, 400)):
        objectives = draw_objectives(rng, n_objectives, int(rng.choice([2, 2, 3])))
        rows = naive_labels.table(*objectives)
        if not rows:
            continue
        analysis = analyse(objectives[0])
        model = LabelModel(analysis.network, analysis.model, objectives)
        labels = model.labels()
        found = undominated([tuple(row) for row in labels.totals.tolist()])
        wanted = undominated([row[1] for row in rows])
        assert len(found) == len(wanted)
        assert np.allclose(found, wanted, atol=1e-6)
        for k in range(len(labels.totals)):
            assert np.allclose(model.totals(labels.placement(k)), labels.totals[k])


def test_cuts_drop_nothing_that_keeps_to_them():
    rng = np.random.default_rng(127)
    for _ in range(scaled(80, 800)):
        objectives = draw_objectives(rng, 3, int(rng.choice([2, 2, 3])))
        rows = naive_labels.table(*objectives)
        if not rows:
            continue
        analysis = analyse(objectives[0])
        model = LabelModel(analysis.network, analysis.model, objectives)
        points = np.array([row[1] for row in rows])
        cuts = []
        for _ in range(int(rng.integers(1, 4))):
            weights = rng.exponential(1.0, 3) * (rng.random(3) < 0.7)
            cuts.append(Cut(tuple(weights.tolist()), float(rng.choice(points @ weights))))
        labels = model.labels(cuts)
        for point in points:
            if all(np.dot(cut.weights, point) <= cut.limit for cut in cuts):
                assert (labels.totals <= point + 1e-9).all(axis=1).any()


def test_completions_are_the_least_totals_through_a_state():
    rng = np.random.default_rng(131)
    for _ in range(scaled(30, 300)):
        objectives = draw_objectives(rng, 2, 2)
        rows = naive_labels.table(*objectives)
        if not rows:
            continue
        for layer in range(objectives[0].n_layers):
            for machine in (0, 1):
                through = [row[1][0] for row in rows if row[0][layer] == machine]
                if not through:
                    continue
                # A limit on the first objective just above or below the least total through this machine.
                least = min(through)
                pinned = objectives[0].compute.copy()
                pinned[layer, 1 - machine] = INF
                there = [p.with_costs(compute=np.where(np.isinf(pinned), INF, p.compute)) for p in objectives]
                own = analyse(there[0])
                own_model = LabelModel(own.network, own.model, there)
                assert len(own_model.labels([Cut((1.0, 0.0), least + 1e-6)]).totals)
                assert not len(own_model.labels([Cut((1.0, 0.0), least - 1e-6)]).totals)
            break


def test_several_limits_at_once():
    rng = np.random.default_rng(137)
    for _ in range(scaled(60, 600)):
        objectives = draw_objectives(rng, int(rng.integers(2, 5)), 2)
        rows = naive_labels.table(*objectives)
        if not rows:
            continue
        points = np.array([row[1] for row in rows])
        tops = [float(np.quantile(points[:, k], rng.uniform(0.2, 0.9))) + 1e-7 for k in range(1, len(objectives))]
        inside = points[(points[:, 1:] <= tops).all(axis=1), 0]
        cutoff = INF if rng.random() < 0.5 else float(rng.choice(points[:, 0])) + 1e-7
        analysis = analyse(objectives[0])
        found = cheapest_within(LabelModel(analysis.network, analysis.model, objectives), tops, cutoff=cutoff)
        assert found.exact
        if len(inside) and inside.min() < cutoff:
            assert found.placement is not None
            assert found.bound <= inside.min() + 1e-9
            value = naive_labels.table(objectives[0])
            assert min(v[1][0] for v in value if v[0] == tuple(found.placement)) == pytest.approx(
                inside.min(), abs=1e-9
            )
        else:
            assert found.placement is None


def test_colocated_contradictions_and_limits():
    contradictory = Problem.build([[1, INF], [INF, 1], [1, 1]], [], max_server_visits=None, colocated=())
    analysis = analyse(contradictory)
    assert len(LabelModel(analysis.network, analysis.model, [contradictory]).labels().totals) == 1
    chain = Problem.build(
        [[1, INF, 1], [1, 1, INF], [INF, 1, 1]], [], max_server_visits=None, colocated=[(0, 1), (1, 2)][:1]
    )
    analysis = analyse(chain)
    assert len(LabelModel(analysis.network, analysis.model, [chain]).labels().totals) == 1
    pinned = Problem.build(
        [[1, INF, 1], [1, 1, INF], [INF, 1, 1]], [], max_server_visits=None, colocated=[(0, 1), (1, 2)]
    )
    analysis = analyse(pinned)
    with pytest.raises(InfeasibleError):
        LabelModel(analysis.network, analysis.model, [pinned]).labels()
    rng = np.random.default_rng(139)
    many = Problem.build(rng.uniform(0, 1, (12, 2)), [], max_server_visits=None)
    other = many.with_costs(compute=1 - many.compute)
    analysis = analyse(many)
    with pytest.raises(MethodError, match="label_limit"):
        LabelModel(analysis.network, analysis.model, [many, other]).labels(label_limit=100)
