"""All optima of a family of problems over a range of its parameter, with the exact points at which they change.

Every placement's value is a line in theta, so the optimum is a concave piecewise linear function. Two optima known at
the ends of an interval either meet on the envelope or enclose another optimum, and one solve where their lines cross
tells which: 2 k - 1 solves for k optima. Eisner and Severance, "Mathematical techniques for efficient record
segmentation in large shared databases", Journal of the ACM 1976, https://doi.org/10.1145/321978.321982.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from solvers._arrays import FloatArray, IntArray, read_only
from solvers._checks import real, require_count
from solvers.envelope import Lines, lower_envelope
from solvers.errors import MethodError
from solvers.family import Family
from solvers.problem import Problem
from solvers.solution import Solution
from solvers.solve import solve

Solver = Callable[[Problem], Solution]

TOLERANCE = 1e-12
"""Relative to the sum of the absolute costs of a placement: what counts as a tie between two values."""

MAX_SEGMENTS = 10_000


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """One placement and the part of the range on which it is optimal.

    Attributes
    ----------
    theta_low, theta_high : float
    solution : Solution
        As solved for at `solved_at`, so that its value is the one there.
    solved_at : float
    intercept : float
        The placement's value at theta is intercept + slope * theta, delays included.
    slope : float
    gap : float
        Nowhere on the segment is the optimum cheaper by more; 0 if proven.
    """

    theta_low: float
    theta_high: float
    solution: Solution
    solved_at: float
    intercept: float
    slope: float
    gap: float

    @property
    def proven(self) -> bool:
        """Whether the placement is proven optimal on all of the segment."""
        return self.gap == 0

    def value(self, theta: float) -> float:
        """Return the placement's value at `theta`."""
        return self.intercept + self.slope * theta

    def __repr__(self) -> str:
        proof = "optimal" if self.proven else f"within {self.gap:.3g} of the optimum"
        return f"Segment({self.theta_low:.6g} .. {self.theta_high:.6g}, {proof})"


@dataclass(frozen=True, slots=True, eq=False)
class Breakpoints:
    """The segments of a range, in order and without holes.

    Attributes
    ----------
    family : Family
    segments : tuple of Segment
    n_solves : int
    """

    family: Family
    segments: tuple[Segment, ...]
    n_solves: int

    @property
    def low(self) -> float:
        """Where the range begins."""
        return self.segments[0].theta_low

    @property
    def high(self) -> float:
        """Where the range ends."""
        return self.segments[-1].theta_high

    @property
    def thetas(self) -> FloatArray:
        """Where the optimum changes, (n_segments - 1,) rising."""
        return read_only(np.array([segment.theta_low for segment in self.segments[1:]], dtype=np.float64))

    @property
    def lines(self) -> Lines:
        """The segments' lines, in order."""
        return Lines(
            np.array([segment.intercept for segment in self.segments]),
            np.array([segment.slope for segment in self.segments]),
            low=self.low,
            high=self.high,
        )

    @property
    def proven(self) -> bool:
        """Whether all segments are."""
        return all(segment.proven for segment in self.segments)

    def segments_at(self, thetas: Any) -> IntArray:
        """Return the number of the segment of each theta, same shape; a breakpoint belongs to the segment before it.

        Raises ProblemError outside the range.
        """
        return np.asarray(np.searchsorted(self.thetas, self.lines.checked(thetas), side="left"), dtype=np.int64)

    def values_at(self, thetas: Any) -> FloatArray:
        """Return the least value at each theta, same shape; ProblemError outside the range."""
        lines, points = self.lines, self.lines.checked(thetas)
        which = self.segments_at(points)
        return np.asarray(lines.intercepts[which] + lines.slopes[which] * points)

    def __repr__(self) -> str:
        proof = "optimal" if self.proven else "not all proven"
        return f"Breakpoints({len(self.segments)} segments from {self.low:.6g} to {self.high:.6g}, {proof})"


def breakpoints(
    family: Family,
    low: float,
    high: float,
    *,
    solver: Solver = solve,
    max_segments: int = MAX_SEGMENTS,
) -> Breakpoints:
    """Find every optimum of `family` for theta from `low` to `high` and where it changes.

    Parameters
    ----------
    family : Family
    low, high : float
        Finite; equal ends give one segment.
    solver : callable
        Problem to Solution; the problems share one graph and differ in costs. The whole answer is exact if its
        solutions are proven, delays and limits on visits included.
    max_segments : int
        Refuse beyond so many optima met, those counted that are optimal in one point only.

    Returns
    -------
    Breakpoints
        Neighbouring segments have different placements. Of placements with equal lines one is reported.

    Raises
    ------
    ProblemError
        The range is reversed, not finite, or leads to illegal costs.
    MethodError
        More than `max_segments` optima, or from `solver`.
    InfeasibleError
        From `solver`.

    Notes
    -----
    max(2, 2 k - 1) solves for k distinct optima, counting one that a solve met although it is optimal in that point
    only; each adds O(n_layers + n_consumers) to its solve. A placement that is nowhere better than its neighbours by
    more than 1e-12 of the absolute costs that it adds up may be left out: values stay right within that.

    Where a solve is not proven, its bound still holds, and the least value lies above the chords between the bounds,
    because it is concave: a segment's `gap` is its largest distance to them.

    Examples
    --------
    >>> from solvers.family import bandwidth_family
    >>> inf = float("inf")
    >>> chain = Problem.build(
    ...     [[0, inf], [4, 1], [4, 1], [0, inf]],
    ...     [(0, 3.0, [1]), (1, 1.0, [2]), (2, 0.5, [3])],
    ...     per_byte=[[0, 1], [1, 0]],
    ... )
    >>> found = breakpoints(bandwidth_family(chain), 0, 10)
    >>> found, found.thetas.tolist(), found.n_solves
    (Breakpoints(3 segments from 0 to 10, optimal), [1.5, 2.0], 5)
    """
    low, high = real("low", low), real("high", high)
    family.check_range(low, high)
    require_count("max_segments", max_segments)
    search = _Search(family, solver, max_segments)
    first = search.solve(low)
    last = first if low == high else search.solve(high)
    pieces: list[tuple[float, _Found]] = []  # where each begins
    intervals = [(low, first, high, last)]  # an optimum at either end; the leftmost interval is on top
    while intervals:
        left, before, right, after = intervals.pop()
        # By concavity an optimum of one end that ties at the other end is one all the way.
        if before is after or before.ties(after, right):
            pieces.append((left, before))
            continue
        if after.ties(before, left):
            pieces.append((left, after))
            continue
        crossing = (after.intercept - before.intercept) / (before.slope - after.slope)
        between = search.improve(crossing, before) if left < crossing < right else None
        if between is None:
            pieces.append((left, before))
            pieces.append((min(max(crossing, left), right), after))
        else:
            intervals.append((crossing, between, right, after))
            intervals.append((left, before, crossing, between))
    segments = search.segments(pieces, high) if search.proven else search.bounded_segments(low, high)
    return Breakpoints(family, segments, len(search.solved))


@dataclass(frozen=True, slots=True, eq=False)
class _Found:
    """A placement with its line, and the line of its absolute costs, which scales the tolerance."""

    solution: Solution
    theta: float
    intercept: float
    slope: float
    intercept_size: float
    slope_size: float

    def value(self, theta: float) -> float:
        return self.intercept + self.slope * theta

    def noise(self, theta: float) -> float:
        return TOLERANCE * (self.intercept_size + abs(theta) * self.slope_size)

    def ties(self, other: "_Found", theta: float) -> bool:
        """Tell whether this placement is no worse than `other` at `theta`."""
        return self.value(theta) <= other.value(theta) + max(self.noise(theta), other.noise(theta))

    def segment(self, low: float, high: float, gap: float) -> Segment:
        return Segment(low, high, self.solution, self.theta, self.intercept, self.slope, gap)


class _Search:
    """The solves made so far."""

    __slots__ = ("family", "found", "max_segments", "proven", "solved", "solver")

    def __init__(self, family: Family, solver: Solver, max_segments: int) -> None:
        self.family = family
        self.solver = solver
        self.max_segments = max_segments
        self.solved: list[tuple[float, float]] = []  # theta and the bound there
        self.found: list[_Found] = []
        self.proven = True

    def solve(self, theta: float) -> _Found:
        """Return an optimum at `theta`."""
        found = self._below(theta, None)
        assert found is not None
        return found

    def improve(self, theta: float, line: _Found) -> _Found | None:
        """Return an optimum at `theta` that is lower than `line` is there, or None."""
        return self._below(theta, line)

    def segments(self, pieces: list[tuple[float, _Found]], high: float) -> tuple[Segment, ...]:
        """Turn proven pieces, given by where they begin, into segments: no empty ones, neighbours merged."""
        ends = [*(begin for begin, _ in pieces[1:]), high]
        kept: list[tuple[float, float, _Found]] = []
        for (begin, found), end in zip(pieces, ends, strict=True):
            if kept and kept[-1][2] is found:
                kept[-1] = kept[-1][0], end, found
            elif begin < end or len(pieces) == 1:
                kept.append((begin, end, found))
        return tuple(found.segment(begin, end, 0.0) for begin, end, found in kept)

    def bounded_segments(self, low: float, high: float) -> tuple[Segment, ...]:
        """Return the envelope of all lines found, each with its distance to the chords between the bounds."""
        lines = Lines(
            np.array([found.intercept for found in self.found]),
            np.array([found.slope for found in self.found]),
            low=low,
            high=high,
        )
        envelope = lower_envelope(lines)
        if low == high:
            chosen = [(low, high, int(envelope.best(low)))]
        else:
            begins = np.clip(envelope.starts, low, high).tolist()
            ends = [*begins[1:], high]
            chosen = [row for row in zip(begins, ends, envelope.order.tolist(), strict=True) if row[0] < row[1]]
        solved = sorted(self.solved)
        thetas, bounds = (np.array(column) for column in zip(*solved, strict=True))
        segments = []
        for begin, end, line in chosen:
            found = self.found[line]
            # The line minus the chords is linear between solved thetas: its maximum is at one of them or at an end.
            points = np.array([begin, *thetas[(thetas > begin) & (thetas < end)], end])
            gap = float(np.max(found.intercept + found.slope * points - np.interp(points, thetas, bounds)))
            noise = max(found.noise(begin), found.noise(end))
            segments.append(found.segment(begin, end, gap if gap > noise else 0.0))
        return tuple(segments)

    def _below(self, theta: float, line: _Found | None) -> _Found | None:
        solution = self.solver(self.family.unchecked_at(theta))
        self.solved.append((theta, solution.bound))
        self.proven = self.proven and solution.optimal
        if line is not None:
            if solution.value >= line.value(theta) - line.noise(theta):
                return None
        elif self.found and np.array_equal(self.found[0].solution.placement, solution.placement):
            return self.found[0]
        found = _Found(solution, theta, *self.family.line_and_size(solution.placement))
        self.found.append(found)
        if len(self.found) > self.max_segments:
            raise MethodError(
                f"breakpoints met more than max_segments={self.max_segments} optima; narrow the range or raise it"
            )
        return found
