# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""How fast images are inspected."""

from __future__ import annotations

from collections import deque
import threading
import time

import numpy as np

_WINDOW = 1000


class Pace:
    """Rate and latency over the last frames; any threads may call it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._latencies_ms: deque[float] = deque(maxlen=_WINDOW)
        self._count = 0
        self._counted_at = time.monotonic()
        self.total = 0

    def add(self, latency_ms: float) -> None:
        """Count one frame."""
        with self._lock:
            self._latencies_ms.append(latency_ms)
            self._count += 1
            self.total += 1

    def figures(self) -> dict[str, object]:
        """Frames in all, rate since the last call (Hz), p50 and p95 latency (ms)."""
        with self._lock:
            now = time.monotonic()
            rate = self._count / max(now - self._counted_at, 1e-9)
            self._count, self._counted_at = 0, now
            latencies = list(self._latencies_ms)
        figures: dict[str, object] = {'frames': self.total, 'rate_hz': f'{rate:.2f}'}
        for percent in (50, 95):
            value = np.percentile(latencies, percent) if latencies else float('nan')
            figures[f'latency_p{percent}_ms'] = f'{value:.2f}'
        return figures
