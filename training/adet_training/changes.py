# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Changes of light, lens and transport that no good part should be rejected for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import cv2
import numpy as np

from adet_core.image import ImageArray
from adet_core.io.labelled import LabelledImage

_LIGHT = 0.15
_BLUR_PIXELS = 1.0
_SHIFT_PIXELS = 3
_JPEG_QUALITY = 60


def _times(factor: float) -> Callable[[ImageArray], ImageArray]:
    def change(image: ImageArray) -> ImageArray:
        return np.clip(image * np.float32(factor) + 0.5, 0, 255).astype(np.uint8)

    return change


def _blurred(image: ImageArray) -> ImageArray:
    blurred: ImageArray = cv2.GaussianBlur(image, (0, 0), _BLUR_PIXELS)
    return blurred


def _shifted(image: ImageArray) -> ImageArray:
    """What enters at the left and at the top is the mirrored edge."""
    move = np.array([[1, 0, _SHIFT_PIXELS], [0, 1, _SHIFT_PIXELS]], np.float32)
    size = (image.shape[1], image.shape[0])
    shifted: ImageArray = cv2.warpAffine(image, move, size, borderMode=cv2.BORDER_REFLECT)
    return shifted


def _compressed(image: ImageArray) -> ImageArray:
    _, data = cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    decoded = cv2.imdecode(data, cv2.IMREAD_COLOR)
    assert decoded is not None
    return np.asarray(decoded, np.uint8)


CHANGES: Mapping[str, Callable[[ImageArray], ImageArray]] = {
    'brighter': _times(1 + _LIGHT),
    'darker': _times(1 - _LIGHT),
    'blur': _blurred,
    'shift': _shifted,
    'jpeg': _compressed,
}
"""By name, what makes a changed copy of an image, uint8 ``(H, W, 3)``, any order of channels."""


class Changed(Sequence[ImageArray]):
    """Changed copies of images, each made when it is asked for: all of them may be gigabytes."""

    def __init__(
        self, images: Sequence[LabelledImage], change: Callable[[ImageArray], ImageArray]
    ) -> None:
        """Args: the images, and one of `CHANGES`."""
        self._images, self._change = images, change

    def __len__(self) -> int:
        """How many there are."""
        return len(self._images)

    def __getitem__(self, index: Any) -> Any:
        """Change one."""
        return self._change(self._images[index].pixels)
