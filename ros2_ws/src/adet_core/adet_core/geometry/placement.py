# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Where an image lies on the canvas, and the way back to the image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from adet_core.image.affine import chain, invert, Matrix, rescale, warp
from adet_core.scoring import AnomalyMap


@dataclass(frozen=True, kw_only=True)
class Box:
    """An upright rectangle.

    Attributes:
        x: Left edge, in pixels, 0 or more.
        y: Top edge, in pixels, 0 or more.
        width: In pixels, 1 or more.
        height: In pixels, 1 or more.
    """

    x: int
    y: int
    width: int
    height: int

    def __post_init__(self) -> None:
        """Refuse what is no rectangle of an image."""
        if min(self.x, self.y) < 0 or min(self.width, self.height) < 1:
            msg = f'impossible rectangle: {self}'
            raise ValueError(msg)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width, in pixels."""
        return self.height, self.width

    @property
    def slices(self) -> tuple[slice, slice]:
        """Rows and columns, for an array ``(H, W, ...)``."""
        return slice(self.y, self.y + self.height), slice(self.x, self.x + self.width)

    def scaled(self, vertical: float, horizontal: float) -> Box:
        """The box on an image that is so many times as high and as wide."""
        x, y = round(self.x * horizontal), round(self.y * vertical)
        right, bottom = (self.x + self.width) * horizontal, (self.y + self.height) * vertical
        return Box(x=x, y=y, width=max(round(right) - x, 1), height=max(round(bottom) - y, 1))

    def __str__(self) -> str:
        """As a command line takes it."""
        return f'{self.x},{self.y},{self.width},{self.height}'


class Placement(NamedTuple):
    """Where a part of an image lies on the canvas.

    Attributes:
        source: Height and width of the image, in pixels.
        taken: The part of the image that is taken, in its pixels, or in those of the aligned one.
        placed: Where that part lies on the canvas, in pixels of the canvas.
        canvas: Height and width of the canvas, in pixels.
        matrix: Of an aligned image: from its pixels to those of what is placed; else None.
    """

    source: tuple[int, int]
    taken: Box
    placed: Box
    canvas: tuple[int, int]
    matrix: Matrix | None = None

    @property
    def takes_all(self) -> bool:
        """Whether the whole image is taken."""
        return self.matrix is None and self.taken.size == self.source

    @property
    def fills(self) -> bool:
        """Whether what is taken fills the canvas."""
        return self.placed.size == self.canvas

    def to_source(self, anomaly_map: AnomalyMap) -> AnomalyMap:
        """Bring a map of the canvas to the frame of the image.

        Args:
            anomaly_map: float32, of the canvas' size.

        Returns:
            float32; it covers the whole image, at the canvas' scale. -inf where nothing was
            inspected.
        """
        inside: AnomalyMap = anomaly_map[self.placed.slices]
        if self.takes_all:
            return inside
        vertical = self.placed.height / self.taken.height
        horizontal = self.placed.width / self.taken.width
        height, width = round(self.source[0] * vertical), round(self.source[1] * horizontal)
        if self.matrix is not None:
            return self._turned_back(inside, (max(height, 1), max(width, 1)))
        height, width = max(height, self.placed.height), max(width, self.placed.width)
        y = min(round(self.taken.y * vertical), height - self.placed.height)
        x = min(round(self.taken.x * horizontal), width - self.placed.width)
        whole: AnomalyMap = np.full((height, width), -np.inf, np.float32)
        whole[y : y + self.placed.height, x : x + self.placed.width] = inside
        return whole

    def _turned_back(self, inside: AnomalyMap, size: tuple[int, int]) -> AnomalyMap:
        """What is placed, as it lies in the image, which is brought to a size."""
        assert self.matrix is not None
        back = chain(invert(self.matrix), rescale(self.source, size))
        inspected = np.isfinite(inside)
        # Nothing finite can be interpolated between a value and minus infinity.
        found = warp(np.where(inspected, inside, 0), back, size)
        share = warp(inspected.astype(np.float32), back, size, outside=0.0)
        turned: AnomalyMap = np.where(share >= 0.5, found, -np.inf).astype(np.float32)
        return turned
