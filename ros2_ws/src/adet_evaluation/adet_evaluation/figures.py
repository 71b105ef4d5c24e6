# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""From the rows of one model to figures."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
import itertools
import math
from pathlib import PurePath
import re

import numpy as np

from adet_core.drift import Comparison, DriftTest, Rejects
from adet_core.errors import RecordError
from adet_core.metrics import (
    auroc,
    average_precision,
    best_f1_threshold,
    binomial_interval,
    PixelMetrics,
    rates_at,
)
from adet_core.records import Record

CONFIDENCE = 0.95
"""How sure the intervals of the rates are."""


@dataclass(frozen=True, kw_only=True)
class DefectType:
    """How one kind of defect was found.

    Attributes:
        images: Anomalous images of it.
        missed: How many of them were found normal.
        image_auroc: Of them against all normal images; None without normal images.
    """

    images: int
    missed: int
    image_auroc: float | None


@dataclass(frozen=True, kw_only=True)
class DriftAlarm:
    """An alarm of the drift test.

    Attributes:
        stamp_ns: Stamp of the image that set it off.
        statistic: Of scores: largest distance of the two distribution functions, 0 to 1; of
            rejects: their share of the last images.
        p_value: Probability of such a distance without drift; None of rejects.
        higher: Whether the scores are higher than those learned, or more images are rejected.
        kind: ``scores`` or ``rejects``.
    """

    stamp_ns: int
    statistic: float
    p_value: float | None
    higher: bool
    kind: str = 'scores'


@dataclass(frozen=True, kw_only=True)
class EvaluationFigures:
    """Figures of one model; None where the rows cannot give one (no labels, one class only).

    Attributes:
        images: Images with a verdict.
        missing: Images without a verdict: those whose row says why, and those that the source
            lost.
        duplicates: Images or rows whose stamp came before; the first one counts.
        non_monotonic: Rows whose stamp is earlier than that of the row before.
        labelled: Images with a verdict and a label; AUROC, F1 and the rates come from these.
        normals: Labelled images with the label *normal*.
        anomalies: Labelled images with the label *anomaly*.
        anomalous: Images found anomalous, labelled or not.
        uncertain: Images found uncertain, labelled or not; F1 and rates count them as normal.
        image_auroc: Area under the ROC curve of the raw scores; ties count half. Needs both
            labels.
        average_precision: Area under the precision-recall curve of the raw scores, as steps.
            Needs both labels.
        image_f1: F1 of the recorded verdicts; *anomaly* is the positive class. Needs anomalies.
        best_f1: The best F1 that any threshold gives on these images; an optimistic figure.
        best_f1_threshold: Raw threshold of ``best_f1``.
        false_reject_rate: Share of normal images found anomalous.
        false_reject_interval: Interval of the false reject rate with 95% confidence (Clopper and
            Pearson).
        false_accept_rate: Share of anomalous images found normal.
        false_accept_interval: Interval of the false accept rate, of the same kind.
        pixel_auroc: Pixel AUROC of the anomaly maps; needs an offline run with masks.
        aupro: Area under the per-region-overlap curve up to a false-positive rate of 0.3; needs
            an offline run with masks.
        defect_types: ``images``, ``missed`` and ``image_auroc`` against all normal images, by kind
            of defect; empty with a single kind.
        latency_ms: ``p50``, ``p95`` and ``p99`` of ``inference_ms``.
        images_per_second: Of an offline run: images divided by the time of reading and inference;
            of rows: by their stamps.
        bundles: Ids of the bundles that made the verdicts.
        drift: Alarms of the drift test, which looks at all images but known anomalies; None where
            the scores of normal images are not known.
    """

    images: int
    missing: int
    duplicates: int
    non_monotonic: int
    labelled: int
    normals: int
    anomalies: int
    anomalous: int
    uncertain: int
    image_auroc: float | None
    average_precision: float | None
    image_f1: float | None
    best_f1: float | None
    best_f1_threshold: float | None
    false_reject_rate: float | None
    false_reject_interval: tuple[float, float] | None
    false_accept_rate: float | None
    false_accept_interval: tuple[float, float] | None
    pixel_auroc: float | None
    aupro: float | None
    defect_types: dict[str, DefectType]
    latency_ms: dict[str, float]
    images_per_second: float | None
    bundles: tuple[str, ...]
    drift: tuple[DriftAlarm, ...] | None


def first_rows(records: Iterable[Record]) -> list[Record]:
    """The first row of each stamp."""
    first: dict[int, Record] = {}
    for row in records:
        first.setdefault(row.stamp_ns, row)
    return list(first.values())


def evaluate(
    records: Iterable[Record],
    *,
    learned: Sequence[float] = (),
    pixels: PixelMetrics | None = None,
    duplicates: int = 0,
    lost: int = 0,
    seconds: float | None = None,
) -> EvaluationFigures:
    """Evaluate the rows of one model.

    Args:
        records: The rows, in the order of the images; of rows with one stamp the first counts.
        learned: Raw scores of normal images that the model was not fitted to, for the drift test.
        pixels: Of the maps, by whoever has them.
        duplicates: Images left out before there were rows.
        lost: Images that have no row at all.
        seconds: What all rows took; by default their stamps say it.

    Raises:
        RecordError: No row has a verdict.
    """
    every = list(records)
    rows = first_rows(every)
    inspected = [row for row in rows if row.score is not None]
    if not inspected:
        msg = f'none of {len(rows)} rows has a verdict; inspect some images first'
        raise RecordError(msg)
    labelled = [row for row in inspected if row.label]
    scores = np.array([row.score for row in labelled], np.float64)
    labels = np.array([row.label == 'anomaly' for row in labelled], np.bool_)
    # The verdicts as recorded, not the scores against one threshold: an operator may have moved
    # the threshold during the run.
    verdicts = np.array([row.is_anomalous for row in labelled], np.float64)
    rates = rates_at(0.5, verdicts, labels)
    anomalies = int(labels.sum())
    normals = labels.size - anomalies
    best = best_f1_threshold(scores, labels) if anomalies and normals else None
    times = np.array([row.inference_ms for row in inspected], np.float64)
    return EvaluationFigures(
        images=len(inspected),
        missing=len(rows) - len(inspected) + lost,
        duplicates=duplicates + len(every) - len(rows),
        non_monotonic=sum(b.stamp_ns < a.stamp_ns for a, b in itertools.pairwise(rows)),
        labelled=len(labelled),
        normals=normals,
        anomalies=anomalies,
        anomalous=sum(bool(row.is_anomalous) for row in inspected),
        uncertain=sum(bool(row.is_uncertain) for row in inspected),
        image_auroc=auroc(scores, labels),
        average_precision=average_precision(scores, labels) if normals else None,
        image_f1=rates.f1,
        best_f1=None if best is None else rates_at(best, scores, labels).f1,
        best_f1_threshold=best,
        false_reject_rate=rates.false_reject_rate,
        false_reject_interval=_interval(rates.false_reject_rate, normals),
        false_accept_rate=rates.false_accept_rate,
        false_accept_interval=_interval(rates.false_accept_rate, anomalies),
        pixel_auroc=pixels.auroc if pixels else None,
        aupro=pixels.aupro if pixels else None,
        defect_types=by_defect(labelled),
        latency_ms={f'p{p}': float(np.percentile(times, p)) for p in (50, 95, 99)},
        images_per_second=_rate(rows, seconds),
        bundles=tuple(dict.fromkeys(row.bundle_id for row in inspected)),
        drift=_drift(inspected, learned),
    )


def defect_type(source: str, pattern: str = '') -> str:
    """The kind of defect that an image's name gives, or ''.

    The folder below ``anomaly`` (``anomaly/scratch/7.png``), else the words of the file's name
    before the first with a digit (``scratch_0007.png``, ``blowhole_exp1_num_7.png``).

    Args:
        source: Path of the image.
        pattern: A regular expression that is searched in the path below ``anomaly`` instead; the
            kind is its first group, or all that it matches.
    """
    parts = PurePath(source).parts
    if 'anomaly' not in parts:
        return ''
    below = parts[len(parts) - parts[::-1].index('anomaly') :]
    if pattern:
        found = re.search(pattern, '/'.join(below))
        return next(filter(None, (found.groups() or (found[0],))), '') if found else ''
    if below[:-1]:
        return '/'.join(below[:-1])
    stem = PurePath(source).stem
    words = list(
        itertools.takewhile(lambda word: not re.search(r'\d', word), re.split(r'[_\-. ]+', stem))
    )
    return '_'.join(filter(None, words)) or re.sub(r'\d.*', '', stem).rstrip('_- .')


def by_defect(rows: Sequence[Record], pattern: str = '') -> dict[str, DefectType]:
    """How each kind of defect was found; nothing with a single kind.

    Args:
        rows: Of one model.
        pattern: See `defect_type`.
    """
    labelled = [row for row in rows if row.score is not None and row.label]
    normal = [row.score for row in labelled if row.label == 'normal']
    kinds: dict[str, list[Record]] = defaultdict(list)
    for row in labelled:
        if row.label == 'anomaly':
            kinds[defect_type(row.source, pattern)].append(row)
    if len(kinds) < 2:
        return {}
    found = {}
    for kind, some in sorted(kinds.items()):
        scores = np.array([*normal, *(row.score for row in some)], np.float64)
        found[kind or 'other'] = DefectType(
            images=len(some),
            missed=sum(not row.is_anomalous for row in some),
            image_auroc=auroc(scores, np.arange(scores.size) >= len(normal)),
        )
    return found


def _interval(rate: float | None, total: int) -> tuple[float, float] | None:
    return None if rate is None else binomial_interval(round(rate * total), total, CONFIDENCE)


def _rate(rows: Sequence[Record], seconds: float | None) -> float | None:
    if seconds:
        return len(rows) / seconds
    stamps = [row.stamp_ns for row in rows]
    span = max(stamps) - min(stamps)
    return (len(rows) - 1) / (span / 1e9) if span else None


def _drift(inspected: Sequence[Record], learned: Sequence[float]) -> tuple[DriftAlarm, ...] | None:
    thresholds = [row.threshold for row in inspected if row.threshold is not None]
    test = DriftTest(learned, thresholds[0] if thresholds else math.inf)
    if not test.works:
        return None
    return tuple(
        _alarm(row.stamp_ns, fired)
        for row in inspected
        if row.score is not None and row.label != 'anomaly'
        for fired in test.add(row.score, is_rejected=bool(row.is_anomalous))
    )


def _alarm(stamp_ns: int, fired: Comparison | Rejects) -> DriftAlarm:
    if isinstance(fired, Rejects):
        share = fired.rejected / fired.images
        return DriftAlarm(
            stamp_ns=stamp_ns, statistic=share, p_value=None, higher=True, kind='rejects'
        )
    return DriftAlarm(
        stamp_ns=stamp_ns,
        statistic=fired.statistic,
        p_value=fired.p_value,
        higher=fired.higher,
    )
