"""What a method answers: a placement, its value, and how far it is proven."""

from dataclasses import dataclass

from solvers._arrays import IntArray, read_only
from solvers.evaluation import evaluate
from solvers.problem import Problem

PROOF_TOLERANCE = 1e-12
"""Relative distance between value and bound up to which a solution counts as proven."""


@dataclass(frozen=True, slots=True, eq=False)
class Solution:
    """A placement with its cost and a proven lower bound on every placement's cost, in the problem's unit."""

    placement: IntArray  # (n_layers,) machines, read-only
    value: float  # from `evaluate`
    bound: float  # no placement costs less; at most `value`
    method: str  # "chain", "dp" or "min-cut": the method that decided

    @classmethod
    def of(cls, problem: Problem, placement: IntArray, method: str, *, bound: float | None = None) -> "Solution":
        """Evaluate `placement`; without a `bound` it is proven optimal."""
        value = evaluate(problem, placement)
        proven = value if bound is None else min(bound, value)
        return cls(read_only(placement.copy()), value, proven, method)

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
