# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""How busy the cores are."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from adet_core import cores


@pytest.fixture
def statistics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What Linux says of two cores."""
    path = tmp_path / 'stat'
    monkeypatch.setattr(cores, '_STATISTICS', path)
    monkeypatch.setattr(os, 'sched_getaffinity', lambda _: {0, 1})
    return path


def write(path: Path, busy: tuple[int, int]) -> None:
    """They were busy for so many hundredths of a second."""
    lines = [f'cpu{number} {ticks} 0 0 9 9 0 0 0 0 0' for number, ticks in enumerate(busy)]
    path.write_text('\n'.join(['cpu  0 0 0 0', *lines, 'cpu9 5 5', 'ctxt 3']))


@pytest.mark.parametrize(
    ('busy', 'own', 'idle', 'share'),
    [
        ((0, 0), 0.0, 2, 1.0),
        ((1000, 0), 0.0, 1, 0.5),
        ((1000, 1000), 0.0, 1, 0.0),
        ((1000, 0), 10.0, 2, 0.5),
        ((500, 250), 5.0, 2, 0.625),
    ],
)
def test_cores_that_others_keep_busy_are_not_idle(
    busy: tuple[int, int],
    own: float,
    idle: int,
    share: float,
    statistics: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    times = iter([(0.0, 0.0), (10.0, own), (10.0, own)])
    monkeypatch.setattr(cores, '_times', lambda: next(times))
    write(statistics, (0, 0))
    watch = cores.IdleCores()
    write(statistics, busy)
    assert watch.count() == idle
    assert watch.share() == share


def test_where_nobody_tells_all_cores_are_idle(
    statistics: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not statistics.exists()
    monkeypatch.setattr(os, 'sched_getaffinity', lambda _: {0, 1, 2})
    assert cores.IdleCores().count() == 3
    assert cores.IdleCores().share() == 1
