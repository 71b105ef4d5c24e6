# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""What a terminal shows of an inspection while it runs."""

from __future__ import annotations

import io
import threading

import pytest

pytest.importorskip('rclpy', reason='ROS 2 is not installed')

from rich.console import Console

from adet.live_view import LiveView, time_of_day
from adet_core.records import Record
from adet_core.terminal import Terminal

NOW = 1_795_788_000 * 10**9


def row(number, score, **more):
    return Record(
        stamp_ns=NOW + number,
        frame_id='',
        source=f'data/test/plate/normal/part_with_a_long_name_{number}.png',
        label='',
        model='padim',
        score=score,
        threshold=None if score is None else 2.0,
        is_anomalous=None if score is None else score >= 2,
        is_uncertain=None if score is None else 1.5 <= score < 2,
        **more,
    )


def drawn(view, width=100, height=30):
    file = io.StringIO()
    Console(file=file, width=width, height=height).print(view)
    return file.getvalue().splitlines()


@pytest.fixture
def view():
    shown = LiveView(Terminal(Console(), 2, threading.Lock()))
    for number, score in enumerate((1.0, 3.25, 1.75, None)):
        shown.add('padim', row(number, score, error='' if score else 'cannot be read'))
    return shown


def test_the_last_verdicts_and_the_counts(view):
    heading, *rows, counts = drawn(view)
    assert heading.split() == ['time', 'image', 'verdict', 'score', 'threshold']
    assert [line.split()[1:] for line in rows] == [
        ['normal/part_with_a_long_name_0.png', 'normal', '1', '2'],
        ['normal/part_with_a_long_name_1.png', 'anomaly', '3.25', '2'],
        ['normal/part_with_a_long_name_2.png', 'uncertain', '1.75', '2'],
        ['normal/part_with_a_long_name_3.png', 'not', 'inspected', '-', '-'],
    ]
    assert rows[0].startswith(time_of_day(NOW))
    assert counts == (
        'padim: 1 of 3 rejected (33.3 %), 0.0 images/s, 1 uncertain, 1 not inspected'
    )


def test_models_side_by_side_are_told_apart(view):
    view.add('line1/vae', row(9, 2.5))
    heading, *_, last, padim, vae = drawn(view)
    assert 'model' in heading
    assert 'line1/vae' in last
    assert padim.startswith('padim: 1 of 3 rejected')
    assert vae == 'line1/vae: 1 of 1 rejected (100.0 %), 0.0 images/s'


@pytest.mark.parametrize('width', [20, 35, 60, 90, 400])
@pytest.mark.parametrize('height', [3, 8, 12, 60])
def test_it_fits_on_any_terminal_and_keeps_the_verdict(view, width, height):
    for number in range(20):
        view.add('padim', row(number, 3.0))
    lines = drawn(view, width, height)
    assert all(len(line) <= width for line in lines)
    # With the bars below, and the line of the prompt.
    assert len(lines) + 3 <= max(height, 3 + len(lines) * (height < 8))
    if height >= 12:
        assert any(line.split()[:1] == ['image'] or 'image' in line for line in lines)
        assert sum('anomaly' in line for line in lines) >= 2


def test_the_rate_is_of_the_last_seconds(view, monkeypatch):
    now = [100.0]
    monkeypatch.setattr('adet.live_view.time.monotonic', lambda: now[0])
    drawn(view)
    for second in range(1, 9):
        now[0] = 100.0 + second
        for number in range(30 if second > 4 else 10):
            view.add('padim', row(number, 1.0))
        last = drawn(view)[-1]
    # Of 3 s to 8 s: 10 images, and four times 30.
    assert ' 26.0 images/s' in last
