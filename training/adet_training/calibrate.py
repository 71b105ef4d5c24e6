# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""From what a trained model says of images to its thresholds and its test metrics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from adet_core.bundle import ScoreRange, Threshold
from adet_core.io.labelled import LabelledImage
from adet_core.metrics import auroc, best_f1_threshold, Labels, pixel_metrics, rates_at
from adet_core.prediction import Prediction
from adet_core.scoring import AnomalyMap
from adet_core.thresholds import (
    labelled_threshold,
    normal_thresholds,
    score_range,
    with_uncertain_band,
)
from adet_training.parameters import Parameters


class Tested(NamedTuple):
    """Images with the trained model's prediction."""

    samples: Sequence[LabelledImage]
    prediction: Prediction

    @property
    def labels(self) -> Labels:
        """True for anomalous."""
        return np.array([labelled.is_anomalous for labelled in self.samples])

    @property
    def peaks(self) -> npt.NDArray[np.float32]:
        """The largest value of each image's map."""
        peaks: npt.NDArray[np.float32] = self.prediction.maps.max(axis=(1, 2))
        return peaks

    def marked(self) -> list[tuple[npt.NDArray[np.bool_], AnomalyMap]]:
        """Mask and map of each image that has a mask."""
        pairs = zip(self.samples, self.prediction.maps, strict=True)
        return [(labelled.mask, found) for labelled, found in pairs if labelled.mask is not None]


class Calibration(NamedTuple):
    """Where a bundle draws its lines."""

    image: Threshold
    pixel: Threshold
    score_range: ScoreRange


def calibrate(
    parameters: Parameters, tested: Tested | None, held_out: Tested | None, *, labelled: bool
) -> Calibration:
    """Derive thresholds.

    Args:
        parameters: Rates and confidence.
        tested: The test images, if there are any.
        held_out: Normal images that the model was not fitted to, if any were kept back.
        labelled: Whether to take the test images; else the good ones.
    """
    rate = parameters.uncertain_rate
    if labelled:
        assert tested is not None
        image, pixel = _from_labels(tested)
        good = held_out.prediction.scores if held_out else _good_scores(tested)
        if rate:
            image = with_uncertain_band(image, good, rate)
    else:
        assert held_out is not None
        good = held_out.prediction.scores
        image, pixel = normal_thresholds(
            good,
            held_out.peaks,
            parameters.false_reject_rate,
            confidence=parameters.confidence,
            uncertain_rate=rate,
        )
    inspected = tested if labelled else held_out
    assert inspected is not None
    return Calibration(image, pixel, score_range(inspected.prediction.scores, image.value, good))


def test_metrics(tested: Tested, threshold: float) -> dict[str, float]:
    """Metrics by name; one that the test data cannot give is absent."""
    labels, scores = tested.labels, tested.prediction.scores
    rates = rates_at(threshold, scores, labels)
    marked = tested.marked()
    pixels = pixel_metrics([found for _, found in marked], [mask for mask, _ in marked])
    figures = {
        'image_auroc': auroc(scores, labels),
        'image_f1': rates.f1,
        'false_reject_rate': rates.false_reject_rate,
        'false_accept_rate': rates.false_accept_rate,
        'pixel_auroc': pixels.auroc,
        'aupro': pixels.aupro,
    }
    return {name: value for name, value in figures.items() if value is not None}


def _from_labels(tested: Tested) -> tuple[Threshold, Threshold]:
    image = labelled_threshold(tested.prediction.scores, tested.labels)
    marked = tested.marked()
    # Without normal images, masks that fill theirs leave no good pixel to compare with.
    if not any(mask.any() for mask, _ in marked) or all(mask.all() for mask, _ in marked):
        peaks = labelled_threshold(tested.peaks, tested.labels)
        detail = "no masks; best F1 of the maps' largest values on the labelled test images"
        return image, replace(peaks, detail=detail)
    anomalies = sum(bool(mask.any()) for mask, _ in marked)
    pixel = Threshold(
        value=best_f1_threshold(
            np.concatenate([found.ravel() for _, found in marked]),
            np.concatenate([mask.ravel() for mask, _ in marked]),
        ),
        method='f1_optimal',
        normals=len(marked) - anomalies,
        anomalies=anomalies,
        detail='best F1 over the pixels of the masked test images',
    )
    return image, pixel


def _good_scores(tested: Tested) -> npt.NDArray[np.float32]:
    return tested.prediction.scores[~tested.labels]
