# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Trainings by steps that are interrupted, limited in time, or go on with another's folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
import itertools
import os
from pathlib import Path
import signal
from types import SimpleNamespace
from typing import Any

import pytest
from tiny_models import Learn
import torch

from adet_core.cli import main
from adet_core.errors import ConfigError
from adet_training.long_training import StepOrder
from adet_training.train import Run
from adet_training.unfinished import Claim

pytestmark = pytest.mark.training

STEPS = 12


class Killed(BaseException):
    """Not caught by anybody."""


@pytest.fixture
def step(learn: Learn, few_images: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Run]:
    """Train a small VAE, saved after each step."""
    monkeypatch.setattr('adet_training.long_training._SAVE_S', 0.0)

    def run(progress: Any = None, steps: int = STEPS, **other: Any) -> Run:
        settings = {'steps': steps, 'batch_size': 4, **other.pop('settings', {})}
        values = {'model': 'vae', 'data_root': few_images, **other}
        return learn(settings, progress, **values)

    return run


def _at(number: int, do: Callable[[], object]) -> Callable[..., None]:
    """Progress that does something after a step."""

    def progress(stage: str, done: int, _: int | None) -> None:
        if stage == 'training' and done == number:
            do()

    return progress


def _kill() -> None:
    raise Killed


def _tensors(run: Run) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = torch.load(run.folder / 'pytorch' / 'model.pth')
    return found


def _checkpoints(folder: Path) -> set[str]:
    return {path.name for path in (folder / 'checkpoint').iterdir()}


def test_after_a_kill_the_same_command_ends_with_the_same_weights(
    step: Callable[..., Run], tmp_path: Path
) -> None:
    whole = step(models_root=tmp_path / 'whole')
    child = os.fork()
    if child == 0:
        try:
            step(_at(10, lambda: os.kill(os.getpid(), signal.SIGKILL)))
        finally:
            os._exit(1)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    (folder,) = (tmp_path / 'models' / 'VAE' / 'plate').iterdir()
    assert _checkpoints(folder) >= {'last.ckpt', 'begun.json'}

    told: list[str] = []
    first: list[int] = []

    def progress(stage: str, done: int, _: int | None) -> None:
        if stage == 'training':
            first.append(done)

    run = step(progress, resume='auto', tell=told.append)
    assert run.folder == folder
    assert told[0] == f'goes on with the interrupted {folder}; --resume none begins anew'
    assert first[0] == 9
    expected, found = _tensors(whole), _tensors(run)
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert _checkpoints(folder) == _checkpoints(whole.folder) == {'best.ckpt'}
    log = (folder / 'logs' / 'train.log').read_text()
    assert log.count('adet train, ') == 2


@dataclass
class Interrupted:
    """A run that was interrupted."""

    folder: Path
    step: Callable[..., Run]
    told: list[str] = field(default_factory=list)

    def again(self, **other: Any) -> Run:
        return self.step(tell=self.told.append, **{'resume': 'auto', **other})


@pytest.fixture
def interrupted(step: Callable[..., Run], tmp_path: Path) -> Interrupted:
    """See `Interrupted`."""
    with pytest.raises(Killed):
        step(_at(5, _kill))
    (folder,) = (tmp_path / 'models' / 'VAE' / 'plate').iterdir()
    return Interrupted(folder, step)


def test_what_is_not_the_same_begins_anew(interrupted: Interrupted, own_few: Path) -> None:
    runs = [
        interrupted.again(resume='none'),
        interrupted.again(seed=2),
        interrupted.again(steps=STEPS + 1),
    ]
    first = next((own_few / 'train' / 'plate').iterdir())
    first.unlink()
    runs.append(interrupted.again(data_root=own_few))
    with Claim(interrupted.folder)._lock:
        runs.append(interrupted.again())
    assert len({run.folder for run in runs} | {interrupted.folder}) == 6
    assert not any('goes on with' in line for line in interrupted.told)
    # More time is no other training.
    assert interrupted.again(settings={'max_minutes': 5}).folder == interrupted.folder


def test_a_folder_that_cannot_be_gone_on_with_is_refused(
    interrupted: Interrupted, learn: Learn, tmp_path: Path
) -> None:
    folder = interrupted.folder
    with pytest.raises(ConfigError, match=f'^{folder}: was begun with another seed; give the sa'):
        interrupted.again(resume=str(folder), seed=2)
    with pytest.raises(ConfigError, match=f'^{tmp_path}: no training that was interrupted in its'):
        interrupted.again(resume=str(tmp_path))
    with Claim(folder)._lock, pytest.raises(ConfigError, match=f'^{folder}: another process tra'):
        interrupted.again(resume=str(folder))
    with pytest.raises(ConfigError, match=r'^--resume: padim learns in one pass; leave it out$'):
        learn(resume=str(folder))
    last = folder / 'checkpoint' / 'last.ckpt'
    whole = last.read_bytes()
    last.write_bytes(whole[:-100])
    with pytest.raises(ConfigError, match=f'^{last}: damaged .*; --resume none begins anew$'):
        interrupted.again()
    last.write_bytes(whole)
    assert interrupted.again(resume=str(folder)).folder == folder


def test_a_limit_of_time_ends_the_steps(
    step: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Each look at the clock is a second later than the one before.
    clock = SimpleNamespace(monotonic=partial(next, itertools.count(0.0)))
    monkeypatch.setattr('adet_training.long_training.time', clock)
    told: list[str] = []
    totals: list[int] = []

    def progress(stage: str, _: int, total: int | None) -> None:
        if stage == 'training':
            totals.append(total or 0)

    run = step(progress, 10**6, settings={'max_minutes': 1.0}, tell=told.append)
    assert run.bundle.manifest.hyper_parameters['max_minutes'] == 1.0
    assert totals[0] == 10**6
    assert 5 <= totals[-1] <= 60
    (line,) = told
    expected = '12 steps of 1000000, as the time is limited, about 1 min from now. '
    assert line.startswith(f'training: 0.20 steps/s here; {expected}')


def test_a_model_that_learns_in_one_pass_has_no_limit(
    few_images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ['--category', 'plate', '--data-root', str(few_images)]
    assert main(['train', '--model', 'padim', *where, '--max-time', '1']) == 1
    expected = 'error: --max-time: padim learns in one pass, not by steps; leave it out'
    assert capsys.readouterr().err.splitlines()[-1] == expected


def test_each_pass_has_an_order_of_its_own_that_begins_anywhere() -> None:
    def passes(start: int) -> list[list[int]]:
        order = StepOrder(5, 2, seed=3)
        order.start = start
        return [list(order) for _ in range(3)]

    whole = passes(0)
    assert all(sorted(one) == list(range(5)) for one in whole)
    assert whole[0] != whole[1]
    # Of the second pass of three steps, the first was done.
    assert passes(4) == [whole[1][2:], whole[2], passes(6)[1]]
