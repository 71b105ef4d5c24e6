# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Scores and regions."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

from adet_core.scoring import find_regions, normalise_score, Region


@pytest.mark.parametrize(
    ('score', 'expected'),
    [(10, 0.5), (14, 0.7), (20, 1.0), (21, 1.0), (0, 0.0), (-99, 0.0), (5, 0.25)],
)
def test_the_threshold_lies_at_one_half(score: float, expected: float) -> None:
    assert normalise_score(score, threshold=10, span=20) == pytest.approx(expected)


@given(*[st.floats(-1e6, 1e6)] * 3, st.floats(1e-3, 1e6))
def test_normalising_keeps_order_and_verdict(
    a: float, b: float, threshold: float, span: float
) -> None:
    low, high = (normalise_score(score, threshold, span) for score in sorted((a, b)))
    assert 0 <= low <= high <= 1
    assert (normalise_score(a, threshold, span) >= 0.5) == (a >= threshold) or a == pytest.approx(
        threshold, rel=1e-9, abs=1e-9 * span
    )


def _map() -> np.ndarray:
    return np.zeros((20, 30), np.float32)


def test_a_map_below_the_threshold_has_no_regions() -> None:
    assert find_regions(_map(), 0.5, (20, 30)) == ()


def test_regions_come_the_strongest_first() -> None:
    anomaly_map = _map()
    anomaly_map[2:5, 3:9] = 1
    anomaly_map[3, 4] = 2
    anomaly_map[10:12, 20:21] = 3
    anomaly_map[15, 15] = 1.5
    assert find_regions(anomaly_map, 1.0, (20, 30)) == (
        Region(20, 10, 1, 2, 3.0),
        Region(3, 2, 6, 3, 2.0),
        Region(15, 15, 1, 1, 1.5),
    )


def test_a_value_at_the_threshold_belongs_to_a_region() -> None:
    anomaly_map = _map()
    anomaly_map[4, 5] = 0.7
    threshold = float(np.float32(0.7))
    assert find_regions(anomaly_map, threshold, (20, 30)) == (Region(5, 4, 1, 1, threshold),)
    assert find_regions(anomaly_map, np.nextafter(np.float32(0.7), np.float32(1)), (20, 30)) == ()


def test_diagonal_neighbours_are_one_region() -> None:
    anomaly_map = _map()
    anomaly_map[3, 3] = anomaly_map[4, 4] = anomaly_map[5, 3] = 1
    assert find_regions(anomaly_map, 1, (20, 30)) == (Region(3, 3, 2, 3, 1.0),)


def test_a_map_that_is_anomalous_all_over_is_one_region() -> None:
    assert find_regions(_map() + 5, 1, (200, 300)) == (Region(0, 0, 300, 200, 5.0),)


def test_only_the_sixteen_strongest_are_listed() -> None:
    anomaly_map = np.zeros((20, 60), np.float32)
    anomaly_map[::4, ::4] = np.arange(1, 76).reshape(5, 15)
    regions = find_regions(anomaly_map, 1, (20, 60))
    assert [region.score for region in regions] == list(range(75, 59, -1))


def test_negative_maps_have_regions_too() -> None:
    anomaly_map = _map() - 10
    anomaly_map[1, 2] = -3
    assert find_regions(anomaly_map, -5, (20, 30)) == (Region(2, 1, 1, 1, -3.0),)


def test_not_a_number_belongs_to_no_region() -> None:
    anomaly_map = _map()
    anomaly_map[0, 0] = np.nan
    anomaly_map[5, 5] = 2
    assert find_regions(anomaly_map, 1, (20, 30)) == (Region(5, 5, 1, 1, 2.0),)


def test_boxes_are_scaled_to_the_image() -> None:
    anomaly_map = _map()
    anomaly_map[5:10, 6:12] = 1
    assert find_regions(anomaly_map, 1, (80, 60)) == (Region(12, 20, 12, 20, 1.0),)


@given(
    st.integers(0, 19),
    st.integers(0, 29),
    st.integers(1, 20),
    st.integers(1, 30),
    st.tuples(st.integers(1, 500), st.integers(1, 500)),
)
def test_a_box_lies_inside_the_image_and_covers_the_area(
    y: int, x: int, height: int, width: int, size: tuple[int, int]
) -> None:
    anomaly_map = _map()
    anomaly_map[y : y + height, x : x + width] = 1
    (box,) = find_regions(anomaly_map, 1, size)
    assert 0 <= box.x < box.x + box.width <= size[1]
    assert 0 <= box.y < box.y + box.height <= size[0]
    assert box.width >= 1
    assert box.height >= 1
    scale_x, scale_y = size[1] / 30, size[0] / 20
    assert box.x <= x * scale_x + 1e-6
    assert box.y <= y * scale_y + 1e-6
    assert box.x + box.width >= min(x + width, 30) * scale_x - 0.5 - 1e-6
    assert box.y + box.height >= min(y + height, 20) * scale_y - 0.5 - 1e-6
