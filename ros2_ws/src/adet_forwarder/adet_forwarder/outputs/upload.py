# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Rows and marked images to a folder elsewhere, for who looks after many robots."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
import sqlite3
import tempfile
import time

from adet_core.errors import RecordError
from adet_core.io.feedback import is_feedback
from adet_core.paths import user_path
from adet_core.storage import Storage, StorageError
from adet_forwarder.message import Message
from adet_forwarder.outputs.output import OutputError
from adet_forwarder.settings import UploadSettings

_LOOK_S = 10.0
# In one step, so that rows do not wait for them.
_IMAGES = 20
_TABLE = 'CREATE TABLE IF NOT EXISTS sent (path TEXT PRIMARY KEY, at INTEGER)'


class UploadOutput:
    """Files of JSON lines, ``<robot>/<model>/<day>/<row id>.jsonl``, and ``<robot>/images/``.

    What was sent of the images is noted in a file; an image whose note arrived is whole.
    """

    def __init__(self, settings: UploadSettings, robot: str, done: Path) -> None:
        """Check the settings; nothing is sent yet.

        Args:
            settings: Where to.
            robot: Name of this machine.
            done: SQLite file of the images that were sent.

        Raises:
            ConfigError: fsspec, or what it needs for the address, is not installed.
            RecordError: The file of sent images is damaged.
        """
        self.portion = settings.rows
        self._storage, self._robot = Storage(settings.to), robot
        self._longest_s, self._since = settings.longest_s, 0.0
        self._images = user_path(settings.images, 'upload.images') if settings.images else None
        self._next_look = 0.0
        try:
            self._done = sqlite3.connect(done, isolation_level=None, check_same_thread=False)
            self._done.execute(_TABLE)
        except sqlite3.DatabaseError as error:
            msg = f'{done}: {error}; move it away: all images are sent again then'
            raise RecordError(msg) from None

    def deliver(self, batch: Sequence[Message]) -> int:
        """See `Output`; fewer rows than fill a file wait until they are old."""
        now = time.monotonic()
        self._since = self._since or now
        if len(batch) < self.portion and now - self._since < self._longest_s:
            return 0
        for model in sorted({message.model for message in batch}):
            self._send_rows(model, [one for one in batch if one.model == model])
        self._since = 0.0
        return len(batch)

    def tick(self) -> None:
        """Send images that were marked since."""
        if self._images is None or time.monotonic() < self._next_look:
            return
        for count, image in enumerate(self._new_images(self._images), start=1):
            relative = image.relative_to(self._images).as_posix()
            at = image.with_suffix('.json').stat().st_mtime_ns
            for path in (image, image.with_suffix('.json')):
                name = path.relative_to(self._images).as_posix()
                self._write(path, f'{self._robot}/images/{name}')
            self._done.execute('INSERT OR REPLACE INTO sent VALUES (?, ?)', (relative, at))
            if count == _IMAGES:
                return
        self._next_look = time.monotonic() + _LOOK_S

    def close(self) -> None:
        """Close the file of sent images."""
        self._done.close()

    def _send_rows(self, model: str, rows: Sequence[Message]) -> None:
        day = rows[0].values()['time'][:10] or 'undated'
        with tempfile.NamedTemporaryFile('w', suffix='.jsonl', encoding='utf-8') as file:
            file.writelines(f'{one.text}\n' for one in rows)
            file.flush()
            name = f'{self._robot}/{model}/{day}/{rows[0].row_id}.jsonl'
            self._write(Path(file.name), name)

    def _write(self, path: Path, name: str) -> None:
        try:
            self._storage.write(path, name)
        except StorageError as error:
            raise OutputError(str(error)) from None

    def _new_images(self, root: Path) -> Iterator[Path]:
        """Marked images that were not sent, or were marked again; forgets those that are gone."""
        sent = dict(self._done.execute('SELECT path, at FROM sent'))
        for note in sorted(root.rglob('*.json')):
            image = note.with_suffix('.png')
            before = sent.pop(image.relative_to(root).as_posix(), None)
            if before != note.stat().st_mtime_ns and image.is_file() and is_feedback(image):
                yield image
        self._done.executemany('DELETE FROM sent WHERE path = ?', [(path,) for path in sent])
