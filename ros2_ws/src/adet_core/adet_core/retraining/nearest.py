# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Marked images that are still rejected after they were learned, and what they are like."""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np
import numpy.typing as npt

from adet_core.folder import readable_name
from adet_core.image import ImageArray
from adet_core.retraining.images import CollectedImages

_SIZE = (32, 32)
# More names than this nobody reads in one message.
_MOST_NAMED = 3


def still_rejected(
    collected: CollectedImages, scores: npt.NDArray[np.float32], threshold: float
) -> list[str]:
    """One line for each marked image that learning it did not suffice for, and what to do.

    Args:
        collected: The images of the retraining.
        scores: Of its marked images under the new set, raw, float32 ``(N,)``.
        threshold: The new image threshold, raw.
    """
    marked = zip(collected.marked, scores.tolist(), strict=True)
    rejected = [(image, score) for image, score in marked if score >= threshold]
    if not rejected:
        return []
    normals = _by_name(collected)
    lines = []
    for image, score in rejected[:_MOST_NAMED]:
        name = readable_name(image.path)
        others = {key: pixels for key, pixels in normals.items() if key != name}
        alike = ', '.join(nearest(image.pixels, others))
        lines.append(
            f'{name} was marked as fine and is still rejected ({score:.4g}, threshold '
            f'{threshold:.4g}); the normal images most like it: {alike}'
        )
    return [
        *lines,
        f'{len(rejected)} of {len(collected.marked)} marked images are still rejected: mark more '
        'like them, set marked_weight higher where the model has it, or accept more misses with '
        'adet threshold',
    ]


def _by_name(collected: CollectedImages) -> dict[str, ImageArray]:
    """All normal images, learned or kept back; those the bundle brings by their number."""
    brought = {f'normals.npz[{i}]': one for i, one in enumerate(collected.normals)}
    own = [*collected.learn, *collected.known, *collected.held_out]
    return {**brought, **{readable_name(one.path): one.pixels for one in own}}


def nearest(image: ImageArray, normals: Mapping[str, ImageArray], count: int = 3) -> list[str]:
    """Names of the normal images whose pixels, 32 x 32 of them, are closest to an image's.

    Args:
        image: uint8 ``(H, W, 3)``.
        normals: Images of the same size by name.
        count: Names at most.
    """
    wanted = _small(image)
    away = {name: float(np.abs(_small(one) - wanted).mean()) for name, one in normals.items()}
    return sorted(away, key=lambda name: away[name])[:count]


def _small(image: ImageArray) -> npt.NDArray[np.float32]:
    small = cv2.resize(image, _SIZE, interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.float32)
