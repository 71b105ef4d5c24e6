# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""What a threshold may be asked to achieve, and how it is found from labelled scores."""

from __future__ import annotations

from dataclasses import dataclass, replace
import math

import numpy as np

from adet_core.bundle import Threshold
from adet_core.metrics import best_f1_threshold, Labels, Scores
from adet_core.thresholds import conformal_rank, normal_threshold, percent

OBJECTIVES = ('false_reject_rate', 'recall', 'cost', 'f1')


@dataclass(frozen=True, kw_only=True)
class Objective:
    """What a threshold is to achieve.

    Attributes:
        kind: ``false_reject_rate`` (of normal images), ``recall`` (of anomalous images), ``cost``
            (the lowest) or ``f1`` (the best); all but the first need labelled anomalies.
        false_reject_rate: Share of normal images that may be rejected, for the first.
        target_recall: Share of anomalous images that have to be caught, for the second.
        cost_miss: Cost of an anomalous image that passes, for the third.
        cost_reject: Cost of a normal image that is rejected, for the third.
        confidence: How sure the stated bounds are.
    """

    kind: str = 'false_reject_rate'
    false_reject_rate: float = 0.01
    target_recall: float = 0.95
    cost_miss: float = 50.0
    cost_reject: float = 1.0
    confidence: float = 0.95


def choose_threshold(objective: Objective, normals: Scores, anomalies: Scores) -> Threshold:
    """The threshold that achieves an objective.

    Args:
        objective: What to achieve.
        normals: Raw scores of normal images that the model was not fitted to.
        anomalies: Raw scores of labelled anomalous images; may be empty for
            ``false_reject_rate``.

    Raises:
        ValueError: The scores that the objective needs are missing, or a share is out of range.
    """
    if objective.kind == 'false_reject_rate':
        return normal_threshold(
            normals, objective.false_reject_rate, confidence=objective.confidence
        )
    if objective.kind == 'recall':
        threshold = anomaly_threshold(anomalies, objective.target_recall)
        return replace(threshold, normals=normals.size)
    scores = np.concatenate([normals, anomalies])
    labels = np.arange(scores.size) >= normals.size
    if objective.kind == 'cost':
        return lowest_cost_threshold(scores, labels, objective.cost_miss, objective.cost_reject)
    return labelled_threshold(scores, labels)


def anomaly_threshold(scores: Scores, target: float) -> Threshold:
    """A threshold that catches at least a share ``target`` of anomalies, from anomalies alone.

    Of m scores it is the k-th smallest, k = floor((m + 1) (1 - target)): a new anomaly like those
    of the images scores below it with probability at most ``1 - target``, on average (the
    conformal quantile of `normal_threshold`, from the other side). Too few scores for that
    (k = 0) give the smallest of them, and the text says what that can promise instead.

    Args:
        scores: Raw scores of anomalous images, at least one.
        target: Recall asked for, between 0 and 1.

    Raises:
        ValueError: There are no scores, or the target is out of its range.
    """
    if scores.size == 0:
        msg = 'a threshold of a recall needs at least one anomalous image'
        raise ValueError(msg)
    rank, missed = conformal_rank(scores.size, 1 - target)
    detail = (
        f'at least {percent(1 - missed)} of anomalies caught on average, from {scores.size} '
        'labelled ones'
    )
    if missed > 1 - target:
        needed = math.ceil(1 / (1 - target) - 1e-9) - 1
        detail += f'; {needed} are needed to promise {percent(target)}'
    return Threshold(
        value=float(np.sort(scores)[scores.size - rank]),
        method='anomaly_quantile',
        normals=0,
        anomalies=scores.size,
        detail=detail,
    )


def lowest_cost_threshold(
    scores: Scores, labels: Labels, cost_miss: float, cost_reject: float
) -> Threshold:
    """The threshold whose misses and false rejects cost least on labelled images.

    Each image counts once, so the shares of normal and anomalous images in the test set matter:
    where they differ from the line, scale the costs.

    Args:
        scores: Raw scores.
        labels: True for anomalous; both classes must be there.
        cost_miss: Of an anomalous image that passes.
        cost_reject: Of a normal image that is rejected.

    Raises:
        ValueError: Only one class is there.
    """
    anomalous, normal = np.sort(scores[labels]), np.sort(scores[~labels])
    if anomalous.size == 0 or normal.size == 0:
        msg = 'a threshold of the lowest cost needs normal and anomalous scores'
        raise ValueError(msg)
    ranked = np.unique(np.concatenate([anomalous, normal]).astype(np.float64))
    above = np.nextafter(np.float32(ranked[-1]), np.float32(np.inf))
    cuts = np.concatenate([ranked[:1], (ranked[1:] + ranked[:-1]) / 2, [float(above)]])
    missed = np.searchsorted(anomalous, cuts, side='left')
    rejected = normal.size - np.searchsorted(normal, cuts, side='left')
    costs = cost_miss * missed + cost_reject * rejected
    best = int(np.argmin(costs))
    return Threshold(
        value=float(cuts[best]),
        method='lowest_cost',
        normals=normal.size,
        anomalies=anomalous.size,
        detail=f'lowest cost ({costs[best]:g}) on the labelled images at {cost_miss:g} per miss '
        f'and {cost_reject:g} per false reject',
    )


def labelled_threshold(scores: Scores, labels: Labels) -> Threshold:
    """The F1-optimal threshold of labelled images.

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
        detail='best F1 on the labelled images; figures of the same images flatter it',
    )
