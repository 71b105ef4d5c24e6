# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Whether held-out images are too much like fitted ones for what is promised from them.

A threshold is promised for good parts that are no more like the fitted ones than the held-out
ones are. Several images of one item, or of one second, must not stand on both sides.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
import re

import cv2
import numpy as np
import numpy.typing as npt

from adet_core.io.labelled import LabelledImage
from adet_training.adapter import FitData
from adet_training.dataset import THUMBNAIL
from adet_training.hold_out import FOLDER

# What a name says before its last separator, e.g. item7 of item7_2.png.
_BEFORE_LAST = '^(.+)[-_ ]'
_FEWEST_GROUPS, _LARGEST_GROUP = 5, 12
_MOST = 0.8
# Measured at this size: several exposures of one part correlate above 0.98, different parts of
# MVTec transistor and hazelnut up to 0.8, of ELPV up to 0.983, drawn ones up to 0.9.
_SAME_SHOT = 0.98
_NOTED = 0.05


def warn_of_alike(to_learn: FitData, group_by: str) -> list[str]:
    """Why a held-out image may be no test of a fitted one, one line each, with the remedy.

    Args:
        to_learn: Images to fit and images held out.
        group_by: As it was given.
    """
    if not to_learn.held_out:
        return []
    proposed = '' if group_by else guess_groups([*to_learn.fit, *to_learn.held_out])
    lines = []
    if proposed:
        lines.append(
            'the names look as if there were several images of an item; hold out whole items with '
            f"--set 'group_by={proposed}', or the threshold may reject more than promised"
        )
    shots = same_shots(to_learn.fit, to_learn.held_out)
    if len(shots) > _NOTED * len(to_learn.held_out):
        (held_out, fitted), count = shots[0], len(to_learn.held_out)
        lines.append(
            f'{len(shots)} of {count} held-out images look like the same shot as a fitted one '
            f'({held_out.path.name} like {fitted.path.name}): parts of another minute may be '
            'rejected more often than promised; try --set held_out_by=last, or group_by'
        )
    return lines


def guess_groups(images: Sequence[LabelledImage]) -> str:
    """A value of ``group_by`` that names or folders suggest; empty if they suggest none.

    It has to find at least five groups, hardly one of them of a single image, and none of more
    than twelve: a number that counts on, or a few days, are no items.
    """
    folders = Counter(str(image.path.parent) for image in images)
    if _are_items(folders):
        return FOLDER
    found = [re.search(_BEFORE_LAST, image.path.name) for image in images]
    if all(found) and _are_items(Counter(match[1] for match in found if match)):
        return _BEFORE_LAST
    return ''


def _are_items(groups: Counter[str]) -> bool:
    several = sum(size for size in groups.values() if size > 1)
    enough = len(groups) >= _FEWEST_GROUPS and max(groups.values()) <= _LARGEST_GROUP
    return enough and several >= _MOST * sum(groups.values())


def same_shots(
    fit: Sequence[LabelledImage], held_out: Sequence[LabelledImage]
) -> list[tuple[LabelledImage, LabelledImage]]:
    """Held-out images, each with the fitted one that it seems to be a second shot of.

    What all images have in common says nothing, so their mean is subtracted; what is left
    correlates within shots of one part, whatever their exposure.
    """
    small = np.stack([_small(image) for image in (*fit, *held_out)])
    left = small - small.mean(axis=0)
    left /= np.maximum(np.linalg.norm(left, axis=1, keepdims=True), 1e-6)
    alike = left[len(fit) :] @ left[: len(fit)].T
    nearest = alike.argmax(axis=1)
    return [
        (image, fit[index])
        for image, index, row in zip(held_out, nearest.tolist(), alike, strict=True)
        if row[index] > _SAME_SHOT
    ]


def _small(image: LabelledImage) -> npt.NDArray[np.float32]:
    grey = cv2.cvtColor(image.pixels, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, THUMBNAIL, interpolation=cv2.INTER_AREA).astype(np.float32).ravel()
    small -= small.mean()
    scaled: npt.NDArray[np.float32] = small / max(float(small.std()), 1e-6)
    return scaled
