"""The published latency regressions as selectable baselines: Neurosurgeon, Edgent and Wang, each fitted as published.

``BASELINES[name](rows)`` fits one to measured rows; its ``predict_s`` is that of every regression here. They share: one
regression for each layer type (`partition.latency.baseline_variables` says which types and variables) and for each
number of threads; ordinary least squares, every row alike, so that the largest layers rule. Nothing guards them: a
prediction may be negative, or wild outside the range of the rows. A comparison must see it; whoever plans must guard.

The forms, x being the variables and t the seconds:

=========================== =========================================================================================
linear                      t = a + sum b_i x_i
logarithm of the variables  t = a + sum b_i ln(1 + x_i); the 1 gives an empty tensor a value, and hardly moves others
logarithm of the time       ln t = a + sum b_i x_i; the prediction is its exponential: never negative, soon infinite
polynomial                  t = a + sum b_i x_i + sum over i <= j of c_ij x_i x_j, degree 2 with all cross terms
=========================== =========================================================================================

What "logarithmic" means differs. Neurosurgeon's is of the variables here: the paper says that it models a plateau, and
not what the logarithm is of. Wang's is of the time, as in the notebooks released with the work.

Columns are centred and scaled before the solve, which changes no well-posed fit. Collinear columns (a softmax has as
many outputs as inputs) leave the coefficients open: the solution of least norm in the scaled columns is taken, singular
values below 1e-10 of the largest counting as zero. A column that is constant over the rows, within 1e-10 of its largest
value, has no coefficient. So one row alone predicts its own time for every kernel of its layer type.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import partial
from types import MappingProxyType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from partition.errors import InputError
from partition.latency.baseline_variables import (
    EDGENT,
    NEUROSURGEON,
    WANG,
    KernelFeatures,
    LayerType,
    dynamic_values,
)

FloatArray = NDArray[np.float64]

_LEAST_SINGULAR = 1e-10
_LEAST_SPREAD = 1e-10


class Row(Protocol):
    """One measured kernel."""

    @property
    def features(self) -> KernelFeatures:
        """What ran."""

    @property
    def threads(self) -> int:
        """On how many threads."""

    @property
    def seconds(self) -> float:
        """How long one run took."""

    @property
    def dynamic(self) -> Mapping[str, float]:
        """The state of the machine meanwhile, by name; may be empty."""


class Regression(Protocol):
    """A fitted regression, ours or a published one."""

    @property
    def name(self) -> str:
        """By which a user selects it."""

    def predict_s(
        self, features: Sequence[KernelFeatures], *, threads: int, dynamic: Mapping[str, float] | None = None
    ) -> FloatArray:
        """Predict the seconds of each kernel; NaN for what the regression does not know."""


class Form(Enum):
    """What is linear in what."""

    LINEAR = "linear"
    LOGARITHM_OF_VARIABLES = "logarithm of the variables"
    LOGARITHM_OF_TIME = "logarithm of the time"
    POLYNOMIAL = "polynomial of degree 2"


@dataclass(frozen=True, slots=True, eq=False)
class _Scaling:
    """Columns to mean 0 and standard deviation 1; a constant column to zeros, so that it has no say."""

    centre: FloatArray  # (n_columns,)
    factor: FloatArray  # (n_columns,)

    @classmethod
    def of(cls, columns: FloatArray) -> "_Scaling":
        """Return the scaling of the columns, shape (n_rows, n_columns)."""
        spread = columns.std(axis=0)
        # Less than this is rounding: the square of a scaled 0/1 variable that is 1 in half of the rows, say.
        varies = spread > _LEAST_SPREAD * np.abs(columns).max(axis=0)
        return cls(columns.mean(axis=0), np.where(varies, 1.0 / np.where(varies, spread, 1.0), 0.0))

    def __call__(self, columns: FloatArray) -> FloatArray:
        return np.asarray((columns - self.centre) * self.factor, dtype=np.float64)


@dataclass(frozen=True, slots=True, eq=False)
class _Fit:
    """The regression of one layer type."""

    form: Form
    variables: _Scaling
    terms: _Scaling
    slopes: FloatArray  # (n_terms,)
    mean: float  # of the seconds, or of their logarithms

    @classmethod
    def of(cls, form: Form, x: FloatArray, seconds: FloatArray) -> "_Fit":
        """Fit ``seconds``, shape (n_rows,), to the variables ``x``, shape (n_rows, n_variables)."""
        target = np.log(seconds) if form is Form.LOGARITHM_OF_TIME else seconds
        variables = _Scaling.of(_before(form, x))
        raw_terms = _after(form, variables(_before(form, x)))
        terms = _Scaling.of(raw_terms)
        mean = float(target.mean())
        slopes = np.linalg.lstsq(terms(raw_terms), target - mean, rcond=_LEAST_SINGULAR)[0]
        return cls(form, variables, terms, np.asarray(slopes, dtype=np.float64), mean)

    def predict_s(self, x: FloatArray) -> FloatArray:
        """Return the seconds for variables of shape (n, n_variables)."""
        value = self.mean + self.terms(_after(self.form, self.variables(_before(self.form, x)))) @ self.slopes
        if self.form is Form.LOGARITHM_OF_TIME:
            with np.errstate(over="ignore"):  # infinity is what this form says far outside its range
                value = np.exp(value)
        return np.asarray(value, dtype=np.float64)


def _before(form: Form, x: FloatArray) -> FloatArray:
    """Return the variables as the form takes them."""
    return np.log1p(x) if form is Form.LOGARITHM_OF_VARIABLES else x


def _after(form: Form, scaled: FloatArray) -> FloatArray:
    """Return the terms of the form, from scaled variables: products of scaled ones span the same and stay in range."""
    if form is not Form.POLYNOMIAL:
        return scaled
    left, right = np.triu_indices(scaled.shape[1])
    return np.hstack([scaled, scaled[:, left] * scaled[:, right]])


@dataclass(frozen=True, slots=True, eq=False)
class Baseline:
    """A published regression, fitted; `BASELINES` makes them.

    Parameters
    ----------
    name : str
        By which it is selected.
    layer_types : mapping of str to LayerType
        The layer type of each kind of kernel that the publication knows.
    dynamic : bool
        Whether the state of the machine is among its variables.
    """

    name: str
    layer_types: Mapping[str, LayerType]
    dynamic: bool
    _fits: Mapping[int, Mapping[str, _Fit]]

    @property
    def forms(self) -> Mapping[int, Mapping[str, str]]:
        """Which form each layer type got, by the number of threads and the name of the layer type."""
        return {threads: {name: fit.form.value for name, fit in fits.items()} for threads, fits in self._fits.items()}

    def predict_s(
        self, features: Sequence[KernelFeatures], *, threads: int, dynamic: Mapping[str, float] | None = None
    ) -> FloatArray:
        """Predict the time of kernels.

        Parameters
        ----------
        features : sequence of KernelFeatures, length n
            The kernels.
        threads : int
            On how many threads they would run; only rows of that number count.
        dynamic : mapping of str to float, optional
            The state of the machine. A regression of static features takes no notice of it; the others need it.

        Returns
        -------
        ndarray of float64, shape (n,)
            Seconds, as the regression has them: negative or infinite values are not touched. NaN for a kernel of a kind
            that the publication does not know, or of a layer type without a row on that number of threads.

        Raises
        ------
        InputError
            No row was measured on that number of threads; a feature is missing or impossible, static or dynamic.
        """
        fits = self._fits.get(threads)
        if fits is None:
            raise InputError(
                f"the regression {self.name!r} has no row measured on threads={threads!r}, only on "
                f"{', '.join(map(str, self._fits))}; calibrate the machine on that number, or ask for one of these"
            )
        state = _state(self.name, dynamic) if self.dynamic else ()
        seconds = np.full(len(features), np.nan)
        places: dict[str, list[int]] = {}
        for place, one in enumerate(features):
            layer_type = self.layer_types.get(one.kind)
            if layer_type is not None and layer_type.name in fits:
                places.setdefault(layer_type.name, []).append(place)
        for type_name, where in places.items():
            kernels = [features[place] for place in where]
            x = np.array([self.layer_types[one.kind].values_of(one) + state for one in kernels], dtype=np.float64)
            seconds[where] = fits[type_name].predict_s(x)
        return seconds

    def __repr__(self) -> str:
        known = sorted({name for fits in self._fits.values() for name in fits})
        threads = ", ".join(map(str, self._fits))
        return f"Baseline({self.name!r}, threads {threads}, {', '.join(known) or 'no layer type'})"


def _state(name: str, dynamic: Mapping[str, float] | None) -> tuple[float, ...]:
    """Return the dynamic features of a prediction."""
    if dynamic is None:
        raise InputError(
            f"the regression {name!r} predicts for a state of the machine and got none; pass dynamic=, or choose a "
            "regression of static features"
        )
    return dynamic_values(dynamic, "the state of the machine")


def _fitted(
    rows: Sequence[Row],
    *,
    name: str,
    layer_types: Mapping[str, LayerType],
    forms: tuple[Form, ...],
    dynamic: bool = False,
) -> Baseline:
    """Fit one regression for each number of threads and layer type, in the best of the forms.

    Parameters
    ----------
    rows : sequence of Row
        Measured kernels. Rows of kinds that the publication does not know count for nothing. A regression of static
        features takes the rows of every state of the machine alike, as the published comparison does.
    name : str
        By which the regression is selected.
    layer_types : mapping of str to LayerType
        The layer type of each kind.
    forms : tuple of Form
        To choose from for each layer type: the least sum of squared errors in seconds over the rows, the first of
        equals.
    dynamic : bool
        Whether the state of the machine is among the variables.

    Returns
    -------
    Baseline
        The fitted regression.

    Raises
    ------
    InputError
        There is no row; a row's time is not above 0; a feature is missing or impossible, static or dynamic.
    """
    if not rows:
        raise InputError(f"the regression {name!r} needs measured rows and got none; calibrate the machine first")
    fits: dict[int, dict[str, _Fit]] = {}
    for threads in sorted({row.threads for row in rows}):
        of_type: dict[str, list[tuple[tuple[float, ...], float]]] = {}
        for place, row in enumerate(rows):
            layer_type = layer_types.get(row.features.kind)
            if row.threads != threads or layer_type is None:
                continue
            state = dynamic_values(row.dynamic, f"row {place}") if dynamic else ()
            x = layer_type.values_of(row.features) + state
            of_type.setdefault(layer_type.name, []).append((x, _measured_s(row, place)))
        fits[threads] = {}
        for type_name, measured in of_type.items():
            variables = np.array([x for x, _ in measured], dtype=np.float64)
            seconds = np.array([one for _, one in measured], dtype=np.float64)
            fits[threads][type_name] = _best([_Fit.of(form, variables, seconds) for form in forms], variables, seconds)
    return Baseline(name, layer_types, dynamic, MappingProxyType(fits))


def _best(fits: list[_Fit], x: FloatArray, seconds: FloatArray) -> _Fit:
    """Return the fit with the least sum of squared errors, the first of equals."""
    if len(fits) == 1:
        return fits[0]
    return min(fits, key=lambda fit: float(np.sum((fit.predict_s(x) - seconds) ** 2)))


def _measured_s(row: Row, place: int) -> float:
    """Return the seconds of a row, checked."""
    seconds = float(row.seconds)
    if not (np.isfinite(seconds) and seconds > 0.0):
        raise InputError(
            f"row {place} ({row.features.op_type}): seconds is {row.seconds!r}, expected a finite number above 0; "
            "leave out what could not be measured"
        )
    return seconds


_PUBLISHED: tuple[tuple[str, Mapping[str, LayerType], tuple[Form, ...], bool], ...] = (
    ("neurosurgeon-linear", NEUROSURGEON, (Form.LINEAR,), False),
    ("neurosurgeon-logarithmic", NEUROSURGEON, (Form.LOGARITHM_OF_VARIABLES,), False),
    ("neurosurgeon", NEUROSURGEON, (Form.LINEAR, Form.LOGARITHM_OF_VARIABLES), False),
    ("edgent", EDGENT, (Form.LINEAR,), False),
    ("wang-linear", WANG, (Form.LINEAR,), False),
    ("wang-logarithmic", WANG, (Form.LOGARITHM_OF_TIME,), False),
    ("wang-polynomial", WANG, (Form.POLYNOMIAL,), False),
    ("wang-linear-dynamic", WANG, (Form.LINEAR,), True),
    ("wang-logarithmic-dynamic", WANG, (Form.LOGARITHM_OF_TIME,), True),
    ("wang-polynomial-dynamic", WANG, (Form.POLYNOMIAL,), True),
)

BASELINES: Mapping[str, Callable[[Sequence[Row]], Regression]] = MappingProxyType(
    {
        name: partial(_fitted, name=name, layer_types=layer_types, forms=forms, dynamic=dynamic)
        for name, layer_types, forms, dynamic in _PUBLISHED
    }
)
"""Every published regression by name, as a function that fits it to rows.

``"neurosurgeon"`` takes for each layer type the better of linear and logarithmic on the rows themselves: both have as
many coefficients, and the paper names no other rule.
"""
