# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The drift test, beside scipy's."""

from __future__ import annotations

import numpy as np
import pytest

from adet_core.drift import compare, DriftTest, RejectTest, SIGNIFICANCE, WINDOW


@pytest.mark.parametrize('shift', [0.0, 0.3, 1.0])
@pytest.mark.parametrize('known', [30, 200])
def test_statistic_and_p_value_are_those_of_scipy(shift: float, known: int) -> None:
    stats = pytest.importorskip('scipy.stats')
    random = np.random.default_rng(known)
    learned, scores = random.normal(0, 1, known), random.normal(shift, 1, WINDOW)
    found = compare(scores, learned)
    exact = stats.ks_2samp(scores, learned, method='exact')
    assert found.statistic == pytest.approx(exact.statistic)
    # An approximation; it matters near the significance.
    assert found.p_value == pytest.approx(exact.pvalue, rel=0.35, abs=SIGNIFICANCE / 3)


def test_equal_scores_are_compared_as_scipy_does() -> None:
    stats = pytest.importorskip('scipy.stats')
    scores, learned = np.array([1.0, 1, 2, 2, 3] * 6), np.array([1.0, 2, 2, 2, 4] * 8)
    assert compare(scores, learned).statistic == pytest.approx(
        stats.ks_2samp(scores, learned).statistic
    )


def test_steady_scores_seldom_fire() -> None:
    random = np.random.default_rng(1)
    fired = 0
    for _ in range(2000):
        fired += compare(random.normal(0, 1, WINDOW), random.normal(0, 1, 60)).drifts
    # Twice the rate that is promised would still be one in 250 000 series of tests.
    assert fired <= 10


def test_a_window_is_tested_when_it_is_full() -> None:
    test = DriftTest(np.linspace(0, 1, 40).tolist(), threshold=2.0, window=10)
    assert [test.add(5.0, is_rejected=False) for _ in range(9)] == [[]] * 9
    assert test.latest is None
    (found,) = test.add(5.0, is_rejected=False)
    assert found is test.latest
    assert str(found).startswith('images score higher than the normal ones')
    assert test.alarms[0] == str(found)
    assert 'relearn from at least 50 new images of good parts' in test.alarms[1]
    assert [test.add(n / 10, is_rejected=False) for n in range(10)] == [[]] * 10
    assert test.latest is not found
    assert test.alarms == []


def test_a_few_defects_are_no_drift() -> None:
    learned = np.linspace(0, 1, 1000)
    for defects, higher in ((5, True), (40, True), (5, False), (40, False)):
        scores = np.linspace(0, 1, 100)
        scores[-defects:] = 9 if higher else -9
        plain, told = compare(scores, learned), compare(scores, learned, tolerance=0.05)
        assert told.statistic == pytest.approx(plain.statistic - 0.05 * higher, abs=0.02)
        assert told.drifts == (defects == 40)


def test_more_rejects_than_expected_are_told_and_end_with_their_cause() -> None:
    rng = np.random.default_rng(0)
    test = DriftTest([], threshold=2.0)
    assert not any(test.add(1, is_rejected=bool(one)) for one in rng.random(3000) < 0.05)
    fired = [test.add(3, is_rejected=bool(one)) for one in rng.random(150) < 0.25]
    (alarm,) = [one for some in fired for one in some]
    assert 'of the last 50 images are rejected, where at most 5% were expected' in str(alarm)
    assert 'images are rejected' in test.alarms[0]
    assert not any(test.add(1, is_rejected=False) for _ in range(150))
    assert test.alarms == []


def test_rejects_that_are_expected_seldom_fire() -> None:
    rng = np.random.default_rng(2)
    until = []
    for _ in range(20):
        test, images = RejectTest(0.05), 0
        while not test.drifts and images < 20_000:
            test.add(bool(rng.random() < 0.05))
            images += 1
        until.append(images)
    # Cut at 20 000 each, and still above the promised mean.
    assert np.mean(until) > 10_000


def test_what_the_threshold_rejects_of_known_good_parts_is_expected() -> None:
    learned = np.linspace(0, 1, 100).tolist()
    # 20 of 100 reach it; the rate may be 28 % and no surprise.
    test = DriftTest(learned, threshold=0.8, window=10_000)
    rng = np.random.default_rng(3)
    assert not any(test.add(1, is_rejected=bool(one)) for one in rng.random(2000) < 0.25)
    assert DriftTest([9.0], threshold=2.0).rejects.rejects.expected == 0.9


def test_too_little_to_compare_with_is_said() -> None:
    test = DriftTest([1.0] * 19, threshold=2.0, window=1)
    assert not test.works
    assert test.add(1.0, is_rejected=False) == []
