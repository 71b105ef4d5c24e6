# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""One picture of a good or a bad part, decided by a key alone.

A key is a row of whole numbers, e.g. (seed, split, index). Each picture has its own generators
made from it, so a picture does not depend on how many others are drawn.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np

from .camera import draw_shot, oversampling, photograph, Picture
from .defects import APPLY, MISSING
from .part import build, draw_specimen, FEATURES, Specimen
from .surface import Surface

VISIBLE = 8
"""A pixel has visibly changed if any channel differs by at least this many of 255 levels."""

_ATTEMPTS = 8
# share of the picture that a defect has to change visibly, and the least number of pixels
_LEAST_SHARE, _LEAST_PIXELS = 4e-4, 3


@dataclass(frozen=True)
class BadPicture:
    """A part with a defect.

    Attributes:
        picture: uint8 ``(size, size, 3)``, RGB.
        flawless: The same part in the same light, without the defect.
        mask: uint8 ``(size, size)``, 255 where the two differ visibly, else 0.
    """

    picture: Picture
    flawless: Picture
    mask: Picture


def draw_good(key: tuple[int, ...], size: int) -> Picture:
    """A good part.

    Args:
        key: Names the picture.
        size: Edge of the picture in pixels; another size shows the same part.

    Returns:
        uint8 ``(size, size, 3)``, RGB.
    """
    surface = build(draw_specimen(key), size * oversampling(size))
    return photograph(surface, draw_shot(key), size)


def draw_bad(key: tuple[int, ...], size: int, defect: str) -> BadPicture:
    """A part with one defect, which is visible.

    Args:
        key: Names the picture.
        size: Edge of the picture in pixels.
        defect: One of ``DEFECTS``.
    """
    specimen, shot = draw_specimen(key), draw_shot(key)
    surface = build(specimen, size * oversampling(size))
    flawless = photograph(surface, shot, size)
    least = max(_LEAST_SHARE * size * size, _LEAST_PIXELS)
    for attempt in range(_ATTEMPTS):
        # a faint defect over a hole or in a reflection may not show: try a stronger one elsewhere
        picture = photograph(_spoiled(surface, specimen, defect, attempt), shot, size)
        mask = changed(flawless, picture)
        if np.count_nonzero(mask) >= least:
            break
    return BadPicture(picture, flawless, mask)


def changed(before: Picture, after: Picture) -> Picture:
    """Where two pictures differ visibly: uint8 ``(H, W)``, 255 there and 0 elsewhere."""
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
