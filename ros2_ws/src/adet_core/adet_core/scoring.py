# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""From raw score and anomaly map to what people act on: verdict, normalised score, regions."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

AnomalyMap = npt.NDArray[np.float32]
"""float32 ``(H, W)`` of the graph's size, raw values; larger is more anomalous."""

# More boxes than this is a part that is wrong all over, not a list anybody reads.
MAX_REGIONS = 16


class Region(NamedTuple):
    """An upright box around one connected anomalous area.

    Attributes:
        x: Left edge, in pixels of the source image.
        y: Top edge, in pixels.
        width: In pixels, at least 1.
        height: In pixels, at least 1.
        score: Largest value of the anomaly map inside.
    """

    x: int
    y: int
    width: int
    height: int
    score: float

    def scaled(self, factor: float) -> Region:
        """The box on an image that is so many times as large, at least a pixel in both axes."""
        if factor == 1:
            return self
        x, y = int(self.x * factor), int(self.y * factor)
        right, bottom = (self.x + self.width) * factor, (self.y + self.height) * factor
        return Region(x, y, max(round(right) - x, 1), max(round(bottom) - y, 1), self.score)


def normalise_score(score: float, threshold: float, span: float) -> float:
    """Map a raw score to 0..1 with the threshold at 0.5, as anomalib's post-processor does.

    Args:
        score: Raw score.
        threshold: Raw threshold.
        span: Length of the score range seen at calibration, positive.
    """
    return min(max((score - threshold) / span + 0.5, 0.0), 1.0)


def find_regions(
    anomaly_map: AnomalyMap, threshold: float, image_size: tuple[int, int]
) -> tuple[Region, ...]:
    """Box the connected areas of the map at or above a threshold, the strongest first.

    Args:
        anomaly_map: See `AnomalyMap`.
        threshold: Raw map value.
        image_size: Height and width of the source image, to whose pixels boxes are scaled.

    Returns:
        At most 16 regions.
    """
    mask = (anomaly_map >= threshold).astype(np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    if count == 1:
        return ()
    peaks = np.full(count, -np.inf, np.float32)
    inside = mask > 0
    np.maximum.at(peaks, labels[inside], anomaly_map[inside])
    strongest = np.argsort(-peaks, kind='stable')[: min(count - 1, MAX_REGIONS)]
    rows, columns = anomaly_map.shape
    scale_y, scale_x = image_size[0] / rows, image_size[1] / columns
    return tuple(
        _scaled(stats[index], scale_y, scale_x, float(peaks[index])) for index in strongest
    )


def _scaled(stats: npt.NDArray[np.int32], scale_y: float, scale_x: float, peak: float) -> Region:
    left, top, width, height = (int(value) for value in stats[:4])
    x, y = int(left * scale_x), int(top * scale_y)
    right, bottom = round((left + width) * scale_x), round((top + height) * scale_y)
    return Region(x, y, max(right - x, 1), max(bottom - y, 1), peak)
