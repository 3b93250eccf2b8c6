"""A mixed-integer linear program that grows by columns and rows, and its one way through HiGHS.

HiGHS stops within an absolute gap of 1e-6 and takes rows and integers as satisfied within 1e-7 and 1e-6, whatever the
unit. The objective is therefore scaled by a power of two so that its largest coefficient is near 2^17, and so may rows
be: its tolerances then stand for about 1e-11 of the largest coefficient.

Huangfu and Hall, "Parallelizing the dual revised simplex method", Mathematical Programming Computation 2018.
"""

import math
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from solvers._arrays import FloatArray, IntArray
from solvers.errors import InfeasibleError, MethodError, ProblemError

TIME_LIMIT_S = 60.0
"""Seconds for HiGHS where another method passed its limit."""

PROOF_TOLERANCE = 1e-9
"""Distance between value and HiGHS's bound, relative to the larger of the objective and its largest coefficient, up to
which a search that HiGHS calls finished counts as a proof: HiGHS sees no smaller differences."""

MOST_BEYOND = 1e6
"""How many times the value that larger one may be for that proof; beyond, what HiGHS cannot see is left as a gap."""

WORTH_FORBIDDING = 30.0
"""How many times the objective the largest coefficient may be before the program is solved again without the columns
that cost more than the placement found."""

FEASIBILITY_TOLERANCE = 1e-6
"""Relative to the same, how far HiGHS's bound may lie above a value: columns and rows hold within 1e-6 and 1e-7."""

LIMIT_MARGIN = 1.1 * 2.0**-27
"""How far a row that stands for a limit is widened, relative to its largest coefficient; see `add_limit`."""

LARGEST_EXPONENT = 17

SMALLEST_EXPONENT = -1074
"""Of the smallest number above zero in float64."""


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What HiGHS found: the columns' values and a lower bound on the objective."""

    columns: FloatArray  # (n_columns,)
    bound: float  # of every point that satisfies the rows, in the objective's unit
    finished: bool  # HiGHS calls it optimal; otherwise the time was up
    largest: float  # largest absolute coefficient of the objective
    margin: float = 0.0  # `LIMIT_MARGIN` if rows were widened by it: the bound may be lower by as much

    def gap_for(self, objective: float, *, value: float, spacing: float = 0.0) -> float:
        """Return by how much at most the objective can fall below that of a placement made from the columns.

        Parameters
        ----------
        objective : float
            That of the placement.
        value : float
            What the caller will say that it is worth: the objective, but for a constant.
        spacing : float
            All coefficients are whole multiples of it.

        Notes
        -----
        Zero if the search ended and HiGHS's bound lies within `PROOF_TOLERANCE` below, or within
        `FEASIBILITY_TOLERANCE` above: columns that are whole within a tolerance only can cost that much more. Where
        that tolerance is coarse beside `value`, see `MOST_BEYOND`, and hides a whole `spacing`, it is a gap.
        """
        unit = max(abs(objective), self.largest)
        if self.bound > objective + FEASIBILITY_TOLERANCE * unit:
            raise MethodError(
                f"HiGHS claims that nothing costs less than {self.bound!r}, yet its own answer costs {objective!r}; "
                "the costs differ by too many orders of magnitude for it"
            )
        gap, unseen = max(objective - self.bound, 0.0), (PROOF_TOLERANCE + self.margin) * unit
        if unit > MOST_BEYOND * abs(value) and unseen >= spacing:
            return max(gap, unseen)
        return 0.0 if self.finished and gap <= unseen else gap


class Clock:
    """What is left of a time limit over several solves."""

    __slots__ = ("_end_s",)

    def __init__(self, time_limit_s: float | None) -> None:
        legal = isinstance(time_limit_s, int | float | np.integer | np.floating) and not isinstance(time_limit_s, bool)
        if time_limit_s is not None and not (legal and time_limit_s > 0):
            raise ProblemError(f"time_limit_s is {time_limit_s!r}; give a number of seconds > 0, or None for no limit")
        self._end_s = None if time_limit_s is None else time.monotonic() + time_limit_s

    def left_s(self) -> float | None:
        """Return the seconds left, at least 1 ms (HiGHS takes 0 for none), or None without a limit."""
        return None if self._end_s is None else max(self._end_s - time.monotonic(), 1e-3)


class LinearModel:
    """Columns with bounds and rows with limits, in sparse form."""

    def __init__(self) -> None:
        self.n_columns = 0
        self.n_rows = 0
        self._margin = 0.0
        self._lower: list[FloatArray] = []
        self._upper: list[FloatArray] = []
        self._forbidden: list[IntArray] = []
        self._integer: list[FloatArray] = []
        self._rows: list[IntArray] = []
        self._columns: list[IntArray] = []
        self._coefficients: list[FloatArray] = []
        self._row_lower: list[FloatArray] = []
        self._row_upper: list[FloatArray] = []

    def add_columns(self, count: int, *, lower: Any = 0.0, upper: Any = 1.0, integer: bool = False) -> IntArray:
        """Add `count` columns and return their indices; bounds are numbers or (count,) arrays."""
        for parts, values in ((self._lower, lower), (self._upper, upper), (self._integer, float(integer))):
            parts.append(np.broadcast_to(np.asarray(values, dtype=np.float64), (count,)))
        self.n_columns += count
        return np.arange(self.n_columns - count, self.n_columns, dtype=np.int64)

    def add_rows(
        self, rows: Any, columns: Any, coefficients: Any, *, lower: Any = -np.inf, upper: Any = np.inf, count: int
    ) -> None:
        """Add `count` rows; entry e puts ``coefficients[e]`` on column ``columns[e]`` of new row ``rows[e]``.

        `lower` and `upper` are numbers or (count,) arrays. Entries of one row and column add up.
        """
        rows = np.asarray(rows, dtype=np.int64).ravel()
        self._rows.append(rows + self.n_rows)
        self._columns.append(np.asarray(columns, dtype=np.int64).ravel())
        self._coefficients.append(np.broadcast_to(np.asarray(coefficients, dtype=np.float64).ravel(), rows.shape))
        for parts, values in ((self._row_lower, lower), (self._row_upper, upper)):
            parts.append(np.broadcast_to(np.asarray(values, dtype=np.float64), (count,)))
        self.n_rows += count

    def forbid(self, total: FloatArray, most: float) -> FloatArray:
        """Forbid the columns that alone take ``total . columns`` above `most`; return `total`, (n_columns,), less them.

        That is, whatever the other columns are, which have 0 as lower bound wherever `total` is not zero.
        """
        room = most - self.least(total)
        dear = total > room + PROOF_TOLERANCE * abs(room)
        self._forbidden.append(np.flatnonzero(dear))
        return np.where(dear, 0.0, total)

    def allow_all(self) -> None:
        """Take back what `forbid` forbade."""
        self._forbidden.clear()

    def least(self, total: FloatArray) -> float:
        """Return what ``total . columns`` is at least, by the columns' bounds, which are 0 below."""
        negative = np.flatnonzero(total < 0.0)
        return float(total[negative] @ np.concatenate(self._upper)[negative]) if len(negative) else 0.0

    def add_limit(self, coefficients: FloatArray, upper: float) -> None:
        """Add the row ``coefficients . columns <= upper`` with (n_columns,) coefficients, scaled and with a margin.

        HiGHS answers wrongly where a point misses a limit by about its tolerance. The row leaves `LIMIT_MARGIN` of its
        largest coefficient, far more than that, and who adds it rejects the points in between.
        """
        used = np.flatnonzero(coefficients)
        exponent = exponent_of(coefficients)
        margin = LIMIT_MARGIN * float(np.abs(coefficients).max(initial=0.0))
        with np.errstate(over="ignore"):  # a limit beyond float64 is none
            top = np.ldexp(upper + margin, exponent)
        self.add_rows(np.zeros(len(used)), used, np.ldexp(coefficients[used], exponent), upper=top, count=1)
        self._margin = LIMIT_MARGIN

    def add_largest(self, totals: list[FloatArray], *, upper: float = math.inf) -> tuple[FloatArray, float]:
        """Add a column that no total, (n_columns,) coefficients, may pass, and what makes it the objective.

        Returns the objective and the totals' largest coefficient, both for `minimise`. `upper` is a value that the
        column need not pass.
        """
        largest = max(float(np.abs(total).max(initial=0.0)) for total in totals)
        exponent = min(exponent_of(np.array([largest])), -SMALLEST_EXPONENT)
        upper += PROOF_TOLERANCE * max(abs(upper), largest) if upper < math.inf else 0.0
        with np.errstate(over="ignore"):
            top = np.ldexp(upper, exponent)
        (column,) = self.add_columns(1, lower=-np.inf, upper=top)
        for total in totals:
            used = np.flatnonzero(total)
            coefficients = np.append(np.ldexp(total[used], exponent), -1.0)
            self.add_rows(np.zeros(len(used) + 1), np.append(used, column), coefficients, upper=0.0, count=1)
        objective = np.zeros(self.n_columns)
        objective[column] = math.ldexp(1.0, -exponent)
        return objective, largest

    def minimise(
        self, objective: FloatArray, *, largest: float | None = None, time_limit_s: float | None = None
    ) -> Answer:
        """Minimise ``objective . columns`` by HiGHS with a relative gap of 0.

        `largest` replaces the objective's largest coefficient as the unit of tolerances.

        Raises
        ------
        InfeasibleError
            No point satisfies the rows.
        MethodError
            The time was up before any point was found, or HiGHS gave up.
        """
        if self.n_columns == 0:
            if any(float(row.max(initial=0.0)) > 0.0 for row in [*self._row_lower, *(-row for row in self._row_upper)]):
                raise InfeasibleError("nothing to place, and the limits are not met by that")
            return Answer(np.empty(0), 0.0, True, 0.0)
        from scipy.optimize import Bounds, LinearConstraint, milp
        from scipy.sparse import coo_array

        minimise: Any = milp
        exponent = exponent_of(objective)
        options: dict[str, Any] = {"mip_rel_gap": 0.0}
        if time_limit_s is not None:
            options["time_limit"] = time_limit_s
        constraints = []
        if self.n_rows:
            entries = (np.concatenate(self._rows), np.concatenate(self._columns))
            matrix = coo_array((np.concatenate(self._coefficients), entries), shape=(self.n_rows, self.n_columns))
            limits = np.concatenate(self._row_lower), np.concatenate(self._row_upper)
            constraints.append(LinearConstraint(matrix.tocsr(), *limits))
        upper = np.concatenate(self._upper)
        for columns in self._forbidden:
            upper[columns] = 0.0
        result = minimise(
            np.ldexp(objective, exponent),
            integrality=np.concatenate(self._integer),
            bounds=Bounds(np.concatenate(self._lower), upper),
            constraints=constraints,
            options=options,
        )
        if result.status == 2:
            raise InfeasibleError("no placement satisfies the layers' allowed machines and the limits; lift one")
        if result.x is None:
            if result.status == 1:
                raise MethodError(f"milp found no placement within {time_limit_s:.3g} s; raise time_limit_s")
            raise MethodError(f"HiGHS gave up: {result.message}")
        bound = result.mip_dual_bound
        return Answer(
            columns=np.asarray(result.x, dtype=np.float64),
            bound=-math.inf if bound is None or math.isnan(bound) else math.ldexp(float(bound), -exponent),
            finished=result.status == 0,
            largest=float(np.abs(objective).max(initial=0.0)) if largest is None else largest,
            margin=self._margin,
        )


def exponent_of(coefficients: FloatArray) -> int:
    """Return which power of two brings the largest coefficient to between 2^16 and 2^17; 0 if all are zero.

    It can be more than float64 holds: apply it by ``ldexp``.
    """
    largest = float(np.abs(coefficients).max(initial=0.0))
    return 0 if largest == 0.0 else LARGEST_EXPONENT - math.frexp(largest)[1]


def spacing_of(coefficients: FloatArray) -> float:
    """Return the largest power of two of which all coefficients are whole multiples; inf if all are zero.

    Examples
    --------
    >>> spacing_of(np.array([3.0, 0.0, -0.75])), spacing_of(np.array([6.0, 1e3])), spacing_of(np.array([0.1])) < 1e-16
    (0.25, 2.0, True)
    """
    mantissa, exponent = np.frexp(coefficients[coefficients != 0.0])
    whole = np.ldexp(mantissa, 53).astype(np.int64)
    return float(np.ldexp((whole & -whole).astype(np.float64), exponent - 53).min(initial=np.inf))
