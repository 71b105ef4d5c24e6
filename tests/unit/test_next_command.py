# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The next command is whole: it parses to what it was made of."""

from __future__ import annotations

import argparse
from importlib.metadata import EntryPoint
from pathlib import Path
import shlex

import pytest

from adet_core import cli
from adet_core.cli.next_command import next_command

DEPLOY = EntryPoint('deploy', 'adet_core.cli.deploy', 'adet.commands')
EVALUATE = EntryPoint('evaluate', 'adet_evaluation.cli.evaluate', 'adet.commands')


@pytest.fixture(autouse=True)
def commands(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two commands are installed."""
    monkeypatch.setattr('adet_core.cli.entry_points', lambda **_: [DEPLOY, EVALUATE])


def _parsed(line: str) -> argparse.Namespace:
    words = shlex.split(line)
    assert words[0] == 'adet'
    return cli._parse(words[1:])


def test_options_with_their_default_are_left_out() -> None:
    given = argparse.Namespace(models_root=Path('models'), seed=3)
    assert next_command('deploy', 'run', carry=given) == 'adet deploy run'


def test_what_a_shell_would_split_comes_back_whole() -> None:
    root, run = Path("my models/$HOME's"), Path('a run; rm -rf *')
    given = argparse.Namespace(models_root=root, replace=True, json=True)
    parsed = _parsed(next_command('deploy', run, carry=given))
    assert (parsed.run_dir, parsed.models_root, parsed.replace) == (run, root, True)


def test_a_list_repeats_its_flag_and_a_dash_stays_a_value() -> None:
    bundles = [Path('models/PaDiM'), Path('-odd')]
    parsed = _parsed(next_command('evaluate', bag='b', bundle=bundles, report='--out'))
    assert parsed.bundle == bundles
    assert parsed.report == Path('--out')


def test_an_option_that_the_command_does_not_have_is_a_mistake() -> None:
    with pytest.raises(ValueError, match=r'^adet deploy has no option output$'):
        next_command('deploy', 'run', output='x')


def test_a_command_that_is_installed_elsewhere_shows_what_it_is_given() -> None:
    given = argparse.Namespace(models_root='kept')
    line = next_command('inspect', carry=given, model='padim', models_root='a b')
    assert line == "adet inspect --model padim --models-root 'a b'"
