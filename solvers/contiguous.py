"""Throughput over several machines with contiguous parts: exact dynamic programming over down-sets.

State = (down-set I, how many machines of each kind hold it); its value is the least possible largest load. From I every
down-set J above it is reached once, by adding groups of layers in topological order, with the load of the part J - I
kept up to date as groups come and go. Equal machines need no identity, and the order of the kinds along the pipeline is
free. Machines that all differ are kinds of one machine each: the state is then the set of machines used.

What is skipped cannot beat the best split known (at first the best one along one topological order): a part and all
above it, when its compute time and the transfers that no further group can take back reach that value; a state, when
its machines left over cannot finish the compute time left within it.

Tarnawski, Phanishayee, Devanur, Mahajan and Nina Paravecino, "Efficient Algorithms for Device Placement of DNN Graph
Operators", NeurIPS 2020, give the dynamic program over ideals; enumeration by differences, transfers charged per
tensor at both ends, several kinds and the bounds are described in docs/contiguous-throughput.md.
"""

import numpy as np

from solvers._arrays import FloatArray, IntArray, read_only
from solvers.contiguous_groups import FORBIDDEN, Groups, grouped
from solvers.contiguous_problem import PipelineProblem, pipeline_loads, pipeline_order
from solvers.contiguous_sweep import Machines, Parts, best_parts
from solvers.down_sets import chain_of, down_sets
from solvers.errors import InfeasibleError, MethodError, ProblemError
from solvers.milp_model import TIME_LIMIT_S, Clock
from solvers.solution import PROOF_TOLERANCE, PipelineSolution

DOWN_SET_LIMIT = 100_000
"""Down-sets that are made at most, unless `maximise_throughput` is told otherwise."""

STATE_LIMIT = 1 << 24
"""Down-sets times combinations of used machines that are kept at most: 16 bytes each."""


def maximise_throughput(
    problem: PipelineProblem,
    method: str = "auto",
    *,
    down_set_limit: int = DOWN_SET_LIMIT,
    prune: bool = True,
    time_limit_s: float | None = TIME_LIMIT_S,
) -> PipelineSolution:
    """Find the contiguous placement with the smallest largest load: the highest rate of inferences.

    Parameters
    ----------
    problem : PipelineProblem
    method : {"auto", "down-sets", "milp"}
        "auto" takes the integer program where there are too many down-sets.
    down_set_limit : int
        Most down-sets to make; beyond, the problem is out of their reach.
    prune : bool
        Skip what cannot beat the best split known. Without it every pair of down-sets is looked at, with equal result.
    time_limit_s : float or None
        Seconds for the integer program, which then answers with a bound and a gap.

    Returns
    -------
    PipelineSolution

    Raises
    ------
    ProblemError
        `down_set_limit` is no whole number of 1 or more, or `time_limit_s` no number of seconds > 0.
    InfeasibleError
        No contiguous placement obeys the memory limits and the forbidden machines.
    MethodError
        "down-sets": more of them than `down_set_limit`, or too many states because the machines differ too much for
        their number. "milp": no placement in time. No such method.

    Notes
    -----
    O(pairs * (degree + states)) time, pairs <= down-sets^2 / 2, states = product over kinds of (machines + 1). Ties go
    to the split that is found first, which is the same on every run and in both backends. Loads are compared as whole
    multiples of at most 2^-60 of all times together; `bound` falls short of `value` by that rounding where it
    exceeds 1e-13 of the value.

    Examples
    --------
    >>> chain = [(0, 0.5, [1]), (1, 0.5, [2])]
    >>> problem = PipelineProblem.build([[2.0], [1.0], [1.0]], chain, machine_counts=[2])
    >>> solution = maximise_throughput(problem)
    >>> solution, solution.placement.tolist()
    (PipelineSolution(2.5, optimal, 2 machines, down-sets), [0, 1, 1])
    """
    if method not in ("auto", "down-sets", "milp"):
        raise MethodError(f"there is no method {method!r}; choose from auto, down-sets, milp")
    whole = isinstance(down_set_limit, int | np.integer) and not isinstance(down_set_limit, bool)
    if not (whole and down_set_limit >= 1):
        raise ProblemError(f"down_set_limit is {down_set_limit!r}; give a whole number of 1 or more")
    Clock(time_limit_s)  # refuses what is no time, whichever method answers
    if problem.n_layers == 0:
        return _solution(problem, np.zeros(0, dtype=np.int64), 0.0, 0, 0)
    groups = grouped(problem)
    machines = _machines(problem, groups)
    _check_each_group_fits(problem, groups)
    first_guess = None
    if (groups.n_groups + 1) * len(machines.capacity) <= STATE_LIMIT:
        first_guess = best_parts(chain_of(groups.n_groups), groups, machines, FORBIDDEN, prune=True)[:2]
    if method != "milp":
        try:
            return _by_down_sets(problem, groups, machines, down_set_limit, first_guess if prune else None)
        except MethodError:
            if method != "auto":
                raise
    from solvers.milp_contiguous import milp_contiguous

    known = None
    if first_guess is not None and first_guess[1] is not None:
        known = _placement(problem, groups, first_guess[1])
    return milp_contiguous(problem, incumbent=known, time_limit_s=time_limit_s)


def _by_down_sets(
    problem: PipelineProblem,
    groups: Groups,
    machines: Machines,
    down_set_limit: int,
    first_guess: tuple[int, Parts | None] | None,
) -> PipelineSolution:
    """Search all down-sets for better than `first_guess`; without one, without pruning."""
    n_states = len(machines.capacity)
    if (groups.n_groups + 1) * n_states > STATE_LIMIT:
        raise MethodError(_too_many_states(groups.n_groups + 1, n_states))
    try:
        lattice = down_sets(groups.n_groups, groups.tails, groups.heads, limit=down_set_limit)
    except MethodError as error:
        raise MethodError(
            f"{error} of the {groups.n_groups} groups of layers, out of reach for an exact contiguous split; "
            "raise down_set_limit, or colocate layers"
        ) from None
    if lattice.n_sets * n_states > STATE_LIMIT:
        raise MethodError(_too_many_states(lattice.n_sets, n_states))
    best, parts = (FORBIDDEN, None) if first_guess is None else first_guess
    found, better, n_pairs = best_parts(lattice, groups, machines, best, prune=first_guess is not None)
    if found < best:
        parts = better
    if parts is None:
        raise InfeasibleError(
            "no contiguous split fits the machines: their memory or what is allowed on them is not enough; "
            "add machines, raise a memory limit, or lift a restriction"
        )
    # Each layer and each end of a tensor is off by half a quantum.
    rounding = groups.quantum * (problem.n_layers + 2 * problem.n_tensors)
    return _solution(problem, _placement(problem, groups, parts), rounding, lattice.n_sets, n_pairs)


def _placement(problem: PipelineProblem, groups: Groups, parts: Parts) -> IntArray:
    """Number the machines of each kind in the order of the parts that they hold."""
    kinds = np.array([kind for kind, _ in parts])
    machine_of_group = np.zeros(groups.n_groups, dtype=np.int64)
    first = np.cumsum(problem.machine_counts) - problem.machine_counts
    for number, (kind, members) in enumerate(parts):
        machine_of_group[members] = first[kind] + int(np.count_nonzero(kinds[:number] == kind))
    return machine_of_group[groups.group_of_layer]


def _solution(
    problem: PipelineProblem, placement: IntArray, rounding: float, n_down_sets: int, n_pairs: int
) -> PipelineSolution:
    loads = pipeline_loads(problem, placement)
    if loads.reason:  # pragma: no cover - the same rules, decided on whole numbers
        raise MethodError(f"the split that was found breaks a rule by rounding: {loads.reason}")
    bound = loads.value if rounding <= 0.1 * PROOF_TOLERANCE * loads.value else max(loads.value - rounding, 0.0)
    used = set(placement.tolist())
    order = tuple(machine for machine in pipeline_order(problem, placement).tolist() if machine in used)
    return PipelineSolution(read_only(placement), loads.value, bound, "down-sets", order, n_down_sets, n_pairs)


def _too_many_states(n_down_sets: int, n_states: int) -> str:
    return (
        f"{n_down_sets} down-sets with {n_states} combinations of used machines are more than {STATE_LIMIT} states, "
        "out of reach for an exact contiguous split; declare equal machines as one kind, or colocate layers"
    )


def _check_each_group_fits(problem: PipelineProblem, groups: Groups) -> None:
    available = problem.machine_counts > 0
    allowed = (groups.compute < FORBIDDEN) & available[None, :]
    fits = allowed & (groups.memory[:, None] <= groups.memory_limit[None, :])
    alone = ~fits.any(axis=1)
    if not bool(np.any(alone)):
        return
    group = int(np.argmax(alone))
    members = np.flatnonzero(groups.group_of_layer == group)
    heaviest = problem.layer(int(members[np.argmax(problem.memory_bytes[members])]))
    beside = f" and the {len(members) - 1} that must sit with it" if len(members) > 1 else ""
    if not bool(np.any(allowed[group])):
        raise InfeasibleError(f"no machine allows {heaviest}{beside}; lift a restriction")
    take, them = ("take", "them") if beside else ("takes", "it")
    raise InfeasibleError(
        f"{heaviest}{beside} {take} {problem.memory_bytes[members].sum():.6g} bytes, "
        f"more than any machine holds that allows {them}; raise a memory limit"
    )


def _machines(problem: PipelineProblem, groups: Groups) -> Machines:
    counts = problem.machine_counts
    n_states = 1
    for count in counts.tolist():
        n_states = min(n_states * (count + 1), STATE_LIMIT + 1)
    if n_states > STATE_LIMIT:
        raise MethodError(_too_many_states(1, n_states))
    strides = np.concatenate([[1], np.cumprod(counts[:-1] + 1)]).astype(np.int64)
    used = np.arange(n_states)[:, None] // strides[None, :] % (counts + 1)[None, :]
    # In units of each group's time on its fastest kind, how much of that a kind does in a unit of time at most.
    costs = np.where(counts[None, :] > 0, groups.compute, FORBIDDEN)
    fastest = costs.min(axis=1, keepdims=True)
    ratios = np.where(costs > 0, fastest / np.maximum(costs, 1), 1.0)
    ratios[costs == FORBIDDEN] = 0.0
    speeds = np.where(fastest > 0, ratios, 0.0).max(axis=0, initial=0.0)
    capacity: FloatArray = ((counts[None, :] - used) * speeds[None, :]).sum(axis=1)
    return Machines(used.ravel(), strides, counts, groups.memory_limit, capacity)
