# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Thresholds keep what they promise, and say what that is."""

from __future__ import annotations

from fractions import Fraction
import math

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

from adet_core.thresholds import labelled_threshold, normal_threshold, score_range

SCORES = st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=80).map(
    lambda values: np.array(values, np.float32)
)


@pytest.mark.parametrize(('count', 'target'), [(99, 0.01), (150, 0.02), (40, 0.1), (9, 0.1)])
@pytest.mark.parametrize('distribution', ['normal', 'exponential', 'few values'])
def test_good_parts_are_rejected_at_most_at_the_promised_rate(
    count: int, target: float, distribution: str
) -> None:
    rng = np.random.default_rng(0)
    rounds, fresh = 400, 400

    def draw(size: int) -> np.ndarray:
        if distribution == 'few values':
            return rng.integers(0, 20, size).astype(np.float32)
        return getattr(rng, distribution)(size=size).astype(np.float32)

    rejected = 0
    for _ in range(rounds):
        threshold = normal_threshold(draw(count), target).value
        rejected += int((draw(fresh) >= threshold).sum())
    # The promise is an average over calibrations; three standard errors are allowed for chance.
    spread = math.sqrt(target * (1 - target) / rounds * (1 / count + 1 / fresh))
    assert rejected / (rounds * fresh) <= target + 3 * spread


@pytest.mark.parametrize('target', ['0.1', '0.05', '0.02', '0.01', '0.005', '0.001'])
@pytest.mark.parametrize('count', [1, 8, 9, 10, 19, 20, 98, 99, 100, 199, 999, 1000])
def test_the_rank_is_exact(count: int, target: str) -> None:
    scores = np.arange(1, count + 1, dtype=np.float32)
    rank = math.ceil((count + 1) * (1 - Fraction(target)))
    threshold = normal_threshold(scores, float(target))
    expected = np.nextafter(np.float32(min(rank, count)), np.float32(np.inf))
    assert threshold.value == expected
    needed = math.ceil(1 / Fraction(target)) - 1
    assert ('are needed' in threshold.detail) == (count < needed)


@given(SCORES, st.sampled_from([0.01, 0.1, 0.3, 0.5]))
def test_the_chosen_score_itself_still_passes(scores: np.ndarray, target: float) -> None:
    value = normal_threshold(scores, target).value
    below = scores[scores < value]
    assert below.size
    assert np.nextafter(below.max(), np.float32(np.inf)) == np.float32(value)
    assert (scores >= value).mean() <= target


def test_identical_scores_give_a_threshold_just_above() -> None:
    threshold = normal_threshold(np.full(200, 2.5, np.float32), 0.01)
    assert threshold.value == np.nextafter(np.float32(2.5), np.float32(3))


def test_the_order_of_the_scores_does_not_matter() -> None:
    scores = np.random.default_rng(0).permutation(150).astype(np.float32)
    assert normal_threshold(scores, 0.05) == normal_threshold(np.sort(scores), 0.05)


def test_a_threshold_says_where_it_came_from() -> None:
    threshold = normal_threshold(np.arange(150, dtype=np.float32), 0.02)
    assert threshold.method == 'normal_quantile'
    assert (threshold.normals, threshold.anomalies) == (150, 0)
    assert threshold.target_false_reject_rate == 0.02
    assert threshold.detail == 'at most 2.0% of good parts rejected, from 150 held-out pictures'


def test_too_few_scores_say_what_they_can_promise_instead() -> None:
    threshold = normal_threshold(np.arange(9, dtype=np.float32), 0.01)
    assert threshold.value == np.nextafter(np.float32(8), np.float32(9))
    assert threshold.target_false_reject_rate == 0.01
    assert threshold.detail == (
        'at most 10.0% of good parts rejected, from 9 held-out pictures; '
        '99 are needed to promise 1.0%'
    )


def test_one_score_is_enough_for_a_threshold() -> None:
    threshold = normal_threshold(np.array([4.0], np.float32), 0.01)
    assert threshold.value > 4
    assert 'at most 50.0% of good parts rejected, from 1 held-out' in threshold.detail


def test_no_scores_give_no_threshold() -> None:
    with pytest.raises(ValueError, match='needs at least one held-out good picture'):
        normal_threshold(np.array([], np.float32), 0.01)


def test_a_labelled_threshold_says_where_it_came_from() -> None:
    scores, labels = np.array([1.0, 2.0, 6.0]), np.array([False, False, True])
    threshold = labelled_threshold(scores, labels)
    assert threshold.value == 4.0
    assert threshold.method == 'f1_optimal'
    assert (threshold.normals, threshold.anomalies) == (2, 1)
    assert threshold.target_false_reject_rate is None
    assert 'flatter' in threshold.detail


def test_a_labelled_threshold_needs_both_classes() -> None:
    with pytest.raises(ValueError, match='needs normal and anomalous scores'):
        labelled_threshold(np.ones(3), np.ones(3, bool))


@given(SCORES, st.floats(-1e6, 1e6))
def test_the_score_range_holds_the_scores_and_the_threshold(
    scores: np.ndarray, threshold: float
) -> None:
    found = score_range(scores, threshold)
    assert found.minimum <= min(scores.min(), threshold)
    assert found.maximum >= max(scores.max(), threshold)
    assert found.span > 0


def test_the_score_range_is_tight() -> None:
    found = score_range(np.array([2.0, 5.0]), 3.0)
    assert (found.minimum, found.maximum) == (2.0, 5.0)
    found = score_range(np.array([2.0, 5.0]), 9.0)
    assert (found.minimum, found.maximum) == (2.0, 9.0)


def test_equal_scores_get_a_range_around_them() -> None:
    found = score_range(np.full(3, 7.0), 7.0)
    assert (found.minimum, found.maximum) == (6.5, 7.5)
