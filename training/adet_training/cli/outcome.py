# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""What a threshold does to the test images and made-up defects of a run, with intervals."""

from __future__ import annotations

from typing import Any

from adet_core.bundle import Manifest
from adet_core.metrics import binomial_interval
from adet_core.operating_point import knee_text, made_up_caught, MadeUpCaught

CONFIDENCE = 0.95
"""Of the intervals: the exact ones of Clopper and Pearson."""


def outcome_of(manifest: Manifest) -> dict[str, Any]:
    """The confusion table of the test images, rates with intervals, and whether they flatter.

    Returns:
        ``normal`` and ``anomalous``, each with ``images``, ``wrong``, ``rate`` and ``interval``
        (the last two None without such images); ``flattering``: why the figures are better than
        those of new images, empty where they are not; ``made_up``: made-up defects by strength,
        ``caught`` and ``total``, None without any; ``knee``: what the threshold would do that
        catches most for the fewest false rejects, in words.
    """
    made_up = made_up_caught(manifest.image_threshold.value, manifest.score_range)
    data, metrics = manifest.dataset, manifest.metrics
    threshold = manifest.image_threshold
    chosen = threshold.anomalies > 0 or threshold.normals > data.held_out
    return {
        'normal': _errors(metrics.get('false_reject_rate'), data.test_normal),
        'anomalous': _errors(metrics.get('false_accept_rate'), data.test_anomaly),
        'flattering': 'the test images chose the threshold' if chosen else '',
        'made_up': made_up._asdict() if made_up else None,
        'knee': knee_text(manifest.score_range),
    }


def _errors(rate: float | None, images: int) -> dict[str, Any]:
    wrong = round((rate or 0.0) * images)
    interval = binomial_interval(wrong, images, CONFIDENCE) if images else None
    return {'images': images, 'wrong': wrong, 'rate': rate, 'interval': interval}


def outcome_lines(outcome: dict[str, Any]) -> list[str]:
    """The same for people."""
    normal, anomalous = outcome['normal'], outcome['anomalous']
    rows = [('normal', normal, 'rejected'), ('anomalous', anomalous, 'missed')]
    lines = [_line(name, errors, word) for name, errors, word in rows if errors['images']]
    if lines and outcome['flattering']:
        lines.append(f'{"":12} {outcome["flattering"]}: new images will do worse')
    if outcome['made_up']:
        lines.append(f'{"made-up":12} {MadeUpCaught(**outcome["made_up"])}')
    if outcome['knee']:
        lines.append(f'{"knee":12} {outcome["knee"]}')
    return lines


def _line(name: str, errors: dict[str, Any], word: str) -> str:
    low, high = errors['interval']
    return (
        f'{name:12} {errors["wrong"]} of {errors["images"]} {word}: {errors["rate"]:.1%} '
        f'({CONFIDENCE:.0%} interval {low:.1%} to {high:.1%})'
    )
