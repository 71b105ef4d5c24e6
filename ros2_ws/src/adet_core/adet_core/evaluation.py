# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""From recorded rows to figures."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from adet_core.errors import RecordError
from adet_core.metrics import auroc, rates_at
from adet_core.records import Record


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Figures of one CSV; None where the rows cannot give one (no labels, one class only).

    Attributes:
        images: Pictures with a verdict.
        missing: Pictures that were not inspected; each has a row that says why.
        labelled: Pictures with a verdict and a label.
        anomalous: Pictures judged anomalous.
        uncertain: Pictures judged uncertain; the figures below count them as judged good.
        image_auroc: Area under the ROC curve of the raw scores.
        image_f1: F1 of the recorded verdicts.
        false_reject_rate: Share of good pictures judged anomalous.
        false_accept_rate: Share of anomalous pictures judged good.
        latency_ms: p50, p95 and p99 of the time from decoded picture to verdict.
    """

    images: int
    missing: int
    labelled: int
    anomalous: int
    uncertain: int
    image_auroc: float | None
    image_f1: float | None
    false_reject_rate: float | None
    false_accept_rate: float | None
    latency_ms: dict[str, float]


def evaluate(records: Iterable[Record]) -> Evaluation:
    """Evaluate the rows of one model.

    Raises:
        RecordError: No row has a verdict.
    """
    rows = list(records)
    judged = [row for row in rows if row.score is not None]
    if not judged:
        msg = f'none of {len(rows)} rows has a verdict; inspect some pictures first'
        raise RecordError(msg)
    labelled = [row for row in judged if row.label]
    scores = np.array([row.score for row in labelled], np.float64)
    labels = np.array([row.label == 'anomaly' for row in labelled], np.bool_)
    # The verdicts as recorded, not the scores against one threshold: an operator may have moved
    # the threshold during the run.
    verdicts = np.array([row.is_anomalous for row in labelled], np.float64)
    rates = rates_at(0.5, verdicts, labels)
    times = np.array([row.inference_ms for row in judged], np.float64)
    return Evaluation(
        images=len(judged),
        missing=len(rows) - len(judged),
        labelled=len(labelled),
        anomalous=sum(bool(row.is_anomalous) for row in judged),
        uncertain=sum(bool(row.is_uncertain) for row in judged),
        image_auroc=auroc(scores, labels),
        image_f1=rates.f1,
        false_reject_rate=rates.false_reject_rate,
        false_accept_rate=rates.false_accept_rate,
        latency_ms={f'p{p}': float(np.percentile(times, p)) for p in (50, 95, 99)},
    )
