# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Arrays in ``.npz`` files, written plainly and read as if a stranger had written them.

safetensors would be as large and as quick (30 MB in 30 ms), and bundles that are in use have to be
read from npz anyway; so there is one format.
"""

from __future__ import annotations

from collections.abc import Mapping
import math
import os
import struct
from typing import Any, cast, IO
import zipfile

import numpy as np
import numpy.typing as npt

Arrays = dict[str, npt.NDArray[Any]]

# A model has a handful of arrays; their names and places take this many bytes at most.
_ENTRIES = 1000
_DIRECTORY_BYTES = 1 << 20


def write_arrays(file: IO[bytes], arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """Write arrays uncompressed: loading is then bounded by the file's size, and fast."""
    # As np.savez does; before numpy 2.1, as ROS has it, that cannot be told to refuse pickles.
    with zipfile.ZipFile(file, 'w', zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            with archive.open(f'{name}.npy', 'w', force_zip64=True) as entry:
                np.lib.format.write_array(entry, np.asanyarray(array), allow_pickle=False)


def read_arrays(file: IO[bytes], names: tuple[str, ...] | None = None) -> Arrays:
    """Read plain arrays; objects (pickles) and compressed entries are refused.

    Args:
        file: An open ``.npz`` on disk.
        names: The arrays that must be there, and no others; None takes what there is.

    Returns:
        The arrays by name; only plain numbers.

    Raises:
        ValueError: It is not such a file, or holds something else.
    """
    try:
        entries = _by_name(stored_entries(file), names)
        return {name: _read_array(file, entry) for name, entry in entries.items()}
    except ValueError:
        raise
    # A made-up header fails in zipfile, numpy or Python's own parser, each in ways of its own.
    except Exception as error:  # noqa: BLE001
        msg = f'not a readable npz file ({type(error).__name__}: {error})'
        raise ValueError(msg) from None


def stored_entries(file: IO[bytes], *, most: int = _ENTRIES) -> list[zipfile.ZipInfo]:
    """The entries of a zip file, whose bytes lie in it as they are and do not exceed it together.

    Args:
        file: Anything; its position is lost.
        most: How many entries there may be.

    Raises:
        ValueError: There are more, one is compressed, or some share their bytes.
        Exception: zipfile's own, if it is no zip file.
    """
    size = file.seek(0, os.SEEK_END)
    with zipfile.ZipFile(cast('IO[bytes]', _Directory(file))) as archive:
        entries = archive.infolist()
    for entry in entries:
        if entry.compress_type != zipfile.ZIP_STORED:
            msg = f'entry {entry.filename!r} is compressed, which adet never writes'
            raise ValueError(msg)
    total = sum(entry.file_size for entry in entries)
    if len(entries) > most or total > size:
        msg = f'claims {len(entries)} entries of {total} bytes in all, the file has {size}'
        raise ValueError(msg)
    return entries


class _Directory:
    """A zip file as zipfile sees it, which would read as long a directory as the file claims."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        """At most the bytes of a directory."""
        most = _DIRECTORY_BYTES + 1
        data = self._file.read(most if size < 0 else min(size, most))
        if len(data) == most:
            msg = f'its directory has more than {_DIRECTORY_BYTES} bytes'
            raise ValueError(msg)
        return data


def _by_name(
    found: list[zipfile.ZipInfo], names: tuple[str, ...] | None
) -> dict[str, zipfile.ZipInfo]:
    entries = {entry.filename.removesuffix('.npy'): entry for entry in found}
    if names is None:
        return entries
    if sorted(entries) != sorted(names):
        msg = f'holds the arrays {sorted(entries)!s:.200}, expected {sorted(names)}'
        raise ValueError(msg)
    return {name: entries[name] for name in names}


def _read_array(file: IO[bytes], entry: zipfile.ZipInfo) -> npt.NDArray[Any]:
    # The bytes lie in the file as they are, so they are read straight into the array. The zip's
    # own checksum is not looked at: the bundle's sha256 has already covered the whole file.
    file.seek(entry.header_offset + 26)
    name_length, extra_length = struct.unpack('<HH', file.read(4))
    start = file.seek(name_length + extra_length, os.SEEK_CUR)
    version = np.lib.format.read_magic(file)
    if version != (1, 0):
        msg = f'entry {entry.filename!r} has npy version {version}, expected (1, 0)'
        raise ValueError(msg)
    shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(file)
    # The header names any shape it likes: only allocate what the file really carries.
    count = math.prod(shape)
    if dtype.kind not in 'biuf' or file.tell() - start + count * dtype.itemsize != entry.file_size:
        msg = f'entry {entry.filename!r} claims {shape} of {dtype}, which it does not carry'
        raise ValueError(msg)
    array = np.fromfile(file, dtype, count)
    if array.size != count:
        msg = f'entry {entry.filename!r} is cut short'
        raise ValueError(msg)
    return array.reshape(shape, order='F' if fortran_order else 'C')
