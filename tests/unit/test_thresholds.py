# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Thresholds keep what they promise, and say what that is."""

from __future__ import annotations

from fractions import Fraction
import math

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from adet_core.bundle import Threshold
from adet_core.thresholds import (
    normal_threshold,
    score_range,
    with_uncertain_band,
)

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


@settings(max_examples=12)
@given(
    st.integers(1, 400),
    st.floats(0.005, 0.3),
    st.floats(0.6, 0.99),
    st.integers(0, 1000),
    st.booleans(),
)
def test_average_and_confidence_are_kept(
    count: int, target: float, confidence: float, seed: int, ties: bool
) -> None:
    rng, rounds = np.random.default_rng(seed), 300
    rejected, kept = [], 0
    for _ in range(rounds):
        scores = rng.random(count, np.float32)
        if ties:
            # A score stands for all below it down to the next step, so 1 - score stays its share.
            scores = np.ceil(scores * np.float32(20)) / np.float32(20)
        threshold = normal_threshold(scores, target, confidence=confidence)
        rejected.append(1 - threshold.value)
        kept += rejected[-1] <= threshold.false_reject_bound
    # Five standard errors are allowed for chance.
    promised = max(target, 1 / (count + 1))
    assert np.mean(rejected) <= promised + 5 * np.std(rejected) / math.sqrt(rounds)
    spread = 5 * math.sqrt(confidence * (1 - confidence) / rounds)
    assert kept / rounds >= confidence - spread
    assert ties or kept / rounds <= confidence + spread


@pytest.mark.parametrize(('count', 'target'), [(5, 0.01), (99, 0.01), (150, 0.02), (400, 0.1)])
@given(confidence=st.floats(0.01, 0.999))
def test_the_bound_is_a_quantile_of_the_order_statistic(
    count: int, target: float, confidence: float
) -> None:
    beta = pytest.importorskip('scipy.stats').beta
    scores = np.arange(count, dtype=np.float32)
    threshold = normal_threshold(scores, target, confidence=confidence)
    above = int((scores >= threshold.value).sum())
    expected = beta.ppf(confidence, above + 1, count - above)
    assert threshold.false_reject_bound == pytest.approx(expected, rel=1e-7)


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
    assert threshold.confidence == 0.95
    assert threshold.false_reject_bound == pytest.approx(0.0414, abs=1e-4)
    assert threshold.uncertain_from is None
    assert threshold.detail == (
        'at most 2% of good parts rejected on average, with 95% confidence at most 4.14%, '
        'from 150 held-out images'
    )


def test_the_confidence_is_told_as_it_was_given() -> None:
    threshold = normal_threshold(np.arange(99, dtype=np.float32), 0.01, confidence=0.9999)
    assert 'with 99.99% confidence at most 8.88%' in threshold.detail


def test_too_few_scores_say_what_they_can_promise_instead() -> None:
    threshold = normal_threshold(np.arange(9, dtype=np.float32), 0.01)
    assert threshold.value == np.nextafter(np.float32(8), np.float32(9))
    assert threshold.target_false_reject_rate == 0.01
    assert threshold.detail == (
        'at most 10% of good parts rejected on average, with 95% confidence at most 28.3%, '
        'from 9 held-out images; 99 are needed to promise 1%'
    )


def test_one_score_is_enough_for_a_threshold() -> None:
    threshold = normal_threshold(np.array([4.0], np.float32), 0.01)
    assert threshold.value > 4
    assert threshold.detail.startswith(
        'at most 50% of good parts rejected on average, with 95% confidence at most 95%, '
        'from 1 held-out images'
    )


def test_no_scores_give_no_threshold() -> None:
    with pytest.raises(ValueError, match='needs at least one held-out normal image'):
        normal_threshold(np.array([], np.float32), 0.01)


@pytest.mark.parametrize('share', [0.0, 1.0, -0.1, 1.5, math.nan])
def test_an_impossible_share_is_refused(share: float) -> None:
    scores = np.arange(9, dtype=np.float32)
    message = r'lies between 0 and 1, not at '
    with pytest.raises(ValueError, match=message):
        normal_threshold(scores, share)
    with pytest.raises(ValueError, match=message):
        with_uncertain_band(_line(5.0), scores, share)
    with pytest.raises(ValueError, match='confidence'):
        normal_threshold(scores, 0.1, confidence=share)


def _line(value: float) -> Threshold:
    return Threshold(value=value, method='f1_optimal', normals=1, anomalies=1, detail='best F1')


def test_an_uncertain_band_begins_at_the_rate_asked_for() -> None:
    normals = np.arange(1, 200, dtype=np.float32)
    threshold = with_uncertain_band(_line(500.0), normals, 0.05)
    assert threshold.uncertain_from == np.nextafter(np.float32(190), np.float32(191))
    assert (normals >= threshold.uncertain_from).mean() == pytest.approx(0.05, abs=0.005)
    assert (threshold.value, threshold.method) == (500.0, 'f1_optimal')
    assert threshold.detail == (
        'best F1; at most 5% of good parts uncertain or rejected on average, '
        'from 199 normal images'
    )


def test_the_band_of_few_images_says_what_it_can_promise() -> None:
    threshold = with_uncertain_band(_line(500.0), np.arange(9, dtype=np.float32), 0.05)
    assert threshold.uncertain_from == np.nextafter(np.float32(8), np.float32(9))
    assert 'at most 10% of good parts uncertain' in threshold.detail


@pytest.mark.parametrize('value', [3.0, 190.0, np.nextafter(np.float32(190), np.float32(191))])
def test_a_band_that_would_begin_at_the_threshold_or_above_is_none(value: float) -> None:
    normals = np.arange(1, 200, dtype=np.float32)
    threshold = with_uncertain_band(_line(float(value)), normals, 0.05)
    assert threshold.uncertain_from is None
    assert threshold.detail == (
        'best F1; no uncertain band: the score that at most 5% of good parts reach '
        'is not below the threshold'
    )


@given(SCORES, st.floats(0.001, 0.5), st.floats(0.001, 0.999))
def test_a_band_is_below_its_threshold_or_none(
    scores: np.ndarray, target: float, rate: float
) -> None:
    threshold = with_uncertain_band(normal_threshold(scores, target), scores, rate)
    start = threshold.uncertain_from
    assert start is None or start < threshold.value
    if rate <= target:
        assert start is None
    if start is not None:
        assert (scores >= start).mean() <= rate


def test_a_threshold_without_words_gets_those_of_its_band_alone() -> None:
    bare = Threshold(value=9.0, method='f1_optimal', normals=1, anomalies=1)
    assert with_uncertain_band(bare, np.ones(9), 0.5).detail.startswith('at most 50% of good')


def test_a_band_needs_good_scores() -> None:
    with pytest.raises(ValueError, match='needs at least one held-out normal image'):
        with_uncertain_band(_line(5.0), np.array([], np.float32), 0.1)


@given(SCORES, st.floats(-1e6, 1e6))
def test_the_score_range_holds_the_scores_and_the_threshold(
    scores: np.ndarray, threshold: float
) -> None:
    found = score_range(scores, threshold, scores)
    assert found.minimum <= min(scores.min(), threshold)
    assert found.maximum >= max(scores.max(), threshold)
    assert found.span > 0


def test_the_score_range_is_tight() -> None:
    found = score_range(np.array([2.0, 5.0]), 3.0, np.array([4.0, 2.0]))
    assert (found.minimum, found.maximum) == (2.0, 5.0)
    found = score_range(np.array([2.0, 5.0]), 9.0, np.zeros(0))
    assert (found.minimum, found.maximum) == (2.0, 9.0)


def test_equal_scores_get_a_range_around_them() -> None:
    found = score_range(np.full(3, 7.0), 7.0, np.full(3, 7.0))
    assert (found.minimum, found.maximum) == (6.5, 7.5)


def test_the_score_range_keeps_every_kind_of_score_and_no_more_than_a_bundle_takes() -> None:
    many = np.arange(1000.0)[::-1]
    found = score_range(many, 3.0, many, anomalies=[9.0, 8.0], made_up={'faint': [2.0, 1.0]})
    assert len(found.normals) == 256
    assert (found.normals[0], found.normals[-1]) == (0, 999)
    assert found.anomalies == (8, 9)
    assert found.made_up == {'faint': (1, 2)}
