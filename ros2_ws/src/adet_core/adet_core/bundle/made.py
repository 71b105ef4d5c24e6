# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Files in the ``engine`` folder that one machine made for itself from the graph beside them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
import os
from typing import IO

from adet_core.bundle.commit import open_committed, stage
from adet_core.bundle.engine import ENGINE_FOLDER
from adet_core.bundle.reader import Bundle
from adet_core.folder import open_folder

_LIMIT = 2 << 30


def read_made(bundle: Bundle, name: str) -> bytes:
    """The bytes of a file, whatever they are.

    Raises:
        OSError: There is no such file, it cannot be read, or is larger than 2 GiB.
    """
    with (
        open_folder(bundle.folder, ENGINE_FOLDER) as folder,
        open_committed(folder, name) as file,
    ):
        # Not read and then counted: a sparse file may be as long as it likes.
        size = os.fstat(file.fileno()).st_size
        if size > _LIMIT:
            raise OSError(f'{name} has {size} bytes')
        return file.read(size)


def write_made(bundle: Bundle, contents: Mapping[str, bytes]) -> None:
    """Replace files as if it were a single step.

    Raises:
        OSError: The folder cannot be written, or a file is larger than 2 GiB; the old files are
            untouched.
    """
    for name, data in contents.items():
        if len(data) > _LIMIT:
            raise OSError(f'{name} would have {len(data)} bytes')
    writers: dict[str, Callable[[IO[bytes]], object]] = {
        name: lambda file, data=data: file.write(data)  # type: ignore[misc]
        for name, data in contents.items()
    }
    with open_folder(bundle.folder, ENGINE_FOLDER) as folder, stage(folder, writers):
        pass


def is_writable(bundle: Bundle) -> bool:
    """Whether files can be made there, as far as can be told beforehand."""
    return os.access(bundle.folder / ENGINE_FOLDER, os.W_OK | os.X_OK)
