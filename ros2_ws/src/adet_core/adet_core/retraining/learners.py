# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""PaDiM and PatchCore from backbone features alone: neither torch nor anomalib is needed.

Each model also says what its statistics mean in plain numpy, independent of the graph: every new
set is held to that before it goes into service.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

import cv2
import numpy as np
import numpy.typing as npt

from adet_core.bundle import Arrays, Bundle, Manifest, read_engine, read_features, write_arrays
from adet_core.errors import ConfigError
from adet_core.image import ImageArray
from adet_core.inference.backend import open_backend
from adet_core.models.coreset import select_coreset
from adet_core.models.gaussian import RunningGaussians
from adet_core.prediction import Prediction
from adet_core.progress import ProgressCallback
from adet_core.retraining.images import CollectedImages
from adet_core.retraining.relearned import Relearned
from adet_core.scoring import AnomalyMap

Floats = npt.NDArray[np.float32]

_SIGMA = 4.0
# Images through the backbone at once.
_BATCH = 8


class Learner(ABC):
    """Collects features and makes statistics of them.

    Attributes:
        file: Of the bundle, where the statistics go.
        images: Behind the statistics in all.
    """

    file: ClassVar[str]
    images: int

    @abstractmethod
    def __init__(self, settings: Mapping[str, Any], old: Arrays, images: int) -> None:
        """Begin.

        Args:
            settings: See `adet_core.retraining.settings`.
            old: Statistics to go on from; empty to begin anew.
            images: Behind those.
        """

    @abstractmethod
    def add(self, features: Floats, are_marked: Sequence[bool]) -> None:
        """Take images into account.

        Args:
            features: float32 ``(B, ...)``.
            are_marked: Which ones an operator marked as fine: they have to count.
        """

    @abstractmethod
    def statistics(self, progress: ProgressCallback) -> Arrays:
        """Make the statistics; named as the graph's inputs, float32."""

    @classmethod
    @abstractmethod
    def judge(
        cls, features: Floats, statistics: Arrays, settings: Mapping[str, Any], manifest: Manifest
    ) -> Prediction:
        """What the graph ought to say of an image with these features."""


class GaussianLearner(Learner):
    """PaDiM: see `adet_core.models.gaussian`."""

    file = 'stats.npz'

    def __init__(self, settings: Mapping[str, Any], old: Arrays, images: int) -> None:
        """See `Learner`."""
        self._marked_weight = settings['marked_weight']
        self._sums = RunningGaussians()
        if old:
            self._sums = RunningGaussians.resumed(old['mean'], old['inv_covariance'], images)

    @property
    def images(self) -> int:  # type: ignore[override]
        """Behind the statistics in all."""
        return self._sums.count

    def add(self, features: Floats, are_marked: Sequence[bool]) -> None:
        """See `Learner`; ``(B, C, P)``."""
        self._sums.add(features, [self._marked_weight if one else 1 for one in are_marked])

    def statistics(self, progress: ProgressCallback) -> Arrays:
        """See `Learner`."""
        progress('fit', 0, 1)
        made = {
            'mean': self._sums.mean(),
            'inv_covariance': self._sums.inverse_covariance(),
        }
        progress('fit', 1, 1)
        return made

    @classmethod
    def judge(
        cls, features: Floats, statistics: Arrays, settings: Mapping[str, Any], manifest: Manifest
    ) -> Prediction:
        """The Mahalanobis distance at each position."""
        del settings
        away = (features[0] - statistics['mean']).T
        weighed = np.matmul(statistics['inv_covariance'], away[..., None])[..., 0]
        distance = np.sqrt((weighed * away).sum(axis=1).clip(min=0))
        found = _enlarge(distance, manifest, cv2.INTER_LINEAR)
        return Prediction(found.max(keepdims=True)[:, 0], found[None])


class BankLearner(Learner):
    """PatchCore: a coreset of the old bank and the new patches, see `adet_core.models.coreset`."""

    file = 'memory_bank.npz'

    def __init__(self, settings: Mapping[str, Any], old: Arrays, images: int) -> None:
        """See `Learner`."""
        self._settings = settings
        self._patches: list[Floats] = [old['memory_bank']] if old else []
        self._given = len(old['memory_bank']) if old else 0
        self._images = images if old else 0

    @property
    def images(self) -> int:  # type: ignore[override]
        """Behind the bank in all."""
        return self._images

    def add(self, features: Floats, are_marked: Sequence[bool]) -> None:  # noqa: ARG002
        """See `Learner`; ``(B, P, D)``. The coreset takes what is far from the bank anyway."""
        self._patches += list(features)
        self._images += len(features)

    def statistics(self, progress: ProgressCallback) -> Arrays:
        """See `Learner`.

        Raises:
            ConfigError: There are fewer patches than neighbours.
        """
        ratio, most = self._settings['coreset_ratio'], self._settings['max_bank']
        least, seed = self._settings['num_neighbors'], self._settings['seed']
        patches = np.concatenate(self._patches)
        self._patches.clear()
        if len(patches) < least:
            msg = f'{len(patches)} patches are fewer than num_neighbors {least}'
            raise ConfigError(f'{msg}; give more images')
        wanted = self._given + max(int((len(patches) - self._given) * ratio), 1)
        size = min(max(wanted, least), max(most, least), len(patches))
        chosen = select_coreset(
            patches,
            size,
            seed=seed,
            # All of the old ones, unless there is no room: then the best of all.
            given=self._given if size >= wanted else 0,
            progress=lambda _, done, total: progress('fit', done, total),
        )
        return {'memory_bank': patches[chosen]}

    @classmethod
    def judge(
        cls, features: Floats, statistics: Arrays, settings: Mapping[str, Any], manifest: Manifest
    ) -> Prediction:
        """The distance of each patch from the nearest of the bank, and equation 7 of the paper."""
        patches, bank = features[0], statistics['memory_bank']
        winners = _squared(patches, bank).argmin(axis=1)
        distance = np.linalg.norm(patches - bank[winners], axis=1)
        worst = int(distance.argmax())
        score = float(distance[worst])
        if (count := settings['num_neighbors']) > 1:
            around = np.argsort(_squared(bank[winners[worst]][None], bank)[0])
            away = np.linalg.norm(patches[worst] - bank[around[:count]], axis=1)
            powers = np.exp(away - away.max())
            score *= 1 - powers[0] / powers.sum()
        found = _enlarge(distance, manifest, cv2.INTER_NEAREST)
        return Prediction(np.array([score], np.float32), found[None])


_LEARNERS: Mapping[str, type[Learner]] = {'padim': GaussianLearner, 'patchcore': BankLearner}


def has_statistics(bundle: Bundle) -> bool:
    """Whether a bundle's model is relearned by its statistics; else it has weights alone."""
    return bundle.manifest.model in _LEARNERS


def relearn_statistics(
    bundle: Bundle,
    collected: CollectedImages,
    settings: Mapping[str, Any],
    old: Arrays,
    *,
    threads: int,
    progress: ProgressCallback,
) -> Relearned:
    """Make new statistics for a model that `has_statistics`.

    Args:
        bundle: As it is in service.
        collected: What to learn.
        settings: See `adet_core.retraining.settings`.
        old: Statistics to go on from; empty to begin anew.
        threads: Of the computation; 0: one per core.
        progress: Told the progress.

    Raises:
        AdetError: A file of the bundle or its engine cannot be used, or the images are too few.
    """
    learner_type = _LEARNERS[bundle.manifest.model]
    extractor = open_backend('auto', read_features(bundle), threads=threads)
    backend = open_backend('auto', read_engine(bundle), threads=threads)
    before = bundle.report.total if bundle.report else bundle.manifest.dataset.train
    learner = learner_type(settings, old, before)
    del old
    for first in range(0, len(collected.learn), _BATCH):
        batch = collected.learn[first : first + _BATCH]
        features = extractor.features(np.stack([one.pixels for one in batch]))
        learner.add(features, [one.is_marked for one in batch])
        progress('extract', first + len(batch), len(collected.learn))
    made = learner.statistics(progress)
    backend.bind(made)

    def predict(image: ImageArray) -> Prediction:
        features = extractor.features(image[None])
        return learner_type.judge(features, made, settings, bundle.manifest)

    return Relearned(
        contents={learner_type.file: partial(write_arrays, arrays=made)},
        backend=backend,
        predict=predict,
        images=learner.images,
    )


def _squared(one: Floats, other: Floats) -> Floats:
    """Squared distances of all rows from all rows, from around their mean."""
    centre = other.mean(axis=0)
    one, other = one - centre, other - centre
    lengths = (one**2).sum(axis=1)[:, None] + (other**2).sum(axis=1)
    squared: Floats = lengths - 2 * one @ other.T
    return squared


def _enlarge(distance: Floats, manifest: Manifest, method: int) -> AnomalyMap:
    """The distances of a square of positions as a smooth map of the image's size."""
    height, width = manifest.image.height, manifest.image.width
    rows = round((len(distance) * height / width) ** 0.5)
    small = distance.reshape(rows, -1)
    large = cv2.resize(small, (width, height), interpolation=method)
    reach = int(4 * _SIGMA + 0.5)
    kernel = cv2.getGaussianKernel(2 * reach + 1, _SIGMA)
    smooth = cv2.sepFilter2D(large, -1, kernel, kernel, borderType=cv2.BORDER_REFLECT_101)
    return np.asarray(smooth, np.float32)
