# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Normalisation against a drift of brightness: one gain per image."""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np

from adet_core.image.pixels import ImageArray

# Share of the pixels that count on neither end: reflections and holes come and go.
_TRIMMED = 0.1
# A gain beyond these makes up an image out of noise, or hides a lamp that has failed.
_LEAST_GAIN, _MOST_GAIN = 0.5, 2.0


def measure_light(pixels: ImageArray) -> float:
    """How bright an image is: the mean of its grey levels without the darkest and the brightest.

    Args:
        pixels: uint8 ``(H, W, 3)``, RGB.

    Returns:
        0 to 255.
    """
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    counts = cv2.calcHist([grey], [0], None, [256], [0, 256]).ravel().astype(np.float64)
    # How many pixels of each level lie between the two ends.
    ends = np.array([_TRIMMED, 1 - _TRIMMED]) * counts.sum()
    below = np.clip(np.concatenate([[0.0], np.cumsum(counts)]), *ends)
    return float(np.average(np.arange(256), weights=np.diff(below)))


def learn_light(images: Iterable[ImageArray]) -> float:
    """The usual brightness of normal images: the median.

    Raises:
        ValueError: There are no images.
    """
    levels = [measure_light(pixels) for pixels in images]
    if not levels:
        msg = 'the usual brightness needs at least one image'
        raise ValueError(msg)
    return float(np.median(levels))


def normalise_light(pixels: ImageArray, level: float) -> ImageArray:
    """An image as it would be under the usual light; the gain is 0.5 to 2.

    Args:
        pixels: uint8 ``(H, W, 3)``, RGB; not changed.
        level: The usual brightness, as `learn_light` finds it.
    """
    gain = np.clip(level / max(measure_light(pixels), 1e-3), _LEAST_GAIN, _MOST_GAIN)
    levels = np.clip(np.rint(np.arange(256) * gain), 0, 255).astype(np.uint8)
    normalised: ImageArray = cv2.LUT(pixels, levels)
    return normalised
