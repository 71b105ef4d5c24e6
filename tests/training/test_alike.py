# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Held-out images that are no test of the fitted ones; and changes that good parts undergo."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from adet_core.image import ImageArray
from adet_core.io.labelled import LabelledImage
from adet_training.adapter import FitData
from adet_training.alike import guess_groups, same_shots, warn_of_alike
from adet_training.changes import CHANGES
from adet_training.hold_out import hold_out

pytestmark = pytest.mark.training

SIZE = 96


def part(seed: int) -> ImageArray:
    """A smooth pattern on what all parts share."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(60, 180, (6, 6, 3))
    return np.kron(coarse, np.ones((SIZE // 6, SIZE // 6, 1))).astype(np.uint8)


def images(names: Sequence[str], pixels: ImageArray | None = None) -> list[LabelledImage]:
    return [
        LabelledImage(Path(name), part(number) if pixels is None else pixels)
        for number, name in enumerate(names)
    ]


@pytest.mark.parametrize(
    ('names', 'proposed'),
    [
        ([f'item{n}_{k}.png' for n in range(8) for k in range(4)], '^(.+)[-_ ]'),
        ([f'{n:05}-cam{k}.png' for n in range(20) for k in range(2)], '^(.+)[-_ ]'),
        ([f'{n}/{k}.png' for n in range(8) for k in range(4)], 'folder'),
        # A number that counts on, and names without a separator.
        ([f'good_{n:04}.png' for n in range(40)], ''),
        ([f'cell{n}.png' for n in range(40)], ''),
        # A few days or cameras; single images among few pairs.
        ([f'2026112{day}_{n}.png' for day in range(6) for n in range(30)], ''),
        ([f'item{n}_0.png' for n in range(30)] + ['item0_1.png'], ''),
    ],
)
def test_groups_are_guessed_from_names_and_folders(names: list[str], proposed: str) -> None:
    found = images(names)
    assert guess_groups(found) == proposed
    if proposed:
        # What is proposed works.
        fit, held_out = hold_out(found, 0.25, 0, group_by=proposed)
        assert fit
        items = [{str(one.path)[:5] for one in side} for side in (fit, held_out)]
        assert not items[0] & items[1]


def test_a_second_shot_is_recognised_whatever_its_exposure() -> None:
    fit = images([f'{n}.png' for n in range(20)])
    noise = np.random.default_rng(5).normal(0, 3, (SIZE, SIZE, 3))
    again = LabelledImage(
        Path('again.png'), np.clip(part(3) * 1.2 + noise, 0, 255).astype('uint8')
    )
    other = LabelledImage(Path('other.png'), part(99))
    assert same_shots(fit, [again, other]) == [(again, fit[3])]


def test_what_makes_a_promise_doubtful_is_told_with_the_remedy() -> None:
    fit = images([f'item{n}_0.png' for n in range(20)])
    held_out = images([f'item{n}_1.png' for n in range(18)])
    grouped, alike = warn_of_alike(FitData(fit, [*held_out, *images(['x_1.png', 'y_1.png'])]), '')
    assert "--set 'group_by=^(.+)[-_ ]'" in grouped
    # The last two look like the first two of the others, as they are drawn alike.
    assert alike.startswith(
        '20 of 20 held-out images look like the same shot as a fitted one (item0_1'
    )
    assert 'held_out_by=last' in alike
    (only,) = warn_of_alike(FitData(fit, held_out), '^(.+)_')
    assert only.startswith('18 of 18')
    others = [LabelledImage(Path(f'other{n}.png'), part(50 + n)) for n in range(9)]
    assert warn_of_alike(FitData(images([f'a{n}.png' for n in range(20)]), others), '') == []
    assert warn_of_alike(FitData(fit), '') == []


def test_changes_are_what_they_are_called() -> None:
    image = part(1)
    changed = {name: change(image) for name, change in CHANGES.items()}
    for found in changed.values():
        assert (found.shape, found.dtype) == (image.shape, np.uint8)
        assert (found != image).any()
    assert changed['brighter'].mean() == pytest.approx(image.mean() * 1.15, rel=0.01)
    assert changed['darker'].mean() == pytest.approx(image.mean() * 0.85, rel=0.01)
    np.testing.assert_array_equal(changed['shift'][3:, 3:], image[:-3, :-3])
    steps = [np.abs(np.diff(one.astype(int), axis=1)).max() for one in (image, changed['blur'])]
    assert steps[1] < steps[0]
    assert np.abs(changed['jpeg'].astype(int) - image).mean() < 10
    assert CHANGES['brighter'](np.full((2, 2, 3), 250, np.uint8)).max() == 255
