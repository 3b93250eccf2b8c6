"""The Pareto front of two objectives: every undominated pair of values, or all of them within an epsilon."""

from dataclasses import dataclass

import numpy as np

from solvers._arrays import FloatArray, IntArray, read_only
from solvers._checks import real
from solvers.analysis import Analysis, analyse
from solvers.errors import InfeasibleError, MethodError, ProblemError
from solvers.evaluation import delay_cost, delay_free_value, evaluate, stages
from solvers.label_search import common_pins
from solvers.labels import LABEL_LIMIT, LabelModel, Labels
from solvers.problem import Problem
from solvers.visits import device_only, highest_stage_allowed

THIN_ABOVE = 32
"""Sets of so few labels are kept whole: it spends no part of epsilon where nothing is to be gained."""


@dataclass(frozen=True, slots=True, eq=False)
class Point:
    """One placement and what it costs in both objectives.

    Attributes
    ----------
    first, second : float
        From `evaluate`.
    placement : (n_layers,) int64
        Machines, read-only.
    """

    first: float
    second: float
    placement: IntArray

    def __repr__(self) -> str:
        return f"Point({self.first:.6g}, {self.second:.6g})"


@dataclass(frozen=True, slots=True, eq=False)
class Front:
    """Undominated points by rising first and falling second value, and how complete they are.

    Attributes
    ----------
    points : tuple of Point
    epsilon : float
        For every placement some point is at most 1 + epsilon times as large in both values.
    n_labels : int
        How many the largest elimination held.
    """

    points: tuple[Point, ...]
    epsilon: float
    n_labels: int

    @property
    def exact(self) -> bool:
        """Whether every undominated pair of values is there."""
        return self.epsilon == 0.0

    @property
    def values(self) -> FloatArray:
        """The pairs of values, (n_points, 2) float64."""
        return np.array([(point.first, point.second) for point in self.points], dtype=np.float64).reshape(-1, 2)

    def __repr__(self) -> str:
        return f"Front({len(self.points)} points, {'exact' if self.exact else f'within {self.epsilon:.3g}'})"


def pareto_front(
    first: Problem,
    second: Problem,
    *,
    label_limit: int = LABEL_LIMIT,
    epsilon: float | None = None,
    analysis: Analysis | None = None,
) -> Front:
    """Return the undominated (first, second) values, each with a placement.

    Parameters
    ----------
    first, second : Problem
        Two costs on one graph, such as latency and energy; both problems' restrictions hold.
    label_limit : int
        Labels that one elimination may hold.
    epsilon : float, optional
        > 0: what to allow if the exact front passes `label_limit`. Costs must then be >= 0.
    analysis : Analysis, optional
        From `analyse`, of any problem with the same graph and pins.

    Returns
    -------
    Front
        Exact, or within its `epsilon`, which is at most the one allowed.

    Raises
    ------
    MethodError
        More than two machines and delays; too wide for elimination; too many labels and no epsilon, or one that is
        too small; negative costs and an epsilon that is needed.
    InfeasibleError
        No placement.
    ProblemError
        The problems differ in more than costs, or epsilon is not positive.

    Notes
    -----
    The front has 2^n points in the worst case. Of several placements with one pair of values the first found stays.
    See docs/pareto.md.

    Examples
    --------
    >>> seconds = Problem.build([[4, 1], [2, 1]], [], max_server_visits=None)
    >>> joules = seconds.with_costs(compute=[[1, 5], [2, 2]])
    >>> pareto_front(seconds, joules).points
    (Point(2, 7), Point(5, 3))
    """
    if epsilon is not None and not 0 < real("epsilon", epsilon) < np.inf:
        raise ProblemError(f"epsilon is {epsilon!r}; give a finite number > 0, or None for the exact front alone")
    first, second = common_pins(first, second)
    if first.n_machines > 2:
        # Both allow the same machines, so either both have some that nothing may use, or neither has.
        narrow, narrow_second = first.narrowed(), second.narrowed()
        if narrow is not None and narrow_second is not None:
            front = pareto_front(narrow[0], narrow_second[0], label_limit=label_limit, epsilon=epsilon)
            wide = (Point(p.first, p.second, read_only(narrow[1][p.placement])) for p in front.points)
            return Front(tuple(wide), front.epsilon, front.n_labels)
    delays = bool(first.delay.any() or second.delay.any())
    if delays and first.n_machines > 2:
        raise MethodError(
            f"fronts with delays are for 2 machines, the problem has {first.n_machines}; leave the delays out of both"
        )
    if analysis is None:
        analysis = analyse(first)
    else:
        analysis.require(first)
    search = _Search(first, second, label_limit, epsilon)
    free = LabelModel(analysis.network, analysis.model, (first, second))
    if first.n_machines != 2 or (not delays and first.max_server_visits is None):
        search.add(search.labels(free))
    else:
        _over_stages(search, analysis, free)
    points = search.front()
    if not points:
        raise InfeasibleError(
            f"no placement satisfies the layers' allowed machines with max_server_visits={first.max_server_visits}; "
            "allow more visits or lift a restriction"
        )
    return Front(points, search.epsilon, search.n_labels)


class _Search:
    """Candidates for the front so far, and how they were found."""

    def __init__(self, first: Problem, second: Problem, label_limit: int, allowed: float | None) -> None:
        self.first, self.second, self.label_limit, self.allowed = first, second, label_limit, allowed
        self.epsilon = 0.0
        self.n_labels = 0
        self.candidates: list[Point] = []

    def labels(self, model: LabelModel) -> Labels:
        """Return all undominated labels of a model, or enough of them for the epsilon allowed."""
        try:
            found = model.labels(label_limit=self.label_limit)
        except MethodError as refusal:
            if self.allowed is None:
                raise
            found = self._thinned(model, refusal)
        self.n_labels = max(self.n_labels, found.n_labels)
        return found

    def _thinned(self, model: LabelModel, refusal: MethodError) -> Labels:
        """Try ever finer roundings until those that a label went through stay within the epsilon allowed."""
        allowed = self.allowed or 0.0
        if any(bool(np.any(problem.compute < 0)) for problem in (self.first, self.second)):
            raise MethodError(f"{refusal}; an epsilon is for costs >= 0, and some are negative") from None
        n_roundings = 8
        while True:
            delta = float(np.expm1(np.log1p(allowed) / n_roundings))
            try:
                found = model.labels(label_limit=self.label_limit, delta=delta, thin_above=THIN_ABOVE)
            except MethodError:
                raise MethodError(
                    f"labels pass their limit of {self.label_limit:,} with epsilon {allowed:g} as well; raise either"
                ) from None
            if found.thinned <= n_roundings:
                self.epsilon = max(self.epsilon, float(np.expm1(found.thinned * np.log1p(delta))))
                return found
            n_roundings = min(4 * n_roundings, max(found.thinned, n_roundings + 1))

    def add(self, labels: Labels) -> None:
        """Take the placements of labels as candidates."""
        for index in range(len(labels.totals)):
            self.add_placement(labels.placement(index))

    def add_placement(self, placement: IntArray) -> None:
        """Take one placement as a candidate, unless it asks the server too often."""
        value = evaluate(self.first, placement)
        if value < np.inf:
            self.candidates.append(Point(value, evaluate(self.second, placement), read_only(placement)))

    def beats(self, first: float, second: float) -> bool:
        """Tell whether a candidate is no worse than this pair."""
        return any(point.first <= first and point.second <= second for point in self.candidates)

    def front(self) -> tuple[Point, ...]:
        """Return the undominated candidates; sorting is stable, so the first of equals stays."""
        front: list[Point] = []
        for point in sorted(self.candidates, key=lambda point: (point.first, point.second)):
            if not front or point.second < front[-1].second:
                front.append(point)
        return tuple(front)


def _over_stages(search: _Search, analysis: Analysis, free: LabelModel) -> None:
    """Add the fronts of S = 0, 1, .. messages until the one without delays needs no more than S."""
    pair = (search.first, search.second)
    relaxed = search.labels(free)
    placements = [relaxed.placement(index) for index in range(len(relaxed.totals))]
    reached = max((int(stages(search.first, placement).max(initial=0)) for placement in placements), default=0)
    allowed = highest_stage_allowed(search.first)
    for placement in placements:
        search.add_placement(placement)
    # What each objective costs at least, whatever the stage.
    least = [_least(free, problem, weights) for problem, weights in zip(pair, ((1.0, 0.0), (0.0, 1.0)), strict=True)]
    last = min(reached - 1, allowed)
    for stage in range(last + 1):
        prices = [delay_cost(problem, stage) for problem in pair]
        if search.beats(least[0] + prices[0], least[1] + prices[1]):
            return
        if (stage < last or reached <= allowed) and prices == [delay_cost(problem, stage + 1) for problem in pair]:
            continue
        if stage == 0:
            local = device_only(search.first)
            if local is not None:
                search.add_placement(local)
            continue
        model = analysis.staged(stage)
        if model is not None:
            staged = LabelModel(analysis.network, model, pair)
            if staged.cheapest((1.0, 0.0)) is not None:
                search.add(search.labels(staged))


def _least(model: LabelModel, problem: Problem, weights: tuple[float, float]) -> float:
    placement = model.cheapest(weights)
    return float("inf") if placement is None else delay_free_value(problem, placement)
