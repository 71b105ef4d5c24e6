# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""A memory bank of normal patches: how it is learned, searched, and what it predicts.

Roth et al.: Towards Total Recall in Industrial Anomaly Detection (PatchCore), CVPR 2022,
https://arxiv.org/abs/2106.08265.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import cv2
import numpy as np

from adet_core.errors import ConfigError
from adet_core.models.coreset import PatchStore
from adet_core.models.distance_map import smooth_map
from adet_core.models.statistics_model import (
    Floats,
    NamedTransform,
    Setting,
    Statistics,
    StatisticsModel,
)
from adet_core.prediction import Prediction
from adet_core.progress import ProgressCallback

_BANK = 'memory_bank'
_BASIS = 'basis'


class MemoryBankModel(StatisticsModel):
    """The statistics ``memory_bank`` ``(K, D)``: the features of ``K`` normal patches."""

    file: ClassVar[str] = 'memory_bank.npz'
    settings: ClassVar[Mapping[str, Setting]] = {
        'coreset_ratio': Setting(0.1, 1e-6, 1.0),
        'max_bank': Setting(10_000, 1, 1_000_000),
        'num_neighbors': Setting(9, 1, 64, is_fixed=True),
    }

    def learner(self, settings: Mapping[str, Any], old: Statistics, images: int) -> BankLearner:
        """See `StatisticsModel.learner`."""
        return BankLearner(settings, old, images)

    def predict(
        self,
        features: Floats,
        statistics: Statistics,
        settings: Mapping[str, Any],
        size: tuple[int, int],
    ) -> Prediction:
        """See `StatisticsModel.predict`; the features are ``(N, P, D)``."""
        bank, neighbors = statistics[_BANK], settings['num_neighbors']
        return Prediction.concatenate(
            _predict_one(patches, bank, neighbors, size) for patches in features
        )


class BankLearner:
    """A coreset of the old bank and the new patches, see `adet_core.models.coreset`."""

    def __init__(self, settings: Mapping[str, Any], old: Statistics, images: int) -> None:
        """Begin; see `StatisticsModel.learner`."""
        self._settings = settings
        keep = max(settings['max_bank'], settings['num_neighbors'])
        self._patches = PatchStore(keep, given=old[_BANK] if old else None)
        self._old = len(old[_BANK]) if old else 0
        self._images = images if old else 0

    @property
    def images(self) -> int:
        """How many images are behind the bank."""
        return self._images

    def add(self, features: Floats, are_marked: Sequence[bool]) -> None:  # noqa: ARG002
        """See `Learner.add`; the features are ``(B, P, D)``.

        A marked image needs no weight: the coreset takes what is far from the bank anyway.
        """
        self._patches.add(features.reshape(-1, features.shape[-1]))
        self._images += len(features)

    def statistics(self, progress: ProgressCallback) -> dict[str, Floats]:
        """See `Learner.statistics`.

        Raises:
            ConfigError: There are fewer patches than neighbours.
        """
        least, seed = self._settings['num_neighbors'], self._settings['seed']
        count = self._patches.count
        if count < least:
            msg = f'{count} patches are fewer than num_neighbors {least}'
            raise ConfigError(f'{msg}; give more images')
        size, is_given = self._size(count)
        bank = self._patches.select(
            size,
            seed=seed,
            is_given=is_given,
            progress=lambda _, done, total: progress('fit', done, total),
        )
        return {_BANK: bank}

    def _size(self, patches: int) -> tuple[int, bool]:
        """Size of the new bank, and whether it keeps all the old bank's patches for sure."""
        least, most = self._settings['num_neighbors'], self._settings['max_bank']
        share = int((patches - self._old) * self._settings['coreset_ratio'])
        wanted = self._old + max(share, 1)
        size = min(max(wanted, least), max(most, least), patches)
        # Where there is no room for all old patches, the coreset chooses among all patches.
        return size, size >= wanted


class BankSearch(NamedTransform):
    """Prepares a memory bank for a search by one product of matrices.

    The nearest feature b of a patch x is the one with the largest x . b - |b|^2 / 2. With
    -|b|^2 / 2 as one more channel of b, and 1 as one more channel of x, that is a matrix product.
    Patches and bank are taken relative to the bank's mean, which loses fewer digits.

    A large bank is searched in a few of its principal components only, the columns of ``basis``.
    """

    name: ClassVar[str] = 'bank_search'

    def __init__(self, channels: int, basis: Floats | None = None) -> None:
        """Take the directions that the bank is searched in.

        Args:
            channels: Length ``D`` of a patch's features.
            basis: float32 ``(D, k)``, orthonormal columns; None: search in all channels.

        Raises:
            ValueError: The basis is not made for these channels.
        """
        if type(channels) is not int or channels < 1:
            raise ValueError(f'channels is {channels!r:.60}, expected 1 or more')
        if basis is not None and (basis.ndim != 2 or len(basis) != channels):
            raise ValueError(f'the basis has shape {basis.shape}, expected ({channels}, k)')
        self._channels, self._basis = channels, basis

    @classmethod
    def load(cls, parameters: Mapping[str, Any], constants: Statistics) -> BankSearch:
        """See `NamedTransform.load`."""
        if parameters.keys() != {'channels'} or not constants.keys() <= {_BASIS}:
            raise ValueError(f'it takes the parameter channels and the constant {_BASIS}')
        return cls(parameters['channels'], constants.get(_BASIS))

    @property
    def parameters(self) -> dict[str, Any]:
        """See `NamedTransform.parameters`."""
        return {'channels': self._channels}

    @property
    def constants(self) -> dict[str, Floats]:
        """See `NamedTransform.constants`."""
        return {} if self._basis is None else {_BASIS: self._basis}

    @property
    def shapes(self) -> dict[str, tuple[int | None, ...]]:
        """See `StatisticsTransform.shapes`."""
        return {_BANK: (None, self._channels)}

    @property
    def inputs(self) -> list[str]:
        """See `NamedTransform.inputs`."""
        return ['centre', 'bank', 'search']

    def __call__(self, statistics: Statistics) -> dict[str, Floats]:
        """See `StatisticsTransform.__call__`.

        Returns:
            ``centre`` ``(1, D)``, the bank's mean; ``bank`` ``(K, D)`` relative to it; ``search``
            ``(k + 1, K)``, the bank in the channels of the search, and ``-|b|^2 / 2``.
        """
        memory_bank = statistics[_BANK]
        centre = memory_bank.mean(axis=0, keepdims=True)
        bank = memory_bank - centre
        searched = self._channels if self._basis is None else self._basis.shape[1]
        search = np.empty((searched + 1, len(bank)), np.float32)
        if self._basis is None:
            search[:-1] = bank.T
        else:
            np.matmul(self._basis.T, bank.T, out=search[:-1])
        np.multiply(np.einsum('kd,kd->k', bank, bank), -0.5, out=search[-1])
        return {'centre': centre, 'bank': bank, 'search': search}


def _predict_one(
    patches: Floats, bank: Floats, neighbors: int, size: tuple[int, int]
) -> Prediction:
    """The distance of each patch from the nearest in the bank, and equation 7 of the paper."""
    winners = _squared_distances(patches, bank).argmin(axis=1)
    distance = np.linalg.norm(patches - bank[winners], axis=1)
    worst = int(distance.argmax())
    score = distance[worst]
    if neighbors > 1:
        around = np.argsort(_squared_distances(bank[winners[worst]][None], bank)[0])
        away = np.linalg.norm(patches[worst] - bank[around[:neighbors]], axis=1)
        powers = np.exp(away - away.max())
        score *= 1 - powers[0] / powers.sum()
    found = smooth_map(distance, size, cv2.INTER_NEAREST)
    return Prediction(np.array([score], np.float32), found[None])


def _squared_distances(one: Floats, other: Floats) -> Floats:
    """Squared distances of all rows of one from all rows of the other; ``(N, D)``, ``(K, D)``."""
    centre = other.mean(axis=0)
    one, other = one - centre, other - centre
    lengths = (one**2).sum(axis=1)[:, None] + (other**2).sum(axis=1)
    squared: Floats = lengths - 2 * one @ other.T
    return squared
