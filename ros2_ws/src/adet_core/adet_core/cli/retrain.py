# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""``adet retrain``."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any, TYPE_CHECKING

from adet_core.cli import child
from adet_core.cli.arguments import add_max_megapixels, threads
from adet_core.errors import ConfigError, RejectedError

if TYPE_CHECKING:
    from adet_core.bundle import Bundle, Figures
    from adet_core.retraining import Outcome

HELP = 'learn new images of good parts, check the result and put it into service'
EXAMPLE = 'adet retrain models/PaDiM --images data/train/VisA_pipe_fryum --incremental'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        'bundle', type=Path, metavar='BUNDLE', help='deployed and exported bundle folder'
    )
    parser.add_argument('--images', type=Path, metavar='DIR', help='images of good parts')
    parser.add_argument(
        '--incremental',
        action='store_true',
        help='learn what is new in addition (default: learn the folder from scratch)',
    )
    parser.add_argument(
        '--test-dir',
        type=Path,
        metavar='DIR',
        help='labelled images, normal/ and anomaly/, to hold the result to',
    )
    parser.add_argument(
        '--set',
        action='append',
        default=[],
        metavar='KEY=VALUE',
        help='a setting that differs from that of the training, e.g. false_reject_rate=0.02',
    )
    parser.add_argument(
        '--threads', type=threads, default=0, help='number of threads (default 0: one per core)'
    )
    add_max_megapixels(parser)
    parser.add_argument(
        '--rollback',
        # The spelling of earlier versions.
        '--roll-back',
        dest='rollback',
        nargs='?',
        const='',
        metavar='ID',
        help='instead of learning, put back what was in service before, or the set or bundle ID',
    )
    child.add_option(parser)


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Retrain or roll back; returns what is in service now."""
    from adet_core.bundle import rollback
    from adet_core.retraining import retrain

    if arguments.rollback is not None:
        return {'success': True, **_in_service(rollback(arguments.bundle, arguments.rollback))}
    if arguments.images is None:
        msg = '--images is required: name the folder of the new normal images'
        raise ConfigError(msg)
    options: dict[str, Any] = {
        'incremental': arguments.incremental,
        'test_dir': arguments.test_dir,
        'overrides': arguments.set,
        'threads': arguments.threads,
    }
    with child.progress(arguments) as progress:
        outcome = retrain(arguments.bundle, arguments.images, progress=progress, **options)
    if outcome.fault and not arguments.child:
        raise RejectedError(describe(outcome))
    return _result(outcome)


def show(result: dict[str, Any]) -> None:
    """Print what is in service now."""
    for line in result.get('unreadable', ()):
        print(f'skipped: {line}')
    print(f'in service: {result["bundle_id"]} in {result["bundle_dir"]}')
    if 'message' in result:
        print(result['message'])


def _result(outcome: Outcome) -> dict[str, Any]:
    report = outcome.report
    return {
        'success': not outcome.fault,
        'message': describe(outcome),
        **_in_service(outcome.bundle),
        'images_used': report.pictures,
        'held_out': report.after.normals,
        'threshold': report.image_threshold.value,
        'before': asdict(report.before),
        'after': asdict(report.after),
        'rejected': str(outcome.kept) if outcome.kept else None,
        'unreadable': list(outcome.unreadable),
        'notes': list(report.notes),
    }


def describe(outcome: Outcome) -> str:
    """One sentence for people."""
    report, before, after = outcome.report, outcome.report.before, outcome.report.after
    if outcome.fault:
        return f'not put into service: {outcome.fault}; it is kept in {outcome.kept}'
    text = (
        f'{report.pictures} images learned ({report.mode}); threshold {before.threshold:.4g} -> '
        f'{after.threshold:.4g}; of {after.normals} normal images kept back {before.rejected} -> '
        f'{after.rejected} rejected'
    )
    if after.marked:
        text += f'; of {after.marked} marked as fine {before.marked_rejected} -> '
        text += f'{after.marked_rejected}'
    if after.anomalies:
        text += f'; caught {before.caught} -> {after.caught} of {after.anomalies} known defects'
    if any(after.made_up.values()):
        text += f'; caught {_made_up(before, after)}'
    if before.image_auroc is not None and after.image_auroc is not None:
        text += f'; image AUROC {before.image_auroc:.4f} -> {after.image_auroc:.4f}'
    return '; '.join([text, *report.notes])


def _made_up(before: Figures, after: Figures) -> str:
    """E.g. ``66 -> 60 of 180 made-up defects (faint 10 -> 8 of 60, clear ...)``."""
    was, now, of = (
        (sum(counts.values()), counts)
        for counts in (before.made_up_caught, after.made_up_caught, after.made_up)
    )
    each = ', '.join(f'{name} {was[1][name]} -> {now[1][name]} of {of[1][name]}' for name in of[1])
    return f'{was[0]} -> {now[0]} of {of[0]} made-up defects ({each})'


def _in_service(bundle: Bundle) -> dict[str, Any]:
    return {
        'bundle_dir': str(bundle.folder),
        'bundle_id': bundle.bundle_id,
        'retrained': bundle.report is not None,
    }
