# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""How a threshold is derived from scores, and what can be promised for it.

What a threshold then does to known scores is in `adet_core.operating_point`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
import math
from typing import NamedTuple

import numpy as np

from adet_core.bundle import ScoreRange, Threshold
from adet_core.metrics import binomial_upper_bound, Scores

# A bundle stays small, and a distribution is known well enough.
_KEPT_SCORES = 256


class Thresholds(NamedTuple):
    """Everything a bundle says of its scores.

    Attributes:
        image: For the image's score.
        pixel: For the anomaly map.
        score_range: The scores behind both.
    """

    image: Threshold
    pixel: Threshold
    score_range: ScoreRange


def normal_threshold(scores: Scores, target: float, *, confidence: float = 0.95) -> Threshold:
    """A threshold that rejects at most a share ``target`` of good parts, from good parts alone.

    Two promises are made, both for good parts like those of the images, whatever the
    distribution of their scores:

    On average over calibrations, at most ``target`` are rejected: of n held-out scores the k-th
    smallest, k = ceil((n + 1) (1 - target)), is exceeded by a new good part with probability at
    most ``target`` (the conformal quantile; Vovk et al., Algorithmic Learning in a Random World,
    2005). Too few scores for that (k > n) give the largest of them (k = n), and the text says
    which rate that can promise instead.

    For this one calibration, with ``confidence``, at most ``false_reject_bound`` are rejected.
    The threshold lies just above the k-th smallest score, so n - k held-out scores reach it. The
    share of all good parts that reach it is distributed as Beta(n - k + 1, k) (Wilks, Annals of
    Mathematical Statistics 12, 1941; for conformal prediction Vovk, Conditional validity of
    inductive conformal predictors, 2012). The bound is its ``confidence`` quantile, which is what
    n - k hits in n trials say of a rate. Where scores are equal, fewer than n - k may reach the
    threshold; the bound still counts n - k of them, and holds all the more.

    Args:
        scores: Raw scores of normal images that were not used for fitting, at least one.
        target: False-reject rate asked for, between 0 and 1.
        confidence: How sure the bound is, between 0 and 1.

    Raises:
        ValueError: There are no scores, or a share is out of its range.
    """
    value, rank, promised = _conformal_quantile(scores, target)
    count = scores.size
    bound = binomial_upper_bound(count - rank, count, confidence)
    detail = (
        f'at most {percent(promised)} of good parts rejected on average, with '
        f'{100 * confidence:g}% confidence at most {percent(bound)}, '
        f'from {count} held-out images'
    )
    if promised > target:
        needed = math.ceil(1 / target) - 1
        detail += f'; {needed} are needed to promise {percent(target)}'
    return Threshold(
        value=value,
        method='normal_quantile',
        normals=count,
        anomalies=0,
        target_false_reject_rate=target,
        confidence=confidence,
        false_reject_bound=bound,
        detail=detail,
    )


def normal_thresholds(
    scores: Scores, peaks: Scores, target: float, *, confidence: float, uncertain_rate: float
) -> tuple[Threshold, Threshold]:
    """Image and pixel threshold from normal images alone.

    Args:
        scores: See `normal_threshold`.
        peaks: The largest value of each image's map.
        target: See `normal_threshold`.
        confidence: See `normal_threshold`.
        uncertain_rate: See `with_uncertain_band`; 0 is no band.

    Raises:
        ValueError: As `normal_threshold`.
    """
    image = normal_threshold(scores, target, confidence=confidence)
    pixel = normal_threshold(peaks, target, confidence=confidence)
    if uncertain_rate:
        image = with_uncertain_band(image, scores, uncertain_rate)
    return image, replace(pixel, detail=f"of the maps' largest values: {pixel.detail}")


def with_uncertain_band(threshold: Threshold, normals: Scores, rate: float) -> Threshold:
    """The same threshold with a band below it in which a person should look.

    The band begins at the conformal quantile of the good scores, as in `normal_threshold`, so on
    average at most a share ``rate`` of good parts is uncertain or rejected. Where that is not
    below the threshold there is no band, and the text says so.

    Args:
        threshold: The threshold, however it was found.
        normals: Raw scores of normal images that were not used for fitting, at least one.
        rate: Share of good parts at or above the band's start, between 0 and 1.

    Raises:
        ValueError: There are no scores, or the rate is out of its range.
    """
    start, _, promised = _conformal_quantile(normals, rate)
    share = f'at most {percent(promised)} of good parts'
    if start < threshold.value:
        told = f'{share} uncertain or rejected on average, from {normals.size} normal images'
    else:
        told = f'no uncertain band: the score that {share} reach is not below the threshold'
    return replace(
        threshold,
        uncertain_from=start if start < threshold.value else None,
        detail=f'{threshold.detail}; {told}' if threshold.detail else told,
    )


def _conformal_quantile(scores: Scores, rate: float) -> tuple[float, int, float]:
    """The score that a new good part reaches with probability at most ``rate``.

    Returns:
        The raw score, the rank of the held-out score just below it (the smallest has 1), and
        ``rate`` or the lowest rate that so few scores can promise.
    """
    if scores.size == 0:
        msg = 'a threshold needs at least one held-out normal image'
        raise ValueError(msg)
    rank, promised = conformal_rank(scores.size, rate)
    chosen = np.sort(scores)[rank - 1]
    # A part exactly like the chosen one passes: the verdict is "at or above".
    value = float(np.nextafter(np.float32(chosen), np.float32(np.inf)))
    return value, rank, promised


def conformal_rank(count: int, rate: float) -> tuple[int, float]:
    """Which of ``count`` scores a new one exceeds with probability at most ``rate``.

    Returns:
        Its rank (the smallest has 1), and ``rate`` or the lowest rate that so few can promise.

    Raises:
        ValueError: The rate is not between 0 and 1.
    """
    if not 0 < rate < 1:
        msg = f'a share of images lies between 0 and 1, not at {rate}'
        raise ValueError(msg)
    # Less a rounding error: a rate such as 1 - 0.95 is not exact.
    rank = min(math.ceil((count + 1) * (1 - rate) - 1e-9), count)
    return rank, max(rate, 1 / (count + 1))


def percent(share: float) -> str:
    """A share for people, three digits."""
    return f'{100 * share:.3g}%'


def score_range(
    scores: Scores,
    threshold: float,
    normals: Scores,
    *,
    anomalies: Scores | Sequence[float] = (),
    made_up: Mapping[str, Sequence[float]] | None = None,
) -> ScoreRange:
    """The range of raw scores for normalisation, widened to hold the threshold.

    Equal scores (one image, or all alike) give a range around them, so that the normalised
    score stays defined.

    Args:
        scores: Raw scores of all images of the calibration, at least one.
        threshold: Raw.
        normals: Raw scores of normal images that the model was not fitted to.
        anomalies: Raw scores of labelled anomalous images.
        made_up: Raw scores of made-up defects by strength.
    """
    low = min(float(scores.min()), threshold)
    high = max(float(scores.max()), threshold)
    if high - low <= 1e-6 * max(abs(high), 1.0):
        low, high = low - 0.5, high + 0.5
    return ScoreRange(
        minimum=low,
        maximum=high,
        normals=_kept(normals),
        anomalies=_kept(anomalies),
        made_up={name: _kept(values) for name, values in (made_up or {}).items()},
    )


def _kept(scores: Scores | Sequence[float]) -> tuple[float, ...]:
    """The scores in ascending order, or so many quantiles of them."""
    ranked = np.sort(np.asarray(scores, np.float64))
    if ranked.size > _KEPT_SCORES:
        ranked = np.quantile(ranked, np.linspace(0, 1, _KEPT_SCORES))
    return tuple(ranked.tolist())
