# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""``test_result``: what the model said of every test image, as a table and as images."""

from __future__ import annotations

from collections.abc import Sequence
import csv
from functools import partial
import io
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from adet_core.bundle import Manifest, write_atomic
from adet_core.image import ImageArray
from adet_core.io.labelled import LabelledImage
from adet_core.overlay import add_strip, draw_overlay, MASK_BGR, shown_regions
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
    rows = [
        PredictionRow(
            safe_cell(str(labelled.path)),
            _label(labelled),
            score,
            normalise_score(score, threshold, span),
            int(score >= threshold),
        )
        for labelled, score in zip(images, prediction.scores.tolist(), strict=True)
    ]
    before = 0
    for label in ('normal', 'anomaly'):
        chosen = [n for n, labelled in enumerate(images) if _label(labelled) == label]
        draw_overlays(
            folder / 'images' / label,
            [images[number] for number in chosen],
            prediction.scores[chosen],
            # A list of them is no copy.
            [prediction.maps[number] for number in chosen],
            manifest,
            progress=partial(_go_on, progress, before, len(images)),
        )
        before += len(chosen)
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerows([PredictionRow._fields, *rows])
    write_atomic(folder / 'predictions.csv', text.getvalue().encode(errors='surrogateescape'))


def draw_overlays(
    folder: Path,
    images: Sequence[LabelledImage],
    scores: npt.NDArray[np.float32],
    maps: Sequence[AnomalyMap],
    manifest: Manifest,
    *,
    progress: ProgressCallback,
) -> None:
    """Draw images of one label, named so that the most wrong one comes first.

    Args:
        folder: Made if need be.
        images: All normal, or all anomalous.
        scores: Of the images, raw.
        maps: Of the images.
        manifest: Thresholds and score range.
        progress: Told the progress.
    """
    worst = 1 if images and images[0].is_anomalous else -1
    for rank, index in enumerate(np.argsort(worst * scores, kind='stable').tolist()):
        labelled = images[index]
        image = _side_by_side(labelled, float(scores[index]), maps[index], manifest)
        _, data = cv2.imencode('.png', image)
        # Numbered, as images of several folders may share a name; cut, as names have an end.
        path = folder / f'{rank:04d}_{labelled.path.stem[:50]}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.tobytes())
        progress('drawing overlays', rank + 1, len(images))


def _go_on(
    progress: ProgressCallback, before: int, every: int, stage: str, done: int, _: int | None
) -> None:
    """Tell of a part of the images as of all of them."""
    progress(stage, before + done, every)


def _label(labelled: LabelledImage) -> str:
    return 'anomaly' if labelled.is_anomalous else 'normal'


def _side_by_side(
    labelled: LabelledImage, score: float, anomaly_map: AnomalyMap, manifest: Manifest
) -> ImageArray:
    """The image, with its true mask outlined, beside its overlay, below what was said of it."""
    limit = manifest.image_threshold.value
    is_anomalous = score >= limit
    image = cv2.cvtColor(labelled.pixels, cv2.COLOR_RGB2BGR)
    threshold = manifest.pixel_threshold.value
    size = (image.shape[0], image.shape[1])
    found = find_regions(anomaly_map, threshold, size)
    regions = shown_regions(found, size, is_anomalous=is_anomalous)
    span = manifest.score_range.span
    overlay = draw_overlay(image, anomaly_map, regions, threshold=threshold, span=span)
    if labelled.mask is not None:
        outlines, _ = cv2.findContours(
            labelled.mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
        )
        cv2.drawContours(image, outlines, -1, MASK_BGR, 1)
    verdict = 'anomalous' if is_anomalous else 'normal'
    wrong = '' if is_anomalous == labelled.is_anomalous else ' WRONG'
    told = f'{_label(labelled)}, found {verdict}{wrong}: {score:.4g}, threshold {limit:.4g}'
    return add_strip(np.hstack([image, overlay]), told)
