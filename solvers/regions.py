"""All placements that are optimal somewhere in a box of parameters, such as bandwidth by server load.

Where every cost is affine in the parameters, so is the value of each placement: the optimum is the lower envelope of
planes, concave and piecewise linear. It lies above what the known placements' envelope says nowhere else than it does
at a vertex of that envelope, so solving at the vertices either finds another placement or proves that none is left.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from solvers._arrays import FloatArray, IntArray, read_only
from solvers.errors import ProblemError
from solvers.evaluation import evaluate
from solvers.problem import Problem
from solvers.solution import Solution
from solvers.solve import solve

Point = tuple[float, ...]
MAX_PLACEMENTS = 1_000

# Relative to the largest value in the box: what counts as a tie. Qhull finds vertices to about 1e-12 of the box.
_TOLERANCE = 1e-9
_AFFINE_TOLERANCE = 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class Regions:
    """The placements that a box of parameters needs, and their values.

    Attributes
    ----------
    lower, upper : (n_parameters,) float64
        The box.
    placements : tuple of (n_layers,) int64
        Each is the only optimum somewhere, up to `gap`.
    intercepts : (n_placements,) float64
        Values at `lower`.
    slopes : (n_placements, n_parameters) float64
        What one unit of a parameter adds.
    gap : float
        Nowhere in the box is an optimum cheaper than the cheapest of the placements by more.
    n_solves : int
    """

    lower: FloatArray
    upper: FloatArray
    placements: tuple[IntArray, ...]
    intercepts: FloatArray
    slopes: FloatArray
    gap: float
    n_solves: int

    def values_at(self, point: Sequence[float]) -> FloatArray:
        """Return the value of each placement at a point, (n_placements,). O(n_placements)."""
        moved = np.asarray(point, dtype=np.float64) - self.lower
        return np.asarray(self.intercepts + self.slopes @ moved, dtype=np.float64)

    def __repr__(self) -> str:
        return f"<Regions: {len(self.placements)} placements in {len(self.lower)} parameters, {self.n_solves} solves>"


def optimal_regions(
    problem_at: Callable[[Point], Problem],
    lower: Sequence[float],
    upper: Sequence[float],
    *,
    solver: Callable[[Problem], Solution] = solve,
    max_placements: int = MAX_PLACEMENTS,
) -> Regions:
    """Find the placements that are optimal somewhere in a box.

    Parameters
    ----------
    problem_at : callable
        Gives the problem at a point of the box, a tuple of `n_parameters` floats. All problems are on one graph, allow
        the same, and have costs that are affine in each parameter and in all together.
    lower, upper : sequence of float
        The box; parameters whose bounds are equal do not count.
    solver : callable
        Proves its solutions, or says by how much they may be off.
    max_placements : int

    Returns
    -------
    Regions

    Raises
    ------
    ProblemError
        The box is empty or not finite, costs are not affine, or more than `max_placements` are needed.
    solvers.SolverError
        As the solver.

    Notes
    -----
    One solve for each vertex of the envelope, whose number grows fast with the parameters and is modest up to four.
    For one parameter `breakpoints` needs the fewest solves. The vertices are Qhull's: Barber, Dobkin and Huhdanpaa,
    "The Quickhull algorithm for convex hulls", ACM Transactions on Mathematical Software 1996,
    https://doi.org/10.1145/235815.235821.
    """
    box = _Box.of(lower, upper)
    seen: dict[Point, Solution] = {}
    known: dict[bytes, IntArray] = {}
    planes = np.zeros((0, box.n_free + 1))
    gap = 0.0

    def solve_at(unit: Point) -> bool:
        """Solve at a point of the unit box; say whether the placement is new and better than those known."""
        nonlocal planes, gap
        if unit in seen:
            return False
        problem = problem_at(box.point(unit))
        found = solver(problem)
        seen[unit] = found
        gap = max(gap, found.value - found.bound)
        values = planes @ np.array([1.0, *unit])
        scale = max(abs(found.value), float(np.abs(planes).sum(axis=1).max(initial=0.0)))
        key = np.asarray(found.placement, dtype=np.int64).tobytes()
        is_new = key not in known
        if is_new and found.value >= values.min(initial=np.inf) - _TOLERANCE * scale:
            return False
        if is_new:
            known[key] = found.placement
            if len(known) > max_placements:
                raise ProblemError(f"more than {max_placements} placements are optimal somewhere; give a smaller box")
            planes = np.vstack([planes, _plane(problem_at, box, found.placement)])
        own = planes[list(known).index(key)] @ np.array([1.0, *unit])
        if abs(own - found.value) > _AFFINE_TOLERANCE * scale:
            raise ProblemError("the costs are not affine in the parameters: a value lies off its placement's plane")
        return is_new

    for corner in box.corners():
        solve_at(corner)
    while True:
        # All of them in a round: each may bring a placement.
        if not sum(solve_at(vertex) for vertex in _vertices(planes)):
            break
    _check_affine(problem_at, box, list(known.values()), planes)
    needed = _needed(planes)
    placements = tuple(known.values())
    slopes = np.zeros((len(needed), len(box.lower)))
    slopes[:, box.free] = planes[needed, 1:] / (box.upper - box.lower)[box.free]
    scale = float(np.abs(planes).sum(axis=1).max())
    return Regions(
        read_only(box.lower),
        read_only(box.upper),
        tuple(placements[number] for number in needed),
        read_only(planes[needed, 0]),
        read_only(slopes),
        gap + _TOLERANCE * scale,
        len(seen),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Box:
    """A box, and which of its parameters vary: these span the unit box in which is searched."""

    lower: FloatArray
    upper: FloatArray
    free: IntArray

    @classmethod
    def of(cls, lower: Sequence[float], upper: Sequence[float]) -> "_Box":
        low, high = (np.array(bounds, dtype=np.float64).reshape(-1) for bounds in (lower, upper))
        if low.shape != high.shape:
            raise ProblemError(f"the box has {len(low)} lower and {len(high)} upper bounds; give as many of each")
        if not (np.isfinite(low).all() and np.isfinite(high).all() and bool((low <= high).all())):
            raise ProblemError(f"the box is {low.tolist()} to {high.tolist()}; give finite bounds, lower <= upper")
        return cls(low, high, np.flatnonzero(low < high))

    @property
    def n_free(self) -> int:
        return len(self.free)

    def point(self, unit: Point) -> Point:
        point = self.lower.copy()
        # Written so that the upper bound comes out as given.
        at = np.array(unit)
        point[self.free] = (1 - at) * self.lower[self.free] + at * self.upper[self.free]
        return tuple(point.tolist())

    def corners(self) -> list[Point]:
        if self.n_free == 0:
            return [()]
        grid = np.indices((2,) * self.n_free).reshape(self.n_free, -1).T
        return [tuple(float(one) for one in corner) for corner in grid]


def _check_affine(
    problem_at: Callable[[Point], Problem], box: _Box, placements: Sequence[IntArray], planes: FloatArray
) -> None:
    """Refuse costs that do not lie on the placements' planes in the middle of the box."""
    middle = (0.5,) * box.n_free
    problem = problem_at(box.point(middle))
    values = np.array([evaluate(problem, placement) for placement in placements])
    if np.abs(values - planes @ np.array([1.0, *middle])).max() > _AFFINE_TOLERANCE * np.abs(planes).sum(axis=1).max():
        raise ProblemError("the costs are not affine in the parameters: in the middle of the box they lie off")


def _plane(problem_at: Callable[[Point], Problem], box: _Box, placement: Any) -> FloatArray:
    """Return the value at the lower corner, and how much the way along each side of the unit box adds."""
    origin = (0.0,) * box.n_free
    base = evaluate(problem_at(box.point(origin)), placement)
    steps = []
    for axis in range(box.n_free):
        end = tuple(1.0 if number == axis else 0.0 for number in range(box.n_free))
        steps.append(evaluate(problem_at(box.point(end)), placement) - base)
    return np.array([base, *steps])


def _vertices(planes: FloatArray) -> list[Point]:
    """Return the vertices of the lower envelope of planes over the unit box."""
    from scipy.spatial import HalfspaceIntersection

    n_free = planes.shape[1] - 1
    if n_free == 0:
        return []
    scale = float(np.abs(planes).sum(axis=1).max()) or 1.0
    scaled = planes / scale
    identity = np.eye(n_free)
    zeros = np.zeros((n_free, 1))
    rows = np.vstack(
        [
            # height <= plane(point), 0 <= point <= 1, height >= -2, where all planes are above -1
            np.column_stack([-scaled[:, 1:], np.ones(len(scaled)), -scaled[:, 0]]),
            np.column_stack([-identity, zeros, zeros]),
            np.column_stack([identity, zeros, zeros - 1]),
            np.array([[*np.zeros(n_free), -1.0, -2.0]]),
        ]
    )
    middle = np.full(n_free, 0.5)
    inside = np.array([*middle, float((scaled[:, 0] + scaled[:, 1:] @ middle).min()) - 0.25])
    found = HalfspaceIntersection(rows, inside).intersections
    found = found[np.isfinite(found).all(axis=1) & (found[:, -1] > -1.5)]
    points = np.clip(np.round(found[:, :-1], 12), 0.0, 1.0)
    return [tuple(point) for point in np.unique(points, axis=0).tolist()]


def _needed(planes: FloatArray) -> list[int]:
    """Return the planes without which the lower envelope would be another."""
    from scipy.optimize import linprog

    left = list(range(len(planes)))
    scale = float(np.abs(planes).sum(axis=1).max()) or 1.0
    for number in range(len(planes)):
        others = [other for other in left if other != number]
        if not others:
            break
        # The largest step by which this plane lies below all others somewhere in the box.
        difference = (planes[number] - planes[others]) / scale
        n_free = planes.shape[1] - 1
        found = linprog(
            np.array([*np.zeros(n_free), -1.0]),
            A_ub=np.column_stack([difference[:, 1:], np.ones(len(others))]),
            b_ub=-difference[:, 0],
            bounds=[*[(0.0, 1.0)] * n_free, (None, 4.0)],
        )
        if found.success and found.fun is not None and -found.fun <= _TOLERANCE:
            left.remove(number)
    return left
