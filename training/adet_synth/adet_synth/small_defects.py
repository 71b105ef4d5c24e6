# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Defects of a few pixels, as a camera of several megapixels shows them.

Each changes a surface in place, around one point and within a given extent. All are strong enough
to be seen at full resolution: what makes them hard is that they are small.
"""

from __future__ import annotations

from collections.abc import Callable
import math

import numpy as np

from .defects import curve, drop, FIBRES, on_metal, STAINS
from .part import EVERYWHERE
from .surface import length, Point, Surface


def _scratch(surface: Surface, rng: np.random.Generator, place: Point, extent: float) -> None:
    """A short groove, bright or dark."""
    line = curve(rng, place, extent, rng.normal(0, 0.5), 0.03)
    groove = on_metal(surface, surface.strokes([line], max(extent / 6, 1 / surface.edge)))
    is_bright = rng.random() < 0.5
    alpha = groove * np.float32(rng.uniform(0.6, 0.95))
    surface.height -= np.float32(0.05 * extent) * groove
    surface.paint(EVERYWHERE, alpha, (0.5, 0.51, 0.52) if is_bright else (0.07, 0.07, 0.075), 1.0)


def _dent(surface: Surface, rng: np.random.Generator, place: Point, extent: float) -> None:
    """An oval hollow."""
    stretch, turn = rng.uniform(1, 1.5), rng.uniform(0, math.pi)
    u, v = surface.offset(EVERYWHERE, *place)
    cos, sin = np.float32(math.cos(turn)), np.float32(math.sin(turn))
    radius = extent / 2
    along = (cos * u + sin * v) * np.float32(1 / radius)
    across = (cos * v - sin * u) * np.float32(stretch / radius)
    hollow = np.square(np.maximum(1 - np.square(length(along, across)), 0))
    surface.height -= np.float32(radius * rng.uniform(0.3, 0.6)) * hollow


def _stain(surface: Surface, rng: np.random.Generator, place: Point, extent: float) -> None:
    """A spot with a soft edge."""
    colour = STAINS[int(rng.integers(len(STAINS)))]
    u, v = surface.offset(EVERYWHERE, *place)
    depth = 1 - length(u, v) * np.float32(2 / extent)
    alpha = np.clip(depth * np.float32(2.5), 0, 1) * np.float32(rng.uniform(0.5, 0.9))
    surface.paint(EVERYWHERE, on_metal(surface, alpha), colour, 0.25)


def _contamination(
    surface: Surface, rng: np.random.Generator, place: Point, extent: float
) -> None:
    """A chip or a crumb that lies on the part and shades it a little."""
    width = extent * rng.uniform(0.25, 0.6)
    line = curve(rng, place, max(extent - 1.5 * width, 0.1 * extent), rng.normal(0, 2), 0.1)
    drop(surface, [line], width, FIBRES[int(rng.integers(len(FIBRES)))])


APPLY_SMALL: dict[str, Callable[[Surface, np.random.Generator, Point, float], None]] = {
    'scratch': _scratch,
    'dent': _dent,
    'stain': _stain,
    'contamination': _contamination,
}
"""Each gets a surface, its chance, a point of the part and the extent in image widths."""

SMALL_DEFECTS = tuple(APPLY_SMALL)
"""All kinds, in the order in which images show them."""
