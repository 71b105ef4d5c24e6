# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""A retraining as a process of its own, which can be cancelled at any instant.

The process is ``adet retrain --child`` or ``adet learn --child``: its standard output has progress
as JSON lines and the result as the last one, and it ends when its standard input does, so that
none outlives its server.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
import json
import os
from pathlib import Path
import subprocess
import sys
import tempfile
import threading
from typing import Any

from adet_core.bundle import Bundle, META_FILE, only_retraining, open_bundle, rollback
from adet_core.deployed import (
    category_folder,
    deployed_categories,
    keeps_categories,
    only_folder,
    place_of,
)
from adet_core.errors import BundleError, ConfigError, DatasetError, RejectedError
from adet_core.io.folders import list_images
from adet_core.paths import check_inside, user_path
from adet_core.progress import ProgressCallback
from adet_core.retraining.settings import MODE_NEW, MODES
from adet_core.retraining.worker import Ended, Worker
from adet_core.run_folders import deploy, keep_deployed, withdraw

ROLLBACK = 'rollback'
_EVERY_MODE = (*MODES, MODE_NEW, ROLLBACK)
Current = Callable[[], str]


@dataclass(frozen=True, kw_only=True)
class Goal:
    """What somebody asks for; an empty text is the default.

    Attributes:
        model: The model name.
        images: Folder of the new normal images.
        mode: One of `MODES`, `MODE_NEW` or `ROLLBACK`.
        test_dir: Folder of labelled images.
        overrides: Settings as KEY=VALUE.
        category: What to learn; empty: what is in service, or the only one that is deployed.
    """

    model: str
    images: str = ''
    mode: str = ''
    test_dir: str = ''
    overrides: Sequence[str] = ()
    category: str = ''


@dataclass(frozen=True)
class Job:
    """A goal that was found to make sense.

    Attributes:
        bundle: What is in service before it.
        mode: One of `MODES`, `MODE_NEW` or `ROLLBACK`.
        command: The process that learns; empty for a rollback.
        place: Where a new category is deployed; None: where the bundle is.
    """

    bundle: Bundle
    mode: str
    command: list[str]
    place: Path | None = None

    @property
    def folder(self) -> Path:
        """The folder of what is in service after it."""
        return self.place or self.bundle.folder


@dataclass(frozen=True)
class Places:
    """Where a server looks for things.

    Attributes:
        models_root: Folder of the deployed models.
        data_root: Folder of ``train`` and ``test``.
        allowed_root: Goals may name folders inside this one only.
    """

    models_root: Path
    data_root: Path
    allowed_root: Path


class CancelledError(Exception):
    """Somebody cancelled the goal in time; what was in service stays."""


def plan(goal: Goal, places: Places, threads: int, current: Current = str) -> Job:
    """Find out at once what cannot work.

    Args:
        goal: What somebody asks for.
        places: Where things are.
        threads: Of the retraining; 0: one per core.
        current: Gives the category in service, or an empty text; asked where several are deployed.

    Raises:
        AdetError: The goal cannot work; says why.
    """
    mode = goal.mode or MODES[0]
    if mode not in _EVERY_MODE:
        msg = f'mode is {goal.mode!r}, expected one of: {", ".join(_EVERY_MODE)}'
        raise ConfigError(msg)
    if mode == MODE_NEW and not goal.category:
        msg = f"category is '', but mode is {mode}: name what to learn"
        raise ConfigError(msg)
    folder = _folder(goal, places, '' if mode == MODE_NEW else goal.category, current)
    bundle = open_bundle(folder, model=goal.model, in_service=True)
    if mode == ROLLBACK:
        return Job(bundle, mode, [])
    category = goal.category or bundle.manifest.category
    images = _checked('images', goal.images or places.data_root / 'train' / category, places)
    if mode == MODE_NEW:
        words = ['learn', str(images), '--category', category, '--base', str(folder)]
        words += ['--models-root', str(places.models_root)]
    else:
        words = ['retrain', str(folder), '--images', str(images)]
    tests = places.data_root / 'test' / category
    if goal.test_dir or tests.is_dir():
        words += ['--test-dir', str(_checked('test_dir', goal.test_dir or tests, places))]
    if mode == MODES[0]:
        words.append('--incremental')
    words += [word for override in goal.overrides for word in ('--set', override)]
    words += ['--threads', str(threads), '--json', '--child']
    place = None
    if mode == MODE_NEW and keeps_categories(places.models_root, goal.model):
        place = place_of(places.models_root, goal.model, category, keep=True)
    return Job(bundle, mode, [sys.executable, '-m', 'adet_core', *words], place)


def _folder(goal: Goal, places: Places, category: str, current: Current) -> Path:
    """The bundle that a goal goes on from."""
    root, model = places.models_root, goal.model
    if category:
        return category_folder(root, model, category)
    folders = deployed_categories(root, model) if keeps_categories(root, model) else {}
    # A detector may have a bundle that is not deployed here.
    found = folders.get(current()) if folders else None
    return found or only_folder(root, model)


def _checked(name: str, text: str | Path, places: Places) -> Path:
    folder = user_path(text, name)
    check_inside([folder], places.allowed_root, name, 'allowed_root')
    if not folder.is_dir():
        msg = f'{folder}: no such folder; put images there, or name another as {name}'
        raise DatasetError(msg)
    # A link among the images may lead anywhere.
    check_inside(list_images(folder), places.allowed_root, name, 'allowed_root')
    return folder


class RetrainProcess:
    """Serves one goal; `cancel` may be called from another thread.

    Attributes:
        job: What the goal comes to, once `run` has found out.
    """

    def __init__(
        self,
        goal: Goal,
        places: Places,
        *,
        current: Current = str,
        threads: int = 0,
        niceness: int = 0,
        worker: Worker | None = None,
    ) -> None:
        """Start nothing yet.

        Args:
            goal: What somebody asks for.
            places: Where things are.
            current: See `plan`.
            threads: Of the retraining; 0: one per core.
            niceness: How far it stands back behind the inspection, as the command nice has it.
            worker: Serves goal after goal; None: this goal has a process of its own.
        """
        self._worker = worker
        self.job: Job | None = None
        self._goal, self._places, self._current = goal, places, current
        self._threads, self._niceness = threads, niceness
        # The three below belong together.
        self._state = threading.Lock()
        self._child: subprocess.Popen[str] | None = None
        self._cancelled = self._decided = False
        # The run's folder of what a new category replaced.
        self._kept: Path | None = None

    def cancel(self) -> bool:
        """End it, at any instant: what it writes becomes visible in one step.

        Returns:
            False if it is too late: what was asked for is in service, or was refused.
        """
        with self._state:
            if self._decided:
                return False
            self._cancelled = True
            if self._child is not None:
                self._child.kill()
        return True

    def run(self, progress: ProgressCallback) -> dict[str, Any]:
        """Learn, or roll back.

        Args:
            progress: Told how far it is.

        Returns:
            ``message`` and ``threshold``; if it learned also ``images_used`` and ``after``, and
            ``before`` unless it is a new category.

        Raises:
            AdetError: It failed, or the new set was rejected; what was in service stays.
            CancelledError: Somebody cancelled it in time.
        """
        job = self.job = plan(self._goal, self._places, self._threads, self._current)
        if job.mode != ROLLBACK:
            result = self._learn(job, progress)
            if job.mode == MODE_NEW:
                self._deploy(job, Path(result['bundle_dir']))
            return result
        self._decide()
        after = rollback(job.bundle.folder)
        threshold = after.manifest.image_threshold.value
        return {'message': f'{after.bundle_id} is back', 'threshold': threshold}

    def rollback(self, reason: str) -> str:
        """Undo what `run` put into service, because a detector refuses it.

        Args:
            reason: The detector's.

        Returns:
            What happened, in one line.
        """
        assert self.job is not None
        folder, before = self.job.folder, self.job.bundle.bundle_id
        refused = open_bundle(folder, in_service=True).bundle_id
        if self._kept is not None:
            deploy(open_bundle(self._kept), folder)
        elif self.job.mode == MODE_NEW:
            withdraw(folder)
        else:
            rollback(folder, before)
        return f'the detector refuses {refused} ({reason}); {before} stays in service'

    def _deploy(self, job: Job, made: Path) -> None:
        """Put a new category into service; what was there before keeps a run's folder."""
        with only_retraining(job.folder):
            if (job.folder / META_FILE).is_file():
                self._kept = keep_deployed(open_bundle(job.folder), self._places.models_root)
            deploy(open_bundle(made), job.folder)

    def _learn(self, job: Job, progress: ProgressCallback) -> dict[str, Any]:
        if self._worker is None:
            returncode, result, error = self._follow(job.command, progress)
        else:
            # Without the program, which the worker is.
            words = job.command[3:]
            try:
                returncode, result, error = self._worker.follow(words, progress, self._begin)
            finally:
                with self._state:
                    self._child = None
        try:
            self._decide()
        except CancelledError:
            _undo(job)
            raise
        if returncode < 0:
            _undo(job)
            msg = f'the retraining was killed by signal {-returncode}; is memory short?'
            raise BundleError(f'{msg} What was in service stays')
        if returncode or result is None:
            raise BundleError(error.removeprefix('error: ') or f'exit {returncode}')
        if not result['success']:
            raise RejectedError(result['message'])
        return result

    def _follow(self, command: list[str], progress: ProgressCallback) -> Ended:
        """Run a child of its own to its end."""
        with (
            tempfile.TemporaryFile('w+') as errors,
            subprocess.Popen(  # noqa: S603 - our own program, and no shell
                command,
                # Its end tells the child that this process is gone.
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            ) as child,
        ):
            try:
                os.setpriority(os.PRIO_PROCESS, child.pid, self._niceness)
                self._begin(child)
                result = _result_of(child, progress)
                child.wait()
            finally:
                with self._state:
                    self._child = None
                child.kill()
            errors.seek(0)
            told = errors.read().strip().splitlines()
        return Ended(child.returncode, result, told[-1] if told else '')

    def _begin(self, child: subprocess.Popen[str]) -> None:
        """From here on there is a process to kill."""
        with self._state:
            self._child = child
            if self._cancelled:
                # Before there was one.
                child.kill()

    def _decide(self) -> None:
        """From here on it is too late to cancel."""
        with self._state:
            if self._cancelled:
                raise CancelledError
            self._decided = True


def _undo(job: Job) -> None:
    """Undo what a child that was stopped had just put into service."""
    folder, before = job.bundle.folder, job.bundle.bundle_id
    if open_bundle(folder, in_service=True).bundle_id != before:
        rollback(folder, before)


def _result_of(child: subprocess.Popen[str], progress: ProgressCallback) -> dict[str, Any] | None:
    """Pass the child's progress on; returns its result, if it came to one."""
    assert child.stdout is not None
    for line in child.stdout:
        try:
            news = json.loads(line)
        except ValueError:
            # Half a line of a child that was killed.
            return None
        if 'stage' not in news:
            result: dict[str, Any] = news
            return result
        progress(news['stage'], news['done'], news['total'])
    return None
