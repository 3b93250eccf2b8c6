"""One fixed cut for a bandwidth that is not known: the best on average, in a quantile, for a deadline, in hindsight.

A fixed cut costs intercept + slope * x with x = 1 / B, or any other parameter theta. Its mean, its quantiles and its
chance of meeting a deadline follow from those of x, so that each best cut lies on the lower envelope of all cuts:

- the expected value of a cut is its line at E[x] (not at 1 / E[B]): the best is the envelope's cut there;
- with slopes >= 0 the q-quantile of a cut is its line at the q-quantile of x: likewise;
- a cut meets the deadline T where x <= (T - intercept) / slope: the best is the cut whose line reaches T last, the
  envelope's cut where the envelope is T.

Regret is what a cut costs more than the best cut for the same x. A line minus a concave function is convex: over an
interval its maximum is at an end.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from solvers._arrays import FloatArray, read_only
from solvers._checks import real
from solvers.envelope import ChainLines, Envelope, Lines, finite_array, lower_envelope
from solvers.errors import InfeasibleError, MethodError, ProblemError
from solvers.family import seconds_per_byte
from solvers.parametric import Breakpoints


@dataclass(frozen=True, slots=True, eq=False)
class Distribution:
    """Finitely many values of theta with their probabilities; make one by `of_thetas` or `of_bandwidths`.

    Attributes
    ----------
    thetas : (n_samples,) float64
        Rising.
    probabilities : (n_samples,) float64
        Each 0 or more; their sum is 1.
    """

    thetas: FloatArray
    probabilities: FloatArray

    def __post_init__(self) -> None:
        for name in ("thetas", "probabilities"):
            object.__setattr__(self, name, finite_array(name, getattr(self, name)))
        shapes = self.thetas.shape, self.probabilities.shape
        if self.thetas.ndim != 1 or not len(self.thetas) or shapes[0] != shapes[1]:
            raise ProblemError(
                f"thetas and probabilities have shapes {shapes[0]} and {shapes[1]}; give (n_samples,) each"
            )
        total = float(self.probabilities.sum())
        if bool((self.probabilities < 0).any() or (np.diff(self.thetas) < 0).any()) or not abs(total - 1.0) <= 1e-9:
            raise ProblemError(
                f"thetas must rise, and probabilities be >= 0 with the sum 1, not {total}; of_thetas sees to both"
            )

    @classmethod
    def of_thetas(cls, thetas: Any, *, weights: Any = None) -> "Distribution":
        """Sort samples of theta; `weights` (n_samples,) >= 0 are equal if not given.

        Raises
        ------
        ProblemError
            No samples, one that is not finite, or weights that are negative, all zero or of another length.

        Examples
        --------
        >>> Distribution.of_thetas([3.0, 1.0], weights=[1, 3]).probabilities.tolist()
        [0.75, 0.25]
        """
        points = finite_array("samples", thetas)
        if points.ndim != 1 or not len(points):
            raise ProblemError(f"samples have shape {points.shape}; give (n_samples,), at least one")
        shares = np.ones(len(points)) if weights is None else finite_array("weights", weights)
        if shares.shape != points.shape:
            raise ProblemError(f"weights have shape {shares.shape}; give {points.shape}, one per sample")
        if bool(np.any(shares < 0)) or not 0 < shares.sum() < np.inf:
            raise ProblemError(f"the weights add up to {shares.sum()}, the least is {shares.min()}; give weights >= 0")
        order = np.argsort(points, kind="stable")
        return cls(read_only(points[order]), read_only(shares[order] / shares.sum()))

    @classmethod
    def of_bandwidths(cls, bandwidths_bytes_per_s: Any, *, weights: Any = None) -> "Distribution":
        """Take samples of B in bytes per second and make them theta = 1 / B; errors as `of_thetas`."""
        return cls.of_thetas(seconds_per_byte(bandwidths_bytes_per_s), weights=weights)

    @property
    def mean(self) -> float:
        """The mean of theta."""
        # Rounding must not carry it out of the samples' range.
        return float(np.clip(self.thetas @ self.probabilities, self.thetas[0], self.thetas[-1]))

    def quantile(self, q: float) -> float:
        """Return the least sample that theta does not exceed with probability `q`, 0 < q <= 1."""
        if not 0 < real("q", q) <= 1:
            raise ProblemError(f"q is {q}; give a probability above 0, at most 1")
        reached = np.cumsum(self.probabilities)
        # The sum of ten tenths is not 1: what is within rounding of q counts as having reached it.
        which = int(np.searchsorted(reached, q * (1 - 1e-12), side="left"))
        return float(self.thetas[min(which, len(self.thetas) - 1)])

    def __repr__(self) -> str:
        return f"Distribution({len(self.thetas)} samples, {self.thetas[0]:.6g} to {self.thetas[-1]:.6g})"


@dataclass(frozen=True, slots=True)
class Choice:
    """A cut, by its index among the lines or segments it was chosen from, and what it was chosen for.

    Attributes
    ----------
    line : int
    value : float
        Expected value, quantile, or probability.
    """

    line: int
    value: float


@dataclass(frozen=True, slots=True)
class RegretChoice:
    """A cut with its largest regret over an interval, and a lower bound on that of any cut whatever.

    Attributes
    ----------
    line : int
    regret : float
    bound : float
        No line above the envelope has a smaller largest regret; at least half of `regret`.
    """

    line: int
    regret: float
    bound: float

    @property
    def optimal(self) -> bool:
        """Whether no other placement can do better, up to 1e-12 relative."""
        return self.regret - self.bound <= 1e-12 * self.regret


Known = Breakpoints | ChainLines | Lines
"""Where cuts come from: all optima of a range, exact among all placements; or explicit lines, exact among those."""


def best_expected(known: Known, distribution: Distribution) -> Choice:
    """Choose the cut with the least expected value.

    Parameters
    ----------
    known : Breakpoints, ChainLines or Lines
        Must cover the samples. From `Breakpoints` the choice is the best of all placements, from lines of those.
    distribution : Distribution

    Returns
    -------
    Choice

    Raises
    ------
    ProblemError
        A sample lies outside the range of `known`.
    MethodError
        The breakpoints are not proven.

    Examples
    --------
    >>> lines = Lines([1.0, 2.0], [3.0, 1.0])
    >>> best_expected(lines, Distribution.of_bandwidths([0.5, 4.0]))
    Choice(line=1, value=3.125)
    """
    envelope = _envelope(known, distribution.thetas)
    return _choice(envelope, distribution.mean)


def best_quantile(known: Known, distribution: Distribution, q: float) -> Choice:
    """Choose the cut whose value is within the least limit with probability `q`; errors as of `best_expected`.

    Parameters
    ----------
    known, distribution
        As for `best_expected`.
    q : float
        Above 0, at most 1.

    Returns
    -------
    Choice

    Raises
    ------
    MethodError
        A slope is negative, so that the quantiles of theta are not those of the values.
    """
    envelope = _envelope(known, distribution.thetas)
    _require_rising(envelope)
    return _choice(envelope, distribution.quantile(q))


def best_for_deadline(known: Known, distribution: Distribution, deadline: float) -> Choice:
    """Choose the cut that most probably costs at most `deadline`; its value is that probability.

    Parameters
    ----------
    known, distribution
        As for `best_expected`.
    deadline : float
        In the problem's unit.

    Returns
    -------
    Choice

    Raises
    ------
    InfeasibleError
        Even at the least sample every cut takes longer.
    MethodError
        A slope is negative.
    """
    deadline = real("deadline", deadline)
    envelope = _envelope(known, distribution.thetas)
    _require_rising(envelope)
    points = distribution.thetas
    met = envelope.value(points) <= deadline
    if not met[0]:
        raise InfeasibleError(
            f"no cut meets the deadline {deadline} even at theta = {points[0]}; the least value is "
            f"{float(envelope.value(points[0]))}"
        )
    # The envelope rises: its cut at the last sample within the deadline meets it at every sample before.
    last = float(points[int(met.sum()) - 1])
    line = int(envelope.best(last))
    lines = envelope.lines
    within = lines.intercepts[line] + lines.slopes[line] * points <= deadline
    return Choice(line, float(min(1.0, distribution.probabilities[within].sum())))


def optimal_probabilities(known: Known, distribution: Distribution) -> FloatArray:
    """Return how probable it is that each cut is the best, (n_lines,) float64, sum 1.

    A tie counts for the lower index, as in `Envelope.best`. Errors as `best_expected`.
    """
    envelope = _envelope(known, distribution.thetas)
    which = envelope.best(distribution.thetas)
    shares = np.bincount(which, weights=distribution.probabilities, minlength=len(envelope.lines))
    return read_only(shares.astype(np.float64))


def value_of_adapting(known: Known, distribution: Distribution) -> float:
    """Return by how much choosing the cut for each sample beats the best fixed cut in expectation, >= 0."""
    envelope = _envelope(known, distribution.thetas)
    always_best = float(envelope.value(distribution.thetas) @ distribution.probabilities)
    return max(0.0, _choice(envelope, distribution.mean).value - always_best)


def regrets(known: Known, low: float, high: float, *, intercepts: Any = None, slopes: Any = None) -> FloatArray:
    """Return the largest regret of each cut over ``low <= theta <= high``.

    Parameters
    ----------
    known : Breakpoints, ChainLines or Lines
        What the best cut costs.
    low, high : float
        Within the range of `known`.
    intercepts, slopes : array_like, optional
        The lines to judge, from `Family.value_line`; those of `known` if not given.

    Returns
    -------
    (n_lines,) float64, >= 0

    Examples
    --------
    >>> regrets(Lines([0.0, 2.0], [2.0, 1.0]), 0.0, 10.0).tolist()
    [8.0, 2.0]
    """
    ends = _interval(low, high)
    envelope = _envelope(known, ends)
    judged = envelope.lines
    if intercepts is not None or slopes is not None:
        judged = Lines(np.atleast_1d(intercepts), np.atleast_1d(slopes))
    values = judged.intercepts[:, None] + judged.slopes[:, None] * ends
    return read_only(np.maximum(0.0, values - envelope.value(ends)).max(axis=1))


def minimax_regret(known: Known, low: float, high: float) -> RegretChoice:
    """Choose the cut whose largest regret over an interval is least, among those of `known`; ties to the lower index.

    The envelope less the chord between its ends is nowhere more than the largest regret of any line above it: that
    is the bound. From `Breakpoints` it holds for every placement; a placement off the envelope may be better than the
    choice, which is proven only where `optimal` says so and never worse than twice the best. From the lines of all
    one-way cuts of a chain the choice is the best of those, whatever the bound.

    Parameters
    ----------
    known : Breakpoints, ChainLines or Lines
    low, high : float
        The interval of theta.

    Returns
    -------
    RegretChoice

    Raises
    ------
    ProblemError
        The interval is reversed or leaves the range of `known`.

    Examples
    --------
    >>> minimax_regret(Lines([0.0, 2.0], [2.0, 1.0]), 0.0, 10.0)
    RegretChoice(line=1, regret=2.0, bound=1.6)
    """
    ends = _interval(low, high)
    envelope = _envelope(known, ends)
    largest = regrets(known, low, high)
    line = int(largest.argmin())
    # Concave less linear: the largest distance to the chord is at a corner of the envelope.
    corners = envelope.starts[(envelope.starts > low) & (envelope.starts < high)]
    bound = 0.0
    if len(corners):
        chord = np.interp(corners, ends, envelope.value(ends))
        bound = max(0.0, float((envelope.value(corners) - chord).max()))
    return RegretChoice(line, float(largest[line]), min(bound, float(largest[line])))


def _envelope(known: Known, thetas: FloatArray) -> Envelope:
    if isinstance(known, Breakpoints):
        if not known.proven:
            raise MethodError(
                "the segments are not all proven, so a better placement may be missing; pass their .lines to choose "
                "among the placements found"
            )
        known = known.lines
    lines = known.lines if isinstance(known, ChainLines) else known
    lines.checked(thetas)
    return lower_envelope(lines)


def _choice(envelope: Envelope, theta: float) -> Choice:
    line = int(envelope.best(theta))
    return Choice(line, float(envelope.lines.intercepts[line] + envelope.lines.slopes[line] * theta))


def _require_rising(envelope: Envelope) -> None:
    falling = envelope.lines.slopes < 0
    if bool(np.any(falling)):
        line = int(np.argmax(falling))
        raise MethodError(
            f"line {line} falls with theta (slope {envelope.lines.slopes[line]}), so its quantiles are not those of "
            "theta; give lines with slopes >= 0"
        )


def _interval(low: float, high: float) -> FloatArray:
    ends = finite_array("the interval", [low, high])
    if low > high:
        raise ProblemError(f"the interval is reversed: {low} to {high}; give low <= high")
    return ends
