# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The models adet knows by name, and what their folders are called on disk."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from adet_core.errors import ConfigError


class ModelInfo(NamedTuple):
    """What the runtime has to know of a model beyond its bundle.

    Attributes:
        name: The word used on command lines, in topics and in messages.
        folder: The folder under a models root.
        statistics_file: The file of what retraining replaces, bound as graph inputs.
        statistics: Names of the arrays in that file, which are also the graph's inputs.
    """

    name: str
    folder: str
    statistics_file: str
    statistics: tuple[str, ...]


MODELS: Mapping[str, ModelInfo] = {
    'padim': ModelInfo('padim', 'PaDiM', 'stats.npz', ('mean', 'inv_covariance')),
}


def model_info(name: str) -> ModelInfo:
    """Look a model up by its word.

    Raises:
        ConfigError: The name is unknown; the message lists the known ones.
    """
    try:
        return MODELS[name]
    except KeyError:
        msg = f'unknown model {name!r}; known models: {", ".join(sorted(MODELS))}'
        raise ConfigError(msg) from None


def deployed_folder(models_root: Path, name: str) -> Path:
    """Where the robot layout keeps the bundle of model ``name``.

    Raises:
        ConfigError: The name is unknown.
    """
    return models_root / model_info(name).folder
