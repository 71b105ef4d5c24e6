# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Replace several files of one folder as if it were a single step.

POSIX renames one name at a time, and the folder of a deployed bundle also holds things that have
to stay (engines, runs of the same model), so the folder itself cannot be exchanged. Instead a set
of files is written to a hidden folder beside them, flushed, and renamed to ``.incoming``: that
rename is the commit. From then on a file found in ``.incoming`` counts, and the one beside it does
not, so at every instant a reader sees one whole set. Moving the files to their final places only
tidies up, and whoever writes next finishes it after a crash.

A bundle may come from anywhere: no link in it is followed, see `adet_core.folder`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
import fcntl
from typing import IO

from adet_core.folder import Content, Folder

INCOMING = '.incoming'
_STAGING_PREFIX = '.staging-'


def open_committed(folder: Folder, name: str) -> IO[bytes]:
    """Open file ``name`` of the newest whole set in ``folder`` for reading.

    Raises:
        FileNotFoundError: There is no such file.
        OSError: It is a link, is not a regular file, or cannot be read.
    """
    try:
        with folder.folder(INCOMING) as incoming:
            return incoming.open(name)
    except FileNotFoundError:
        return folder.open(name)


@contextmanager
def stage(folder: Folder, contents: Mapping[str, Content]) -> Iterator[Folder]:
    """Write files to a hidden folder inside ``folder``; on leaving, make them all visible at once.

    The block may read the staged files, and write more; when it raises, nothing of the set ever
    becomes visible. One writer at a time holds the folder's lock.

    Args:
        folder: The folder to put the files in.
        contents: File names, plain and unique, and what writes each.

    Yields:
        The folder that holds the staged files.

    Raises:
        OSError: A file cannot be written, or what an earlier writer left is a link.
    """
    with _locked(folder):
        _settle(folder)
        with folder.new_folder(_STAGING_PREFIX) as staging:
            try:
                for name, write in contents.items():
                    staging.write(name, write)
                yield staging
                staging.sync()
                folder.move(staging.path.name, folder, INCOMING)
            except BaseException:
                folder.remove_folder(staging.path.name)
                raise
        folder.sync()
        _settle(folder)


@contextmanager
def remove_committed(folder: Folder, name: str) -> Iterator[None]:
    """Remove one file of the newest whole set in ``folder`` in a single step, after the block.

    When the block raises, the file stays. One writer at a time holds the folder's lock.
    """
    with _locked(folder):
        _settle(folder)
        yield
        folder.remove(name)
        folder.sync()


@contextmanager
def _locked(folder: Folder) -> Iterator[None]:
    fcntl.flock(folder.descriptor, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.flock(folder.descriptor, fcntl.LOCK_UN)


def _settle(folder: Folder) -> None:
    """Finish a committed set and drop what an interrupted writer left uncommitted."""
    try:
        incoming = folder.folder(INCOMING)
    except FileNotFoundError:
        pass
    else:
        with incoming:
            for name in incoming.names():
                incoming.move(name, folder)
        folder.sync()
        folder.remove_folder(INCOMING)
    for name in folder.names():
        if name.startswith(_STAGING_PREFIX):
            folder.remove_folder(name)
