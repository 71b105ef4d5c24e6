# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Registration: drawn parts that were shifted and turned are found again."""

from __future__ import annotations

from functools import cache
import math

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from adet_core.errors import ImageError
from adet_core.image import Image
from adet_core.image.affine import chain, Matrix, warp
from adet_core.image.alignment import (
    AlignmentError,
    AlignmentReference,
    learn_reference,
)
from adet_synth import draw_normal

EDGE = 300


def moved(index: int, angle: float, x: float, y: float, *, edge: int = EDGE) -> Image:
    """A drawn part on an empty ground, turned around its middle by degrees and shifted."""
    part = draw_part(index)
    pixels = cv2.warpAffine(
        part,
        lies(angle, x, y, edge),
        (edge, edge),
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=(20, 20, 20),
    )
    return Image(pixels, 'rgb8')


@cache
def draw_part(index: int) -> npt.NDArray[np.uint8]:
    return draw_normal((3, 0, index), 200)


def lies(angle: float, x: float, y: float, edge: int = EDGE) -> Matrix:
    """From the pixels of a drawn part to those of the image that `moved` makes."""
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    turn = np.array([[cos, -sin], [sin, cos]])
    middle = np.array([99.5, 99.5])
    return np.column_stack([turn, np.array([edge / 2 + x, edge / 2 + y]) - turn @ middle])


def corners(matrix: Matrix) -> npt.NDArray[np.float64]:
    """Where the corners of a part are: ``(4, 2)``."""
    points = np.array([[20, 40, 1], [180, 40, 1], [20, 160, 1], [180, 160, 1]], float)
    return points @ matrix.T


@pytest.fixture(scope='module')
def turned() -> AlignmentReference:
    images = (moved(index, 70 * index, 9 * index - 20, 6 - 5 * index) for index in range(5))
    return learn_reference(images, is_turned=True)


@pytest.fixture(scope='module')
def shifted() -> AlignmentReference:
    places = ((0, 0, 0), (1, 9, -12), (-2, -14, 5), (0.5, 6, 15))
    images = (moved(index, *place) for index, place in enumerate(places))
    return learn_reference(images, is_turned=False)


def test_parts_in_any_direction_come_to_lie_alike(turned: AlignmentReference) -> None:
    height, width = turned.size
    # As large as the part and its margin, not as the image.
    assert 150 < height < width < 240
    expected = corners(chain(lies(0, -20, 6), turned.align(moved(0, 0, -20, 6)).matrix))
    for number, angle in enumerate(range(0, 360, 23)):
        x, y = 17 - 2 * number, number - 6
        found = turned.align(moved(7 + number % 3, angle, x, y))
        assert found.similarity > 0.9
        # Parts themselves lie up to 1 pixel and 0.6 degrees from their place.
        away = corners(chain(lies(angle, x, y), found.matrix)) - expected
        assert np.abs(away).max() < 4


def test_shifted_parts_come_to_lie_alike(shifted: AlignmentReference) -> None:
    assert shifted.size == (EDGE, EDGE)
    expected = corners(chain(lies(0, 0, 0), shifted.align(moved(0, 0, 0, 0)).matrix))
    for index, (angle, x, y) in enumerate([(0, 20, 20), (3, -18, 11), (-4, 5.5, -21), (0, 0, 0)]):
        found = shifted.align(moved(7 + index, angle, x, y))
        away = corners(chain(lies(angle, x, y), found.matrix)) - expected
        assert np.abs(away).max() < 4


def test_the_same_image_is_found_to_a_tenth_of_a_pixel(shifted: AlignmentReference) -> None:
    first = corners(chain(lies(0, 0, 0), shifted.align(moved(0, 0, 0, 0)).matrix))
    again = corners(chain(lies(2, 7, -3), shifted.align(moved(0, 2, 7, -3)).matrix))
    assert np.abs(first - again).max() < 0.3


def test_light_does_not_matter(turned: AlignmentReference) -> None:
    image = moved(8, 130, 5, 5)
    dark = Image((image.pixels * 0.6).astype(np.uint8), 'rgb8')
    one, other = (corners(turned.align(each).inverse) for each in (image, dark))
    assert np.abs(one - other).max() < 0.5


def test_results_go_back_to_the_pixels_of_the_image(turned: AlignmentReference) -> None:
    image = moved(9, 200, -11, 8)
    found = turned.align(image)
    assert chain(found.matrix, found.inverse) == pytest.approx(np.eye(2, 3), abs=1e-9)
    aligned = warp(image.pixels, found.matrix, turned.size)
    back = warp(aligned, found.inverse, image.size)
    reached = warp(np.ones(turned.size, np.float32), found.inverse, image.size, outside=0) > 0.99
    # All of the part, and not much more, is in the reference.
    part = image.pixels.max(axis=2) > 60
    assert (reached & part).sum() > 0.99 * part.sum() > 0.6 * reached.sum()
    difference = np.abs(back.astype(int) - image.pixels)[reached]
    assert difference.mean() < 6


def test_large_images_of_other_encodings_are_aligned_in_their_own_pixels() -> None:
    image = moved(8, 40, 6, -9)
    large = cv2.resize(image.pixels, (4 * EDGE, 4 * EDGE), interpolation=cv2.INTER_LINEAR)
    grey = cv2.cvtColor(large, cv2.COLOR_RGB2GRAY).astype(np.uint16) * 257
    one = learn_reference([Image(grey, 'mono16')], is_turned=True)
    assert one.pixels.shape[1] <= 256
    aligned = one.align(Image(grey, 'mono16'))
    # The part's middle comes to lie in the middle of the reference.
    middle = aligned.matrix @ [4 * (EDGE / 2 + 6.5) - 0.5, 4 * (EDGE / 2 - 8.5) - 0.5, 1]
    assert middle == pytest.approx([one.size[1] / 2, one.size[0] / 2], abs=16)


def test_what_is_not_alike_is_refused(
    turned: AlignmentReference, shifted: AlignmentReference
) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (EDGE, EDGE), np.uint8)
    empty = np.full((EDGE, EDGE), 20, np.uint8)
    disc = cv2.circle(empty.copy(), (150, 150), 60, 200, -1)
    for reference in (turned, shifted):
        for pixels in (noise, empty, disc):
            with pytest.raises(AlignmentError, match=r'similarity .* is -?0\.\d\d, less than 0\.'):
                reference.align(Image(pixels, 'mono8'))
    with pytest.raises(ImageError, match='do not fit'):
        turned.align(Image(noise, 'rgb8'))


def test_a_reference_needs_parts_that_are_alike() -> None:
    empty = Image(np.full((EDGE, EDGE), 20, np.uint8), 'mono8')
    with pytest.raises(AlignmentError, match='the first image shows no part on a plain ground'):
        learn_reference([empty], is_turned=True)
    with pytest.raises(AlignmentError, match='2 of 3 do not lie like the first'):
        learn_reference([moved(0, 0, 0, 0), empty, empty], is_turned=True)
    with pytest.raises(ValueError, match='at least one'):
        learn_reference([], is_turned=False)
