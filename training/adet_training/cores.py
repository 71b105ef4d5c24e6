# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""As many threads as there are idle cores.

Threads of torch wait for one another in a loop. Where another process takes the core of one of
them, all lose a scheduler's time slice at every layer: a training then takes many times longer.
"""

from __future__ import annotations

import os
from pathlib import Path
import time

_STATISTICS = Path('/proc/stat')


class IdleCores:
    """Measures from its creation on how many cores other processes leave idle."""

    def __init__(self) -> None:
        self._wall, self._own = _times()
        self._busy = _busy_seconds()

    def count(self) -> int:
        """How many cores they left idle until now, rounded, at least 1.

        All cores of this process where the system does not tell, as on macOS.
        """
        wall, own = _times()
        busy = _busy_seconds()
        cores = usable_cores()
        if busy is None or self._busy is None or wall <= self._wall:
            return cores
        others = (busy - self._busy - (own - self._own)) / (wall - self._wall)
        return max(1, min(cores, round(cores - max(others, 0.0))))


def usable_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, 'sched_getaffinity'):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _times() -> tuple[float, float]:
    """Time on the wall, and CPU time of this process, in seconds."""
    return time.monotonic(), time.process_time()


def _busy_seconds() -> float | None:
    try:
        text = _STATISTICS.read_text('ascii')
        cores = {f'cpu{number}' for number in os.sched_getaffinity(0)}
    except (OSError, AttributeError):
        return None
    # user, nice, system, idle, iowait, irq, softirq, steal
    rows = [line.split() for line in text.splitlines() if line.split(' ', 1)[0] in cores]
    ticks = sum(sum(map(int, row[1:4])) + sum(map(int, row[6:9])) for row in rows)
    return ticks / os.sysconf('SC_CLK_TCK')


def limit_threads(count: int) -> None:
    """Let torch, its matrix products and OpenCV use this many threads from now on.

    Somebody who has set OMP_NUM_THREADS has decided already.
    """
    if os.environ.get('OMP_NUM_THREADS'):
        return
    import cv2
    import torch

    torch.set_num_threads(count)
    cv2.setNumThreads(count)
