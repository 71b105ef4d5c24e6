# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""``<model>_detector``: a verdict for every image."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
import math
from pathlib import Path
import sys
import threading
import time
from typing import Any

from adet_interfaces.msg import AnomalyResult
from adet_interfaces.srv import LoadBundle, MarkResult
import cv2
from rcl_interfaces.msg import ParameterDescriptor, SetParametersResult
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.parameter import Parameter
from rclpy.task import Future
from sensor_msgs.msg import Image as ImageMessage

from adet import qos, runner
from adet.conversions import to_image, to_image_message, to_nanoseconds, to_result
from adet.diagnostics import Diagnostics, Health, Pace
from adet.frames import FrameKeeper
from adet.image_topic import ImageTopic
from adet.node import WorkerNode
from adet.options import DetectorOptions
from adet_core.drift import DriftTest
from adet_core.errors import AdetError, BackendError, ConfigError
from adet_core.image import Image
from adet_core.inference.detector import Detector, Inspection
from adet_core.models.names import deployed_folder, FOLDERS

_SUFFIX = '_detector'
_TELL_S = 5.0
# What a detector warns of when it happened since the last report.
_WORTH_SAYING = (
    'images dropped: they come too fast',
    'images refused',
    'images lost on the way, see the log',
    'images missing in a steady rate',
)


class DetectorNode(WorkerNode):
    """Inspects images in a thread of its own, so that a long inference holds nothing up."""

    def __init__(self, model: str = '', **options: Any) -> None:
        """Load the bundle and begin to inspect.

        Args:
            model: The model name, unless the parameter names it.
            options: rclpy's own.

        Raises:
            AdetError: A parameter is wrong, or the bundle cannot be used.
        """
        super().__init__(f'{model}{_SUFFIX}' if model else 'detector', **options)
        # Its own threads find too little to share in an image of the graph's size, and spin while
        # they wait, on cores that the inference needs.
        cv2.setNumThreads(1)
        self._options = self.declare(DetectorOptions)
        self._model = self._options.model or model
        if not self._model:
            msg = f'{self.get_name()}: parameter model is empty; name one of: {", ".join(FOLDERS)}'
            raise ConfigError(msg)
        root = Path(self._options.models_root).expanduser()
        own = self._options.bundle
        folder = Path(own).expanduser() if own else deployed_folder(root, self._model)
        self._folder = folder
        self._float_range = _range(self._options.float_range)
        chosen = self._options
        self._frames = FrameKeeper(
            Path(chosen.data_root).expanduser(),
            save=chosen.save_frames,
            limit=chosen.keep_limit,
            float_range=self._float_range,
        )
        self._detector = self._load(self._folder, None)
        self._declare_threshold()
        self._drift = _drift_test(self._detector)
        every = self._options.frames == 'every'
        # One place to wait is enough for the newest; where none may be lost, the source keeps the
        # number small.
        self._waiting: deque[tuple[ImageMessage, float]] = deque(maxlen=None if every else 1)
        self._dropped = self._failed = 0
        self._reported: dict[str, int] = {}
        self._pace = Pace()
        self._make_topics(every)
        detector = self._detector
        self._say_backend(f'bundle {detector.bundle.bundle_id} of {folder}', detector)
        self.start(self._inspect_all)

    def _make_topics(self, every: bool) -> None:
        prefix = self._model
        results, people = qos.every_frame(), qos.newest_only()
        self._results = self.create_publisher(AnomalyResult, f'{prefix}/result', results)
        self._maps = self.create_publisher(ImageMessage, f'{prefix}/anomaly_map', people)
        self._overlays = self.create_publisher(ImageMessage, f'{prefix}/overlay', people)
        # In a group of its own: while a bundle is being loaded, images and timers go on.
        self._service = self.create_service(
            LoadBundle,
            f'{prefix}/load_bundle',
            self._on_load_bundle,
            callback_group=ReentrantCallbackGroup(),
        )
        self._marking = self.create_service(MarkResult, f'{prefix}/mark', self._on_mark)
        self._diagnostics = Diagnostics(self, self._health, str(self._folder))
        self._images = ImageTopic(
            self, self._on_image, reliability=self._options.reliability, every=every
        )

    def _load(self, folder: Path, beside: Detector | None) -> Detector:
        return Detector.load(
            folder,
            model=self._model,
            backend=self._options.backend,
            threads=self._options.threads,
            float_range=self._float_range,
            beside=beside,
            build=not self._options.no_build,
            progress=self._tell,
        )

    def _tell(self, stage: str, done: int, total: int | None) -> None:
        """Told of the building of an engine, from another thread; an error ends it."""
        if self.stopping:
            msg = f'{stage} was given up: the node is stopping'
            raise BackendError(msg)
        text = f'{stage}: {done} of {total}' if total else f'{stage}, which may take minutes'
        self.get_logger().info(text, throttle_duration_sec=_TELL_S)

    def _say_backend(self, what: str, detector: Detector) -> None:
        reason = f' ({detector.backend_reason})' if detector.backend_reason else ''
        self.get_logger().info(f'{what} on {detector.backend.name}{reason}')

    def _declare_threshold(self) -> None:
        description = 'raw score at or above which an image is anomalous; may be set at any time'
        descriptor = ParameterDescriptor(description=description)
        value = self.declare_one('threshold', self._detector.threshold, descriptor)
        if not math.isfinite(value):
            # Nothing is at or above it: every part would pass for a good one.
            msg = f'{self.get_name()}: threshold is {value}, expected a finite number'
            raise ConfigError(msg)
        self._detector.threshold = value
        self.add_on_set_parameters_callback(self._on_parameters)

    def _on_parameters(self, parameters: list[Parameter]) -> SetParametersResult:
        for parameter in parameters:
            if parameter.name == 'threshold':
                if not math.isfinite(parameter.value):
                    reason = f'threshold is {parameter.value}, expected a finite number'
                    return SetParametersResult(successful=False, reason=reason)
                self._detector.threshold = parameter.value
        return SetParametersResult(successful=True)

    def _on_image(self, message: ImageMessage) -> None:
        with self.changed:
            self._dropped += len(self._waiting) == self._waiting.maxlen
            self._waiting.append((message, time.perf_counter()))
            self.changed.notify()

    def _inspect_all(self) -> None:
        while True:
            with self.changed:
                self.changed.wait_for(lambda: self.stopping or self._waiting)
                if self.stopping:
                    return
                message, arrival = self._waiting.popleft()
                # Taken once for this image: a swap takes effect between two images.
                detector = self._detector
            try:
                self._inspect(message, detector)
            except AdetError as error:
                self._refuse(message, detector, error)
            self._pace.add((time.perf_counter() - arrival) * 1e3)
            # Or a bundle that was swapped out would stay in memory until the next image.
            del detector

    def _inspect(self, message: ImageMessage, detector: Detector) -> None:
        image = to_image(message)
        inspection = detector.inspect(image)
        self._results.publish(to_result(inspection, self._model, message.header))
        if not inspection.is_anomalous and detector is self._detector:
            self._drift.add(inspection.score)
        self._frames.remember(message, inspection, detector.bundle.manifest)
        self._show(message, detector, image, inspection)

    def _show(
        self, message: ImageMessage, detector: Detector, image: Image, inspection: Inspection
    ) -> None:
        """Publish what only people look at, if anybody does."""
        if self._maps.get_subscription_count():
            self._maps.publish(to_image_message(inspection.anomaly_map, '32FC1', message.header))
        if self._overlays.get_subscription_count():
            overlay = detector.overlay(image, inspection)
            self._overlays.publish(to_image_message(overlay, 'bgr8', message.header))

    def _refuse(self, message: ImageMessage, detector: Detector, error: AdetError) -> None:
        """Answer an image that cannot be inspected: it gets its row, and the node lives on."""
        self._failed += 1
        self.get_logger().error(str(error), throttle_duration_sec=5.0)
        bundle_id = detector.bundle.bundle_id
        result = AnomalyResult(header=message.header, model=self._model, bundle_id=bundle_id)
        result.error = str(error)
        self._results.publish(result)

    async def _on_load_bundle(
        self, request: LoadBundle.Request, response: LoadBundle.Response
    ) -> LoadBundle.Response:
        """Load beside the present bundle, which goes on inspecting, and swap if it is sound."""
        folder = Path(request.folder).expanduser() if request.folder else self._folder
        executor = self.executor
        loaded: Any = Future(executor=executor)

        def load() -> None:
            try:
                loaded.set_result(self._load(folder, self._detector))
            except Exception as error:  # noqa: BLE001 - handed to the caller below
                loaded.set_exception(error)
            # A waiting coroutine is only looked at when something wakes the executor.
            executor.wake()

        threading.Thread(target=load, name='load_bundle', daemon=True).start()
        try:
            detector = await loaded
        except (AdetError, OSError) as error:
            response.message = str(error)
        else:
            self._swap(detector)
            response.success, response.message = True, f'{folder} is in service'
        response.bundle_id = self._detector.bundle.bundle_id
        return response

    def _on_mark(
        self, request: MarkResult.Request, response: MarkResult.Response
    ) -> MarkResult.Response:
        """Store an image that an operator knows more of than the detector."""
        stamp = to_nanoseconds(request.stamp)
        try:
            path = self._frames.mark(stamp, request.verdict, request.note)
        except (AdetError, OSError) as error:
            response.message = str(error)
        else:
            response.success, response.path = True, str(path)
            response.message = f'{path} is used by the next retraining'
            self.get_logger().info(f'marked as {request.verdict}: {path}')
        return response

    def stop(self) -> None:
        """See `WorkerNode.stop`; what is being stored is finished."""
        super().stop()
        self._frames.close()

    def _swap(self, detector: Detector) -> None:
        old = self._detector
        # An operator's own threshold stays; the old bundle's gives way to the new one's.
        own = old.threshold != old.bundle.manifest.image_threshold.value
        detector.threshold = old.threshold if own else detector.threshold
        with self.changed:
            self._detector = detector
            self._drift = _drift_test(detector)
        self.set_parameters([Parameter('threshold', value=detector.threshold)])
        ids = f'{old.bundle.bundle_id} -> {detector.bundle.bundle_id}'
        self._say_backend(f'bundle swapped: {ids}', detector)

    def _health(self) -> Health:
        with self.changed:
            detector, dropped, failed = self._detector, self._dropped, self._failed
        images = self._images
        now = (dropped, failed, images.lost, images.arrivals.missing)
        counts = dict(zip(_WORTH_SAYING, now, strict=True))
        problems = [text for text, count in counts.items() if count > self._reported.get(text, 0)]
        self._reported = counts
        drift = self._drift.latest
        if drift is not None and drift.drifts:
            problems.append(f'drift: {drift}')
        values = {
            **self._pace.figures(),
            'dropped': dropped,
            'refused': failed,
            'lost': self._images.lost,
            'missing': self._images.arrivals.missing,
            'reliability': self._images.reliability,
            'bundle': detector.bundle.bundle_id,
            'bundle_folder': detector.bundle.folder,
            'backend': detector.backend.name,
            'backend_reason': detector.backend_reason,
            'threshold': detector.threshold,
            'drift_test': 'on' if self._drift.works else 'off: too few scores of normal images',
            'drift_p_value': '' if drift is None else f'{drift.p_value:.3g}',
            'saved': self._frames.saved,
            'not_saved': self._frames.lost,
        }
        return Health('; '.join(problems), values)


def _drift_test(detector: Detector) -> DriftTest:
    return DriftTest(detector.bundle.manifest.score_range.normals, detector.threshold)


def _range(values: Sequence[float]) -> tuple[float, float]:
    if len(values) != 2 or not values[0] < values[1]:
        msg = f'float_range is {list(values)}, expected two values, the smaller first'
        raise ConfigError(msg)
    return values[0], values[1]


def main() -> int:
    """Run the detector that the executable is called after, or that parameter model names."""
    executable = Path(sys.argv[0]).name
    model = executable.removesuffix(_SUFFIX) if executable.endswith(_SUFFIX) else ''
    return runner.main(lambda: DetectorNode(model))
