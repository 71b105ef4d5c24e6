# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Folders here or elsewhere, through fsspec: a path, ``s3://``, ``https://`` and others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
import re
from typing import Any, IO, Protocol

from adet_core.errors import AdetError, BundleError, ConfigError

_PORTION = 1 << 20
_UNKNOWN_CA = re.compile('certificate verify failed: .*(issuer|self.signed)')
Sink = Callable[[bytes], object]


class StorageError(AdetError):
    """A file elsewhere cannot be read or written; it may work later."""


class Source(Protocol):
    """Where the files of a release come from."""

    def read(self, name: str, sink: Sink, limit: int) -> None:
        """Read a file in portions.

        Args:
            name: Of the file.
            sink: Called with each portion.
            limit: The most bytes that are read.

        Raises:
            BundleError: It is longer, or is none of the release's.
            StorageError: It cannot be read; it may be later.
        """


class Storage:
    """A folder that fsspec reaches.

    Attributes:
        url: As it was written.
    """

    def __init__(self, url: str) -> None:
        """Find what kind of address it is; nothing is read yet.

        Raises:
            ConfigError: fsspec, or what it needs for such addresses, is not installed.
        """
        try:
            from fsspec.core import url_to_fs
        except ImportError as error:
            msg = f'{url}: needs fsspec ({error}): pip install fsspec'
            raise ConfigError(msg) from None
        self.url = url.rstrip('/')
        try:
            # Listings are not to be remembered: others write there.
            self._files, self._root = url_to_fs(self.url, use_listings_cache=False)
        except (ImportError, ValueError) as error:
            kind = self.url.partition('://')[0]
            msg = f"{self.url}: {error}; pip install 'fsspec[{kind}]'"
            raise ConfigError(msg) from None

    def read(self, name: str, sink: Sink, limit: int) -> None:
        """See `Source`."""
        with self._named(name) as path, self._files.open(path, 'rb') as file:
            read_portions(file, sink, limit, f'{self.url}/{name}')

    def holds(self, name: str, size: int) -> bool:
        """Whether there is a file of that size."""
        with self._named(name) as path:
            try:
                info: dict[str, Any] = self._files.info(path)
            except FileNotFoundError:
                return False
            return bool(info['size'] == size)

    def write(self, source: Path, name: str) -> None:
        """Write a file; on a disk it is whole or absent.

        Raises:
            StorageError: It cannot be written.
        """
        with self._named(name) as path:
            folder = path.rpartition('/')[0]
            if 'file' in _protocols(self._files):
                self._files.makedirs(folder, exist_ok=True)
                temporary = f'{folder}/.{path.rpartition("/")[2]}.part'
                self._files.put_file(str(source), temporary)
                self._files.mv(temporary, path)
            elif _protocols(self._files) & {'http', 'https'}:
                self._files.put_file(str(source), path, method='put')
            else:
                self._files.put_file(str(source), path)

    @contextmanager
    def _named(self, name: str) -> Iterator[str]:
        """The path of a file; every error of its file system as ours."""
        try:
            yield f'{self._root}/{name}'
        except AdetError:
            raise
        # Each of fsspec's file systems raises the errors of its own library.
        except Exception as error:
            reason = self._reason(error)
            if _UNKNOWN_CA.search(reason):
                variable = 'AWS_CA_BUNDLE' if 's3' in _protocols(self._files) else 'SSL_CERT_FILE'
                reason += f'; {variable} names the file of certificates to trust'
            msg = f'{self.url}/{name}: {reason}'
            raise StorageError(msg) from error

    def _reason(self, error: BaseException) -> str:
        """What happened: fsspec often raises nothing but the address, from the cause."""
        cause: BaseException | None = error
        while cause is not None:
            text = (isinstance(cause, OSError) and cause.strerror) or str(cause)
            if text and not text.startswith(self.url):
                return ' '.join(text.split())
            cause = cause.__cause__
        missing = isinstance(error, FileNotFoundError)
        return 'No such file or directory' if missing else type(error).__name__


def read_portions(file: IO[bytes], sink: Sink, limit: int, place: str) -> None:
    """Pass an open file on in portions.

    Raises:
        BundleError: It is longer than ``limit`` bytes.
    """
    size = 0
    while data := file.read(_PORTION):
        size += len(data)
        if size > limit:
            msg = f'{place}: is longer than {limit} bytes, which were announced'
            raise BundleError(msg)
        sink(data)


def _protocols(files: Any) -> set[str]:
    kinds = files.protocol
    return {kinds} if isinstance(kinds, str) else set(kinds)
