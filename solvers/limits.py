"""Least cost within a limit: least energy within a deadline, least cost within each machine's memory.

Both are NP-hard (knapsack). Labels decide them while they stay few; beyond that HiGHS goes on until its time is up,
and the answer carries the better of its bound and the Lagrangian one.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from solvers._arrays import FloatArray, IntArray, frozen_copy, read_only
from solvers._checks import real, require_count
from solvers.analysis import Analysis, analyse
from solvers.branch_aware import solve_branch_aware
from solvers.errors import InfeasibleError, MethodError, ProblemError
from solvers.evaluation import delay_cost, delay_free_value, evaluate, stages
from solvers.label_search import Within, cheapest_within, common_pins
from solvers.labels import LABEL_LIMIT, LabelModel
from solvers.milp_model import TIME_LIMIT_S
from solvers.problem import Problem
from solvers.solution import LIMIT_TOLERANCE, Solution
from solvers.visits import device_only, highest_stage_allowed


def within_deadline(
    energy: Problem,
    latency: Problem,
    deadline_s: float,
    *,
    label_limit: int = LABEL_LIMIT,
    time_limit_s: float | None = TIME_LIMIT_S,
    analysis: Analysis | None = None,
) -> Solution:
    """Return the placement of least energy whose latency meets a deadline.

    Parameters
    ----------
    energy, latency : Problem
        Two costs on one graph, of any sign; both problems' restrictions hold.
    deadline_s : float
        Largest value of `latency` allowed, delays included, met within 1e-12 of it.
    label_limit : int
        Labels that one elimination may hold; beyond it the answer comes from the Lagrangian and `milp`.
    time_limit_s : float or None
        Seconds for `milp`; not needed while labels stay within their limit.
    analysis : Analysis, optional
        From `analyse`, of any problem with the same graph and pins.

    Returns
    -------
    Solution
        Its value is that of `energy`. Proven where `method` is "labels"; where it is "milp" or "lagrangian" the
        bound may lie below the value.

    Raises
    ------
    InfeasibleError
        No placement meets the deadline; the message says the least possible latency.
    MethodError
        More than two machines and delays; or neither labels nor `milp` found any placement within their limits.
    ProblemError
        The problems differ in more than costs, or the deadline is not a number.

    Notes
    -----
    Ties go to the placement found first. See docs/limits.md.

    Examples
    --------
    >>> inf, tensors = float("inf"), [(0, 1.0, [1]), (1, 1.0, [2])]
    >>> energy = Problem.build([[0, inf], [1, 4], [2, 4]], tensors)
    >>> latency = Problem.build([[0, inf], [9, 1], [7, 1]], tensors)
    >>> [within_deadline(energy, latency, deadline_s).value for deadline_s in (16, 8, 2)]
    [3.0, 6.0, 8.0]
    """
    deadline_s = real("deadline_s", deadline_s)
    require_count("label_limit", label_limit, least=0)
    energy, latency = common_pins(energy, latency)
    if energy.n_machines > 2:
        # Both allow the same machines, so either both have some that nothing may use, or neither has.
        narrow, narrow_latency = energy.narrowed(), latency.narrowed()
        if narrow is not None and narrow_latency is not None:
            found = within_deadline(
                narrow[0], narrow_latency[0], deadline_s, label_limit=label_limit, time_limit_s=time_limit_s
            )
            return found.on(narrow[1])
    delays = bool(energy.delay.any() or latency.delay.any())
    if delays and energy.n_machines > 2:
        raise MethodError(
            f"a deadline with delays is met on 2 machines only, the problem has {energy.n_machines}; "
            "leave the delays out of both problems"
        )
    top = deadline_s + LIMIT_TOLERANCE * abs(deadline_s) if np.isfinite(deadline_s) else deadline_s
    search = _Search(energy, label_limit, lambda placement: evaluate(latency, placement) <= top)
    try:
        analysis = search.analysed(analysis)
        if top == np.inf:
            return _unlimited(energy, analysis)
        if top == -np.inf:
            raise InfeasibleError("no placement meets a deadline of -inf; give a number of seconds")
        free = LabelModel(analysis.network, analysis.model, (energy, latency))
        if energy.n_machines != 2 or (not delays and energy.max_server_visits is None):
            search.take(search.run(free, [top]))
        else:
            _deadline_over_stages(search, analysis, free, latency, top)
    except MethodError as refusal:

        def by_milp() -> Solution:
            from solvers.milp import milp_deadline

            return milp_deadline(energy, latency, deadline_s, time_limit_s=time_limit_s)

        try:
            return search.rescued(by_milp, refusal)
        except InfeasibleError:
            raise _too_late(latency, deadline_s) from None
    if search.best is None:
        raise _too_late(latency, deadline_s)
    return Solution.of(energy, search.best, "labels")


def within_memory(
    problem: Problem,
    bytes_per_layer: Any,
    limits: Any,
    *,
    label_limit: int = LABEL_LIMIT,
    time_limit_s: float | None = TIME_LIMIT_S,
    analysis: Analysis | None = None,
) -> Solution:
    """Return the cheapest placement whose weights fit into each machine's memory.

    Parameters
    ----------
    problem : Problem
        Any number of machines, costs of any sign.
    bytes_per_layer : (n_layers,) float64, >= 0
        Weights of each layer. They are added up per machine: weights that several layers share must be given to one
        of them (with the others colocated), and peak activations are no such sum.
    limits : (n_machines,) float
        Bytes that each machine has for weights; ``inf`` = no limit. Met within 1e-12 of them.
    label_limit, time_limit_s, analysis
        As in `within_deadline`.

    Returns
    -------
    Solution
        Proven where `method` is "labels", except with delays between more than two machines: there the value charges
        every tensor sent its own delay, as in `evaluate`, and the bound is the optimum without delays.

    Raises
    ------
    InfeasibleError
        No placement fits.
    MethodError
        Neither labels nor `milp` found any placement within their limits.
    ProblemError
        Wrong shapes, negative bytes, or something that is no number.

    Examples
    --------
    >>> problem = Problem.build([[3, 1], [3, 2]], [], max_server_visits=None)
    >>> [within_memory(problem, [6, 5], [float("inf"), limit]).value for limit in (11, 10, 5)]
    [3.0, 4.0, 5.0]
    """
    require_count("label_limit", label_limit, least=0)
    sizes, tops = checked_memory(problem, bytes_per_layer, limits)
    narrow = problem.narrowed() if problem.n_machines > 2 else None
    if narrow is not None:
        smaller, machines = narrow
        found = within_memory(smaller, sizes, tops[machines], label_limit=label_limit, time_limit_s=time_limit_s)
        return found.on(machines)
    limited = [k for k in range(problem.n_machines) if tops[k] < np.inf]
    padded = [float(tops[k] + LIMIT_TOLERANCE * abs(tops[k])) for k in limited]

    def fits(placement: IntArray) -> bool:
        used = np.bincount(placement, weights=sizes, minlength=problem.n_machines)
        return all(used[k] <= top for k, top in zip(limited, padded, strict=True))

    search = _Search(problem, label_limit, fits)
    try:
        analysis = search.analysed(analysis)
        memory = [_bytes_problem(problem, sizes, machine) for machine in limited]
        _cheapest_that_fits(search, analysis, memory, padded)
    except MethodError as refusal:

        def by_milp() -> Solution:
            from solvers.milp import AdditiveLimit, milp_within

            per_layer = np.repeat(sizes[:, None], problem.n_machines, axis=1)
            return milp_within(
                problem, limits=[AdditiveLimit(per_layer, tops, "bytes of weights")], time_limit_s=time_limit_s
            )

        return search.rescued(by_milp, refusal)
    if search.best is None:
        raise InfeasibleError(
            f"no placement fits into {', '.join(f'{tops[k]:.6g}' for k in range(len(tops)))} bytes of weights on "
            "machines 0, 1, ..; raise a limit, or lift a restriction on machines or visits"
        )
    bound = search.bound if problem.n_machines > 2 and problem.delay.any() else None
    return Solution.of(problem, search.best, "labels", bound=bound)


class _Search:
    """The best placement that one question has met so far, and what to answer if labels pass their limit."""

    def __init__(self, problem: Problem, label_limit: int, holds: Callable[[IntArray], bool]) -> None:
        self.problem, self.label_limit, self.holds = problem, label_limit, holds
        self.best: IntArray | None = None
        self.value = float("inf")
        self.bound = -float("inf")

    def analysed(self, analysis: Analysis | None) -> Analysis:
        if analysis is None:
            return analyse(self.problem)
        analysis.require(self.problem)
        return analysis

    def run(self, model: LabelModel, tops: Sequence[float], *, cutoff: float = float("inf")) -> Within:
        """Ask labels; raise MethodError, with what they found kept, if they pass their limit."""
        answer = cheapest_within(model, tops, cutoff=cutoff, label_limit=self.label_limit)
        if not answer.exact:
            self.take(answer)
            raise MethodError(f"labels pass their limit of {self.label_limit:,}")
        return answer

    def take(self, answer: Within) -> None:
        """Keep the placement if it is better and keeps to every limit."""
        if answer.placement is not None and self.holds(answer.placement):
            value = evaluate(self.problem, answer.placement)
            if value < self.value:
                self.best, self.value = answer.placement, value

    def rescued(self, by_milp: Callable[[], Solution], refusal: MethodError) -> Solution:
        """Return what milp finds, or what is known already if that is better."""
        try:
            found = by_milp()
        except MethodError as other:
            if self.best is None:
                raise MethodError(f"{refusal}; and {other}") from None
            return Solution.of(self.problem, self.best, "lagrangian", bound=self.bound)
        bound = max(found.bound, self.bound)
        if self.value < found.value and self.best is not None:
            return Solution.of(self.problem, self.best, "lagrangian", bound=bound)
        return Solution(found.placement, found.value, min(bound, found.value), found.method)


def _deadline_over_stages(search: _Search, analysis: Analysis, free: LabelModel, latency: Problem, top: float) -> None:
    """Leave the best placement in `search`: for S = 0, 1, .. those with the highest stage S at most, then the rest.

    What is left at S pays the delays of S messages or more: the delay-free optimum within what these leave of the
    deadline is a bound on it, and its best if that placement needs no more than S messages itself.
    """
    energy = search.problem
    for stage in range(highest_stage_allowed(energy) + 1):
        left, paid = top - delay_cost(latency, stage), delay_cost(energy, stage)
        rest = cheapest_within(free, [left], cutoff=search.value - paid, label_limit=search.label_limit)
        if stage == 0:
            search.bound = rest.bound
        if not rest.exact:
            search.take(rest)
            raise MethodError(f"labels pass their limit of {search.label_limit:,}")
        if rest.placement is None:
            return
        if int(stages(energy, rest.placement).max(initial=0)) <= stage:
            search.take(rest)
            return
        if stage == 0:
            placement = device_only(energy)
            if placement is not None:
                search.take(Within(placement, 0.0, True, np.zeros(0)))
            continue
        model = analysis.staged(stage)
        if model is not None:
            staged = LabelModel(analysis.network, model, (energy, latency))
            search.take(search.run(staged, [left], cutoff=search.value - paid))


def _cheapest_that_fits(search: _Search, analysis: Analysis, memory: Sequence[Problem], tops: Sequence[float]) -> None:
    """Leave the best placement in `search`, by the loop over stages of `solvers.visits` where delays need it."""
    problem = search.problem
    free = LabelModel(analysis.network, analysis.model, (problem, *memory))
    relaxed = cheapest_within(free, tops, label_limit=search.label_limit)
    search.bound = relaxed.bound
    search.take(relaxed)
    if not relaxed.exact:
        raise MethodError(f"labels pass their limit of {search.label_limit:,}")
    if relaxed.placement is None:
        return
    if problem.n_machines != 2:
        if problem.delay.any():
            search.bound = delay_free_value(problem, relaxed.placement)
            charged = problem.with_costs(per_tensor=problem.per_tensor + problem.delay)
            search.take(search.run(LabelModel(analysis.network, analysis.model, (charged, *memory)), tops))
        return
    reached = int(stages(problem, relaxed.placement).max(initial=0))
    cheapest = delay_free_value(problem, relaxed.placement)
    for stage in range(min(reached, highest_stage_allowed(problem) + 1)):
        paid = delay_cost(problem, stage)
        if cheapest + paid >= search.value:
            return
        if stage == 0:
            placement = device_only(problem)
            if placement is not None:
                search.take(Within(placement, 0.0, True, np.zeros(0)))
            continue
        model = analysis.staged(stage)
        if model is not None:
            staged = LabelModel(analysis.network, model, (problem, *memory))
            search.take(search.run(staged, tops, cutoff=search.value - paid))


def _too_late(latency: Problem, deadline_s: float) -> InfeasibleError:
    from solvers.solve import solve

    least = solve(latency)
    shown = f"is {least.value:.6g}" if least.optimal else f"lies between {least.bound:.6g} and {least.value:.6g}"
    return InfeasibleError(f"no placement meets the deadline of {deadline_s:.6g}; the least possible latency {shown}")


def _unlimited(energy: Problem, analysis: Analysis) -> Solution:
    found = solve_branch_aware(energy, analysis=analysis)
    return Solution(found.placement, found.value, found.bound, "labels")


def _bytes_problem(problem: Problem, sizes: FloatArray, machine: int) -> Problem:
    """Return a problem whose value is the bytes on one machine."""
    own = np.zeros(problem.compute.shape)
    own[:, machine] = sizes
    own[np.isinf(problem.compute)] = np.inf
    return problem.without_transfers(read_only(own))


def checked_memory(problem: Problem, bytes_per_layer: Any, limits: Any) -> tuple[FloatArray, FloatArray]:
    """Return both as float64 after checking them; errors as `within_memory`."""
    try:
        sizes, tops = frozen_copy(bytes_per_layer, np.float64), frozen_copy(limits, np.float64)
    except (TypeError, ValueError) as error:
        raise ProblemError(f"bytes_per_layer or limits is not an array of numbers: {error}") from None
    if sizes.shape != (problem.n_layers,):
        raise ProblemError(f"bytes_per_layer has shape {sizes.shape}; give ({problem.n_layers},), one per layer")
    bad = ~np.isfinite(sizes) | (sizes < 0)
    if bool(np.any(bad)):
        layer = int(np.argmax(bad))
        raise ProblemError(f"{problem.layer(layer)} has {sizes[layer]} bytes of weights; give a finite number >= 0")
    if tops.shape != (problem.n_machines,) or bool(np.any(np.isnan(tops) | (tops < 0))):
        raise ProblemError(
            f"limits is {tops.tolist()}; give bytes >= 0 for each of {problem.n_machines} machines, inf for no limit"
        )
    return sizes, tops
