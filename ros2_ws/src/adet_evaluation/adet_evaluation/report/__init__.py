# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""An evaluation as one HTML file to look at, and as JSON to go on with."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from importlib.resources import files
import json
from pathlib import Path, PurePath
from typing import Any

import cv2
import numpy as np

from adet_core import __version__
from adet_core.bundle import write_atomic
from adet_core.errors import ConfigError
from adet_core.image import Image, ImageArray, to_bgr
from adet_core.inference.detector import Detector
from adet_core.records import Record
from adet_evaluation.evaluation import Evaluation, ModelEvaluation
from adet_evaluation.figures import CONFIDENCE

JSON_FILE = 'report.json'
HTML_FILE = 'report.html'
_SHOWN = 6
_WIDTH = 360
_BOX_BGR = (0, 0, 255)
_LABELS = {'normal': 0, 'anomaly': 1}
_NO_LABELS = 'needs labels'


def to_dict(evaluation: Evaluation) -> dict[str, Any]:
    """The figures as ``--json`` and report.json give them: the first model's, and all by name."""
    figures = {name: asdict(one.figures) for name, one in evaluation.models.items()}
    first = next(iter(figures.values()))
    return {
        **first,
        'models': figures,
        'unmatched_masks': evaluation.unmatched_masks,
        'unfit_masks': evaluation.unfit_masks,
        'warnings': list(evaluation.warnings),
    }


def write_report(folder: Path, evaluation: Evaluation) -> Path:
    """Write ``report.html``, which needs no network and no other file, and ``report.json``.

    Args:
        folder: Made if need be.
        evaluation: What to show.

    Returns:
        The HTML file.

    Raises:
        ConfigError: The libraries that make it are not installed.
        OSError: A file cannot be written.
    """
    # Loaded here, as most evaluations write no report.
    try:
        from jinja2 import Environment
        from plotly.offline import get_plotlyjs
    except ModuleNotFoundError as error:
        msg = f'the report needs {error.name}, which is not installed: pip install jinja2 plotly'
        raise ConfigError(msg) from None

    models = evaluation.models
    chosen = {name: _chosen(one.rows) for name, one in models.items()}
    wanted = {
        row.stamp_ns for galleries in chosen.values() for _, rows in galleries for row in rows
    }
    images = evaluation.find_images(wanted) if wanted else {}
    shown = [
        {
            'name': name,
            'defects': one.figures.defect_types,
            'galleries': [
                {**about, 'images': [_shown(row, images, one.detector) for row in rows]}
                for about, rows in chosen[name]
                if rows
            ],
        }
        for name, one in models.items()
    ]
    parts = files('adet_evaluation.report')
    page = Environment(autoescape=True).from_string((parts / 'page.html').read_text('utf-8'))
    safe = _Safe
    html = page.render(
        title=f'Evaluation of {PurePath(evaluation.source).name}',
        created=f'{datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC',
        source=evaluation.source,
        warnings=evaluation.warnings,
        models=shown,
        table=figure_rows([asdict(one.figures) for one in models.values()]),
        figure=_figure,
        version=__version__,
        confidence=f'{CONFIDENCE:.0%}',
        style=safe((parts / 'page.css').read_text('utf-8')),
        script=safe((parts / 'page.js').read_text('utf-8')),
        plotly=safe(get_plotlyjs()),
        data=safe(_data(models)),
    )
    text = json.dumps(to_dict(evaluation), indent=2, allow_nan=False) + '\n'
    write_atomic(folder / JSON_FILE, text.encode())
    write_atomic(folder / HTML_FILE, html.encode())
    return folder / HTML_FILE


class _Safe(str):
    """Text that is HTML already."""

    __slots__ = ()

    def __html__(self) -> str:
        return self


def _data(models: Mapping[str, ModelEvaluation]) -> str:
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
        told = f'The drift test fired {len(alarms)} times, first at the first upright line.'
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
    }


def _chosen(rows: Sequence[Record]) -> list[tuple[dict[str, str], list[Record]]]:
    """What each gallery shows, the worst first."""

    def pick(label: str, *, anomalous: bool, worst: int) -> list[Record]:
        found = [
            row
            for row in rows
            if row.score is not None and row.label == label and row.is_anomalous is anomalous
        ]
        return sorted(found, key=lambda row: worst * (row.score or 0.0))

    hits = pick('anomaly', anomalous=True, worst=1)
    middle = max(len(hits) - _SHOWN, 0) // 2
    unlabelled = pick('', anomalous=True, worst=-1)
    return [
        (
            {
                'title': 'False rejects',
                'text': 'Normal images found anomalous, the highest scores first.',
                'alt': 'normal image found anomalous',
            },
            pick('normal', anomalous=True, worst=-1)[:_SHOWN],
        ),
        (
            {
                'title': 'False accepts',
                'text': 'Anomalous images found normal, the lowest scores first.',
                'alt': 'anomalous image found normal',
            },
            pick('anomaly', anomalous=False, worst=1)[:_SHOWN],
        ),
        (
            {
                'title': 'Typical hits',
                'text': 'Anomalous images found anomalous, with scores from the middle.',
                'alt': 'anomalous image found anomalous',
            },
            hits[middle : middle + _SHOWN],
        ),
        (
            {
                'title': 'Inspected anomalous',
                'text': 'Images without a label, the highest scores first.',
                'alt': 'unlabelled image found anomalous',
            },
            unlabelled[:_SHOWN],
        ),
    ]


def _shown(row: Record, images: Mapping[int, Image], detector: Detector | None) -> dict[str, str]:
    image = images.get(row.stamp_ns)
    jpeg = _thumbnail(image, row, detector) if image else None
    return {
        'score': f'{row.score:.4g}',
        'name': PurePath(row.source).name or str(row.stamp_ns),
        'image': base64.b64encode(jpeg).decode() if jpeg else '',
    }


def _thumbnail(image: Image, row: Record, detector: Detector | None) -> bytes:
    """The image beside what the detector sees in it, as a JPEG file."""
    if detector is not None:
        plain = to_bgr(image)
        marked = detector.overlay(image, detector.inspect(image))
    else:
        plain = to_bgr(image)
        marked = plain.copy()
        for box in row.regions:
            corner = (box.x + box.width - 1, box.y + box.height - 1)
            cv2.rectangle(marked, (box.x, box.y), corner, _BOX_BGR, max(1, plain.shape[1] // 200))
    both: ImageArray = np.hstack([_narrowed(plain), _narrowed(marked)])
    _, data = cv2.imencode('.jpg', both, [cv2.IMWRITE_JPEG_QUALITY, 80])
    return bytes(data)


def _narrowed(image: ImageArray) -> ImageArray:
    height, width = image.shape[:2]
    size = (_WIDTH, max(1, round(height * _WIDTH / width)))
    method = cv2.INTER_AREA if width > _WIDTH else cv2.INTER_LINEAR
    small: ImageArray = cv2.resize(image, size, interpolation=method)
    return small


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
        ('pixel AUROC', lambda f: _figure(f['pixel_auroc'])),
        ('AUPRO', lambda f: _figure(f['aupro'])),
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


def _figure(value: float | None) -> str:
    return '' if value is None else f'{value:.3f}'


def _labelled(value: float | None) -> str:
    return _figure(value) or _NO_LABELS


def _rate(value: float | None, interval: tuple[float, float] | None) -> str:
    if value is None or interval is None:
        return _NO_LABELS
    return f'{value:.1%} ({interval[0]:.1%} to {interval[1]:.1%})'
