# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Progress: nothing in the way of the output, one line per stage in a log."""

from __future__ import annotations

from datetime import datetime
from types import SimpleNamespace

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


def test_a_long_stage_gets_a_line_a_minute_with_its_expected_end(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = iter(1_795_788_000.0 + 20 * step for step in range(8))
    monkeypatch.setattr('adet_core.progress.time', SimpleNamespace(time=lambda: next(now)))
    with progress_bars() as progress:
        for done in range(8):
            progress('training', done, 100)
    first, *lines = capsys.readouterr().err.splitlines()
    assert first == 'training ...'
    assert [line.partition(',')[0] for line in lines] == [
        'training: 3 of 100',
        'training: 6 of 100',
    ]
    # 20 s for each of the other 97.
    end = datetime.fromtimestamp(1_795_788_000 + 60 + 97 * 20)  # noqa: DTZ006 - as people read it
    assert lines[0].endswith(f', end about {end:%H:%M}')
