"""How often to cross: the exact loop over the highest stage, shared by every method that needs it.

A placement whose highest stage is S pays D(S) = ceil(S/2) * up + floor(S/2) * down in delays. Let LB be the least
cost without delays, S0 the highest stage of a placement that reaches it, and V(S) the least delay-free cost among
placements whose highest stage is at most S. The optimum is the least of LB + D(S0) and V(S) + D(S) over S < S0,
and S needs no look once LB + D(S) is no better than what is known. A limit of C visits below S0 leaves V(S) + D(S)
over S = 0 .. 2 C.
"""

from collections.abc import Callable

import numpy as np

from solvers._arrays import FloatArray, IntArray, read_only
from solvers.errors import InfeasibleError, MethodError
from solvers.evaluation import count_messages, delay_cost, delay_free_value
from solvers.problem import Problem
from solvers.solution import Solution

StagedSolver = Callable[[int, float], tuple[IntArray | None, float]]
"""``(highest stage S, cutoff) -> (placement or None, open bound)``.

The placement's highest stage is at most S; None: there is none, or none below the cutoff. The open bound is ``inf``
if the search ended, so that the placement's delay-free cost is V(S) unless the cutoff is less; otherwise it is the
least delay-free cost that a placement not yet seen can have.
"""


def require_two_machines(problem: Problem, method: str) -> None:
    """Refuse what is not a device and a server."""
    if problem.n_machines != 2:
        raise MethodError(f"{method} takes 2 machines, the problem has {problem.n_machines}")


def highest_stage_allowed(problem: Problem) -> int:
    """Return the largest useful stage under the limit on visits; n_layers + 1 stands for no limit."""
    unlimited = problem.n_layers + 1
    visits = problem.max_server_visits
    return unlimited if visits is None else min(2 * visits, unlimited)


def minimise_over_stages(
    problem: Problem, relaxed: IntArray, at_most: StagedSolver, method: str, *, returns: bool | None = None
) -> Solution:
    """Return the best placement given `relaxed`, an optimum without delays and limit, and a solver for V(S).

    `returns` is `ends_on_device(problem)` if that is known.

    Ties go to the fewer stages among those looked at, then to `relaxed`.

    Raises
    ------
    InfeasibleError
        No placement within the limit on visits.
    """
    least = delay_free_value(problem, relaxed)
    reached = count_messages(problem, relaxed)
    allowed = highest_stage_allowed(problem)
    best: IntArray | None = None
    best_value = float("inf")
    open_bound = float("inf")
    if reached <= allowed:
        best, best_value = relaxed, least + delay_cost(problem, reached)
    if returns is None:
        returns = reached > 1 and ends_on_device(problem)
    for stage in range(min(reached, allowed + 1)):
        delays = delay_cost(problem, stage)
        if least + delays >= best_value:
            break
        if stage % 2 == 1 and returns:
            continue
        placement, unseen = at_most(stage, best_value - delays)
        open_bound = min(open_bound, unseen + delays)
        if placement is not None:
            messages = count_messages(problem, placement)
            value = delay_free_value(problem, placement) + delay_cost(problem, messages)
            if value < best_value:
                best, best_value = placement, value
    if best is None:
        if open_bound < float("inf"):
            raise MethodError(f"{method} found no placement within its limit; raise node_limit or time_limit_s")
        raise infeasible(problem)
    return Solution(read_only(best.copy()), best_value, min(open_bound, best_value), method)


def infeasible(problem: Problem) -> InfeasibleError:
    """Return the error for a problem whose pins need more visits than allowed."""
    return InfeasibleError(
        f"no placement satisfies the layers' allowed machines with max_server_visits={problem.max_server_visits}; "
        "allow more visits or lift a restriction"
    )


def device_only(problem: Problem) -> IntArray | None:
    """Return the placement of everything on the device, or None if a layer is not allowed there."""
    if problem.compute[:, 0].max(initial=0.0) == np.inf:
        return None
    return np.zeros(problem.n_layers, dtype=np.int64)


def crossing_costs(problem: Problem) -> tuple[FloatArray, FloatArray]:
    """Return what each tensor costs from device to server and back, two (n_tensors,) float64 arrays."""
    return problem.transfer_costs(0, 1), problem.transfer_costs(1, 0)


def ends_on_device(problem: Problem) -> bool:
    """Tell whether every layer without consumers is pinned to the device."""
    last = problem.graph.successor_offsets[1:] == problem.graph.successor_offsets[:-1]
    return bool(np.isinf(problem.compute[last, 1]).all())
