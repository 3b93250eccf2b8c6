"""What one asks of a range of bandwidths: the optimum at each of many, the margin of one, brackets by bisection."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from math import isfinite
from typing import Any

import numpy as np

from solvers._arrays import FloatArray, IntArray, read_only
from solvers._checks import real, require_count
from solvers.envelope import finite_array
from solvers.errors import InfeasibleError, ProblemError
from solvers.family import Family
from solvers.parametric import MAX_SEGMENTS, Breakpoints, Solver, breakpoints
from solvers.solution import Solution
from solvers.solve import solve


@dataclass(frozen=True, slots=True, eq=False)
class Sweep:
    """The optimum at each of several thetas.

    Attributes
    ----------
    thetas : (n_points,) float64
        As given.
    values : (n_points,) float64
    segments : (n_points,) int64
        Indices into ``breakpoints.segments``.
    breakpoints : Breakpoints
    """

    thetas: FloatArray
    values: FloatArray
    segments: IntArray
    breakpoints: Breakpoints

    def placement(self, point: int) -> IntArray:
        """Return the placement at point number `point`, (n_layers,) machines."""
        return self.breakpoints.segments[int(self.segments[point])].solution.placement

    def __repr__(self) -> str:
        return f"Sweep({len(self.thetas)} points, {len(set(self.segments.tolist()))} placements)"


def sweep(family: Family, thetas: Any, *, solver: Solver = solve, max_segments: int = MAX_SEGMENTS) -> Sweep:
    """Solve for every theta of an array, by way of the breakpoints between the least and the largest.

    Parameters
    ----------
    family : Family
    thetas : (n_points,) array_like
        In any order, at least one; `solvers.family.seconds_per_byte` makes them of bandwidths.
    solver, max_segments
        As for `breakpoints`, with the same errors. O(n_points log n_segments) beyond it.

    Returns
    -------
    Sweep

    Examples
    --------
    >>> from solvers import Problem
    >>> from solvers.family import bandwidth_family, seconds_per_byte
    >>> inf = float("inf")
    >>> problem = Problem.build([[0, inf], [4, 1]], [(0, 2.0, [1])], per_byte=[[0, 1], [1, 0]])
    >>> sweep(bandwidth_family(problem), seconds_per_byte([0.5, 1.0, 4.0])).values.tolist()
    [4.0, 3.0, 1.5]
    """
    points = finite_array("thetas", thetas)
    if points.ndim != 1 or not len(points):
        raise ProblemError(f"thetas have shape {points.shape}; give (n_points,), at least one")
    found = breakpoints(family, float(points.min()), float(points.max()), solver=solver, max_segments=max_segments)
    return Sweep(points, read_only(found.values_at(points)), read_only(found.segments_at(points)), found)


@dataclass(frozen=True, slots=True)
class Margin:
    """How far theta may drift before another placement is better.

    Attributes
    ----------
    theta : float
    segment : int
    theta_low, theta_high : float
    changes_low, changes_high : bool
        False: the range known ends there, not the segment.
    """

    theta: float
    segment: int
    theta_low: float
    theta_high: float
    changes_low: bool
    changes_high: bool

    @property
    def bandwidth_low(self) -> float:
        """What bandwidth may fall to where theta = 1 / B, in bytes per second."""
        return _inverse(self.theta_high)

    @property
    def bandwidth_high(self) -> float:
        """What bandwidth may rise to where theta = 1 / B, in bytes per second; inf if without limit."""
        return _inverse(self.theta_low)

    def __repr__(self) -> str:
        ends = "[" if self.changes_low else "at least [", "]" if self.changes_high else "] or more"
        return f"Margin({self.theta:.6g} in {ends[0]}{self.theta_low:.6g}, {self.theta_high:.6g}{ends[1]})"


def margin(found: Breakpoints, theta: float) -> Margin:
    """Say between which thetas the placement that is optimal at `theta` stays so; ProblemError outside the range.

    Examples
    --------
    >>> from solvers import Problem
    >>> from solvers.family import bandwidth_family
    >>> inf = float("inf")
    >>> problem = Problem.build([[0, inf], [4, 1]], [(0, 2.0, [1])], per_byte=[[0, 1], [1, 0]])
    >>> around = margin(breakpoints(bandwidth_family(problem), 0, 10), 1.0)
    >>> around.theta_low, around.theta_high, around.bandwidth_low, around.changes_low
    (0.0, 1.5, 0.6666666666666666, False)
    """
    theta = real("theta", theta)
    which = int(found.segments_at(theta))
    segment = found.segments[which]
    return Margin(
        theta=theta,
        segment=which,
        theta_low=segment.theta_low,
        theta_high=segment.theta_high,
        changes_low=which > 0,
        changes_high=which < len(found.segments) - 1,
    )


@dataclass(frozen=True, slots=True, eq=False)
class Refinement:
    """What a bisection saw: samples, and brackets between which the answer changed at least once.

    Attributes
    ----------
    thetas : (n_solves,) float64
        Rising.
    solutions : tuple of Solution or None
        At each theta; None where the problem is infeasible.
    brackets : tuple of (float, float)
        Neighbouring thetas with different placements.
    tolerance : float
    """

    thetas: FloatArray
    solutions: tuple[Solution | None, ...]
    brackets: tuple[tuple[float, float], ...]
    tolerance: float

    @property
    def complete(self) -> bool:
        """Whether every bracket is as narrow as asked for; says nothing of changes between equal samples."""
        return all(right - left <= self.tolerance for left, right in self.brackets)

    def __repr__(self) -> str:
        return f"Refinement({len(self.brackets)} brackets, {len(self.thetas)} solves)"


def refine(
    solve_at: Callable[[float], Solution],
    low: float,
    high: float,
    *,
    tolerance: float,
    n_start: int = 2,
    max_solves: int = 10_000,
) -> Refinement:
    """Bracket the changes of any answer by bisection, where its value is no line in theta.

    For throughput, deadlines and memory limits. Nothing is proven between two samples with the same placement: a
    change and a change back are missed. More starting points find more.

    Parameters
    ----------
    solve_at : callable
        theta to Solution; it may raise InfeasibleError, which counts as an answer of its own.
    low, high : float
        Finite, ``low < high``.
    tolerance : float
        Bisect brackets wider than this, > 0, in the unit of theta.
    n_start : int
        Even samples to start from, at least the two ends.
    max_solves : int
        Stop there; what is left wider shows in `Refinement.complete`.

    Returns
    -------
    Refinement

    Examples
    --------
    >>> from solvers import Problem
    >>> from solvers.family import bandwidth_family
    >>> inf = float("inf")
    >>> problem = Problem.build([[0, inf], [4, 1]], [(0, 2.0, [1])], per_byte=[[0, 1], [1, 0]])
    >>> family = bandwidth_family(problem)
    >>> refine(lambda theta: solve(family.at(theta)), 0.0, 8.0, tolerance=1.0).brackets
    ((1.0, 2.0),)
    """
    low, high, tolerance = real("low", low), real("high", high), real("tolerance", tolerance)
    if not (isfinite(low) and isfinite(high) and low < high):
        raise ProblemError(f"the range is {low} to {high}; give finite numbers, the lower one first")
    if not (isfinite(tolerance) and tolerance > 0):
        raise ProblemError(f"tolerance is {tolerance}; give a finite width > 0")
    require_count("n_start", n_start, least=2)
    require_count("max_solves", max_solves, least=n_start)

    def answer(theta: float) -> Solution | None:
        try:
            return solve_at(theta)
        except InfeasibleError:
            return None

    samples = [(float(theta), answer(float(theta))) for theta in np.linspace(low, high, n_start)]
    n_solves = len(samples)
    open_pairs = deque(pair for pair in pairwise(samples) if _differ(pair[0][1], pair[1][1]))
    brackets = []
    while open_pairs:
        left, right = open_pairs.popleft()
        middle = left[0] + (right[0] - left[0]) / 2
        if right[0] - left[0] <= tolerance or not left[0] < middle < right[0] or n_solves >= max_solves:
            brackets.append((left[0], right[0]))
            continue
        sample = (middle, answer(middle))
        n_solves += 1
        samples.append(sample)
        open_pairs.extend(pair for pair in ((left, sample), (sample, right)) if _differ(pair[0][1], pair[1][1]))
    samples.sort(key=lambda sample: sample[0])
    return Refinement(
        thetas=read_only(np.array([theta for theta, _ in samples])),
        solutions=tuple(solution for _, solution in samples),
        brackets=tuple(sorted(brackets)),
        tolerance=tolerance,
    )


def _inverse(theta: float) -> float:
    return 1 / theta if theta > 0 else float("inf")


def _differ(one: Solution | None, other: Solution | None) -> bool:
    if one is None or other is None:
        return one is not other
    return not np.array_equal(one.placement, other.placement)
