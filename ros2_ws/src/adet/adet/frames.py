# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The pictures a detector has just judged, and which of them are stored for a retraining."""

from __future__ import annotations

from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from pathlib import Path
import threading
from typing import Any, NamedTuple

from sensor_msgs.msg import Image

from adet.conversions import to_nanoseconds, to_picture
from adet_core.bundle import Manifest
from adet_core.detector import Inspection
from adet_core.errors import AdetError, ConfigError
from adet_core.feedback import keep_frame

VERDICTS = ('fine', 'bad')
_RECENT = 64
_RECENT_BYTES = 64 << 20
_PENDING = 8


class _Judged(NamedTuple):
    message: Image
    inspection: Inspection
    manifest: Manifest


class FrameKeeper:
    """Remembers the newest pictures, and stores some; for any threads.

    Attributes:
        saved: Pictures stored for review.
        lost: Pictures that were not, because the disk was too slow or refused them.
    """

    def __init__(
        self, data_root: Path, *, save: str, limit: int, float_range: tuple[float, float]
    ) -> None:
        """Touch no folder yet.

        Args:
            data_root: Folder of ``train``, ``test`` and ``review``.
            save: ``none``, ``uncertain``, ``anomalous`` or ``both``.
            limit: Pictures in each folder.
            float_range: For 32FC1 pictures.
        """
        self.saved = self.lost = 0
        self._root, self._save, self._limit = data_root, save, limit
        self._float_range = float_range
        self._recent: OrderedDict[int, _Judged] = OrderedDict()
        self._bytes = self._pending = 0
        self._lock = threading.Lock()
        # One thread, so that no inspection waits for a disk.
        self._writer = ThreadPoolExecutor(1, thread_name_prefix='frames')

    def remember(self, message: Image, inspection: Inspection, manifest: Manifest) -> None:
        """Take a judged picture into account."""
        judged = _Judged(message, inspection, manifest)
        with self._lock:
            self._recent[to_nanoseconds(message.header.stamp)] = judged
            self._bytes += len(message.data)
            while len(self._recent) > 1 and (
                len(self._recent) > _RECENT or self._bytes > _RECENT_BYTES
            ):
                _, oldest = self._recent.popitem(last=False)
                self._bytes -= len(oldest.message.data)
        anomalous = inspection.is_anomalous and self._save in {'anomalous', 'both'}
        uncertain = inspection.is_uncertain and self._save in {'uncertain', 'both'}
        if anomalous or uncertain:
            self._save_later(judged)

    def mark(self, stamp_ns: int, verdict: str, note: str) -> Path:
        """Store a picture where the next retraining looks for it.

        Args:
            stamp_ns: Of the picture; 0 is the newest.
            verdict: ``fine`` or ``bad``.
            note: For people.

        Raises:
            AdetError: The verdict is no verdict, the picture is not remembered any more, or the
                folder is full.
            OSError: It cannot be written.
        """
        if verdict not in VERDICTS:
            msg = f'verdict is {verdict!r}, expected one of: {", ".join(VERDICTS)}'
            raise ConfigError(msg)
        with self._lock:
            newest = next(reversed(self._recent), 0)
            judged = self._recent.get(stamp_ns or newest)
        if judged is None:
            msg = f'no picture with stamp {stamp_ns} ns is remembered; the newest {_RECENT} are'
            raise ConfigError(msg)
        category = judged.manifest.category
        parts = ('train', category) if verdict == 'fine' else ('test', category, 'anomaly')
        more = {'verdict': verdict, 'note': note}
        return self._store(judged, self._root.joinpath(*parts), more, replace=False)

    def close(self) -> None:
        """Finish what is being stored."""
        self._writer.shutdown()

    def _save_later(self, judged: _Judged) -> None:
        with self._lock:
            if self._pending >= _PENDING:
                self.lost += 1
                return
            self._pending += 1
        self._writer.submit(self._save_now, judged)

    def _save_now(self, judged: _Judged) -> None:
        folder = self._root / 'review' / judged.manifest.category
        stored = True
        try:
            self._store(judged, folder, {}, replace=True)
        except (AdetError, OSError):
            stored = False
        with self._lock:
            self._pending -= 1
            self.saved += stored
            self.lost += not stored

    def _store(
        self, judged: _Judged, folder: Path, more: dict[str, Any], *, replace: bool
    ) -> Path:
        message, inspection, manifest = judged
        stamp = to_nanoseconds(message.header.stamp)
        note = {
            'stamp_ns': stamp,
            'frame_id': message.header.frame_id,
            'model': manifest.model,
            'bundle_id': inspection.bundle_id,
            'score': inspection.score,
            'threshold': inspection.threshold,
            'is_anomalous': inspection.is_anomalous,
            'is_uncertain': inspection.is_uncertain,
            'stored': datetime.now(timezone.utc).isoformat(timespec='seconds'),
            **more,
        }
        return keep_frame(
            folder,
            f'frame_{stamp}',
            to_picture(message),
            note,
            limit=self._limit,
            replace=replace,
            float_range=self._float_range,
        )
