# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The images that the report shows: mistakes and typical hits, each beside its overlay."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Any, NamedTuple

import cv2
import numpy as np

from adet_core.image import Image, ImageArray, to_bgr
from adet_core.inference.detector import Detector
from adet_core.operating_point import p_value_text
from adet_core.records import Record
from adet_evaluation.evaluation import Evaluation

_SHOWN = 6
_WIDTH = 360
_BOX_BGR = (0, 0, 255)


class Gallery(NamedTuple):
    """Rows whose images are shown together.

    Attributes:
        title: Above them.
        text: Which they are.
        alt: What each shows, for those who cannot see it.
        rows: At most six, those to look at first.
    """

    title: str
    text: str
    alt: str
    rows: Sequence[Record]


def draw_galleries(evaluation: Evaluation) -> dict[str, list[dict[str, Any]]]:
    """The galleries of each model, with the images that are at hand."""
    chosen = {name: list(_choose(one.rows)) for name, one in evaluation.models.items()}
    wanted = {row.stamp_ns for several in chosen.values() for one in several for row in one.rows}
    images = evaluation.find_images(wanted) if wanted else {}
    return {
        name: [
            {
                **gallery._asdict(),
                'images': [
                    _shown(row, images, evaluation.models[name].detector) for row in gallery.rows
                ],
            }
            for gallery in galleries
            if gallery.rows
        ]
        for name, galleries in chosen.items()
    }


def _choose(rows: Sequence[Record]) -> Iterator[Gallery]:
    yield Gallery(
        'False rejects',
        'Normal images found anomalous, the highest scores first.',
        'normal image found anomalous',
        _pick(rows, 'normal', anomalous=True, worst=-1)[:_SHOWN],
    )
    yield Gallery(
        'False accepts',
        'Anomalous images found normal, the lowest scores first.',
        'anomalous image found normal',
        _pick(rows, 'anomaly', anomalous=False, worst=1)[:_SHOWN],
    )
    hits = _pick(rows, 'anomaly', anomalous=True, worst=1)
    middle = max(len(hits) - _SHOWN, 0) // 2
    yield Gallery(
        'Typical hits',
        'Anomalous images found anomalous, with scores from the middle.',
        'anomalous image found anomalous',
        hits[middle : middle + _SHOWN],
    )
    yield Gallery(
        'Inspected anomalous',
        'Images without a label, the highest scores first.',
        'unlabelled image found anomalous',
        _pick(rows, '', anomalous=True, worst=-1)[:_SHOWN],
    )


def _pick(rows: Sequence[Record], label: str, *, anomalous: bool, worst: int) -> list[Record]:
    """The rows of a label and a verdict, by their scores; ``worst`` is the sign of the order."""
    found = [
        row
        for row in rows
        if row.score is not None and row.label == label and row.is_anomalous is anomalous
    ]
    return sorted(found, key=lambda row: worst * (row.score or 0.0))


def _shown(row: Record, images: Mapping[int, Image], detector: Detector | None) -> dict[str, str]:
    image = images.get(row.stamp_ns)
    jpeg = _thumbnail(image, row, detector) if image else None
    return {
        'score': f'{row.score:.4g}',
        'rarity': '' if row.p_value is None else p_value_text(row.p_value),
        'name': PurePath(row.source).name or str(row.stamp_ns),
        'image': base64.b64encode(jpeg).decode() if jpeg else '',
    }


def _thumbnail(image: Image, row: Record, detector: Detector | None) -> bytes:
    """The image beside what the detector sees in it, as a JPEG file."""
    if detector is not None:
        plain = to_bgr(image)
        marked = detector.overlay(image, detector.inspect(image))
    else:
        plain = to_bgr(image)
        marked = plain.copy()
        for box in row.regions:
            corner = (box.x + box.width - 1, box.y + box.height - 1)
            cv2.rectangle(marked, (box.x, box.y), corner, _BOX_BGR, max(1, plain.shape[1] // 200))
    both: ImageArray = np.hstack([_narrowed(plain), _narrowed(marked)])
    _, data = cv2.imencode('.jpg', both, [cv2.IMWRITE_JPEG_QUALITY, 80])
    return bytes(data)


def _narrowed(image: ImageArray) -> ImageArray:
    height, width = image.shape[:2]
    size = (_WIDTH, max(1, round(height * _WIDTH / width)))
    method = cv2.INTER_AREA if width > _WIDTH else cv2.INTER_LINEAR
    small: ImageArray = cv2.resize(image, size, interpolation=method)
    return small
