"""The face: pick a method, run it, answer with a Solution."""

from collections.abc import Callable

from solvers.errors import MethodError
from solvers.problem import Problem
from solvers.solution import Solution


def _chain(problem: Problem, node_limit: int | None) -> Solution:
    from solvers.chain import solve_chain

    return solve_chain(problem)


def _dp(problem: Problem, node_limit: int | None) -> Solution:
    from solvers.series_parallel import solve_series_parallel

    return solve_series_parallel(problem)


def _min_cut(problem: Problem, node_limit: int | None) -> Solution:
    from solvers.branch_and_bound import NODE_LIMIT, solve_min_cut

    return solve_min_cut(problem, node_limit=NODE_LIMIT if node_limit is None else node_limit)


METHODS: dict[str, Callable[[Problem, int | None], Solution]] = {"chain": _chain, "dp": _dp, "min-cut": _min_cut}
"""In the order in which "auto" tries them."""


def solve(problem: Problem, method: str = "auto", *, node_limit: int | None = None) -> Solution:
    """Find the cheapest placement of the layers on a device and a server.

    Parameters
    ----------
    problem : Problem
    method : {"auto", "chain", "dp", "min-cut"}
        "chain" takes one path of layers, "dp" what folds by eliminating layers with at most two neighbours,
        "min-cut" everything; "auto" takes the first of them that does not refuse.
    node_limit : int, optional
        Cuts that "min-cut" may solve while branching, 10,000 if not given. At the limit the answer comes with a gap.

    Returns
    -------
    Solution
        Proven optimal by "chain" and "dp" always, by "min-cut" unless it met its node limit.

    Raises
    ------
    MethodError
        The method refuses the problem, or there is no such method.
    InfeasibleError
        No placement obeys the allowed machines and the limit on visits.

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
    if problem.colocated:
        raise MethodError("no method takes colocated layers yet")
    if method != "auto":
        if method not in METHODS:
            raise MethodError(f"there is no method {method!r}; choose from auto, {', '.join(METHODS)}")
        return METHODS[method](problem, node_limit)
    refusals = []
    for attempt in METHODS.values():
        try:
            return attempt(problem, node_limit)
        except MethodError as refusal:
            refusals.append(str(refusal))
    raise MethodError("no method takes this problem: " + "; ".join(refusals))
