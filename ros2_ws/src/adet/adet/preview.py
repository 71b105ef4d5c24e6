# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Small JPEG images of what was inspected, for pages and remote screens."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
import math
import time

from rclpy.node import Node
from sensor_msgs.msg import CompressedImage

from adet import qos
from adet.conversions import to_compressed_message
from adet_core.cores import IdleCores
from adet_core.inference.inspection_service import Outcome

_QUALITY = 80
# Where fewer cores than that are idle, there are fewer previews, and they take so much of a core.
_IDLE, _BUSY_RATE, _SHARE = 0.1, 4.0, 0.03
_LOOK_S = 1.0


class Pace:
    """When the next preview is due: what people watch must not slow the line."""

    def __init__(self, rate: float, cores: Callable[[], IdleCores] = IdleCores) -> None:
        """Nothing was shown yet.

        Args:
            rate: Previews per second at most, more than 0.
            cores: Begins to measure how busy the machine is.
        """
        self._usual_s = self._every_s = 1 / rate
        self._busy_s = max(self._usual_s, 1 / _BUSY_RATE)
        self._begun = self._looked = -math.inf
        self._make, self._cores = cores, cores()
        self._cost_s = 0.0

    def is_due(self, now: float) -> bool:
        """Whether to show an image that was inspected just now."""
        return now - self._begun >= self._every_s

    def begin(self, now: float) -> None:
        """An image is shown."""
        self._begun = now
        if now - self._looked < _LOOK_S:
            return
        is_busy = self._cores.share() < _IDLE
        self._every_s = max(self._busy_s, self._cost_s / _SHARE) if is_busy else self._usual_s
        self._looked, self._cores = now, self._make()

    def end(self, cost_s: float) -> None:
        """It took so much of a core."""
        self._cost_s = cost_s


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
        self._node, self._pace, self._width = node, Pace(rate), width
        people = qos.newest_only()
        self._images = node.create_publisher(
            CompressedImage, f'{model}/preview/image/compressed', people
        )
        self._overlays = node.create_publisher(
            CompressedImage, f'{model}/preview/overlay/compressed', people
        )
        self._thread = ThreadPoolExecutor(1, thread_name_prefix='preview')
        self._drawing: Future[None] | None = None

    def offer(self, outcome: Outcome) -> None:
        """Show an inspected image, unless nobody looks or the last one was shown just now."""
        now = time.monotonic()
        is_busy = self._drawing is not None and not self._drawing.done()
        if is_busy or not self._pace.is_due(now):
            return
        if self._images.get_subscription_count() or self._overlays.get_subscription_count():
            self._pace.begin(now)
            self._drawing = self._thread.submit(self._publish, outcome)

    def close(self) -> None:
        """Finish the image that is being drawn."""
        self._thread.shutdown()

    def _publish(self, outcome: Outcome) -> None:
        header, inspection, image = outcome.arrived.origin, outcome.inspection, outcome.image
        assert inspection is not None
        assert image is not None
        begun = time.thread_time()
        try:
            plain, overlay = outcome.detector.preview(image, inspection, self._width)
            for publisher, pixels in ((self._images, plain), (self._overlays, overlay)):
                publisher.publish(to_compressed_message(pixels, header, quality=_QUALITY))
            self._pace.end(time.thread_time() - begun)
        except Exception as error:  # noqa: BLE001 - nobody waits for the thread
            if self._node.context.ok():
                self._node.get_logger().error(f'no preview: {error}', throttle_duration_sec=5.0)
