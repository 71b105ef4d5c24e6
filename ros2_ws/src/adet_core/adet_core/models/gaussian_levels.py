# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Gaussians without what neighbouring positions have in common.

A coarse layer has one value where a finer layer has several positions. Let S be the inverse
covariance at a position, and S = U'U with the upper Cholesky factor U: the Mahalanobis distance
of a vector x is then the length of U x. With the channels of the finest layer first, the lower
rows of U belong to the coarser layers alone. They are the same at all positions of one coarse
cell, and are stored once per cell. With ResNet-18 and 100 channels a fifth of the numbers is left.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
import math
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from adet_core.cores import usable_cores
from adet_core.models.statistics_model import Floats, NamedTransform, Statistics

_PARTS = ('centre', 'root')


class Level(NamedTuple):
    """Channels that share one grid of positions.

    Attributes:
        channels: Number of channels.
        rows: Rows of the grid.
        columns: Columns of the grid.
    """

    channels: int
    rows: int
    columns: int


class GaussianLevels(NamedTransform):
    """Splits ``mean`` ``(C, P)`` and ``inv_covariance`` ``(P, C, C)`` into levels.

    Attributes:
        size: Rows and columns of the ``P`` positions.
        levels: Finest first, in the order of the ``C`` channels.
    """

    name: ClassVar[str] = 'gaussian_levels'

    def __init__(self, size: tuple[int, int], levels: Sequence[Level]) -> None:
        """Take the grids; each one divides the one before.

        Raises:
            ValueError: They do not, or there is none.
        """
        self.size, self.levels = size, tuple(levels)
        numbers = [*size, *(number for level in self.levels for number in level)]
        fits = bool(self.levels) and all(type(one) is int and one > 0 for one in numbers)
        grid = size
        for _, rows, columns in self.levels if fits else ():
            fits = fits and not (grid[0] % rows or grid[1] % columns)
            grid = rows, columns
        if not fits:
            raise ValueError(f'levels {list(map(list, self.levels))} do not divide {list(size)}')

    @classmethod
    def load(cls, parameters: Mapping[str, Any], constants: Statistics) -> GaussianLevels:
        """See `NamedTransform.load`."""
        message = f'parameters are {dict(parameters)!s:.200}, expected size and levels'
        if constants or parameters.keys() != {'size', 'levels'}:
            raise ValueError(message)
        try:
            rows, columns = parameters['size']
            levels = [Level(*level) for level in parameters['levels']]
        except (TypeError, ValueError):
            raise ValueError(message) from None
        return cls((rows, columns), levels)

    @property
    def parameters(self) -> dict[str, Any]:
        """See `NamedTransform.parameters`."""
        return {'size': list(self.size), 'levels': [list(level) for level in self.levels]}

    @property
    def shapes(self) -> dict[str, tuple[int | None, ...]]:
        """See `StatisticsTransform.shapes`."""
        channels, positions = sum(one.channels for one in self.levels), math.prod(self.size)
        return {'mean': (channels, positions), 'inv_covariance': (positions, channels, channels)}

    @property
    def inputs(self) -> list[str]:
        """See `NamedTransform.inputs`."""
        return [f'{part}{number}' for number in range(len(self.levels)) for part in _PARTS]

    def __call__(self, statistics: Statistics) -> dict[str, Floats]:
        """See `StatisticsTransform.__call__`.

        Returns:
            For each level ``k``: ``centre<k>`` ``(n, p)``, the mean of its ``n`` channels at the
            ``p`` positions of its grid, and ``root<k>`` ``(p, m, n)``, the transposed rows of U
            of these channels; ``m`` channels are those of this and all coarser levels.
        """
        mean, inverse = statistics['mean'], statistics['inv_covariance']
        # Grids divide each other, so each row of the coarsest grid can be split by itself. One row
        # at a time, the numbers stay in a core's cache, and little memory is needed.
        strips = self.levels[-1].rows
        height = len(inverse) // strips
        found = [np.empty(shape, np.float32) for shape in self._part_shapes()]

        def split(number: int) -> None:
            rows = slice(number * height, (number + 1) * height)
            for whole, part in zip(
                found, self._split_strip(mean[:, rows].T, inverse[rows]), strict=True
            ):
                count = len(part)
                whole[number * count : (number + 1) * count] = part

        # Several threads for one small matrix would mostly wait for each other.
        with threadpool_limits(1, 'blas'), ThreadPoolExecutor(usable_cores()) as pool:
            list(pool.map(split, range(strips)))
        # Means are stored by channel.
        arrays = [np.ascontiguousarray(one.T) if one.ndim == 2 else one for one in found]
        return dict(zip(self.inputs, arrays, strict=True))

    def _part_shapes(self) -> Iterator[tuple[int, ...]]:
        """Shapes of the parts: ``(p, n)`` and ``(p, m, n)`` of each level."""
        left = sum(one.channels for one in self.levels)
        for channels, rows, columns in self.levels:
            yield rows * columns, channels
            yield rows * columns, left, channels
            left -= channels

    def _split_strip(self, means: Floats, rest: npt.NDArray[Any]) -> Iterator[npt.NDArray[Any]]:
        """The parts of the positions in one row of the coarsest grid.

        This is a block Cholesky decomposition: each level's rows of U, then the Schur complement
        for the coarser levels.

        Args:
            means: float32 ``(p, C)``.
            rest: float32 ``(p, C, C)``, inverse covariances.

        Yields:
            ``(p, n)`` and ``(p, m, n)`` of each level.
        """
        strips = self.levels[-1].rows
        at = (self.size[0] // strips, self.size[1])
        across = None
        for channels, rows, columns in self.levels:
            grid = (rows // strips, columns)
            means, rest = _first_of_cells(means, at, grid), _first_of_cells(rest, at, grid)
            if across is not None:
                across = _first_of_cells(across, at, grid)
                rest = rest - across.transpose(0, 2, 1) @ across
            root = _cholesky_rows(rest[:, :channels])
            yield means[:, :channels]
            yield root.transpose(0, 2, 1)
            across = root[:, :, channels:]
            means, rest, at = means[:, channels:], rest[:, channels:, channels:], grid


def _first_of_cells(
    values: npt.NDArray[Any], before: tuple[int, int], grid: tuple[int, int]
) -> npt.NDArray[Any]:
    """The values at the first position of each cell of a coarser grid.

    Args:
        values: ``(P, ...)``, at the positions of the finer grid.
        before: Rows and columns of the finer grid.
        grid: Rows and columns of the coarser grid.

    Returns:
        ``(p, ...)``.
    """
    positions = values.reshape(*before, *values.shape[1:])
    first = positions[:: before[0] // grid[0], :: before[1] // grid[1]]
    return first.reshape(-1, *values.shape[1:])


def _cholesky_rows(rows: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """The first rows of upper Cholesky factors, from the first rows of the matrices.

    Args:
        rows: ``(P, n, m)``, the first ``n`` rows of ``(m, m)`` matrices.

    Raises:
        ValueError: A matrix is not positive definite.
    """
    count = rows.shape[1]
    first, rest = np.split(rows.astype(np.float64), [count], axis=2)
    try:
        lower = np.linalg.cholesky(first)
    except np.linalg.LinAlgError:
        msg = 'the statistics are wrong: an inverse covariance is not positive definite'
        raise ValueError(f'{msg}; deploy the bundle again, or train it again') from None
    return np.concatenate([lower.transpose(0, 2, 1), np.linalg.inv(lower) @ rest], axis=2)
