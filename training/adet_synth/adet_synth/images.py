# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""One image of a good or a bad part, decided by a key alone.

A key is a row of whole numbers, e.g. (seed, split, index). Each image has its own generators
made from it, so an image does not depend on how many others are drawn.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from adet_core.errors import DatasetError

from .camera import draw_noise, draw_shot, ImageArray, Noise, oversampling, photograph, Shot
from .defects import APPLY, MISSING, somewhere
from .part import build, draw_specimen, FEATURES, Specimen
from .small_defects import APPLY_SMALL
from .surface import Point, Surface, Window

VISIBLE = 8
"""A pixel has visibly changed if any channel differs by at least this many of 255 levels."""

_ATTEMPTS = 8
# share of the image that a defect has to change visibly, and the least number of pixels
_LEAST_SHARE, _LEAST_PIXELS = 4e-4, 3
# standard deviation in pixels of a lens that is made for small defects
_SHARP = 0.8
# pixels at the border of a cut whose light lens and slope would have taken from outside of it
_MARGIN = 6
# small defects that are tried, sizes of each, and places until one has room
_SMALL_ATTEMPTS, _CORRECTIONS, _PLACES = 100, 6, 1000


class Size(NamedTuple):
    """Size of an image in pixels: the middle of a square whose edge is the longer side.

    Attributes:
        width: Number of columns.
        height: Number of rows.
    """

    width: int
    height: int

    def __str__(self) -> str:
        """As the command line takes it."""
        return f'{self.width}x{self.height}'


@dataclass(frozen=True)
class AnomalousImage:
    """A part with a defect.

    Attributes:
        image: uint8 ``(H, W, 3)``, RGB.
        flawless: The same part in the same light, without the defect.
        mask: uint8 ``(H, W)``, 255 where the two differ visibly, else 0.
    """

    image: ImageArray
    flawless: ImageArray
    mask: ImageArray


def draw_normal(key: tuple[int, ...], size: int | Size, *, sharp: bool = False) -> ImageArray:
    """A good part.

    Args:
        key: Names the image.
        size: Size of the image, or the edge of a square one; another size shows the same part.
        sharp: Whether the lens shows single pixels, as it does for small defects.

    Returns:
        uint8 ``(H, W, 3)``, RGB.
    """
    return _Scene(key, size, sharp=sharp).flawless


def draw_anomalous(
    key: tuple[int, ...],
    size: int | Size,
    defect: str,
    *,
    extent: tuple[int, int] | None = None,
) -> AnomalousImage:
    """A part with one defect, which is visible.

    Args:
        key: Names the image.
        size: Size of the image, or the edge of a square one.
        defect: One of ``DEFECTS``; with an extent, one of ``SMALL_DEFECTS``.
        extent: Least and largest extent of a small defect: the longer side, in pixels, of the box
            around what it changes visibly. The lens is sharp then. None: as large as it comes.

    Raises:
        DatasetError: No defect of this extent can be drawn into such an image.
    """
    if extent is not None:
        return _small(_Scene(key, size, sharp=True), defect, extent)
    scene = _Scene(key, size)
    flawless = scene.flawless
    least = max(_LEAST_SHARE * flawless.shape[0] * flawless.shape[1], _LEAST_PIXELS)
    for attempt in range(_ATTEMPTS):
        # a faint defect over a hole or in a reflection may not show: try a stronger one elsewhere
        image = scene.photograph(_spoiled(scene, defect, attempt))
        mask = changed(flawless, image)
        if np.count_nonzero(mask) >= least:
            break
    return AnomalousImage(image, flawless, mask)


def changed(before: ImageArray, after: ImageArray) -> ImageArray:
    """Where two images differ visibly: uint8 ``(H, W)``, 255 there and 0 elsewhere."""
    difference = np.abs(before.astype(np.int16) - after.astype(np.int16)).max(axis=2)
    return np.where(difference >= VISIBLE, 255, 0).astype(np.uint8)


class _Scene:
    """A good part in front of the camera.

    Attributes:
        specimen: Which part.
        shot: Light and lens.
        noise: Of the sensor.
        factor: Pixels of the surface across one pixel of the image.
        surface: The part as it is drawn.
        flawless: The image of it.
    """

    def __init__(self, key: tuple[int, ...], size: int | Size, *, sharp: bool = False) -> None:
        width, height = (size, size) if isinstance(size, int) else size
        edge = max(width, height)
        self.specimen: Specimen = draw_specimen(key)
        shot = draw_shot(key)
        self.shot: Shot = replace(shot, blur=min(shot.blur, _SHARP / edge)) if sharp else shot
        self.noise: Noise = draw_noise(self.shot, (height, width))
        self.factor = oversampling(edge)
        corners = ((edge - height) // 2 * self.factor, (edge - width) // 2 * self.factor)
        rows, columns = (
            slice(first, first + count * self.factor)
            for first, count in zip(corners, (height, width), strict=True)
        )
        self.surface: Surface = build(self.specimen, edge * self.factor, (rows, columns))
        self.flawless: ImageArray = self.photograph(self.surface)

    def photograph(self, surface: Surface) -> ImageArray:
        """The image of a surface of the same size."""
        return photograph(surface, self.shot, self.noise)

    def place(self, rng: np.random.Generator, reach: int) -> tuple[Point, Window] | None:
        """A point of the part and the square of pixels around it; None where none has room."""
        edge = self.surface.edge // self.factor
        first = np.array([one.start for one in self.surface.area]) // self.factor
        most = np.array(self.flawless.shape[:2]) - reach
        for _ in range(_PLACES):
            point = somewhere(rng)
            x, y = self.specimen.pose.to_image(*point)
            row, column = np.floor((np.array([y, x]) + 0.5) * edge).astype(int) - first
            if reach <= min(row, column) and row < most[0] and column < most[1]:
                rows, columns = (slice(at - reach, at + reach + 1) for at in (row, column))
                return point, (rows, columns)
        return None

    def cut(self, window: Window) -> Surface:
        """A copy of the surface under a window of the image."""
        rows, columns = (slice(one.start * self.factor, one.stop * self.factor) for one in window)
        return self.surface.cut((rows, columns))


def _spoiled(scene: _Scene, defect: str, attempt: int) -> Surface:
    """A copy of the surface with a defect, the stronger the later the attempt."""
    specimen, surface = scene.specimen, scene.surface
    rng = np.random.default_rng([*specimen.key, 4, attempt])
    severity = float(rng.uniform()) + 0.3 * attempt
    if defect == MISSING:
        forgotten = FEATURES[int(rng.integers(len(FEATURES)))]
        return build(specimen, surface.edge, surface.area, without=forgotten)
    spoiled = copy.deepcopy(surface)
    APPLY[defect](spoiled, rng, severity)
    return spoiled


def _small(scene: _Scene, defect: str, extent: tuple[int, int]) -> AnomalousImage:
    """The part with a defect of some pixels: only what lies around it is photographed again."""
    flawless = scene.flawless
    for attempt in range(_SMALL_ATTEMPTS):
        found = _try_small(scene, defect, extent, attempt)
        if found is None:
            continue
        window, image, mask = found
        whole, marked = flawless.copy(), np.zeros(flawless.shape[:2], np.uint8)
        whole[window], marked[window] = image, mask
        return AnomalousImage(whole, flawless, marked)
    least, most = extent
    rows, columns = flawless.shape[:2]
    msg = f'no {defect} of {least} to {most} pixels can be drawn in {columns}x{rows} pixels'
    raise DatasetError(msg)


def _try_small(
    scene: _Scene, defect: str, extent: tuple[int, int], attempt: int
) -> tuple[Window, ImageArray, ImageArray] | None:
    """A window with a small defect and its mask; None if it is not visible in this extent.

    How far a defect can be seen depends on light and lens, so its size is corrected a few times.
    """
    key = [*scene.specimen.key, 5, attempt]
    rng = np.random.default_rng(key)
    wanted = int(rng.integers(extent[0], extent[1] + 1))
    placed = scene.place(rng, wanted + 2 + _MARGIN)
    if placed is None:
        return None
    place, window = placed
    inner = slice(_MARGIN, -_MARGIN), slice(_MARGIN, -_MARGIN)
    before = scene.flawless[window][inner]
    drawn = float(wanted)
    for _ in range(_CORRECTIONS):
        surface = scene.cut(window)
        chance = np.random.default_rng([*key, 0])
        APPLY_SMALL[defect](surface, chance, place, drawn * scene.factor / surface.edge)
        after = photograph(surface, scene.shot, scene.noise.cut(window))[inner]
        mask = changed(before, after)
        visible = _extent(mask)
        if abs(visible - wanted) <= max(wanted // 8, 1) and extent[0] <= visible <= extent[1]:
            inside = tuple(slice(one.start + _MARGIN, one.stop - _MARGIN) for one in window)
            return (inside[0], inside[1]), after, mask
        drawn *= min(max(wanted / max(visible, 1), 0.5), 2.0)
    return None


def _extent(mask: ImageArray) -> int:
    """The longer side of the box around what is marked, 0 for nothing."""
    return max(int(np.ptp(places)) + 1 if places.size else 0 for places in np.nonzero(mask))
