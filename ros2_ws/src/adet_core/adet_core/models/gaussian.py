# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""PaDiM's Gaussians from running sums: memory does not grow with the number of images.

Defard et al., https://arxiv.org/abs/2011.08785; the sums of two sets of images add up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
import os

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

Floats = npt.NDArray[np.float32]

# The paper's term that makes every covariance invertible, and Anomalib's for rounding.
_REGULARISATION = 0.01 + 1e-5
# Positions of one step: their matrices stay in a core's cache from one operation to the next.
_AT_ONCE = 64


class RunningGaussians:
    """Mean and covariance of ``C`` features at each of ``P`` positions.

    Attributes:
        count: Images so far.
    """

    _origin: Floats
    _sums: Floats
    _products: Floats

    def __init__(self) -> None:
        self.count = 0

    @classmethod
    def resumed(cls, mean: Floats, inverse_covariance: Floats, count: int) -> RunningGaussians:
        """The sums behind what `mean` and `inverse_covariance` gave, to go on with.

        Args:
            mean: float32 ``(C, P)``.
            inverse_covariance: float32 ``(P, C, C)``.
            count: Images behind them, at least two.
        """
        sums = cls()
        sums.count = count
        sums._origin = np.ascontiguousarray(mean.T[:, None])
        sums._sums = np.zeros_like(sums._origin)
        sums._products = np.empty_like(inverse_covariance)

        def restore(rows: slice) -> None:
            products = _invert(inverse_covariance[rows])
            _add_to_diagonal(products, -_REGULARISATION)
            np.multiply(products, count - 1, out=sums._products[rows])

        _at_all(len(inverse_covariance), restore)
        return sums

    def add(self, features: Floats, weights: Sequence[int] | None = None) -> None:
        """Take images into account; several at once cost little more than one.

        Args:
            features: float32 ``(B, C, P)``, of the same ``C`` and ``P`` each time.
            weights: As how many images each of them counts; None: as one.
        """
        count, channels, positions = features.shape
        factors = np.ones(count, np.float32) if weights is None else np.array(weights, np.float32)
        if not self.count:
            # Sums of what differs from some image's features lose fewer digits.
            self._origin = np.ascontiguousarray(features.mean(axis=0).T[:, None])
            self._sums = np.zeros((positions, 1, channels), np.float32)
            self._products = np.zeros((positions, channels, channels), np.float32)

        def add(rows: slice) -> None:
            away = features[:, :, rows].transpose(2, 0, 1) - self._origin[rows]
            weighed = away * factors[:, None]
            self._sums[rows] += weighed.sum(axis=1, keepdims=True)
            self._products[rows] += weighed.transpose(0, 2, 1) @ away

        _at_all(positions, add)
        self.count += int(factors.sum())

    def mean(self) -> Floats:
        """float32 ``(C, P)``."""
        average = self._origin + self._sums / np.float32(self.count)
        return np.ascontiguousarray(average[:, 0].T)

    def inverse_covariance(self) -> Floats:
        """float32 ``(P, C, C)``, of the unbiased covariance with 0.01 added on the diagonal.

        Raises:
            ValueError: There are fewer than two images.
        """
        if self.count < 2:
            msg = f'a covariance needs two images, there are {self.count}'
            raise ValueError(msg)
        inverse = np.empty_like(self._products)

        def invert(rows: slice) -> None:
            sums = self._sums[rows]
            covariance: Floats = self._products[rows] - sums.transpose(0, 2, 1) @ sums / self.count
            covariance /= self.count - 1
            _add_to_diagonal(covariance, _REGULARISATION)
            inverse[rows] = _invert(covariance)

        _at_all(len(inverse), invert)
        return inverse


def _invert(matrices: Floats) -> Floats:
    """Inverses, as near as float32 can hold them.

    In float32 they would be off by as many times more as the features vary in one direction more
    than in another, and soon no inverses of covariances any more.
    """
    inverse: Floats = np.linalg.inv(matrices.astype(np.float64)).astype(np.float32)
    return inverse


def _add_to_diagonal(matrices: Floats, value: float) -> None:
    diagonal = np.arange(matrices.shape[1])
    matrices[:, diagonal, diagonal] += value


def _at_all(positions: int, work: Callable[[slice], None]) -> None:
    """Do something at all positions, a few at once.

    One core for each few. Several for one small matrix would mostly wait for each other, and on a
    busy machine take fifty times as long.
    """
    parts = [slice(first, first + _AT_ONCE) for first in range(0, positions, _AT_ONCE)]
    with threadpool_limits(1, 'blas'), ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(work, parts))
