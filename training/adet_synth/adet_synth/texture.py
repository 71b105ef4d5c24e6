# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Random textures that show the same thing at every resolution.

They are drawn on grids of a fixed number of cells and brought to the size of the image.
"""

from __future__ import annotations

import cv2
import numpy as np

from .surface import Plane, Surface

_ROWS = 1024


def clouds(rng: np.random.Generator, surface: Surface, cells: int) -> Plane:
    """Smooth irregular noise of about unit variance.

    Args:
        rng: Source of chance.
        surface: What it is for.
        cells: Number of bumps across its edge; twice and four times as many are mixed in.

    Returns:
        float32, the shape of the surface's planes.
    """
    total = np.zeros((8 * cells, 8 * cells), np.float32)
    for octave, weight in enumerate((0.8, 0.5, 0.3)):
        grid = noise(rng, (cells << octave,) * 2)
        total += _resized(grid, total.shape) * np.float32(weight)
    return _resized(total, (surface.edge, surface.edge))[surface.area]


def brushed(rng: np.random.Generator, surface: Surface) -> Plane:
    """Streaks along the part's u axis, of about unit variance, turned with the part.

    Returns:
        float32, the shape of the surface's planes.
    """
    edge, pose = surface.edge, surface.pose
    lines = min(edge, _ROWS)
    streaks = np.zeros((lines, 128), np.float32)
    for cells, weight in ((7, 0.6), (30, 0.6), (128, 0.5)):
        streaks += _resized(noise(rng, (_ROWS, cells)), (lines, 128)) * np.float32(weight)
    # some passes of the brush are deeper than others
    streaks += _resized(noise(rng, (90, 3)), (lines, 128)) * np.float32(0.55)
    cos, sin = np.cos(pose.angle), np.sin(pose.angle)
    # from image pixels to cells of the grid; the grid is a little larger than the image
    across, down = 120 / edge, 0.94 * lines / edge
    middle = edge / 2
    x0, y0 = middle + pose.x * edge, middle + pose.y * edge
    back = np.array(
        [
            [across * cos, across * sin, 64 - across * (cos * x0 + sin * y0)],
            [-down * sin, down * cos, lines / 2 - down * (cos * y0 - sin * x0)],
        ]
    )
    top, left = (one.start for one in surface.area)
    back[:, 2] += back[:, :2] @ (left, top)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    rows, columns = surface.u.shape
    result = cv2.warpAffine(
        streaks, back, (columns, rows), flags=flags, borderMode=cv2.BORDER_REFLECT_101
    )
    return np.asarray(result, np.float32)


def grooves(rng: np.random.Generator, radius: Plane, outermost: float) -> Plane:
    """Concentric marks of a turning tool, of about unit variance.

    Args:
        rng: Source of chance.
        radius: Distance from the axis of each pixel, in image widths.
        outermost: The largest radius that matters.

    Returns:
        float32, the shape of ``radius``.
    """
    count = 160
    feed = 0.8 * np.sin(np.arange(count, dtype=np.float32) * np.float32(1.7))
    profile = feed + 0.8 * noise(rng, (count, 1))[:, 0]
    place = np.clip(radius * np.float32((count - 2) / outermost), 0, count - 2)
    index = place.astype(np.intp)
    part = place - index
    return np.asarray(profile[index] * (1 - part) + profile[index + 1] * part, np.float32)


def noise(rng: np.random.Generator, shape: tuple[int, int]) -> Plane:
    """Independent normal values, float32."""
    return rng.standard_normal(shape, np.float32)


def _resized(grid: Plane, shape: tuple[int, int]) -> Plane:
    """Bring a grid to ``(rows, columns)``, averaging cells where there are too many."""
    for axis in (0, 1):
        if shape[axis] < grid.shape[axis]:
            to = (shape[0], grid.shape[1]) if axis == 0 else (grid.shape[0], shape[1])
            grid = np.asarray(cv2.resize(grid, to[::-1], interpolation=cv2.INTER_AREA), np.float32)
    if grid.shape == shape:
        return grid
    return np.asarray(cv2.resize(grid, shape[::-1], interpolation=cv2.INTER_CUBIC), np.float32)
