# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""What a run came to: how many images have a verdict, and why the others have none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from adet_core.records import Record

_NAMES = 3
_REASONS = 10


@dataclass(frozen=True)
class Sent:
    """What a source that has ended sent.

    Attributes:
        published: Images that it told the others of, readable or not.
        lost: Images of the source that it could not tell of; None if nobody knows how many.
        warnings: What is wrong with the source, a line each.
    """

    published: int
    lost: int | None = 0
    warnings: Sequence[str] = ()


def summarise(rows: Mapping[str, Sequence[Record]], sent: Sent | None) -> dict[str, Any]:
    """What the models recorded of what a source sent.

    Args:
        rows: The rows of this run, by model.
        sent: None for a source without an end; then nobody knows what to expect.

    Returns:
        ``expected`` (None if not known), ``rows`` of the model with the fewest, ``lost`` of the
        model with the most (None if not known), ``complete``, ``warnings``; under ``models``, per
        model, ``rows``, ``anomalous``, ``missing``, ``lost``, ``reasons`` and ``latency_ms``.
    """
    models = {model: _of_model(one, sent) for model, one in rows.items()}
    expected = None if sent is None or sent.lost is None else sent.published + sent.lost
    lost = [one['lost'] for one in models.values()]
    is_cut = sent is not None and sent.lost is None
    return {
        'expected': expected,
        'rows': min(one['rows'] for one in models.values()),
        'lost': None if is_cut else max(lost),
        'complete': sent is None or not (is_cut or any(lost)),
        'warnings': list(sent.warnings) if sent else [],
        'models': models,
    }


def _of_model(rows: Sequence[Record], sent: Sent | None) -> dict[str, Any]:
    times = [row.inference_ms for row in rows if row.inference_ms is not None]
    percentiles = np.percentile(times, (50, 95)).tolist() if times else (None, None)
    reasons = _reasons(rows, sent)
    return {
        'rows': len(rows),
        'anomalous': sum(row.is_anomalous is True for row in rows),
        'missing': len(rows) - len(times),
        'lost': sum(one['images'] for one in reasons),
        'reasons': reasons[:_REASONS],
        'latency_ms': dict(zip(('p50', 'p95'), percentiles, strict=True)),
    }


def _reasons(rows: Sequence[Record], sent: Sent | None) -> list[dict[str, Any]]:
    """Why images have no verdict: each reason, how many have it, and the first few, by number."""
    found: dict[str, list[str]] = {}
    for row in rows:
        if row.score is None:
            found.setdefault(row.reason, []).append(row.source)
    reasons = [
        {'reason': reason, 'images': len(names), 'first': names[:_NAMES]}
        for reason, names in found.items()
    ]
    counts = {
        'cannot be read from the source': (sent.lost or 0) if sent else 0,
        'has no row': max(0, sent.published - len(rows)) if sent else 0,
    }
    reasons += [
        {'reason': reason, 'images': count, 'first': []}
        for reason, count in counts.items()
        if count
    ]
    return sorted(reasons, key=lambda one: -one['images'])


def fault_of(summary: Mapping[str, Any]) -> str:
    """One line about the images that were lost; empty if none was."""
    if summary['complete']:
        return ''
    cut = (
        ''
        if summary['expected'] is not None
        else 'the source is cut short, nobody knows by how much'
    )
    texts: dict[str, list[str]] = {}
    for model, one in summary['models'].items():
        if one['lost']:
            of = f' of {summary["expected"]}' if summary['expected'] else ''
            told = ', '.join(_told(reason) for reason in one['reasons'])
            text = f'{one["lost"]}{of} images have no verdict: {told}'
            texts.setdefault(text, []).append(model)
    lost = [f'{", ".join(models)}: {text}' for text, models in texts.items()]
    return '; '.join([*lost, *filter(None, [cut])])


def _told(reason: Mapping[str, Any]) -> str:
    names = ', '.join(filter(None, reason['first']))
    more = ', ...' if names and reason['images'] > len(reason['first']) else ''
    return f'{reason["images"]} {reason["reason"]}' + (f' ({names}{more})' if names else '')
