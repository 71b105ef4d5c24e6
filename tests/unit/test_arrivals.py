# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Gaps and silence of a stream of images."""

from __future__ import annotations

import time

import numpy as np
import pytest

from adet_core.io.arrivals import Arrivals

SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND


def fed(stamps_s):
    arrivals = Arrivals()
    for stamp in stamps_s:
        arrivals.add(START + round(stamp * SECOND))
    return arrivals


@pytest.mark.parametrize('lost', [{20}, {20, 21, 22}, {15, 40, 41, 70}])
def test_images_that_a_steady_rate_lacks_are_counted(lost):
    chance = np.random.default_rng(0)
    jitter = chance.uniform(-0.1, 0.1, 100)
    stamps = [(number + jitter[number]) / 5 for number in range(100) if number not in lost]
    assert fed(stamps).missing == len(lost)


def test_the_gap_is_told_with_the_image_after_it():
    arrivals = fed(number / 30 for number in range(20))
    assert arrivals.add(START + round(19.9 / 30 * SECOND)) == 0
    assert arrivals.add(START + round(24 / 30 * SECOND)) == 3


def test_a_line_that_takes_an_image_of_each_part_has_no_gaps():
    chance = np.random.default_rng(1)
    stamps = np.cumsum(chance.exponential(2.0, 300))
    assert fed(stamps).missing == 0


@pytest.mark.parametrize(
    'stamps',
    [
        [number / 10 for number in range(9)] + [100.0],
        [1.0] * 50,
        [number / 10 for number in range(30)] + [-50.0, -49.9],
    ],
    ids=['too few to tell', 'repeated stamps', 'a clock set back'],
)
def test_what_says_nothing_of_a_rate_is_no_gap(stamps):
    assert fed(stamps).missing == 0


def test_without_stamps_the_arrival_counts(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, 'monotonic', lambda: now[0])
    arrivals = Arrivals()
    for number in range(20):
        now[0] = 100.0 + number / 5
        assert arrivals.add(0) == 0
    now[0] += 1.0
    assert arrivals.silent_s == pytest.approx(1.0)
    assert arrivals.add(0) == 4
    assert arrivals.silent_s == 0.0
