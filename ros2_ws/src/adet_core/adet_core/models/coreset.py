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
from threadpoolctl import threadpool_limits

from adet_core.progress import ProgressCallback, silent

Features = npt.NDArray[np.float32]

# Centres of one pass over all features, at most: enough to make that pass a matrix product.
_CANDIDATES = 512
# Features of one matrix product, so that its result stays in the processor's cache.
_ROWS = 1024
# Blocks of neighbouring features, and how many features each has at least on average: with fewer,
# what is left out is not worth the bookkeeping.
_BLOCKS, _IN_BLOCK = 256, 16
# Distances in float32 are that exact, generously.
_ROUNDING = 1e-3
# Columns that are brought into another order at once.
_COLUMNS = 16

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
    pass over all features then accounts for all these choices at once. That pass leaves out most
    pairs: by the triangle inequality, a choice that is far from a block of features is nearest to
    none of them (Elkan: Using the Triangle Inequality to Accelerate k-Means, ICML 2003). On ties,
    and in the last bits of a distance, choices may differ from the textbook's.

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
    # Several threads for so small products would mostly wait for each other.
    with threadpool_limits(1, 'blas'):
        cover = _Cover(features)
        first = np.arange(given) if given else np.random.default_rng(seed).integers(count, size=1)
        for start in range(0, len(first), _CANDIDATES):
            cover.add(cover.places(first[start : start + _CANDIDATES]))
            progress('choosing the coreset', 0, size)
        while cover.count < size:
            cover.add(cover.choose(size - cover.count))
            progress('choosing the coreset', cover.count, size)
    return cover.chosen


def cover_radius(features: Features, chosen: npt.NDArray[np.int64]) -> float:
    """The largest distance of a feature from its nearest chosen feature.

    Args:
        features: float32 ``(N, D)``.
        chosen: int64 ``(K,)``, indices of the chosen features.
    """
    cover = _Cover(features)
    for first in range(0, len(chosen), _CANDIDATES):
        cover.add(cover.places(chosen[first : first + _CANDIDATES]))
    return cover.radius


class _Cover:
    """How far every feature is from the nearest chosen one.

    Features are held block by block, once there are blocks: those nearest to one of the first
    choices. Places are where they are held.

    Attributes:
        count: How many are chosen.
        radius: The largest of the distances.
    """

    def __init__(self, features: Features) -> None:
        # Distances of features around 0 lose fewer digits.
        self._features = features - features.mean(axis=0, dtype=np.float64).astype(np.float32)
        self._norms = np.einsum('nd,nd->n', self._features, self._features)
        # Squared; that of a chosen one is -inf.
        self._nearest = np.full(len(features), np.inf, np.float32)
        self._numbers = self._places = np.arange(len(features))
        self._chosen: list[int] = []
        self._blocks: _Blocks | None = None

    @property
    def count(self) -> int:
        return len(self._chosen)

    @property
    def chosen(self) -> npt.NDArray[np.int64]:
        """Indices of the chosen features, in the order they were chosen."""
        return self._numbers[np.array(self._chosen, np.int64)].astype(np.int64)

    @property
    def radius(self) -> float:
        return float(np.sqrt(self._nearest.max().clip(min=0)))

    def places(self, numbers: npt.NDArray[np.int64]) -> list[int]:
        """Where features are held now."""
        found: list[int] = self._places[numbers].tolist()
        return found

    def add(self, places: list[int]) -> None:
        """Choose these features, and shorten all distances."""
        self._chosen += places
        if self._blocks is None:
            _shrink(self._features, self._norms, self._nearest, places)
        else:
            self._blocks.shrink(self._features, self._norms, self._nearest, places)
        self._nearest[places] = -np.inf
        enough = self.count >= _BLOCKS and len(self._features) >= _BLOCKS * _IN_BLOCK
        if self._blocks is None and enough:
            self._divide()

    def _divide(self) -> None:
        """Hold the features block by block from now on."""
        owners = _nearest_of(self._features, self._chosen)
        order = np.argsort(owners, kind='stable')
        # By columns: a second copy of all features would be the peak of memory.
        for first in range(0, self._features.shape[1], _COLUMNS):
            columns = slice(first, first + _COLUMNS)
            self._features[:, columns] = self._features[order, columns]
        self._norms, self._nearest = self._norms[order], self._nearest[order]
        self._numbers = order
        self._places = np.empty_like(order)
        self._places[order] = np.arange(len(order))
        centres = self._places[self._chosen]
        self._chosen = centres.tolist()
        self._blocks = _Blocks(self._features, self._norms, owners[order], centres)

    def choose(self, wanted: int) -> list[int]:
        """Choose the next ones among the farthest features while they hold the farthest of all."""
        return _choose(self._features, self._norms, self._nearest, wanted)


def _choose(features: Features, norms: Features, nearest: Features, wanted: int) -> list[int]:
    """Choose among the farthest features while they hold the farthest of all."""
    count = min(_CANDIDATES, len(features))
    candidates = np.argpartition(nearest, -count)[-count:]
    distance = nearest[candidates]
    # No feature outside is farther than this, now or later.
    bound = distance.min() if count < len(features) else -np.inf
    of_each, lengths = features[candidates], norms[candidates]
    # Of all pairs at once: a product of matrices takes less time than its rows one by one.
    products = 2 * (of_each @ of_each.T)
    chosen: list[int] = []
    while len(chosen) < wanted:
        index = int(distance.argmax())
        if chosen and distance[index] < bound:
            break
        chosen.append(int(candidates[index]))
        away = lengths + lengths[index] - products[index]
        np.minimum(distance, away, out=distance)
        # Never again, even if all features that are left coincide with chosen ones.
        distance[index] = -np.inf
        if len(chosen) == count:
            break
    return chosen


class _Blocks:
    """Neighbouring features, each block around one of the first choices."""

    def __init__(
        self,
        features: Features,
        norms: Features,
        owners: npt.NDArray[np.int64],
        centres: npt.NDArray[np.int64],
    ) -> None:
        # A chosen feature that equals an earlier one has none.
        used, self._starts = np.unique(owners, return_index=True)
        self._ends = [*self._starts[1:].tolist(), len(owners)]
        self._centres = features[centres[used]].copy()
        self._lengths = lengths = norms[centres[used]]
        self._radii = np.empty(len(used), np.float32)
        for block, start in enumerate(self._starts.tolist()):
            rows = slice(start, self._ends[block])
            away = norms[rows] - 2 * (features[rows] @ self._centres[block]) + lengths[block]
            self._radii[block] = np.sqrt(max(away.max(), 0))

    def shrink(
        self, features: Features, norms: Features, nearest: Features, chosen: list[int]
    ) -> None:
        """As `_shrink`, where it can change anything."""
        farthest = np.sqrt(np.maximum.reduceat(nearest, self._starts).clip(min=0))
        reach = (self._radii + farthest) * (1 + _ROUNDING)
        picked = features[chosen]
        away = norms[chosen][:, None] - 2 * picked @ self._centres.T + self._lengths
        near = away < reach**2
        for block in np.flatnonzero(near.any(axis=0)).tolist():
            rows = slice(int(self._starts[block]), self._ends[block])
            some = near[:, block]
            found = features[rows] @ (-2 * picked[some].T)
            found += norms[chosen][some]
            np.minimum(nearest[rows], found.min(axis=1) + norms[rows], out=nearest[rows])


def _nearest_of(features: Features, chosen: list[int]) -> npt.NDArray[np.int64]:
    """Which of the chosen features is nearest to each feature, int64 ``(N,)``."""
    centres = -2 * features[chosen].T
    lengths = np.einsum('dk,dk->k', centres, centres) / 4
    parts = (
        (features[first : first + _ROWS] @ centres + lengths).argmin(axis=1)
        for first in range(0, len(features), _ROWS)
    )
    return np.concatenate(list(parts))


def _shrink(features: Features, norms: Features, nearest: Features, chosen: list[int]) -> None:
    """Update ``nearest``, squared distances to the nearest chosen feature, with new choices."""
    centres, lengths = -2 * features[chosen].T, norms[chosen]
    # New memory for each product would take a third of the product's time.
    product = np.empty((_ROWS, len(chosen)), np.float32)
    for first in range(0, len(features), _ROWS):
        rows = slice(first, first + _ROWS)
        away = np.matmul(features[rows], centres, out=product[: len(features) - first])
        away += lengths
        np.minimum(nearest[rows], away.min(axis=1) + norms[rows], out=nearest[rows])
