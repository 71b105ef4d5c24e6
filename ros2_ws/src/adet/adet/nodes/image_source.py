# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""``image_source``: pictures of a folder, video or camera, never faster than wanted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
import itertools
import sys
import time
from typing import Any

from adet_interfaces.msg import ImageInfo, Recorded
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from adet import qos, runner
from adet.conversions import to_image, to_nanoseconds, to_stamp
from adet.diagnostics import Diagnostics, Health
from adet.node import WorkerNode
from adet.parameters import option
from adet_core.errors import ConfigError
from adet_core.sources import Frame, open_source

_KNOWN = 4096


@dataclass(frozen=True, kw_only=True)
class ImageSourceOptions:
    """Parameters of ``image_source``."""

    source: str = option('picture folder, picture or video file, or camera:N')
    publish_rate: float = option(
        'pictures per second at most; 0: as fast as they come and are wanted',
        default=10.0,
        minimum=0.0,
    )
    frame_id: str = option('frame of the camera, copied to every result', default='camera')
    loop: bool = option('start again after the last picture', default=False)
    wait_for: str = option(
        'models, separated by commas, whose rows must be recorded before a picture has left the '
        'flight; empty: nobody is waited for. A camera never waits',
        default='',
    )
    max_in_flight: int = option(
        'pictures published and not yet recorded, at most', default=3, minimum=1, maximum=16
    )


class ImageSource(WorkerNode):
    """Publishes pictures with unique, increasing stamps; ends after the last one is recorded.

    Attributes:
        recorded: Pictures that have all their rows.
        total: Pictures there are; None if that is not known or there is no end.
    """

    def __init__(self, **options: Any) -> None:
        """Open the source and begin publishing.

        Raises:
            AdetError: A parameter is wrong, or the source cannot be opened.
        """
        super().__init__('image_source', **options)
        self._options = self.declare(ImageSourceOptions)
        self._source = open_source(self._options.source)
        self.recorded = 0
        self.total = None if self._options.loop else self._source.total
        live = self._source.is_live
        names = [] if live else self._options.wait_for.split(',')
        self._models = frozenset(name.strip() for name in names if name.strip())
        images = qos.newest_only() if live else qos.every_frame(self._options.max_in_flight)
        self._image_publisher = self.create_publisher(Image, 'image_raw', images)
        self._info_publisher = self.create_publisher(ImageInfo, 'image_info', qos.every_frame())
        self._subscription = self.create_subscription(
            Recorded, 'recorded', self._on_recorded, qos.every_frame()
        )
        self._published = self._unreadable = 0
        self._diagnostics = Diagnostics(self, self._health, self._options.source)
        self._in_flight: dict[int, set[str]] = {}
        self._known: dict[int, None] = {}
        self._started_ns = self._last_ns = self.get_clock().now().nanoseconds
        self.start(self._publish_all)

    def _publish_all(self) -> None:
        for frame in self._paced(self._frames()):
            self._publish(frame)
        with self.changed:
            self.changed.wait_for(lambda: self.stopping or not self._in_flight)
        self.finish()

    def _frames(self) -> Iterator[Frame]:
        for _ in itertools.count() if self._options.loop else range(1):
            yield from self._source

    def _paced(self, frames: Iterator[Frame]) -> Iterator[Frame]:
        """Hold each frame back until its time has come and there is room in flight."""
        rate = self._options.publish_rate
        due = time.monotonic()
        for frame in frames:
            with self.changed:
                self.changed.wait_for(self._has_room)
                while rate and not self.stopping and (wait := due - time.monotonic()) > 0:
                    self.changed.wait(wait)
                if self.stopping:
                    return
            # From now, not from when it was due: after a pause there is no burst to catch up.
            due = max(due, time.monotonic() - 1 / rate) + 1 / rate if rate else due
            yield frame

    def _has_room(self) -> bool:
        return self.stopping or len(self._in_flight) < self._options.max_in_flight

    def _publish(self, frame: Frame) -> None:
        # The clock may stand still between two frames, or be set back; stamps join rows, so they
        # have to differ and to rise.
        self._last_ns = max(self.get_clock().now().nanoseconds, self._last_ns + 1)
        header = Header(stamp=to_stamp(self._last_ns), frame_id=self._options.frame_id)
        if self._models:
            with self.changed:
                self._in_flight[self._last_ns] = set(self._models)
                self._known[self._last_ns] = None
                if len(self._known) > _KNOWN:
                    del self._known[next(iter(self._known))]
        self._published += 1
        info = ImageInfo(header=header, source=frame.source, label=frame.label, error=frame.error)
        self._info_publisher.publish(info)
        if frame.picture is None:
            self._unreadable += 1
            self.get_logger().warning(frame.error)
        else:
            message = to_image(frame.picture.pixels, frame.picture.encoding, header)
            self._image_publisher.publish(message)

    def _on_recorded(self, message: Recorded) -> None:
        stamp = to_nanoseconds(message.stamp)
        with self.changed:
            waiting = self._in_flight.get(stamp)
            if waiting is None:
                if self._is_foreign(stamp):
                    self.fail(_somebody_else(self.get_namespace()))
                return
            waiting.discard(message.model)
            if not waiting:
                del self._in_flight[stamp]
                self.recorded += 1
                self.changed.notify_all()

    def _is_foreign(self, stamp: int) -> bool:
        """Whether a row was recorded here for a picture that another source published."""
        if not self._models or stamp in self._known:
            return False
        # Rows of a source that ran before this one, and of pictures long forgotten, say nothing.
        return stamp > max(int(self._started_ns), next(iter(self._known), 0))

    def _health(self) -> Health:
        with self.changed:
            in_flight = len(self._in_flight)
        problem = f'{self._unreadable} pictures could not be read' if self._unreadable else ''
        values = {
            'published': self._published,
            'recorded': self.recorded,
            'in_flight': in_flight,
            'unreadable': self._unreadable,
            'total': 'unknown' if self.total is None else self.total,
        }
        return Health(problem, values)


def _somebody_else(namespace: str) -> ConfigError:
    return ConfigError(
        f'another inspection runs in namespace {namespace} of this ROS domain; '
        'choose another namespace or ROS_DOMAIN_ID'
    )


def main() -> int:
    """Run the node."""
    return runner.main(ImageSource)


if __name__ == '__main__':
    sys.exit(main())
