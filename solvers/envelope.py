"""The lower envelope of explicit lines in theta: the best of many cuts for an array of bandwidths, in one pass.

With theta = 1 / B a fixed cut has latency intercept + slope * theta. The least of n such lines is concave; it is
found once in O(n log n), then each bandwidth is one binary search. `chain_lines` writes the lines of all one-way cuts
of a chain down.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from solvers._arrays import FloatArray, IntArray, frozen_copy, read_only
from solvers._jit import choose
from solvers.chain import chain_order
from solvers.errors import InfeasibleError, ProblemError
from solvers.family import Family
from solvers.problem import Problem
from solvers.visits import require_two_machines

COUNTED = 256
"""Lines up to which counting all starts below a point beats a search: compiled, it runs several at once."""


@dataclass(frozen=True, slots=True, eq=False)
class Lines:
    """Values that are affine in theta: ``intercepts + slopes * theta``, for theta from `low` to `high`.

    Parameters
    ----------
    intercepts, slopes : (n_lines,) float64, finite, at least one
    low, high : float
        Where the lines hold; beyond that nothing is claimed. `high` may be ``inf``.

    Raises
    ------
    ProblemError
        No lines, different lengths, a value that is not finite, or a reversed range.
    """

    intercepts: FloatArray
    slopes: FloatArray
    low: float = 0.0
    high: float = float("inf")

    def __post_init__(self) -> None:
        for name in ("intercepts", "slopes"):
            object.__setattr__(self, name, finite_array(name, getattr(self, name)))
        if self.intercepts.ndim != 1 or self.intercepts.shape != self.slopes.shape or not len(self.slopes):
            raise ProblemError(
                f"intercepts have shape {self.intercepts.shape}, slopes {self.slopes.shape}; give (n_lines,) each"
            )
        if not self.low <= self.high:
            raise ProblemError(f"the lines hold from {self.low} to {self.high}; give low <= high")

    def __len__(self) -> int:
        return len(self.slopes)

    def __repr__(self) -> str:
        return f"Lines({len(self)} lines, theta from {self.low:.6g} to {self.high:.6g})"

    def checked(self, thetas: Any) -> FloatArray:
        """Return `thetas` as float64; ProblemError if one is not finite or lies outside the range."""
        array = finite_array("thetas", thetas)
        if array.size and (array.min() < self.low or array.max() > self.high):
            wrong = float(array[(array < self.low) | (array > self.high)].flat[0])
            raise ProblemError(f"theta is {wrong}; the lines hold from {self.low} to {self.high}")
        return array


@dataclass(frozen=True, slots=True, eq=False)
class Envelope:
    """The lines that are least somewhere, in the order in which they are as theta rises.

    A line that only touches the envelope in one point is kept: it may be the tie with the lowest index there.

    Attributes
    ----------
    lines : Lines
    order : (n_kept,) int64
        Indices into `lines`, by falling slope.
    starts : (n_kept,) float64
        Theta from which each is least; the first is -inf.
    """

    lines: Lines
    order: IntArray
    starts: FloatArray

    def best(self, thetas: Any) -> IntArray:
        """Return the index of the least line at each theta, same shape, int64.

        Where several lines of the envelope have the same float64 value, the lowest index wins, as with ``argmin``.
        O(log n) per theta. Raises ProblemError outside the lines' range.

        Examples
        --------
        >>> lower_envelope(Lines([0.0, 1.0, 4.0], [3.0, 2.0, 0.0])).best([0.0, 1.0, 1.2, 9.0]).tolist()
        [0, 0, 1, 2]
        """
        points = self.lines.checked(thetas)
        backend = choose(points.size)
        out = backend.full(points.size, 0)
        counted = not backend.plain and len(self.order) <= COUNTED
        first, low, scale = self._grid(0 if counted else points.size)
        backend.run(
            _look_up,
            backend.view(np.ascontiguousarray(points).ravel()),
            backend.view(self.starts),
            backend.view(self.lines.intercepts[self.order]),
            backend.view(self.lines.slopes[self.order]),
            backend.view(self.order),
            backend.view(first),
            low,
            scale,
            counted,
            out,
        )
        return np.array(out, dtype=np.int64).reshape(points.shape) if backend.plain else out.reshape(points.shape)

    def value(self, thetas: Any) -> FloatArray:
        """Return the least value at each theta, same shape; errors as `best`."""
        points = self.lines.checked(thetas)
        best = self.best(points)
        return np.asarray(self.lines.intercepts[best] + self.lines.slopes[best] * points)

    def _grid(self, n_points: int) -> tuple[IntArray, float, float]:
        """Return (first line of each cell, start, cells per unit of theta) of an even grid over the crossings.

        A search within one cell is short; a call for few points, or an envelope of few lines, has one cell.
        """
        n_kept = len(self.order)
        one = np.array([0, n_kept - 1]), 0.0, 0.0
        if n_kept < 4 or n_points < 1000:
            return one
        low, span = float(self.starts[1]), float(self.starts[-1] - self.starts[1])
        n_cells = 8 * n_kept
        if not 0 < span < float("inf") or not n_cells / span < float("inf"):
            return one
        first = np.searchsorted(self.starts, low + np.arange(n_cells + 1) * (span / n_cells), side="right") - 1
        first[0], first[-1] = 0, n_kept - 1
        return first.astype(np.int64), low, n_cells / span

    def __repr__(self) -> str:
        return f"Envelope({len(self.order)} of {len(self.lines)} lines)"


def lower_envelope(lines: Lines) -> Envelope:
    """Find the lower envelope, over all theta; of equal lines the first is kept.

    O(n log n): the lines are sorted by slope and pushed on a stack, from which a line goes that is nowhere least.

    Examples
    --------
    >>> envelope = lower_envelope(Lines([0.0, 1.0, 4.0, 9.0], [3.0, 2.0, 0.0, 1.0]))
    >>> envelope.order.tolist(), envelope.starts.tolist()
    ([0, 1, 2], [-inf, 1.0, 1.5])
    """
    n_lines = len(lines)
    ranked = np.lexsort((np.arange(n_lines), lines.intercepts, -lines.slopes))
    backend = choose(n_lines)
    kept = backend.full(n_lines, 0)
    starts = backend.full(n_lines, float("-inf"), np.float64)
    n_kept = backend.run(
        _build,
        backend.view(lines.intercepts[ranked]),
        backend.view(lines.slopes[ranked]),
        kept,
        starts,
    )
    order = ranked[np.array(kept[:n_kept], dtype=np.int64)].astype(np.int64)
    return Envelope(lines, read_only(order), read_only(np.array(starts[:n_kept], dtype=np.float64)))


@dataclass(frozen=True, slots=True, eq=False)
class ChainLines:
    """The one-way cuts of a chain and their lines.

    Cut k: the first ``heads[k]`` layers of the path on the device, the rest up to `tail_end` on the server, and what
    follows (outputs pinned to the device) on the device. Everything on the device is a cut, too, with head = tail_end.

    Attributes
    ----------
    lines : Lines
    heads : (n_lines,) int64
        Rising.
    tail_end : int
    path : (n_layers,) int64
        Layers along the chain.
    """

    lines: Lines
    heads: IntArray
    tail_end: int
    path: IntArray

    def placement(self, line: int) -> IntArray:
        """Return the placement of cut `line`, (n_layers,) int64."""
        placement = np.zeros(len(self.path), dtype=np.int64)
        placement[self.path[self.heads[line] : self.tail_end]] = 1
        return placement

    def __repr__(self) -> str:
        return f"ChainLines({len(self.lines)} cuts of {len(self.path)} layers)"


def chain_lines(family: Family) -> ChainLines:
    """Write down the line of every one-way cut that the layers' allowed machines and the limit on visits permit.

    One-way: head on the device, tail on the server, results back to the device where the last layers are pinned to
    it. A placement that returns to the device before that is none of them. It can pay where a tensor late in the
    chain is larger than one before it; `solvers.parametric` sees it, this does not.

    Parameters
    ----------
    family : Family
        Its layers form one path of two machines.

    Returns
    -------
    ChainLines

    Raises
    ------
    MethodError
        Not two machines, or not one path.
    InfeasibleError
        No one-way cut is allowed.

    Notes
    -----
    O(n_layers), by prefix sums; a line can differ from `Family.value_line` by rounding.

    Examples
    --------
    >>> from solvers.family import bandwidth_family
    >>> from solvers.problem import Problem
    >>> inf = float("inf")
    >>> compute = [[0, inf], [2, 1], [5, 1], [0, inf]]
    >>> chain = Problem.build(compute, [(0, 8.0, [1]), (1, 2.0, [2]), (2, 1.0, [3])], per_byte=[[0, 1], [1, 0]])
    >>> cuts = chain_lines(bandwidth_family(chain))
    >>> cuts.lines.intercepts.tolist(), cuts.lines.slopes.tolist(), cuts.placement(1).tolist()
    ([2.0, 3.0, 7.0], [9.0, 3.0, 0.0], [0, 0, 1, 0])
    """
    base = family.base
    require_two_machines(base, "chain_lines")
    path = chain_order(base)
    n_layers = base.n_layers
    allowed = np.isfinite(base.compute[path])
    tail_end = n_layers
    while tail_end > 0 and not allowed[tail_end - 1, 1]:
        tail_end -= 1
    heads = np.arange(tail_end + 1)
    n_before = np.concatenate([[0], np.cumsum(allowed[:tail_end, 0])])
    n_after = np.concatenate([np.cumsum(allowed[:tail_end, 1][::-1])[::-1], [0]])
    legal = (n_before == heads) & (n_after == tail_end - heads)
    legal &= bool(np.all(allowed[tail_end:, 0]))
    if base.max_server_visits == 0:
        legal[:tail_end] = False
    for group in base.colocated:
        position = np.flatnonzero(np.isin(path, group))
        in_tail = position[position < tail_end]
        if len(in_tail):
            together = heads > in_tail[-1]
            if len(in_tail) == len(position):
                together |= heads <= in_tail[0]
            legal &= together
    if not bool(np.any(legal)):
        raise InfeasibleError("no one-way cut of the chain is allowed; lift a restriction or use breakpoints")
    parts = [_prefix_values(problem, path, allowed, tail_end) for problem in (base, family.slope)]
    lines = Lines(parts[0][legal], parts[1][legal], low=-np.inf)
    return ChainLines(lines, read_only(heads[legal].astype(np.int64)), tail_end, path)


def finite_array(name: str, values: Any) -> FloatArray:
    """Return `values` as read-only float64; ProblemError names the entry that is not a finite number."""
    try:
        array = frozen_copy(values, np.float64)
    except (TypeError, ValueError):
        raise ProblemError(f"{name} is {values!r}; give numbers") from None
    finite = np.isfinite(array)
    if not bool(np.all(finite)):
        raise ProblemError(f"{name} has an entry {array[~finite].flat[0]}; give finite numbers")
    return array


def _prefix_values(problem: Problem, path: IntArray, allowed: NDArray[np.bool_], tail_end: int) -> FloatArray:
    """Return the value of each head length 0 .. tail_end under one set of costs; wrong where a cut is not allowed."""
    compute = np.where(allowed, problem.compute[path], 0.0)
    on_device = np.concatenate([[0.0], np.cumsum(compute[:tail_end, 0])])
    on_server = np.concatenate([np.cumsum(compute[:tail_end, 1][::-1])[::-1], [0.0]])
    values = on_device + on_server + compute[tail_end:, 0].sum()
    used = problem.consumer_counts() > 0
    crossing = np.zeros((2, problem.n_layers))
    for way, (i, j) in enumerate(((0, 1), (1, 0))):
        np.add.at(crossing[way], problem.tensor_producer[used], problem.transfer_costs(i, j)[used])
    values[1:tail_end] += crossing[0, path[: tail_end - 1]] if tail_end else 0.0
    values[:tail_end] += problem.delay[0, 1]
    if 0 < tail_end < len(path):
        values[:tail_end] += crossing[1, path[tail_end - 1]] + problem.delay[1, 0]
    return np.asarray(values)


def _build(intercepts: Any, slopes: Any, kept: Any, starts: Any) -> int:
    """Stack the envelope of lines that come by falling slope, then rising intercept; returns its size.

    kept (n,) gets positions, starts (n,) crossings with the line before. A line goes if it is above the crossing of
    its neighbours by more than rounding.
    """
    n_kept = 0
    for new in range(len(slopes)):
        a = intercepts[new]
        b = slopes[new]
        if n_kept > 0 and slopes[kept[n_kept - 1]] == b:
            continue
        while n_kept > 1:
            middle = kept[n_kept - 1]
            first = kept[n_kept - 2]
            rise = a - intercepts[first]
            middle_rise = intercepts[middle] - intercepts[first]
            fall = slopes[first] - b
            middle_fall = slopes[first] - slopes[middle]
            noise = 1e-15 * (
                (abs(a) + abs(intercepts[first])) * middle_fall
                + (abs(intercepts[middle]) + abs(intercepts[first])) * fall
            )
            if middle_rise * fall - rise * middle_fall > noise:
                n_kept -= 1
            else:
                break
        if n_kept > 0:
            before = kept[n_kept - 1]
            crossing = (a - intercepts[before]) / (slopes[before] - b)
            starts[n_kept] = max(crossing, starts[n_kept - 1])
        kept[n_kept] = new
        n_kept += 1
    return n_kept


def _look_up(
    points: Any,
    starts: Any,
    intercepts: Any,
    slopes: Any,
    order: Any,
    first: Any,
    low: float,
    scale: float,
    counted: bool,
    out: Any,
) -> int:
    """Find the least line at each point: a search in its cell, then neighbours while they are no worse.

    With `counted` the starts at or below a point are counted instead: no branch depends on the point.

    The lines' values at a point fall and then rise along `order`, so that the neighbours correct any rounding of
    cells and crossings.
    """
    n_kept = len(starts)
    if counted:
        for k in range(len(points)):
            x = points[k]
            last = 0
            for i in range(1, n_kept):
                last += starts[i] <= x
            out[k] = last
    else:
        last_cell = len(first) - 2
        for k in range(len(points)):
            x = points[k]
            place = (x - low) * scale
            cell = 0
            if place >= last_cell:
                cell = last_cell
            elif place > 0.0:
                cell = int(place)
            last = first[cell]
            size = first[cell + 1] - last + 1
            while size > 1:
                half = size // 2
                if starts[last + half] <= x:
                    last += half
                size -= half
            out[k] = last
    for k in range(len(points)):
        x = points[k]
        last = out[k]
        best = intercepts[last] + slopes[last] * x
        line = order[last]
        i = last - 1
        while i >= 0:
            value = intercepts[i] + slopes[i] * x
            if value > best:
                break
            if value < best or order[i] < line:
                line = order[i]
                best = value
            i -= 1
        i = last + 1
        while i < n_kept:
            value = intercepts[i] + slopes[i] * x
            if value > best:
                break
            if value < best or order[i] < line:
                line = order[i]
                best = value
            i += 1
        out[k] = line
    return 0
