# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""PaDiM's Gaussians from running sums: memory does not grow with the number of pictures.

Defard et al., https://arxiv.org/abs/2011.08785; the sums of two sets of pictures add up.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
import os

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

Floats = npt.NDArray[np.float32]

# The paper's term that makes every covariance invertible, and Anomalib's for rounding.
_REGULARISATION = 0.01 + 1e-5
_AT_ONCE = 128


class RunningGaussians:
    """Mean and covariance of ``C`` features at each of ``P`` positions.

    Attributes:
        count: Pictures so far.
    """

    def __init__(self) -> None:
        self.count = 0

    @classmethod
    def resumed(cls, mean: Floats, inverse_covariance: Floats, count: int) -> RunningGaussians:
        """The sums behind what `mean` and `inverse_covariance` gave, to go on with.

        Args:
            mean: float32 ``(C, P)``.
            inverse_covariance: float32 ``(P, C, C)``.
            count: Pictures behind them, at least two.
        """
        sums = cls()
        sums.count = count
        sums._origin = np.ascontiguousarray(mean.T[:, None])
        sums._sums = np.zeros_like(sums._origin)
        products = _inverted(inverse_covariance)
        _add_to_diagonal(products, -_REGULARISATION)
        products *= count - 1
        sums._products = products
        return sums

    def add(self, features: Floats, *, weight: int = 1) -> None:
        """Take pictures into account.

        Args:
            features: float32 ``(B, C, P)``, of the same ``C`` and ``P`` each time.
            weight: As how many pictures each of them counts.
        """
        at_position = features.transpose(2, 0, 1)
        if not self.count:
            # Sums of what differs from some picture's features lose fewer digits.
            self._origin = at_position.mean(axis=1, keepdims=True)
            positions, _, channels = at_position.shape
            self._sums = np.zeros((positions, 1, channels), np.float32)
            self._products = np.zeros((positions, channels, channels), np.float32)
        away = at_position - self._origin
        self._sums += weight * away.sum(axis=1, keepdims=True)
        self._products += weight * away.transpose(0, 2, 1) @ away
        self.count += weight * len(features)

    def mean(self) -> Floats:
        """float32 ``(C, P)``."""
        average: Floats = self._origin + self._sums / self.count
        return np.ascontiguousarray(average[:, 0].T)

    def inverse_covariance(self) -> Floats:
        """float32 ``(P, C, C)``, of the unbiased covariance with 0.01 added on the diagonal.

        Raises:
            ValueError: There are fewer than two pictures.
        """
        if self.count < 2:
            msg = f'a covariance needs two pictures, there are {self.count}'
            raise ValueError(msg)
        covariance = self._products - self._sums.transpose(0, 2, 1) @ self._sums / self.count
        covariance /= self.count - 1
        _add_to_diagonal(covariance, _REGULARISATION)
        return _inverted(covariance)


def _add_to_diagonal(matrices: Floats, value: float) -> None:
    diagonal = np.arange(matrices.shape[1])
    matrices[:, diagonal, diagonal] += value


def _inverted(matrices: Floats) -> Floats:
    """The inverse of each matrix, ``(P, C, C)``."""
    inverse = np.empty_like(matrices)

    def invert(first: int) -> None:
        rows = slice(first, first + _AT_ONCE)
        inverse[rows] = np.linalg.inv(matrices[rows])

    # One core for each block of matrices. Several for one small matrix would mostly wait for each
    # other, and on a busy machine take fifty times as long.
    with threadpool_limits(1, 'blas'), ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(invert, range(0, len(matrices), _AT_ONCE)))
    return inverse
