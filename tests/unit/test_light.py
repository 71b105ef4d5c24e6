# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""One gain per image against a drift of brightness."""

from __future__ import annotations

import numpy as np
import pytest

from adet_core.image.light import learn_light, measure_light, normalise_light
from adet_synth import draw_anomalous, draw_normal


def test_brightness_is_a_trimmed_mean() -> None:
    grey = np.arange(100, dtype=np.uint8).repeat(3).reshape(10, 10, 3)
    assert measure_light(grey) == pytest.approx(np.arange(10, 90).mean())
    # Neither a reflection nor a hole of a twentieth of the image matters much.
    spoiled = grey.copy()
    spoiled[0, :5], spoiled[9, 5:] = 255, 0
    assert measure_light(spoiled) == pytest.approx(measure_light(grey), abs=1)
    assert measure_light(np.full((4, 4, 3), 7, np.uint8)) == 7


@pytest.mark.parametrize('factor', [0.7, 0.85, 1.15])
def test_a_drift_is_undone(factor: float) -> None:
    image = draw_normal((0, 0, 0), 128)
    level = learn_light([image])
    changed = np.clip(np.rint(image * factor), 0, 255).astype(np.uint8)
    restored = normalise_light(changed, level)
    before = np.abs(changed.astype(int) - image).mean()
    after = np.abs(restored.astype(int) - image).mean()
    assert after < 0.12 * before
    assert np.array_equal(normalise_light(image, level), image)


def test_a_defect_hardly_changes_the_gain() -> None:
    for index, defect in enumerate(('stain', 'missing', 'dent')):
        bad = draw_anomalous((1, 2, index), 128, defect)
        assert measure_light(bad.image) == pytest.approx(measure_light(bad.flawless), rel=0.02)


def test_the_gain_has_limits() -> None:
    dark = np.full((8, 8, 3), 10, np.uint8)
    assert normalise_light(dark, 200).max() == 20
    assert normalise_light(np.zeros_like(dark), 200).max() == 0
    assert normalise_light(np.full_like(dark, 250), 20).max() == 125


def test_the_usual_light_is_that_of_most_images() -> None:
    images = [np.full((4, 4, 3), level, np.uint8) for level in (50, 60, 250)]
    assert learn_light(images) == 60
    with pytest.raises(ValueError, match='at least one'):
        learn_light([])
