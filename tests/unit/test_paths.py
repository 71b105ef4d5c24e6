# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Paths from people and messages: a home folder, or one line that says what is wrong."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from adet_core.errors import ConfigError
from adet_core.paths import check_inside, user_path


def test_a_home_folder_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('HOME', '/home/robot')
    assert user_path('~/data', 'data_root') == Path('/home/robot/data')
    assert user_path(Path('data'), 'data_root') == Path('data')
    assert user_path(os.fsdecode(b'/a/\xff'), 'images') == Path(os.fsdecode(b'/a/\xff'))


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('~nosuchuser/x', r"images is '~nosuchuser/x': that home folder is not known here"),
        ('a\0b', r"images is 'a\\x00b', which holds a zero byte"),
        ('a\ud800', r"images is 'a\\ud800', which cannot be encoded"),
    ],
)
def test_what_is_no_path_is_told_with_its_name(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        user_path(text, 'images')


def test_without_a_home_the_remedy_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv('HOME', raising=False)
    monkeypatch.setattr('pwd.getpwuid', lambda _: (_ for _ in ()).throw(KeyError('no entry')))
    with pytest.raises(ConfigError, match='write the whole path, or set HOME'):
        user_path('~/x', 'output_dir')


def test_links_on_the_way_do_not_lead_out(tmp_path: Path) -> None:
    (tmp_path / 'data' / 'part').mkdir(parents=True)
    (tmp_path / 'secret').mkdir()
    (tmp_path / 'secret' / 'a.png').write_text('')
    (tmp_path / 'data' / 'part' / 'a.png').write_text('')
    (tmp_path / 'data' / 'part' / 'inner').symlink_to('../part')
    good = [tmp_path / 'data', tmp_path / 'data' / 'part' / 'inner' / 'a.png']
    check_inside(good, tmp_path / 'data', 'images', 'allowed_root')
    (tmp_path / 'data' / 'part' / 'outer').symlink_to(tmp_path / 'secret')
    (tmp_path / 'data' / 'circle').symlink_to('circle')
    for bad in ('part/outer', 'part/outer/a.png', 'circle', '../secret', '..'):
        with pytest.raises(ConfigError, match=r'images is .*is not inside .*\(parameter allowed_'):
            check_inside([tmp_path / 'data' / bad], tmp_path / 'data', 'images', 'allowed_root')
