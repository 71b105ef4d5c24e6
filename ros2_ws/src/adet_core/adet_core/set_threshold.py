# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The operating point of a bundle, chosen anew from the scores that it keeps."""

from __future__ import annotations

from dataclasses import asdict, replace
from datetime import datetime, timezone
from importlib.metadata import version
from typing import Any

import numpy as np

from adet_core.bundle import (
    Bundle,
    Figures,
    RetrainReport,
    ScoreRange,
    Threshold,
    write_thresholds,
)
from adet_core.errors import BundleError
from adet_core.objectives import choose_threshold, Objective
from adet_core.operating_point import counts_at, cross_fitted, made_up_caught

_KEEP = 5
# What the table of trade-offs shows.
_RATES = (0.001, 0.01, 0.02, 0.05, 0.1, 0.2)


def choose(bundle: Bundle, objective: Objective) -> Threshold:
    """The image threshold that achieves an objective on the kept scores.

    Raises:
        BundleError: The bundle keeps none of the scores that the objective needs.
    """
    kept = bundle.manifest.score_range
    normals, anomalies = (np.array(found, np.float32) for found in (kept.normals, kept.anomalies))
    missing = '' if normals.size else 'normal'
    if objective.kind != 'false_reject_rate' and not anomalies.size:
        missing = 'labelled anomalous'
    if missing:
        msg = f'{bundle.folder}: keeps no scores of {missing} images; train or retrain it with '
        raise BundleError(f'{msg}{missing} images')
    threshold = choose_threshold(objective, normals, anomalies)
    counts = cross_fitted(objective, normals, anomalies)
    if counts is not None:
        threshold = replace(threshold, detail=f'{threshold.detail}; cross-fitted: {counts}')
    start = bundle.manifest.image_threshold.uncertain_from
    below = start is not None and start < threshold.value
    return replace(threshold, uncertain_from=start if below else None)


def apply(bundle: Bundle, threshold: Threshold, objective: Objective) -> Bundle:
    """Put an image threshold into service; the pixel threshold stays.

    What is in service now goes to the history, so that a rollback takes it back. The caller holds
    the lock of the folder.

    Raises:
        BundleError: A retrained file is missing or damaged.
        OSError: The folder cannot be written; what was in service before still is.
    """
    manifest, report = bundle.manifest, bundle.report
    learned, held_out = bundle.known_images()
    kept = manifest.score_range
    low, high = min(kept.minimum, threshold.value), max(kept.maximum, threshold.value)
    return write_thresholds(
        bundle,
        RetrainReport(
            base=bundle.base_id,
            previous=bundle.bundle_id,
            created=datetime.now(timezone.utc).isoformat(timespec='milliseconds'),
            mode='threshold',
            pictures=0,
            total=report.total if report else manifest.dataset.train,
            image_threshold=threshold,
            pixel_threshold=manifest.pixel_threshold,
            score_range=replace(kept, minimum=low, maximum=high),
            before=_figures(manifest.image_threshold.value, kept, manifest.metrics),
            after=_figures(threshold.value, kept, manifest.metrics),
            settings=asdict(objective),
            learned=learned,
            held_out=held_out,
            versions={'numpy': version('numpy')},
        ),
        keep=_KEEP,
    )


def describe(value: float, kept: ScoreRange) -> dict[str, Any]:
    """What a threshold does to the kept scores, for JSON and for people."""
    counts, made_up = counts_at(value, kept.normals, kept.anomalies), made_up_caught(value, kept)
    return {
        'threshold': value,
        **counts._asdict(),
        'made_up_caught': made_up.caught if made_up else None,
        'made_up': made_up.total if made_up else None,
        'text': f'{counts}; {made_up}' if made_up else str(counts),
    }


def trade_offs(bundle: Bundle) -> list[dict[str, Any]]:
    """What thresholds of several false-reject rates do to the kept scores."""
    kept = bundle.manifest.score_range
    rows = []
    for rate in _RATES if kept.normals else ():
        chosen = choose(bundle, Objective(false_reject_rate=rate))
        rows.append({'false_reject_rate': rate, **describe(chosen.value, kept)})
    return rows


def _figures(value: float, kept: ScoreRange, metrics: dict[str, float]) -> Figures:
    counts, made_up = counts_at(value, kept.normals, kept.anomalies), made_up_caught(value, kept)
    return Figures(
        threshold=value,
        normals=counts.normals,
        rejected=counts.rejected,
        image_auroc=metrics.get('image_auroc'),
        anomalies=counts.anomalies,
        caught=counts.anomalies - counts.missed,
        made_up=made_up.total if made_up else {},
        made_up_caught=made_up.caught if made_up else {},
    )
