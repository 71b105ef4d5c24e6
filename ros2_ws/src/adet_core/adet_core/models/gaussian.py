# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""A Gaussian at every position: how it is learned, and what it predicts.

Defard et al.: PaDiM, a Patch Distribution Modeling Framework for Anomaly Detection and
Localization, ICPR workshops 2021, https://arxiv.org/abs/2011.08785. The Gaussians come from
running sums: memory does not grow with the number of images, and sets of images add up.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

import cv2
import numpy as np
from threadpoolctl import threadpool_limits

from adet_core.cores import usable_cores
from adet_core.models.distance_map import smooth_map
from adet_core.models.statistics_model import Floats, Setting, Statistics, StatisticsModel
from adet_core.prediction import Prediction
from adet_core.progress import ProgressCallback

# The paper's term that makes every covariance invertible, and Anomalib's against rounding.
_REGULARISATION = 0.01 + 1e-5
# Positions of one step: their matrices stay in a core's cache from one operation to the next.
_AT_ONCE = 64


class GaussianModel(StatisticsModel):
    """The statistics ``mean`` ``(C, P)`` and ``inv_covariance`` ``(P, C, C)``.

    ``C`` features are at each of ``P`` positions.
    """

    file: ClassVar[str] = 'stats.npz'
    # One false alarm among many images would hardly move the Gaussians.
    settings: ClassVar[Mapping[str, Setting]] = {'marked_weight': Setting(10, 1, 1000)}

    def learner(
        self, settings: Mapping[str, Any], old: Statistics, images: int
    ) -> GaussianLearner:
        """See `StatisticsModel.learner`."""
        return GaussianLearner(settings, old, images)

    def predict(
        self,
        features: Floats,
        statistics: Statistics,
        settings: Mapping[str, Any],  # noqa: ARG002
        size: tuple[int, int],
    ) -> Prediction:
        """See `StatisticsModel.predict`: the Mahalanobis distance at each position.

        The features are ``(N, C, P)``.
        """
        away = (features - statistics['mean']).transpose(0, 2, 1)
        weighed = np.matmul(statistics['inv_covariance'], away[..., None])[..., 0]
        distances = np.sqrt((weighed * away).sum(axis=2).clip(min=0))
        maps = np.stack([smooth_map(one, size, cv2.INTER_LINEAR) for one in distances])
        return Prediction(maps.max(axis=(1, 2)), maps)


class GaussianLearner:
    """Adds the features of images to running sums."""

    def __init__(self, settings: Mapping[str, Any], old: Statistics, images: int) -> None:
        """Begin; see `StatisticsModel.learner`."""
        self._marked_weight = settings['marked_weight']
        self._sums = RunningGaussians()
        if old:
            self._sums = RunningGaussians.resumed(old['mean'], old['inv_covariance'], images)

    @property
    def images(self) -> int:
        """How many images are behind the sums; a marked one counts several times."""
        return self._sums.count

    def add(self, features: Floats, are_marked: Sequence[bool]) -> None:
        """See `Learner.add`; the features are ``(B, C, P)``."""
        self._sums.add(features, [self._marked_weight if one else 1 for one in are_marked])

    def statistics(self, progress: ProgressCallback) -> dict[str, Floats]:
        """See `Learner.statistics`."""
        progress('fit', 0, 1)
        made = {
            'mean': self._sums.mean(),
            'inv_covariance': self._sums.inverse_covariance(),
        }
        progress('fit', 1, 1)
        return made


class RunningGaussians:
    """Mean and covariance of ``C`` features at each of ``P`` positions.

    Attributes:
        count: Images added so far.
    """

    _origin: Floats
    _sums: Floats
    _products: Floats

    def __init__(self) -> None:
        self.count = 0

    @classmethod
    def resumed(cls, mean: Floats, inverse_covariance: Floats, count: int) -> RunningGaussians:
        """Recover the sums from the statistics that they gave, to go on with them.

        Args:
            mean: float32 ``(C, P)``, from `mean`.
            inverse_covariance: float32 ``(P, C, C)``, from `inverse_covariance`.
            count: How many images are behind the statistics, at least two.
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
        """Add images; several at once cost little more than one.

        Args:
            features: float32 ``(B, C, P)``, of the same ``C`` and ``P`` each time.
            weights: How many times each image counts; None: once.
        """
        count, channels, positions = features.shape
        factors = np.ones(count, np.float32) if weights is None else np.array(weights, np.float32)
        if not self.count:
            # Sums of differences from a typical image lose fewer digits.
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
        """Mean features, float32 ``(C, P)``."""
        average = self._origin + self._sums / np.float32(self.count)
        return np.ascontiguousarray(average[:, 0].T)

    def inverse_covariance(self) -> Floats:
        """Inverse of the unbiased covariance with 0.01 added to its diagonal.

        Returns:
            float32 ``(P, C, C)``.

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
    """Inverses of float32 ``(P, C, C)``, computed in float64.

    The error of an inverse grows with the condition number. In float32 it would be so large that
    the result is often not positive definite.
    """
    exact = matrices.astype(np.float64)
    # Products of float32 are symmetric but for their last digits, which the inverse multiplies.
    exact = (exact + exact.transpose(0, 2, 1)) / 2
    inverse: Floats = np.linalg.inv(exact).astype(np.float32)
    return inverse


def _add_to_diagonal(matrices: Floats, value: float) -> None:
    diagonal = np.arange(matrices.shape[1])
    matrices[:, diagonal, diagonal] += value


def _at_all(positions: int, work: Callable[[slice], None]) -> None:
    """Call ``work`` with slices of all positions, on all cores.

    Each call works on small matrices with one core. Several cores on one small matrix would mostly
    wait for each other, and take fifty times as long on a busy machine.
    """
    parts = [slice(first, first + _AT_ONCE) for first in range(0, positions, _AT_ONCE)]
    with threadpool_limits(1, 'blas'), ThreadPoolExecutor(usable_cores()) as pool:
        list(pool.map(work, parts))
