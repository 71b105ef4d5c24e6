# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Where bundles are made: ``models/<Model>/<category>/<time>/pytorch``, a folder for each run."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

from adet_core.bundle import Bundle, copy_bundle, copy_engine, META_FILE, open_bundle
from adet_core.errors import BundleError
from adet_core.models.names import model_folder

BUNDLE_FOLDER, LOGS_FOLDER = 'pytorch', 'logs'


def new_run_folder(models_root: Path, model: str, category: str) -> Path:
    """Make a run's folder, named after the time.

    Args:
        models_root: Folder of all models.
        model: The model name.
        category: Name of the folder of the category.

    Raises:
        ConfigError: The name cannot be a model's.
        OSError: The models root cannot be written.
    """
    parent = models_root / model_folder(model) / category
    parent.mkdir(parents=True, exist_ok=True)
    now = datetime.now()  # noqa: DTZ005 - a name for people
    while True:
        folder = parent / f'{now:%Y%m%d_%H%M%S}'
        try:
            folder.mkdir()
        except FileExistsError:
            now += timedelta(seconds=1)
        else:
            return folder


def deployed_folders(models_root: Path) -> list[Path]:
    """The folders of what is deployed, sorted; see `adet_core.deployed`."""
    depths = ('*', '*/*')
    found = (path for depth in depths for path in models_root.glob(f'{depth}/{META_FILE}'))
    return sorted(path.parent for path in found)


def run_folders(models_root: Path) -> list[Path]:
    """The folders of trainings, sorted: those that ended have a `BUNDLE_FOLDER`.

    A search for hyper-parameters is none until it trains.
    """
    folders = sorted(models_root.glob('*/*/*'))
    return [
        one for one in folders if (one / BUNDLE_FOLDER).is_dir() or (one / LOGS_FOLDER).is_dir()
    ]


def deploy(bundle: Bundle, folder: Path) -> tuple[Bundle, bool]:
    """Copy a bundle with its graph into the robot layout, replacing what is there.

    Args:
        bundle: As it was made.
        folder: ``models/<Model>``.

    Returns:
        The copy, and whether it has a graph.

    Raises:
        BundleError: A file of it is damaged; what is there stays.
        OSError: The folder cannot be written.
    """
    deployed = copy_bundle(bundle, folder)
    return deployed, copy_engine(bundle, deployed)


def keep_deployed(bundle: Bundle, models_root: Path) -> Path:
    """Make sure that a deployed bundle has a run's folder, so that it can be deployed again.

    Args:
        bundle: As it was deployed.
        models_root: Folder of all models.

    Returns:
        The bundle folder of the run that has it: the one that is there, or a copy.

    Raises:
        BundleError: A file of it is damaged.
        OSError: The models root cannot be written.
    """
    manifest = bundle.manifest
    runs = models_root / model_folder(manifest.model) / manifest.category
    for folder in sorted(runs.glob(f'*/{BUNDLE_FOLDER}')):
        try:
            found = open_bundle(folder)
        except BundleError:
            continue
        if found.base_id == bundle.base_id:
            copy_engine(bundle, found)
            return folder
    folder = new_run_folder(models_root, manifest.model, manifest.category) / BUNDLE_FOLDER
    copy_engine(bundle, copy_bundle(bundle, folder))
    return folder


def withdraw(folder: Path) -> None:
    """Take away a bundle that was just deployed where none was before.

    Raises:
        OSError: The folder cannot be written.
    """
    (folder / META_FILE).unlink()
