# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Folders that are made once per machine and user: downloads, and what takes minutes to learn."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
import fcntl
import os
from pathlib import Path
import shutil
import time

from adet_core.errors import ConfigError
from adet_core.progress import ProgressCallback

_POLL_S = 0.5


def cache_folder() -> Path:
    """``adet`` in the user's cache: ``$XDG_CACHE_HOME``, else ``~/.cache``."""
    # The standard says that a relative path is to be ignored.
    root = Path(os.environ.get('XDG_CACHE_HOME', ''))
    return (root if root.is_absolute() else Path.home() / '.cache') / 'adet'


def make_once(folder: Path, make: Callable[[Path], None], progress: ProgressCallback) -> bool:
    """Make a folder unless it is there; it appears whole or not at all.

    Another process that wants the same folder waits until it is made.

    Args:
        folder: Of the cache.
        make: Fills an empty folder, which then gets the name.
        progress: Told that another process is waited for.

    Returns:
        Whether it was made now.

    Raises:
        ConfigError: The cache cannot be written.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _locked(folder.with_name(f'{folder.name}.lock'), progress):
            if folder.is_dir():
                return False
            part = folder.with_name(f'{folder.name}.part')
            # Of somebody who was killed: who lives holds the lock.
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir()
            try:
                make(part)
                part.replace(folder)
            finally:
                shutil.rmtree(part, ignore_errors=True)
    except OSError as error:
        msg = (
            f'{folder}: {error.strerror or error}; XDG_CACHE_HOME names another folder for caches'
        )
        raise ConfigError(msg) from None
    return True


@contextmanager
def _locked(path: Path, progress: ProgressCallback) -> Iterator[None]:
    stage = 'waiting for another process'
    with path.open('w') as file:
        waited = 0
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                progress(stage, waited, None)
                waited += 1
                time.sleep(_POLL_S)
        if waited:
            progress(stage, waited, waited)
        yield
