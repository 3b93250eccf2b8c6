"""Branch-aware dynamic programming: exact elimination of layers, for any number of machines and any links.

A layer's state is its label and, for each of its tensors with several consumers, where that tensor was sent. Without
delays a label is a machine; with at most S messages between two machines the labels are 0 .. S. Minimising a layer
away leaves a small table over its neighbours. In the spirit of the four (source, sink) placements of Wang et al.;
the elimination is Bertele and Brioschi, "Nonserial Dynamic Programming", 1972.
"""

from solvers._arrays import IntArray
from solvers.analysis import Analysis, analyse, least
from solvers.evaluation import delay_free_value
from solvers.problem import Problem
from solvers.solution import Solution
from solvers.visits import device_only, infeasible, minimise_over_stages


def solve_branch_aware(problem: Problem, *, analysis: Analysis | None = None) -> Solution:
    """Solve a problem whose layer graph is narrow enough; any number of machines, components, inputs and outputs.

    Parameters
    ----------
    problem : Problem
    analysis : Analysis, optional
        From `analyse`, of any problem with the same graph and pins.

    Returns
    -------
    Solution
        Proven optimal; with delays between more than two machines, the best placement if every tensor sent pays its
        own delay, bounded from below by the optimum without delays.

    Raises
    ------
    MethodError
        Tables would grow too wide; the message says how many layers stay.
    InfeasibleError
        The allowed machines need more server visits than allowed, or colocated layers contradict each other.

    Notes
    -----
    Linear in the layers at a fixed width, for each number of stages that must be looked at. Ties go to the earlier
    label, that is the device, layer by layer.
    """
    if analysis is None:
        analysis = analyse(problem)
    else:
        analysis.require(problem)
    network = analysis.network
    relaxed = least(problem, network, analysis.model)
    if relaxed is None:
        raise infeasible(problem)
    if not problem.delay.any() and problem.max_server_visits is None:
        return Solution.of(problem, relaxed, "dp")
    if problem.n_machines > 2:
        bound = delay_free_value(problem, relaxed)
        placement = least(problem, network, analysis.model, problem.per_tensor + problem.delay)
        return Solution.of(problem, relaxed if placement is None else placement, "dp", bound=bound)

    def at_most(stage: int, cutoff: float) -> tuple[IntArray | None, float]:
        if stage == 0:
            return device_only(problem), float("inf")
        model = analysis.staged(stage)
        return None if model is None else least(problem, network, model), float("inf")

    return minimise_over_stages(problem, relaxed, at_most, "dp", returns=analysis.returns)
