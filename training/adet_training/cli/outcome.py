# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""What a threshold does to the test images and made-up defects of a run, with intervals."""

from __future__ import annotations

from typing import Any

from adet_core.bundle import Bundle
from adet_core.metrics import binomial_interval
from adet_core.operating_point import flattery, knee_text, made_up_caught, MadeUpCaught
from adet_core.set_threshold import trade_offs

CONFIDENCE = 0.95
"""Of the intervals: the exact ones of Clopper and Pearson."""


def outcome_of(bundle: Bundle, *, learned: int = 0) -> dict[str, Any]:
    """The confusion table of the test images, rates with intervals, and whether they flatter.

    Args:
        bundle: Of the run.
        learned: How many of its test images are training images, too.

    Returns:
        ``normal`` and ``anomalous``, each with ``images``, ``wrong``, ``rate`` and ``interval``
        (the last two None without such images); ``flattering``: why the figures are better than
        those of new images, empty where they are not; ``made_up``: made-up defects by strength,
        ``caught`` and ``total``, None without any; ``knee``: what the threshold would do that
        catches most for the fewest false rejects, in words; ``other_thresholds``: what those of
        several false-reject rates would do, as `adet_core.set_threshold.trade_offs` says.
    """
    manifest = bundle.manifest
    made_up = made_up_caught(manifest.image_threshold.value, manifest.score_range)
    data, metrics = manifest.dataset, manifest.metrics
    threshold = manifest.image_threshold
    # Held-out images are no test images.
    chosen = max(threshold.normals - data.held_out, 0) + threshold.anomalies
    images = data.test_normal + data.test_anomaly
    return {
        'normal': _errors(metrics.get('false_reject_rate'), data.test_normal),
        'anomalous': _errors(metrics.get('false_accept_rate'), data.test_anomaly),
        'flattering': flattery(images, calibrated=chosen, learned=learned),
        'made_up': made_up._asdict() if made_up else None,
        'knee': knee_text(manifest.score_range),
        'other_thresholds': trade_offs(bundle),
    }


def _errors(rate: float | None, images: int) -> dict[str, Any]:
    wrong = round((rate or 0.0) * images)
    interval = binomial_interval(wrong, images, CONFIDENCE) if images else None
    return {'images': images, 'wrong': wrong, 'rate': rate, 'interval': interval}


def outcome_lines(outcome: dict[str, Any]) -> list[str]:
    """The same for people."""
    normal, anomalous = outcome['normal'], outcome['anomalous']
    lines = _table(normal, anomalous) if normal['images'] or anomalous['images'] else []
    rows = [('normal', normal, 'rejected'), ('anomalous', anomalous, 'missed')]
    lines += [_line(name, errors, word) for name, errors, word in rows if errors['images']]
    if lines and outcome['flattering']:
        lines.append(f'{"note":12} {outcome["flattering"]}')
    if outcome['made_up']:
        lines.append(f'{"made-up":12} {MadeUpCaught(**outcome["made_up"])}')
    if outcome['knee']:
        lines.append(f'{"knee":12} {outcome["knee"]}')
    if outcome['other_thresholds']:
        lines.append('other thresholds, and what they do (choose one with adet threshold):')
        lines += [_other(row) for row in outcome['other_thresholds']]
    return lines


def _table(normal: dict[str, Any], anomalous: dict[str, Any]) -> list[str]:
    """The confusion table: what images are, and what they were found to be."""
    lines = [f'{"":12} {"found normal":>14} {"found anomalous":>17}']
    for name, errors, is_wrong_first in (
        ('normal', normal, False),
        ('anomalous', anomalous, True),
    ):
        counts = (errors['images'] - errors['wrong'], errors['wrong'])
        passed, rejected = reversed(counts) if is_wrong_first else counts
        lines.append(f'{name:12} {passed:>14} {rejected:>17}')
    return lines


def _line(name: str, errors: dict[str, Any], word: str) -> str:
    low, high = errors['interval']
    return (
        f'{name:12} {errors["wrong"]} of {errors["images"]} {word}: {errors["rate"]:.1%} '
        f'({CONFIDENCE:.0%} interval {low:.1%} to {high:.1%})'
    )


def _other(row: dict[str, Any]) -> str:
    told = [f'{row["rejected"]} of {row["normals"]} normal rejected']
    if row['anomalies']:
        told.append(f'{row["missed"]} of {row["anomalies"]} anomalous missed')
    if row['made_up']:
        caught, total = sum(row['made_up_caught'].values()), sum(row['made_up'].values())
        told.append(f'{caught} of {total} made-up caught')
    return f'  rate {row["false_reject_rate"]:>6.1%}  {row["threshold"]:<8.4g} {", ".join(told)}'
