# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Progress: nothing in the way of the output, one line per stage in a log."""

from __future__ import annotations

import pytest

from adet_core.progress import progress_bars, silent


def test_a_log_gets_one_line_per_stage(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bars() as progress:
        for done in range(4):
            progress('reading', done, 3)
        progress('fitting', 0, None)
        progress('fitting', 1, 1)
    captured = capsys.readouterr()
    assert captured.err.splitlines() == ['reading ...', 'fitting ...']
    assert captured.out == ''


def test_silent_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    silent('reading', 1, None)
    assert capsys.readouterr() == ('', '')


@pytest.mark.parametrize('name', ['[/b]', '[red]x', ':boom:', '[link=a]'])
def test_what_a_folder_is_called_is_no_markup(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with progress_bars() as progress:
        progress(name, 1, 2)
    assert capsys.readouterr().err == f'{name} ...\n'


def test_bars_take_any_name_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv('FORCE_COLOR', '1')
    with progress_bars() as progress:
        progress('[/b]', 1, 2)
    assert '[/b]' in capsys.readouterr().err
