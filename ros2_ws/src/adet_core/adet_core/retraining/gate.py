# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Whether what was learned may go into service."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from adet_core.bundle import Figures, Parity, ScoreRange, Threshold
from adet_core.image import ImageArray
from adet_core.inference.backend import Backend
from adet_core.io.labelled import LabelledImage
from adet_core.metrics import auroc, binomial_upper_bound
from adet_core.progress import ProgressCallback
from adet_core.retraining.images import CollectedImages
from adet_core.thresholds import normal_thresholds, score_range


class Scores(NamedTuple):
    """What one state of a model says of all the images of a retraining.

    Attributes:
        good: Raw scores of the normal images kept back, float32 ``(N,)``.
        peaks: The largest values of their maps.
        marked: Raw scores of images an operator had marked as fine.
        test: Raw scores of the labelled images.
    """

    good: npt.NDArray[np.float32]
    peaks: npt.NDArray[np.float32]
    marked: npt.NDArray[np.float32]
    test: npt.NDArray[np.float32]


def ask(
    backend: Backend,
    collected: CollectedImages,
    test: Sequence[LabelledImage],
    *,
    stage: str,
    progress: ProgressCallback,
) -> Scores:
    """Let a model inspect all images, one at a time."""
    images: list[ImageArray] = [*collected.good, *collected.marked, *(one.pixels for one in test)]
    scores, peaks = np.empty((2, len(images)), np.float32)
    for number, image in enumerate(images):
        answer = backend.run(image[None])
        scores[number], peaks[number] = answer.scores[0], answer.maps[0].max()
        progress(stage, number + 1, len(images))
    good = len(collected.good)
    marked = good + len(collected.marked)
    return Scores(scores[:good], peaks[:good], scores[good:marked], scores[marked:])


def figures(scores: Scores, threshold: float, test: Sequence[LabelledImage]) -> Figures:
    """What a threshold makes of scores; normal images kept back count for the AUROC, too."""
    labels = np.array([one.is_anomalous for one in test], np.bool_)
    everything = np.concatenate([scores.good, scores.test])
    return Figures(
        threshold=threshold,
        normals=len(scores.good),
        rejected=int((scores.good >= threshold).sum()),
        image_auroc=auroc(
            everything, np.concatenate([np.zeros(len(scores.good), np.bool_), labels])
        ),
        marked=len(scores.marked),
        marked_rejected=int((scores.marked >= threshold).sum()),
    )


class Thresholds(NamedTuple):
    """Where the new set draws its lines."""

    image: Threshold
    pixel: Threshold
    score_range: ScoreRange


def calibrate(scores: Scores, others: Sequence[float], settings: Mapping[str, Any]) -> Thresholds:
    """Thresholds from the normal images kept back.

    Args:
        scores: Of the new model.
        others: Scores that widen the score range, e.g. of anomalies.
        settings: Rates and confidence.
    """
    image, pixel = normal_thresholds(
        scores.good,
        scores.peaks,
        settings['false_reject_rate'],
        confidence=settings['confidence'],
        uncertain_rate=settings['uncertain_rate'],
    )
    every = np.concatenate([scores.good, scores.test, np.array(others, np.float32)])
    return Thresholds(image, pixel, score_range(every, image.value, scores.good))


def parity_fault(parity: Parity) -> str:
    """Why the graph does not compute what was learned, in one sentence; empty if it does.

    Args:
        parity: Of the graph, with what was learned, and the new model's own predictions. Scores
            have to agree in every precision: here both come from the same network.
    """
    if parity.score_difference <= parity.tolerance and parity.holds:
        return ''
    return (
        f'the graph differs from what was learned (score by {parity.score_difference:.3g}, map by '
        f'{parity.map_difference:.3g}, allowed {parity.tolerance:.3g} and '
        f'{parity.map_tolerance:.3g}); export the bundle again'
    )


def quality_fault(
    scores: Scores,
    before: Figures,
    after: Figures,
    test: Sequence[LabelledImage],
    settings: Mapping[str, Any],
) -> str:
    """Why a new set may not go into service, in one sentence; empty if it may."""
    target = settings['false_reject_rate']
    if after.false_reject_rate > target:
        return (
            f'it rejects {after.rejected} of {after.normals} normal images kept back, more than '
            f'{target:.1%}'
        )
    # A threshold above n scores promises no better rate than one in n + 1.
    most = max(target, 1 / (after.normals + 1))
    normal = scores.test[np.array([not one.is_anomalous for one in test], np.bool_)]
    rejected = int((normal >= after.threshold).sum())
    if rejected and _lower_bound(rejected, len(normal), settings['confidence']) > most:
        return (
            f'it rejects {rejected} of {len(normal)} normal test images, more than {most:.1%} of '
            'good parts can explain; are the new images like the parts on the line?'
        )
    if before.image_auroc is not None and after.image_auroc is not None:
        loss, allowed = before.image_auroc - after.image_auroc, settings['max_auroc_loss']
        if loss > allowed:
            return (
                f'image AUROC falls from {before.image_auroc:.4f} to {after.image_auroc:.4f}, '
                f'more than max_auroc_loss {allowed:g}; are there anomalies among the new '
                'images?'
            )
    return ''


def all_finite(scores: Scores) -> bool:
    """Whether every score is a number; compared with a threshold, others would pass."""
    return all(bool(np.isfinite(values).all()) for values in scores)


def _lower_bound(count: int, total: int, confidence: float) -> float:
    """The lowest rate that ``count`` hits leave credible."""
    return 1 - binomial_upper_bound(total - count, total, confidence)
