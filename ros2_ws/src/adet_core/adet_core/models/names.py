# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""What models are called: their words on command lines and in topics, their folders on disk.

The runtime needs no more than that: everything else is in a model's bundle. A model that is not in
`FOLDERS` (somebody's own, see docs/new_model.md) has its word for a folder.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
import re

from adet_core.errors import ConfigError

FOLDERS: Mapping[str, str] = {
    'efficientad': 'EfficientAD',
    'padim': 'PaDiM',
    'patchcore': 'PatchCore',
    'vae': 'VAE',
}
"""Word to folder of the models that come with adet."""

# Also part of a topic's and of a node's name.
_WORD = re.compile(r'[a-z][a-z0-9_]{0,39}')


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
    return _WORD.fullmatch(name) is not None


def deployed_folder(models_root: Path, name: str) -> Path:
    """Where the robot layout keeps, or would keep, the bundle of model ``name``.

    Raises:
        ConfigError: adet has no such model, and none is deployed there.
    """
    folder = models_root / model_folder(name)
    if name not in FOLDERS and not folder.is_dir():
        raise ConfigError(f'{unknown_model(name)}; there is no {folder}')
    return folder


def unknown_model(name: str) -> str:
    """What to tell somebody who asks for a model that is not there."""
    return f'unknown model {name!r}; known models: {", ".join(FOLDERS)}'
