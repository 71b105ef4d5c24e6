# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Inspections on a terminal: the last verdicts, counts and bars, with the log above them."""

from __future__ import annotations

import os
import re
import shlex

import pytest

pytest.importorskip('rclpy', reason='ROS 2 is not installed')

from screen import on_terminal

from adet_core.records import read_records

pytestmark = pytest.mark.ros

_HEADING = ['time', 'image', 'verdict', 'score', 'threshold']


@pytest.fixture
def words(deployed, tmp_path):
    return [
        '--source', deployed.test_folder, '--models-root', deployed.models_root,
        '--output-dir', tmp_path / 'out', '--namespace', f'/terminal{os.getpid()}',
    ]  # fmt: skip


def test_an_inspection_shows_its_verdicts_below_the_log(words, tmp_path):
    data = ['--data-root', tmp_path / 'data']
    ended = on_terminal(['adet', 'serve', '--no-console', *words, *data], width=250, height=40)
    assert ended.code == 0
    rows = list(read_records(tmp_path / 'out' / 'result_padim.csv'))
    rejected = sum(row.is_anomalous for row in rows)
    heading = next(i for i, line in enumerate(ended.lines) if line.split() == _HEADING)
    shown = [line.split() for line in ended.lines[heading + 1 : heading + 9]]
    assert [one[1:3] for one in shown] == [
        ['/'.join(row.source.split('/')[-2:]), 'anomaly' if row.is_anomalous else 'normal']
        for row in rows[-8:]
    ]
    counts, starting, inspecting = ended.lines[heading + 9 : heading + 12]
    share = 100 * rejected / 16
    assert counts.startswith(f'padim: {rejected} of 16 rejected ({share:.1f} %), ')
    assert re.fullmatch(r'starting +━+ +1/1 .*', starting)
    assert re.fullmatch(r'inspecting +━+ +16/16 .*', inspecting)
    # Each line of the log begins a line; those of the detector and of the retrain server.
    log = [line for line in ended.lines if '[INFO]' in line]
    assert any('padim_detector' in line for line in log)
    assert all(line.startswith('[INFO] [') and line.count('[INFO]') == 1 for line in log)
    assert ended.lines[-2].startswith('next: adet evaluate ')


def test_a_run_that_is_interrupted_says_what_is_kept(words, tmp_path):
    pressed = []

    def interrupt(keyboard, raw):
        if ' of 2 rejected' in raw and not pressed:
            pressed.append(os.write(keyboard, b'\x03'))

    # Slow enough that a busy machine draws the second row before the last one comes.
    command = ['adet', 'inspect', *words, '--publish-rate', 1]
    ended = on_terminal(command, width=400, during=interrupt)
    assert ended.code == 130
    assert ended.raw.rindex('\x1b[?25h') > ended.raw.rindex('\x1b[?25l')
    kept, interrupted, end = ended.lines[-3:]
    assert (interrupted, end) == ('interrupted', '')
    assert kept.startswith('the rows so far are kept; next: adet evaluate ')
    results = shlex.split(kept)[shlex.split(kept).index('--results') + 1]
    assert results == str(tmp_path / 'out' / 'result_padim.csv')


def test_nothing_is_started_for_a_source_that_is_not_there(words):
    words = ['nowhere' if one == words[1] else one for one in words]
    ended = on_terminal(['adet', 'serve', *words], width=250)
    assert ended.code == 1
    (error, _) = ended.lines
    assert error.startswith('error: nowhere: no such folder')


def test_json_on_a_terminal_comes_without_a_table(words):
    ended = on_terminal(['adet', 'inspect', *words, '--json'], width=250)
    assert ended.code == 0
    assert _HEADING not in [line.split() for line in ended.lines]
    assert ended.lines[-2].startswith('{"expected": 16, ')
