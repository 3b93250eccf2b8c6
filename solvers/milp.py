"""Any number of machines by mixed-integer linear programming (HiGHS through SciPy): slow, takes everything.

The last resort where graphs neither fold nor cut, and an oracle for the other methods. Values are those of
`solvers.evaluate` or `pipeline_totals` on the placement found; bounds are HiGHS's, a proof within its tolerances, and a
gap where these are coarse beside the value: see `solvers.milp_model`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from solvers._arrays import FloatArray, IntArray, frozen_copy, read_only
from solvers._checks import real
from solvers.errors import InfeasibleError, MethodError, ProblemError
from solvers.evaluation import breakdown, evaluate
from solvers.milp_model import WORTH_FORBIDDING, Clock, spacing_of
from solvers.milp_placement import PlacementModel
from solvers.problem import Problem
from solvers.solution import LIMIT_TOLERANCE, Solution

MOST_REJECTED = 200
"""Placements that HiGHS may propose although they pass a limit by less than its own tolerance."""


@dataclass(frozen=True, slots=True, eq=False)
class AdditiveLimit:
    """A limit on a sum over layers, such as bytes of weights on each machine.

    Weights that several layers share, and peak activations, are no such sum.

    Parameters
    ----------
    per_layer : (n_layers, n_machines) float64, finite
        What a layer adds on a machine.
    upper : float or (n_machines,) float64
        Limit of the total over all machines, or of each machine's own; ``inf`` = none.
    name : str
        What is limited, for messages.

    Raises
    ------
    ProblemError
        The shapes do not match or a number is not one.
    """

    per_layer: FloatArray
    upper: FloatArray
    name: str = "limit"

    def __post_init__(self) -> None:
        for name in ("per_layer", "upper"):
            try:
                object.__setattr__(self, name, frozen_copy(getattr(self, name), np.float64))
            except (TypeError, ValueError) as error:
                raise ProblemError(f"{self.name}: {name} is not an array of numbers: {error}") from None
        if self.per_layer.ndim != 2 or self.upper.shape not in ((), self.per_layer.shape[1:]):
            raise ProblemError(
                f"{self.name}: per_layer has shape {self.per_layer.shape} and upper {self.upper.shape}; "
                "give (n_layers, n_machines), and one number or (n_machines,)"
            )
        if not bool(np.isfinite(self.per_layer).all()) or bool((np.isnan(self.upper) | (self.upper == -np.inf)).any()):
            raise ProblemError(f"{self.name}: per_layer must be finite, and upper a number or inf")

    def totals(self, placement: IntArray) -> FloatArray:
        """Return what `placement`, (n_layers,), adds up to, in the shape of `upper`."""
        own = self.per_layer[np.arange(len(placement)), placement]
        if self.upper.ndim == 0:
            return np.asarray(own.sum(), dtype=np.float64)
        return np.bincount(placement, weights=own, minlength=len(self.upper)).astype(np.float64)

    def holds(self, placement: IntArray) -> bool:
        """Tell whether `placement` stays within the limit, up to `LIMIT_TOLERANCE`."""
        return bool(np.all(self.totals(placement) <= self.upper + LIMIT_TOLERANCE * np.abs(self.upper)))


def solve_milp(problem: Problem, *, time_limit_s: float | None = None) -> Solution:
    """Return the cheapest placement.

    Parameters
    ----------
    problem : Problem
        Any. With two machines delays are charged per message and the limit on visits is obeyed.
    time_limit_s : float, optional
        Seconds for HiGHS in all; then the best placement so far comes with its bound.

    Returns
    -------
    Solution
        Proven unless the time was up, or costs far larger than the value cancel in it (see docs/milp.md), or there
        are more than two machines and delays: then the value minimises `evaluate`, which charges each tensor sent a
        delay, and the bound is the optimum without delays.

    Raises
    ------
    InfeasibleError
        No placement obeys the allowed machines and the limit on visits.
    MethodError
        The time was up before HiGHS found any placement.

    Notes
    -----
    Exponential in the worst case. n_layers * n_machines + n_tensors * n_machines * (n_machines - 1) columns. Without
    delays and with two machines the linear relaxation is whole: a minimum cut. Ties are HiGHS's choice.

    Examples
    --------
    >>> links = [[0, 1, 3], [1, 0, 1], [3, 1, 0]]
    >>> compute = [[0, float("inf"), float("inf")], [9, 4, 1], [9, 4, 1], [0, float("inf"), float("inf")]]
    >>> tensors = [(0, 1.0, [1]), (1, 1.0, [2]), (2, 0.5, [3])]
    >>> problem = Problem.build(compute, tensors, per_byte=links, max_server_visits=None)
    >>> solve_milp(problem)
    Solution(6.5, optimal, 2 of 4 layers off the device, milp)
    """
    return milp_within(problem, limits=(), time_limit_s=time_limit_s)


def milp_within(problem: Problem, *, limits: Sequence[AdditiveLimit], time_limit_s: float | None = None) -> Solution:
    """Return the cheapest placement within additive limits, such as memory for weights.

    Same results, errors and cost as `solve_milp`; ``InfeasibleError`` also if no placement obeys the limits.

    Parameters
    ----------
    problem, time_limit_s
        As for `solve_milp`.
    limits : sequence of AdditiveLimit

    Examples
    --------
    >>> problem = Problem.build([[3, 1], [3, 1]], [])
    >>> weights = AdditiveLimit([[5, 5], [6, 6]], [10, 10], "bytes of weights")
    >>> milp_within(problem, limits=[weights]).value
    4.0
    """
    for limit in limits:
        if limit.per_layer.shape != problem.compute.shape:
            raise ProblemError(
                f"{limit.name}: per_layer has shape {limit.per_layer.shape}; give {problem.compute.shape}"
            )
    n_machines = problem.n_machines
    delays = bool(np.any(problem.delay))
    narrow = problem.narrowed() if n_machines > 2 and delays else None
    if narrow is not None:
        # As in `evaluate`: with two machines left, delays are counted by message.
        smaller, machines = narrow
        inside = [
            AdditiveLimit(one.per_layer[:, machines], one.upper[machines] if one.upper.ndim else one.upper, one.name)
            for one in limits
        ]
        return milp_within(smaller, limits=inside, time_limit_s=time_limit_s).on(machines)
    clock = Clock(time_limit_s)
    model = PlacementModel(problem, count_messages=delays or problem.max_server_visits is not None)
    for limit in limits:
        for machine in range(n_machines if limit.upper.ndim else 1):
            only = np.ones(n_machines, dtype=bool) if limit.upper.ndim == 0 else np.arange(n_machines) == machine
            upper = float(limit.upper if limit.upper.ndim == 0 else limit.upper[machine])
            if upper < np.inf:
                model.add_limit(model.per_block(limit.per_layer * only), upper)

    def obeys(placement: IntArray) -> bool:
        return all(limit.holds(placement) for limit in limits)

    names = ", ".join(limit.name for limit in limits)
    found, bound = _search(model, problem, obeys, clock, names)
    if n_machines > 2 and delays:
        # What the first search forbade is dear because of delays: it must not bind the second one.
        free = problem.with_costs(delay=np.zeros_like(problem.delay))
        model.allow_all()
        _, bound = _search(model, free, obeys, clock, names)
    value = evaluate(problem, found)
    return Solution(read_only(found), value, min(bound, value), "milp")


def milp_deadline(
    energy: Problem, latency: Problem, deadline_s: float, *, time_limit_s: float | None = None
) -> Solution:
    """Return the placement of least energy whose latency meets a deadline.

    Parameters
    ----------
    energy, latency : Problem
        Two costs of the same layers, tensors and machines. Both problems' restrictions hold.
    deadline_s : float
        Largest value of `latency` allowed, met within `LIMIT_TOLERANCE`.
    time_limit_s : float, optional
        As in `solve_milp`.

    Returns
    -------
    Solution
        Its value is that of `energy`. With two machines delays count in both, per message.

    Raises
    ------
    InfeasibleError
        No placement meets the deadline.
    MethodError
        More than two machines and delays, whose latency is known only within bounds; or the time was up.
    ProblemError
        The two problems differ in more than costs, or the deadline is not a number.

    Examples
    --------
    >>> tensors, delay = [(0, 1.0, [1])], [[0, 0.5], [0.5, 0]]
    >>> inf = float("inf")
    >>> energy = Problem.build([[0, inf], [1, 4]], tensors)
    >>> latency = Problem.build([[0, inf], [9, 1]], tensors, delay=delay)
    >>> [milp_deadline(energy, latency, deadline_s).value for deadline_s in (9.0, 8.0, 1.5)]
    [1.0, 4.0, 4.0]
    """
    deadline_s = real("deadline_s", deadline_s)
    same = energy.compute.shape == latency.compute.shape
    for name in ("tensor_producer", "consumer_offsets", "consumer_layers"):
        same = same and np.array_equal(getattr(energy, name), getattr(latency, name))
    if not same:
        raise ProblemError(f"{energy!r} and {latency!r} differ in their graph; give two costs of one graph")
    delays = bool(np.any(energy.delay) or np.any(latency.delay))
    if delays and energy.n_machines > 2:
        raise MethodError(
            f"milp meets a deadline with delays on 2 machines only, the problem has {energy.n_machines}; "
            "leave the delays out of both problems"
        )
    clock = Clock(time_limit_s)
    visits = (energy.max_server_visits, latency.max_server_visits)
    model = PlacementModel(energy, latency, count_messages=delays or visits != (None, None))
    if deadline_s < np.inf:
        model.add_limit(model.cost(latency, with_delays=True), deadline_s)

    def meets(placement: IntArray) -> bool:
        return evaluate(latency, placement) <= deadline_s + LIMIT_TOLERANCE * abs(deadline_s)

    found, bound = _search(model, energy, meets, clock, f"deadline of {deadline_s:.6g}")
    return Solution(read_only(found), evaluate(energy, found), bound, "milp")


def milp_pipeline(problem: Problem, *, half_duplex: bool = False, time_limit_s: float | None = None) -> Solution:
    """Return the placement whose busiest resource is least busy: one over it is the throughput of a pipeline.

    Parameters
    ----------
    problem : Problem
        Any. Delays and the limit on visits play no part: they hold up each inference, not the rate at which
        inferences follow each other.
    half_duplex : bool
        Whether the two directions between a pair of machines share one link, so that their totals add up.
    time_limit_s : float, optional
        As in `solve_milp`.

    Returns
    -------
    Solution
        Its value is the largest of `pipeline_totals`, not `evaluate`. Proven unless the time was up, or costs far
        larger than the value cancel in it.

    Raises
    ------
    InfeasibleError, MethodError
        As in `solve_milp`.

    Notes
    -----
    NP-hard for two equal machines already. Nothing but branch and bound closes the gap of the linear relaxation.

    Examples
    --------
    >>> problem = Problem.build([[4, 4], [2, 2], [3, 3]], [(0, 1.0, [1]), (1, 1.0, [2])], per_byte=[[0, 2], [2, 0]])
    >>> milp_pipeline(problem).value
    5.0
    """
    clock = Clock(time_limit_s)
    if problem.n_layers == 0:
        return Solution(read_only(np.zeros(0, dtype=np.int64)), 0.0, 0.0, "milp")
    found: Solution | None = None
    while True:
        model = PlacementModel(problem, count_messages=False)
        totals = _resource_costs(model, problem, half_duplex)
        least = max(model.least(total) for total in totals)
        if found is not None:
            totals = [model.forbid(total, found.value) for total in totals]
        objective, largest = model.add_largest(totals)
        try:
            answer = model.minimise(objective, largest=largest, time_limit_s=clock.left_s())
        except MethodError:
            if found is None:
                raise
            return found
        placement = model.placement(answer)
        value = float(pipeline_totals(problem, placement, half_duplex=half_duplex).max())
        if found is not None and not value < found.value:
            placement, value = found.placement, found.value
        bound = min(max(value - answer.gap_for(value, value=value), least), value)
        again = answer.finished and largest > WORTH_FORBIDDING * abs(value)
        again = again and (found is None or value < found.value)
        found = Solution(read_only(placement), value, bound, "milp")
        if not again:
            return found


def _resource_costs(model: PlacementModel, problem: Problem, half_duplex: bool) -> list[FloatArray]:
    """Return the coefficients, (n_columns,), of each of `pipeline_totals`."""
    machines = np.arange(problem.n_machines)
    totals = [model.per_block(np.where(machines == machine, problem.compute, 0.0)) for machine in machines]
    if problem.crossing_work.size:
        totals = [total + model.coding(problem, machine) for machine, total in enumerate(totals)]
        problem = problem.with_costs(encode=0.0 * problem.encode, decode=0.0 * problem.decode)
    for i, j in combinations(range(problem.n_machines), 2):
        there, back = model.transfer(problem, i, j), model.transfer(problem, j, i)
        totals += [there + back] if half_duplex else [there, back]
    return totals


def pipeline_totals(problem: Problem, placement: IntArray, *, half_duplex: bool = False) -> FloatArray:
    """Return how long one inference keeps each resource busy, without delays.

    Returns
    -------
    (n_machines + n_links,) float64
        Compute of each machine and what it encodes and decodes, then each directed link (0, 1), (0, 2), .., row by
        row; with `half_duplex` each pair of machines once. ``inf`` where a layer is not allowed.

    Examples
    --------
    >>> problem = Problem.build([[4, 4], [2, 2], [3, 3]], [(0, 1.0, [1]), (1, 1.0, [2])], per_byte=[[0, 2], [3, 0]])
    >>> pipeline_totals(problem, [0, 1, 0]).tolist()
    [7.0, 2.0, 2.0, 3.0]
    """
    parts = breakdown(problem, placement)
    n_machines = problem.n_machines
    if half_duplex:
        links = (parts.transfer + parts.transfer.T)[np.triu_indices(n_machines, 1)]
    else:
        links = parts.transfer[~np.eye(n_machines, dtype=bool)]
    return np.concatenate([parts.compute + parts.encode + parts.decode, links])


def _search(
    model: PlacementModel, problem: Problem, obeys: Callable[[IntArray], bool], clock: Clock, limits: str
) -> tuple[IntArray, float]:
    """Return the placement of least value that `obeys` its limits to the last digit, and a bound on that value.

    HiGHS lets a row pass its limit by 1e-7 or so; such a placement is excluded and the search goes on. It also goes on,
    without what costs more than the placement found, where costs much larger than that blur HiGHS's view.
    """
    objective = model.cost(problem, with_delays=True, above_least=True)
    found: tuple[IntArray, float] | None = None
    best = np.inf
    for _ in range(MOST_REJECTED):
        try:
            answer = model.minimise(objective, time_limit_s=clock.left_s())
        except (InfeasibleError, MethodError) as error:
            if found is not None:
                return found
            if isinstance(error, MethodError):
                raise
            within = f" within {limits}" if limits else ""
            raise InfeasibleError(
                f"no placement satisfies the layers' allowed machines and the limit on visits{within}; lift one of them"
            ) from None
        placement = model.placement(answer)
        if not obeys(placement):
            model.exclude(placement)
            continue
        cost = float(objective @ model.columns(placement))
        if found is not None and not cost < best:
            placement, cost = found[0], best
        value = evaluate(problem, placement)
        gap = min(answer.gap_for(cost, value=value, spacing=spacing_of(objective)), cost)  # no cost is below 0
        better, found, best = cost < best, (placement, min(value - gap, value)), cost
        if not (better and answer.finished and answer.largest > WORTH_FORBIDDING * cost):
            return found
        objective = model.forbid(objective, cost)
    if found is not None:
        return found
    raise MethodError(
        f"milp met {MOST_REJECTED} placements that pass {limits} by less than HiGHS can tell; change it by 1e-6 of it"
    )
