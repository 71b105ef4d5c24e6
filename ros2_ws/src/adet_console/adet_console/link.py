# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The console's side of the ROS graph: finds detectors, hears them, and acts for the operator.

A thread of its own spins the node. The page's server lives in another thread, with an event loop:
it calls `GraphLink`'s coroutines, and `GraphLink` hands it events.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
import contextlib
from dataclasses import dataclass, field, replace
import math
import threading
import time
from typing import Any

from adet_interfaces.action import Retrain
from adet_interfaces.msg import AnomalyResult
from adet_interfaces.srv import MarkResult
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rcl_interfaces.msg import Parameter as ParameterMessage
from rcl_interfaces.msg import ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from rclpy.action import ActionClient
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage
from sensor_msgs.msg import Image as ImageMessage

from adet import qos
from adet.conversions import to_image, to_nanoseconds, to_stamp
from adet.diagnostics import INSPECTION, status_name
from adet.image_transport import COMPRESSED, RAW
from adet.live_parameters import CATEGORY, THRESHOLD
from adet.node import AdetNode, RCLError
from adet_console.frames import Frame
from adet_console.history import Counters, History, Verdict
from adet_console.options import ConsoleOptions
from adet_core.errors import AdetError, ConfigError
from adet_core.image import Image
from adet_core.paths import user_path
from adet_core.records import read_records, results_path

Event = dict[str, Any]
"""What happened, as the page is told: ``type`` and more."""

_RESULT_TYPE = 'adet_interfaces/msg/AnomalyResult'
_IMAGE_KINDS = {RAW: ImageMessage, COMPRESSED: CompressedImage}
_LOOK_S = 1.0
_STALE_S = 5.0
_ANSWER_S = 15.0
# Plain previews that wait for the overlay of the same stamp.
_WAITING = 4
_LEVELS = {
    DiagnosticStatus.OK: 'ok',
    DiagnosticStatus.WARN: 'warning',
    DiagnosticStatus.ERROR: 'error',
    DiagnosticStatus.STALE: 'stale',
}


@dataclass
class Detector:
    """What the console knows of one detector.

    Attributes:
        key: Its topic without ``/result``, e.g. ``/line1/padim``.
        node: Full name of its node; empty while it is away.
        history: Its last verdicts.
        watchers: How many viewers want its images.
        collects: Whether its images are wanted for a new part.
        subscriptions: Of previews while somebody watches, of images while they are collected.
        waiting: JPEG files of plain previews by stamp.
        clients: By what they do.
        shift: Wall-clock time (s) at which the counters began.
        told: The counters that the page was told last.
    """

    key: str
    history: History
    node: str = ''
    watchers: int = 0
    collects: bool = False
    subscriptions: list[Any] = field(default_factory=list)
    waiting: dict[int, bytes] = field(default_factory=dict)
    clients: dict[str, Any] = field(default_factory=dict)
    shift: float = field(default_factory=time.time)
    told: Counters = field(default_factory=Counters)

    @property
    def model(self) -> str:
        """The model name."""
        return self.key.rpartition('/')[2]

    @property
    def namespace(self) -> str:
        """Where its nodes live; empty for the root."""
        return self.key.rpartition('/')[0]


class GraphLink(AdetNode):
    """A node that listens to every detector of the ROS domain.

    Attributes:
        detectors: By key.
        on_event: Called with each event, from the thread that spins.
        on_frame: Called with a detector's key and a frame, from the thread that spins.
        on_image: Called with a detector's key, a stamp in nanoseconds, and an image as the camera
            gave it, from the thread that spins.
    """

    def __init__(self, **options: Any) -> None:
        """Declare the parameters and begin to look for detectors.

        Raises:
            ConfigError: A parameter is wrong.
        """
        super().__init__('console', **options)
        self.options = self.declare(ConsoleOptions)
        self.detectors: dict[str, Detector] = {}
        self.on_event: Callable[[Event], None] = lambda _: None
        self.on_frame: Callable[[str, Frame], None] = lambda *_: None
        self.on_image: Callable[[str, int, Image], None] = lambda *_: None
        self._statuses: dict[str, tuple[float, DiagnosticStatus]] = {}
        self._retrainings: dict[str, Any] = {}
        self._executor = SingleThreadedExecutor()
        self._thread: threading.Thread | None = None
        self._diagnostics = self.create_subscription(
            DiagnosticArray, '/diagnostics', self._on_diagnostics, 10
        )
        self._timer = self.create_timer(_LOOK_S, self._look)

    def start(self) -> None:
        """Spin in a thread of its own."""
        self._executor.add_node(self)
        self._thread = threading.Thread(target=self._spin, name='console', daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._executor.shutdown()
        if self._thread is not None:
            self._thread.join()

    def _spin(self) -> None:
        try:
            self._executor.spin()
        except ExternalShutdownException:
            pass
        except Exception as error:  # noqa: BLE001 - told to who waits for the end
            self.fail(error)

    # ---- what is heard

    def _look(self) -> None:
        """Find detectors that are new, or came again, or went."""
        for name, types in self.get_topic_names_and_types():
            if _RESULT_TYPE in types and name.endswith('/result'):
                self._meet(name)
        self.on_event({'type': 'health', 'nodes': self.health()})
        for detector in self.detectors.values():
            self._tell_counters(detector)

    def _meet(self, topic: str) -> None:
        key = topic.removesuffix('/result')
        if key not in self.detectors:
            self.detectors[key] = self._make(key)
            self.on_event({'type': 'detectors', 'detectors': self.overview()})
        detector, before = self.detectors[key], self.detectors[key].node
        found = self.get_publishers_info_by_topic(topic)
        detector.node = _full_name(found[0]) if found else ''
        if detector.node != before:
            self.on_event({'type': 'detectors', 'detectors': self.overview()})
            if detector.watchers or detector.collects:
                # It came back, maybe with another image topic.
                self._set_watched(detector)

    def _make(self, key: str) -> Detector:
        detector = Detector(key, History(self.options.history))
        self._fill(detector)

        def heard(message: AnomalyResult) -> None:
            self._on_result(detector, message)

        detector.clients['result'] = self.create_subscription(
            AnomalyResult, f'{key}/result', heard, qos.every_frame()
        )
        detector.clients['mark'] = self.create_client(MarkResult, f'{key}/mark')
        detector.clients['retrain'] = ActionClient(self, Retrain, f'{detector.namespace}/retrain')
        return detector

    def _fill(self, detector: Detector) -> None:
        """The last rows of its result file, where it lies here."""
        path = results_path(user_path(self.options.output_dir, 'output_dir'), detector.model)
        try:
            rows = list(read_records(path))[-self.options.history :] if path.exists() else []
        except (AdetError, OSError) as error:
            self.get_logger().warning(f'earlier results are not shown: {error}')
            rows = []
        detector.history.fill(rows)

    def _on_result(self, detector: Detector, message: AnomalyResult) -> None:
        verdict = to_verdict(message)
        if detector.history.add(verdict):
            self.on_event(
                {
                    'type': 'verdict',
                    'detector': detector.key,
                    'verdict': verdict.to_json(),
                }
            )

    def _tell_counters(self, detector: Detector) -> None:
        """Tell of what was counted since the last look: the interval takes as long as an image."""
        counters = detector.history.counters
        if (now := replace(counters)) != detector.told:
            detector.told = now
            self.on_event(
                {'type': 'counters', 'detector': detector.key, 'counters': counters.to_json()}
            )

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            self._statuses[status.name] = (time.monotonic(), status)

    def health(self) -> list[dict[str, Any]]:
        """Every node that reports on ``/diagnostics``: name, level, message, values."""
        now = time.monotonic()
        return [
            {
                'name': name,
                'level': 'stale' if now - heard > _STALE_S else _LEVELS[status.level],
                'message': status.message,
                'values': {entry.key: entry.value for entry in status.values},
            }
            for name, (heard, status) in sorted(self._statuses.items())
        ]

    def overview(self) -> list[dict[str, Any]]:
        """Every detector: key, model, namespace, and whether it is there."""
        return [
            {
                'key': one.key,
                'model': one.model,
                'namespace': one.namespace,
                'present': bool(one.node),
                'counters': one.history.counters.to_json(),
                'shift': one.shift,
            }
            for one in self.detectors.values()
        ]

    # ---- images, while somebody watches

    def watch(self, key: str, change: int) -> None:
        """Count one viewer more or less; from any thread."""
        self._executor.create_task(self._watch, key, change)

    def _watch(self, key: str, change: int) -> None:
        detector = self.detectors.get(key)
        if detector is None:
            return
        before, detector.watchers = detector.watchers, max(0, detector.watchers + change)
        if bool(before) != bool(detector.watchers):
            self._set_watched(detector)

    def collect(self, key: str, on: bool) -> None:
        """Whether every image of a detector goes to `on_image`; from any thread."""
        self._executor.create_task(self._collect, self.find(key), on)

    def _collect(self, detector: Detector, on: bool) -> None:
        detector.collects = on
        self._set_watched(detector)

    def _set_watched(self, detector: Detector) -> None:
        for subscription in detector.subscriptions:
            self.destroy_subscription(subscription)
        detector.subscriptions.clear()
        detector.waiting.clear()
        if not detector.watchers and not detector.collects:
            return

        if detector.watchers:
            self._watch_previews(detector)
        # Every image of a camera is much to receive: only who keeps them does.
        if detector.collects and (stream := self._image_stream(detector)):
            topic, kind = stream

            def offer(message: ImageMessage | CompressedImage) -> None:
                self._offer(detector, message)

            try:
                found = self.create_subscription(kind, topic, offer, self._profile(topic))
            except RCLError as error:
                # A process has one type for each topic, and another detector may have another.
                self.get_logger().warning(f'{topic} cannot be read, so none is kept: {error}')
            else:
                detector.subscriptions.append(found)

    def _watch_previews(self, detector: Detector) -> None:
        def keep(message: CompressedImage) -> None:
            detector.waiting[to_nanoseconds(message.header.stamp)] = bytes(message.data)
            while len(detector.waiting) > _WAITING:
                del detector.waiting[next(iter(detector.waiting))]

        def show(message: CompressedImage) -> None:
            stamp = to_nanoseconds(message.header.stamp)
            frame = Frame(stamp, detector.waiting.pop(stamp, None), bytes(message.data))
            self.on_frame(detector.key, frame)

        people, preview = qos.newest_only(), f'{detector.key}/preview'
        detector.subscriptions += [
            self.create_subscription(kind, topic, heard, people)
            for kind, topic, heard in (
                (CompressedImage, f'{preview}/image/compressed', keep),
                (CompressedImage, f'{preview}/overlay/compressed', show),
            )
        ]
        if detector.node and not self.count_publishers(f'{preview}/overlay/compressed'):
            self.get_logger().warning(
                f'{detector.node} publishes no preview, so its images are not shown; update adet '
                'where it runs'
            )

    def _offer(self, detector: Detector, message: ImageMessage | CompressedImage) -> None:
        stamp = to_nanoseconds(message.header.stamp)
        try:
            self.on_image(detector.key, stamp, to_image(message))
        except AdetError as error:
            self._complain(detector, error)

    def _complain(self, detector: Detector, error: AdetError) -> None:
        self.get_logger().warning(f'{detector.key}: {error}', throttle_duration_sec=10.0)

    def _image_stream(self, detector: Detector) -> tuple[str, type[Any]] | None:
        """Topic and type of what the detector inspects: a camera's topic may have any name."""
        namespace, _, name = detector.node.rpartition('/')
        if not name:
            return None
        with contextlib.suppress(Exception):
            # rclpy raises where the node has gone meanwhile.
            for topic, types in self.get_subscriber_names_and_types_by_node(
                name, namespace or '/'
            ):
                if kinds := [_IMAGE_KINDS[one] for one in types if one in _IMAGE_KINDS]:
                    return str(topic), kinds[0]
        return None

    def _profile(self, topic: str) -> QoSProfile:
        """As reliable as all publishers are: large images lose fragments otherwise."""
        found = self.get_publishers_info_by_topic(topic)
        reliable = [one.qos_profile.reliability == ReliabilityPolicy.RELIABLE for one in found]
        return (
            qos.newest_only() if reliable and all(reliable) else qos.any_camera(best_effort=True)
        )

    def bundle_of(self, key: str) -> tuple[str, str]:
        """Folder and id of the bundle that a detector inspects with, as its diagnostics say.

        Raises:
            ConfigError: There is no such detector, or it has not told.
        """
        told = self._told_by(self.find(key))
        return told['bundle_folder'], told['bundle']

    def _told_by(self, detector: Detector) -> dict[str, str]:
        """What a detector's diagnostics said last.

        Raises:
            ConfigError: Nothing yet.
        """
        if told := self._statuses.get(status_name(detector.node, INSPECTION)):
            return {entry.key: entry.value for entry in told[1].values}
        msg = f'{detector.key} has not told yet what it inspects with'
        raise ConfigError(msg)

    # ---- what the operator does

    def find(self, key: str) -> Detector:
        """A detector.

        Raises:
            ConfigError: There is none of that key.
        """
        if key not in self.detectors:
            msg = f'no detector {key!r}; there are: {", ".join(self.detectors) or "none"}'
            raise ConfigError(msg)
        return self.detectors[key]

    async def set_threshold(self, key: str, value: float) -> float:
        """Set the raw threshold of a running detector; returns the one before.

        Raises:
            AdetError: The detector does not answer, or refuses it.
        """
        detector = self.find(key)
        newest = detector.history.newest()
        before = newest.threshold if newest else float('nan')
        given = ParameterValue(type=ParameterType.PARAMETER_DOUBLE, double_value=value)
        await self._set(detector, ParameterMessage(name=THRESHOLD, value=given))
        return before

    async def set_category(self, key: str, category: str) -> str:
        """Let a running detector inspect for another category; returns the one before.

        Raises:
            AdetError: The detector does not answer, or has no such category.
        """
        detector = self.find(key)
        before = self._told_by(detector)['category']
        given = ParameterValue(type=ParameterType.PARAMETER_STRING, string_value=category)
        await self._set(detector, ParameterMessage(name=CATEGORY, value=given))
        return before

    async def _set(self, detector: Detector, parameter: ParameterMessage) -> None:
        client = self._parameter_client(detector)
        request = SetParameters.Request(parameters=[parameter])
        answer = await self._call(client, request, detector.node)
        if not answer.results[0].successful:
            raise ConfigError(answer.results[0].reason)

    async def mark(self, key: str, stamp: int, verdict: str, note: str) -> str:
        """Say what an inspected part really was; returns where its image is stored.

        Raises:
            AdetError: The detector does not answer, or does not remember the image.
        """
        detector = self.find(key)
        request = MarkResult.Request(stamp=to_stamp(stamp), verdict=verdict, note=note)
        answer = await self._call(detector.clients['mark'], request, f'{key}/mark')
        if not answer.success:
            raise ConfigError(answer.message)
        marked = detector.history.mark(stamp, verdict)
        if marked is not None:
            self.on_event({'type': 'marked', 'detector': key, 'verdict': marked.to_json()})
        return str(answer.message)

    async def retrain(self, key: str, mode: str, overrides: list[str], category: str = '') -> None:
        """Send a goal; feedback and result come as events of type ``retrain``.

        Raises:
            AdetError: No server answers, or a retraining is running.
        """
        detector = self.find(key)
        client = detector.clients['retrain']
        if not client.server_is_ready():
            msg = 'no retrain_server runs beside this detector; start retrain.launch.py'
            raise ConfigError(msg)
        if key in self._retrainings:
            msg = 'a retraining is running; wait for it, or cancel it'
            raise ConfigError(msg)

        def tell(message: Any) -> None:
            feedback = message.feedback
            self._tell_retraining(
                key, stage=feedback.stage, progress=feedback.progress, detail=feedback.detail
            )

        goal = Retrain.Goal(
            model=detector.model, mode=mode, overrides=overrides, category=category
        )
        handle = await self._ask(lambda: client.send_goal_async(goal, feedback_callback=tell))
        self._retrainings[key] = handle
        self._tell_retraining(key, stage='accepted', progress=0.0, detail='')

        def follow() -> None:
            handle.get_result_async().add_done_callback(lambda ended: self._retrained(key, ended))

        self._executor.create_task(follow)

    async def cancel(self, key: str) -> None:
        """Cancel the running retraining of a detector.

        Raises:
            ConfigError: None is running.
        """
        if key not in self._retrainings:
            msg = 'no retraining is running'
            raise ConfigError(msg)
        await self._ask(self._retrainings[key].cancel_goal_async)

    def _retrained(self, key: str, ended: Any) -> None:
        self._retrainings.pop(key, None)
        result = ended.result().result
        self._tell_retraining(
            key,
            stage='done',
            progress=1.0,
            detail=result.message,
            success=result.success,
            bundle_id=result.bundle_id,
            before=_figures(result.before),
            after=_figures(result.after),
        )

    def _tell_retraining(self, key: str, **values: Any) -> None:
        self.on_event({'type': 'retrain', 'detector': key, **values})

    def _parameter_client(self, detector: Detector) -> Any:
        if not detector.node:
            msg = f'{detector.key} is not running'
            raise ConfigError(msg)
        name = f'{detector.node}/set_parameters'
        client = detector.clients.get(name)
        if client is None:
            client = detector.clients[name] = self.create_client(SetParameters, name)
        return client

    async def _call(self, client: Any, request: Any, name: str) -> Any:
        deadline = time.monotonic() + _ANSWER_S
        while not client.service_is_ready():
            if time.monotonic() > deadline:
                msg = f'{name} does not answer'
                raise ConfigError(msg)
            await asyncio.sleep(0.05)
        return await self._wait(client.call_async(request))

    async def _ask(self, send: Callable[[], Any]) -> Any:
        """Await what an action server responds.

        The request is sent by the spinning thread: an action client knows it only after it is
        sent, and drops a response that another thread takes before that.
        """

        def attempt() -> tuple[Any, Exception | None]:
            # What a task raises ends the spinning thread.
            try:
                return send(), None
            except Exception as error:  # noqa: BLE001 - raised where it is awaited
                return None, error

        sent, error = await self._wait(self._executor.create_task(attempt))
        if error is not None:
            raise error
        return await self._wait(sent)

    async def _wait(self, future: Any) -> Any:
        """Await a future of rclpy, which the spinning thread completes."""
        loop = asyncio.get_running_loop()
        done = asyncio.Event()
        future.add_done_callback(lambda _: loop.call_soon_threadsafe(done.set))
        try:
            await asyncio.wait_for(done.wait(), _ANSWER_S)
        except asyncio.TimeoutError:
            msg = 'the node does not answer'
            raise ConfigError(msg) from None
        return future.result()


def to_verdict(message: AnomalyResult) -> Verdict:
    """A result as the page shows it."""
    return Verdict(
        stamp=to_nanoseconds(message.header.stamp),
        score=message.score,
        normalised_score=message.normalised_score,
        threshold=message.threshold,
        is_anomalous=message.is_anomalous,
        is_uncertain=message.is_uncertain,
        inference_ms=message.inference_ms,
        bundle_id=message.bundle_id,
        regions=tuple((r.x, r.y, r.width, r.height) for r in message.regions),
        error=message.error,
        p_value=message.p_value if math.isfinite(message.p_value) else None,
        category=message.category,
    )


def _figures(message: Any) -> dict[str, Any]:
    auroc = message.image_auroc
    return {
        'threshold': message.threshold,
        'normals': message.normals,
        'rejected': message.rejected,
        'marked': message.marked,
        'marked_rejected': message.marked_rejected,
        'image_auroc': auroc if math.isfinite(auroc) else None,
        'test_normals': message.test_normals,
        'test_rejected': message.test_rejected,
        'anomalies': message.anomalies,
        'caught': message.caught,
        'made_up': [
            {'strength': strength, 'images': images, 'caught': caught}
            for strength, images, caught in zip(
                message.made_up_strengths, message.made_up, message.made_up_caught, strict=True
            )
        ],
    }


def _full_name(info: Any) -> str:
    return f'{info.node_namespace.rstrip("/")}/{info.node_name}'
