# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""``adet.toml``: what it sets, what goes before it, and what it refuses."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from adet_core import cli
from adet_core.cli.arguments import add_models_root, count
from adet_core.cli.config_file import use_config
from adet_core.errors import ConfigError

TOP = 'models_root = "/opt/models"\n'


def parsers() -> dict[str, argparse.ArgumentParser]:
    """Two commands that share an option."""
    made = {name: argparse.ArgumentParser() for name in ('train', 'deploy')}
    for parser in made.values():
        add_models_root(parser)
    made['train'].add_argument('--category', required=True)
    made['train'].add_argument('--seed', type=count, default=0)
    made['train'].add_argument('--set', action='append', default=[])
    made['deploy'].add_argument('--replace', action='store_true')
    made['deploy'].add_argument('--how', choices=('copy', 'link'), default='copy')
    return made


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv('ADET_CONFIG', raising=False)


def configured(text: str) -> dict[str, argparse.ArgumentParser]:
    Path('adet.toml').write_text(text)
    made = parsers()
    use_config(made, {'inspect': 'ROS'})
    return made


def test_nothing_changes_without_a_file() -> None:
    made = parsers()
    use_config(made, {})
    assert made['deploy'].parse_args([]).models_root == Path('models')


def test_the_command_line_goes_before_the_table_and_that_before_the_top() -> None:
    made = configured(
        f'{TOP}[train]\nmodels_root = "pc"\ncategory = "plate"\nseed = 3\nset = ["a=1", "b=2"]\n'
        '[deploy]\nreplace = true\nhow = "link"\n[inspect]\nwhatever = 1\n'
    )
    deploy = made['deploy'].parse_args([])
    assert (deploy.models_root, deploy.replace, deploy.how) == (Path('/opt/models'), True, 'link')
    train = made['train'].parse_args([])
    assert (train.models_root, train.category, train.seed) == (Path('pc'), 'plate', 3)
    assert train.set == ['a=1', 'b=2']
    words = ['--models-root', 'mine', '--seed', '4']
    train = made['train'].parse_args(words)
    assert (train.models_root, train.seed) == (Path('mine'), 4)


def test_a_variable_names_another_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / 'other.toml').write_text(TOP)
    monkeypatch.setenv('ADET_CONFIG', 'other.toml')
    made = parsers()
    use_config(made, {})
    assert made['deploy'].parse_args([]).models_root == Path('/opt/models')
    monkeypatch.setenv('ADET_CONFIG', 'none.toml')
    with pytest.raises(ConfigError, match=r'none\.toml: no such file; ADET_CONFIG names it'):
        use_config(parsers(), {})


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('model_root = "x"', 'adet.toml: model_root is no option; did you mean models_root?'),
        ('[trian]\nseed = 1', 'adet.toml: trian is no option; did you mean train?'),
        ('[train]\nsede = 1', 'adet.toml: [train] sede is no option; did you mean seed?'),
        ('[train]\nseed = "x"', "adet.toml: seed is 'x': 'x' is not a count (0 or more)"),
        ('[train]\nseed = true', 'adet.toml: seed is True, expected text or a number'),
        ('[train]\nset = "a=1"', "adet.toml: set is 'a=1', expected a list"),
        ('[train]\ncategory = ["a"]', "adet.toml: category is ['a'], expected one value"),
        ('[deploy]\nreplace = 1', 'adet.toml: replace is 1, expected true or false'),
        ('[deploy]\nhow = "x"', "adet.toml: how is 'x', expected one of: copy, link"),
        ('[deploy]\njson = true', 'adet.toml: [deploy] json is no option'),
        ('= 3', 'adet.toml: not TOML'),
    ],
)
def test_what_is_no_option_or_no_value_of_one_is_one_line(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        configured(text)
    assert str(error.value).startswith(message)


def test_a_child_looks_for_commands_of_other_packages_for_the_sake_of_a_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looked: list[str] = []
    monkeypatch.setattr(cli, 'entry_points', lambda **_: looked.append('other packages') or [])
    words = ['retrain', 'models/PaDiM', '--child']
    assert cli._parse(words).child
    assert not looked
    Path('adet.toml').write_text('threads = 3\n')
    assert cli._parse(words).threads == 3
    assert looked
