# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""``adet learn``."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any, TYPE_CHECKING

from adet_core.cli import child
from adet_core.cli.arguments import add_max_megapixels, add_models_root, threads
from adet_core.cli.next_command import next_command

if TYPE_CHECKING:
    from adet_core.retraining.new_category import LearnedCategory

HELP = 'learn a new part on this machine, without torch, by the backbone of another bundle'
EXAMPLE = 'adet learn data/train/MyLine_bracket --category MyLine_bracket --base models/PaDiM'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        'images', type=Path, metavar='DIR', help='images of good parts of the new category'
    )
    parser.add_argument(
        '--category',
        metavar='C',
        help="the new category (default: the name of the images' folder)",
    )
    parser.add_argument(
        '--base',
        type=Path,
        required=True,
        metavar='BUNDLE',
        help='exported bundle of any category, whose model is patchcore or padim',
    )
    add_models_root(parser)
    parser.add_argument(
        '--test-dir',
        type=Path,
        metavar='DIR',
        help='labelled images, normal/ and anomaly/, for the figures',
    )
    parser.add_argument(
        '--roi',
        default='',
        metavar='X,Y,W,H',
        help='the region that is inspected, in pixels (default: all of the image)',
    )
    parser.add_argument(
        '--set',
        action='append',
        default=[],
        metavar='KEY=VALUE',
        help='a setting that differs from that of the base, e.g. false_reject_rate=0.02',
    )
    parser.add_argument(
        '--threads', type=threads, default=0, help='number of threads (default 0: one per core)'
    )
    add_max_megapixels(parser)
    child.add_option(parser)


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Learn; returns what was made and what it says of images that it does not know."""
    from adet_core.retraining.new_category import learn_category, REGION

    region = [f'{REGION}{arguments.roi}'] if arguments.roi else []
    with child.progress(arguments) as progress:
        made = learn_category(
            arguments.base,
            arguments.images,
            category=arguments.category or arguments.images.resolve().name,
            models_root=arguments.models_root,
            test_dir=arguments.test_dir,
            overrides=[*arguments.set, *region],
            threads=arguments.threads,
            progress=progress,
        )
    folder, threshold = made.bundle.folder, made.bundle.manifest.image_threshold
    return {
        'success': True,
        'message': _describe(made),
        'run_dir': str(folder.parent),
        'bundle_dir': str(folder),
        'bundle_id': made.bundle.bundle_id,
        'category': made.bundle.manifest.category,
        'threshold': threshold.value,
        'threshold_detail': threshold.detail,
        'images_used': made.learned,
        'after': asdict(made.figures),
        'unreadable': list(made.unreadable),
        'next': next_command('deploy', folder.parent, carry=arguments),
    }


def show(result: dict[str, Any]) -> None:
    """Print what was learned and the next step."""
    for line in result['unreadable']:
        print(f'skipped: {line}')
    print(result['message'])
    print(f'threshold {result["threshold"]:.4g}: {result["threshold_detail"]}')
    print(f'bundle {result["bundle_id"]} in {result["bundle_dir"]}')
    print(f'next: {result["next"]}')


def _describe(made: LearnedCategory) -> str:
    """One sentence for people."""
    found = made.figures
    caught = ', '.join(
        f'{found.made_up_caught[name]} of {count} {name}' for name, count in found.made_up.items()
    )
    text = (
        f'{made.learned} images of {made.bundle.manifest.category} learned; '
        f'{found.rejected} of {found.normals} normal images kept back rejected; made-up defects '
        f'caught: {caught}'
    )
    if found.image_auroc is not None:
        text += (
            f'; of the test images {found.test_rejected} of {found.test_normals} normal and '
            f'{found.caught} of {found.anomalies} anomalous rejected, image AUROC '
            f'{found.image_auroc:.4f}'
        )
    return text
