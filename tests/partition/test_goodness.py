"""The measures of fit, by hand, and what they refuse."""

import numpy as np
import pytest

from partition.errors import InputError
from partition.latency.goodness import mean_absolute_percentage_error, r_squared


def test_r_squared_by_hand():
    assert r_squared([1.0, 2.0, 3.0], [1.0, 2.0, 3.0]) == 1.0
    assert r_squared([1.0, 2.0, 3.0], [2.0, 2.0, 2.0]) == 0.0
    assert r_squared([1.0, 2.0, 3.0], [1.0, 2.0, 4.0]) == 0.5
    assert r_squared([1.0, 2.0, 3.0], [3.0, 2.0, 1.0]) == -3.0
    assert r_squared([1.0, 2.0], [1.0, np.inf]) == -np.inf
    assert np.isnan(r_squared([2.0], [1.0]))
    assert np.isnan(r_squared([0.1, 0.1, 0.1], [1.0, 2.0, 3.0]))


def test_mean_absolute_percentage_error_by_hand():
    assert mean_absolute_percentage_error([1.0, 4.0], [1.5, 3.0]) == 37.5
    assert mean_absolute_percentage_error([1.0, 4.0], [-1.0, 4.0]) == 100.0
    assert mean_absolute_percentage_error([1.0], [np.inf]) == np.inf
    with pytest.raises(InputError, match=r"value 1 is 0.0, expected above 0"):
        mean_absolute_percentage_error([1.0, 0.0], [1.0, 1.0])


@pytest.mark.parametrize("metric", [r_squared, mean_absolute_percentage_error])
def test_metrics_refuse_what_cannot_be_compared(metric):
    for measured, predicted in (([], []), ([1.0], [1.0, 2.0]), ([[1.0]], [[1.0]])):
        with pytest.raises(InputError, match="expected one dimension and one length"):
            metric(measured, predicted)
    with pytest.raises(InputError, match="measured: a value is not finite"):
        metric([1.0, np.inf], [1.0, 1.0])
    with pytest.raises(InputError, match="predicted: 1 of 2 values are NaN"):
        metric([1.0, 2.0], [1.0, np.nan])
