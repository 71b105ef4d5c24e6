# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Runs that were interrupted in their steps, and how the same command goes on with them."""

from __future__ import annotations

from collections.abc import Mapping
import fcntl
import json
from pathlib import Path
from typing import Any, IO

from adet_core.bundle import write_atomic
from adet_core.errors import ConfigError
from adet_core.models.names import model_folder
from adet_core.run_folders import BUNDLE_FOLDER
from adet_training.fit import CHECKPOINT_FOLDER, LAST

AUTO, NONE = 'auto', 'none'

_FILE, _LOCK = 'begun.json', 'lock'


class Claim:
    """A run's folder that this process trains in; nobody else goes on with it meanwhile."""

    def __init__(self, folder: Path) -> None:
        """Lock the folder until the end of the process.

        Raises:
            BlockingIOError: Another process trains in it.
        """
        place = folder / CHECKPOINT_FOLDER
        place.mkdir(exist_ok=True)
        self._place = place
        self._lock: IO[str] = (place / _LOCK).open('w')
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.close()
            raise

    def begin(self, told: Mapping[str, Any]) -> None:
        """Write down what is trained."""
        write_atomic(self._place / _FILE, _text(told).encode())

    def finish(self) -> None:
        """Nobody is to go on with it any more."""
        (self._place / _FILE).unlink(missing_ok=True)
        (self._place / _LOCK).unlink(missing_ok=True)
        self._lock.close()


def go_on(
    resume: str, told: Mapping[str, Any], *, models_root: Path, model: str, category: str
) -> tuple[Path, Claim] | None:
    """The interrupted run that a training goes on with.

    Args:
        resume: ``auto`` takes the newest one that was begun with the same, ``none`` none; or the
            folder of one.
        told: What decides the weights: images, parameters, seed.
        models_root: Folder of all models.
        model: The model name.
        category: Name of the folder of the category.

    Returns:
        Its folder, claimed; None where there is none.

    Raises:
        ConfigError: The folder that was named cannot be gone on with.
    """
    if resume == NONE:
        return None
    if resume != AUTO:
        return _named(Path(resume), told)
    runs = (models_root / model_folder(model) / category).glob('*')
    for folder in sorted(runs, reverse=True):
        if _is_interrupted(folder) and _begun(folder) == _text(told):
            try:
                return folder, Claim(folder)
            except BlockingIOError:
                # It is not interrupted: it runs.
                continue
    return None


def _named(folder: Path, told: Mapping[str, Any]) -> tuple[Path, Claim]:
    if not _is_interrupted(folder):
        msg = f'{folder}: no training that was interrupted in its steps; leave out --resume'
        raise ConfigError(msg)
    begun, now = json.loads(_begun(folder)), json.loads(_text(told))
    if differing := [name for name in now if begun.get(name) != now[name]]:
        what = ', '.join(differing)
        msg = f'{folder}: was begun with another {what}; give the same, or leave out --resume'
        raise ConfigError(msg)
    try:
        return folder, Claim(folder)
    except BlockingIOError:
        raise ConfigError(f'{folder}: another process trains in it') from None


def _is_interrupted(folder: Path) -> bool:
    place = folder / CHECKPOINT_FOLDER
    is_begun = (place / LAST).is_file() and (place / _FILE).is_file()
    return is_begun and not (folder / BUNDLE_FOLDER).is_dir()


def _begun(folder: Path) -> str:
    try:
        return (folder / CHECKPOINT_FOLDER / _FILE).read_text()
    except (OSError, UnicodeDecodeError):
        return '{}'


def _text(told: Mapping[str, Any]) -> str:
    return json.dumps(told, sort_keys=True, default=str)
