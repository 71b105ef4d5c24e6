# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""What models are called."""

from __future__ import annotations

from pathlib import Path

import pytest

from adet_core.errors import ConfigError
from adet_core.models.names import deployed_folder, FOLDERS, is_model_name, model_folder

# No word: a topic or a folder could not be called so.
IMPOSSIBLE = ['PaDiM', '', '../padim', 'a/b', '_a', '1a', 'a-b', 'é', 'a\n', 'a' * 41]


@pytest.mark.parametrize('name', FOLDERS)
def test_a_model_is_found_by_its_word(name: str) -> None:
    assert is_model_name(name)
    assert model_folder(name) == FOLDERS[name]
    assert deployed_folder(Path('/models'), name) == Path('/models', FOLDERS[name])


def test_the_folders_are_what_existing_users_have() -> None:
    assert FOLDERS == {
        'patchcore': 'PatchCore',
        'padim': 'PaDiM',
        'efficientad': 'EfficientAD',
        'vae': 'VAE',
    }


@pytest.mark.parametrize('name', ['yolo', *IMPOSSIBLE])
def test_an_unknown_word_is_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        deployed_folder(Path('/models'), name)
    assert str(caught.value).startswith(f'unknown model {name!r}; known models: ')
    assert set(FOLDERS) <= set(str(caught.value).replace(';', ',').replace(',', ' ').split())


def test_a_word_of_ones_own_has_itself_for_a_folder_once_that_is_there(tmp_path: Path) -> None:
    assert model_folder('reverse_distillation') == 'reverse_distillation'
    with pytest.raises(ConfigError, match=f'; there is no {tmp_path}/reverse_distillation$'):
        deployed_folder(tmp_path, 'reverse_distillation')
    (tmp_path / 'reverse_distillation').mkdir()
    folder = deployed_folder(tmp_path, 'reverse_distillation')
    assert folder == tmp_path / 'reverse_distillation'


@pytest.mark.parametrize('name', IMPOSSIBLE)
def test_what_can_be_no_word_has_no_folder_even_if_there_is_one(name: str, tmp_path: Path) -> None:
    assert not is_model_name(name)
    (tmp_path / 'models' / name).mkdir(parents=True, exist_ok=True)
    with pytest.raises(ConfigError, match='unknown model '):
        deployed_folder(tmp_path / 'models', name)
    with pytest.raises(ConfigError, match='unknown model '):
        model_folder(name)


def test_the_executables_are_those_of_the_known_models() -> None:
    setup = Path(__file__).parents[2] / 'ros2_ws' / 'src' / 'adet' / 'setup.py'
    assert f'MODELS = {tuple(sorted(FOLDERS))!r}\n' in setup.read_text(encoding='utf-8')
