# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""What is missing in a stream of images: gaps in a steady rate, and silence."""

from __future__ import annotations

from collections import deque
import time

import numpy as np

# So many intervals say what is usual; below the second number nobody can tell.
_WINDOW = 30
_ENOUGH = 10
# A rate is steady if this share of the intervals lies within this part of the usual one. A line
# that takes an image of every part that passes has no steady rate, and so no gaps.
_SHARE = 0.6
_TOLERANCE = 0.25
_GAP = 1.75


class Arrivals:
    """Counts the images that a steady stream lacks, and measures how long it has been silent.

    Attributes:
        missing: Images that the gaps between stamps had room for.
    """

    def __init__(self) -> None:
        self.missing = 0
        self._intervals: deque[int] = deque(maxlen=_WINDOW)
        self._last_ns = 0
        self._since = time.monotonic()

    @property
    def silent_s(self) -> float:
        """Seconds since the last image, or since the start if none has come."""
        return time.monotonic() - self._since

    def add(self, stamp_ns: int) -> int:
        """Count one image.

        Args:
            stamp_ns: When it was taken. Zero: the driver does not say, its arrival counts.

        Returns:
            How many images are missing before this one.
        """
        self._since = time.monotonic()
        now_ns = stamp_ns or int(self._since * 1e9)
        interval, self._last_ns = now_ns - self._last_ns, now_ns
        usual = self._usual()
        # The first image, a repeated stamp, or a clock that was set.
        if interval <= 0 or interval == now_ns:
            return 0
        self._intervals.append(interval)
        if not usual or interval < _GAP * usual:
            return 0
        missing = round(interval / usual) - 1
        self.missing += missing
        return missing

    def _usual(self) -> float:
        """The interval of a steady stream in nanoseconds; 0.0 where it is not steady."""
        if len(self._intervals) < _ENOUGH:
            return 0.0
        intervals = np.asarray(self._intervals, float)
        # Lost images make intervals longer, never shorter.
        usual = float(np.percentile(intervals, 30))
        near = np.abs(intervals - usual) <= _TOLERANCE * usual
        return usual if near.mean() >= _SHARE else 0.0
