# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""What neighbouring positions share is kept once, and the distance stays the same."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from adet_core.models.gaussian import RunningGaussians
from adet_core.models.gaussian_levels import GaussianLevels, Level

LEVELS = [
    GaussianLevels((8, 12), (Level(3, 8, 12), Level(4, 4, 6), Level(5, 2, 3))),
    GaussianLevels((8, 12), (Level(3, 8, 12), Level(1, 2, 12))),
    # Layers whose sizes do not divide each other share nothing.
    GaussianLevels((9, 5), (Level(3, 9, 5), Level(4, 9, 5))),
    # No channel of the finest layer was kept.
    GaussianLevels((8, 4), (Level(4, 4, 2), Level(2, 1, 1))),
    GaussianLevels((4, 4), (Level(6, 4, 4),)),
    GaussianLevels((1, 1), (Level(1, 1, 1),)),
]


def _enlarge(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Repeat the last two axes."""
    rows, columns = values.shape[-2:]
    return values.repeat(size[0] // rows, axis=-2).repeat(size[1] // columns, axis=-1)


def _features(levels: GaussianLevels, count: int, seed: int = 0) -> np.ndarray:
    """As PaDiM has them: of each level at its own positions, then repeated; ``(B, C, P)``."""
    rng = np.random.default_rng(seed)
    parts = [
        _enlarge(rng.normal(scale=1 + n % 3, size=(count, n, rows, columns)), levels.size)
        for n, rows, columns in levels.levels
    ]
    # Channels that know nothing of each other would hide a mistake.
    parts = [part + 0.5 * parts[-1][:, :1] for part in parts]
    return (
        np.concatenate(parts, axis=1).reshape(count, -1, np.prod(levels.size)).astype(np.float32)
    )


def _gaussians(levels: GaussianLevels) -> dict[str, np.ndarray]:
    sums = RunningGaussians()
    sums.add(_features(levels, 40))
    return {'mean': sums.mean(), 'inv_covariance': sums.inverse_covariance()}


def _squared(
    levels: GaussianLevels, made: dict[str, np.ndarray], features: np.ndarray
) -> np.ndarray:
    """What the graph does, ``(B, P)``."""
    maps = features.reshape(len(features), -1, *levels.size)
    total = np.zeros((len(features), *levels.size))
    first = 0
    for number, (channels, rows, columns) in enumerate(levels.levels):
        steps = levels.size[0] // rows, levels.size[1] // columns
        own = maps[:, first:, :: steps[0], :: steps[1]].reshape(len(features), -1, rows * columns)
        means = []
        for other in range(number, len(levels.levels)):
            _, *grid = levels.levels[other]
            centre = made[f'centre{other}'].reshape(-1, *grid)
            means.append(_enlarge(centre, (rows, columns)).reshape(-1, rows * columns))
        away = (own - np.concatenate(means)).transpose(2, 0, 1)
        found = ((away @ made[f'root{number}']) ** 2).sum(axis=2).T
        total += _enlarge(found.reshape(-1, rows, columns), levels.size)
        first += channels
    return total.reshape(len(features), -1)


@pytest.mark.parametrize('levels', LEVELS, ids=lambda one: str(one.size))
def test_the_distance_is_that_of_the_whole_inverse_covariance(levels: GaussianLevels) -> None:
    statistics = _gaussians(levels)
    assert {name: array.shape for name, array in statistics.items()} == levels.shapes

    made = levels(statistics)

    assert list(made) == levels.inputs
    assert all(array.dtype == np.float32 for array in made.values())
    assert all(array.flags.c_contiguous for array in made.values())
    features = _features(levels, 5, seed=1)
    away = (features - statistics['mean']).transpose(2, 0, 1).astype(np.float64)
    expected = ((away @ statistics['inv_covariance']) * away).sum(axis=2).T
    np.testing.assert_allclose(_squared(levels, made, features), expected, rtol=1e-3)


def test_little_is_left_to_read() -> None:
    levels = GaussianLevels((16, 16), (Level(14, 16, 16), Level(33, 8, 8), Level(53, 4, 4)))
    statistics = _gaussians(levels)
    made = levels(statistics)
    left = sum(array.size for array in made.values())
    assert left < statistics['inv_covariance'].size / 4


@pytest.mark.parametrize('levels', LEVELS, ids=lambda one: str(one.size))
def test_they_are_read_as_they_were_written(levels: GaussianLevels) -> None:
    parameters = json.loads(json.dumps(levels.parameters))
    assert parameters == levels.parameters
    again = GaussianLevels.load(parameters, levels.constants)
    assert (again.size, again.levels) == (levels.size, levels.levels)


WRONG = [
    {},
    {'size': [8, 8]},
    {'size': [8, 8], 'levels': []},
    {'size': [8, 8], 'levels': 3},
    {'size': [8, 8], 'levels': [3]},
    {'size': [8, 8], 'levels': [[3, 8]]},
    {'size': [8, 8], 'levels': [[3, 3, 8]]},
    {'size': [8, 8], 'levels': [[3, 4, 4], [3, 8, 8]]},
    {'size': [8, 8], 'levels': [[0, 8, 8]]},
    {'size': [8, 8], 'levels': [[-3, 8, 8]]},
    {'size': [8, 8], 'levels': [[3.0, 8, 8]]},
    {'size': [8, 8], 'levels': [[True, 8, 8]]},
    {'size': [0, 8], 'levels': [[3, 8, 8]]},
    {'size': ['a', 8], 'levels': [[3, 8, 8]]},
    {'size': [8], 'levels': [[3, 8, 8]]},
    {'size': 8, 'levels': [[3, 8, 8]]},
    {'size': [8, 8], 'levels': [[3, 8, 8]], 'more': 1},
]


@pytest.mark.parametrize('parameters', WRONG, ids=str)
def test_other_parameters_are_refused(parameters: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r'parameters are|do not divide'):
        GaussianLevels.load(parameters, {})


def test_constants_are_refused() -> None:
    with pytest.raises(ValueError, match='parameters are'):
        GaussianLevels.load(LEVELS[0].parameters, {'basis': np.ones((1, 1), np.float32)})


def test_what_is_no_inverse_covariance_is_refused() -> None:
    levels = LEVELS[0]
    statistics = _gaussians(levels)
    statistics['inv_covariance'][7] *= -1
    with pytest.raises(ValueError, match='not positive definite; deploy the bundle again'):
        levels(statistics)
