# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from adet_core.models.gaussian import RunningGaussians


def features(count: int, seed: int = 0, offset: float = 0.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(6, 6))
    return (np.einsum('ij,bjp->bip', mixing, rng.normal(size=(count, 6, 9))) + offset).astype(
        np.float32
    )


@pytest.mark.parametrize('batches', [[20], [7, 13], [1] * 20, [2, 1, 16, 1]])
@pytest.mark.parametrize('offset', [0.0, 300.0])
def test_sums_in_any_batches_give_the_textbooks_mean_and_covariance(
    batches: list[int], offset: float
) -> None:
    values = features(20, offset=offset)
    sums = RunningGaussians()
    for part in np.split(values, np.cumsum(batches)[:-1]):
        sums.add(part)
    assert sums.count == 20
    np.testing.assert_allclose(sums.mean(), values.mean(axis=0), rtol=1e-5)
    inverse = sums.inverse_covariance()
    assert inverse.dtype == np.float32
    assert inverse.shape == (9, 6, 6)
    for position in range(9):
        covariance = np.cov(values[:, :, position].astype(np.float64), rowvar=False)
        expected = np.linalg.inv(covariance + 0.01001 * np.eye(6))
        np.testing.assert_allclose(inverse[position], expected, rtol=2e-3, atol=2e-3)


def test_equal_images_have_the_covariance_of_the_regularisation_alone() -> None:
    sums = RunningGaussians()
    for _ in range(3):
        sums.add(np.full((4, 5, 2), 7.0, np.float32))
    np.testing.assert_allclose(sums.mean(), 7.0)
    np.testing.assert_allclose(
        sums.inverse_covariance(), np.broadcast_to(np.eye(5) / 0.01001, (2, 5, 5)), rtol=1e-5
    )


def test_one_image_has_no_covariance() -> None:
    sums = RunningGaussians()
    sums.add(features(1))
    with pytest.raises(ValueError, match='needs two images, there are 1'):
        sums.inverse_covariance()


def test_memory_does_not_grow_with_the_number_of_images() -> None:
    sums = RunningGaussians()
    batch = np.random.default_rng(0).normal(size=(8, 20, 64)).astype(np.float32)
    sums.add(batch)
    tracemalloc.start()
    sums.add(batch)
    _, once = tracemalloc.get_traced_memory()
    for _ in range(20):
        sums.add(batch)
    _, often = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert often < 1.5 * once


def test_sums_are_resumed_from_what_they_gave() -> None:
    values = features(40, offset=3.0)
    first, at_once = RunningGaussians(), RunningGaussians()
    first.add(values[:25])
    at_once.add(values)
    resumed = RunningGaussians.resumed(first.mean(), first.inverse_covariance(), first.count)
    resumed.add(values[25:])
    assert resumed.count == 40
    np.testing.assert_allclose(resumed.mean(), at_once.mean(), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(
        resumed.inverse_covariance(), at_once.inverse_covariance(), rtol=5e-3, atol=5e-3
    )


def test_a_weight_counts_as_so_many_equal_images() -> None:
    values = features(12)
    weighted, repeated = RunningGaussians(), RunningGaussians()
    weighted.add(values, [1] * 10 + [3, 1])
    repeated.add(np.concatenate([values, values[10:11], values[10:11]]))
    assert weighted.count == repeated.count == 14
    np.testing.assert_allclose(weighted.mean(), repeated.mean(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        weighted.inverse_covariance(), repeated.inverse_covariance(), rtol=1e-3, atol=1e-3
    )


def test_more_positions_than_are_done_at_once() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(9, 3, 150)).astype(np.float32)
    sums = RunningGaussians()
    sums.add(values[:4])
    sums.add(values[4:])
    for position in (0, 63, 64, 149):
        covariance = np.cov(values[:, :, position].astype(np.float64), rowvar=False)
        expected = np.linalg.inv(covariance + 0.01001 * np.eye(3))
        np.testing.assert_allclose(sums.inverse_covariance()[position], expected, rtol=1e-3)


def test_an_image_far_from_all_others_leaves_the_matrices_positive_definite() -> None:
    rng = np.random.default_rng(0)
    sums = RunningGaussians()
    sums.add(rng.normal(0, 3, (30, 100, 20)).astype(np.float32))
    resumed = RunningGaussians.resumed(sums.mean(), sums.inverse_covariance(), 30)
    resumed.add(rng.normal(0, 40, (1, 100, 20)).astype(np.float32), [10])
    inverse = resumed.inverse_covariance()
    np.testing.assert_allclose(inverse, inverse.transpose(0, 2, 1), atol=2e-6 * inverse.max())
    assert np.linalg.eigvalsh(inverse).min() > 0
