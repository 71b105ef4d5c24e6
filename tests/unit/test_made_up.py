# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Made-up defects: where they lie, how strong they are, and that a file cannot misplace them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import builders
import numpy as np
import pytest

from adet_core.bundle import Bundle, MADE_UP_FILE
from adet_core.errors import BundleError
from adet_core.made_up import cut_paste, draw_defects, MadeUpDefects, PER_STRENGTH, STRENGTHS


@pytest.mark.parametrize('size', [(64, 64), (40, 90), (8, 8), (256, 200)])
def test_a_piece_of_the_image_lies_somewhere_else(size: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    before = image.copy()
    shares = []
    for seed in range(40):
        pasted = cut_paste(image, np.random.default_rng(seed))
        assert pasted.dtype == np.uint8
        assert pasted.shape == image.shape
        rows, columns = np.nonzero((pasted != image).any(axis=2))
        shares.append(len(rows) / (size[0] * size[1]))
        if len(rows):
            box = (np.ptp(rows) + 1) * (np.ptp(columns) + 1)
            # One rectangle, and all of it: by chance some pixels are as before.
            assert len(rows) >= 0.5 * box
    np.testing.assert_array_equal(image, before)
    assert np.mean(np.array(shares) > 0) > 0.8
    assert max(shares) < 0.2


def test_the_same_seed_pastes_the_same() -> None:
    image = np.random.default_rng(1).integers(0, 256, (32, 32, 3), np.uint8)
    one, two, other = (cut_paste(image, np.random.default_rng(seed)) for seed in (5, 5, 6))
    np.testing.assert_array_equal(one, two)
    assert (one != other).any()


SIZE = (40, 60)


def _normals(count: int = 4) -> np.ndarray:
    return np.random.default_rng(2).integers(60, 120, (count, *SIZE, 3), np.uint8)


def test_every_normal_image_gets_defects_of_every_strength() -> None:
    normals = _normals()
    defects = draw_defects(len(normals), SIZE)
    defects.check(len(normals), SIZE)
    assert len(defects.normal) == 4 * len(STRENGTHS) * PER_STRENGTH
    change: dict[int, list[float]] = {number: [] for number in range(len(STRENGTHS))}
    for index, (normal, strength) in enumerate(zip(defects.normal, defects.strength, strict=True)):
        pasted = defects.pasted(normals, index)
        inside = (pasted != normals[normal]).any(axis=2)
        assert 0 < inside.mean() < 0.2
        far = np.abs(pasted.astype(int) - normals[normal])[inside].mean()
        change[int(strength)].append(far)
    means = [np.mean(values) for values in change.values()]
    assert means == sorted(means)
    assert means[-1] > means[0] + 10
    grouped = defects.by_strength(np.arange(len(defects.normal), dtype=np.float32)[::-1])
    assert list(grouped) == list(STRENGTHS)
    assert all(values == tuple(sorted(values)) for values in grouped.values())
    assert sum(map(len, grouped.values())) == len(defects.normal)


def test_the_same_seed_draws_the_same_defects() -> None:
    one, two, other = (draw_defects(3, SIZE, seed=seed) for seed in (0, 0, 1))
    assert all(np.array_equal(*pair) for pair in zip(one, two, strict=True))
    assert not np.array_equal(one.box, other.box)
    assert len(draw_defects(0, SIZE).normal) == 0


@pytest.mark.parametrize(
    ('name', 'value', 'reason'),
    [
        ('normal', 4, 'lies outside 4 images of 40 x 60 pixels'),
        ('strength', 3, 'lies outside'),
        ('box', -1, 'lies outside'),
        ('box', 100, 'lies outside'),
        ('box', np.iinfo(np.int32).max, 'lies outside'),
        ('gain', np.nan, 'lies outside'),
    ],
)
def test_what_cannot_be_pasted_is_refused(name: str, value: Any, reason: str) -> None:
    defects = draw_defects(4, SIZE)
    array = getattr(defects, name).copy()
    array[5] = value
    with pytest.raises(ValueError, match=reason):
        defects._replace(**{name: array}).check(4, SIZE)
    with pytest.raises(ValueError, match=f"array '{name}' is float64"):
        defects._replace(**{name: array.astype(float)}).check(4, SIZE)


# ---- in a bundle


def _bundle(folder: Path, defects: MadeUpDefects | None) -> Bundle:
    normals = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), np.uint8)
    arrays = {MADE_UP_FILE: defects._asdict()} if defects else {}
    return builders.make_bundle(folder, normals=normals, more=arrays)


def test_a_bundle_gives_the_defects_of_its_training(tmp_path: Path) -> None:
    drawn = draw_defects(2, (64, 64), seed=7)
    found = _bundle(tmp_path / 'own', drawn).made_up()
    assert all(np.array_equal(*pair) for pair in zip(found, drawn, strict=True))
    # One that was trained before gets those of the first seed.
    old = _bundle(tmp_path / 'old', None).made_up()
    np.testing.assert_array_equal(old.box, draw_defects(2, (64, 64)).box)


def test_defects_that_do_not_fit_the_bundle_are_refused(tmp_path: Path) -> None:
    bundle = _bundle(tmp_path / 'PaDiM', draw_defects(3, (64, 64)))
    with pytest.raises(BundleError, match=r'made_up\.npz: a made-up defect lies outside 2 images'):
        bundle.made_up()
