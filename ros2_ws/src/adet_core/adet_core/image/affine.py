# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Images that are turned, shifted and scaled: matrices of the middles of pixels."""

from __future__ import annotations

from collections.abc import Sequence
import math
from typing import Any, TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from adet_core.image.pixels import Image, ImageArray
from adet_core.image.preprocess import preprocess

Matrix = npt.NDArray[np.float64]
"""``(2, 3)``, from one image's pixels ``(x, y)`` to another's; middles are whole numbers."""

Pixels = TypeVar('Pixels', bound=npt.NDArray[Any])


def warp(
    pixels: Pixels, matrix: Matrix, size: Sequence[int], *, outside: float | None = None
) -> Pixels:
    """Move an image.

    Args:
        pixels: ``(h, w)`` or ``(h, w, C)``.
        matrix: From its pixels to those of the result.
        size: Height and width of the result.
        outside: Value where the image does not reach; None: its border is repeated.
    """
    moved: Pixels = cv2.warpAffine(
        pixels,
        matrix,
        (int(size[1]), int(size[0])),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE if outside is None else cv2.BORDER_CONSTANT,
        borderValue=(outside or 0.0,) * 4,
    )
    return moved


def warp_image(
    image: Image,
    matrix: Matrix,
    size: tuple[int, int],
    *,
    float_range: tuple[float, float] = (0.0, 1.0),
) -> ImageArray:
    """Move an image of any encoding; where it shrinks, its pixels are averaged first.

    Args:
        image: It is not changed.
        matrix: From its pixels to those of the result.
        size: Height and width of the result.
        float_range: See `adet_core.image.preprocess`.

    Returns:
        uint8 ``(height, width, 3)``, RGB.

    Raises:
        ImageError: As `adet_core.image.preprocess`.
    """
    # Interpolation between four neighbours is exact down to half the size.
    factor = min(2 * magnification(matrix), 1.0)
    shape = max(round(image.size[0] * factor), 1), max(round(image.size[1] * factor), 1)
    pixels = preprocess(image, shape, float_range=float_range)
    return warp(pixels, chain(rescale(shape, image.size), matrix), size)


def chain(*matrices: Matrix) -> Matrix:
    """One after another, the first one first."""
    whole = np.eye(3)
    for matrix in matrices:
        whole = np.vstack([matrix, (0.0, 0.0, 1.0)]) @ whole
    return whole[:2]


def invert(matrix: Matrix) -> Matrix:
    """The way back."""
    return np.asarray(cv2.invertAffineTransform(np.asarray(matrix, np.float64)), np.float64)


def rescale(size: Sequence[int], to: Sequence[int]) -> Matrix:
    """The matrix that stretches an image of one height and width to another."""
    down, across = to[0] / size[0], to[1] / size[1]
    return np.array([[across, 0, (across - 1) / 2], [0, down, (down - 1) / 2]])


def magnification(matrix: Matrix) -> float:
    """Pixels of the result across one pixel of the image: the mean of both axes."""
    return math.sqrt(abs(float(np.linalg.det(matrix[:, :2]))))
