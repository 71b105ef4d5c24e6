# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""``image_source``: images of a folder, video, bag or camera, never faster than wanted."""

from __future__ import annotations

from collections.abc import Iterator
import itertools
import sys
import time
from typing import Any

from adet_interfaces.msg import ImageInfo, Recorded
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo
from sensor_msgs.msg import Image as ImageMessage
from std_msgs.msg import Header

from adet import qos, runner
from adet.camera_info import read_camera_info
from adet.conversions import (
    to_clock,
    to_header,
    to_image_info,
    to_image_message,
    to_nanoseconds,
)
from adet.diagnostics import Health
from adet.hand_over import Handed, HandOver
from adet.managed import ManagedNode
from adet.options import camera_settings, ImageSourceOptions
from adet.run_summary import Sent
from adet_core.errors import ConfigError
from adet_core.image import Image, set_max_megapixels
from adet_core.io.camera import without_password
from adet_core.io.folders import readable
from adet_core.io.open_source import open_source
from adet_core.io.sources import Frame, FrameSource
from adet_core.paths import user_path

_KNOWN = 4096
_TELL_S = 30.0


class ImageSource(ManagedNode):
    """Publishes images with unique, increasing stamps; ends after the last one is recorded.

    Attributes:
        recorded: Images that have all their rows.
        total: Images there are; None if that is not known or there is no end.
    """

    def __init__(self, *, hand_over: HandOver | None = None, **options: Any) -> None:
        """Open the source and begin publishing, unless a lifecycle manager is to say so.

        Args:
            hand_over: Where detectors of this process get the images, which are published as well
                while somebody subscribes to them, and a recorder says what is recorded. None: by
                topics.
            options: rclpy's own.

        Raises:
            AdetError: A parameter is wrong, or the source cannot be opened.
        """
        super().__init__('image_source', **options)
        self._options = self.declare(ImageSourceOptions)
        set_max_megapixels(self._options.max_megapixels)
        self._hand_over = hand_over
        self.recorded = 0
        self.total: int | None = None
        self._published = self._unreadable = 0
        self._warned: set[str] = set()
        self._in_flight: dict[int, set[str]] = {}
        self._known: dict[int, None] = {}
        self._is_running = False
        self.begin(autostart=self._options.autostart)

    def configure(self) -> None:
        """Open the source."""
        self._source = self._open()
        self.total = None if self._options.loop else self._source.total
        live = self._source.is_live
        names = [] if live else self._options.wait_for.split(',')
        self._models = frozenset(name.strip() for name in names if name.strip())
        images = qos.newest_only() if live else qos.every_frame(self._options.max_in_flight)
        self._image_publisher = self.create_publisher(ImageMessage, 'image_raw', images)
        if self._hand_over is not None and self._hand_over.images is not None:
            self._hand_over.images.keep(0 if live else self._options.max_in_flight)
        self._calibration, self._calibrations = self._read_calibration(), None
        if self._calibration is not None:
            self._calibrations = self.create_publisher(CameraInfo, 'camera_info', images)
        self._info_publisher = self.create_publisher(ImageInfo, 'image_info', qos.every_frame())
        self._clock_publisher = None
        if self._options.clock:
            self._clock_publisher = self.create_publisher(Clock, '/clock', qos.newest_only())
        self._diagnostics = self.diagnose(
            'images', self._health, without_password(self._options.source)
        )
        self._started_ns = self._last_ns = int(self.get_clock().now().nanoseconds)
        self._in_flight.clear()
        if self._hand_over is not None:
            self._hand_over.recorded.read(self._on_recorded)
        else:
            self._subscription = self.create_subscription(
                Recorded, 'recorded', self._on_recorded, qos.every_frame()
            )

    def activate(self) -> None:
        """Publish, or go on where `deactivate` was called."""
        with self.changed:
            self._is_running = True
            self.changed.notify_all()
        if not self.is_working:
            self.start(self._publish_all)

    def deactivate(self) -> None:
        """Pause after the image that is being published."""
        with self.changed:
            self._is_running = False
            self.changed.notify_all()

    def clean_up(self) -> None:
        """Close the source; what begins next begins at its first image."""
        self.halt()
        if self._hand_over is not None:
            self._hand_over.recorded.leave(self._on_recorded)

    def _read_calibration(self) -> CameraInfo | None:
        path = self._options.camera_info
        return read_camera_info(user_path(path, 'camera_info')) if path else None

    def _open(self) -> FrameSource:
        chosen = self._options
        return open_source(chosen.source, topic=chosen.bag_topic, camera=camera_settings(chosen))

    @property
    def sent(self) -> Sent:
        """What was sent; complete at the end."""
        return Sent(self._published, self._source.lost, self._source.warnings)

    def _publish_all(self) -> None:
        for frame in self._paced(self._frames()):
            self._publish(frame)
        with self.changed:
            self.changed.wait_for(lambda: self.stopping or not self._in_flight)
            is_done = not self.stopping
        if is_done:
            self.finish()

    def _frames(self) -> Iterator[Frame]:
        for _ in itertools.count() if self._options.loop else range(1):
            yield from self._source
            for line in set(self._source.warnings) - self._warned:
                self._warned.add(line)
                self.get_logger().warning(readable(line))

    def _paced(self, frames: Iterator[Frame]) -> Iterator[Frame]:
        """Hold each frame back until its time has come and there is room in flight."""
        due = time.monotonic()
        before: Frame | None = None
        for frame in frames:
            pause = self._pause(before, frame) if before else 0.0
            # From now, not from when it was due: after a pause there is no burst to catch up.
            due = max(due, time.monotonic() - pause) + pause
            with self.changed:
                was_paused = self._wait(due)
                if self.stopping:
                    return
            if was_paused and self._source.is_live:
                # It shows what was there before or during the pause.
                continue
            before = frame
            yield frame

    def _pause(self, before: Frame, frame: Frame) -> float:
        """Seconds from one frame to the next."""
        rate, replay = self._options.publish_rate, self._options.replay_rate
        pause = 1 / rate if rate else 0.0
        if not replay or before.stamp_ns is None or frame.stamp_ns is None:
            return pause
        # Stamps may go back.
        return max(pause, (frame.stamp_ns - before.stamp_ns) / 1e9 / replay)

    def _wait(self, due: float) -> bool:
        """Wait, with `changed`, until a frame may go.

        Args:
            due: When its time has come, as `time.monotonic` has it.

        Returns:
            Whether the node was paused meanwhile.
        """
        was_paused = False
        while not self.stopping:
            was_paused |= not self._is_running
            left = due - time.monotonic()
            if not (self._is_running and self._has_room()):
                self.changed.wait()
            elif left > 0:
                self.changed.wait(left)
            else:
                break
        return was_paused

    def _has_room(self) -> bool:
        return len(self._in_flight) < self._options.max_in_flight

    def _publish(self, frame: Frame) -> None:
        stamp = self._stamp(frame)
        header = to_header(stamp, frame.frame_id or self._options.frame_id)
        with self.changed:
            if self._models:
                self._in_flight[stamp] = set(self._models)
            self._known[stamp] = None
            if len(self._known) > _KNOWN:
                del self._known[next(iter(self._known))]
        if self._clock_publisher is not None:
            self._clock_publisher.publish(to_clock(header))
        self._published += 1
        info = to_image_info(frame, header)
        self._info_publisher.publish(info)
        if self._hand_over is not None:
            self._hand_over.infos.publish(info)
        if frame.image is None:
            self._unreadable += 1
            self.get_logger().warning(info.error)
        else:
            self._publish_calibration(header, frame.image.size)
            self._send(stamp, header, frame.image)

    def _send(self, stamp: int, header: Header, image: Image) -> None:
        if self._hand_over is not None and self._hand_over.images is not None:
            self._hand_over.images.publish(Handed(stamp, header, image))
            if not self._image_publisher.get_subscription_count():
                return
        self._image_publisher.publish(to_image_message(image.pixels, image.encoding, header))

    def _publish_calibration(self, header: Header, size: tuple[int, int]) -> None:
        """Say with an image how its camera sees, as drivers do."""
        told = self._calibration
        if told is None or self._calibrations is None:
            return
        if (told.height, told.width) != size:
            self.get_logger().warning(
                f'camera_info is of {told.width}x{told.height} pixels, the image has '
                f'{size[1]}x{size[0]}',
                throttle_duration_sec=_TELL_S,
            )
        told.header = header
        self._calibrations.publish(told)

    def _stamp(self, frame: Frame) -> int:
        """A frame's own stamp, or one of the clock; stamps join rows, so they have to differ."""
        if frame.stamp_ns is not None and frame.stamp_ns not in self._known:
            return frame.stamp_ns
        # The clock may stand still between two frames, or be set back.
        self._last_ns = max(int(self.get_clock().now().nanoseconds), self._last_ns + 1)
        return self._last_ns

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
        """Whether a row was recorded here for an image that another source published."""
        if not self._models or stamp in self._known:
            return False
        # Rows of a source that ran before this one, and of images long forgotten, say nothing.
        return stamp > max(int(self._started_ns), next(iter(self._known), 0))

    def _health(self) -> Health:
        with self.changed:
            in_flight = len(self._in_flight)
        problem = f'{self._unreadable} images could not be read' if self._unreadable else ''
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
