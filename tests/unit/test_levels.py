# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""What neighbouring positions share is kept once, and the distance stays the same."""

from __future__ import annotations

import builders
import numpy as np
import onnx
import pytest

from adet_core.errors import BackendError
from adet_core.inference.backend import open_backend
from adet_core.models.gaussian import RunningGaussians
from adet_core.models.levels import Level, Levels, LEVELS_KEY

LEVELS = [
    Levels((8, 12), (Level(3, 8, 12), Level(4, 4, 6), Level(5, 2, 3))),
    Levels((8, 12), (Level(3, 8, 12), Level(1, 2, 12))),
    # Layers whose sizes do not divide each other share nothing.
    Levels((9, 5), (Level(3, 9, 5), Level(4, 9, 5))),
    # No channel of the finest layer was kept.
    Levels((8, 4), (Level(4, 4, 2), Level(2, 1, 1))),
    Levels((4, 4), (Level(6, 4, 4),)),
    Levels((1, 1), (Level(1, 1, 1),)),
]


def _enlarge(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Repeat the last two axes."""
    rows, columns = values.shape[-2:]
    return values.repeat(size[0] // rows, axis=-2).repeat(size[1] // columns, axis=-1)


def _features(levels: Levels, count: int, seed: int = 0) -> np.ndarray:
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


def _gaussians(levels: Levels) -> dict[str, np.ndarray]:
    sums = RunningGaussians()
    sums.add(_features(levels, 40))
    return {'mean': sums.mean(), 'inv_covariance': sums.inverse_covariance()}


def _squared(
    levels: Levels, preprocessed: dict[str, np.ndarray], features: np.ndarray
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
            centre = preprocessed[f'centre{other}'].reshape(-1, *grid)
            means.append(_enlarge(centre, (rows, columns)).reshape(-1, rows * columns))
        away = (own - np.concatenate(means)).transpose(2, 0, 1)
        found = ((away @ preprocessed[f'root{number}']) ** 2).sum(axis=2).T
        total += _enlarge(found.reshape(-1, rows, columns), levels.size)
        first += channels
    return total.reshape(len(features), -1)


@pytest.mark.parametrize('levels', LEVELS, ids=str)
def test_the_distance_is_that_of_the_whole_inverse_covariance(levels: Levels) -> None:
    statistics = _gaussians(levels)
    assert {name: array.shape for name, array in statistics.items()} == levels.shapes

    preprocessed = levels.preprocess(**statistics)

    assert list(preprocessed) == levels.names
    assert all(array.dtype == np.float32 for array in preprocessed.values())
    assert all(array.flags.c_contiguous for array in preprocessed.values())
    features = _features(levels, 5, seed=1)
    away = (features - statistics['mean']).transpose(2, 0, 1).astype(np.float64)
    expected = ((away @ statistics['inv_covariance']) * away).sum(axis=2).T
    np.testing.assert_allclose(_squared(levels, preprocessed, features), expected, rtol=1e-3)


def test_little_is_left_to_read() -> None:
    levels = Levels((16, 16), (Level(14, 16, 16), Level(33, 8, 8), Level(53, 4, 4)))
    statistics = _gaussians(levels)
    preprocessed = levels.preprocess(**statistics)
    left = sum(array.size for array in preprocessed.values())
    assert left < statistics['inv_covariance'].size / 4


@pytest.mark.parametrize('levels', LEVELS, ids=str)
def test_they_are_read_as_they_were_written(levels: Levels) -> None:
    assert Levels.from_json(levels.to_json()) == levels


@pytest.mark.parametrize(
    'text',
    [
        '',
        '?',
        '7',
        '[]',
        '[8, 8]',
        '[8, 8, [3, 8]]',
        '[8, 8, 3]',
        '[8, 8, [3, 3, 8]]',
        '[8, 8, [3, 4, 4], [3, 8, 8]]',
        '[8, 8, [0, 8, 8]]',
        '[8, 8, [-3, 8, 8]]',
        '[8, 8, [3.0, 8, 8]]',
        '[8, 8, [true, 8, 8]]',
        '[0, 8, [3, 8, 8]]',
        '["a", 8, [3, 8, 8]]',
    ],
)
def test_a_graph_that_says_something_else_is_refused(text: str) -> None:
    model = onnx.load_from_string(builders.make_graph())
    model.metadata_props.add(key=LEVELS_KEY, value=text)
    with pytest.raises(BackendError, match='what prepares the statistics: adet_levels is '):
        open_backend('onnxruntime', model.SerializeToString())


def test_what_is_no_inverse_covariance_is_refused() -> None:
    levels = LEVELS[0]
    statistics = _gaussians(levels)
    statistics['inv_covariance'][7] *= -1
    with pytest.raises(BackendError, match='not positive definite; deploy the bundle again'):
        levels.preprocess(**statistics)
