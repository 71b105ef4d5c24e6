# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The images that the report shows, each beside its overlay: mistakes, and what is close."""

from __future__ import annotations

import base64
from contextlib import suppress
from pathlib import Path, PurePath
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from adet_core.errors import DatasetError
from adet_core.image import Image, ImageArray, to_bgr
from adet_core.inference.detector import Detector
from adet_core.io.masks import Masks
from adet_core.operating_point import p_value_text
from adet_core.overlay import MASK_BGR
from adet_core.records import Record
from adet_evaluation.evaluation import Evaluation

MOST_SHOWN = 160
"""Of a model, at most; more would make the page too large to open."""

# Read together: a folder of large images does not fit into the memory, and each reading of a bag
# takes its time.
_AT_ONCE = 40
_WIDTH = 360
_BOX_BGR = (0, 0, 255)


class Shown(NamedTuple):
    """An image of the gallery.

    Attributes:
        label: ``normal``, ``anomaly`` or empty.
        score: Raw.
        rarity: How many good parts score so high, for people.
        name: Of its file, or its stamp.
        image: The image beside its overlay, a JPEG in base64; empty where it is not at hand.
    """

    label: str
    score: float
    rarity: str
    name: str
    image: str


def draw_gallery(evaluation: Evaluation, name: str) -> list[Shown]:
    """The images of a model that are worth a look, each beside its overlay.

    All false rejects and misses come first, the most wrong ones before the others, then the
    images whose scores are nearest to the threshold.
    """
    model = evaluation.models[name]
    rows = [row for row in model.rows if row.score is not None]
    ranked = sorted(range(len(rows)), key=lambda index: _interest(rows[index]))[:MOST_SHOWN]
    shown, masks = [], Masks()
    for start in range(0, len(ranked), _AT_ONCE):
        part = ranked[start : start + _AT_ONCE]
        images = evaluation.find_images({rows[index].stamp_ns for index in part})
        for index in part:
            row = rows[index]
            image = images.get(row.stamp_ns)
            jpeg = _thumbnail(image, row, model.detector, masks) if image else None
            shown.append(_shown(row, jpeg))
    return shown


def _interest(row: Record) -> tuple[bool, float]:
    """Smaller for what is to be looked at first."""
    score, threshold = row.score or 0.0, row.threshold or 0.0
    is_mistake = row.label != '' and row.is_anomalous != (row.label == 'anomaly')
    distance = abs(score - threshold)
    return not is_mistake, -distance if is_mistake else distance


def _shown(row: Record, jpeg: bytes | None) -> Shown:
    return Shown(
        label=row.label,
        score=row.score or 0.0,
        rarity='' if row.p_value is None else p_value_text(row.p_value),
        name=PurePath(row.source).name or str(row.stamp_ns),
        image=base64.b64encode(jpeg).decode() if jpeg else '',
    )


def _thumbnail(image: Image, row: Record, detector: Detector | None, masks: Masks) -> bytes:
    """The image, its true mask outlined, beside what the detector sees in it; a JPEG file."""
    plain = to_bgr(image)
    if detector is not None:
        marked = detector.overlay(image, detector.inspect(image))
    else:
        marked = plain.copy()
        for box in row.regions:
            corner = (box.x + box.width - 1, box.y + box.height - 1)
            cv2.rectangle(marked, (box.x, box.y), corner, _BOX_BGR, max(1, plain.shape[1] // 200))
    mask = _mask(row, image, masks)
    if mask is not None:
        # Thick enough to be seen when the image is small.
        thickness = max(1, round(plain.shape[1] / _WIDTH))
        edges, _ = cv2.findContours(
            mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
        )
        plain = np.ascontiguousarray(plain)
        for drawn in (plain, marked):
            cv2.drawContours(drawn, edges, -1, MASK_BGR, thickness)
    both: ImageArray = np.hstack([_narrowed(plain), _narrowed(marked)])
    _, data = cv2.imencode('.jpg', both, [cv2.IMWRITE_JPEG_QUALITY, 75])
    return bytes(data)


def _mask(row: Record, image: Image, masks: Masks) -> npt.NDArray[np.bool_] | None:
    """What is wrong in an anomalous image, in its own pixels; None where nobody has drawn it."""
    if row.label != 'anomaly' or not row.source:
        return None
    # The evaluation has warned of masks that cannot be used.
    with suppress(OSError, DatasetError):
        return masks.read_whole(Path(row.source), image.size)
    return None


def _narrowed(image: ImageArray) -> ImageArray:
    height, width = image.shape[:2]
    size = (_WIDTH, max(1, round(height * _WIDTH / width)))
    method = cv2.INTER_AREA if width > _WIDTH else cv2.INTER_LINEAR
    small: ImageArray = cv2.resize(image, size, interpolation=method)
    return small
