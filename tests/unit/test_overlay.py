# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The overlay shows what is wrong and leaves the rest as it is."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from adet_core.overlay import add_strip, draw_overlay, shown_regions
from adet_core.scoring import Region

RED = (0, 0, 255)
IMAGE = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)


def test_a_good_part_looks_like_itself() -> None:
    drawn = draw_overlay(IMAGE, np.zeros((32, 32), np.float32), [], threshold=10, span=20)
    assert drawn.dtype == np.uint8
    np.testing.assert_array_equal(drawn, IMAGE)
    assert not np.shares_memory(drawn, IMAGE)


@pytest.mark.parametrize(
    ('value', 'level', 'opacity'), [(10, 0.5, 0.3), (15, 0.75, 0.6), (99, 1, 0.6)]
)
def test_the_map_is_blended_by_its_level(value: float, level: float, opacity: float) -> None:
    anomaly_map = np.full((32, 32), value, np.float32)
    drawn = draw_overlay(IMAGE, anomaly_map, [], threshold=10, span=20)
    shade = np.full((1, 1), int(level * 255), np.uint8)
    colour = cv2.applyColorMap(shade, cv2.COLORMAP_TURBO)[0, 0].astype(float)
    expected = IMAGE * (1 - opacity) + colour * opacity
    np.testing.assert_allclose(drawn, expected, atol=0.51)


def test_equal_values_look_equal_whatever_else_is_in_the_image() -> None:
    grey = np.full((64, 64, 3), 128, np.uint8)
    calm = np.full((64, 64), 12, np.float32)
    wild = calm.copy()
    wild[:8, :8] = 1000
    drawn = [draw_overlay(grey, m, [], threshold=10, span=20) for m in (calm, wild)]
    np.testing.assert_array_equal(drawn[0][20:, 20:], drawn[1][20:, 20:])
    assert (drawn[0][:4, :4] != drawn[1][:4, :4]).any()


def test_a_map_is_stretched_over_the_image() -> None:
    anomaly_map = np.zeros((32, 32), np.float32)
    anomaly_map[:, 16:] = 100
    drawn = draw_overlay(IMAGE, anomaly_map, [], threshold=10, span=20)
    np.testing.assert_array_equal(drawn[:, :35], IMAGE[:, :35])
    assert (drawn[:, 45:] != IMAGE[:, 45:]).any(axis=2).mean() > 0.95


def test_boxes_are_drawn_on_their_own_pixels_only() -> None:
    regions = [Region(10, 20, 30, 15, 1.0), Region(50, 5, 1, 1, 1.0)]
    calm = np.zeros((32, 32), np.float32)
    drawn = draw_overlay(IMAGE, calm, regions, threshold=10, span=20)
    expected = IMAGE.copy()
    expected[20, 10:40] = expected[34, 10:40] = RED
    expected[20:35, 10] = expected[20:35, 39] = RED
    expected[5, 50] = RED
    np.testing.assert_array_equal(drawn, expected)


def test_a_caption_is_written_where_it_can_be_read() -> None:
    calm = np.zeros((32, 32), np.float32)

    def draw(size: int, caption: str) -> np.ndarray:
        image = np.full((size, size, 3), 100, np.uint8)
        return draw_overlay(image, calm, [], threshold=10, span=20, caption=caption)

    written = draw(480, '1 in 200 good parts')
    changed = np.flatnonzero((written != 100).any(axis=(1, 2)))
    assert changed.min() > 420
    assert len(changed) > 10
    assert (written[changed] == 255).any()
    np.testing.assert_array_equal(draw(64, '1 in 200 good parts'), draw(64, ''))


def test_boxes_of_large_images_are_thick_enough_to_see() -> None:
    large = np.zeros((1000, 1200, 3), np.uint8)
    calm = np.zeros((32, 32), np.float32)
    region = [Region(100, 100, 500, 500, 1.0)]
    drawn = draw_overlay(large, calm, region, threshold=10, span=20)
    column = drawn[:, 300, 2]
    assert 5 <= (column[:300] == 255).sum() <= 9  # against 1 on small ones


def test_boxes_are_for_anomalous_images_and_regions_that_can_be_seen() -> None:
    large, small = Region(0, 0, 20, 10, 9.0), Region(5, 5, 1, 1, 8.0)
    size = (100, 200)
    assert shown_regions([large, small], size, is_anomalous=True) == [large]
    # A small defect that is all there is is not left out.
    assert shown_regions([small, small], size, is_anomalous=True) == [small]
    assert shown_regions([large], size, is_anomalous=False) == []
    assert shown_regions([], size, is_anomalous=True) == []


@pytest.mark.parametrize('width', [80, 600])
def test_a_strip_has_text_and_the_colour_scale_and_leaves_the_image(width: int) -> None:
    image = np.full((40, width, 3), 90, np.uint8)
    drawn = add_strip(image, 'normal, found anomalous WRONG: 12.3, threshold 10.1')
    assert drawn.shape == (64, width, 3)
    np.testing.assert_array_equal(drawn[24:], image)
    bar = min(96, width // 4)
    assert drawn[:24, : width - bar].max() > 100
    scale = drawn[12, width - bar :]
    # Turbo goes from blue to red.
    assert scale[2, 0] > scale[2, 2]
    assert scale[-2, 2] > scale[-2, 0]
