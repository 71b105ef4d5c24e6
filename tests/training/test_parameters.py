# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""What ``--set KEY=VALUE`` takes, and what it says to the rest."""

from __future__ import annotations

from dataclasses import asdict
import re
from typing import Any

import pytest
import yaml

from adet_core.errors import ConfigError
from adet_training.models.padim import PadimParameters
from adet_training.parameters import make_parameters, Parameters, parse_settings

pytestmark = pytest.mark.training


def _padim(*words: str) -> PadimParameters:
    return make_parameters(PadimParameters, parse_settings(words))


def test_without_settings_the_defaults_hold() -> None:
    assert _padim() == PadimParameters()
    assert _padim().layers == ('blocks.1', 'blocks.2', 'blocks.4')


@pytest.mark.parametrize(
    ('word', 'name', 'value'),
    [
        ('image_size=64', 'image_size', 64),
        ('image_size=2048', 'image_size', 2048),
        ('batch_size=1', 'batch_size', 1),
        ('held_out=0.5', 'held_out', 0.5),
        ('false_reject_rate=1e-3', 'false_reject_rate', 0.001),
        ('false_reject_rate=1.0e-3', 'false_reject_rate', 0.001),
        ('backbone=wide_resnet50_2', 'backbone', 'wide_resnet50_2'),
        ('backbone="resnet50"', 'backbone', 'resnet50'),
        ('layers=layer2', 'layers', ('layer2',)),
        ('layers=layer1,layer2', 'layers', ('layer1', 'layer2')),
        ('layers=layer1, layer2', 'layers', ('layer1', 'layer2')),
        ('layers=[layer1, layer3]', 'layers', ('layer1', 'layer3')),
        ('n_features=0', 'n_features', 0),
    ],
)
def test_a_setting_is_read_with_its_type(word: str, name: str, value: Any) -> None:
    parameters = _padim(word)
    assert getattr(parameters, name) == value
    assert type(getattr(parameters, name)) is type(value)
    # Layers and backbone name each other.
    told = {name, *(('backbone', 'layers') if name in {'backbone', 'layers'} else ())}
    others = asdict(PadimParameters()).keys() - told
    assert all(getattr(parameters, n) == getattr(PadimParameters(), n) for n in others)


def test_the_last_of_two_equal_keys_counts() -> None:
    assert _padim('image_size=64', 'image_size=128').image_size == 128


def test_a_value_may_hold_an_equals_sign() -> None:
    assert parse_settings(['name=a=b']) == {'name': 'a=b'}


@pytest.mark.parametrize('word', ['image_size', '=3', '', '='])
def test_a_word_that_is_no_setting_is_shown(word: str) -> None:
    message = re.escape(f'--set takes KEY=VALUE, got {word!r}')
    with pytest.raises(ConfigError, match=f'^{message}$'):
        parse_settings([word])


@pytest.mark.parametrize('text', ['[', '{', '"', '@x', '!!python/object/apply:os.system [true]'])
def test_a_value_that_yaml_cannot_read_is_shown(text: str) -> None:
    message = re.escape(f'--set layers: {text!r} is not a value; quote it')
    with pytest.raises(ConfigError, match=f'^{message}$'):
        parse_settings([f'layers={text}'])


def test_an_unknown_key_is_answered_with_the_known_ones() -> None:
    known = ', '.join(sorted(asdict(PadimParameters())))
    message = f"^unknown hyper-parameter 'image_sise'; known: {known}; did you mean image_size\\?$"
    with pytest.raises(ConfigError, match=message):
        _padim('image_sise=64')


def test_the_parameters_of_one_model_are_unknown_to_another() -> None:
    with pytest.raises(ConfigError, match="unknown hyper-parameter 'n_features'"):
        make_parameters(Parameters, {'n_features': 3})


@pytest.mark.parametrize(
    ('word', 'message'),
    [
        (
            'image_size=big',
            "image_size is 'big', expected a whole number, or WIDTHxHEIGHT such as 512x256",
        ),
        (
            'image_size=64.0',
            'image_size is 64.0, expected a whole number, or WIDTHxHEIGHT such as 512x256',
        ),
        (
            'image_size=',
            'image_size is None, expected a whole number, or WIDTHxHEIGHT such as 512x256',
        ),
        (
            'image_size=true',
            'image_size is True, expected a whole number, or WIDTHxHEIGHT such as 512x256',
        ),
        (
            'image_size=[64]',
            'image_size is [64], expected a whole number, or WIDTHxHEIGHT such as 512x256',
        ),
        ('held_out=half', "held_out is 'half', expected a number, between 0 and 1"),
        ('held_out=false', 'held_out is False, expected a number, between 0 and 1'),
        ('fit=2', 'fit is 2, expected text, stretch or letterbox or crop'),
        ('backbone=18', 'backbone is 18, expected text'),
        ('backbone=', 'backbone is None, expected text'),
        ('layers=3', 'layers is 3, expected different names separated by commas'),
        ('layers=[]', 'layers is [], expected different names separated by commas'),
        ('layers=[1]', 'layers is [1], expected different names separated by commas'),
        ('layers=a,', "layers is 'a,', expected different names separated by commas"),
        ('layers=a,b,a', "layers is 'a,b,a', expected different names separated by commas"),
    ],
)
def test_a_value_of_another_type_is_refused(word: str, message: str) -> None:
    with pytest.raises(ConfigError, match=f'^{re.escape(message)}$'):
        _padim(word)


@pytest.mark.parametrize(
    ('word', 'message'),
    [
        ('image_size=63', 'image_size is 63, expected 64 to 2048'),
        ('image_size=2049', 'image_size is 2049, expected 64 to 2048'),
        ('image_size=-64', 'image_size is -64, expected 64 to 2048'),
        ('batch_size=0', 'batch_size is 0, expected 1 to 1024'),
        ('batch_size=1025', 'batch_size is 1025, expected 1 to 1024'),
        ('held_out=0', 'held_out is 0.0, expected between 0 and 1'),
        ('held_out=1', 'held_out is 1.0, expected between 0 and 1'),
        ('held_out=.nan', 'held_out is nan, expected between 0 and 1'),
        ('false_reject_rate=0', 'false_reject_rate is 0.0, expected between 0 and 1'),
        ('false_reject_rate=1.5', 'false_reject_rate is 1.5, expected between 0 and 1'),
        ('n_features=-1', 'n_features is -1, expected 0 or more'),
    ],
)
def test_a_value_out_of_range_is_refused(word: str, message: str) -> None:
    with pytest.raises(ConfigError, match=f'^{re.escape(message)}$'):
        _padim(word)


def test_parameters_written_as_yaml_are_read_back() -> None:
    parameters = _padim('layers=layer1,layer2', 'held_out=0.125', 'n_features=7')
    plain = {**asdict(parameters), 'layers': list(parameters.layers)}
    again = yaml.safe_load(yaml.safe_dump(plain))
    assert make_parameters(PadimParameters, again) == parameters


def test_a_mistyped_name_is_answered_with_the_one_it_resembles() -> None:
    with pytest.raises(ConfigError, match=r"'n_feature'; known: .*; did you mean n_features\?$"):
        _padim('n_feature=3')
