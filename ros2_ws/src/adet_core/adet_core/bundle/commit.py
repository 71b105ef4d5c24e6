# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Replace several files of one folder as if it were a single step.

POSIX renames one name at a time, and the folder of a deployed bundle also holds things that have
to stay (engines, runs of the same model), so the folder itself cannot be exchanged. Instead a set
of files is written to a hidden folder beside them, flushed, and renamed to ``.incoming``: that
rename is the commit. From then on a file found in ``.incoming`` counts, and the one beside it does
not, so at every instant a reader sees one whole set. Moving the files to their final places only
tidies up, and whoever writes next finishes it after a crash.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
import errno
import fcntl
import os
from pathlib import Path
import shutil
import stat
import tempfile
from typing import IO

INCOMING = '.incoming'
_STAGING_PREFIX = '.staging-'

Content = Callable[[IO[bytes]], object]
"""Writes one file's bytes into the open binary file it is given."""


def open_committed(folder: Path, name: str) -> IO[bytes]:
    """Open file ``name`` of the newest whole set in ``folder`` for reading.

    Links are not followed and nothing but a regular file is opened, so a hostile folder can
    neither lead elsewhere nor block the reader with a pipe.

    Raises:
        FileNotFoundError: There is no such file.
        OSError: It is a link, is not a regular file, or cannot be read.
    """
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        incoming = os.open(folder / INCOMING, flags)
    except FileNotFoundError:
        return _open_regular(folder / name)
    try:
        return _open_regular(Path(name), incoming)
    except FileNotFoundError:
        return _open_regular(folder / name)
    finally:
        os.close(incoming)


@contextmanager
def stage(folder: Path, contents: Mapping[str, Content]) -> Iterator[Path]:
    """Write files to a hidden folder inside ``folder``; on leaving, make them all visible at once.

    The block may look at the staged files, and add to them with `write_synced`; when it raises,
    nothing of the set ever becomes visible. One writer at a time holds the folder's lock.

    Args:
        folder: The folder to put the files in; made if need be.
        contents: File names, plain and unique, and what writes each.

    Yields:
        The folder that holds the staged files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder):
        _settle(folder)
        staging = Path(tempfile.mkdtemp(prefix=_STAGING_PREFIX, dir=folder))
        try:
            # mkdtemp makes it private, but the commit turns it into part of a shared folder.
            staging.chmod(0o755)
            for name, write in contents.items():
                write_synced(staging / name, write)
            yield staging
            sync_folder(staging)
            staging.rename(folder / INCOMING)
        except BaseException:
            shutil.rmtree(staging, ignore_errors=True)
            raise
        sync_folder(folder)
        _settle(folder)


@contextmanager
def remove_committed(folder: Path, name: str) -> Iterator[None]:
    """Remove one file of the newest whole set in ``folder`` in a single step, after the block.

    When the block raises, the file stays. One writer at a time holds the folder's lock.
    """
    folder.mkdir(exist_ok=True)
    with _locked(folder):
        _settle(folder)
        yield
        (folder / name).unlink(missing_ok=True)
        sync_folder(folder)


def write_synced(path: Path, write: Content) -> None:
    """Write one file and flush it to the disk.

    Raises:
        OSError: It cannot be written; names the file.
    """
    try:
        with path.open('wb') as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        # A full disk shows itself at a write, which does not know the name.
        error.filename = error.filename or str(path)
        raise


def write_atomic(path: Path, data: bytes) -> None:
    """Replace one file: a reader sees the old bytes or the new ones, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(prefix=f'.{path.name}.', dir=path.parent)
    os.close(descriptor)
    try:
        write_synced(Path(temporary), lambda file: file.write(data))
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries, so that a rename survives a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _open_regular(path: Path, folder: int | None = None) -> IO[bytes]:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(path, flags, dir_fd=folder)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, 'not a regular file', str(path))
    return os.fdopen(descriptor, 'rb')


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _settle(folder: Path) -> None:
    """Finish a committed set and drop what an interrupted writer left uncommitted."""
    incoming = folder / INCOMING
    if incoming.is_dir():
        for path in sorted(incoming.iterdir()):
            path.replace(folder / path.name)
        sync_folder(folder)
        incoming.rmdir()
    for leftover in folder.glob(f'{_STAGING_PREFIX}*'):
        shutil.rmtree(leftover, ignore_errors=True)
