# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The k-centre greedy coreset: which features a memory bank keeps.

Sener, Savarese: Active Learning for Convolutional Neural Networks, a Core-Set Approach, ICLR 2018,
https://arxiv.org/abs/1708.00489; Roth et al., https://arxiv.org/abs/2106.08265. A coreset
of coresets covers nearly as well: Malkomes et al., Fast Distributed k-Center Clustering with
Outliers on Massive Data, NIPS 2015.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from adet_core.progress import ProgressCallback, silent

Features = npt.NDArray[np.float32]

# Centres of one pass over all features, at most: enough to make that pass a matrix product.
_CANDIDATES = 512
# Features of one matrix product, so that its result stays in the processor's cache.
_ROWS = 1024


STORE_BYTES = 512 << 20
"""Features that `PatchStore` holds; choosing among them takes as much again."""


class PatchStore:
    """Features of patches that come bit by bit, in bounded memory.

    They are all kept while they fit. When they do not, a coreset takes their place, which keeps
    the given ones: each feature that is left out is near one that stays.

    Attributes:
        count: How many features came, the given ones among them.
    """

    def __init__(
        self, keep: int, *, given: Features | None = None, progress: ProgressCallback = silent
    ) -> None:
        """Begin.

        Args:
            keep: Size of a coreset that takes the place of all features; no less than what will be
                selected.
            given: float32 ``(K, D)``, features that come first, e.g. an older coreset.
            progress: Told the progress of coresets that are chosen before the last one.
        """
        self._keep, self._progress = keep, progress
        self._parts = [] if given is None else [given]
        self._rows = self._given = self.count = 0 if given is None else len(given)

    def add(self, features: Features) -> None:
        """Take features, float32 ``(N, D)``."""
        self._parts.append(features)
        self._rows += len(features)
        self.count += len(features)
        if self._rows > 2 * self._keep and self._rows * features.shape[1] * 4 > STORE_BYTES:
            self._given = self._given if self._given <= self._keep else 0
            kept = self._select(self._keep, seed=0, given=self._given, progress=self._progress)
            self._parts, self._rows = [kept], len(kept)

    def select(
        self, size: int, *, seed: int, is_given: bool, progress: ProgressCallback
    ) -> Features:
        """The coreset, float32 ``(size, D)``; the store is empty afterwards.

        Args:
            size: How many features to choose, no more than ``keep`` and than came.
            seed: Seed of the first choice.
            is_given: Whether those given stay for sure, in their order, before all others.
            progress: Told the progress; an exception that it raises ends the selection.
        """
        given = self._given if is_given else 0
        return self._select(size, seed=seed, given=given, progress=progress)

    def _select(self, size: int, *, seed: int, given: int, progress: ProgressCallback) -> Features:
        rows = np.empty((self._rows, self._parts[0].shape[1]), np.float32)
        first = 0
        # Each part is freed after its copy: two copies of all would be the peak of memory.
        self._parts.reverse()
        while self._parts:
            part = self._parts.pop()
            rows[first : first + len(part)] = part
            first += len(part)
        chosen: Features = rows[
            select_coreset(rows, size, seed=seed, given=given, progress=progress)
        ]
        return chosen


def select_coreset(
    features: Features,
    size: int,
    *,
    seed: int,
    given: int = 0,
    progress: ProgressCallback = silent,
) -> npt.NDArray[np.int64]:
    """Choose features such that every feature is near a chosen one.

    Each choice is the feature farthest from those chosen so far. The textbook passes over all
    features for every choice. Distances to the chosen features only shrink, so the loop can run on
    the few hundred farthest features alone until the next choice might lie outside of them; one
    pass over all features then accounts for all these choices at once. On ties, and in the last
    bits of a distance, choices may differ from the textbook's.

    Args:
        features: float32 ``(N, D)``.
        size: How many features to choose, 1 to N.
        seed: Seed of the first choice.
        given: How many of the first features are chosen beforehand, e.g. an older coreset.
        progress: Told the progress; an exception that it raises ends the selection.

    Returns:
        int64 ``(size,)``, indices of different features in the order they were chosen.

    Raises:
        ValueError: ``size`` is not between 1 and N, or less than ``given``.
    """
    count = len(features)
    if not max(1, given) <= size <= count:
        also = f', of which {given} are given' if given else ''
        msg = f'a coreset of {size} cannot be chosen from {count} features{also}'
        raise ValueError(msg)
    # Distances of features around 0 lose fewer digits.
    centred = features - features.mean(axis=0, dtype=np.float64).astype(np.float32)
    norms = np.einsum('nd,nd->n', centred, centred)
    nearest = np.full(count, np.inf, np.float32)
    chosen = list(range(given)) or [int(np.random.default_rng(seed).integers(count))]
    for first in range(0, len(chosen), _CANDIDATES):
        _shrink(nearest, centred, norms, chosen[first : first + _CANDIDATES])
        progress('choosing the coreset', 0, size)
    while len(chosen) < size:
        fresh = _choose(centred, norms, nearest, size - len(chosen))
        chosen.extend(fresh)
        _shrink(nearest, centred, norms, fresh)
        progress('choosing the coreset', len(chosen), size)
    return np.array(chosen, np.int64)


def cover_radius(features: Features, chosen: npt.NDArray[np.int64]) -> float:
    """The largest distance of a feature from its nearest chosen feature.

    Args:
        features: float32 ``(N, D)``.
        chosen: int64 ``(K,)``, indices of the chosen features.
    """
    centred = features - features.mean(axis=0, dtype=np.float64).astype(np.float32)
    norms = np.einsum('nd,nd->n', centred, centred)
    nearest = np.full(len(features), np.inf, np.float32)
    for first in range(0, len(chosen), _CANDIDATES):
        _shrink(nearest, centred, norms, chosen[first : first + _CANDIDATES].tolist())
    return float(np.sqrt(nearest.max().clip(min=0)))


def _choose(features: Features, norms: Features, nearest: Features, wanted: int) -> list[int]:
    """Choose among the farthest features while they hold the farthest of all."""
    count = min(_CANDIDATES, len(features))
    candidates = np.argpartition(nearest, -count)[-count:]
    distance = nearest[candidates]
    # No feature outside is farther than this, now or later.
    bound = distance.min() if count < len(features) else -np.inf
    of_each = features[candidates]
    chosen: list[int] = []
    while len(chosen) < wanted:
        index = int(distance.argmax())
        if chosen and distance[index] < bound:
            break
        chosen.append(int(candidates[index]))
        away = norms[candidates] + norms[chosen[-1]] - 2 * (of_each @ of_each[index])
        np.minimum(distance, away, out=distance)
        # Never again, even if all features that are left coincide with chosen ones.
        distance[index] = -np.inf
        if len(chosen) == count:
            break
    return chosen


def _shrink(nearest: Features, features: Features, norms: Features, chosen: list[int]) -> None:
    """Update ``nearest``, squared distances to the nearest chosen feature, with new choices."""
    centres, lengths = -2 * features[chosen].T, norms[chosen]
    # New memory for each product would take a third of the product's time.
    product = np.empty((_ROWS, len(chosen)), np.float32)
    for first in range(0, len(features), _ROWS):
        rows = slice(first, first + _ROWS)
        away = np.matmul(features[rows], centres, out=product[: len(features) - first])
        away += lengths
        np.minimum(nearest[rows], away.min(axis=1) + norms[rows], out=nearest[rows])
    nearest[chosen] = -np.inf
