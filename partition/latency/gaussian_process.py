"""Regression of what is left over, by a Gaussian process: smooth where rows are near, zero far away from all of them.

Rasmussen and Williams, "Gaussian Processes for Machine Learning" (MIT Press, 2006), chapters 2 and 5. Far from its rows
such a process returns to its mean, so a prediction out of range falls back to what it corrects; and it says how
uncertain it is.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

_JITTER = 1e-8
# Where the search for the hyperparameters starts, and how far from there they are believed, in logarithms: rows that
# differ by two standard deviations are alike, times repeat within three percent.
_LENGTH, _LENGTH_WIDTH = 2.0, 1.5
_NOISE, _NOISE_WIDTH = 0.03, 1.0
_AMPLITUDE = 0.2
_LENGTH_BOUNDS, _AMPLITUDE_BOUNDS, _NOISE_BOUNDS = (-2.0, 5.0), (-4.0, 1.0), (-5.0, 0.0)
_ITERATIONS = 60


@dataclass(frozen=True, slots=True)
class Hyperparameters:
    """Length scale of each coordinate (in its standard deviations), amplitude and noise."""

    lengths: tuple[float, ...]
    amplitude: float
    noise: float


@dataclass(frozen=True, slots=True, eq=False)
class GaussianProcess:
    """A process with zero mean and a Matern 5/2 covariance, given its rows.

    Attributes
    ----------
    centre, scale : numpy.ndarray, shape (d,)
        Coordinates are taken minus the centre over the scale; a scale of infinity leaves a constant coordinate out.
    rows : numpy.ndarray, shape (n, d)
        Over the length scales, too.
    weights : numpy.ndarray, shape (n,)
        The mean at a point is its covariances with the rows times these.
    inverse : numpy.ndarray, shape (n, n)
        Of the covariance of the rows, noise included.
    hyperparameters : Hyperparameters
    """

    centre: FloatArray
    scale: FloatArray
    rows: FloatArray
    weights: FloatArray
    inverse: FloatArray
    hyperparameters: Hyperparameters

    def predict(self, coordinates: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return mean and standard deviation (noise included) at points, shape (m, d); time m n^2."""
        own = self.hyperparameters
        near = _matern(_squares((coordinates - self.centre) / self.scale, self.rows), own.amplitude)
        explained = np.einsum("ij,ij->i", near @ self.inverse, near)
        variance = np.maximum(own.amplitude**2 - explained, 0.0) + own.noise**2
        return near @ self.weights, np.sqrt(variance)


def condition(coordinates: FloatArray, values: FloatArray, hyperparameters: Hyperparameters) -> GaussianProcess:
    """Return the process given values at points, shape (n, d); time n^3."""
    centre, scale = _scaling(coordinates)
    scale = scale * np.array(hyperparameters.lengths)
    rows = (coordinates - centre) / scale
    covariance = _matern(_squares(rows, rows), hyperparameters.amplitude)
    covariance[np.diag_indices_from(covariance)] += hyperparameters.noise**2 + _JITTER
    inverse = np.asarray(np.linalg.inv(covariance), dtype=np.float64)
    return GaussianProcess(centre, scale, rows, inverse @ values, inverse, hyperparameters)


def find_hyperparameters(coordinates: FloatArray, values: FloatArray) -> Hyperparameters:
    """Find the hyperparameters of most posterior probability, by L-BFGS from a fixed start.

    Parameters
    ----------
    coordinates : numpy.ndarray, shape (n, d)
    values : numpy.ndarray, shape (n,)

    Notes
    -----
    Time n^3 for each of at most 60 iterations.
    """
    from scipy.optimize import minimize

    centre, scale = _scaling(coordinates)
    varying = np.flatnonzero(np.isfinite(scale))
    points = ((coordinates - centre) / scale)[:, varying]
    squares = [np.square(column[:, None] - column[None, :]) for column in points.T]
    d = len(squares)

    def objective(parameters: FloatArray) -> tuple[float, FloatArray]:
        return _negative_log_posterior(parameters, squares, values)

    start = np.log(np.array([*([_LENGTH] * d), _AMPLITUDE, _NOISE]))
    bounds = [_LENGTH_BOUNDS] * d + [_AMPLITUDE_BOUNDS, _NOISE_BOUNDS]
    found = minimize(objective, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": _ITERATIONS}).x
    lengths = np.full(coordinates.shape[1], _LENGTH)
    lengths[varying] = np.exp(found[:d])
    return Hyperparameters(tuple(map(float, lengths)), float(np.exp(found[d])), float(np.exp(found[d + 1])))


def _negative_log_posterior(
    parameters: FloatArray, squares: Sequence[FloatArray], values: FloatArray
) -> tuple[float, FloatArray]:
    """Return value and gradient by the logarithms of the length scales, the amplitude and the noise."""
    d, n = len(squares), len(values)
    lengths, variance, noise = np.exp(parameters[:d]), np.exp(2 * parameters[d]), np.exp(2 * parameters[d + 1])
    distance = np.zeros((n, n))
    for square, length in zip(squares, lengths, strict=True):
        distance += square / length**2
    root = np.sqrt(5 * distance)
    decay = np.exp(-root)
    covariance = variance * (1 + root + 5 / 3 * distance) * decay
    noisy = covariance + (noise + _JITTER) * np.eye(n)
    try:
        factor = np.linalg.cholesky(noisy)
    except np.linalg.LinAlgError:
        return 1e10, np.zeros_like(parameters)
    inverse = np.linalg.inv(noisy)
    weights = inverse @ values
    value = 0.5 * float(values @ weights) + float(np.log(np.diag(factor)).sum())
    outer = np.outer(weights, weights) - inverse
    slope = outer * (variance * 5 / 3 * (1 + root) * decay)
    gradient = np.empty_like(parameters)
    for index, (square, length) in enumerate(zip(squares, lengths, strict=True)):
        gradient[index] = -0.5 * float(np.sum(slope * square)) / length**2
    gradient[d] = -float(np.sum(outer * covariance))
    gradient[d + 1] = -float(np.trace(outer)) * noise
    # What is believed before any row is seen.
    off = (parameters[:d] - np.log(_LENGTH)) / _LENGTH_WIDTH
    noise_off = (parameters[d + 1] - np.log(_NOISE)) / _NOISE_WIDTH
    value += 0.5 * float(off @ off) + 0.5 * float(noise_off**2)
    gradient[:d] += off / _LENGTH_WIDTH
    gradient[d + 1] += noise_off / _NOISE_WIDTH
    return value, gradient


def _scaling(coordinates: FloatArray) -> tuple[FloatArray, FloatArray]:
    spread = coordinates.std(axis=0)
    return coordinates.mean(axis=0), np.where(spread > 1e-6, spread, np.inf)


def _squares(left: FloatArray, right: FloatArray) -> FloatArray:
    """Return squared distances, shape (len(left), len(right))."""
    squares = np.square(left).sum(axis=1)[:, None] + np.square(right).sum(axis=1)[None, :] - 2 * left @ right.T
    return np.asarray(np.maximum(squares, 0.0), dtype=np.float64)


def _matern(squares: FloatArray, amplitude: float) -> FloatArray:
    root = np.sqrt(5 * squares)
    result: FloatArray = amplitude**2 * (1 + root + root**2 / 3) * np.exp(-root)
    return result
