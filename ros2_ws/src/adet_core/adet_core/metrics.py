# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Detection metrics from scores and labels; a metric the data cannot give is None.

They are the same on the PC and on the robot, so they need numpy and OpenCV alone: the bound of
Clopper and Pearson is computed here and not by SciPy, as a retraining on the robot needs it, too.
The tests hold all of them against scikit-learn, SciPy and anomalib.
"""

from __future__ import annotations

from collections.abc import Iterable
import math
from statistics import NormalDist
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

Scores = npt.NDArray[Any]
"""1-D, any real type; larger is more anomalous."""
Labels = npt.NDArray[np.bool_]
"""1-D, True for anomalous, as long as the scores."""

FEWEST = 5
"""Images of a class that a paired comparison needs: at 95 %, four losses may still be chance."""


class Rates(NamedTuple):
    """What a threshold does to labelled images.

    Attributes:
        f1: Harmonic mean of precision and recall of *anomalous*; None without anomalies.
        false_reject_rate: Share of normal images found anomalous; None without normal images.
        false_accept_rate: Share of anomalous images found normal; None without anomalies.
    """

    f1: float | None
    false_reject_rate: float | None
    false_accept_rate: float | None


def auroc(scores: Scores, labels: Labels) -> float | None:
    """Area under the ROC curve; ties count half. None unless both classes are there."""
    anomalous = scores[labels]
    return _area(anomalous, np.ones(anomalous.size), scores[~labels], 1.0)


def average_precision(scores: Scores, labels: Labels) -> float | None:
    """Mean precision over the anomalous images, each at its own score; None without any.

    The step-wise sum of precision over recall, as scikit-learn has it; equal scores are one step.
    """
    anomalous, normal = np.sort(scores[labels]), np.sort(scores[~labels])
    if anomalous.size == 0:
        return None
    hits = anomalous.size - np.searchsorted(anomalous, anomalous, side='left')
    false_alarms = normal.size - np.searchsorted(normal, anomalous, side='left')
    return float(np.mean(hits / (hits + false_alarms)))


def rates_at(threshold: float, scores: Scores, labels: Labels) -> Rates:
    """F1, false-reject and false-accept rate when ``score >= threshold`` means anomalous."""
    flagged = scores >= threshold
    hits, false_alarms = int((flagged & labels).sum()), int((flagged & ~labels).sum())
    anomalies, normals = int(labels.sum()), int((~labels).sum())
    misses = anomalies - hits
    return Rates(
        f1=2 * hits / (2 * hits + false_alarms + misses) if anomalies else None,
        false_reject_rate=false_alarms / normals if normals else None,
        false_accept_rate=misses / anomalies if anomalies else None,
    )


def best_f1_threshold(scores: Scores, labels: Labels, *, normals_per_score: int = 1) -> float:
    """The threshold with the best F1, midway between the two scores it separates.

    Midway, so that rounding differences between backends do not flip the image it was
    derived from.

    Args:
        scores: Of both classes.
        labels: Of the scores.
        normals_per_score: How many normal ones a normal score stands for.

    Raises:
        ValueError: Only one class is there.
    """
    anomalous, normal = np.sort(scores[labels]), np.sort(scores[~labels])
    if anomalous.size == 0 or normal.size == 0:
        msg = 'an F1-optimal threshold needs normal and anomalous scores'
        raise ValueError(msg)
    # F1 can only improve by catching one more anomaly, so the best cut is at one of their scores.
    hits = anomalous.size - np.searchsorted(anomalous, anomalous, side='left')
    false_alarms = normal.size - np.searchsorted(normal, anomalous, side='left')
    false_alarms = false_alarms * normals_per_score
    best = anomalous[np.argmax(2 * hits / (hits + false_alarms + anomalous.size))]
    below = [side[side < best][-1] for side in (anomalous, normal) if side[0] < best]
    return (float(best) + float(max(below, default=best))) / 2


def binomial_upper_bound(count: int, total: int, confidence: float) -> float:
    """The highest rate that ``count`` hits in ``total`` independent trials leave credible.

    The one-sided bound of Clopper and Pearson (Biometrika 26, 1934): at this rate, ``count`` hits
    or fewer come up with probability ``1 - confidence``. It equals the ``confidence`` quantile of
    Beta(count + 1, total - count).

    Args:
        count: Hits, 0 to ``total``.
        total: Trials, at least 1.
        confidence: Between 0 and 1.

    Returns:
        A share, 0 to 1, to about 1e-15.

    Raises:
        ValueError: An argument is out of its range.
    """
    if not (0 <= count <= total and total >= 1 and 0 < confidence < 1):
        msg = f'no bound for {count} of {total} at confidence {confidence}'
        raise ValueError(msg)
    if count == total:
        return 1.0
    hits = np.arange(count + 1)
    log_choices = math.lgamma(total + 1) - np.array(
        [math.lgamma(hit + 1) + math.lgamma(total - hit + 1) for hit in range(count + 1)]
    )
    low, high = 0.0, 1.0
    for _ in range(50):
        rate = (low + high) / 2
        logs = log_choices + hits * math.log(rate) + (total - hits) * math.log1p(-rate)
        if np.exp(logs).sum() > 1 - confidence:
            low = rate
        else:
            high = rate
    return high


def binomial_interval(count: int, total: int, confidence: float) -> tuple[float, float]:
    """The rates that ``count`` hits in ``total`` trials leave credible, from both sides.

    The exact interval of Clopper and Pearson: it holds the true rate at least as often as
    ``confidence`` says, whatever that rate is. Arguments, errors and reference are those of
    `binomial_upper_bound`.

    Returns:
        The lowest and the highest share.
    """
    one_sided = (1 + confidence) / 2
    return (
        1 - binomial_upper_bound(total - count, total, one_sided),
        binomial_upper_bound(count, total, one_sided),
    )


def net_loss_bound(lost: int, gained: int, total: int, confidence: float) -> float:
    """The smallest net loss that paired verdicts leave credible.

    Two models inspect the same images: ``lost`` were right before and are wrong now, ``gained``
    the other way round. Given that the models differ on an image, it is lost with a probability
    whose exact lower bound is that of Clopper and Pearson. The bound is above 0 exactly where the
    one-sided exact test of McNemar (Psychometrika 12, 1947) finds a loss at this confidence.

    Args:
        lost: Images that only the model before got right.
        gained: Images that only the model now gets right.
        total: All images, at least ``lost + gained``.
        confidence: Between 0 and 1.

    Returns:
        A share of ``total``, -1 to 1; 0 where the models agree on every image.
    """
    different = lost + gained
    if different == 0:
        return 0.0
    share = 1 - binomial_upper_bound(gained, different, confidence)
    return (2 * share - 1) * different / total


def auroc_loss_bound(
    before: Scores, after: Scores, labels: Labels, confidence: float
) -> float | None:
    """The smallest loss of AUROC that two models' scores of the same images leave credible.

    One-sided, from the paired variance of DeLong, DeLong and Clarke-Pearson (Biometrics 44,
    1988) and the normal distribution.

    Returns:
        A difference of AUROC, or None where fewer than `FEWEST` images of a class leave the
        variance unknown.
    """
    anomalies, normals = int(labels.sum()), int((~labels).sum())
    if min(anomalies, normals) < FEWEST:
        return None
    wins = [_wins(scores[labels], scores[~labels]) for scores in (before, after)]
    loss = wins[0] - wins[1]
    return float(loss.mean() - NormalDist().inv_cdf(confidence) * math.sqrt(_variance(loss)))


def auroc_interval(
    scores: Scores, labels: Labels, confidence: float
) -> tuple[float, float] | None:
    """The two-sided interval of an AUROC; variance, distribution and None as `auroc_loss_bound`.

    Returns:
        The lowest and the highest AUROC that are credible, cut to 0 and 1.
    """
    anomalies, normals = int(labels.sum()), int((~labels).sum())
    if min(anomalies, normals) < FEWEST:
        return None
    wins = _wins(scores[labels], scores[~labels])
    reach = NormalDist().inv_cdf((1 + confidence) / 2) * math.sqrt(_variance(wins))
    return max(float(wins.mean()) - reach, 0.0), min(float(wins.mean()) + reach, 1.0)


def _variance(wins: npt.NDArray[np.float64]) -> float:
    """Of the mean of ``(A, N)`` comparisons, by DeLong."""
    anomalies, normals = wins.shape
    by_anomaly, by_normal = wins.mean(axis=1), wins.mean(axis=0)
    return float(by_anomaly.var(ddof=1) / anomalies + by_normal.var(ddof=1) / normals)


def _wins(anomalous: Scores, normal: Scores) -> npt.NDArray[np.float64]:
    """1 where an anomalous score is above a normal one, 0.5 where equal; ``(A, N)``."""
    difference = np.subtract.outer(anomalous.astype(np.float64), normal)
    return (np.sign(difference) + 1) / 2


NORMAL_PIXELS = 1 << 26
"""Normal pixels that `pixel_metrics` ranks at most; 256 MiB, and as much again sorted."""


class PixelMetrics(NamedTuple):
    """Localisation metrics over all pixels of all images.

    Attributes:
        auroc: Pixel AUROC.
        aupro: Area under the per-region-overlap curve up to a false-positive rate of 0.3, divided
            by 0.3 (Bergmann et al., CVPR 2019).
    """

    auroc: float | None
    aupro: float | None


def pixel_metrics(
    maps: Iterable[npt.NDArray[np.float32]],
    masks: Iterable[npt.NDArray[np.bool_]],
    *,
    limit: float = 0.3,
) -> PixelMetrics:
    """Pixel AUROC and AUPRO: every distinct value of an anomalous pixel is a threshold.

    They are exact for up to `NORMAL_PIXELS` normal pixels. Of more, an even part stands for all,
    which moves a rate by less than 1 in 10,000; sorting them all may take more memory than there
    is.

    Args:
        maps: Anomaly maps ``(H, W)``; pixels of -inf were not inspected and do not count.
        masks: True where anomalous, each of its map's shape; all False for a normal image.
        limit: False-positive rate at which AUPRO stops.
    """
    good = _Thinned()
    bad: list[npt.NDArray[np.float32]] = []
    weights: list[npt.NDArray[np.float64]] = []
    for anomaly_map, mask in zip(maps, masks, strict=True):
        inspected = np.isfinite(anomaly_map)
        good.add(anomaly_map[~mask & inspected])
        marked = (mask & inspected).astype(np.uint8)
        count, labels = cv2.connectedComponents(marked, connectivity=8)
        for region in range(1, count):
            inside = anomaly_map[labels == region]
            bad.append(inside)
            # A pixel's share of its region's overlap: regions count alike, whatever their size.
            weights.append(np.full(inside.size, 1 / inside.size))
    if not bad:
        return PixelMetrics(None, None)
    anomalous, normal = np.concatenate(bad), good.values()
    uniform = np.ones(anomalous.size)
    return PixelMetrics(
        _area(anomalous, uniform, normal, 1.0),
        _area(anomalous, np.concatenate(weights), normal, limit),
    )


class _Thinned:
    """An even part of many values: every n-th of them, where n doubles as they grow too many."""

    def __init__(self) -> None:
        self._parts: list[npt.NDArray[np.float32]] = []
        self._every, self._next, self._count = 1, 0, 0

    def add(self, values: npt.NDArray[np.float32]) -> None:
        # Copied, or a part would keep all the values in memory.
        self._parts.append(values[self._next :: self._every].copy())
        self._next = (self._next - values.size) % self._every
        self._count += self._parts[-1].size
        if self._count > NORMAL_PIXELS:
            kept = self.values()[::2].copy()
            self._next += self._every * (self._count % 2)
            self._every *= 2
            self._parts, self._count = [kept], kept.size

    def values(self) -> npt.NDArray[np.float32]:
        """Those that are kept."""
        return np.concatenate(self._parts) if self._parts else np.empty(0, np.float32)


def _area(
    anomalous: Scores, weights: npt.NDArray[np.float64], normal: Scores, limit: float
) -> float | None:
    """Area under (weighted share of anomalous) over (share of normal), up to ``limit``, scaled.

    The curve rises at each anomalous score, so the area is a sum over those alone: what lies to
    the right of the rise. Among equal scores the curve rises in a straight line.
    """
    if anomalous.size == 0 or normal.size == 0:
        return None
    ranked = np.sort(normal)
    start = 1 - np.searchsorted(ranked, anomalous, side='right') / ranked.size
    end = 1 - np.searchsorted(ranked, anomalous, side='left') / ranked.size
    # A rise that the limit cuts adds only the triangle before it.
    reached = np.maximum(limit - start, 0) ** 2 / (2 * np.maximum(end - start, 1e-300))
    area = np.where(end <= limit, limit - (start + end) / 2, reached)
    return min(float(np.average(area, weights=weights)) / limit, 1.0)
