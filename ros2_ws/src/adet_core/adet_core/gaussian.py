# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""PaDiM's Gaussians from running sums: memory does not grow with the number of pictures.

Defard et al., https://arxiv.org/abs/2011.08785; the sums of two sets of pictures add up.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

# The paper's term that makes every covariance invertible, and Anomalib's for rounding.
_REGULARISATION = 0.01 + 1e-5


class RunningGaussians:
    """Mean and covariance of ``C`` features at each of ``P`` positions.

    Attributes:
        count: Pictures so far.
    """

    def __init__(self) -> None:
        self.count = 0

    def add(self, features: Floats) -> None:
        """Take pictures into account.

        Args:
            features: float32 ``(B, C, P)``, of the same ``C`` and ``P`` each time.
        """
        at_position = features.transpose(2, 0, 1)
        if not self.count:
            # Sums of what differs from some picture's features lose fewer digits.
            self._origin = at_position.mean(axis=1, keepdims=True)
            positions, _, channels = at_position.shape
            self._sums = np.zeros((positions, 1, channels), np.float32)
            self._products = np.zeros((positions, channels, channels), np.float32)
        away = at_position - self._origin
        self._sums += away.sum(axis=1, keepdims=True)
        self._products += away.transpose(0, 2, 1) @ away
        self.count += len(features)

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
        diagonal = np.arange(covariance.shape[1])
        covariance[:, diagonal, diagonal] += _REGULARISATION
        inverse: Floats = np.linalg.inv(covariance)
        return inverse
