# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""``adet list``: what inspects here, where it comes from, and the sets that are kept of it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from adet_core.cli.arguments import add_models_root
from adet_core.cli.next_command import next_command

HELP = 'list what is deployed, where it comes from, and the retrained sets that are kept'
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
    from adet_core.run_folders import deployed_folders, run_folders

    root = arguments.models_root
    if not root.is_dir():
        raise ConfigError(f'{root}: no such folder; adet train makes it')
    trained = run_folders(root)
    runs = _runs(trained)
    return {
        'models_root': str(root),
        'deployed': [_deployed(folder, runs) for folder in deployed_folders(root)],
        'trainings': len(trained),
        'next': next_command('runs', models_root=root),
    }


def _runs(folders: list[Path]) -> dict[str, Path]:
    """The folder of each run by the id of its bundle."""
    from adet_core.bundle import open_bundle
    from adet_core.errors import BundleError
    from adet_core.run_folders import BUNDLE_FOLDER

    found = {}
    for folder in folders:
        try:
            found[open_bundle(folder / BUNDLE_FOLDER).bundle_id] = folder
        except BundleError:
            continue
    return found


def _deployed(folder: Path, runs: dict[str, Path]) -> dict[str, Any]:
    from adet_core.bundle import kept_sets, open_bundle
    from adet_core.errors import AdetError
    from adet_core.inference.choice import last_choice

    try:
        bundle = open_bundle(folder, in_service=True)
        kept = kept_sets(folder)
        choice = last_choice(bundle)
    except AdetError as error:
        return {'bundle_dir': str(folder), 'error': str(error)}
    manifest, report = bundle.manifest, bundle.report
    return {
        'bundle_dir': str(bundle.folder),
        'bundle_id': bundle.bundle_id,
        'model': manifest.model,
        'category': manifest.category,
        'created': manifest.created,
        'threshold': manifest.image_threshold.value,
        'image_auroc': manifest.metrics.get('image_auroc'),
        'exported': (folder / 'engine' / 'model.onnx').is_file(),
        'run_dir': str(runs[bundle.base_id]) if bundle.base_id in runs else None,
        # What `backend: auto` measured here, in ms.
        'backend': choice.backend if choice else None,
        'backend_ms': dict(choice.ms) if choice else None,
        'retrained': report.created if report else None,
        'kept_sets': [{'bundle_id': one.bundle_id, 'created': one.report.created} for one in kept],
    }


def show(result: dict[str, Any]) -> None:
    """Print a line for each, and what belongs to it below."""
    root = result['models_root']
    print(f'deployed in {root}:' if result['deployed'] else f'nothing is deployed in {root}')
    for one in result['deployed']:
        if 'error' in one:
            print(f'  {one["bundle_dir"]}  {one["error"]}')
            continue
        value = one['image_auroc']
        figure = '' if value is None else f', image AUROC {value:.3f} when it was trained'
        told = f'{one["model"]} for {one["category"]}, bundle {one["bundle_id"]}{figure}'
        print(f'  {one["bundle_dir"]}  {told}')
        print(f'    trained {one["created"]} in {one["run_dir"] or "a run that is not here"}')
        if one['retrained']:
            print(f'    retrained {one["retrained"]}')
        if one['backend']:
            times = ', '.join(f'{name} {ms:.3g} ms' for name, ms in one['backend_ms'].items())
            print(f'    backend: auto is {one["backend"]} here, measured: {times}')
        for kept in one['kept_sets']:
            print(f'    kept set {kept["bundle_id"]}, made {kept["created"]}')
        if not one['exported']:
            print(f'    has no graph yet; next: {next_command("export", one["bundle_dir"])}')
    count = result['trainings']
    print(f'{count} training{"" if count == 1 else "s"}: {result["next"]}')
