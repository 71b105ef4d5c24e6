# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The table of models: their names, their folders on disk, and which ones have statistics.

This is the only module of the runtime that names a model; everything else is in its bundle. The
folder of a model that is not in `FOLDERS` (a user's own, see docs/new_model.md) is its name.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
import re
from typing import cast, TYPE_CHECKING

from adet_core.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from adet_core.models.statistics_model import StatisticsModel

FOLDERS: Mapping[str, str] = {
    'efficientad': 'EfficientAD',
    'padim': 'PaDiM',
    'patchcore': 'PatchCore',
    'vae': 'VAE',
}
"""Name to folder of the models that come with adet."""

DEFAULT_MODEL = 'padim'
"""The model of a command that names none."""

_WITH_STATISTICS: Mapping[str, str] = {
    'padim': 'adet_core.models.gaussian:GaussianModel',
    'patchcore': 'adet_core.models.memory_bank:MemoryBankModel',
}

# Also part of a topic's and of a node's name.
_NAME = re.compile(r'[a-z][a-z0-9_]{0,39}')


def model_folder(name: str) -> str:
    """The folder of a model under a models root.

    Raises:
        ConfigError: The name cannot be a model's.
    """
    if not is_model_name(name):
        raise ConfigError(unknown_model(name))
    return FOLDERS.get(name, name)


def is_model_name(name: str) -> bool:
    """Whether a name can be a model's: small letters, digits and underscores."""
    return _NAME.fullmatch(name) is not None


def deployed_folder(models_root: Path, name: str) -> Path:
    """Where the robot layout keeps, or would keep, the bundle of model ``name``.

    Raises:
        ConfigError: adet has no such model, and none is deployed there.
    """
    folder = models_root / model_folder(name)
    if name not in FOLDERS and not folder.is_dir():
        raise ConfigError(f'{unknown_model(name)}; there is no {folder}')
    return folder


def statistics_model(name: str) -> StatisticsModel | None:
    """What the runtime knows of a model's statistics; None for a model that has weights alone."""
    if name not in _WITH_STATISTICS:
        return None
    module, _, kind = _WITH_STATISTICS[name].partition(':')
    return cast('StatisticsModel', getattr(import_module(module), kind)())


def unknown_model(name: str) -> str:
    """The message for a model that does not exist."""
    known = ', '.join(FOLDERS)
    return f'unknown model {name!r}; known models: {known}{did_you_mean(name, FOLDERS)}'
