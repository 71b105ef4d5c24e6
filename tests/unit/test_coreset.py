# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The coreset is the one that the textbook's greedy loop chooses, sooner and in less memory."""

from __future__ import annotations

from collections.abc import Sequence
import tracemalloc
from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

from adet_core.models import coreset
from adet_core.models.coreset import cover_radius, PatchStore, select_coreset
from adet_core.progress import silent


def _features(count: int, length: int, seed: int, clusters: int = 0) -> np.ndarray:
    """Random features, all around 0 or in clusters far from it."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(count, length))
    if clusters:
        features *= 0.1
        features += rng.normal(size=(clusters, length))[rng.integers(clusters, size=count)] + 5
    return features.astype(np.float32)


def _distances(features: np.ndarray, index: int) -> np.ndarray:
    difference = features.astype(np.float64) - features[index]
    return np.sqrt((difference**2).sum(axis=1))


class Textbook(NamedTuple):
    """What the loop gives that Sener and Savarese describe, in double precision.

    Attributes:
        chosen: Indices in order.
        certain: How many of them come before the first choice between two that single precision
            cannot tell apart.
        radius: Cover radius.
    """

    chosen: list[int]
    certain: int
    radius: float


def _textbook(features: np.ndarray, size: int, first: int) -> Textbook:
    chosen, certain = [first], size
    nearest = _distances(features, first)
    while len(chosen) < size:
        second, farthest = np.partition(nearest, -2)[-2:]
        if farthest - second < 1e-5 * farthest:
            certain = min(certain, len(chosen))
        chosen.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, _distances(features, chosen[-1]))
    return Textbook(chosen, certain, float(nearest.max()))


def _check_greedy(features: np.ndarray, chosen: np.ndarray) -> float:
    """Each choice is a farthest one at its time, whichever of several; gives the cover radius."""
    assert len(set(chosen.tolist())) == len(chosen)
    nearest = _distances(features, chosen[0])
    scale = nearest.max()
    for index in chosen[1:]:
        assert nearest[index] == pytest.approx(nearest.max(), rel=1e-4, abs=1e-3 * scale)
        nearest = np.minimum(nearest, _distances(features, index))
    radius = float(nearest.max())
    assert cover_radius(features, chosen) == pytest.approx(radius, rel=1e-3, abs=1e-3 * scale)
    return radius


@pytest.mark.parametrize('clusters', [0, 6])
@pytest.mark.parametrize(
    ('count', 'length', 'size'),
    [(300, 8, 40), (1500, 16, 700), (3000, 4, 120), (5000, 32, 900), (513, 3, 200)],
)
@pytest.mark.parametrize('seed', range(3))
def test_the_picks_are_those_of_the_plain_greedy_loop(
    count: int, length: int, size: int, clusters: int, seed: int
) -> None:
    features = _features(count, length, seed, clusters)
    chosen = select_coreset(features, size, seed=seed)
    assert chosen.dtype == np.int64
    textbook = _textbook(features, size, int(chosen[0]))
    assert textbook.certain >= 15
    assert chosen[: textbook.certain].tolist() == textbook.chosen[: textbook.certain]
    assert _check_greedy(features, chosen) == pytest.approx(textbook.radius, rel=0.01)


@given(st.integers(1, 60), st.integers(1, 5), st.integers(0, 3), st.integers(0, 1000), st.data())
def test_where_features_are_equal_the_cover_is_as_good_as_the_loops(
    count: int, length: int, most: int, seed: int, data: st.DataObject
) -> None:
    # Few different values: ties in every step, and many features that are the same.
    rng = np.random.default_rng(seed)
    features = rng.integers(0, most + 1, (count, length)).astype(np.float32)
    size = data.draw(st.integers(1, count))
    chosen = select_coreset(features, size, seed=seed)
    assert len(chosen) == size
    radius = _check_greedy(features, chosen)
    if size >= len(np.unique(features, axis=0)):
        assert radius == 0


def test_what_is_given_stays_and_the_farthest_from_it_join() -> None:
    features = _features(1500, 8, 3)
    chosen = select_coreset(features, 640, seed=0, given=600)
    assert chosen[:600].tolist() == list(range(600))
    nearest = np.min([_distances(features, index) for index in range(600)], axis=0)
    for index in chosen[600:]:
        assert nearest[index] == pytest.approx(nearest.max(), rel=1e-4)
        nearest = np.minimum(nearest, _distances(features, index))
    assert select_coreset(features, 600, seed=0, given=600).tolist() == list(range(600))
    with pytest.raises(ValueError, match=r'a coreset of 599 cannot .* of which 600 are given'):
        select_coreset(features, 599, seed=0, given=600)


def test_features_that_are_all_the_same_are_chosen_once_each() -> None:
    features = np.full((2000, 7), 3.7, np.float32)
    for size in (1, 5, 600, 2000):
        chosen = select_coreset(features, size, seed=0)
        assert len(set(chosen.tolist())) == size
        assert cover_radius(features, chosen) == pytest.approx(0, abs=1e-3)


def test_a_duplicate_is_taken_only_when_nothing_else_is_left() -> None:
    different = _features(700, 6, 1)
    features = np.concatenate([different, different, different])
    chosen = select_coreset(features, 800, seed=2)
    assert len(set(chosen.tolist())) == 800
    assert set((chosen[:700] % 700).tolist()) == set(range(700))


@pytest.mark.parametrize('count', [1, 2, 511, 512, 513, 2049])
def test_everything_can_be_chosen_and_so_can_one(count: int) -> None:
    features = _features(count, 5, 0)
    assert sorted(select_coreset(features, count, seed=1).tolist()) == list(range(count))
    (only,) = select_coreset(features, 1, seed=1)
    assert cover_radius(features, np.array([only])) == pytest.approx(
        _distances(features, only).max(), abs=1e-3
    )


@pytest.mark.parametrize('size', [-1, 0, 11])
def test_a_size_that_cannot_be_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match=f'^a coreset of {size} cannot be chosen from 10 feat'):
        select_coreset(_features(10, 3, 0), size, seed=0)


def test_no_features_have_no_coreset() -> None:
    with pytest.raises(ValueError, match='cannot be chosen from 0 features'):
        select_coreset(np.empty((0, 3), np.float32), 1, seed=0)


def test_the_seed_decides_and_the_features_are_left_alone() -> None:
    features = _features(900, 8, 0)
    before = features.copy()
    first, same, other = (select_coreset(features, 50, seed=seed) for seed in (4, 4, 5))
    np.testing.assert_array_equal(first, same)
    assert first[0] != other[0]
    np.testing.assert_array_equal(features, before)
    assert len({int(select_coreset(features, 1, seed=seed)[0]) for seed in range(40)}) > 30


def test_features_far_from_zero_are_told_apart() -> None:
    features = _features(400, 8, 3) + np.float32(300)
    chosen = select_coreset(features, 60, seed=0)
    assert chosen.tolist() == _textbook(features, 60, int(chosen[0])).chosen
    _check_greedy(features, chosen)


# ---- progress and memory


@pytest.mark.parametrize(('count', 'size'), [(3000, 1200), (600, 600), (50, 2)])
def test_progress_rises_to_its_end(count: int, size: int) -> None:
    calls: list[tuple[str, int, int | None]] = []
    select_coreset(_features(count, 6, 0), size, seed=0, progress=lambda *call: calls.append(call))
    assert {(stage, total) for stage, _, total in calls} == {('choosing the coreset', size)}
    done = [done for _, done, _ in calls]
    assert done == sorted(set(done))
    assert done[-1] == size
    # Somebody who waits sees it move, and can interrupt it.
    assert max(np.diff([0, *done])) <= 512


class StopError(Exception):
    """What a test raises in the middle."""


@pytest.mark.parametrize('kind', [StopError, KeyboardInterrupt])
def test_what_the_report_raises_ends_the_selection(kind: type[BaseException]) -> None:
    calls = []

    def progress(*call: object) -> None:
        calls.append(call)
        if len(calls) == 2:
            raise kind

    with pytest.raises(kind):
        select_coreset(_features(4000, 6, 0), 3000, seed=0, progress=progress)
    assert len(calls) == 2


def test_memory_stays_far_below_that_of_all_distances() -> None:
    features = _features(20_000, 64, 0)
    tracemalloc.start()
    try:
        chosen = select_coreset(features, 2000, seed=0)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        cover_radius(features, chosen)
        _, second = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # All distances are 160 MB; the features are 5 MB, and a copy of them is centred.
    assert peak < 6 * features.nbytes
    assert second < 6 * features.nbytes


# ---- patches that come bit by bit


def _normal(count: int, seed: int) -> np.ndarray:
    return _features(count, 8, seed)


def _store(parts: Sequence[np.ndarray], keep: int, given: np.ndarray | None = None) -> PatchStore:
    store = PatchStore(keep, given=given)
    for part in parts:
        store.add(part)
    return store


def test_what_fits_in_memory_is_chosen_from_as_a_whole() -> None:
    parts = [_normal(50, seed) for seed in range(6)]
    every = np.concatenate(parts)
    found = _store(parts, 40).select(30, seed=2, is_given=False, progress=silent)
    np.testing.assert_array_equal(found, every[select_coreset(every, 30, seed=2)])


def test_a_store_that_is_full_keeps_a_coreset(monkeypatch: pytest.MonkeyPatch) -> None:
    """It covers all patches nearly as well as a choice among all of them."""
    parts = [_normal(200, seed) for seed in range(20)]
    every, keep = np.concatenate(parts), 60
    monkeypatch.setattr(coreset, 'STORE_BYTES', 600 * every.shape[1] * 4)
    store = _store(parts, keep)
    assert store.count == len(every)
    assert store._rows <= 600
    found = store.select(keep, seed=0, is_given=False, progress=silent)
    assert found.shape == (keep, every.shape[1])
    # Each is one of those that came.
    assert all((every == one).all(axis=1).any() for one in found)

    def radius(chosen: np.ndarray) -> float:
        together = np.concatenate([chosen, every])
        return cover_radius(together, np.arange(len(chosen)))

    assert radius(found) <= 1.3 * radius(every[select_coreset(every, keep, seed=0)])


def test_a_store_that_is_full_keeps_what_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    given, parts = _normal(20, 99), [_normal(100, seed) for seed in range(10)]
    monkeypatch.setattr(coreset, 'STORE_BYTES', 300 * given.shape[1] * 4)
    found = _store(parts, 50, given).select(30, seed=0, is_given=True, progress=silent)
    np.testing.assert_array_equal(found[:20], given)
    # More than is kept: then they count like all others.
    found = _store(parts, 15, given).select(15, seed=0, is_given=False, progress=silent)
    assert len(found) == 15
