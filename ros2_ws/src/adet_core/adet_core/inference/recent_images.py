# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The images that were inspected last, and which of them are stored for a retraining."""

from __future__ import annotations

from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from pathlib import Path
import threading
from typing import Any, NamedTuple

from adet_core.bundle import Manifest
from adet_core.errors import AdetError, ConfigError
from adet_core.image import Image
from adet_core.inference.detector import Inspection
from adet_core.io.feedback import keep_frame

VERDICTS = ('fine', 'bad')
_RECENT = 64
_RECENT_BYTES = 64 << 20
_PENDING = 8


class Inspected(NamedTuple):
    """One image with its verdict.

    Attributes:
        stamp_ns: The image's stamp in nanoseconds.
        frame_id: The image's frame.
        image: The image.
        inspection: The verdict.
        manifest: The bundle that made it.
    """

    stamp_ns: int
    frame_id: str
    image: Image
    inspection: Inspection
    manifest: Manifest


class RecentImages:
    """Remembers the newest images, and stores some; for any threads.

    Attributes:
        saved: Images stored for review.
        lost: Images that were not, because the disk was too slow or refused them.
    """

    def __init__(
        self, data_root: Path, *, save: str, limit: int, float_range: tuple[float, float]
    ) -> None:
        """Touch no folder yet.

        Args:
            data_root: Folder of ``train``, ``test`` and ``review``.
            save: ``none``, ``uncertain``, ``anomalous`` or ``both``.
            limit: Images in each folder.
            float_range: For 32FC1 images.
        """
        self.saved = self.lost = 0
        self._root, self._save, self._limit = data_root, save, limit
        self._float_range = float_range
        self._recent: OrderedDict[int, Inspected] = OrderedDict()
        self._bytes = self._pending = 0
        self._lock = threading.Lock()
        # One thread, so that no inspection waits for a disk.
        self._writer = ThreadPoolExecutor(1, thread_name_prefix='store')

    def remember(self, inspected: Inspected) -> None:
        """Keep an image for `mark`, and store it if it is worth a look."""
        with self._lock:
            # A driver may repeat stamps.
            if before := self._recent.pop(inspected.stamp_ns, None):
                self._bytes -= before.image.pixels.nbytes
            self._recent[inspected.stamp_ns] = inspected
            self._bytes += inspected.image.pixels.nbytes
            while len(self._recent) > 1 and (
                len(self._recent) > _RECENT or self._bytes > _RECENT_BYTES
            ):
                _, oldest = self._recent.popitem(last=False)
                self._bytes -= oldest.image.pixels.nbytes
        inspection = inspected.inspection
        anomalous = inspection.is_anomalous and self._save in {'anomalous', 'both'}
        uncertain = inspection.is_uncertain and self._save in {'uncertain', 'both'}
        if anomalous or uncertain:
            self._save_later(inspected)

    def mark(self, stamp_ns: int, verdict: str, note: str) -> Path:
        """Store an image where the next retraining looks for it.

        Args:
            stamp_ns: Of the image; 0 is the newest.
            verdict: ``fine`` or ``bad``.
            note: For people.

        Raises:
            AdetError: The verdict is no verdict, the image is not remembered any more, or the
                folder is full.
            OSError: It cannot be written.
        """
        if verdict not in VERDICTS:
            msg = f'verdict is {verdict!r}, expected one of: {", ".join(VERDICTS)}'
            raise ConfigError(msg)
        with self._lock:
            newest = next(reversed(self._recent), 0)
            inspected = self._recent.get(stamp_ns or newest)
        if inspected is None:
            msg = f'no image with stamp {stamp_ns} ns is remembered; the newest {_RECENT} are'
            raise ConfigError(msg)
        category = inspected.manifest.category
        parts = ('train', category) if verdict == 'fine' else ('test', category, 'anomaly')
        more = {'verdict': verdict, 'note': note}
        return self._store(inspected, self._root.joinpath(*parts), more, replace=False)

    def close(self) -> None:
        """Finish what is being stored."""
        self._writer.shutdown()

    def _save_later(self, inspected: Inspected) -> None:
        with self._lock:
            if self._pending >= _PENDING:
                self.lost += 1
                return
            self._pending += 1
        self._writer.submit(self._save_now, inspected)

    def _save_now(self, inspected: Inspected) -> None:
        folder = self._root / 'review' / inspected.manifest.category
        stored = True
        try:
            self._store(inspected, folder, {}, replace=True)
        except (AdetError, OSError):
            stored = False
        with self._lock:
            self._pending -= 1
            self.saved += stored
            self.lost += not stored

    def _store(
        self, inspected: Inspected, folder: Path, more: dict[str, Any], *, replace: bool
    ) -> Path:
        stamp, frame_id, image, inspection, manifest = inspected
        note = {
            'stamp_ns': stamp,
            'frame_id': frame_id,
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
            image,
            note,
            limit=self._limit,
            replace=replace,
            float_range=self._float_range,
        )
