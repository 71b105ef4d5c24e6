# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""``test_result``: what the model said of every test image, as a table and as images."""

from __future__ import annotations

from collections.abc import Sequence
import csv
import io
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from adet_core.bundle import Manifest, write_atomic
from adet_core.image import ImageArray
from adet_core.io.labelled import LabelledImage
from adet_core.overlay import draw_overlay
from adet_core.prediction import Prediction
from adet_core.progress import ProgressCallback
from adet_core.records import safe_cell
from adet_core.scoring import AnomalyMap, find_regions, normalise_score


class PredictionRow(NamedTuple):
    """One row of ``predictions.csv``."""

    path: str
    label: str
    score: float
    normalised_score: float
    is_anomalous: int


def write_test_result(
    folder: Path,
    images: Sequence[LabelledImage],
    prediction: Prediction,
    manifest: Manifest,
    *,
    progress: ProgressCallback,
) -> None:
    """Write ``predictions.csv`` and ``images/{normal,anomaly}/``.

    Args:
        folder: The ``test_result`` folder.
        images: The test images.
        prediction: Of the images.
        manifest: Thresholds and score range.
        progress: Told the progress.
    """
    threshold, span = manifest.image_threshold.value, manifest.score_range.span
    rows = []
    for number, (labelled, score) in enumerate(
        zip(images, prediction.scores.tolist(), strict=True)
    ):
        label = 'anomaly' if labelled.is_anomalous else 'normal'
        rows.append(
            PredictionRow(
                safe_cell(str(labelled.path)),
                label,
                score,
                normalise_score(score, threshold, span),
                int(score >= threshold),
            )
        )
        image = _side_by_side(labelled, prediction.maps[number], manifest)
        _, data = cv2.imencode('.png', image)
        # Numbered, as images of several folders may share a name; cut, as names have an end.
        name = f'{number:04d}_{labelled.path.stem[:50]}.png'
        path = folder / 'images' / label / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.tobytes())
        progress('drawing overlays', number + 1, len(images))
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerows([PredictionRow._fields, *rows])
    write_atomic(folder / 'predictions.csv', text.getvalue().encode(errors='surrogateescape'))


def _side_by_side(
    labelled: LabelledImage, anomaly_map: AnomalyMap, manifest: Manifest
) -> ImageArray:
    """The image, with its true mask outlined, beside its overlay."""
    image = cv2.cvtColor(labelled.pixels, cv2.COLOR_RGB2BGR)
    threshold = manifest.pixel_threshold.value
    regions = find_regions(anomaly_map, threshold, image.shape[:2])
    span = manifest.score_range.span
    overlay = draw_overlay(image, anomaly_map, regions, threshold=threshold, span=span)
    if labelled.mask is not None:
        outlines, _ = cv2.findContours(
            labelled.mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
        )
        cv2.drawContours(image, outlines, -1, (0, 255, 0), 1)
    return np.hstack([image, overlay])
