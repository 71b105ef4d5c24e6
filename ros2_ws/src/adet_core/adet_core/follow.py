# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Reading result files while they are written, each row at least once, over any restart."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
import hashlib
import os
from pathlib import Path
from typing import IO

from adet_core.records import new_rows, Record


@dataclass(frozen=True)
class Position:
    """How far the result files of a model were read.

    Attributes:
        file: Number of the file on its disk (inode), which it keeps when it is renamed.
        begin: Where the last row that was read begins, in bytes.
        end: Where that row ends.
        row_id: Of that row.
    """

    file: int
    begin: int
    end: int
    row_id: str


@dataclass(frozen=True)
class FollowedRow:
    """A row of a result file.

    Attributes:
        record: The row.
        row_id: 16 hexadecimal digits from its content, the same each time the row is read.
        position: To go on from after this row.
    """

    record: Record
    row_id: str
    position: Position


class ResultFollower:
    """Reads the rows that come to ``result_<model>.csv``.

    A new run renames the file of the one before (`adet_core.records.set_aside`): what was not read
    of it is read first, and all runs between. What cannot be found again is read from its start:
    rather twice than never.
    """

    def __init__(self, path: Path, position: Position | None = None) -> None:
        """Begin at a position; None is the start of the file that is there now."""
        self.path = path
        self._position = position
        self._file: IO[bytes] | None = None
        self._end = 0
        # Of the file that was read to its end; 0: none.
        self._finished = 0

    def read(self, limit: int) -> list[FollowedRow]:
        """Read at most ``limit`` rows that were not read yet.

        Raises:
            OSError: A file cannot be read.
            RecordError: A file there is not one of adet's.
        """
        rows: list[FollowedRow] = []
        while len(rows) < limit and (self._file or self._open()):
            assert self._file is not None
            is_renamed = self._is_renamed(self._file)
            rows += self._read_open(self._file, limit - len(rows))
            if len(rows) < limit:
                if not is_renamed:
                    break
                self._finished = _number(self._file)
                self.close()
        return rows

    def close(self) -> None:
        """Close the file; the next `read` opens one again."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _read_open(self, file: IO[bytes], limit: int) -> Iterator[FollowedRow]:
        if limit <= 0:
            return
        number = _number(file)
        for count, (record, line, end) in enumerate(new_rows(file, self._end), start=1):
            row_id = _row_id(line)
            self._position = Position(number, end - len(line), end, row_id)
            self._end = end
            yield FollowedRow(record, row_id, self._position)
            if count == limit:
                return

    def _is_renamed(self, file: IO[bytes]) -> bool:
        """Whether another file has its name now."""
        try:
            return self.path.stat().st_ino != _number(file)
        except FileNotFoundError:
            return False

    def _open(self) -> bool:
        path = self._next()
        if path is None:
            return False
        self._file = path.open('rb')
        position = self._position
        known = position is not None and _is_at(self._file, position)
        self._end = position.end if known and position else 0
        return True

    def _next(self) -> Path | None:
        """The file to read: that of the position, or the one after a file that is finished."""
        before = sorted(
            self.path.parent.glob(f'{self.path.stem}.*{self.path.suffix}'),
            key=lambda path: path.stat().st_mtime_ns,
        )
        files = [path for path in (*before, self.path) if path.is_file() and path.stat().st_size]
        numbers = [path.stat().st_ino for path in files]
        last = self._finished or (self._position.file if self._position else 0)
        if last in numbers:
            left = files[numbers.index(last) + bool(self._finished) :]
            return left[0] if left else None
        return self.path if self.path in files else None


def _is_at(file: IO[bytes], position: Position) -> bool:
    """Whether a file holds the row that a position ends with."""
    if _number(file) != position.file:
        return False
    file.seek(position.begin)
    return _row_id(file.read(position.end - position.begin)) == position.row_id


def _number(file: IO[bytes]) -> int:
    return os.fstat(file.fileno()).st_ino


def _row_id(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()[:16]
