# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The queue of an output: an SQLite file with the rows that were not delivered yet.

Rows and the position in the result file are written in one transaction, so a crash at any instant
neither loses a row nor counts one twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
import sqlite3
from types import MappingProxyType
from typing import Any

from adet_core.errors import RecordError
from adet_core.follow import FollowedRow, Position
from adet_forwarder.message import Message, to_message

COUNTERS = ('inspected', 'rejected', 'uncertain', 'refused')
_TABLES = """
CREATE TABLE IF NOT EXISTS rows (
  number INTEGER PRIMARY KEY AUTOINCREMENT, row_id TEXT, model TEXT, text TEXT
);
CREATE TABLE IF NOT EXISTS positions (
  model TEXT PRIMARY KEY, file INTEGER, begin INTEGER, end INTEGER, row_id TEXT
);
CREATE TABLE IF NOT EXISTS counters (
  model TEXT PRIMARY KEY, inspected INTEGER, rejected INTEGER, uncertain INTEGER, refused INTEGER
);
"""


class RowQueue:
    """Rows on the disk, oldest first. To be used by one thread.

    Attributes:
        length: Number of rows in it.
        limit: The most it takes.
    """

    def __init__(self, path: Path, limit: int, robot: str) -> None:
        """Open or make the file.

        Args:
            path: The file; two more lie beside it.
            limit: The most rows it takes.
            robot: Name of the machine, for the messages.

        Raises:
            RecordError: The file is damaged or of another program.
            OSError: It cannot be written.
        """
        self.limit, self._path, self._robot = limit, path, robot
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._named():
            # Made by one thread, used by another.
            self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._database.execute('PRAGMA journal_mode = WAL')
            self._database.executescript(_TABLES)
            self.length = int(self._one('SELECT COUNT(*) FROM rows')[0])

    @property
    def room(self) -> int:
        """How many rows more it takes."""
        return max(0, self.limit - self.length)

    def position(self, model: str) -> Position | None:
        """Where the result file was read to; None: not at all."""
        with self._named():
            row = self._one(
                'SELECT file, begin, end, row_id FROM positions WHERE model = ?', model
            )
        return Position(*row) if row else None

    def counters(self, model: str) -> Mapping[str, int]:
        """How many rows of a model came in, ever, by `COUNTERS`."""
        query = f'SELECT {", ".join(COUNTERS)} FROM counters WHERE model = ?'  # noqa: S608
        with self._named():
            row = self._one(query, model) or (0,) * len(COUNTERS)
        return MappingProxyType(dict(zip(COUNTERS, row, strict=True)))

    def append(self, model: str, rows: Sequence[FollowedRow]) -> None:
        """Take rows of a result file, oldest first, and remember the position after them."""
        if not rows:
            return
        messages = [to_message(row, self._robot) for row in rows]
        last = rows[-1].position
        with self._named(), self._transaction():
            self._database.executemany(
                'INSERT INTO rows (row_id, model, text) VALUES (?, ?, ?)',
                [(one.row_id, one.model, one.text) for one in messages],
            )
            self._database.execute(
                'INSERT OR REPLACE INTO positions VALUES (?, ?, ?, ?, ?)',
                (model, last.file, last.begin, last.end, last.row_id),
            )
            counted = [self.counters(model)[name] + _count(rows, name) for name in COUNTERS]
            self._database.execute(
                'INSERT OR REPLACE INTO counters VALUES (?, ?, ?, ?, ?)', (model, *counted)
            )
        self.length += len(rows)

    def first(self, count: int) -> list[Message]:
        """The oldest rows."""
        query = 'SELECT row_id, model, text FROM rows ORDER BY number LIMIT ?'
        with self._named(), closing(self._database.execute(query, (count,))) as found:
            return [Message(*row) for row in found]

    def remove(self, count: int) -> None:
        """Forget the oldest rows, as they were delivered."""
        query = (
            'DELETE FROM rows WHERE number IN (SELECT number FROM rows ORDER BY number LIMIT ?)'
        )
        with self._named():
            self.length -= self._database.execute(query, (count,)).rowcount

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def _one(self, query: str, *values: str) -> tuple[Any, ...]:
        row: tuple[Any, ...] = self._database.execute(query, values).fetchone() or ()
        return row

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._database.execute('BEGIN IMMEDIATE')
        with self._database:
            yield

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Errors of SQLite as ours, with the file's name."""
        try:
            yield
        except sqlite3.OperationalError as error:
            raise OSError(0, str(error), str(self._path)) from None
        except sqlite3.DatabaseError as error:
            msg = f'{self._path}: {error}; move it away: the result files are read again then'
            raise RecordError(msg) from None


def _count(rows: Sequence[FollowedRow], name: str) -> int:
    records = [row.record for row in rows]
    counted = {
        'inspected': sum(not one.error for one in records),
        'rejected': sum(one.is_anomalous is True for one in records),
        'uncertain': sum(one.is_uncertain is True for one in records),
        'refused': sum(bool(one.error) for one in records),
    }
    return counted[name]
