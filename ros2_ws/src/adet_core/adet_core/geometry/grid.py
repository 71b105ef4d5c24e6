# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""A grid of overlapping tiles, and one smooth map made of theirs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
import math

import numpy as np

from adet_core.geometry.placement import Box
from adet_core.scoring import AnomalyMap


def grid(canvas: tuple[int, int], tile: tuple[int, int], overlap: float) -> list[Box]:
    """Tiles that cover a canvas, row by row.

    Their number is the least that has the overlap; they are spread evenly, the first and the last
    one end with the canvas.

    Args:
        canvas: Height and width, in pixels, no less than those of a tile.
        tile: Height and width of a tile, in pixels.
        overlap: Share of a tile's edge that neighbours have in common at least.
    """
    rows, columns = (
        _starts(length, edge, overlap) for length, edge in zip(canvas, tile, strict=True)
    )
    height, width = tile
    return [Box(x=x, y=y, width=width, height=height) for y in rows for x in columns]


def _starts(length: int, edge: int, overlap: float) -> list[int]:
    # Less a rounding error, which would cost a whole row of tiles.
    count = 1 + math.ceil((length - edge) / (edge * (1 - overlap)) - 1e-6)
    return np.linspace(0, length - edge, count).round().astype(int).tolist() if count > 1 else [0]


class Blend:
    """Joins the maps of tiles: where tiles overlap, the nearer a tile's centre, the more it says.

    A network sees less at the edge of a tile, so its map says little there.
    """

    def __init__(self, canvas: tuple[int, int], tiles: Sequence[Box], overlap: float) -> None:
        """Prepare the weights.

        Args:
            canvas: Height and width, in pixels.
            tiles: Boxes of one size on the canvas, at least one.
            overlap: Share of a tile's edge over which its weight rises from 0 to 1.
        """
        self._canvas, self._tiles = canvas, tiles
        down, across = (_ramp(edge, overlap) for edge in tiles[0].size)
        self._window = np.outer(down, across)
        total = np.zeros(canvas, np.float32)
        for tile in tiles:
            total[tile.slices] += self._window
        self._share = np.divide(1, total, out=total, where=total > 0)

    def __call__(self, maps: Iterable[AnomalyMap]) -> AnomalyMap:
        """The weighted mean of the tiles' maps at each pixel; 0 where there is no tile.

        Args:
            maps: float32, one for each tile.

        Returns:
            float32, of the canvas' size.
        """
        total: AnomalyMap = np.zeros(self._canvas, np.float32)
        for tile, anomaly_map in zip(self._tiles, maps, strict=True):
            total[tile.slices] += anomaly_map * self._window
        total *= self._share
        return total


def _ramp(edge: int, overlap: float) -> AnomalyMap:
    """Weights along an edge: they rise over the overlap on both sides, and are never 0."""
    away = np.arange(edge, dtype=np.float32) + np.float32(0.5)
    away = np.minimum(away, away[::-1])
    ramp: AnomalyMap = np.minimum(away / np.float32(max(edge * overlap, 0.5)), 1)
    return ramp
