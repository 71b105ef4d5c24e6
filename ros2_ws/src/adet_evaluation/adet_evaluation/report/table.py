# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The figures of several models as a table for people."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

_NO_LABELS = 'needs labels'

EXPLAINED: Mapping[str, str] = {
    'not inspected': 'images without a verdict',
    'found anomalous': 'at the threshold of the run',
    'image AUROC': 'chance that an anomalous image scores above a normal one',
    'average precision': 'precision, averaged over all recalls',
    'F1 as inspected': 'harmonic mean of precision and recall, at the threshold of the run',
    'best F1 (at score)': 'of all thresholds; chosen on these images, so it flatters',
    'false-reject rate': 'share of normal images that are rejected, with its interval',
    'false-accept rate': 'share of anomalous images that pass, with its interval',
    'pixel AUROC': 'chance that an anomalous pixel scores above a normal one',
    'AUPRO': 'how much of each defect is covered, at up to 30 % false pixels',
    'drift alarms': 'scores no longer as in the calibration',
    'inference p50, p95, p99': 'from decoded image to verdict',
}
"""One line for each figure that is not clear by its name."""


def figure_rows(models: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[str]]]:
    """A table of figures for people; what no model has is left out.

    Args:
        models: Each an `EvaluationFigures` as a dict.

    Returns:
        What a figure is called, and each model's.
    """
    rows: Iterable[tuple[str, Callable[[Mapping[str, Any]], str]]] = (
        ('images', lambda f: str(f['images'])),
        ('not inspected', lambda f: str(f['missing'])),
        ('came twice', lambda f: str(f['duplicates'] or '')),
        ('stamps that go back', lambda f: str(f['non_monotonic'] or '')),
        ('labelled good, anomalous', lambda f: f'{f["normals"]}, {f["anomalies"]}'),
        ('found anomalous', lambda f: _share(f['anomalous'], f['images'])),
        ('inspected uncertain', lambda f: _share(f['uncertain'], f['images'])),
        ('image AUROC', lambda f: _labelled(f['image_auroc'])),
        ('average precision', lambda f: _labelled(f['average_precision'])),
        ('F1 as inspected', lambda f: _labelled(f['image_f1'])),
        ('best F1 (at score)', _best),
        ('false-reject rate', lambda f: _rate(f['false_reject_rate'], f['false_reject_interval'])),
        ('false-accept rate', lambda f: _rate(f['false_accept_rate'], f['false_accept_interval'])),
        ('pixel AUROC', lambda f: format_figure(f['pixel_auroc'])),
        ('AUPRO', lambda f: format_figure(f['aupro'])),
        ('drift alarms', lambda f: '' if f['drift'] is None else str(len(f['drift']))),
        ('inference p50, p95, p99', _latency),
        (
            'images per second',
            lambda f: f'{f["images_per_second"]:.4g}' if f['images_per_second'] else '',
        ),
        ('bundle', lambda f: ', '.join(f['bundles'])),
    )
    made = [(name, [text(one) for one in models]) for name, text in rows]
    return [(name, values) for name, values in made if any(values)]


def _latency(figures: Mapping[str, Any]) -> str:
    return ', '.join(f'{value:.1f}' for value in figures['latency_ms'].values()) + ' ms'


def _share(count: int, total: int) -> str:
    return f'{count} ({count / total:.1%})' if count else '0'


def _best(figures: Mapping[str, Any]) -> str:
    if figures['best_f1'] is None:
        return ''
    return f'{figures["best_f1"]:.3f} (at {figures["best_f1_threshold"]:.4g})'


def format_figure(value: float | None) -> str:
    """A figure of 0 to 1, or nothing."""
    return '' if value is None else f'{value:.3f}'


def _labelled(value: float | None) -> str:
    return format_figure(value) or _NO_LABELS


def _rate(value: float | None, interval: tuple[float, float] | None) -> str:
    if value is None or interval is None:
        return _NO_LABELS
    return f'{value:.1%} ({interval[0]:.1%} to {interval[1]:.1%})'
