"""Curves over the length: what is fitted, what is chosen, and that no time within the range is below zero."""

import numpy as np
import pytest

from partition import InputError
from partition.routing.length_models import LengthModel, exact_length_model, fit_length_model

LENGTHS = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]


def noisy(curve, *, seed=0, noise=0.02, repeats=9):
    generator = np.random.default_rng(seed)
    lengths = [length for length in LENGTHS for _ in range(repeats)]
    return lengths, [curve(length) * generator.lognormal(0, noise) for length in lengths]


def test_a_line_without_noise_is_found_again():
    model = fit_length_model(LENGTHS, [3e-4 + 2e-5 * length for length in LENGTHS])
    assert model.coefficients == pytest.approx((3e-4, 2e-5, 0.0), rel=1e-9)
    assert (model.least, model.most) == (1, 512)
    assert model.r_squared == pytest.approx(1.0)
    assert model.mape < 1e-9
    assert len(model.ratios) == len(LENGTHS)
    assert model.at(100) == pytest.approx(3e-4 + 2e-3)
    assert model.over([1, 512]).tolist() == pytest.approx([3.2e-4, 3e-4 + 512 * 2e-5])


def test_a_quadratic_without_noise_is_found_again():
    model = fit_length_model(LENGTHS, [1e-3 + 2e-5 * length + 3e-7 * length**2 for length in LENGTHS])
    assert model.coefficients == pytest.approx((1e-3, 2e-5, 3e-7), rel=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_cross_validation_tells_a_line_from_a_quadratic(seed):
    line = fit_length_model(*noisy(lambda n: 3e-4 + 2e-5 * n, seed=seed))
    curve = fit_length_model(*noisy(lambda n: 3e-4 + 2e-5 * n + 1e-7 * n * n, seed=seed))
    assert curve.coefficients[2] == pytest.approx(1e-7, rel=0.2)
    # What a quadratic would add to a line is noise, and small at the far end.
    assert line.coefficients[2] * 512**2 < 0.05 * line.at(512)
    assert max(line.mape, curve.mape) < 0.03
    assert min(line.r_squared, curve.r_squared) > 0.99


def test_weights_are_relative():
    # One value is off by half: at the short end it may not be drowned by the long one's seconds.
    values = [1e-4 + 1e-5 * length for length in LENGTHS]
    off = [values[0] * 1.5, *values[1:]]
    fitted = fit_length_model(LENGTHS, off, order="linear")
    plain = np.polyfit(LENGTHS, off, 1)
    assert abs(fitted.at(1) / off[0] - 1) < abs((plain[0] + plain[1]) / off[0] - 1)


@pytest.mark.parametrize("seed", range(20))
def test_no_time_is_below_zero_and_none_falls(seed):
    generator = np.random.default_rng(seed)
    lengths = sorted(generator.choice(np.arange(1, 600), size=8, replace=False).tolist())
    values = generator.lognormal(-8, 1.5, size=8).tolist()  # no curve at all
    for order in ("linear", "quadratic", "auto"):
        model = fit_length_model(lengths, values, order=order)
        found = model.over(np.arange(model.least, model.most + 1))
        assert found.min() >= 0
        assert (np.diff(found) >= -1e-15).all()
        assert model.extended(10_000) >= model.at(model.most)


def test_a_negative_intercept_is_kept():
    # The first ten steps cost nothing: a filter without padding.
    lengths = [20, 40, 80, 160]
    model = fit_length_model(lengths, [1e-5 * (length - 10) for length in lengths], order="linear")
    assert model.coefficients == pytest.approx((-1e-4, 1e-5, 0.0), rel=1e-6)
    assert model.extended(5) == 0.0


def test_a_layer_that_takes_nothing():
    model = fit_length_model([1, 2, 3], [0.0, 0.0, 0.0])
    assert model.coefficients == (0.0, 0.0, 0.0)
    assert (model.r_squared, model.mape, model.ratios) == (1.0, 0.0, ())
    assert fit_length_model([1, 2, 3], [0.0, 1e-6, 2e-6]).at(3) > 0


@pytest.mark.parametrize(
    ("lengths", "values", "order", "said"),
    [
        ([1, 2], [1.0, 2.0], "auto", "a linear fit needs 3 different lengths, and there are 2"),
        ([1, 1, 2, 2], [1.0] * 4, "linear", "and there are 2"),
        ([1, 2, 3], [1.0] * 3, "quadratic", "a quadratic fit needs 4 different lengths, and there are 3"),
        ([], [], "auto", "and there are 0"),
        ([1, 2, 3], [1.0, 2.0], "auto", "3 lengths and 2 values"),
        ([1, 2, 0], [1.0] * 3, "auto", "length 0 is not"),
        ([1, 2, 2.5], [1.0] * 3, "auto", "length 2.5 is not"),
        ([1, 2, True], [1.0] * 3, "auto", "length True is not"),
        ([1, 2, 3], [1.0, -1.0, 1.0], "auto", "the value at length 2 is -1.0"),
        ([1, 2, 3], [1.0, float("nan"), 1.0], "auto", "the value at length 2 is nan"),
        ([1, 2, 3], [1.0, "x", 1.0], "auto", "have to be numbers"),
        ([1, 2, 3], [1.0] * 3, "cubic", "order 'cubic' is unknown"),
    ],
)
def test_what_is_refused(lengths, values, order, said):
    with pytest.raises(InputError, match=said):
        fit_length_model(lengths, values, order=order)


def test_outside_of_the_range_only_when_asked():
    model = LengthModel((1e-3, 1e-4, 0.0), 10, 100)
    for length in (9, 101):
        with pytest.raises(InputError, match="outside of the fitted range 10 to 100; measure a range"):
            model.at(length)
    assert model.extended(1000) == pytest.approx(0.101)
    for length in (0, -1, 1.5, "3", None):
        with pytest.raises(InputError, match="whole number of 1 or more"):
            model.extended(length)
    assert model.at(np.int64(10)) == model.at(10)


def test_sizes_are_exact_or_not_there():
    assert exact_length_model([1, 7, 300], [40, 280, 12_000]).coefficients == (0.0, 40.0, 0.0)
    assert exact_length_model([1, 7, 300, 9], [4, 4, 4, 4]).coefficients == (4.0, 0.0, 0.0)
    squares = exact_length_model([512, 1, 30, 100], [4 * n * n for n in (512, 1, 30, 100)])
    assert squares.coefficients == (0.0, 0.0, 4.0)
    assert (squares.r_squared, squares.mape) == (1.0, 0.0)
    assert exact_length_model([1, 2, 3, 4, 5], [n // 2 for n in range(1, 6)]) is None
    assert exact_length_model([5], [20]).at(5) == 20


def test_json_round_trip():
    model = fit_length_model(*noisy(lambda n: 1e-3 + 1e-5 * n))
    assert LengthModel.from_json(model.to_json()) == model


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"coefficients": [1, 2]}, "three finite numbers"),
        ({"coefficients": [1, 2, float("inf")]}, "three finite numbers"),
        ({"coefficients": [-1.0, 0.1, 0.0]}, "a curve that is not below 0 from 5 to 50"),
        ({"coefficients": [10.0, -1.0, 0.02]}, "a curve that is not below 0 from 5 to 50"),
        ({"ratios": [1.0, 0.0]}, "finite numbers above 0"),
        ({"least": 60}, "at least the field 'least', 60"),
        ({"more": 1}, "unknown field 'more'"),
    ],
)
def test_what_is_refused_in_a_file(change, said):
    content = LengthModel((1.0, 0.0, 0.0), 5, 50).to_json() | change
    with pytest.raises(InputError, match=said):
        LengthModel.from_json(content)
