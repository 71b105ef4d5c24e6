# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""``adet list``: which bundles are deployed, which runs there are, and which sets were kept."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from adet_core.cli.arguments import add_models_root

HELP = 'list deployed bundles, the sets kept of each, and the runs of trainings'
EXAMPLE = 'adet list --models-root models'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_models_root(parser)


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Look below the models root; what cannot be read is listed with its error.

    Raises:
        ConfigError: There is no such folder.
    """
    from adet_core.errors import ConfigError

    root = arguments.models_root
    if not root.is_dir():
        raise ConfigError(f'{root}: no such folder; adet train makes it')
    folders = sorted(path for path in root.iterdir() if path.is_dir())
    return {
        'models_root': str(root),
        'deployed': [_deployed(path) for path in folders if (path / 'meta.json').is_file()],
        'runs': [run for path in folders for run in _runs(path)],
    }


def _deployed(folder: Path) -> dict[str, Any]:
    from adet_core.bundle import kept_sets, open_bundle
    from adet_core.errors import AdetError

    try:
        bundle = open_bundle(folder, in_service=True)
        kept = kept_sets(folder)
    except AdetError as error:
        return {'bundle_dir': str(folder), 'error': str(error)}
    report = bundle.report
    return {
        **_described(bundle),
        'exported': (folder / 'engine' / 'model.onnx').is_file(),
        'retrained': report.created if report else None,
        'kept_sets': [{'bundle_id': one.bundle_id, 'created': one.report.created} for one in kept],
    }


def _runs(folder: Path) -> list[dict[str, Any]]:
    from adet_core.bundle import open_bundle
    from adet_core.errors import AdetError
    from adet_core.run_folders import BUNDLE_FOLDER

    found = []
    for run_dir in sorted(folder.glob('*/*')):
        # A search has param/ alone until it trains.
        if not (run_dir / 'logs').is_dir() and not (run_dir / BUNDLE_FOLDER).is_dir():
            continue
        try:
            told = _described(open_bundle(run_dir / BUNDLE_FOLDER))
        except AdetError:
            told = {'error': 'no bundle: the training did not end'}
        found.append({'run_dir': str(run_dir), **told})
    return found


def _described(bundle: Any) -> dict[str, Any]:
    manifest = bundle.manifest
    return {
        'bundle_dir': str(bundle.folder),
        'bundle_id': bundle.bundle_id,
        'model': manifest.model,
        'category': manifest.category,
        'created': manifest.created,
        'threshold': manifest.image_threshold.value,
        'image_auroc': manifest.metrics.get('image_auroc'),
    }


def show(result: dict[str, Any]) -> None:
    """Print a line for each."""
    print(f'deployed in {result["models_root"]}:' if result['deployed'] else 'nothing is deployed')
    for one in result['deployed']:
        print(_line(one['bundle_dir'], one))
        for kept in one.get('kept_sets', ()):
            print(f'    kept set {kept["bundle_id"]}, made {kept["created"]}')
    print('runs:' if result['runs'] else 'no runs')
    for one in result['runs']:
        print(_line(one['run_dir'], one))


def _line(folder: str, one: dict[str, Any]) -> str:
    if 'error' in one:
        return f'  {folder}  {one["error"]}'
    value = one['image_auroc']
    figure = '' if value is None else f'  image AUROC {value:.3f}'
    told = f'{one["model"]} for {one["category"]}, bundle {one["bundle_id"]}{figure}'
    return f'  {folder}  {told}'
