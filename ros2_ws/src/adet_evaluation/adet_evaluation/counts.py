# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""How often each score came up: parts of an evaluation, made apart, add up to the whole.

The figures of merged counts are those of one evaluation over all images, to the last digit: only
whole numbers are added.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from adet_core.metrics import binomial_interval
from adet_core.records import Record
from adet_evaluation.figures import CONFIDENCE, first_rows


@dataclass
class ScoreCounts:
    """Counts of one model.

    Attributes:
        images: Images with a verdict.
        missing: Images without one.
        normals: How many labelled normal images had each score.
        anomalies: How many labelled anomalous images had each score.
        rejected_normals: Labelled normal images that were found anomalous.
        rejected_anomalies: Labelled anomalous images that were found anomalous.
    """

    images: int = 0
    missing: int = 0
    normals: Counter[float] = field(default_factory=Counter)
    anomalies: Counter[float] = field(default_factory=Counter)
    rejected_normals: int = 0
    rejected_anomalies: int = 0

    def add(self, other: ScoreCounts) -> None:
        """Add those of other images."""
        self.images += other.images
        self.missing += other.missing
        self.normals.update(other.normals)
        self.anomalies.update(other.anomalies)
        self.rejected_normals += other.rejected_normals
        self.rejected_anomalies += other.rejected_anomalies

    def figures(self) -> dict[str, Any]:
        """The figures, named as in ``adet evaluate --json``; None where there is none."""
        normals, anomalies = self.normals.total(), self.anomalies.total()
        hits, false_alarms = self.rejected_anomalies, self.rejected_normals
        misses = anomalies - hits
        return {
            'images': self.images,
            'missing': self.missing,
            'normals': normals,
            'anomalies': anomalies,
            'image_auroc': self._auroc(normals, anomalies),
            'image_f1': 2 * hits / (2 * hits + false_alarms + misses) if anomalies else None,
            'false_reject_rate': false_alarms / normals if normals else None,
            'false_reject_interval': _interval(false_alarms, normals),
            'false_accept_rate': misses / anomalies if anomalies else None,
            'false_accept_interval': _interval(misses, anomalies),
        }

    def to_json(self) -> dict[str, Any]:
        """Plain values, which `from_json` reads."""
        scores = sorted(self.normals.keys() | self.anomalies.keys())
        return {
            'images': self.images,
            'missing': self.missing,
            'scores': [[one, self.normals[one], self.anomalies[one]] for one in scores],
            'rejected_normals': self.rejected_normals,
            'rejected_anomalies': self.rejected_anomalies,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> ScoreCounts:
        """Read what `to_json` gave."""
        rows = values['scores']
        return cls(
            values['images'],
            values['missing'],
            Counter({score: count for score, count, _ in rows if count}),
            Counter({score: count for score, _, count in rows if count}),
            values['rejected_normals'],
            values['rejected_anomalies'],
        )

    def _auroc(self, normals: int, anomalies: int) -> float | None:
        """Area under the ROC curve; equal scores count half."""
        if not normals or not anomalies:
            return None
        below = twice = 0
        for score in sorted(self.normals.keys() | self.anomalies.keys()):
            twice += self.anomalies[score] * (2 * below + self.normals[score])
            below += self.normals[score]
        return twice / (2 * normals * anomalies)


def count_scores(records: Iterable[Record], *, missing: int) -> ScoreCounts:
    """Count the rows of one model, as `adet_evaluation.figures.evaluate` does.

    Args:
        records: The rows.
        missing: Images without a verdict, with those that have no row at all.
    """
    inspected = [row for row in first_rows(records) if row.score is not None]
    labelled = {
        label: [row for row in inspected if row.label == label] for label in ('normal', 'anomaly')
    }
    return ScoreCounts(
        len(inspected),
        missing,
        Counter(float(row.score or 0.0) for row in labelled['normal']),
        Counter(float(row.score or 0.0) for row in labelled['anomaly']),
        sum(bool(row.is_anomalous) for row in labelled['normal']),
        sum(bool(row.is_anomalous) for row in labelled['anomaly']),
    )


def _interval(count: int, total: int) -> tuple[float, float] | None:
    return binomial_interval(count, total, CONFIDENCE) if total else None
