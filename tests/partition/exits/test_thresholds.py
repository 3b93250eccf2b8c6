"""Thresholds: every combination means what counting input by input says, and all that make a difference are tried."""

import itertools

import numpy as np
import pytest

from partition import InputError
from partition.exits.thresholds import (
    MOST_COMBINATIONS,
    MOST_THRESHOLDS,
    most_thresholds,
    threshold_rules,
    thresholds_of,
)
from tests.scale import scaled


def counted(confidences, scores, thresholds):
    """Follow each input by itself: shares, accuracy, and what of it the rest answers."""
    n_exits, n_inputs = len(confidences), scores.shape[1]
    stopped = [0] * (n_exits + 1)
    right = [0.0] * (n_exits + 1)
    for one in range(n_inputs):
        where = next((k for k in range(n_exits) if confidences[k][one] >= thresholds[k]), n_exits)
        stopped[where] += 1
        right[where] += scores[where][one]
    return [count / n_inputs for count in stopped], sum(right) / n_inputs, right[-1] / n_inputs


@pytest.mark.parametrize("seed", range(scaled(30, 300)))
def test_each_combination_is_what_counting_says(seed):
    draw = np.random.default_rng(seed)
    n_exits, n_inputs = int(draw.integers(0, 5)), int(draw.integers(1, 40))
    # Rounded, so that inputs share confidences and a threshold meets them exactly.
    confidences = draw.random((n_exits, n_inputs)).round(int(draw.integers(1, 4)))
    scores = draw.integers(0, 2, (n_exits + 1, n_inputs)) if seed % 3 else draw.random((n_exits + 1, n_inputs))
    rules = threshold_rules(confidences, scores)
    assert len(rules.thresholds) <= MOST_COMBINATIONS
    assert np.allclose(rules.shares.sum(axis=1), 1.0)
    for number in draw.permutation(len(rules.thresholds))[:60]:
        shares, accuracy, rest = counted(confidences, scores, rules.thresholds[number])
        np.testing.assert_allclose(rules.shares[number], shares, atol=1e-12)
        assert rules.accuracy[number] == pytest.approx(accuracy, abs=1e-12)
        assert rules.rest_accuracy[number] == pytest.approx(rest, abs=1e-12)


def test_with_few_inputs_all_combinations_are_tried():
    confidences = np.array([[0.1, 0.5, 0.5, 0.9], [0.2, 0.3, 0.4, 0.2]])
    rules = threshold_rules(confidences, np.ones((3, 4)))
    assert rules.complete
    wanted = itertools.product([0.1, 0.3, 0.7], [0.2, 0.25, 0.35])
    np.testing.assert_allclose(sorted(rules.thresholds.tolist()), sorted(wanted))


def test_many_inputs_give_evenly_ranked_thresholds_with_both_ends():
    confidences = np.random.default_rng(0).random((1, 1000))
    rules = threshold_rules(confidences, np.ones((2, 1000)))
    assert not rules.complete
    assert len(rules.thresholds) == MOST_THRESHOLDS
    assert rules.thresholds[0, 0] == confidences.min()
    assert np.sort(confidences[0])[-2] < rules.thresholds[-1, 0] < confidences.max()
    assert rules.shares[0, 0] == 1.0
    # Their shares are those of the ranks, each one step of the grid apart.
    assert np.abs(np.diff(rules.shares[:, 0]) + 1 / (MOST_THRESHOLDS - 1)).max() < 2e-3


def test_repeated_confidences_count_once():
    assert thresholds_of(np.array([0.5] * 500 + [0.75]), 100).tolist() == [0.5, 0.625]
    crowded = np.concatenate([np.full(900, 0.25), np.linspace(0.3, 0.9, 300)])
    found = thresholds_of(crowded, 10)
    assert found[0] == 0.25
    assert 0.89 < found[-1] < 0.9
    assert len(found) <= 10


def test_a_threshold_lies_apart_from_the_confidences_so_that_other_rounding_decides_the_same():
    measured = np.random.default_rng(0).random(200)
    others = measured * (1 + np.random.default_rng(1).uniform(-2e-7, 2e-7, 200))
    for threshold in thresholds_of(measured, 100)[1:]:
        assert np.array_equal(measured >= threshold, others >= threshold)
    neighbours = np.array([0.5, np.nextafter(0.5, 1)])
    assert thresholds_of(neighbours, 100).tolist() == neighbours.tolist()


def test_the_number_of_combinations_is_bounded():
    assert most_thresholds(0) == most_thresholds(1) == MOST_THRESHOLDS
    for n_exits in range(1, 8):
        assert 2 <= most_thresholds(n_exits) ** n_exits <= MOST_COMBINATIONS


def test_an_accuracy_of_whole_counts_is_that_very_share():
    scores = np.array([[1.0] * 19 + [0.0]])
    assert threshold_rules(np.zeros((0, 20)), scores).accuracy.tolist() == [0.95]


@pytest.mark.parametrize(
    ("confidences", "scores"),
    [
        (np.zeros((1, 3)), np.zeros((1, 3))),
        (np.zeros((1, 3)), np.zeros((2, 4))),
        (np.zeros((0, 0)), np.zeros((1, 0))),
        (np.zeros((1, 3)), np.zeros(3)),
    ],
)
def test_arrays_that_do_not_fit_are_refused(confidences, scores):
    with pytest.raises(InputError, match="do not belong together"):
        threshold_rules(confidences, scores)


def test_numbers_that_are_not_finite_are_refused():
    with pytest.raises(InputError, match="NaN or infinite"):
        threshold_rules(np.array([[0.5, np.nan]]), np.ones((2, 2)))
    with pytest.raises(InputError, match="NaN or infinite"):
        threshold_rules(np.array([[0.5, 0.5]]), np.array([[1.0, 1.0], [np.inf, 0.0]]))
