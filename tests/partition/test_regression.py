"""The library's own regression: exact where its terms are, never below zero, honest about what it does not know."""

import numpy as np
import pytest

from partition.errors import InputError
from partition.files import FieldReader
from partition.latency.calibration import REGRESSIONS, Calibration, TimedFeatures, TimedKernel
from partition.latency.gaussian_process import (
    Hyperparameters,
    _negative_log_posterior,
    _scaling,
    condition,
    find_hyperparameters,
)
from partition.latency.kernel_groups import describe
from partition.latency.overhead import Overhead
from partition.latency.regression import TermsAndProcess


def product(m, k, n, resident_bytes=50e6):
    values = {"batch": 1.0, "m": m, "k": k, "n": n, "constant": 1.0, "transposed": 0.0, "activation": 0.0, "bias": 0.0}
    values |= {"read_bytes": 4 * m * k, "write_bytes": 4 * m * n, "weight_bytes": 4 * k * n}
    values |= {"input_elements": m * k, "output_elements": m * n, "flops": 2 * m * k * n}
    values["resident_bytes"] = resident_bytes
    return TimedFeatures("gemm", "Gemm", {name: float(value) for name, value in values.items()})


def relu(elements):
    values = {"read_bytes": 4 * elements, "write_bytes": 4 * elements, "weight_bytes": 0, "input_elements": elements}
    values |= {"output_elements": elements, "flops": elements, "rows": 1, "row_length": elements, "resident_bytes": 1e6}
    return TimedFeatures("activation", "Relu", {name: float(value) for name, value in values.items()})


def true_s(features):
    """What the machine of these tests takes: a kernel, arithmetic and weights, each at its rate."""
    values = features.values
    return 2e-6 + values["flops"] / 5e10 + values["weight_bytes"] / 1e10


def rows(count=60, threads=1, noise=0.0, bend=0.0):
    random = np.random.default_rng(3)
    made = []
    for _ in range(count):
        m, k, n = (int(np.exp(random.uniform(np.log(2), np.log(high)))) + 1 for high in (200, 2000, 2000))
        features = product(m, k, n)
        seconds = true_s(features) * np.exp(noise * random.standard_normal() + bend * np.sin(np.log(k)))
        made.append(TimedKernel(features, threads, float(seconds), 0.0))
    return made


def test_it_finds_rates_that_are_there():
    regression = TermsAndProcess(rows())
    unseen = [product(16, 300, 500), product(64, 1000, 100), product(100, 64, 1200)]
    found = regression.predict(unseen, threads=1)
    assert found.seconds == pytest.approx([true_s(one) for one in unseen], rel=0.02)
    assert found.in_range.all()
    assert (found.deviation < 0.05).all()


def test_the_process_learns_what_the_terms_leave():
    bent = rows(200, bend=0.3)
    regression = TermsAndProcess(bent)
    (fit,) = [fit for (_, group), fit in regression.fits.items() if group == "gemm/matrix"]
    assert fit.process is not None
    assert fit.error < 0.05
    unseen = [product(20, k, 400) for k in (30, 100, 300, 1000)]
    truth = [true_s(one) * np.exp(0.3 * np.sin(np.log(one.values["k"]))) for one in unseen]
    assert regression.predict(unseen, threads=1).seconds == pytest.approx(truth, rel=0.1)


def test_far_away_it_falls_back_to_the_terms_and_says_so():
    regression = TermsAndProcess(rows(bend=0.2))
    far = product(100, 100_000, 50_000)
    found = regression.predict([far], threads=1)
    assert not found.in_range[0]
    assert found.seconds[0] == pytest.approx(true_s(far), rel=0.6)
    near = regression.predict([product(30, 300, 300)], threads=1)
    assert found.deviation[0] > near.deviation[0]


def test_it_is_never_zero_or_below():
    regression = TermsAndProcess(rows(noise=0.3))
    tiny = regression.predict([product(1, 1, 1), product(2, 2, 2)], threads=1)
    assert (tiny.seconds > 0).all()


def test_more_work_takes_longer_on_average():
    regression = TermsAndProcess(rows(noise=0.05))
    found = regression.predict([product(32, 256, n) for n in (16, 64, 256, 1024)], threads=1).seconds
    assert (np.diff(found) > 0).all()


def test_an_unknown_layer_type_is_no_number():
    found = TermsAndProcess(rows()).predict([relu(1000), product(4, 40, 40)], threads=1)
    assert np.isnan(found.seconds[0])
    assert found.seconds[1] > 0


def test_a_group_without_rows_falls_back_to_its_layer_type():
    regression = TermsAndProcess(rows())
    vector = product(1, 500, 500)
    assert describe(vector).group == "gemm/vector"
    assert ("gemm/vector") not in {group for _, group in regression.fits}
    assert regression.predict([vector], threads=1).seconds[0] == pytest.approx(true_s(vector), rel=0.5)


def test_threads_are_kept_apart():
    slow = [TimedKernel(row.features, 2, 3 * row.seconds, 0.0) for row in rows()]
    regression = TermsAndProcess([*rows(), *slow])
    assert regression.threads == (1, 2)
    one, two = (regression.predict([product(20, 200, 200)], threads=threads).seconds[0] for threads in (1, 2))
    assert two == pytest.approx(3 * one, rel=0.02)
    with pytest.raises(InputError, match="no rows for 4 threads, but for 1, 2"):
        regression.predict([product(20, 200, 200)], threads=4)


def test_two_rows_are_enough_and_none_are_too_few():
    regression = TermsAndProcess(rows(2))
    found = regression.predict([product(20, 200, 200)], threads=1)
    assert found.seconds[0] > 0
    assert found.deviation[0] >= 0.3
    with pytest.raises(InputError, match="needs rows"):
        TermsAndProcess([])


def calibration(count=40):
    made = rows(count)
    regression = TermsAndProcess(made)
    return Calibration(1, 1.0, tuple(made), regression.fits, (Overhead(1, 1e-5, 1e-6),))


def test_a_calibration_survives_its_file():
    before = calibration()
    content = before.to_json()
    after = Calibration.from_json(FieldReader(content, "machine file 'm.json'", "calibration."))
    unseen = [product(16, 300, 500), product(64, 1000, 100)]
    expected = before.own_regression.predict(unseen, threads=1)
    found = after.own_regression.predict(unseen, threads=1)
    assert found.seconds.tolist() == expected.seconds.tolist()
    assert found.deviation.tolist() == expected.deviation.tolist()
    assert after.to_json() == content


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"share": 1.5}, "a share, above 0 and at most 1"),
        ({"overheads": []}, "at least one"),
        ({"overheads": [{"threads": 2, "call_s": 0.0, "profiler_s": 0.0}]}, "of different numbers of threads"),
        ({"tables": []}, "at least one row"),
        ({"fits": []}, "lacks a fit"),
        ({"suite": 0}, "a whole number, 1 or more"),
        ({"unheard": 1}, "unknown field 'calibration.unheard'"),
    ],
)
def test_a_calibration_that_was_edited(change, said):
    content = calibration().to_json() | change
    with pytest.raises(InputError, match=said):
        Calibration.from_json(FieldReader(content, "machine file 'm.json'", "calibration."))


@pytest.mark.parametrize("value", [-1.0, "1", None, True])
def test_a_row_that_was_edited(value):
    content = calibration().to_json()
    content["tables"][0]["rows"][3][-2] = value
    with pytest.raises(InputError, match=r"rows\[3\]"):
        Calibration.from_json(FieldReader(content, "machine file 'm.json'", "calibration."))


def test_rows_that_lack_a_size():
    content = calibration().to_json()
    place = content["tables"][0]["columns"].index("k")
    content["tables"][0]["columns"][place] = "kk"
    with pytest.raises(InputError, match="calibrate again"):
        Calibration.from_json(FieldReader(content, "machine file 'm.json'", "calibration."))


def test_published_regressions_stand_behind_the_same_interface():
    own = calibration(80)
    for name in REGRESSIONS:
        if "dynamic" not in name:
            found = own.regression(name).predict_s([product(30, 300, 300), relu(10)], threads=1)
            assert found.shape == (2,)
            assert np.isnan(found[1])
    with pytest.raises(InputError, match="regression 'guess' is unknown; use one of terms-and-process"):
        own.regression("guess")


# --- the process itself --------------------------------------------------------------------------------------------


def points(n=25, d=3, seed=0):
    random = np.random.default_rng(seed)
    coordinates = random.uniform(0, 5, (n, d))
    return coordinates, np.sin(coordinates[:, 0]) * 0.3 + 0.01 * random.standard_normal(n)


def test_the_gradient_is_that_of_the_value():
    coordinates, values = points()
    centre, scale = _scaling(coordinates)
    squares = [np.square(column[:, None] - column[None, :]) for column in ((coordinates - centre) / scale).T]
    at = np.log(np.array([1.5, 2.5, 3.0, 0.3, 0.05]))
    _, gradient = _negative_log_posterior(at, squares, values)
    for index in range(len(at)):
        step = np.zeros(len(at))
        step[index] = 1e-5
        ahead, behind = (_negative_log_posterior(at + sign * step, squares, values)[0] for sign in (1, -1))
        assert gradient[index] == pytest.approx((ahead - behind) / 2e-5, rel=1e-4, abs=1e-4)


def test_it_goes_through_its_points_and_back_to_zero_far_away():
    coordinates, values = points(60)
    found = find_hyperparameters(coordinates, values)
    process = condition(coordinates, values, found)
    mean, deviation = process.predict(coordinates)
    assert np.abs(mean - values).max() < 0.05
    far, uncertain = process.predict(coordinates + 1000.0)
    assert np.abs(far).max() < 1e-3
    assert uncertain.min() > deviation.max()


def test_a_coordinate_that_never_varies_has_no_say():
    coordinates, values = points()
    coordinates[:, 1] = 7.0
    process = condition(coordinates, values, Hyperparameters((1.0, 1.0, 1.0), 0.3, 0.05))
    moved = coordinates.copy()
    moved[:, 1] = 9.0
    assert process.predict(moved)[0] == pytest.approx(process.predict(coordinates)[0])
