# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Folders whose content came from elsewhere: no name and no link in them leads out of them.

A folder is held open, and everything in it is reached through its descriptor, so it makes no
difference what somebody does to its path meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
import errno
import os
from pathlib import Path
import secrets
import stat
from typing import Annotated, IO
import unicodedata

Content = Callable[[IO[bytes]], object]
"""Writes one file's bytes into the open binary file it is given."""

_LONGEST_NAME = 255
# Control characters, halves of UTF-16 pairs, and what some programs take for the end of a line.
_REFUSED = {'Cc', 'Cs', 'Zl', 'Zp'}
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_LINK = 'is a link, which is not followed here; put the real one there'


def check_name(name: str) -> str:
    """Check a name that came out of a file or a message and becomes part of a path.

    Returns:
        The name.

    Raises:
        ValueError: It is not the plain name of one file or folder.
    """
    try:
        length = len(name.encode())
    except UnicodeEncodeError:
        length = 0
    plain = 0 < length <= _LONGEST_NAME and name not in {'.', '..'} and '/' not in name
    if not plain or any(unicodedata.category(character) in _REFUSED for character in name):
        msg = (
            f'{name!a:.80} is not a plain name: 1 to {_LONGEST_NAME} bytes of UTF-8 without '
            "'/' and control characters, and not '.' or '..'"
        )
        raise ValueError(msg)
    return name


Name = Annotated[str, check_name]
"""A plain name, checked by `adet_core.bundle.decode.decode` where it is read."""


def readable_name(path: Path) -> str:
    """The name of a file as text that `check_name` accepts, whatever bytes it is made of."""
    name = path.name.encode(errors='surrogateescape').decode(errors='backslashreplace')
    escaped = (
        f'\\x{ord(character):02x}' if unicodedata.category(character) in _REFUSED else character
        for character in name
    )
    return ''.join(escaped).encode()[:_LONGEST_NAME].decode(errors='ignore')


class Folder:
    """An open folder. Links in it are refused; close it, or use it as a context manager.

    Every method takes plain names of entries, and raises OSError with the entry's path.

    Attributes:
        path: What it was called when it was opened; for messages and for people.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self.descriptor = descriptor

    def __enter__(self) -> Folder:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.descriptor)

    def folder(self, name: str, *, make: bool = False) -> Folder:
        """Open a folder in this one.

        Args:
            name: Its name.
            make: Make it if there is none.
        """
        with self._named(name):
            if make:
                with suppress(FileExistsError):
                    os.mkdir(name, 0o755, dir_fd=self.descriptor)
            flags = _FOLDER | os.O_NOFOLLOW
            return Folder(self.path / name, os.open(name, flags, dir_fd=self.descriptor))

    def new_folder(self, prefix: str) -> Folder:
        """Make a folder that was not there, named ``prefix`` and some random letters."""
        name = f'{prefix}{secrets.token_hex(6)}'
        with self._named(name):
            os.mkdir(name, 0o700, dir_fd=self.descriptor)
        made = self.folder(name)
        # Whatever the process's mask: others may have to read what is moved out of it.
        os.fchmod(made.descriptor, 0o755)
        return made

    def names(self) -> list[str]:
        """What is in it, sorted."""
        return sorted(os.listdir(self.descriptor))  # noqa: PTH208 - by descriptor

    def open(self, name: str) -> IO[bytes]:
        """Open a regular file for reading; a pipe or a device cannot block the reader."""
        return os.fdopen(self._open_regular(name, os.O_RDONLY), 'rb')

    def open_lock(self, name: str) -> IO[bytes]:
        """Open a file to lock, making it if need be; what is in it stays."""
        return os.fdopen(self._open_regular(name, os.O_RDWR | os.O_CREAT), 'r+b')

    def write(self, name: str, content: Content) -> None:
        """Write a file that was not there, and flush it to the disk."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        with self._named(name):
            descriptor = os.open(name, flags, 0o666, dir_fd=self.descriptor)
        try:
            with os.fdopen(descriptor, 'wb') as file:
                content(file)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            # A full disk shows itself at a write, which does not know the name.
            error.filename = error.filename or str(self.path / name)
            raise

    def write_atomic(self, name: str, data: bytes) -> None:
        """Replace a file: a reader sees the old bytes or the new ones, never a part."""
        temporary = f'.{secrets.token_hex(6)}.tmp'
        try:
            self.write(temporary, lambda file: file.write(data))
            self.move(temporary, self, name)
        except BaseException:
            self.remove(temporary)
            raise
        self.sync()

    def move(self, name: str, target: Folder, new_name: str = '') -> None:
        """Move an entry to another folder, where it takes the place of a file of that name."""
        with target._named(new_name or name):
            os.rename(
                name,
                new_name or name,
                src_dir_fd=self.descriptor,
                dst_dir_fd=target.descriptor,
            )

    def link_or_copy(self, name: str, target: Folder) -> None:
        """Give another folder a regular file of this one, as a hard link where that works."""
        with self.open(name) as file:
            try:
                os.link(
                    name,
                    name,
                    src_dir_fd=self.descriptor,
                    dst_dir_fd=target.descriptor,
                    follow_symlinks=False,
                )
            except OSError:
                # A file system without links, e.g. on a memory card.
                target.write(name, lambda copy: _copy(file, copy))

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        with self._named(name), suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self.descriptor)

    def remove_folder(self, name: str) -> None:
        """Remove a folder of files, or as much of it as can be; never what a link leads to."""
        with suppress(OSError), self.folder(name) as folder:
            for file in folder.names():
                with suppress(OSError):
                    folder.remove(file)
            os.rmdir(name, dir_fd=self.descriptor)

    def sync(self) -> None:
        """Flush its entries, so that a rename survives a power cut."""
        os.fsync(self.descriptor)

    def _open_regular(self, name: str, flags: int) -> int:
        more = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        with self._named(name):
            descriptor = os.open(name, flags | more, 0o644, dir_fd=self.descriptor)
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                os.close(descriptor)
                raise OSError(errno.EINVAL, 'not a regular file')
        return descriptor

    @contextmanager
    def _named(self, name: str) -> Iterator[None]:
        """Let errors say the whole path, and that a link is one."""
        try:
            yield
        except OSError as error:
            if error.errno in {errno.ELOOP, errno.ENOTDIR} and self._is_link(name):
                raise OSError(errno.ELOOP, _LINK, str(self.path / name)) from None
            error.filename = str(self.path / name)
            raise

    def _is_link(self, name: str) -> bool:
        with suppress(OSError):
            status = os.stat(name, dir_fd=self.descriptor, follow_symlinks=False)
            return stat.S_ISLNK(status.st_mode)
        return False


def open_folder(path: Path, *names: str, make: bool = False) -> Folder:
    """Open a folder that somebody named, and from there one inside it.

    Args:
        path: May be a link or lead through one, as a person chose it.
        names: Plain names, each in the one before; none of them may be a link.
        make: Make what is missing.

    Raises:
        OSError: It is missing, is not a folder, or a name below ``path`` is a link.
    """
    if make and not path.is_dir():
        path.mkdir(parents=True, exist_ok=True)
    folder = Folder(path, os.open(path, _FOLDER))
    for name in names:
        with folder:
            folder = folder.folder(name, make=make)
    return folder


def open_regular(path: Path) -> IO[bytes]:
    """Open a regular file that somebody named for reading; a pipe or device is not waited for.

    Raises:
        OSError: It is missing, cannot be read, or is no regular file.
    """
    # A pipe without a writer would block.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return os.fdopen(descriptor, 'rb')
    os.close(descriptor)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    raise OSError(errno.EINVAL, 'is not a regular file', str(path))


def write_atomic(path: Path, data: bytes) -> None:
    """Replace one file: a reader sees the old bytes or the new ones, never a part.

    Raises:
        OSError: It cannot be written; the old file is untouched.
    """
    with open_folder(path.parent, make=True) as folder:
        folder.write_atomic(path.name, data)


def sync_folder(path: Path) -> None:
    """Flush the entries of a folder, so that a rename in it survives a power cut."""
    with open_folder(path) as folder:
        folder.sync()


def _copy(source: IO[bytes], target: IO[bytes]) -> None:
    while block := source.read(1 << 20):
        target.write(block)
