# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""In which direction a part lies: found from its surroundings in polar coordinates."""

from __future__ import annotations

from dataclasses import dataclass
import math

import cv2
import numpy as np
import numpy.typing as npt

from adet_core.image.affine import Matrix

Plane = npt.NDArray[np.float32]
"""Grey, ``(h, w)``."""

# Radii of the grid, and its directions: 2 degrees apart.
_RADII, _DIRECTIONS = 32, 180
# Most directions that are worth a trial, and their least distance in steps of the grid.
_TRIED, _APART = 4, 8
# How far the grid reaches, in units of the root mean square distance of the part's pixels.
_REACH = 2.2
# A part of fewer pixels is noise.
_LEAST_PIXELS = 20


def find_part(plane: Plane) -> npt.NDArray[np.bool_]:
    """The largest thing that differs from the brightness of the image's border, ``(h, w)``."""
    border = np.concatenate([plane[0], plane[-1], plane[:, 0], plane[:, -1]])
    away = np.abs(cv2.GaussianBlur(plane, (3, 3), 0) - np.median(border))
    levels = np.clip(away, 0, 255).astype(np.uint8)
    _, mask = cv2.threshold(levels, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    count, labels, sizes, _ = cv2.connectedComponentsWithStats(mask)
    if count < 2:
        return np.zeros(plane.shape, np.bool_)
    found: npt.NDArray[np.bool_] = labels == 1 + np.argmax(sizes[1:, cv2.CC_STAT_AREA])
    return found


@dataclass(frozen=True)
class PolarView:
    """A part as seen from its centre.

    Attributes:
        centre: Mean of its pixels, ``(x, y)``.
        radius: How far the grid reaches, in pixels.
        spectrum: Complex ``(radii, directions / 2 + 1)``: Fourier transform over the directions.
    """

    centre: tuple[float, float]
    radius: float
    spectrum: npt.NDArray[np.complex128]

    @classmethod
    def of(cls, plane: Plane, radius: float | None = None) -> PolarView | None:
        """The view of the part that an image shows; None where it shows none.

        Args:
            plane: The image.
            radius: Of the grid; None: as large as the part.
        """
        rows, columns = np.nonzero(find_part(plane))
        if len(rows) < _LEAST_PIXELS:
            return None
        centre = float(columns.mean()), float(rows.mean())
        if radius is None:
            spread = np.square(columns - centre[0]) + np.square(rows - centre[1])
            radius = _REACH * math.sqrt(float(spread.mean()))
        size = (_RADII, _DIRECTIONS)
        flags = cv2.WARP_POLAR_LINEAR | cv2.INTER_LINEAR | cv2.WARP_FILL_OUTLIERS
        # What lies outside of the image is taken for background.
        border = np.concatenate([plane[0], plane[-1], plane[:, 0], plane[:, -1]])
        ground = plane - np.float32(np.median(border))
        seen = cv2.warpPolar(ground, size, centre, radius, flags).T.astype(np.float64)
        # Circles grow with their radius.
        seen *= np.sqrt(np.arange(_RADII) + 0.5)[:, None]
        return cls(centre, radius, np.fft.rfft(seen - seen.mean()))

    def towards(self, plane: Plane) -> list[Matrix]:
        """From an image that shows this part to this one's: the likeliest directions first."""
        other = PolarView.of(plane, self.radius)
        if other is None:
            return []
        alike = np.fft.irfft((other.spectrum * self.spectrum.conj()).sum(axis=0), _DIRECTIONS)
        guesses = []
        for _ in range(_TRIED):
            step = int(alike.argmax())
            guesses.append(self._turn(other, step * 2 * math.pi / _DIRECTIONS))
            near = np.arange(step - _APART, step + _APART + 1) % _DIRECTIONS
            alike[near] = -np.inf
        return guesses

    def _turn(self, other: PolarView, angle: float) -> Matrix:
        cos, sin = math.cos(angle), math.sin(angle)
        back = np.array([[cos, sin], [-sin, cos]])
        return np.column_stack([back, np.array(self.centre) - back @ other.centre])
