# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The drift test, beside scipy's."""

from __future__ import annotations

import numpy as np
import pytest

from adet_core.drift import compare, DriftTest, SIGNIFICANCE, WINDOW


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
    assert [test.add(5.0) for _ in range(9)] == [None] * 9
    assert test.latest is None
    found = test.add(5.0)
    assert found is test.latest
    assert found is not None
    assert found.drifts
    assert str(found).startswith('accepted images score higher than the normal ones')
    assert [test.add(0.5) for _ in range(9)] == [None] * 9
    assert test.latest is found


def test_scores_that_would_be_rejected_are_not_compared_with() -> None:
    accepted = np.linspace(0, 1, 40).tolist()
    test = DriftTest([*accepted, *[9.0] * 40], threshold=2.0, window=40)
    found = [test.add(score) for score in accepted][-1]
    assert found is not None
    assert found.statistic == 0


def test_too_little_to_compare_with_is_said() -> None:
    test = DriftTest([1.0] * 19, threshold=2.0, window=1)
    assert not test.works
    assert test.add(1.0) is None
