"""Throughput of the pipeline of resources: device, uplink, downlink and server, each at work on another inference.

Once the pipeline is full, an inference leaves it as often as its busiest resource allows. That resource's total is
minimised: by labels of the four totals, pruned by a bound that mixes them.
"""

from typing import Any

import numpy as np

from solvers._arrays import FloatArray, IntArray, read_only
from solvers._checks import require_count
from solvers.analysis import Analysis, analyse
from solvers.errors import InfeasibleError, MethodError
from solvers.evaluation import checked_placement, delay_free_value
from solvers.label_search import rising_targets
from solvers.labels import ROUNDING, Cut, LabelModel
from solvers.milp_model import TIME_LIMIT_S, Clock
from solvers.problem import Problem
from solvers.solution import Solution

MOST_STEPS = 60
"""Passes for the weights of the bound: a better bound saves labels, it does not make the answer more exact."""

MOST_MIXTURES = 3
"""Weightings that prune labels, besides each resource alone."""


LABEL_LIMIT = 1_000_000
"""Labels that one elimination may hold. With four totals each is compared with many others: some seconds."""


def pipeline_throughput(
    problem: Problem,
    *,
    half_duplex: bool = False,
    label_limit: int = LABEL_LIMIT,
    time_limit_s: float | None = TIME_LIMIT_S,
    analysis: Analysis | None = None,
) -> Solution:
    """Return the placement whose busiest resource is least busy: one over it is the throughput.

    Parameters
    ----------
    problem : Problem
        On any number of machines, with costs in seconds, of any sign. Delays and the limit on visits play no part:
        they hold up each inference, not the rate at which inferences follow each other.
    half_duplex : bool
        Whether both directions share one link, so that their totals add up.
    label_limit : int
        Labels that one elimination may hold.
    time_limit_s : float or None
        Seconds for `milp` where labels pass their limit, and for more than two machines.
    analysis : Analysis, optional
        From `analyse`, of any problem with the same graph and pins.

    Returns
    -------
    Solution
        Its value is the largest of `resource_totals`, not `evaluate`. Proven where `method` is "labels", which takes
        two machines. It is "milp" with more machines that layers may use, and where labels pass their limit: proven
        if HiGHS finished in time, else the bound may lie below the value. "lagrangian" says the same of a placement
        that was known before HiGHS.

    Raises
    ------
    ProblemError
        `label_limit` is no whole number, or `time_limit_s` no number of seconds > 0.
    InfeasibleError
        No placement.
    MethodError
        HiGHS, asked because the problem has more than two machines or is too wide for elimination, found no placement
        in time.

    Notes
    -----
    NP-hard even where nothing has to be sent (number partitioning). See docs/pipeline-throughput.md.

    Examples
    --------
    >>> problem = Problem.build([[4, 4], [2, 2], [3, 3]], [(0, 1.0, [1]), (1, 1.0, [2])], per_byte=[[0, 2], [2, 0]])
    >>> pipeline_throughput(problem)
    Solution(5, optimal, 2 of 3 layers off the device, labels)
    """
    require_count("label_limit", label_limit, least=0)
    Clock(time_limit_s)  # refuses what is no time, whichever method answers
    if problem.n_machines > 2:
        narrow = problem.narrowed()
        if narrow is not None:
            found = pipeline_throughput(
                narrow[0], half_duplex=half_duplex, label_limit=label_limit, time_limit_s=time_limit_s
            )
            return found.on(narrow[1])
    climb = None
    if problem.n_machines <= 2:
        try:
            if analysis is None:
                analysis = analyse(problem)
            else:
                analysis.require(problem)
            model = LabelModel(analysis.network, analysis.model, resources(problem, half_duplex=half_duplex))
            climb = _Climb(model)
            if _close(model, climb, label_limit):
                return climb.solution("labels")
            why = f"labels pass their limit of {label_limit:,}"
        except MethodError as refusal:
            why = str(refusal)
    else:
        why = f"labels take 2 machines here, the problem has {problem.n_machines}"
    from solvers.milp import milp_pipeline

    try:
        found = milp_pipeline(problem, half_duplex=half_duplex, time_limit_s=time_limit_s)
    except MethodError as other:
        if climb is None:
            raise MethodError(f"{why}; and {other}") from None
        return climb.solution("lagrangian")
    if climb is None:
        return found
    climb.bound = max(climb.bound, found.bound)
    if climb.value <= found.value:
        return climb.solution("lagrangian")
    return Solution(found.placement, found.value, min(climb.bound, found.value), found.method)


def resources(problem: Problem, *, half_duplex: bool = False) -> tuple[Problem, ...]:
    """Return one problem per resource, whose value without delays is how long an inference keeps it busy.

    Device, server, uplink, downlink; with `half_duplex` one link instead of two; one machine has no link. What is
    encoded or decoded keeps the machine busy that does it, not the link. One machine or two.
    """
    allowed = np.isfinite(problem.compute)
    n_machines = problem.n_machines
    found = []
    for machine in range(n_machines):
        own = np.where(allowed, 0.0, np.inf)
        own[:, machine] = problem.compute[:, machine]
        mine = np.arange(n_machines) == machine
        load = problem.without_transfers(own)
        found.append(load.with_costs(encode=problem.encode * mine, decode=problem.decode * mine))
    free = read_only(np.where(allowed, 0.0, np.inf))
    directions = [[(0, 1), (1, 0)]] if half_duplex else [[(0, 1)], [(1, 0)]]
    for pairs in directions if n_machines == 2 else []:
        mask = np.zeros((2, 2))
        for pair in pairs:
            mask[pair] = 1.0
        link = problem.without_transfers(free)
        found.append(link.with_costs(per_tensor=problem.per_tensor * mask, per_byte=problem.per_byte * mask))
    return tuple(found)


def resource_totals(problem: Problem, placement: Any, *, half_duplex: bool = False) -> FloatArray:
    """Return how long one inference keeps each of `resources` busy under `placement`, (n_layers,) machines.

    With more than two machines: each machine, then each directed link (0, 1), (0, 2), .., row by row, or each pair
    of machines once with `half_duplex`. ``inf`` where a layer is not allowed.

    Parameters
    ----------
    problem : Problem
    placement : (n_layers,) int
        Machines.
    half_duplex : bool
        Whether both directions of a link share it.

    Raises
    ------
    ProblemError
        The placement has the wrong shape or names machines that do not exist.

    Examples
    --------
    >>> problem = Problem.build([[4, 4], [2, 2], [3, 3]], [(0, 1.0, [1]), (1, 1.0, [2])], per_byte=[[0, 2], [3, 0]])
    >>> resource_totals(problem, [0, 1, 0]).tolist()
    [7.0, 2.0, 2.0, 3.0]
    """
    machines = checked_placement(problem, placement)
    if problem.n_machines > 2:
        from solvers.milp import pipeline_totals

        return pipeline_totals(problem, machines, half_duplex=half_duplex)
    return np.array([delay_free_value(each, machines) for each in resources(problem, half_duplex=half_duplex)])


def _close(model: LabelModel, climb: "_Climb", label_limit: int) -> bool:
    """Close the gap that the climb leaves; tell whether that was possible within the limit of labels."""
    h = len(model.objectives)
    rounding = 2 * ROUNDING * model.scales
    slack = float(rounding.max(initial=0.0))
    mixtures = [tuple(row) for row in np.eye(h).tolist()] + climb.mixtures()

    def attempt(target: float, strictly: bool) -> float | None:
        less = rounding if strictly else np.zeros(h)
        cuts = [Cut(weights, target - float(np.dot(weights, less))) for weights in mixtures]
        labels = model.labels(cuts, label_limit=label_limit)
        # Label arithmetic and that of totals differ in the last digits: look at all that come close.
        largest = labels.totals.max(axis=1, initial=-np.inf)
        near = np.flatnonzero(largest <= largest.min(initial=np.inf) + slack)
        for index in near.tolist():
            placement = labels.placement(index)
            value = float(model.totals(placement).max(initial=-np.inf))
            if value < climb.value:
                climb.placement, climb.value = placement, value
        return climb.value if len(near) else None

    climb.bound, exact = rising_targets(attempt, climb.bound, climb.value, slack)
    return exact


class _Climb:
    """Raise the least weighted sum of the totals over the weights in the simplex; no placement does better than it.

    Its placements are the first incumbents.
    """

    def __init__(self, model: LabelModel) -> None:
        self.model = model
        self.seen: dict[tuple[float, ...], float] = {}
        h = len(model.objectives)
        weights = np.full(h, 1.0 / h)
        start = model.cheapest(weights.tolist())
        if start is None:
            raise InfeasibleError("no placement satisfies the layers' allowed machines; lift a restriction")
        self.placement: IntArray = start
        self.value, self.bound = float("inf"), -float("inf")
        shrink = 1.0
        for _ in range(MOST_STEPS):
            totals = self._take(weights)
            if totals is None:
                return
            before = self.bound
            bound = float(weights @ totals)
            self.seen[tuple(weights.tolist())] = bound
            self.bound = max(self.bound, bound)
            step = totals - totals.mean()
            length = float(step @ step)
            if length == 0.0 or self.bound >= self.value:
                return
            weights = _on_simplex(weights + shrink * (self.value - bound) / length * step)
            if self.bound <= before:
                shrink *= 0.9

    def solution(self, method: str) -> Solution:
        """Return the best placement with the best bound."""
        return Solution(read_only(self.placement), self.value, min(self.bound, self.value), method)

    def mixtures(self) -> list[tuple[float, ...]]:
        """Return the weights of the best bounds."""
        return sorted(self.seen, key=lambda weights: -self.seen[weights])[:MOST_MIXTURES]

    def _take(self, weights: FloatArray) -> FloatArray | None:
        placement = self.model.cheapest(weights.tolist())
        if placement is None:  # pragma: no cover - which placements there are does not depend on the weights
            return None
        totals = self.model.totals(placement)
        value = float(totals.max(initial=-np.inf))
        if value < self.value:
            self.placement, self.value = placement, value
        return totals


def _on_simplex(weights: FloatArray) -> FloatArray:
    """Return the nearest point with entries >= 0 that add up to one."""
    falling = np.sort(weights)[::-1]
    excess = (np.cumsum(falling) - 1.0) / np.arange(1, len(weights) + 1)
    shift = excess[np.flatnonzero(falling > excess)[-1]]
    return np.asarray(np.maximum(weights - shift, 0.0), dtype=np.float64)
