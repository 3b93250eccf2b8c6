"""The face: pick a method, run it, answer with a Solution."""

from solvers.analysis import WORK_LIMIT, Analysis, analyse
from solvers.branch_aware import solve_branch_aware
from solvers.errors import MethodError
from solvers.problem import Problem
from solvers.solution import Solution

METHODS = ("chain", "dp", "min-cut", "milp")
"""In the order in which "auto" tries them; where a single cut answers, "min-cut" comes before "dp"."""


def solve(
    problem: Problem,
    method: str = "auto",
    *,
    analysis: Analysis | None = None,
    node_limit: int | None = None,
    time_limit_s: float | None = None,
) -> Solution:
    """Find the cheapest placement of the layers on the machines.

    Parameters
    ----------
    problem : Problem
    method : {"auto", "chain", "dp", "min-cut", "milp"}
        "chain" takes one path of layers on two machines, "dp" every graph whose elimination stays narrow, on any
        number of machines, "min-cut" everything on two machines, "milp" everything, slowly. "auto" takes the first
        of them that does not refuse; with more than two machines "min-cut" always does. On two machines without
        delays and limit on visits, where one cut is the answer, "auto" takes "min-cut" before "dp": it is quicker.
    analysis : Analysis, optional
        From `analyse`: saves "dp" its symbolic phase. With "auto" it goes straight to "dp". Not used where delays
        meet machines on which no layer is allowed: these are left out first.
    node_limit : int, optional
        Cuts that "min-cut" may solve while branching, 10,000 if not given. At the limit the answer comes with a gap.
    time_limit_s : float, optional
        After which "min-cut" stops branching, and "milp" stops, with a gap.

    Returns
    -------
    Solution
        Proven optimal by "chain" always, by "dp" but for delays between more than two machines, by the others unless
        they met a limit.

    Raises
    ------
    MethodError
        The method refuses the problem, or there is no such method.
    InfeasibleError
        No placement obeys the allowed machines, the colocated layers and the limit on visits.
    ProblemError
        The analysis is another problem's.

    Examples
    --------
    >>> from solvers import Problem, solve
    >>> inf = float("inf")
    >>> problem = Problem.build(
    ...     [[0, inf], [9, 1], [0, inf]],
    ...     [(0, 2.0, [1]), (1, 1.0, [2])],
    ...     per_byte=[[0, 1], [1, 0]],
    ...     delay=[[0, 0.5], [0.5, 0]],
    ... )
    >>> solve(problem)
    Solution(5, optimal, 1 of 3 layers off the device, chain)
    """
    if method != "auto" and method not in METHODS:
        raise MethodError(f"there is no method {method!r}; choose from auto, {', '.join(METHODS)}")
    # With delays, machines that nothing may use change how messages count; an analysis of all of them is then no help.
    narrow = None
    if problem.n_machines > 2 and (analysis is None or problem.delay.any()):
        narrow = problem.narrowed()
    if narrow is not None:
        smaller, machines = narrow
        return solve(smaller, method, node_limit=node_limit, time_limit_s=time_limit_s).on(machines)
    if method == "auto":
        if analysis is not None:
            return solve_branch_aware(problem, analysis=analysis)
        return _first_that_takes(problem, node_limit, time_limit_s)
    return _run(problem, method, analysis, node_limit, time_limit_s, WORK_LIMIT)


def _first_that_takes(problem: Problem, node_limit: int | None, time_limit_s: float | None) -> Solution:
    one_cut = problem.n_machines == 2 and problem.max_server_visits is None and not problem.delay.any()
    methods = ("chain", "min-cut") if one_cut else METHODS
    # On two machines branching is quicker than wide tables; on more there is only the integer program, which is slow.
    work_limit = 1_000_000 + 512 * problem.n_layers if problem.n_machines == 2 else WORK_LIMIT
    refusals = []
    for method in methods:
        try:
            found = _run(problem, method, None, node_limit, time_limit_s, work_limit)
        except MethodError as refusal:
            refusals.append(str(refusal))
            continue
        return _better_by_dp(problem, found, work_limit) if one_cut and not found.optimal else found
    raise MethodError("no method takes this problem: " + "; ".join(refusals))


def _better_by_dp(problem: Problem, found: Solution, work_limit: int) -> Solution:
    # A flow loses digits where prices dwarf the value; elimination only adds.
    try:
        other = _run(problem, "dp", None, None, None, work_limit)
    except MethodError:
        return found
    return other if other.optimal or other.value < found.value else found


def _run(
    problem: Problem,
    method: str,
    analysis: Analysis | None,
    node_limit: int | None,
    time_limit_s: float | None,
    work_limit: int,
) -> Solution:
    if method == "chain":
        from solvers.chain import solve_chain

        return solve_chain(problem)
    if method == "dp":
        return solve_branch_aware(problem, analysis=analysis or analyse(problem, work_limit=work_limit))
    if method == "min-cut":
        from solvers.branch_and_bound import NODE_LIMIT, solve_min_cut

        limit = NODE_LIMIT if node_limit is None else node_limit
        return solve_min_cut(problem, node_limit=limit, time_limit_s=time_limit_s)
    from solvers.milp import solve_milp

    return solve_milp(problem, time_limit_s=time_limit_s)
