# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""A look at a category before it is trained: sizes of images and defects, and how parts lie."""

from __future__ import annotations

from collections.abc import Sequence
import math
from pathlib import Path

import cv2
import numpy as np

from adet_core.errors import ImageError
from adet_core.geometry import Mask
from adet_core.image import Image, preprocess, read_image
from adet_core.image.alignment import AlignmentError, learn_reference
from adet_core.io.folders import LABELS
from adet_core.io.masks import Masks
from adet_core.progress import ProgressCallback, silent
from adet_training.category import list_category
from adet_training.layout import some
from adet_training.proposal import Facts, OFF, SHIFT, TURN

# Images and masks that are read at most: enough for a proposal, and quick.
_IMAGES, _MASKS = 12, 40
# Proportions that differ by less are the same: a pixel is left to rounding.
_ALIKE = 0.01
# Aligned images are as similar as this, and of what unaligned ones lack no more than this is left.
_SIMILAR, _LEFT = 0.8, 0.5
# Turns in degrees that a shift may have, too; and shifts that no alignment is needed for, as a
# share of the longer side.
_LITTLE, _NEAR = 10, 0.02


def survey(data_root: Path, category: str, *, progress: ProgressCallback = silent) -> Facts:
    """Look at some images of a category, and at their masks where there are any.

    Raises:
        adet_core.errors.DatasetError: There are no images of the category.
    """
    labels = list_category(data_root, category)
    normal = some([path for path, label in labels.items() if label != LABELS[1]], _IMAGES)
    images = []
    for number, path in enumerate(normal):
        progress('looking at the images', number, len(normal))
        try:
            images.append(read_image(path))
        except ImageError:
            # The training itself says which images it skips.
            continue
    defects = defect_extents([path for path, label in labels.items() if label == LABELS[1]])
    progress('looking at the images', len(normal), len(normal))
    return describe(images, defects)


def describe(images: Sequence[Image], defects: Sequence[float]) -> Facts:
    """What images and the extents of defects say."""
    sizes = np.array([image.size for image in images])
    proportions = sizes[:, 1] / sizes[:, 0]
    has_one_shape = bool(np.ptp(proportions) <= _ALIKE * proportions.mean())
    height, width = (int(edge) for edge in np.median(sizes, axis=0))
    align = how_parts_lie(images) if has_one_shape else OFF
    if align != OFF:
        height, width = learn_reference(images, is_turned=align == TURN).size
    return Facts(
        width=width,
        height=height,
        has_one_shape=has_one_shape,
        align=align,
        defects=tuple(defects),
    )


def how_parts_lie(images: Sequence[Image]) -> str:
    """`TURN`, `SHIFT`, or `OFF` where alignment makes images no more alike than they are."""
    try:
        reference = learn_reference(images, is_turned=True)
        found = [reference.align(image) for image in images]
    except AlignmentError:
        return OFF
    similarity = float(np.median([one.similarity for one in found]))
    if similarity < _SIMILAR or 1 - similarity > _LEFT * (1 - _unaligned(images)):
        return OFF
    turns = np.array([complex(one.matrix[0, 0], one.matrix[1, 0]) for one in found])
    if np.abs(np.angle(turns / turns.mean(), deg=True)).max() > _LITTLE:
        return TURN
    # Where the middle of the part lies in each image.
    middle = np.array([reference.size[1] / 2, reference.size[0] / 2, 1])
    places = np.array([one.inverse @ middle for one in found])
    away = np.abs(places - np.median(places, axis=0)).max()
    return SHIFT if away > _NEAR * max(images[0].size) else OFF


def _unaligned(images: Sequence[Image]) -> float:
    """Median correlation of images, as they are, with their mean."""
    small = np.stack([preprocess(image, (64, 64)).mean(axis=2).ravel() for image in images])
    mean = small.mean(axis=0)
    return float(np.median([np.corrcoef(one, mean)[0, 1] for one in small]))


def defect_extents(anomalies: Sequence[Path]) -> list[float]:
    """Extents of the largest defect that each mask shows, in pixels of the images."""
    masks, extents = Masks(), []
    masked = [path for path in anomalies if masks.find(path) is not None]
    for path in some(masked, _MASKS):
        try:
            height, width = read_image(path).size
        except ImageError:
            continue
        mask = masks.read(path, (height, width), (height, width))
        if mask is not None and mask.any():
            extents.append(extent(mask))
    return extents


def extent(mask: Mask) -> float:
    """Of the largest region: the longer side of its box, shortened where it is thin.

    A hairline covers few pixels of a network's input however long it is: its extent is the edge
    of a square of three times its area.
    """
    _, _, regions, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    largest = regions[1:][regions[1:, cv2.CC_STAT_AREA].argmax()]
    side = max(largest[cv2.CC_STAT_WIDTH], largest[cv2.CC_STAT_HEIGHT])
    return min(float(side), math.sqrt(3 * float(largest[cv2.CC_STAT_AREA])))
