# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import os
from pathlib import Path

from optuna.trial import FixedTrial
import pytest

from adet_core.errors import ConfigError
from adet_training.models import load_adapter, own_models
from adet_training.parameters import parse_settings, read_settings, read_yaml
from adet_training.search_space import default_search_space, read_search_space, suggest

pytestmark = pytest.mark.training


def read(tmp_path: Path, text: str) -> dict[str, object]:
    path = tmp_path / 'space.yaml'
    path.write_text(text)
    return dict(read_search_space(path, load_adapter('padim').parameters))


@pytest.mark.parametrize('model', own_models())
def test_every_model_comes_with_a_search_space_that_fits_it(model: str) -> None:
    path = default_search_space(model)
    assert read_search_space(path, load_adapter(model).parameters)
    # Where people look for it, and where an installed package has it.
    assert path.samefile(Path(__file__).parents[2] / 'training' / 'search_space' / path.name)


def test_each_form_gives_a_value_of_its_own_kind(tmp_path: Path) -> None:
    space = read(
        tmp_path,
        """
        n_features: {low: 10, high: 50, step: 20}
        held_out: {low: 0.1, high: 0.4}
        false_reject_rate: {low: 0.001, high: 0.1, log: true}
        layers: {choices: ['layer1,layer2', 'layer2']}
        image_size: 128
        """,
    )
    chosen = {'n_features': 30, 'held_out': 0.2, 'false_reject_rate': 0.01, 'layers': 'layer2'}
    assert suggest(FixedTrial(chosen), space) == {**chosen, 'image_size': 128}


@pytest.mark.parametrize(
    ('text', 'expected'),
    [
        ('n_feature: 10', "n_feature: unknown hyper-parameter 'n_feature'; known: "),
        ('image_size: {low: 10, high: 256}', 'image_size: image_size is 10, expected 64 to 2048'),
        (
            'image_size: {choices: [64, big]}',
            "image_size: image_size is 'big', expected a whole number, or WIDTHxHEIGHT",
        ),
        ('n_features: {low: 50, high: 10}', 'n_features: expected a value'),
        ('n_features: {low: 10, high: 50, step: 0}', 'n_features: expected a value'),
        ('n_features: {low: 0, high: 50, log: true}', 'n_features: expected a value'),
        ('n_features: {low: 1, high: 50, log: true, step: 2}', 'n_features: expected a value'),
        ('n_features: {low: 1, high: 50, log: yes please}', 'n_features: expected a value'),
        ('n_features: {low: true, high: 50}', 'n_features: expected a value'),
        ('n_features: {low: 10}', 'n_features: expected a value'),
        ('n_features: {low: 10, high: 20, hi: 3}', 'n_features: expected a value'),
        ('n_features: {choices: []}', 'n_features: expected a value'),
        ('layers: {choices: [[layer1, layer2]]}', 'layers: expected a value'),
        ('', 'expected hyper-parameters and what they may be'),
        ('- n_features', 'expected hyper-parameters and what they may be'),
        ('n_features: {low: 10', 'not YAML'),
    ],
)
def test_a_wrong_search_space_is_one_line_with_file_and_parameter(
    text: str, expected: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text)
    message = str(caught.value)
    assert message.startswith(f'{tmp_path}/space.yaml: {expected}')
    assert '\n' not in message


@pytest.mark.timeout(60)
def test_a_pipe_is_no_file_of_settings(tmp_path: Path) -> None:
    path = tmp_path / 'pipe.yaml'
    os.mkfifo(path)
    with pytest.raises(ConfigError, match=r'pipe\.yaml: is not a regular file$'):
        read_yaml(path, 'no such file')


@pytest.mark.parametrize('text', ['a: 2026-13-45', '[' * 10**5])
def test_what_yaml_cannot_read_is_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / 'odd.yaml'
    path.write_text(text)
    with pytest.raises(ConfigError, match=r'odd\.yaml: not YAML \('):
        read_settings(path)
    with pytest.raises(ConfigError, match='is not a value; quote it'):
        parse_settings([f'key={text.removeprefix("a: ")}'])
