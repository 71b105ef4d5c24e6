# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""A subscription to the images of any camera driver, which notices what does not arrive."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rcl_interfaces.msg import ParameterDescriptor
import rclpy
from rclpy.clock import Clock, ClockType
from rclpy.qos import QoSPolicyKind, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CompressedImage
from sensor_msgs.msg import Image as ImageMessage

from adet import environment, qos
from adet.conversions import to_nanoseconds
from adet.image_stream import ImageStream
from adet.image_transport import choose_stream, COMPRESSED, RAW, streams_of
from adet.node import AdetNode, RCLError
from adet.options import DetectorChoices
from adet.parameters import checked
from adet.qos import SubscriptionEventCallbacks, UnsupportedEventTypeError
from adet_core.errors import ConfigError

AUTO = 'auto'
_LOOK_S = 1.0
_TELL_S = 30.0
_LISTED = 8


class ImageTopic(ImageStream):
    """Subscribes to a topic of images, with the reliability of whoever publishes them.

    A best-effort subscription hears everybody, but loses most images that are larger than the
    shared memory of the driver's middleware, even those of a reliable driver. A reliable one does
    not hear a best-effort driver at all. So the publishers are looked at, whenever one comes or
    goes; they also say whether the images are compressed.

    Attributes:
        topic: Its full name, as it was asked for; see also `stream`.
        stream: Where the images come from.
    """

    def __init__(
        self,
        node: AdetNode,
        callback: Callable[[ImageMessage | CompressedImage], None],
        *,
        reliability: str,
        transport: str,
        every: bool,
        timeout_s: float,
    ) -> None:
        """Subscribe to ``image_raw``.

        Args:
            node: Whose subscription it is.
            callback: Called in the node's executor with each image.
            reliability: As the option of that name. A parameter
                ``qos_overrides.<topic>.subscription.reliability`` goes before it.
            transport: As the option ``image_transport``.
            every: See `ImageStream`.
            timeout_s: See there.

        Raises:
            ConfigError: The reliability is none, or does not fit ``every``.
        """
        super().__init__(node, timeout_s=timeout_s, every=every)
        self.topic = node.resolve_topic_name('image_raw')
        self._callback = callback
        self._chosen = self._override(reliability)
        self._best_effort = self._chosen == 'best_effort'
        self._streams = streams_of(self.topic, transport)
        self.stream = self._streams[0]
        self._subscription: Any = None
        self._timer: Any = None
        if every:
            # The publisher waits for nobody but who is there.
            self._subscription = self._subscribe()
            return
        self._match()
        # Not in the time of a recording, which may stand still.
        clock = Clock(clock_type=ClockType.STEADY_TIME)
        self._timer = node.create_timer(_LOOK_S, self._match, clock=clock)

    @property
    def place(self) -> str:
        """The topic that is read at the moment."""
        return self.stream.topic

    @property
    def reliability(self) -> str:
        """What the subscription is at the moment: ``reliable`` or ``best_effort``."""
        return 'best_effort' if self._best_effort else 'reliable'

    def reason(self) -> tuple[str, bool]:
        """See `ImageStream.reason`: as far as the graph of nodes tells."""
        topic = self.stream.topic
        found = self._node.get_publishers_info_by_topic(topic)
        others = sorted({one.topic_type for one in found} - {self.stream.type})
        if found and not others:
            names = sorted({f'{one.node_namespace.rstrip("/")}/{one.node_name}' for one in found})
            return f'{", ".join(names)} publishes nothing on {topic}', True
        reason = f'nobody publishes {topic}'
        if others:
            reason = f'{topic} has {", ".join(others)}, not {self.stream.type}'
        mine = {
            name
            for name, _ in self._node.get_publisher_names_and_types_by_node(
                self._node.get_name(), self._node.get_namespace()
            )
        }
        topics = [
            name
            for name, types in self._node.get_topic_names_and_types()
            if not {RAW, COMPRESSED}.isdisjoint(types) and name not in {topic, *mine}
        ]
        listed = ', '.join(sorted(topics)[:_LISTED]) or 'no other topic'
        return f'{reason}; images are on: {listed}', False

    def close(self) -> None:
        """Read no more."""
        if self._timer is not None:
            self._node.destroy_timer(self._timer)
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)

    def _override(self, reliability: str) -> str:
        name = f'qos_overrides.{self.topic}.subscription.reliability'
        descriptor = ParameterDescriptor(
            description=f'reliability of the subscription to {self.topic}', read_only=True
        )
        chosen: str = self._node.declare_one(name, reliability, descriptor)
        checked(DetectorChoices(reliability=chosen))
        if self._every and chosen == 'best_effort':
            msg = 'reliability is best_effort, but frames: every loses no image; take reliable'
            raise ConfigError(msg)
        return chosen

    def _subscribe(self) -> Any:
        profile = (
            qos.every_frame() if self._every else qos.any_camera(best_effort=self._best_effort)
        )
        options = QoSOverridingOptions([QoSPolicyKind.HISTORY, QoSPolicyKind.DEPTH])

        def subscribe(events: Any) -> Any:
            create = self._node.create_subscription
            further = {'event_callbacks': events, 'qos_overriding_options': options}
            if self.stream.type == COMPRESSED:
                return create(
                    CompressedImage, self.stream.topic, self._on_image, profile, **further
                )
            return self._node.create_subscription(
                ImageMessage, 'image_raw', self._on_image, profile, **further
            )

        try:
            return subscribe(self._events())
        except UnsupportedEventTypeError:
            # The look once a second has to do.
            return subscribe(None)

    def _events(self) -> SubscriptionEventCallbacks:
        events = SubscriptionEventCallbacks(message_lost=self._on_lost)
        if not self._every:
            events.incompatible_qos = lambda _: self._match()
            # Humble has no such event.
            events.matched = lambda _: self._match()
        return events

    def _match(self) -> None:
        """Subscribe anew where the publishers are of another type or reliability."""
        known = self._node.get_publishers_info_by_topic
        stream = choose_stream(self._streams, self.stream, known)
        found = _any_best_effort(stream.publishers(known)) if self._chosen == AUTO else None
        best_effort = self._best_effort if found is None else found
        before, self.stream = self.stream, stream
        is_new = self._subscription is None
        if not is_new and (stream, best_effort) == (before, self._best_effort):
            return
        self._best_effort = best_effort
        old = self._subscription
        if stream.type != before.type and old is not None:
            # A process has one type for each topic.
            self._node.destroy_subscription(old)
            old = self._subscription = None
        try:
            self._subscription = self._subscribe()
        except RCLError as error:
            # Another node of this process may still read the other type, until it looks.
            self._node.get_logger().warning(
                f'{stream.topic} cannot be read as {stream.type} yet, trying again: {error}',
                throttle_duration_sec=_TELL_S,
            )
            return
        # The new one first, so that it may be found before the old one is gone.
        if old is not None:
            self._node.destroy_subscription(old)
        if not is_new:
            self._node.get_logger().info(f'reading {stream.topic} now, {self.reliability}')

    def _on_image(self, message: ImageMessage | CompressedImage) -> None:
        self.arrive(to_nanoseconds(message.header.stamp))
        self._callback(message)

    def _on_lost(self, event: Any) -> None:
        self.lost += event.total_count_change
        self._node.get_logger().warning(
            f'{self.stream.topic}: images lost on the way: {self.lost}; {self._advice()}',
            throttle_duration_sec=_TELL_S,
        )

    def _advice(self) -> str:
        remedies = []
        if self._best_effort:
            remedies.append('let the driver publish reliably')
        if 'fastrtps' in rclpy.get_rmw_implementation_identifier():
            remedies.append(
                'give Fast DDS shared memory that holds an image, in the environment of the '
                f'driver: {environment.profile_variable()}={environment.fast_dds_profile()}'
            )
        return ', or '.join(remedies) or 'see docs/troubleshooting.md, big images'


def _any_best_effort(publishers: Sequence[Any]) -> bool | None:
    """Whether one is heard by a best-effort subscription only; None if there is none."""
    found = [one.qos_profile.reliability for one in publishers]
    return ReliabilityPolicy.BEST_EFFORT in found if found else None
