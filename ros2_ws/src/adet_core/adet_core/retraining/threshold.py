# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The thresholds of a retrained set: the operating point in service is kept.

A threshold was chosen with labels, or promised from many held-out normal images. A retraining has
neither, and must not replace it by a quantile of a few images: that would excuse whatever scores
high, defects included. So the threshold moves only as far as the scores of normal images moved
that no set was fitted to (`move`). Marked images have no say in it. They are learned; where that
is not enough, they are still rejected, and the report says so.

A threshold is derived anew where somebody asks for a rate (``--set false_reject_rate=0.02``),
where the one in service is a quantile of normal images and there are now at least as many, or
where there are no normal images to see it move by.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from adet_core.bundle import Threshold
from adet_core.metrics import Scores as Values
from adet_core.retraining.questions import Scores
from adet_core.thresholds import normal_thresholds

# Quartiles of fewer images are no measure of how far scores spread.
_FEWEST_FOR_SPREAD = 20
_RATES = ('false_reject_rate', 'confidence', 'uncertain_rate')


class NormalScores(NamedTuple):
    """What one set says of normal images.

    Attributes:
        scores: Raw scores, float32 ``(N,)``.
        peaks: The largest values of their maps.
    """

    scores: Values
    peaks: Values


@dataclass(frozen=True, kw_only=True)
class Present:
    """The thresholds to go on from.

    Attributes:
        image: In service.
        pixel: In service.
        before: What the set in service says of normal images it was not fitted to.
        after: What the new set says of them; of others like them in a full retraining.
    """

    image: Threshold
    pixel: Threshold
    before: NormalScores
    after: NormalScores


def retrained_thresholds(
    present: Present, scores: Scores, settings: Mapping[str, Any], overrides: Sequence[str]
) -> tuple[Threshold, Threshold]:
    """Image and pixel threshold of a new set, by the rule of this module.

    Args:
        present: The thresholds in service, and how scores of normal images moved.
        scores: Of the new set.
        settings: See `adet_core.retraining.settings`.
        overrides: The settings that somebody gave.
    """
    asked = any(word.partition('=')[0] in _RATES for word in overrides)
    image = present.image
    enough = image.method == 'normal_quantile' and len(scores.good) >= image.normals
    if asked or enough or not len(present.before.scores):
        return normal_thresholds(
            scores.good,
            scores.peaks,
            settings['false_reject_rate'],
            confidence=settings['confidence'],
            uncertain_rate=settings['uncertain_rate'],
        )
    return (
        move(present.image, present.before.scores, present.after.scores),
        move(present.pixel, present.before.peaks, present.after.peaks),
    )


def move(threshold: Threshold, before: Values, after: Values) -> Threshold:
    """Keep a threshold at its place in the distribution of the scores of normal images.

    Its distance from their median is scaled as the distance between their quartiles was. With
    fewer than 20 images, too few for quartiles, it moves as far as the median did.

    Args:
        threshold: In service.
        before: Raw scores of normal images under the set in service, at least one.
        after: Of the same images, or others like them, under the new set, at least one.
    """
    scale = 1.0
    if min(len(before), len(after)) >= _FEWEST_FOR_SPREAD and _spread(before) > 0:
        scale = _spread(after) / _spread(before)
    origin, target = float(np.median(before)), float(np.median(after))

    def moved(value: float) -> float:
        return target + (value - origin) * scale

    start = threshold.uncertain_from
    return replace(
        threshold,
        value=moved(threshold.value),
        method='moved',
        normals=len(after),
        anomalies=0,
        target_false_reject_rate=None,
        confidence=None,
        false_reject_bound=None,
        uncertain_from=None if start is None or scale == 0 else moved(start),
        detail=(
            f'moved from {threshold.value:.4g} as far as the scores of {len(after)} held-out '
            f'normal images moved (median {origin:.4g} to {target:.4g})'
        ),
    )


def _spread(scores: Values) -> float:
    low, high = np.quantile(scores, [0.25, 0.75])
    return float(high - low)
