# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Images from `image_source` to the detectors of the same process, without a message."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
import threading
from typing import NamedTuple

from std_msgs.msg import Header

from adet.image_stream import ImageStream
from adet.node import AdetNode
from adet_core.image import Image


class Handed(NamedTuple):
    """An image on its way, which nobody changes.

    Attributes:
        stamp_ns: Its stamp in nanoseconds.
        header: The same, and its frame.
        image: Its pixels.
    """

    stamp_ns: int
    header: Header
    image: Image


Take = Callable[[Handed], None]


class HandOver:
    """As a topic, for any threads: who comes late gets the last images once more."""

    def __init__(self) -> None:
        """Begin without readers; nothing is kept until `keep` says so."""
        self._kept: deque[Handed] = deque(maxlen=0)
        self._readers: list[Take] = []
        self._lock = threading.Lock()

    def keep(self, count: int) -> None:
        """Keep so many images for who comes late; those of before are forgotten."""
        with self._lock:
            self._kept = deque(maxlen=count)

    def publish(self, handed: Handed) -> None:
        """Give an image to all readers."""
        with self._lock:
            self._kept.append(handed)
            for take in self._readers:
                take(handed)

    def read(self, take: Take) -> None:
        """Give all further images to a reader, and what is kept before them."""
        with self._lock:
            for handed in self._kept:
                take(handed)
            self._readers.append(take)

    def leave(self, take: Take) -> None:
        """Give no more images to a reader."""
        with self._lock:
            self._readers.remove(take)


class HandedImages(ImageStream):
    """The images of a `HandOver`, as a detector reads those of a topic."""

    def __init__(
        self, node: AdetNode, hand_over: HandOver, take: Take, *, timeout_s: float, every: bool
    ) -> None:
        """Begin to read.

        Args:
            node: Who reads.
            hand_over: Where from.
            take: Called with each image, in the thread of who publishes it.
            timeout_s: See `ImageStream`.
            every: See there.
        """
        super().__init__(node, timeout_s=timeout_s, every=every)
        self._hand_over, self._callback = hand_over, take
        hand_over.read(self._take)

    @property
    def place(self) -> str:
        """See `ImageStream.place`."""
        return 'image_source'

    @property
    def reliability(self) -> str:
        """See `ImageStream.reliability`."""
        return 'in memory'

    def close(self) -> None:
        """Read no more."""
        self._hand_over.leave(self._take)

    def reason(self) -> tuple[str, bool]:
        """See `ImageStream.reason`."""
        return 'image_source publishes nothing; look at the camera', True

    def _take(self, handed: Handed) -> None:
        self.arrive(handed.stamp_ns)
        self._callback(handed)
