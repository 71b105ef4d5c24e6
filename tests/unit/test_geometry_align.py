# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Alignment and light as steps of the geometry: there, and back to the image's pixels."""

from __future__ import annotations

from dataclasses import replace
import math
from pathlib import Path

import builders
import cv2
import numpy as np
import numpy.typing as npt
import pytest

from adet_core.bundle import REFERENCE_FILE
from adet_core.errors import BundleError, ImageError
from adet_core.geometry import AlignSpec, Box, Geometry, ImageSpec, TileSpec
from adet_core.image import Image
from adet_core.image.alignment import AlignmentReference, learn_reference
from adet_core.image.light import learn_light
from adet_synth import draw_normal

EDGE = 300
SCALE = 2


def lies(angle: float, x: float, y: float) -> npt.NDArray[np.float64]:
    """From the pixels of a drawn part to those of the image that `moved` makes."""
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    turn = np.array([[cos, -sin], [sin, cos]])
    return np.column_stack([turn, np.array([EDGE / 2 + x, EDGE / 2 + y]) - turn @ [99.5, 99.5]])


def moved(pixels: np.ndarray, angle: float, x: float = 0, y: float = 0) -> npt.NDArray[np.uint8]:
    """A part on an empty ground, turned around its middle by degrees and shifted."""
    found: npt.NDArray[np.uint8] = cv2.warpAffine(
        pixels, lies(angle, x, y), (EDGE, EDGE), borderValue=(20, 20, 20)
    )
    return found


@pytest.fixture(scope='module')
def part() -> npt.NDArray[np.uint8]:
    return draw_normal((3, 0, 0), 200)


@pytest.fixture(scope='module')
def reference(part: npt.NDArray[np.uint8]) -> AlignmentReference:
    images = [Image(moved(part, angle), 'rgb8') for angle in (0, 50, 200)]
    return learn_reference(images, is_turned=True)


def spec_of(reference: AlignmentReference, **values: object) -> ImageSpec:
    how = AlignSpec(is_turned=True, scale=reference.scale, least=reference.least)
    rows, columns = reference.size
    plain = ImageSpec(
        height=96, width=128, mean=(0.0,) * 3, std=(1.0,) * 3, source=(columns, rows), align=how
    )
    return replace(plain, **values)


def test_parts_in_any_direction_make_one_canvas(
    part: npt.NDArray[np.uint8], reference: AlignmentReference
) -> None:
    geometry = Geometry(spec_of(reference), None, reference)
    first, placement = geometry.place(Image(moved(part, 0), 'rgb8'))
    assert first.shape == (96, 128, 3)
    assert placement.source == (EDGE, EDGE)
    assert not placement.takes_all
    for angle, x, y in ((77, 12, -8), (180, -15, 4), (291, 0, 20)):
        other = geometry.place(Image(moved(part, angle, x, y), 'rgb8'))[0]
        assert np.abs(first.astype(int) - other).mean() < 5


def test_maps_and_masks_lie_in_the_images_pixels(
    part: npt.NDArray[np.uint8], reference: AlignmentReference
) -> None:
    tiles = TileSpec(width=80, overlap=0.25)
    for spec in (
        spec_of(reference),
        spec_of(reference, fit='letterbox'),
        spec_of(reference, height=64, width=64, tiles=tiles),
        spec_of(reference, roi=Box(x=20, y=10, width=100, height=90)),
    ):
        geometry = Geometry(spec, None, reference)
        image = moved(part, 140, 9, -14)
        spot = np.zeros((EDGE, EDGE), bool)
        at = np.rint(lies(140, 9, -14) @ [70, 90, 1]).astype(int)
        spot[at[1] - 4 : at[1] + 5, at[0] - 4 : at[0] + 5] = True
        _, placement = geometry.place(Image(image, 'rgb8'))
        marked = geometry.place_mask(spot, placement)
        assert marked.shape == geometry.size
        assert marked.any()
        # The same from a mask that is twice as fine.
        fine = np.kron(spot, np.ones((SCALE, SCALE), bool))
        assert (geometry.place_mask(fine, placement) ^ marked).sum() <= 0.2 * marked.sum()
        back = placement.to_source(np.where(marked, np.float32(7), np.float32(1)))
        vertical, horizontal = back.shape[0] / EDGE, back.shape[1] / EDGE
        rows, columns = np.nonzero(back > 4)
        assert abs(rows.mean() / vertical - at[1]) < 2
        assert abs(columns.mean() / horizontal - at[0]) < 2
        # The ground far from the part is not inspected.
        assert np.isneginf(back[0, 0])
        assert not np.isnan(back).any()


def test_what_cannot_be_aligned_is_said(reference: AlignmentReference) -> None:
    geometry = Geometry(spec_of(reference), None, reference)
    with pytest.raises(ImageError, match='cannot be aligned: its similarity'):
        geometry.place(Image(np.zeros((EDGE, EDGE), np.uint8), 'mono8'))


def test_light_is_brought_to_the_usual(part: npt.NDArray[np.uint8]) -> None:
    plain = ImageSpec(height=100, width=100, mean=(0.0,) * 3, std=(1.0,) * 3)
    usual = Geometry(plain).place(Image(part, 'rgb8'))[0]
    geometry = Geometry(replace(plain, light=learn_light([usual])))
    dark = (part * 0.8).astype(np.uint8)
    found = geometry.place(Image(dark, 'rgb8'))[0]
    assert np.abs(found.astype(int) - usual).mean() < 2
    # What a letterbox is filled with is not the image's light.
    boxed = replace(plain, width=200, fit='letterbox', light=250.0, mean=(0.5,) * 3)
    canvas = Geometry(boxed).place(Image(part, 'rgb8'))[0]
    assert (canvas[:, 0] == 128).all()


def test_a_bundle_keeps_what_images_are_aligned_to(
    tmp_path: Path, part: npt.NDArray[np.uint8], reference: AlignmentReference
) -> None:
    spec = spec_of(reference, height=64, width=64)
    image = Image(moved(part, 33), 'rgb8')
    more = {REFERENCE_FILE: {'pixels': reference.pixels}}
    bundle = builders.make_bundle(tmp_path, image=spec, more=more)
    expected = Geometry(spec, None, reference).place(image)[0]
    assert np.array_equal(bundle.geometry().place(image)[0], expected)
    wrong = {
        'holds': {'other': np.zeros(3)},
        'is float32': {'pixels': reference.pixels.astype(np.float32)},
        r'is uint8 \(40,\)': {'pixels': np.zeros(40, np.uint8)},
        r'is uint8 \(7, 40\)': {'pixels': np.zeros((7, 40), np.uint8)},
        'the reference is made for': {'pixels': reference.pixels[:-9]},
    }
    for message, arrays in wrong.items():
        bundle = builders.make_bundle(tmp_path, image=spec, more={REFERENCE_FILE: arrays})
        with pytest.raises(BundleError, match=message):
            bundle.geometry()
    bundle = builders.make_bundle(tmp_path, image=spec)
    with pytest.raises(BundleError, match=REFERENCE_FILE):
        bundle.geometry()


def test_an_impossible_alignment_is_refused(reference: AlignmentReference) -> None:
    spec = spec_of(reference)
    with pytest.raises(ValueError, match='belongs to image align'):
        Geometry(spec)
    with pytest.raises(ValueError, match='source beside'):
        replace(spec, source=None)
    for scale, least in ((0.0, 0.5), (2.0, 0.5), (math.nan, 0.5), (0.5, 2.0), (0.5, math.nan)):
        with pytest.raises(ValueError, match='of alignment'):
            AlignSpec(is_turned=True, scale=scale, least=least)
    for light in (0.0, -3.0, 256.0, math.inf, math.nan):
        with pytest.raises(ValueError, match='image light'):
            replace(spec, light=light)
