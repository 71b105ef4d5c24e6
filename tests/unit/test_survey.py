# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""What a look at a category finds: sizes of images and defects, and how parts lie."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from adet_core.image import Image
from adet_synth import draw_normal, write_dataset
from adet_training.proposal import OFF, SHIFT, TURN
from adet_training.survey import describe, extent, survey


def moved(index: int, angle: float, x: float, y: float) -> Image:
    """A drawn part on an empty ground of 200 x 200 pixels, turned by degrees and shifted."""
    matrix = cv2.getRotationMatrix2D((64, 64), angle, 1)
    matrix[:, 2] += (36 + x, 36 + y)
    part = draw_normal((3, 0, index), 128)
    pixels = cv2.warpAffine(part, matrix, (200, 200), borderValue=(20, 20, 20))
    return Image(pixels, 'rgb8')


def test_how_parts_lie() -> None:
    turned = describe([moved(i, 75 * i, 3 * i - 9, 5 - 2 * i) for i in range(6)], [])
    assert turned.align == TURN
    # The box around the part, not the image.
    assert 90 < turned.height < turned.width < 150
    shifted = describe([moved(i, i % 3, 9 * i - 25, 24 - 8 * i) for i in range(6)], [])
    assert shifted.align == SHIFT
    assert (shifted.width, shifted.height) == (200, 200)
    assert describe([moved(i, 0, 0, 0) for i in range(6)], []).align == OFF


def test_textures_are_not_aligned() -> None:
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 255, (64, 64), np.uint8) for _ in range(6)]
    fabric = [cv2.GaussianBlur(one, (0, 0), 3) for one in noise]
    for pixels in (noise, fabric):
        assert describe([Image(one, 'mono8') for one in pixels], []).align == OFF


def test_images_of_several_shapes() -> None:
    sizes = ((60, 80), (90, 120), (61, 80))
    images = [Image(np.zeros(size, np.uint8), 'mono8') for size in sizes]
    assert not describe(images, []).has_one_shape
    found = describe(images[:2], [])
    assert found.has_one_shape
    assert (found.width, found.height) == (100, 75)


def test_the_extent_of_a_defect() -> None:
    mask = np.zeros((50, 60), np.bool_)
    mask[10:20, 10:15] = True
    mask[40:42, 40:42] = True
    assert extent(mask) == 10
    mask[:] = False
    mask[5, :48] = True
    assert extent(mask) == pytest.approx(12)


def test_a_category_on_disk(tmp_path: Path) -> None:
    small = {'train': 2, 'test_normal': 1, 'test_anomaly': 4, 'seed': 1}
    write_dataset(tmp_path, category='p', size=(160, 120), defect_size=(6, 9), **small)
    (tmp_path / 'test' / 'p' / 'anomaly' / 'broken.png').write_bytes(b'no image')
    found = survey(tmp_path, 'p')
    assert (found.width, found.height, found.has_one_shape) == (160, 120, True)
    assert len(found.defects) == 4
    assert all(4 <= one <= 9 for one in found.defects)
