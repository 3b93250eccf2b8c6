"""What a method answers: a placement, its value, and how far it is proven."""

from dataclasses import dataclass, replace

import numpy as np

from solvers._arrays import FloatArray, IntArray, read_only
from solvers.evaluation import evaluate
from solvers.problem import Problem

PROOF_TOLERANCE = 1e-12
"""Relative distance between value and bound up to which a solution counts as proven."""


LIMIT_TOLERANCE = 1e-12
"""How far a sum may pass its limit, relative to the limit: what float64 loses when it adds up."""

ROUNDING = 1e-14
"""What a search may lose, relative to the largest cost that it adds and subtracts."""

MOST_DIGITS = 1e9
"""Largest cost over value beyond which that counts."""


@dataclass(frozen=True, slots=True, eq=False)
class Solution:
    """A placement with its cost and a proven lower bound on every placement's cost, in the problem's unit.

    Attributes
    ----------
    placement : (n_layers,) int64
        Machines, read-only.
    value : float
        From `evaluate`.
    bound : float
        No placement costs less; at most `value`.
    method : str
        The solver that decided: "chain", "dp", "min-cut", "milp", "labels", "lagrangian" or "tiers".
    """

    placement: IntArray
    value: float
    bound: float
    method: str

    @classmethod
    def of(cls, problem: Problem, placement: IntArray, method: str, *, bound: float | None = None) -> "Solution":
        """Evaluate `placement`; without a `bound` it is proven optimal, as far as float64 can tell.

        Parameters
        ----------
        problem : Problem
        placement : (n_layers,) int64
            Machines.
        method : str
            Which solver decided.
        bound : float, optional

        Returns
        -------
        Solution
        """
        value = evaluate(problem, placement)
        if bound is None:
            bound = value - (cancellation(problem.compute, value) if problem.compute.min(initial=0.0) < 0.0 else 0.0)
        proven = min(bound, value)
        return cls(read_only(placement.copy()), value, proven, method)

    def on(self, machines: IntArray) -> "Solution":
        """Return the same with machine k called ``machines[k]``: the way back from `Problem.narrowed`."""
        return replace(self, placement=read_only(machines[self.placement]))

    @property
    def gap(self) -> float:
        """How much cheaper the optimum could be at most, >= 0."""
        return self.value - self.bound

    @property
    def optimal(self) -> bool:
        """Whether the value is proven optimal: the bound reaches it within 1e-12 relative."""
        return self.gap <= PROOF_TOLERANCE * abs(self.value)

    def __repr__(self) -> str:
        proof = "optimal" if self.optimal else f"within {self.gap:.3g} of the optimum"
        moved = f"{int((self.placement != 0).sum())} of {len(self.placement)} layers off the device"
        return f"Solution({self.value:.6g}, {proof}, {moved}, {self.method})"


def cancellation(costs: FloatArray, value: float) -> float:
    """Return by how much a search that adds and subtracts `costs` may miss the optimum; 0 in all but odd cases.

    It takes a cost a billion times the value and another one as small as that: the sum of both then keeps too few of
    the small one's digits for a proof. Costs of one sign cannot do that to a search that only adds.
    """
    sizes = np.abs(costs[np.isfinite(costs) & (costs != 0.0)])
    largest = float(sizes.max(initial=0.0))
    return ROUNDING * largest if largest > MOST_DIGITS * max(abs(value), float(sizes.min(initial=largest))) else 0.0


@dataclass(frozen=True, slots=True, eq=False)
class PipelineSolution:
    """A contiguous placement, its largest load, and how it was found.

    Attributes
    ----------
    placement : (n_layers,) int64
        Machines, numbered kind by kind.
    value : float
        The largest load, from `pipeline_loads`.
    bound : float
        No contiguous placement has a smaller one.
    method : str
        "down-sets" or "milp".
    pipeline : tuple of int
        The machines that hold layers, in the order in which an inference passes them.
    n_down_sets : int
        0 if the problem has no layers.
    n_pairs : int
        Pairs of a down-set and one above it that were looked at.
    """

    placement: IntArray
    value: float
    bound: float
    method: str
    pipeline: tuple[int, ...]
    n_down_sets: int
    n_pairs: int

    @property
    def optimal(self) -> bool:
        """Whether the value is proven: the bound reaches it within 1e-12 relative."""
        return self.value - self.bound <= PROOF_TOLERANCE * self.value

    def __repr__(self) -> str:
        proof = "optimal" if self.optimal else f"within {self.value - self.bound:.3g} of the optimum"
        return f"PipelineSolution({self.value:.6g}, {proof}, {len(self.pipeline)} machines, {self.method})"
