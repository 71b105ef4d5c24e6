# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Where to draw the line, and what can be promised for it."""

from __future__ import annotations

import math

import numpy as np

from adet_core.bundle import ScoreRange, Threshold
from adet_core.metrics import best_f1_threshold, Labels, Scores


def labelled_threshold(scores: Scores, labels: Labels) -> Threshold:
    """The F1-optimal threshold of labelled pictures.

    Args:
        scores: Raw scores.
        labels: True for anomalous; both classes must be there.

    Raises:
        ValueError: Only one class is there.
    """
    return Threshold(
        value=best_f1_threshold(scores, labels),
        method='f1_optimal',
        normals=int((~labels).sum()),
        anomalies=int(labels.sum()),
        detail='best F1 on the labelled test pictures; metrics on the same pictures flatter it',
    )


def normal_threshold(scores: Scores, target: float) -> Threshold:
    """A threshold that rejects at most a share ``target`` of good parts, from good parts alone.

    The conformal quantile (Vovk et al., Algorithmic Learning in a Random World, 2005): of n
    held-out scores the k-th smallest, k = ceil((n + 1) (1 - target)), is exceeded by a new good
    part with probability at most ``target``. Too few scores for that give the largest of them,
    and the text says which rate it can promise instead.

    Args:
        scores: Raw scores of good pictures that were not used for fitting, at least one.
        target: False-reject rate asked for, between 0 and 1.

    Raises:
        ValueError: There are no scores.
    """
    if scores.size == 0:
        msg = 'a threshold needs at least one held-out good picture'
        raise ValueError(msg)
    ranked = np.sort(scores.astype(np.float64))
    rank = math.ceil((ranked.size + 1) * (1 - target))
    promised = target if rank <= ranked.size else 1 / (ranked.size + 1)
    chosen = ranked[min(rank, ranked.size) - 1]
    detail = f'at most {promised:.1%} of good parts rejected, from {ranked.size} held-out pictures'
    if promised > target:
        needed = math.ceil(1 / target) - 1
        detail += f'; {needed} are needed to promise {target:.1%}'
    return Threshold(
        # A part exactly like the chosen one passes: the verdict is "at or above".
        value=float(np.nextafter(np.float32(chosen), np.float32(np.inf))),
        method='normal_quantile',
        normals=ranked.size,
        anomalies=0,
        target_false_reject_rate=target,
        detail=detail,
    )


def score_range(scores: Scores, threshold: float) -> ScoreRange:
    """The range of raw scores for normalisation, widened to hold the threshold.

    Equal scores (one picture, or all alike) give a range around them, so that the normalised
    score stays defined.
    """
    low = min(float(scores.min()), threshold)
    high = max(float(scores.max()), threshold)
    if high - low <= 1e-6 * max(abs(high), 1.0):
        low, high = low - 0.5, high + 0.5
    return ScoreRange(minimum=low, maximum=high)
