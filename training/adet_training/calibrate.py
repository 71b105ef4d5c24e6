# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""From what a trained model says of images to its thresholds and its test metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from adet_core.bundle import ScoreRange, Threshold
from adet_core.io.labelled import LabelledImage
from adet_core.metrics import (
    auroc,
    best_f1_threshold,
    Labels,
    NORMAL_PIXELS,
    pixel_metrics,
    rates_at,
)
from adet_core.objectives import choose_threshold, Objective
from adet_core.operating_point import counts_at, cross_fitted, made_up_caught
from adet_core.prediction import Prediction
from adet_core.scoring import AnomalyMap
from adet_core.thresholds import score_range, Thresholds, with_uncertain_band
from adet_training.parameters import Parameters


class Tested(NamedTuple):
    """Images with the trained model's prediction."""

    images: Sequence[LabelledImage]
    prediction: Prediction

    @property
    def labels(self) -> Labels:
        """True for anomalous."""
        return np.array([labelled.is_anomalous for labelled in self.images])

    @property
    def peaks(self) -> npt.NDArray[np.float32]:
        """The largest value of each image's map."""
        return np.array([one.max() for one in self.prediction.maps], np.float32)

    def marked(self) -> list[tuple[npt.NDArray[np.bool_], AnomalyMap]]:
        """Mask and map of each image that has a mask, without what a letterbox is filled with."""
        pairs = zip(self.images, self.prediction.maps, strict=True)
        return [
            (labelled.mask[rows, columns], found[rows, columns])
            for labelled, found in pairs
            if labelled.mask is not None
            for rows, columns in [labelled.inside]
        ]


def calibrate(
    parameters: Parameters,
    tested: Tested | None,
    held_out: Tested | None,
    *,
    labelled: bool,
    made_up: Mapping[str, Sequence[float]] | None = None,
    changed: npt.NDArray[np.float32] | None = None,
) -> Thresholds:
    """Derive the thresholds.

    With labels the objective decides, and the detail says what cross-fitted thresholds do to
    these images. The default objective takes a quantile of all normal images that were not
    fitted, so `false_reject_rate` is respected with labels and without.

    Args:
        parameters: Objective, rates and confidence.
        tested: The test images, if there are any.
        held_out: Normal images that the model was not fitted to, if any were kept back.
        labelled: Whether to take the labelled test images, too; else normal images alone.
        made_up: Raw scores of made-up defects by strength, kept beside those of the images.
        changed: With ``robust``: the highest raw scores of all these normal images, the held-out
            ones first, under changes of light and lens.
    """
    known = tested.prediction.scores[tested.labels] if tested else ()
    if not labelled:
        assert held_out is not None
        tested = None
    inspected = [part for part in (held_out, tested) if part]
    scores = np.concatenate([part.prediction.scores for part in inspected])
    peaks = np.concatenate([part.peaks for part in inspected])
    labels = np.concatenate([part.labels for part in inspected])
    objective = objective_of(parameters)
    image = _described(objective, scores[~labels], scores[labels])
    if changed is not None:
        worst = np.maximum(scores[~labels], changed)
        robust = _described(objective, worst, scores[labels])
        kept = score_range(scores, image.value, scores[~labels], anomalies=known, made_up=made_up)
        image = _as_robust(robust, image, kept)
    if parameters.uncertain_rate:
        image = with_uncertain_band(image, scores[~labels], parameters.uncertain_rate)
    pixel = _from_masks(tested) if tested else None
    if pixel is None:
        pixel = choose_threshold(objective, peaks[~labels], peaks[labels])
        pixel = replace(pixel, detail=f"of the maps' largest values: {pixel.detail}")
    kept = score_range(scores, image.value, scores[~labels], anomalies=known, made_up=made_up)
    return Thresholds(image, pixel, kept)


def objective_of(parameters: Parameters) -> Objective:
    """What the thresholds of a training are to achieve."""
    return Objective(
        kind=parameters.objective,
        false_reject_rate=parameters.false_reject_rate,
        target_recall=parameters.target_recall,
        cost_miss=parameters.cost_miss,
        cost_reject=parameters.cost_reject,
        confidence=parameters.confidence,
    )


def test_metrics(tested: Tested, threshold: float) -> dict[str, float]:
    """Metrics by name; one that the test data cannot give is absent."""
    labels, scores = tested.labels, tested.prediction.scores
    rates = rates_at(threshold, scores, labels)
    marked = tested.marked()
    pixels = pixel_metrics((found for _, found in marked), (mask for mask, _ in marked))
    figures = {
        'image_auroc': auroc(scores, labels),
        'image_f1': rates.f1,
        'false_reject_rate': rates.false_reject_rate,
        'false_accept_rate': rates.false_accept_rate,
        'pixel_auroc': pixels.auroc,
        'aupro': pixels.aupro,
    }
    return {name: value for name, value in figures.items() if value is not None}


def normals_to_calibrate(
    tested: Tested | None, held_out: Tested | None, *, labelled: bool
) -> list[LabelledImage]:
    """The normal images whose scores choose the threshold, in the order of `calibrate`."""
    inspected = [part for part in (held_out, tested if labelled else None) if part]
    return [one for part in inspected for one in part.images if not one.is_anomalous]


def _as_robust(robust: Threshold, plain: Threshold, kept: ScoreRange) -> Threshold:
    """A threshold that holds under changes, with what that costs."""
    lost = []
    counts = [counts_at(one.value, (), kept.anomalies) for one in (plain, robust)]
    if counts[0].anomalies:
        missed = f'{counts[0].missed} -> {counts[1].missed} of {counts[0].anomalies}'
        lost.append(f'{missed} known anomalies missed')
    made_up = [made_up_caught(one.value, kept) for one in (plain, robust)]
    if made_up[0] and made_up[1]:
        caught = [sum(one.caught.values()) for one in made_up if one]
        total = sum(made_up[0].total.values())
        lost.append(f'{caught[0]} -> {caught[1]} of {total} made-up defects caught')
    return replace(
        robust,
        method='robust_quantile' if robust.method == 'normal_quantile' else robust.method,
        detail=(
            f'{robust.detail}; also under changes of light and lens, for which it rises from '
            f'{plain.value:.4g} ({", ".join(lost)})'
        ),
    )


def _described(
    objective: Objective, normals: npt.NDArray[np.float32], anomalies: npt.NDArray[np.float32]
) -> Threshold:
    threshold = choose_threshold(objective, normals, anomalies)
    counts = cross_fitted(objective, normals, anomalies)
    if counts is None:
        return threshold
    return replace(threshold, detail=f'{threshold.detail}; cross-fitted: {counts}')


def _from_masks(tested: Tested) -> Threshold | None:
    """The threshold of the best F1 over the pixels; None without anomalous and good pixels."""
    # Of many large images an even part of the normal pixels stands for all of them.
    every = 1 + sum(found.size for _, found in tested.marked()) // NORMAL_PIXELS
    good, bad = [], []
    anomalies = 0
    for mask, found in tested.marked():
        inspected = np.isfinite(found)
        good.append(found[inspected & ~mask][::every].copy())
        bad.append(found[inspected & mask])
        anomalies += bool(bad[-1].size)
    # Without normal images, masks that fill theirs leave no good pixel to compare with.
    sizes = [sum(one.size for one in part) for part in (good, bad)]
    if not all(sizes):
        return None
    return Threshold(
        value=best_f1_threshold(
            np.concatenate([*good, *bad]),
            np.repeat([False, True], sizes),
            normals_per_score=every,
        ),
        method='f1_optimal',
        normals=len(good) - anomalies,
        anomalies=anomalies,
        detail='best F1 over the pixels of the masked test images',
    )
