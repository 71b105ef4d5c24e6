# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""An evaluation as plain values: for ``--json``, report.json, and the script of the page."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
import json
from typing import Any

from adet_core.operating_point import known_scores
from adet_evaluation.evaluation import Evaluation, ModelEvaluation

_LABELS = {'normal': 0, 'anomaly': 1}


def to_dict(evaluation: Evaluation) -> dict[str, Any]:
    """The figures as ``--json`` and report.json give them: the first model's, and all by name."""
    figures = {
        name: {
            **asdict(one.figures),
            'learned_images': one.seen.learned if one.seen else None,
            'calibration_images': one.seen.calibrated if one.seen else None,
            'flattering': str(one.seen) if one.seen else '',
        }
        for name, one in evaluation.models.items()
    }
    first = next(iter(figures.values()))
    return {
        **first,
        'models': figures,
        'unmatched_masks': evaluation.unmatched_masks,
        'unfit_masks': evaluation.unfit_masks,
        'warnings': list(evaluation.warnings),
    }


def origin_of(one: ModelEvaluation) -> list[tuple[str, str]]:
    """Where a model and its threshold came from, for people; nothing without its bundle."""
    if one.detector is None:
        return []
    bundle = one.detector.bundle
    manifest = bundle.manifest
    data, threshold = manifest.dataset, manifest.image_threshold
    backbone = manifest.backbone
    told = {
        'bundle': f'{bundle.bundle_id}, {manifest.model} for {manifest.category}',
        'made': manifest.created,
        'learned from': f'{data.train} normal images; {data.held_out} held out',
        'tested on': f'{data.test_normal} normal and {data.test_anomaly} anomalous images',
        'backbone': f'{backbone.name}, {backbone.weights} weights' if backbone else '',
        'threshold': f'{threshold.value:.4g} ({threshold.detail})',
        'retrained': bundle.report.created if bundle.report else '',
        'parameters': ', '.join(
            f'{name} {value}' for name, value in manifest.hyper_parameters.items()
        ),
    }
    return [(name, text) for name, text in told.items() if text]


def script_data(models: Mapping[str, ModelEvaluation]) -> str:
    """What the page's script draws from, as JSON that cannot end the element it stands in."""
    stamps = [row.stamp_ns for one in models.values() for row in one.rows]
    # Sources without a clock have numbers for stamps.
    timed = max(stamps) - min(stamps) > len(stamps) * 1000
    start = min(stamps)

    def when(stamp: int) -> float:
        return (stamp - start) / 1e9 if timed else float(stamp)

    data = {
        'time_axis': 'seconds' if timed else 'image',
        'models': [_drawn(name, one, when) for name, one in models.items()],
    }
    return json.dumps(data, allow_nan=False).replace('<', '\\u003c')


def _drawn(name: str, one: ModelEvaluation, when: Callable[[int], float]) -> dict[str, Any]:
    rows = [row for row in one.rows if row.score is not None]
    scores = [row.score for row in rows if row.score is not None]
    # The last one: an operator may have moved it during the run.
    used = (row.threshold for row in reversed(rows) if row.threshold is not None)
    threshold = next(used, max(scores))
    margin = (max(*scores, threshold) - min(*scores, threshold)) * 0.02 or 0.5
    alarms = one.figures.drift
    if alarms is None:
        told = 'No drift test: the scores of normal images that it compares with are not known.'
    elif alarms:
        rejects = sum(alarm.kind == 'rejects' for alarm in alarms)
        of_rejects = f' ({rejects} for the rate of rejects)' if rejects else ''
        told = f'The drift test fired {len(alarms)} times{of_rejects}, at the upright lines.'
    else:
        told = 'The drift test did not fire.'
    return {
        'name': name,
        'threshold': threshold,
        'low': min(*scores, threshold) - margin,
        'high': max(*scores, threshold) + margin,
        'scores': scores,
        'labels': [_LABELS.get(row.label, -1) for row in rows],
        'times': [round(when(row.stamp_ns), 3) for row in rows],
        'latency': [round(row.inference_ms or 0, 3) for row in rows],
        'drift': [when(alarm.stamp_ns) for alarm in alarms or ()],
        'drift_text': told,
        'known': _known(one),
    }


def _known(one: ModelEvaluation) -> dict[str, Any] | None:
    """What the bundle knows of its threshold; None where it is not at hand."""
    if one.detector is None:
        return None
    manifest = one.detector.bundle.manifest
    return known_scores(manifest.image_threshold, manifest.score_range)
