# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""``adet deploy``."""

from __future__ import annotations

import argparse
import csv
import io
from pathlib import Path
import sys
from typing import Any, TYPE_CHECKING

from adet_core.cli.arguments import add_models_root
from adet_core.cli.next_command import next_command
from adet_core.errors import BundleError, ConfigError
from adet_core.folder import open_regular

if TYPE_CHECKING:
    from adet_core.bundle import Bundle

HELP = 'copy a trained bundle with its graph into the robot layout, verifying checksums'
EXAMPLE = 'adet deploy models/PaDiM/VisA_pipe_fryum/20261123_101500 --models-root /opt/models'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        'run_dir', type=Path, metavar='RUN_DIR', help='folder of a training run, or its pytorch/'
    )
    add_models_root(parser)
    parser.add_argument(
        '--keep',
        action='store_true',
        help='keep the bundles of other categories: this one goes to <Model>/<category>, for '
        'detectors that change their category',
    )
    parser.add_argument(
        '--replace',
        action='store_true',
        help="replace the bundle of another category without asking (a category's own is always "
        'replaced)',
    )


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Copy; returns where the bundle is now and what it is."""
    from adet_core.bundle import open_bundle
    from adet_core.deployed import place_of
    from adet_core.run_folders import deploy, keep_deployed

    run_dir = arguments.run_dir
    bundle = open_bundle(run_dir / 'pytorch' if (run_dir / 'pytorch').is_dir() else run_dir)
    manifest = bundle.manifest
    target = place_of(
        arguments.models_root, manifest.model, manifest.category, keep=arguments.keep
    )
    kept = None
    if other := _other_category(bundle, target):
        if not arguments.replace:
            _ask(other, bundle.manifest.category)
        kept = keep_deployed(other, arguments.models_root)
    deployed, is_exported = deploy(bundle, target)
    return {
        'bundle_dir': str(target),
        'bundle_id': deployed.bundle_id,
        'model': manifest.model,
        'category': manifest.category,
        'exported': is_exported,
        'kept': str(kept) if kept else None,
        'next': next_command(
            'inspect',
            carry=arguments,
            model=manifest.model,
            source=_tested_folder(run_dir, manifest.category),
            **({'categories': manifest.category} if arguments.keep else {}),
            models_root=arguments.models_root,
        )
        if is_exported
        else next_command('export', target),
    }


def show(result: dict[str, Any]) -> None:
    """Print what was deployed and the next step."""
    what = f'{result["model"]} for {result["category"]}, bundle {result["bundle_id"]}'
    print(f'deployed {what} to {result["bundle_dir"]}')
    if result['kept']:
        print(f'what was there before is kept in {result["kept"]}')
    print(f'next: {result["next"]}')


def _other_category(bundle: Bundle, target: Path) -> Bundle | None:
    """What would be replaced, if it inspects other parts."""
    from adet_core.bundle import open_bundle

    try:
        before = open_bundle(target)
    except BundleError:
        # None, or one that cannot be used.
        return None
    return before if before.manifest.category != bundle.manifest.category else None


def _ask(other: Bundle, category: str) -> None:
    """Ask before another category is replaced; where nobody can answer, refuse.

    Raises:
        ConfigError: Nobody agreed.
    """
    target = other.folder
    told = f'{target} holds {other.manifest.category} (bundle {other.bundle_id})'
    if sys.stdin.isatty():
        print(f'{told}; replace it by {category}? [y/N] ', end='', file=sys.stderr)
        if input().strip().lower() in {'y', 'yes'}:
            return
    msg = f'{told}, not {category}: use --keep to have both, --replace, or another --models-root'
    raise ConfigError(msg)


def _tested_folder(run_dir: Path, category: str) -> str:
    """Where the run's test images lie; a camera for a run that had none."""
    table = run_dir / 'test_result' / 'predictions.csv'
    try:
        with open_regular(table) as data:
            file = io.TextIOWrapper(data, 'utf-8', errors='surrogateescape', newline='')
            first = Path(next(csv.DictReader(file))['path'])
    except (OSError, StopIteration, KeyError, csv.Error):
        return 'camera:0'
    folder = next((parent for parent in first.parents if parent.name == category), first.parent)
    return str(folder) if folder.is_dir() else 'camera:0'
