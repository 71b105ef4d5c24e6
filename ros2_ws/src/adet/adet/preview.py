# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Small JPEG images of what was inspected, for pages and remote screens."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
import math
import time

from rclpy.node import Node
from sensor_msgs.msg import CompressedImage

from adet import qos
from adet.conversions import to_compressed_message
from adet_core.inference.inspection_service import Outcome

_QUALITY = 80


class Preview:
    """Publishes the newest image, as often and as large as people need it.

    It is scaled, drawn and encoded in a thread of its own, and only while somebody subscribes, so
    that the next image need not wait.
    """

    def __init__(self, node: Node, model: str, *, rate: float, width: int) -> None:
        """Create the publishers.

        Args:
            node: The detector.
            model: The model name.
            rate: Images per second at most, more than 0.
            width: Pixels of a row at most.
        """
        self._node, self._every_s, self._width = node, 1 / rate, width
        people = qos.newest_only()
        self._images = node.create_publisher(
            CompressedImage, f'{model}/preview/image/compressed', people
        )
        self._overlays = node.create_publisher(
            CompressedImage, f'{model}/preview/overlay/compressed', people
        )
        self._thread = ThreadPoolExecutor(1, thread_name_prefix='preview')
        self._drawing: Future[None] | None = None
        self._begun = -math.inf

    def offer(self, outcome: Outcome) -> None:
        """Show an inspected image, unless nobody looks or the last one was shown just now."""
        now = time.monotonic()
        is_busy = self._drawing is not None and not self._drawing.done()
        if is_busy or now - self._begun < self._every_s:
            return
        if self._images.get_subscription_count() or self._overlays.get_subscription_count():
            self._begun = now
            self._drawing = self._thread.submit(self._publish, outcome)

    def close(self) -> None:
        """Finish the image that is being drawn."""
        self._thread.shutdown()

    def _publish(self, outcome: Outcome) -> None:
        header, inspection, image = outcome.arrived.origin, outcome.inspection, outcome.image
        assert inspection is not None
        assert image is not None
        try:
            plain, overlay = outcome.detector.preview(image, inspection, self._width)
            for publisher, pixels in ((self._images, plain), (self._overlays, overlay)):
                publisher.publish(to_compressed_message(pixels, header, quality=_QUALITY))
        except Exception as error:  # noqa: BLE001 - nobody waits for the thread
            if self._node.context.ok():
                self._node.get_logger().error(f'no preview: {error}', throttle_duration_sec=5.0)
