# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""``adet distill``, with drawn images for photographs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from adet_core.cli import main
from adet_training.distill import make_teacher

pytestmark = pytest.mark.training

Out = pytest.CaptureFixture[str]
SMALL = ('--backbone-weights', 'random', '--pieces', '8', '--steps')


@pytest.mark.parametrize(('model_size', 'steps'), [('small', '1'), ('medium', '0')])
def test_a_teacher_is_written_that_anomalibs_network_takes(
    model_size: str,
    steps: str,
    data_root: Path,
    tmp_path: Path,
    capsys: Out,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr('adet_training.distill._MEASURED', 8)
    out = tmp_path / 'new' / 'teacher.pth'
    photographs = str(data_root / 'train')
    command = ['distill', str(out), '--natural-images', photographs, *SMALL, steps, '--json']
    assert main([*command, '--model-size', model_size]) == 0
    out_text, told = capsys.readouterr()
    assert 'measuring the backbone ...' in told.splitlines()
    result = json.loads(out_text)
    assert result['teacher'] == str(out)
    assert 0 < result['error'] < 10
    teacher = make_teacher(model_size)
    teacher.load_state_dict(torch.load(out, weights_only=True))
    assert [path.name for path in out.parent.iterdir()] == ['teacher.pth']


@pytest.mark.parametrize('what', ['missing', 'empty', 'unreadable'])
def test_without_photographs_there_is_one_line(what: str, tmp_path: Path, capsys: Out) -> None:
    folder = tmp_path / 'photographs'
    if what != 'missing':
        folder.mkdir()
    if what == 'unreadable':
        (folder / 'one.png').write_bytes(b'no image')
    command = ['distill', str(tmp_path / 't.pth'), '--natural-images', str(folder), *SMALL, '0']
    assert main(command) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith(f'error: {folder}: ')
    assert not (tmp_path / 't.pth').exists()
