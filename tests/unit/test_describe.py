# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Hyper-parameters in words."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Annotated

import pytest

pytest.importorskip('adet_training', reason='the training package is not installed')

from adet_training.cli import models
from adet_training.describe import describe_parameters, described_lines
from adet_training.limits import at_least
from adet_training.parameters import Parameters


@dataclass(frozen=True, kw_only=True)
class Own(Parameters):
    """Of a model.

    Attributes:
        steps: Optimisation steps, of ``batch_size`` images
            each.
        layers: Its layers.
        image_size: Another default.
    """

    image_size: int = 128
    steps: Annotated[int, at_least(2)] = 40
    layers: tuple[str, ...] = ('a', 'b')


def test_every_hyper_parameter_has_a_type_a_default_and_a_meaning() -> None:
    found = {one.name: one for one in describe_parameters(Own)}
    assert set(found) == {field.name for field in fields(Own)}
    assert all(one.meaning for one in found.values())
    assert list(found)[:2] == ['steps', 'layers']
    assert found['steps'] == (
        'steps',
        'a whole number',
        '2 or more',
        '40',
        'Optimisation steps, of batch_size images each.',
    )
    assert found['layers'][1:4] == ('names separated by commas', '', 'a,b')
    # Of another default, and so with the range that it had.
    assert found['image_size'][2:] == ('64 to 2048', '128', 'Another default.')
    assert found['robust'][1:4] == ('true or false', '', 'false')
    lines = described_lines(list(found.values()))
    assert lines[0] == 'steps (a whole number, 2 or more; default: 40)'
    assert 'group_by (text, a regular expression; default: empty)' in lines


def test_models_are_listed_those_of_adet_first(capsys: pytest.CaptureFixture[str]) -> None:
    import argparse

    result = models.run(argparse.Namespace(model=None))
    assert result['models'][:4] == ['efficientad', 'padim', 'patchcore', 'vae']
    models.show(result)
    assert capsys.readouterr().out.startswith('efficientad\npadim\n')


def test_set_help_lists_the_hyper_parameters_of_the_model(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from adet_core.cli import main

    named = []
    monkeypatch.setattr(models, 'run', lambda arguments: named.append(arguments.model) or {})
    monkeypatch.setattr(models, 'show', lambda _: named.append('shown'))
    with pytest.raises(SystemExit) as end:
        main(['train', '--model', 'vae', '--set', 'help'])
    assert (end.value.code, named) == (0, ['vae', 'shown'])


@pytest.mark.parametrize('model', ['efficientad', 'padim', 'patchcore', 'vae'])
def test_every_number_and_word_of_adets_models_has_a_range(model: str) -> None:
    from adet_training.models import load_adapter

    # Any text: names of a network, and paths.
    free = {'backbone', 'teacher', 'natural_images'}
    for one in describe_parameters(load_adapter(model).parameters):
        has_range = one.type not in ('true or false', 'names separated by commas')
        assert bool(one.allowed) == (has_range and one.name not in free), one
