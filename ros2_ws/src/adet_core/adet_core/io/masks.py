# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Where an anomalous image is anomalous, as somebody marked it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from adet_core.errors import DatasetError
from adet_core.io.sources import IMAGE_SUFFIXES, MASKS_FOLDER

Mask = npt.NDArray[np.bool_]
"""bool ``(H, W)``, True where anomalous."""


def find_mask(image: Path) -> Path | None:
    """The mask of an image below ``anomaly``: of the same name, in ``masks`` beside that."""
    # Beside the folder that gave the label: normally labels itself holds both.
    home = next((parent for parent in image.parents if parent.name == 'anomaly'), None)
    if home is None:
        return None
    name = image.relative_to(home).with_suffix('')
    found = (home.parent / MASKS_FOLDER / name.with_suffix(end) for end in sorted(IMAGE_SUFFIXES))
    return next((candidate for candidate in found if candidate.is_file()), None)


def read_mask(path: Path, size: tuple[int, int]) -> Mask:
    """A mask, brought to the size of an anomaly map: any pixel but a black one is anomalous.

    Args:
        path: The mask's file.
        size: Height and width of the result, in pixels.

    Raises:
        DatasetError: It cannot be decoded.
    """
    pixels = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if pixels is None:
        msg = f'{path}: cannot be decoded as a mask'
        raise DatasetError(msg)
    mask = np.asarray(pixels) > 0
    # Area averaging keeps a hairline that nearest-neighbour sampling would step over.
    share: npt.NDArray[np.float32] = cv2.resize(
        mask.astype(np.float32), size[::-1], interpolation=cv2.INTER_AREA
    )
    mostly: Mask = share >= 0.5
    return mostly if mostly.any() else share > 0
