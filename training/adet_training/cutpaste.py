# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Defects made up from good parts, to compare settings by where there are no real ones.

Li, Sohn, Yoon, Pfister: CutPaste, Self-Supervised Learning for Anomaly Detection and Localization,
CVPR 2021, https://arxiv.org/abs/2104.04015
"""

from __future__ import annotations

import numpy as np

from adet_core.image import ImageArray

# The paper's: a patch of this share of the image, or a scar of these shares of its edge.
_PATCH_AREA = (0.02, 0.15)
_SCAR_WIDTH, _SCAR_LENGTH = (0.01, 0.06), (0.05, 0.12)
_ASPECT = (0.3, 3.3)
_JITTER = 0.1


def cut_paste(image: ImageArray, rng: np.random.Generator) -> ImageArray:
    """Copy a piece of an image to another place in it, a little brighter or darker.

    Args:
        image: uint8 ``(H, W, 3)``; left as it is.
        rng: Where, and how large: a patch or a thin scar, one as likely as the other.

    Returns:
        uint8 ``(H, W, 3)``.
    """
    height, width = image.shape[:2]
    if rng.random() < 0.5:
        area, aspect = rng.uniform(*_PATCH_AREA), np.exp(rng.uniform(*np.log(_ASPECT)))
        rows, columns = np.sqrt(area / aspect), np.sqrt(area * aspect)
    else:
        rows, columns = rng.permutation([rng.uniform(*_SCAR_WIDTH), rng.uniform(*_SCAR_LENGTH)])
    tall = int(np.clip(rows * height, 1, height))
    wide = int(np.clip(columns * width, 1, width))
    (top, to_top), (left, to_left) = (
        rng.integers(0, edge - length + 1, 2) for edge, length in ((height, tall), (width, wide))
    )
    piece = image[top : top + tall, left : left + wide].astype(np.float32)
    piece *= rng.uniform(1 - _JITTER, 1 + _JITTER, 3)
    pasted: ImageArray = image.copy()
    pasted[to_top : to_top + tall, to_left : to_left + wide] = np.clip(piece, 0, 255)
    return pasted
