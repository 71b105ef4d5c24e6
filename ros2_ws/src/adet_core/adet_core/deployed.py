# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Where a robot has bundles: ``models/<Model>``, and beside it one for each further category.

A category has the folder ``models/<Model>/<category>``, or ``models/<Model>`` itself, which holds
one bundle of any category.
"""

from __future__ import annotations

from pathlib import Path

from adet_core.bundle import META_FILE, open_bundle
from adet_core.errors import BundleError, ConfigError
from adet_core.folder import check_name
from adet_core.models.names import deployed_folder, model_folder


def category_folder(models_root: Path, model: str, category: str) -> Path:
    """Where the bundle of a category is deployed.

    Raises:
        ConfigError: There is none; names those that there are.
    """
    found = deployed_categories(models_root, model)
    own = models_root / model_folder(model) / category if _is_name(category) else None
    if own is not None and (own / META_FILE).is_file():
        # Also one that cannot be read: who opens it says why.
        return own
    if category not in found:
        there = ', '.join(found) or 'none'
        msg = (
            f'category is {category!r:.80}, of {model} these are deployed: {there}; add one with: '
            'adet deploy RUN_DIR --keep'
        )
        raise ConfigError(msg)
    return found[category]


def deployed_categories(models_root: Path, model: str) -> dict[str, Path]:
    """The folder of each category that is deployed and can be opened, by its name.

    Raises:
        ConfigError: The name cannot be a model's.
    """
    home = models_root / model_folder(model)
    found = _own_folders(home)
    category = _category_of(home)
    return found if category is None else {category: home, **found}


def place_of(models_root: Path, model: str, category: str, *, keep: bool) -> Path:
    """Where the bundle of a category is to be deployed.

    Args:
        models_root: Folder of all models.
        model: The model name.
        category: Of the bundle.
        keep: Whether those of other categories stay.

    Raises:
        ConfigError: It would be deployed a second time, where nobody would take it from.
    """
    home = models_root / model_folder(model)
    own = home / category
    if place_in_use(models_root, model, category) == own and not keep:
        msg = f'{own} holds {category} beside other categories: use --keep to replace it there'
        raise ConfigError(msg)
    return own if keep and _category_of(home) != category else home


def place_in_use(models_root: Path, model: str, category: str) -> Path:
    """The folder of a category's own where it has one, else that of the model.

    Raises:
        ConfigError: The name cannot be a model's.
    """
    home = models_root / model_folder(model)
    own = home / category
    return own if (own / META_FILE).is_file() else home


def keeps_categories(models_root: Path, model: str) -> bool:
    """Whether a model has a bundle that lies in a folder of its category.

    Raises:
        ConfigError: The name cannot be a model's.
    """
    return bool(_own_folders(models_root / model_folder(model)))


def only_folder(models_root: Path, model: str) -> Path:
    """The bundle of a model whose category nobody names.

    Raises:
        ConfigError: There are several, and none of them lies in ``models/<Model>``; or adet has no
            such model, and none is deployed there.
    """
    home = deployed_folder(models_root, model)
    if (home / META_FILE).is_file():
        return home
    found = deployed_categories(models_root, model)
    if len(found) > 1:
        msg = f'{home} has bundles of several categories, name some: {", ".join(found)}'
        raise ConfigError(msg)
    return next(iter(found.values()), home)


def _own_folders(home: Path) -> dict[str, Path]:
    folders = sorted(path.parent for path in home.glob(f'*/{META_FILE}'))
    # A copy under another name is none.
    return {folder.name: folder for folder in folders if _category_of(folder) == folder.name}


def _category_of(folder: Path) -> str | None:
    if not (folder / META_FILE).is_file():
        return None
    try:
        return open_bundle(folder).manifest.category
    except BundleError:
        return None


def _is_name(text: str) -> bool:
    try:
        check_name(text)
    except ValueError:
        return False
    return True
