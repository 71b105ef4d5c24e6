# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import numpy as np
import pytest

from adet_training.cutpaste import cut_paste

pytestmark = pytest.mark.training


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
