"""Memory limits on weights plus peak activations: the most bytes of tensors that a machine holds at once.

Peaks are no sum over layers, so neither labels nor programs of rows hold them. Weights alone are a relaxation; what
fits its limits and the peaks' too is optimal, else the room for weights shrinks until the answer fits, with a gap.
"""

from typing import Any

import numpy as np

from solvers._arrays import FloatArray, read_only
from solvers.errors import InfeasibleError, MethodError
from solvers.evaluation import checked_placement
from solvers.labels import LABEL_LIMIT
from solvers.limits import checked_memory, within_memory
from solvers.milp_model import TIME_LIMIT_S
from solvers.problem import Problem
from solvers.solution import LIMIT_TOLERANCE, Solution

MOST_TIGHTENINGS = 100
"""Times that the room for weights may shrink."""


def within_peak_memory(
    problem: Problem,
    bytes_per_layer: Any,
    limits: Any,
    *,
    label_limit: int = LABEL_LIMIT,
    time_limit_s: float | None = TIME_LIMIT_S,
) -> Solution:
    """Return a cheap placement whose weights plus peak activations fit into each machine's memory.

    Parameters
    ----------
    problem : Problem
        Any number of machines, costs of any sign.
    bytes_per_layer : (n_layers,) float64, >= 0
        Weights of each layer, added up per machine as in `within_memory`.
    limits : (n_machines,) float
        Bytes of each machine for weights and what `peak_activations` returns; ``inf`` = no limit. Met within 1e-12.
    label_limit, time_limit_s
        As in `within_memory`, for each of its calls.

    Returns
    -------
    Solution
        Its bound is that of the weights alone: the answer is proven if the best placement by weights fits as a whole.

    Raises
    ------
    InfeasibleError
        Not even the weights fit.
    MethodError
        The weights fit, but no placement was found whose activations do, too; or as `within_memory`.
    ProblemError
        As `within_memory`.

    Notes
    -----
    Each step takes away from the room for weights what the activations of the last placement need, which excludes
    that placement. At most 100 calls of `within_memory`. See docs/limits.md.

    Examples
    --------
    >>> tensors = [(0, 4.0, [1]), (1, 4.0, [2])]
    >>> problem = Problem.build([[3, 1], [3, 1], [3, 1]], tensors, max_server_visits=None)
    >>> within_memory(problem, [5, 5, 5], [float("inf"), 15])
    Solution(3, optimal, 3 of 3 layers off the device, labels)
    >>> within_peak_memory(problem, [5, 5, 5], [float("inf"), 15])
    Solution(7, within 4 of the optimum, 1 of 3 layers off the device, labels)
    """
    sizes, tops = checked_memory(problem, bytes_per_layer, limits)
    room = tops.copy()
    bound: float | None = None
    for _ in range(MOST_TIGHTENINGS):
        try:
            found = within_memory(problem, sizes, room, label_limit=label_limit, time_limit_s=time_limit_s)
        except InfeasibleError:
            if bound is None:
                raise
            break
        bound = found.bound if bound is None else bound
        weights = np.bincount(found.placement, weights=sizes, minlength=problem.n_machines)
        peaks = peak_activations(problem, found.placement)
        over = weights + peaks > tops * (1.0 + LIMIT_TOLERANCE)
        if not over.any():
            return Solution(found.placement, found.value, min(bound, found.value), found.method)
        smaller = np.where(over, np.minimum(room, tops - peaks), room)
        if bool(np.any(smaller < 0)) or bool(np.all(weights <= smaller * (1.0 + LIMIT_TOLERANCE))):
            break
        room = smaller
    raise MethodError(
        f"the weights fit at a value of {bound:.6g} or more, but no placement was found whose activations fit, too; "
        "raise a limit, or pin the layers with large tensors to a machine that has room"
    )


def peak_activations(problem: Problem, placement: Any) -> FloatArray:
    """Return the most bytes of tensors that each machine holds at once; (n_machines,) float64.

    Parameters
    ----------
    problem : Problem
        Its tensors' sizes are taken for their sizes in memory.
    placement : (n_layers,) int

    Raises
    ------
    ProblemError
        `placement` does not have one machine for each layer.

    Notes
    -----
    One inference runs its layers one by one, in the order of ``problem.graph.order``, on whatever machine each is. A
    machine holds a tensor that it makes from that layer's step to the step of the tensor's last consumer there, and a
    tensor that it receives from the step in which it was made. What a layer needs inside itself is not counted.
    O(n_layers * n_machines + n_consumers).

    Examples
    --------
    >>> problem = Problem.build([[1, 1]] * 3, [(0, 8.0, [1, 2]), (1, 2.0, [2])], max_server_visits=None)
    >>> peak_activations(problem, [0, 0, 0]).tolist(), peak_activations(problem, [0, 0, 1]).tolist()
    ([10.0, 0.0], [10.0, 10.0])
    """
    machines = checked_placement(problem, placement)
    step = np.empty(problem.n_layers, dtype=np.int64)
    step[problem.graph.order] = np.arange(problem.n_layers)
    change = np.zeros((problem.n_machines, problem.n_layers + 1))
    for tensor in range(problem.n_tensors):
        readers = problem.consumer_layers[problem.consumer_offsets[tensor] : problem.consumer_offsets[tensor + 1]]
        producer = problem.tensor_producer[tensor]
        size = problem.tensor_size_bytes[tensor]
        made, home = step[producer], machines[producer]
        for machine in {int(home), *machines[readers].tolist()}:
            last = max([made, *step[readers[machines[readers] == machine]].tolist()])
            change[machine, made] += size
            change[machine, last + 1] -= size
    return read_only(np.maximum(np.cumsum(change, axis=1), 0.0).max(axis=1))
