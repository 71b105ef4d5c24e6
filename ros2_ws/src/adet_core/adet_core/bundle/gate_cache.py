# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""What one retraining computed of images that the next one asks again, beside the engine.

It is a cache: whatever is wrong with a file of it is computed anew. A bundle may come from
anywhere, so every record is sealed with a key that the caller keeps, and derives from all that a
record depends on: a record of another graph, another machine or another hand is none.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
import fcntl
import hashlib
import hmac
import os
import random
import secrets
import tempfile
import threading
from typing import IO

import numpy as np

from adet_core.bundle.engine import ENGINE_FOLDER
from adet_core.bundle.reader import Bundle
from adet_core.folder import open_folder

FEATURES_CACHE = 'gate_features.bin'
SCORES_CACHE = 'gate_scores.bin'
CACHE_BYTES = 256 << 20
"""The most bytes of `FEATURES_CACHE`."""

_DIGEST = 32
_SCORES_LIMIT = 1 << 20
_SCORE = np.dtype([('image', 'u1', _DIGEST), ('score', '<f4'), ('peak', '<f4')])
# Of what is free on the disk; a file that is there already counts as free.
_SHARE_OF_DISK = 4
_TRIES = 8

Scores = Mapping[bytes, tuple[float, float]]
"""Score of an image, and the largest value of its map, by the sha256 of its canvas."""


class FeatureCache:
    """Records of one length in a file, by key; several threads may use it.

    A record that was torn by a crash, or changed by somebody, fails its seal and is none.
    """

    def __init__(
        self, file: IO[bytes], seal_key: bytes, record_bytes: int, limit: int = CACHE_BYTES
    ) -> None:
        """Take over a file; one that holds other records is emptied.

        Args:
            file: Open for reading and writing; nobody else writes it.
            seal_key: Secret, and another one for each graph.
            record_bytes: Length of each record.
            limit: The most bytes of the file.

        Raises:
            OSError: It cannot be read or written.
        """
        self._file, self._key, self._length = file, seal_key, record_bytes
        self._slot = 2 * _DIGEST + record_bytes
        at = file.fileno()
        disk, size = os.fstatvfs(at), os.fstat(at).st_size
        room = min(limit, size + disk.f_bavail * disk.f_frsize // _SHARE_OF_DISK)
        self._capacity = max(room - _DIGEST, 0) // self._slot
        head = self._seal(f'records of {record_bytes}'.encode())
        if not hmac.compare_digest(os.pread(at, _DIGEST, 0), head):
            os.ftruncate(at, 0)
            os.pwrite(at, head, 0)
        self._count = min(max(size - _DIGEST, 0) // self._slot, self._capacity)
        keys = (os.pread(at, _DIGEST, self._place(slot)) for slot in range(self._count))
        self._slots = {key: slot for slot, key in enumerate(keys)}
        self._asked: set[int] = set()
        self._lock = threading.Lock()

    def __enter__(self) -> FeatureCache:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def get(self, key: bytes) -> bytes | None:
        """The record of a key of 32 bytes; None if there is none that its seal fits."""
        with self._lock:
            slot = self._slots.get(key)
            if slot is None:
                return None
            self._asked.add(slot)
        data = os.pread(self._file.fileno(), self._slot, self._place(slot))
        record = data[2 * _DIGEST :]
        whole = len(data) == self._slot and data[:_DIGEST] == key
        if whole and hmac.compare_digest(data[_DIGEST : 2 * _DIGEST], self._seal(key, record)):
            return record
        with self._lock:
            self._slots.pop(key, None)
        return None

    def put(self, key: bytes, record: bytes) -> None:
        """Keep a record; where there is no room it takes the place of one that nobody asked."""
        with self._lock:
            slot = self._slots.get(key)
            if slot is None:
                slot = self._free_slot()
            if slot is None:
                return
            self._slots = {one: at for one, at in self._slots.items() if at != slot}
            self._slots[key] = slot
            self._asked.add(slot)
        # A full disk: then this record is none.
        with suppress(OSError):
            data = key + self._seal(key, record) + record
            os.pwrite(self._file.fileno(), data, self._place(slot))

    def _free_slot(self) -> int | None:
        if self._count < self._capacity:
            self._count += 1
            return self._count - 1
        for _ in range(_TRIES if self._capacity else 0):
            slot = random.randrange(self._capacity)  # noqa: S311 - any will do
            if slot not in self._asked:
                return slot
        return None

    def _place(self, slot: int) -> int:
        return _DIGEST + slot * self._slot

    def _seal(self, *parts: bytes) -> bytes:
        found = hmac.new(self._key, digestmod=hashlib.sha256)
        for part in parts:
            found.update(part)
        return found.digest()


def open_feature_cache(bundle: Bundle, seal_key: bytes, record_bytes: int) -> FeatureCache:
    """The cache of a bundle; one for this process alone where it cannot be written or is in use.

    Args:
        bundle: Any state of it.
        seal_key: See `FeatureCache`; empty: there is none on this machine.
        record_bytes: See `FeatureCache`.

    Raises:
        OSError: Not even a temporary file can be written.
    """
    if seal_key:
        with suppress(OSError), open_folder(bundle.folder, ENGINE_FOLDER) as folder:
            file = folder.open_lock(FEATURES_CACHE)
            try:
                # Given back when the file is closed.
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return FeatureCache(file, seal_key, record_bytes)
            except OSError:
                file.close()
    own = tempfile.TemporaryFile()  # noqa: SIM115 - the cache closes it
    return FeatureCache(own, seal_key or secrets.token_bytes(_DIGEST), record_bytes)


def read_scores(bundle: Bundle, seal_key: bytes) -> dict[bytes, tuple[float, float]]:
    """What was kept with this key; empty if that is nothing.

    Args:
        bundle: Any state of it.
        seal_key: Secret, and another one for each graph and set of statistics.
    """
    try:
        with (
            open_folder(bundle.folder, ENGINE_FOLDER) as folder,
            folder.open(SCORES_CACHE) as file,
        ):
            data = file.read(_SCORES_LIMIT + 1)
    except OSError:
        return {}
    seal, body = data[:_DIGEST], data[_DIGEST:]
    if len(data) > _SCORES_LIMIT or len(body) % _SCORE.itemsize or not seal_key:
        return {}
    if not hmac.compare_digest(seal, hmac.digest(seal_key, body, hashlib.sha256)):
        return {}
    rows = np.frombuffer(body, _SCORE)
    return {row['image'].tobytes(): (float(row['score']), float(row['peak'])) for row in rows}


def keep_scores(bundle: Bundle, seal_key: bytes, scores: Scores) -> None:
    """Keep the scores of a set of statistics in the place of all others, where that works."""
    most = (_SCORES_LIMIT - _DIGEST) // _SCORE.itemsize
    rows = [
        (np.frombuffer(image, np.uint8), *values) for image, values in list(scores.items())[:most]
    ]
    body = np.array(rows, _SCORE).tobytes()
    data = hmac.digest(seal_key, body, hashlib.sha256) + body
    with suppress(OSError), open_folder(bundle.folder, ENGINE_FOLDER) as folder:
        folder.write_atomic(SCORES_CACHE, data)
