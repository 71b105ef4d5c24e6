# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""What the nodes of one process hand to each other in its memory, not by topics."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
import threading
from typing import Generic, NamedTuple, TypeVar

from adet_interfaces.msg import AnomalyResult, ImageInfo, Recorded
from std_msgs.msg import Header

from adet import qos
from adet.image_stream import ImageStream
from adet.node import AdetNode
from adet_core.image import Image

T = TypeVar('T')


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


class Channel(Generic[T]):
    """As a topic, for any threads: who comes late gets the last messages once more.

    A reader is called in the thread of who publishes. It must not change what it gets.
    """

    def __init__(self, kept: int = 0) -> None:
        """Begin without readers.

        Args:
            kept: So many of the last messages are kept for who comes late.
        """
        self._kept: deque[T] = deque(maxlen=kept)
        self._readers: list[Callable[[T], None]] = []
        self._lock = threading.Lock()

    def keep(self, count: int) -> None:
        """Keep so many images for who comes late; those of before are forgotten."""
        with self._lock:
            self._kept = deque(maxlen=count)

    def publish(self, message: T) -> None:
        """Give a message to all readers."""
        with self._lock:
            self._kept.append(message)
            for take in self._readers:
                take(message)

    def read(self, take: Callable[[T], None]) -> None:
        """Give all further messages to a reader, and what is kept before them."""
        with self._lock:
            for message in self._kept:
                take(message)
            self._readers.append(take)

    def leave(self, take: Callable[[T], None]) -> None:
        """Give no more messages to a reader, who may not be one, once this returns."""
        with self._lock:
            if take in self._readers:
                self._readers.remove(take)


class HandOver:
    """The topics by which the nodes of one inspection lead each other, in the memory of a process.

    What others may want to hear is published as well; but no node of the process subscribes to it:
    rclpy's executor takes longer for a message than all else that is done for an image.

    Attributes:
        images: From `image_source` to the detectors; None: they come by the topic.
        infos: From `image_source` to the recorder.
        results: From the detectors to the recorder.
        recorded: From the recorder to `image_source`.
    """

    def __init__(self, *, images: bool = True) -> None:
        """Begin without readers.

        Args:
            images: Whether an `image_source` of this process hands its images over.
        """
        self.images = Channel[Handed]() if images else None
        self.infos = Channel[ImageInfo](qos.DEPTH)
        self.results = Channel[AnomalyResult](qos.DEPTH)
        self.recorded = Channel[Recorded](qos.DEPTH)


class HandedImages(ImageStream):
    """The images of a `HandOver`, as a detector reads those of a topic."""

    def __init__(
        self,
        node: AdetNode,
        images: Channel[Handed],
        take: Callable[[Handed], None],
        *,
        timeout_s: float,
        every: bool,
    ) -> None:
        """Begin to read.

        Args:
            node: Who reads.
            images: Where from.
            take: Called with each image, in the thread of who publishes it.
            timeout_s: See `ImageStream`.
            every: See there.
        """
        super().__init__(node, timeout_s=timeout_s, every=every)
        self._channel, self._callback = images, take
        images.read(self._take)

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
        self._channel.leave(self._take)

    def reason(self) -> tuple[str, bool]:
        """See `ImageStream.reason`."""
        return 'image_source publishes nothing; look at the camera', True

    def _take(self, handed: Handed) -> None:
        self.arrive(handed.stamp_ns)
        self._callback(handed)
