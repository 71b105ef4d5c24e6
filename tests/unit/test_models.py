# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The registry of models."""

from __future__ import annotations

from pathlib import Path

import pytest

from adet_core.errors import ConfigError
from adet_core.models import deployed_folder, model_info, MODELS


@pytest.mark.parametrize('name', MODELS)
def test_a_model_is_found_by_its_word(name: str) -> None:
    info = model_info(name)
    assert info.name == name
    assert deployed_folder(Path('/models'), name) == Path('/models', info.folder)
    assert info.statistics_file.endswith('.npz')
    assert len(set(info.statistics)) == len(info.statistics)


def test_the_folders_are_what_existing_users_have() -> None:
    fixed = {
        'patchcore': 'PatchCore',
        'padim': 'PaDiM',
        'efficientad': 'EfficientAD',
        'vae': 'VAE',
    }
    folders = {name: info.folder for name, info in MODELS.items()}
    assert folders.items() <= fixed.items()
    assert MODELS['padim'].statistics_file == 'stats.npz'
    assert MODELS['padim'].statistics == ('mean', 'inv_covariance')


@pytest.mark.parametrize('name', ['PaDiM', 'yolo', '', '../padim'])
def test_an_unknown_word_is_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(ConfigError, match=f"unknown model '{name}'; known models: .*padim"):
        deployed_folder(Path('/models'), name)
