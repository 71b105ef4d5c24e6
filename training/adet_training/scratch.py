# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Arrays of a training that may be more than memory holds: beyond a limit they lie in a file."""

from __future__ import annotations

import math
import mmap
import os
from pathlib import Path
import tempfile
from typing import Any, IO

import numpy as np
import numpy.typing as npt

from adet_core.errors import DatasetError

MEMORY_BYTES = 1 << 30
"""What is kept in memory."""

_PAGE = mmap.ALLOCATIONGRANULARITY


class Scratch:
    """Keeps arrays for as long as somebody holds them, all but the first of them in a file.

    The file has no name, so nothing is left behind by a process that is killed. Of what lies in
    it the system holds in memory what there is room for.

    Attributes:
        memory: Bytes in memory so far.
        disk: Bytes in the file so far.
    """

    def __init__(self, folder: Path, *, most: int = MEMORY_BYTES) -> None:
        """Make no file yet.

        Args:
            folder: Where the file lies; made if need be.
            most: Bytes to keep in memory.
        """
        self.memory = self.disk = 0
        self._folder, self._most = folder, most
        self._file: IO[bytes] | None = None

    def keep(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The same array, or a copy of it in the file.

        Raises:
            DatasetError: There is no room for it on the disk.
        """
        if self.memory + array.nbytes <= self._most:
            self.memory += array.nbytes
            return array
        kept = self._in_file(array.shape, array.dtype)
        kept[...] = array
        return kept

    def empty(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """A new array, in memory or in the file.

        Raises:
            DatasetError: There is no room for it on the disk.
        """
        size = math.prod(shape) * np.dtype(dtype).itemsize
        if self.memory + size <= self._most:
            self.memory += size
            return np.empty(shape, dtype)
        return self._in_file(shape, np.dtype(dtype))

    def sizes_with(self, size: int) -> tuple[int, int]:
        """Bytes in memory and in the file once an array of so many bytes is kept, too."""
        fits = self.memory + size <= self._most
        return (self.memory + size, self.disk) if fits else (self.memory, self.disk + size)

    def _in_file(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
        count = math.prod(shape)
        size = max(-(-count * dtype.itemsize // _PAGE) * _PAGE, _PAGE)
        try:
            if self._file is None:
                self._folder.mkdir(parents=True, exist_ok=True)
                # It is closed with the last array.
                self._file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115
            # All of it now: what a full disk cannot take later would end the process.
            os.posix_fallocate(self._file.fileno(), self.disk, size)
        except OSError as error:
            msg = (
                f'{self._folder}: {error.strerror}; images of a training that memory does not '
                f'hold are kept there until its end, {(self.disk + size) >> 20} MiB so far'
            )
            raise DatasetError(msg) from None
        mapped = mmap.mmap(self._file.fileno(), size, offset=self.disk)
        self.disk += size
        return np.frombuffer(mapped, dtype, count).reshape(shape)
