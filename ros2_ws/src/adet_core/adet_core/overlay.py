# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The image with its anomaly map laid over it, for people."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from adet_core.image import ImageArray
from adet_core.scoring import AnomalyMap, Region

MASK_BGR = (255, 0, 255)
"""Of the outline of a true mask: magenta, which no colour of a map is."""

_BOX_BGR = (0, 0, 255)
_TEXT_BGR, _EDGE_BGR = (255, 255, 255), (0, 0, 0)
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_SMALLEST_FONT = 0.3
# Level of the map from which it shows through, where the pixel threshold is 0.5.
_FAINTEST = np.float32(0.35)
# Share of the image below which a region is noise to the eye.
_SMALLEST_REGION = 0.0002
# Edges of the strip above an image, in pixels.
_STRIP, _BAR = 24, 96


def draw_overlay(
    image: ImageArray,
    anomaly_map: AnomalyMap,
    regions: Sequence[Region],
    *,
    threshold: float,
    span: float,
    caption: str = '',
) -> ImageArray:
    """Lay the map over the image and box the regions.

    The map shows through only where it nears the pixel threshold, so a good part looks like
    itself, and equal colours mean equal values on every image.

    Args:
        image: uint8 ``(H, W, 3)``, BGR; it is not changed.
        anomaly_map: Raw values, any size.
        regions: Boxes in the image's pixels.
        threshold: Raw map value; the middle of the colour scale.
        span: Length of the score range, as for `adet_core.scoring.normalise_score`.
        caption: ASCII, at the lower edge; left out where the image is too small to read it.

    Returns:
        uint8 ``(H, W, 3)``, BGR.
    """
    height, width = image.shape[:2]
    level = np.clip((anomaly_map - threshold) / span + 0.5, 0, 1).astype(np.float32)
    level = np.asarray(cv2.resize(level, (width, height), interpolation=cv2.INTER_LINEAR))
    drawn: ImageArray = image.copy()
    if (box := _box_of(level > _FAINTEST)) is not None:
        drawn[box] = _blend(image[box], level[box])
    thickness = max(1, round(min(height, width) / 200))
    for region in regions:
        corner = (region.x + region.width - 1, region.y + region.height - 1)
        cv2.rectangle(drawn, (region.x, region.y), corner, _BOX_BGR, thickness)
    if caption:
        _write(drawn, caption)
    return drawn


def _box_of(shown: npt.NDArray[np.bool_]) -> tuple[slice, slice] | None:
    """Rows and columns that hold all that is shown; None if nothing is, as on most good parts."""
    rows, columns = (np.flatnonzero(shown.any(axis=axis)) for axis in (1, 0))
    if not rows.size:
        return None
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def _blend(image: ImageArray, level: AnomalyMap) -> ImageArray:
    """Lay the colours of a map of levels, 0 to 1, over an image of its size."""
    colours = cv2.applyColorMap((level * 255).astype(np.uint8), cv2.COLORMAP_TURBO)
    opacity = (np.clip((level - _FAINTEST) / 0.3, 0, 1) * 0.6)[..., None]
    blended: ImageArray = np.rint(image * (1 - opacity) + colours * opacity).astype(np.uint8)
    return blended


def _write(image: ImageArray, text: str) -> None:
    """Write a line at the lower left, light on a dark box, as large as fits."""
    height, width = image.shape[:2]
    (length, _), _ = cv2.getTextSize(text, _FONT, 1.0, 1)
    scale = min(height / 480, 0.9 * width / length)
    if scale < _SMALLEST_FONT:
        return
    thickness = max(1, round(scale))
    # From OpenCV 5 on, a thicker text is wider: an outline would not lie under it.
    (length, above), below = cv2.getTextSize(text, _FONT, scale, thickness)
    margin = 1 + round(4 * scale)
    x, y = margin, height - below - margin
    corner = (x + length + margin, height)
    cv2.rectangle(image, (0, y - above - margin), corner, _EDGE_BGR, cv2.FILLED)
    cv2.putText(image, text, (x, y), _FONT, scale, _TEXT_BGR, thickness, cv2.LINE_AA)


def shown_regions(
    regions: Sequence[Region], image_size: tuple[int, int], *, is_anomalous: bool
) -> list[Region]:
    """The regions worth a box for people.

    None on an image whose verdict is normal, and none smaller than 1 in 5000 of the image, unless
    all are.

    Args:
        regions: The strongest first.
        image_size: Height and width of the image.
        is_anomalous: The verdict of the image.
    """
    if not is_anomalous:
        return []
    least = _SMALLEST_REGION * image_size[0] * image_size[1]
    return [one for one in regions if one.width * one.height >= least] or list(regions[:1])


def add_strip(image: ImageArray, text: str) -> ImageArray:
    """Put a line of text and the colour scale above an image.

    Args:
        image: uint8 ``(H, W, 3)``, BGR.
        text: ASCII; cut where the image is too narrow.

    Returns:
        uint8 ``(H + 24, W, 3)``, BGR. The scale goes from half a score range below the pixel
        threshold to half of one above; its middle is the threshold.
    """
    width = image.shape[1]
    strip = np.zeros((_STRIP, width, 3), np.uint8)
    bar = min(_BAR, width // 4)
    levels = np.tile(np.linspace(0, 255, bar).astype(np.uint8), (_STRIP // 2, 1))
    strip[_STRIP // 4 : _STRIP // 4 + _STRIP // 2, width - bar :] = cv2.applyColorMap(
        levels, cv2.COLORMAP_TURBO
    )
    strip[:, width - bar // 2] = _TEXT_BGR
    room = width - bar - 8
    (length, _), _ = cv2.getTextSize(text, _FONT, 1.0, 1)
    scale = max(_SMALLEST_FONT, min(0.45, room / length))
    cv2.putText(strip, text, (4, 16), _FONT, scale, _TEXT_BGR, 1, cv2.LINE_AA)
    strip[:, room + 4 : width - bar] = _EDGE_BGR
    return np.vstack([strip, image])
