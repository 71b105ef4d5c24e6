# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""PaDiM's statistics without what neighbouring positions have in common.

A layer of half the rows and columns has one value at four positions, and so has everything that
was learned of it alone. The inverse covariance is S = U'U, with its Cholesky factor U, and the
distance of x is the length of U x. If the channels of the finest layer come first, U's lower rows
are those of the coarser layers alone: they are the same at all positions that fall together there,
and are kept once. Of ResNet-18's 100 channels that leaves a fifth of the numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
import json
import math
import os
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from adet_core.errors import BackendError

LEVELS_KEY = 'adet_levels'
"""Metadata of a graph that takes statistics prepared so: what `Levels.to_json` gives."""

Floats = npt.NDArray[np.float32]
_PARTS = ('centre', 'root')


class Level(NamedTuple):
    """Channels that differ between the positions of one grid.

    Attributes:
        channels: How many.
        rows: Of the grid.
        columns: Likewise.
    """

    channels: int
    rows: int
    columns: int


class Levels(NamedTuple):
    """How a PaDiM's channels are spread over grids.

    Attributes:
        size: Rows and columns of the statistics' own positions.
        levels: Finest first, in the order of the channels.
    """

    size: tuple[int, int]
    levels: tuple[Level, ...]

    @classmethod
    def from_json(cls, text: str) -> Levels:
        """The reverse of `to_json`.

        Raises:
            ValueError: It is something else, or a grid does not divide the one before.
        """
        msg = f'{LEVELS_KEY} is {text[:100]!r}'
        try:
            rows, columns, *rest = json.loads(text)
            levels = tuple(Level(*one) for one in rest)
        except (TypeError, ValueError):
            raise ValueError(msg) from None
        numbers = [rows, columns, *(number for one in levels for number in one)]
        if not levels or not all(type(one) is int and one > 0 for one in numbers):
            raise ValueError(msg)
        at = (rows, columns)
        for one in levels:
            if at[0] % one.rows or at[1] % one.columns:
                raise ValueError(msg)
            at = (one.rows, one.columns)
        return cls((rows, columns), levels)

    def to_json(self) -> str:
        """For the metadata of a graph."""
        return json.dumps([*self.size, *self.levels])

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of the statistics as they are stored."""
        channels, positions = sum(one.channels for one in self.levels), math.prod(self.size)
        return {'mean': (channels, positions), 'inv_covariance': (positions, channels, channels)}

    @property
    def names(self) -> list[str]:
        """Of what `preprocess` gives, in order."""
        return [f'{what}{number}' for number in range(len(self.levels)) for what in _PARTS]

    def preprocess(self, mean: Floats, inv_covariance: Floats) -> dict[str, Floats]:
        """What a graph takes.

        Args:
            mean: float32 ``(C, P)``.
            inv_covariance: float32 ``(P, C, C)``.

        Returns:
            For each level ``centre<k>`` ``(n, p)`` and ``root<k>`` ``(p, m, n)``, float32: ``p``
            positions, ``n`` channels, ``m`` channels of this and all coarser levels.

        Raises:
            BackendError: The inverse covariances are none.
        """
        # Grids divide each other, so a row of the coarsest knows nothing of the next one. One at a
        # time, what is computed stays in a core's cache, and little memory is needed.
        strips = self.levels[-1].rows
        height = len(inv_covariance) // strips
        found = [np.empty(shape, np.float32) for shape in self._shapes_of_parts()]

        def preprocess(number: int) -> None:
            rows = slice(number * height, (number + 1) * height)
            parts = self._prepare_strip(mean[:, rows].T, inv_covariance[rows])
            for whole, part in zip(found, parts, strict=True):
                count = len(part)
                whole[number * count : (number + 1) * count] = part

        # Several threads for one small matrix would mostly wait for each other.
        with threadpool_limits(1, 'blas'), ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(preprocess, range(strips)))
        # Means are asked for by channel.
        centred = [np.ascontiguousarray(one.T) if one.ndim == 2 else one for one in found]
        return dict(zip(self.names, centred, strict=True))

    def _shapes_of_parts(self) -> Iterator[tuple[int, ...]]:
        left = sum(one.channels for one in self.levels)
        for channels, rows, columns in self.levels:
            yield rows * columns, channels
            yield rows * columns, left, channels
            left -= channels

    def _prepare_strip(self, means: Floats, rest: npt.NDArray[Any]) -> Iterator[npt.NDArray[Any]]:
        """Of the positions of one row of the coarsest grid, ``(p, n)`` and ``(p, m, n)`` each."""
        strips = self.levels[-1].rows
        at = (self.size[0] // strips, self.size[1])
        across = None
        for channels, rows, columns in self.levels:
            grid = (rows // strips, columns)
            means, rest = _thin(means, at, grid), _thin(rest, at, grid)
            if across is not None:
                # What the finer channels tell of these is taken out.
                across = _thin(across, at, grid)
                rest = rest - across.transpose(0, 2, 1) @ across
            root = _root(rest[:, :channels])
            yield means[:, :channels]
            yield root.transpose(0, 2, 1)
            across = root[:, :, channels:]
            means, rest, at = means[:, channels:], rest[:, channels:, channels:], grid


def _thin(values: npt.NDArray[Any], before: tuple[int, int], grid: tuple[int, int]) -> Any:
    """Of all positions that fall together in a coarser grid, the first: ``(P, ...)``."""
    cells = values.reshape(*before, *values.shape[1:])
    thinned = cells[:: before[0] // grid[0], :: before[1] // grid[1]]
    return thinned.reshape(-1, *values.shape[1:])


def _root(rows: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """The first rows of upper Cholesky factors, from those of their matrices: ``(P, n, m)``."""
    count = rows.shape[1]
    first, rest = np.split(rows.astype(np.float64), [count], axis=2)
    try:
        lower = np.linalg.cholesky(first)
    except np.linalg.LinAlgError:
        msg = 'the statistics are wrong: an inverse covariance is not positive definite'
        raise BackendError(f'{msg}; deploy the bundle again, or train it again') from None
    return np.concatenate([lower.transpose(0, 2, 1), np.linalg.inv(lower) @ rest], axis=2)
