"""The least of one objective while others keep to limits: Lagrange multipliers first, then labels that they prune."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from solvers._arrays import FloatArray, IntArray
from solvers.errors import MethodError
from solvers.labels import LABEL_LIMIT, ROUNDING, Cut, LabelModel
from solvers.objectives import require_same_graph
from solvers.problem import Problem
from solvers.solution import PROOF_TOLERANCE

MOST_LINES = 100
"""Passes for one multiplier; a few are enough unless costs are contrived."""

MOST_STEPS = 60
"""Passes for several multipliers: a better bound saves labels, it does not make the answer more exact."""


PASS_ROUNDING = 1e-15
"""What a plain pass may lose, relative to the sum of all absolute costs that it weighs."""

FIRST_STEPS = 256
"""The first target lies this part of the gap above the bound; every next step is twice as long."""

MOST_REFUSALS = 3
"""Targets with too many labels before the search ends."""


@dataclass(frozen=True, slots=True, eq=False)
class Within:
    """What is known about the least first objective within the limits and below the cutoff."""

    placement: IntArray | None  # the best one known
    bound: float  # none within the limits costs less, unless it is at or above the cutoff
    exact: bool  # `placement` is the best, or None and there is none
    least: FloatArray  # (n_limits,) least of each limited objective alone


def common_pins(first: Problem, second: Problem) -> tuple[Problem, Problem]:
    """Return both problems with what either does not allow forbidden in both.

    Raises
    ------
    ProblemError
        They differ in more than costs.
    InfeasibleError
        Together they allow a layer on no machine.
    """
    require_same_graph(first, second, what="two objectives")
    forbidden = np.isinf(first.compute) | np.isinf(second.compute)
    pair = []
    for problem in (first, second):
        if bool(np.any(forbidden & np.isfinite(problem.compute))):
            problem = problem.with_costs(compute=np.where(forbidden, np.inf, problem.compute))
        pair.append(problem)
    return pair[0], pair[1]


def cheapest_within(
    model: LabelModel, limits: Sequence[float], *, cutoff: float = float("inf"), label_limit: int = LABEL_LIMIT
) -> Within:
    """Find the placement of least first objective whose others are at most `limits`.

    Parameters
    ----------
    model : LabelModel
        1 + n_limits objectives, any signs.
    limits : (n_limits,) finite
        Tolerances included.
    cutoff : float
        Only a placement that costs less is asked for.
    label_limit : int
        Of `LabelModel.labels`; beyond it the answer is not exact.

    Notes
    -----
    Sorted by the first objective, labels are dropped whose completion must break a limit, cost at least the best
    known, or exceed both together in the Lagrangian sum.
    """
    tops = np.asarray(limits, dtype=np.float64)
    n_limits = len(tops)
    nothing = np.full(n_limits, np.nan)
    known = _Known(model, tops, cutoff)
    totals = known.add((1.0, *[0.0] * n_limits))
    if totals is None:
        return Within(None, float("inf"), True, nothing)
    if totals[0] >= cutoff or known.placement is not None:
        return Within(known.placement, float(totals[0]), True, nothing)
    least = np.empty(n_limits)
    for k in range(n_limits):
        lowest = _found(known.add((0.0, *(float(k == m) for m in range(n_limits)))))
        least[k] = lowest[1 + k]
        if least[k] > tops[k]:
            return Within(None, float("inf"), True, least)
    if n_limits == 1:
        _follow_lines(known, totals, lowest)
    else:
        _climb(known, totals, least)
    best, value = known.placement, known.value
    slack = 2 * ROUNDING * float(model.scales[0])
    if known.bound >= value - max(slack, PROOF_TOLERANCE * abs(value)) or known.bound >= cutoff:
        return Within(best, value if best is not None else known.bound, True, least)
    limit_cuts = [Cut((0.0, *(float(k == m) for m in range(n_limits))), float(tops[k])) for k in range(n_limits)]
    mixtures = {(1.0, *[0.0] * n_limits), known.weights}

    def attempt(target: float, strictly: bool) -> float | None:
        cuts = list(limit_cuts)
        below = target - slack if strictly else target
        cuts += [Cut(weights, below + float(np.dot(weights[1:], tops))) for weights in mixtures]
        labels = model.labels(cuts, label_limit=label_limit)
        for k in range(len(labels.totals)):
            placement = labels.placement(k)
            totals = model.totals(placement)
            if bool(np.all(totals[1:] <= tops)) and totals[0] < min(known.value, cutoff):
                known.placement, known.value = placement, float(totals[0])
                return known.value
        return None

    # Above what everything costs together there is nothing to find.
    ceiling = 1.0 + model.objectives[0].n_machines * float(model.scales[0])
    high = min(value, cutoff, ceiling)
    first_step = 1e-3 * max(abs(known.bound), 1e-6 * float(model.scales[0]), slack)
    low, exact = rising_targets(attempt, known.bound, high, slack, first_step=first_step)
    return Within(known.placement, low, exact, least)


def rising_targets(
    attempt: Callable[[float, bool], float | None],
    low: float,
    high: float,
    slack: float,
    *,
    first_step: float = float("inf"),
) -> tuple[float, bool]:
    """Search below targets that rise from a bound to the best value known, and close the gap between them.

    What keeps to a target holds the optimum if that keeps to it; if it is empty, the target is a bound. A low target
    leaves few labels, however poor the best value known is; where they are too many, the next target is nearer.

    Parameters
    ----------
    attempt : function of (target, whether below the target is meant)
        Returns the least value found up to the target, None if there is none.
    low, high : float
        A bound, and the best value known or a ceiling.
    slack : float
        Gap that counts as closed.
    first_step : float
        > 0: the largest first step, where `high` says little.

    Returns
    -------
    (float, bool)
        The bound in the end, and whether it is the optimum or `high` itself.
    """
    step = min((high - low) / FIRST_STEPS, first_step)
    refusals = 0
    while low < high - slack:
        target = min(low + step, high)
        try:
            found = attempt(target, target == high)
        except MethodError:
            refusals += 1
            if refusals == MOST_REFUSALS:
                return low, False
            step /= 8
            continue
        if found is not None:
            return found, True
        low = target
        step *= 2
    return high, True


class _Known:
    """The best placement within the limits, and the best Lagrangian bound, of all passes so far."""

    def __init__(self, model: LabelModel, tops: FloatArray, cutoff: float) -> None:
        self.model, self.tops, self.cutoff = model, tops, cutoff
        self.placement: IntArray | None = None
        self.value = float("inf")
        self.bound = -float("inf")
        self.weights: tuple[float, ...] = (1.0, *[0.0] * len(tops))

    def add(self, weights: tuple[float, ...]) -> FloatArray | None:
        """Minimise one weighted sum; return the totals of its placement, None if the states allow none."""
        placement = self.model.cheapest(weights)
        if placement is None:
            return None
        totals = self.model.totals(placement)
        if bool(np.all(totals[1:] <= self.tops)) and totals[0] < min(self.value, self.cutoff):
            self.placement, self.value = placement, float(totals[0])
        if weights[0] == 1.0:
            # The pass itself adds up costs times weights, and may miss a placement by their rounding.
            rounding = PASS_ROUNDING * float(np.dot(weights, self.model.scales))
            bound = float(totals[0] + np.dot(weights[1:], totals[1:] - self.tops)) - rounding
            if bound > self.bound:
                self.bound, self.weights = bound, weights
        return totals


def _follow_lines(known: _Known, outside: FloatArray, inside: FloatArray) -> None:
    """Find the best single multiplier: the slope of the lower hull where it crosses the limit."""
    for _ in range(MOST_LINES):
        with np.errstate(all="ignore"):
            slope = (inside[0] - outside[0]) / (outside[1] - inside[1])
        if not 0.0 <= slope < np.inf:
            return
        totals = _found(known.add((1.0, float(slope))))
        line = outside[0] + slope * outside[1]
        if totals[0] + slope * totals[1] >= line - 1e-13 * (abs(line) + abs(slope * outside[1])):
            return
        if totals[1] <= known.tops[0]:
            inside = totals
        else:
            outside = totals


def _climb(known: _Known, totals: FloatArray, least: FloatArray) -> None:
    """Find several multipliers by cutting planes: each pass adds the totals of one more placement."""
    from scipy.optimize import linprog

    n_limits = len(known.tops)
    unit = max(float(known.model.scales[0]), 1e-300)
    units = np.maximum(np.abs(known.tops), np.maximum(1e-9 * known.model.scales[1:], 1e-300))
    # Where a placement keeps to a limit with room to spare, no multiplier is worth more than all costs over that room.
    highest = 10.0 / np.maximum((known.tops - least) / units, 1e-4)
    box = [(0.0, float(high)) for high in highest] + [(None, None)]
    objective = np.append(np.zeros(n_limits), -1.0)
    planes = [totals]
    for _ in range(MOST_STEPS):
        rows = np.array(planes)
        matrix = np.column_stack([(known.tops - rows[:, 1:]) / units, np.ones(len(rows))])
        answer = linprog(objective, A_ub=matrix, b_ub=rows[:, 0] / unit, bounds=box)
        if answer.x is None or answer.fun is None:  # pragma: no cover - the bound found so far holds
            return
        totals = _found(known.add((1.0, *(answer.x[:n_limits] * unit / units).tolist())))
        top = -float(answer.fun) * unit
        if known.bound >= top - 1e-9 * abs(top):
            return
        planes.append(totals)


def _found(totals: FloatArray | None) -> FloatArray:
    # Which placements there are does not depend on the weights, and the first pass found one.
    assert totals is not None
    return totals
