# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""One image of a good or a bad part, decided by a key alone.

A key is a row of whole numbers, e.g. (seed, split, index). Each image has its own generators
made from it, so an image does not depend on how many others are drawn.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np

from .camera import draw_shot, ImageArray, oversampling, photograph
from .defects import APPLY, MISSING
from .part import build, draw_specimen, FEATURES, Specimen
from .surface import Surface

VISIBLE = 8
"""A pixel has visibly changed if any channel differs by at least this many of 255 levels."""

_ATTEMPTS = 8
# share of the image that a defect has to change visibly, and the least number of pixels
_LEAST_SHARE, _LEAST_PIXELS = 4e-4, 3


@dataclass(frozen=True)
class AnomalousImage:
    """A part with a defect.

    Attributes:
        image: uint8 ``(size, size, 3)``, RGB.
        flawless: The same part in the same light, without the defect.
        mask: uint8 ``(size, size)``, 255 where the two differ visibly, else 0.
    """

    image: ImageArray
    flawless: ImageArray
    mask: ImageArray


def draw_normal(key: tuple[int, ...], size: int) -> ImageArray:
    """A good part.

    Args:
        key: Names the image.
        size: Edge of the image in pixels; another size shows the same part.

    Returns:
        uint8 ``(size, size, 3)``, RGB.
    """
    surface = build(draw_specimen(key), size * oversampling(size))
    return photograph(surface, draw_shot(key), size)


def draw_anomalous(key: tuple[int, ...], size: int, defect: str) -> AnomalousImage:
    """A part with one defect, which is visible.

    Args:
        key: Names the image.
        size: Edge of the image in pixels.
        defect: One of ``DEFECTS``.
    """
    specimen, shot = draw_specimen(key), draw_shot(key)
    surface = build(specimen, size * oversampling(size))
    flawless = photograph(surface, shot, size)
    least = max(_LEAST_SHARE * size * size, _LEAST_PIXELS)
    for attempt in range(_ATTEMPTS):
        # a faint defect over a hole or in a reflection may not show: try a stronger one elsewhere
        image = photograph(_spoiled(surface, specimen, defect, attempt), shot, size)
        mask = changed(flawless, image)
        if np.count_nonzero(mask) >= least:
            break
    return AnomalousImage(image, flawless, mask)


def changed(before: ImageArray, after: ImageArray) -> ImageArray:
    """Where two images differ visibly: uint8 ``(H, W)``, 255 there and 0 elsewhere."""
    difference = np.abs(before.astype(np.int16) - after.astype(np.int16)).max(axis=2)
    return np.where(difference >= VISIBLE, 255, 0).astype(np.uint8)


def _spoiled(surface: Surface, specimen: Specimen, defect: str, attempt: int) -> Surface:
    """A copy of the surface with a defect, the stronger the later the attempt."""
    rng = np.random.default_rng([*specimen.key, 4, attempt])
    severity = float(rng.uniform()) + 0.3 * attempt
    if defect == MISSING:
        forgotten = FEATURES[int(rng.integers(len(FEATURES)))]
        return build(specimen, surface.edge, without=forgotten)
    spoiled = copy.deepcopy(surface)
    APPLY[defect](spoiled, rng, severity)
    return spoiled
