"""Run time and sizes as functions of an input's length: a + b N + c N^2, fitted with relative weights.

A fitted model never falls within its range and is never below zero there. It is sought as

    v + b (N - N0) + c (N^2 - N0^2)      with v, b, c >= 0

where N0 is the least length: v is the value there, and neither slope nor curvature is negative. Longer inputs take
longer, so nothing true is lost, noise cannot bend the curve down, and `a` itself may be negative, as it is where the
first steps of an input cost nothing (a filter without padding). The problem is a non-negative least squares problem,
whose optimum is exact. Every row is divided by its value, so that short inputs count as much as long ones.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from operator import index
from typing import Any, Literal, Self, SupportsIndex

import numpy as np
from numpy.typing import ArrayLike, NDArray

from partition.errors import InputError
from partition.files import FieldReader
from partition.latency.goodness import r_squared

Order = Literal["linear", "quadratic", "auto"]
FloatArray = NDArray[np.float64]

FEWEST = {"linear": 3, "quadratic": 4}
"""How many different lengths a fit needs: one more than it has coefficients."""
# A quadratic has to be better than a line by this share of the error on lengths left out, else the line is taken.
_WORTH_A_CURVE = 0.05


@dataclass(frozen=True, slots=True)
class LengthModel:
    """A quantity as a + b N + c N^2 of the length N of an input.

    Attributes
    ----------
    coefficients : tuple of three floats
        a, b and c.
    least, most : int
        The range of lengths that it was fitted on.
    r_squared, mape : float
        Coefficient of determination, and mean absolute relative error as a share (0.03 is 3 %), both over the medians
        that it was fitted to. 1.0 and 0.0 where it is exact.
    ratios : tuple of float
        Measured over predicted, for every sample: the noise that a simulation draws from.
    """

    coefficients: tuple[float, float, float]
    least: int
    most: int
    r_squared: float = 1.0
    mape: float = 0.0
    ratios: tuple[float, ...] = ()

    def __repr__(self) -> str:
        a, b, c = self.coefficients
        return f"<LengthModel {a:.4g} + {b:.4g} N + {c:.4g} N^2, N = {self.least} to {self.most}>"

    @classmethod
    def constant(cls, value: float, *, least: int, most: int) -> Self:
        """Return the model of a quantity that is the same for all lengths.

        Parameters
        ----------
        value : float
            In the quantity's unit.
        least, most : int
            The range of lengths.
        """
        return cls((float(value), 0.0, 0.0), least, most)

    def at(self, length: int) -> float:
        """Return the value at a length within the range.

        Raises
        ------
        InputError
            The length is not a whole number of 1 or more, or outside of the range.
        """
        number = whole_length(length)
        if not self.least <= number <= self.most:
            raise InputError(
                f"length {number} is outside of the fitted range {self.least} to {self.most}; measure a range that "
                "holds it (dnn-partition profile MODEL --dim NAME=LEAST..MOST), or ask for an extrapolation"
            )
        return self.extended(number)

    def extended(self, length: int) -> float:
        """Return the value at any length of 1 or more, extrapolated beyond the range; at the least 0.

        A line with a negative `a` crosses zero below its range, where a time of 0 is meant.
        """
        number = whole_length(length)
        a, b, c = self.coefficients
        return max(0.0, a + (b + c * number) * number)

    def over(self, lengths: ArrayLike) -> FloatArray:
        """Return the values at many lengths, extrapolated beyond the range; shape as given, at the least 0."""
        numbers = np.asarray(lengths, dtype=np.float64)
        a, b, c = self.coefficients
        return np.maximum(0.0, a + (b + c * numbers) * numbers)

    def times(self, factor: float) -> "LengthModel":
        """Return the model of a multiple of the quantity.

        Raises
        ------
        InputError
            The factor is not a finite number above 0.
        """
        if isinstance(factor, bool) or not isinstance(factor, int | float) or not 0 < factor < float("inf"):
            raise InputError(f"factor {factor!r} of a curve over the length; give a finite number above 0")
        a, b, c = self.coefficients
        return replace(self, coefficients=(factor * a, factor * b, factor * c))

    def to_json(self) -> dict[str, Any]:
        """Return the model as it stands in files."""
        return {
            "coefficients": list(self.coefficients),
            "least": self.least,
            "most": self.most,
            "r_squared": self.r_squared,
            "mape": self.mape,
            "ratios": list(self.ratios),
        }

    @staticmethod
    def from_json(obj: Mapping[str, Any], source: str = "length model") -> "LengthModel":
        """Make a model from what `to_json` returned.

        Raises
        ------
        InputError
            A field that is missing, unknown, of the wrong type or out of range.
        """
        return read_length_model(FieldReader(obj, source))


def read_length_model(fields: FieldReader) -> LengthModel:
    """Read one length model of a file, field by field; see `LengthModel.from_json`."""
    given = fields.take("coefficients")
    coefficients = _numbers(given)
    if coefficients is None or len(coefficients) != 3:
        fields.refuse("coefficients", given, "three finite numbers: a, b and c")
    ratios = _numbers(given := fields.take("ratios"))
    if ratios is None or min(ratios, default=1.0) <= 0:
        fields.refuse("ratios", str(given)[:80], "a list of finite numbers above 0")
    least, most = fields.count("least"), fields.count("most")
    if most < least:
        fields.refuse("most", most, f"at least the field 'least', {least}")
    r2, mape = fields.real("r_squared"), fields.non_negative("mape")
    model = LengthModel((coefficients[0], coefficients[1], coefficients[2]), least, most, r2, mape, ratios)
    a, b, c = coefficients
    turns = [] if c <= 0 else [-b / (2 * c)]
    lowest = min(a + (b + c * at) * at for at in (least, most, *(one for one in turns if least < one < most)))
    # Rounding may leave a fit that touches zero a little below it.
    if lowest < -1e-9 * max(abs(a), abs(b * most), abs(c * most * most)):
        fields.refuse("coefficients", list(coefficients), f"a curve that is not below 0 from {least} to {most}")
    fields.finish()
    return model


def _numbers(value: object) -> tuple[float, ...] | None:
    legal = isinstance(value, list | tuple) and all(
        isinstance(one, int | float) and not isinstance(one, bool) for one in value
    )
    if not legal:
        return None
    assert isinstance(value, list | tuple)
    try:
        numbers = tuple(float(one) for one in value)
    except OverflowError:
        return None
    return numbers if all(map(np.isfinite, numbers)) else None


def whole_length(length: SupportsIndex | object) -> int:
    """Return a length as an int; refuse what is not a whole number of 1 or more."""
    number = index(length) if isinstance(length, SupportsIndex) and not isinstance(length, bool) else None
    if number is None or number < 1:
        raise InputError(f"length {length!r} is not the length of an input; give a whole number of 1 or more")
    return number


def fit_length_model(lengths: Sequence[int], values: Sequence[float], *, order: Order = "auto") -> LengthModel:
    """Fit a quantity that does not fall with the length, such as a run time.

    Parameters
    ----------
    lengths : sequence of int, length n
        Of each sample, 1 or more, in any order; a length may be there several times.
    values : sequence of float, length n
        What was measured, finite and 0 or more. Of samples of one length the median counts.
    order : {"linear", "quadratic", "auto"}
        "auto" leaves out one length after the other and takes the quadratic if that predicts the lengths left out
        better by at least 5 % of the line's error.

    Returns
    -------
    LengthModel
        With the least sum of squared relative errors; see the module for what it cannot do.

    Raises
    ------
    InputError
        Fewer than 3 different lengths, or fewer than 4 for a quadratic; lengths or values that are not as above.

    Notes
    -----
    Where values are 0, their rows weigh as those of the least value above 0.
    """
    if order not in ("linear", "quadratic", "auto"):
        raise InputError(f"order {order!r} is unknown; use 'linear', 'quadratic' or 'auto'")
    numbers, measured = _samples(lengths, values)
    different = np.unique(numbers)
    needed = FEWEST["linear" if order == "auto" else order]
    if len(different) < needed:
        raise InputError(
            f"a {'linear' if order == 'auto' else order} fit needs {needed} different lengths, and there are "
            f"{len(different)} ({', '.join(map(str, different.tolist())) or 'none'}); measure at more lengths"
        )
    medians = np.array([np.median(measured[numbers == one]) for one in different])
    chosen = _chosen_degree(different, medians) if order == "auto" else {"linear": 1, "quadratic": 2}[order]
    coefficients = _solve(different, medians, chosen)
    model = LengthModel(coefficients, int(different[0]), int(different[-1]))
    predicted = model.over(different)
    everywhere = model.over(numbers)
    usable = (everywhere > 0) & (measured > 0)
    return LengthModel(
        coefficients,
        model.least,
        model.most,
        r_squared=_determination(medians, predicted),
        mape=relative_error(medians, predicted),
        # Six digits are far more than a clock tells.
        ratios=tuple(float(f"{one:.6g}") for one in (measured[usable] / everywhere[usable]).tolist()),
    )


def exact_length_model(lengths: Sequence[int], values: Sequence[int]) -> LengthModel | None:
    """Return the polynomial that goes through all given whole numbers, or None if there is none of degree 2 or less.

    For sizes, which follow from the length without any noise.
    """
    points = sorted(zip(map(index, lengths), map(index, values), strict=True))
    if len({length for length, _ in points}) < len(points) or not points:
        raise InputError("an exact model needs one value for each length, and at least one length")
    ends = sorted({0, len(points) // 2, len(points) - 1})
    chosen = [points[at] for at in ends]
    a, b, c = _through([Fraction(length) for length, _ in chosen], [Fraction(value) for _, value in chosen])
    if any(a + b * length + c * length * length != value for length, value in points):
        return None
    return LengthModel((float(a), float(b), float(c)), points[0][0], points[-1][0])


def _through(lengths: list[Fraction], values: list[Fraction]) -> tuple[Fraction, Fraction, Fraction]:
    """Return a, b and c of the polynomial through one, two or three points, by divided differences."""
    x0, y0 = lengths[0], values[0]
    if len(lengths) == 1:
        return y0, Fraction(0), Fraction(0)
    first = (values[1] - y0) / (lengths[1] - x0)
    if len(lengths) == 2:
        return y0 - first * x0, first, Fraction(0)
    second = ((values[2] - values[1]) / (lengths[2] - lengths[1]) - first) / (lengths[2] - x0)
    # y0 + first (N - x0) + second (N - x0) (N - x1)
    return y0 - first * x0 + second * x0 * lengths[1], first - second * (x0 + lengths[1]), second


def relative_error(measured: FloatArray, predicted: FloatArray) -> float:
    """Return the mean absolute relative error as a share, over the measured values above 0; 0 if there are none."""
    usable = measured > 0
    if not usable.any():
        return 0.0
    return float(np.mean(np.abs(predicted[usable] / measured[usable] - 1)))


def _determination(measured: FloatArray, predicted: FloatArray) -> float:
    """Return R^2; of values that are all equal it has no meaning, so 1 if they are met and 0 if not."""
    if np.ptp(measured) > 0:
        return r_squared(measured, predicted)
    return 1.0 if np.allclose(measured, predicted, rtol=1e-9, atol=0.0) else 0.0


def _samples(lengths: Sequence[int], values: Sequence[float]) -> tuple[NDArray[np.int64], FloatArray]:
    numbers = np.array([whole_length(one) for one in lengths], dtype=np.int64)
    try:
        measured = np.array([float(one) for one in values], dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"the values of a fit have to be numbers: {error}") from error
    if len(numbers) != len(measured):
        raise InputError(f"a fit got {len(numbers)} lengths and {len(measured)} values; give one value for each length")
    wrong = ~np.isfinite(measured) | (measured < 0)
    if wrong.any():
        at = int(np.argmax(wrong))
        raise InputError(
            f"the value at length {numbers[at]} is {measured[at]}; give finite values of 0 or more, measure it again"
        )
    return numbers, measured


def _solve(lengths: NDArray[np.int64], values: FloatArray, degree: int) -> tuple[float, float, float]:
    """Return a, b and c of the best curve; see the module."""
    from scipy.optimize import nnls

    if not values.any():
        return 0.0, 0.0, 0.0
    numbers = lengths.astype(np.float64)
    first, last = numbers[0], max(numbers[-1], numbers[0] + 1)
    # All columns between 0 and 1, so that none is lost to rounding.
    columns = [np.ones(len(numbers)), (numbers - first) / (last - first)]
    if degree == 2:
        columns.append((numbers**2 - first**2) / (last**2 - first**2))
    weights = 1.0 / np.maximum(values, values[values > 0].min())
    found, _ = nnls(np.column_stack(columns) * weights[:, None], values * weights)
    b = found[1] / (last - first)
    c = found[2] / (last**2 - first**2) if degree == 2 else 0.0
    return float(found[0] - b * first - c * first**2), float(b), float(c)


def _chosen_degree(lengths: NDArray[np.int64], medians: FloatArray) -> int:
    """Return 2 if a quadratic predicts lengths that were left out better than a line does, else 1."""
    if len(lengths) < FEWEST["quadratic"]:
        return 1
    errors = []
    for degree in (1, 2):
        found = []
        for left_out in range(len(lengths)):
            kept = np.arange(len(lengths)) != left_out
            a, b, c = _solve(lengths[kept], medians[kept], degree)
            at = float(lengths[left_out])
            found.append(max(0.0, a + (b + c * at) * at))
        errors.append(relative_error(medians, np.array(found)))
    return 2 if errors[1] < (1 - _WORTH_A_CURVE) * errors[0] else 1
