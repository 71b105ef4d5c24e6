# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""From one distance per position to a smooth anomaly map, in OpenCV."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from adet_core.scoring import AnomalyMap

_SIGMA = 4.0


def smooth_map(
    distance: npt.NDArray[np.float32], size: tuple[int, int], interpolation: int
) -> AnomalyMap:
    """Enlarge distances to an anomaly map and blur it with a Gaussian of 4 pixels.

    Args:
        distance: float32 ``(P,)``, row by row, of positions as far apart in rows as in columns.
        size: Rows and columns of the map.
        interpolation: OpenCV's constant, of the enlargement.

    Returns:
        float32, of ``size``.
    """
    height, width = size
    rows = round((len(distance) * height / width) ** 0.5)
    large = cv2.resize(distance.reshape(rows, -1), (width, height), interpolation=interpolation)
    reach = int(4 * _SIGMA + 0.5)
    kernel = cv2.getGaussianKernel(2 * reach + 1, _SIGMA)
    smooth = cv2.sepFilter2D(large, -1, kernel, kernel, borderType=cv2.BORDER_REFLECT_101)
    return np.asarray(smooth, np.float32)
