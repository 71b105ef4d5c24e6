# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Images that wait to be inspected: those of a stream, and before them those asked for."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
import threading
import time
from typing import Any, NamedTuple

from adet_core.errors import ConfigError
from adet_core.image import Image
from adet_core.inference.products import Product

STOPPED = 'the detector is not active'
# Images that may wait because somebody asks for their verdict.
_ASKED = 8
# Whoever waits for its rows has no more images on the way, so that it loses none.
_IN_FLIGHT = 16

Tell = Callable[[Any], None]


class Arrived(NamedTuple):
    """An image that waits to be inspected.

    Attributes:
        stamp_ns: Its stamp in nanoseconds.
        frame_id: Its frame.
        read: Gives its pixels; an `ImageError` if it cannot be read.
        origin: What the caller wants back with the outcome.
        size: Bytes that it takes while it waits.
    """

    stamp_ns: int
    frame_id: str
    read: Callable[[], Image]
    origin: Any = None
    size: int = 0


class Turn(NamedTuple):
    """An image whose turn it is.

    Attributes:
        arrived: The image.
        product: What was in service when it came.
        since: When it came, as `time.perf_counter` has it.
        tell: Called with its outcome; None for an image of the stream.
    """

    arrived: Arrived
    product: Product
    since: float
    tell: Tell | None = None


class ImageQueue:
    """A queue for any threads.

    Attributes:
        dropped: Images that newer ones replaced while they waited.
        waiting_bytes: What those of the stream take that wait.
    """

    def __init__(self, *, keep_all: bool, waiting_bytes: int) -> None:
        """Begin empty.

        Args:
            keep_all: Every image waits its turn; else a newer one replaces the one that waits.
            waiting_bytes: Once more than 16 images wait, the oldest are dropped until the others
                take no more than that.
        """
        self.dropped = self.waiting_bytes = 0
        self._limit = waiting_bytes
        self._waiting: deque[Turn] = deque(maxlen=None if keep_all else 1)
        self._asked: deque[Turn] = deque()
        self._changed = threading.Condition()
        self._stopping = False

    def submit(self, arrived: Arrived, product: Product) -> None:
        """Let an image of the stream wait."""
        with self._changed:
            if len(self._waiting) == self._waiting.maxlen:
                self._drop()
            self._waiting.append(Turn(arrived, product, time.perf_counter()))
            self.waiting_bytes += arrived.size
            while len(self._waiting) > _IN_FLIGHT and self.waiting_bytes > self._limit:
                self._drop()
            self._changed.notify_all()

    def _drop(self) -> None:
        self.waiting_bytes -= self._waiting.popleft().arrived.size
        self.dropped += 1

    def ask(self, arrived: Arrived, product: Product, tell: Tell) -> None:
        """Let an image wait before all of the stream.

        Raises:
            ConfigError: Too many wait like this, or the queue was stopped.
        """
        with self._changed:
            if self._stopping:
                raise ConfigError(STOPPED)
            if len(self._asked) >= _ASKED:
                msg = f'{_ASKED} images wait to be inspected on demand already; wait for them'
                raise ConfigError(msg)
            self._asked.append(Turn(arrived, product, time.perf_counter(), tell))
            self._changed.notify_all()

    def take(self, *, wait: bool) -> Turn | None:
        """The next image; None if there is none, or the queue was stopped."""
        with self._changed:
            if wait:
                self._changed.wait_for(lambda: self._stopping or self._asked or self._waiting)
            if self._stopping or not (self._asked or self._waiting):
                return None
            if self._asked:
                return self._asked.popleft()
            turn = self._waiting.popleft()
            self.waiting_bytes -= turn.arrived.size
            return turn

    def resume(self) -> None:
        """Go on after `stop`, with nothing of what waited then."""
        with self._changed:
            self._stopping = False
            self._waiting.clear()
            self.waiting_bytes = 0

    def stop(self) -> None:
        """Hold the queue: nobody waits in `take` any longer."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()

    def left(self) -> list[Turn]:
        """What was asked for and not taken, once the queue was stopped."""
        with self._changed:
            turns = list(self._asked)
            self._asked.clear()
        return turns
