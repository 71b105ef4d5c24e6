# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""``adet train``."""

from __future__ import annotations

import argparse
from pathlib import Path
import sys
from typing import Any

from adet_core.cli.arguments import add_model, add_models_root, count
from adet_core.models import model_info
from adet_core.progress import progress_bars

HELP = 'fit one model to pictures of good parts, test it, and write a bundle'
EXAMPLE = 'adet train --model padim --category VisA_pipe_fryum --data-root data'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_model(parser)
    parser.add_argument(
        '--category', required=True, metavar='C', help='folder under train/ and test/'
    )
    parser.add_argument(
        '--data-root',
        type=Path,
        default=Path('data'),
        metavar='DIR',
        help='holds train/ and test/ (default: %(default)s)',
    )
    add_models_root(parser)
    parser.add_argument(
        '--backbone-weights',
        default='imagenet',
        metavar='imagenet|random|FILE',
        help='where the feature extractor comes from (default: %(default)s, downloaded by timm)',
    )
    parser.add_argument(
        '--set',
        action='append',
        default=[],
        metavar='KEY=VALUE',
        help='a hyper-parameter, e.g. --set image_size=320; may be repeated',
    )
    parser.add_argument(
        '--seed', type=count, default=0, metavar='S', help='of all chance (default: %(default)s)'
    )


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Train; returns where the run is and its figures."""
    # Before torch is imported, which takes seconds: a typing mistake is answered at once.
    model_info(arguments.model)
    from adet_training.parameters import parse_settings

    settings = parse_settings(arguments.set)
    from adet_training.quiet import quiet_libraries

    with progress_bars() as report, quiet_libraries():
        report('loading libraries', 0, 1)
        from adet_training.train import BUNDLE_FOLDER, train, TrainConfig

        report('loading libraries', 1, 1)
        config = TrainConfig(
            model=arguments.model,
            category=arguments.category,
            data_root=arguments.data_root,
            models_root=arguments.models_root,
            backbone_weights=arguments.backbone_weights,
            settings=settings,
            seed=arguments.seed,
        )
        finished = train(config, report=report)
    for line in finished.unreadable:
        print(f'skipped: {line}', file=sys.stderr)
    manifest = finished.bundle.manifest
    metrics = manifest.metrics
    return {
        'run_dir': str(finished.folder),
        'bundle_dir': str(finished.folder / BUNDLE_FOLDER),
        'bundle_id': finished.bundle.bundle_id,
        'threshold': manifest.image_threshold.value,
        'threshold_method': manifest.image_threshold.method,
        'threshold_detail': manifest.image_threshold.detail,
        'image_auroc': metrics.get('image_auroc'),
        'pixel_auroc': metrics.get('pixel_auroc'),
        'aupro': metrics.get('aupro'),
        'image_f1': metrics.get('image_f1'),
        'fit_seconds': finished.fit_seconds,
        'skipped': len(finished.unreadable),
    }


def show(result: dict[str, Any]) -> None:
    """Print the figures and the next step."""
    for name in ('image_auroc', 'pixel_auroc', 'aupro', 'image_f1'):
        value = result[name]
        print(f'{name:12}', 'needs labelled data' if value is None else f'{value:.3f}')
    print(f'{"threshold":12} {result["threshold"]:.4g} ({result["threshold_detail"]})')
    print(f'{"fit":12} {result["fit_seconds"]:.1f} s')
    print(f'bundle {result["bundle_id"]}: {result["bundle_dir"]}')
    print(f'next: adet deploy {result["run_dir"]}')
