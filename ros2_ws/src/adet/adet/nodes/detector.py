# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""``<model>_detector``: a verdict for every image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
import sys
from typing import Any

from adet_interfaces.srv import LoadBundle, MarkResult
import cv2
from rcl_interfaces.msg import ParameterDescriptor, SetParametersResult
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.parameter import Parameter
from sensor_msgs.msg import CompressedImage
from sensor_msgs.msg import Image as ImageMessage

from adet import runner
from adet.conversions import (
    to_arrived,
    to_nanoseconds,
)
from adet.diagnostics import Health
from adet.image_topic import ImageTopic
from adet.inspect_services import InspectServices
from adet.managed import ManagedNode
from adet.options import DetectorOptions
from adet.result_topics import ResultTopics
from adet_core.errors import AdetError, BackendError, ConfigError
from adet_core.image import set_max_megapixels
from adet_core.inference.detector import Detector
from adet_core.inference.image_queue import Arrived
from adet_core.inference.inspection_service import InspectionService, Outcome
from adet_core.inference.on_demand import OnDemand
from adet_core.inference.recent_images import RecentImages
from adet_core.models.names import deployed_folder, FOLDERS
from adet_core.paths import user_path

_SUFFIX = '_detector'
_UNCONFIGURED = 'the detector is not configured: no bundle is loaded'
_TELL_S = 5.0
# What a detector warns of when it happened since the last report.
_WORTH_SAYING = (
    'images dropped: they come too fast',
    'images refused',
    'images lost on the way, see the log',
    'images missing in a steady rate',
)


class DetectorNode(ManagedNode):
    """Parameters, topics and services of an `InspectionService`, which has a thread of its own."""

    def __init__(self, model: str = '', **options: Any) -> None:
        """Load the bundle and begin to inspect, unless a lifecycle manager is to say so.

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
        set_max_megapixels(self._options.max_megapixels)
        self._model = self._options.model or model
        if not self._model:
            msg = f'{self.get_name()}: parameter model is empty; name one of: {", ".join(FOLDERS)}'
            raise ConfigError(msg)
        # Services are called after the model: an unknown one is noticed here.
        self._folder()
        self._levels = _range('uint16_range', self._options.uint16_range)
        self._reported: dict[str, int] = {}
        self._every = self._options.frames == 'every'
        self._images: ImageTopic | None = None
        self._make_services()
        self.add_on_set_parameters_callback(self._on_parameters)
        self.begin(autostart=self._options.autostart)

    def configure(self) -> None:
        """Load the bundle, and offer topics and services."""
        self._service = InspectionService(
            self._load,
            self._folder(),
            self._recent_images(),
            keep_all=self._every,
            expected_defects=self._options.expected_defects,
        )
        self._declare_threshold()
        self._results = ResultTopics(self, self._model)
        self._diagnostics = self.diagnose(self._health, str(self._service.detector.bundle.folder))
        detector = self._service.detector
        self._say_backend(
            f'bundle {detector.bundle.bundle_id} of {detector.bundle.folder}', detector
        )

    def activate(self) -> None:
        """Inspect."""
        self._images = ImageTopic(
            self,
            self._on_image,
            reliability=self._options.reliability,
            transport=self._options.image_transport,
            every=self._every,
            timeout_s=0.0 if self._every else self._options.image_timeout,
        )
        self._service.resume()
        self._inspecting.on_demand = OnDemand(self._service)
        self.start(lambda: self._service.run(self._publish))

    def deactivate(self) -> None:
        """Finish the image that is being inspected; those that wait are forgotten."""
        if self._inspecting.on_demand is not None:
            self._inspecting.on_demand.stop()
        self._images = self._inspecting.on_demand = None
        self._service.stop()
        self.halt()

    def clean_up(self) -> None:
        """Finish what is being stored, and free the bundle."""
        self._service.close()
        if self.context.ok():
            # The next bundle has a threshold of its own.
            self.undeclare_parameter('threshold')
        del self._service, self._results

    def _folder(self) -> Path:
        own = self._options.bundle
        if own:
            return user_path(own, 'bundle')
        return deployed_folder(user_path(self._options.models_root, 'models_root'), self._model)

    def _recent_images(self) -> RecentImages:
        chosen = self._options
        return RecentImages(
            user_path(chosen.data_root, 'data_root'),
            save=chosen.save_frames,
            limit=chosen.keep_limit,
            float_range=_range('float_range', chosen.float_range),
        )

    def _make_services(self) -> None:
        """Offer what answers in every state, if only with the state."""
        # In a group of its own: while a bundle is being loaded, images and timers go on.
        self._loading = self.create_service(
            LoadBundle,
            f'{self._model}/load_bundle',
            self._on_load_bundle,
            callback_group=ReentrantCallbackGroup(),
        )
        self._marking = self.create_service(MarkResult, f'{self._model}/mark', self._on_mark)
        self._inspecting = InspectServices(
            self, self._model, self._to_arrived, self._publish, frames=self._options.frames
        )

    def _to_arrived(self, message: ImageMessage | CompressedImage) -> Arrived:
        return to_arrived(message, self._levels)

    def _publish(self, outcome: Outcome) -> None:
        self._results.publish(outcome)

    def _on_image(self, message: ImageMessage | CompressedImage) -> None:
        arrived = self._to_arrived(message)
        if self._inspecting.on_demand is not None:
            self._inspecting.on_demand.offer(arrived)
        if self._options.frames != 'on_demand':
            self._service.submit(arrived)

    def _load(self, folder: Path, beside: Detector | None) -> Detector:
        return Detector.load(
            folder,
            model=self._model,
            backend=self._options.backend,
            threads=self._options.threads,
            float_range=_range('float_range', self._options.float_range),
            beside=beside,
            build=not self._options.no_build,
            progress=self._tell_progress,
        )

    def _tell_progress(self, stage: str, done: int, total: int | None) -> None:
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
        value = self.declare_one('threshold', self._service.threshold, descriptor)
        try:
            self._service.set_threshold(value)
        except ConfigError as error:
            msg = f'{self.get_name()}: {error}'
            raise ConfigError(msg) from None

    def _on_parameters(self, parameters: list[Parameter]) -> SetParametersResult:
        if not self.is_configured:
            return SetParametersResult(successful=True)
        before = self._service.threshold
        for parameter in parameters:
            if parameter.name == 'threshold':
                try:
                    self._service.set_threshold(parameter.value)
                except ConfigError as error:
                    return SetParametersResult(successful=False, reason=str(error))
        if (now := self._service.threshold) != before:
            self.get_logger().info(f'threshold: {before:g} -> {now:g}')
        return SetParametersResult(successful=True)

    async def _on_load_bundle(
        self, request: LoadBundle.Request, response: LoadBundle.Response
    ) -> LoadBundle.Response:
        if not self.is_configured:
            response.message = _UNCONFIGURED
            return response
        service = self._service

        def swap() -> tuple[Detector, Detector]:
            folder = user_path(request.folder, 'folder') if request.folder else None
            return service.swap(folder)

        try:
            old, new = await self.in_thread(swap, 'load_bundle')
        except (AdetError, OSError) as error:
            response.message = str(error)
        else:
            # Unless the node was cleaned up meanwhile.
            if self.has_parameter('threshold'):
                self.set_parameters([Parameter('threshold', value=new.threshold)])
            ids = f'{old.bundle.bundle_id} -> {new.bundle.bundle_id}'
            self._say_backend(f'bundle swapped: {ids}', new)
            response.success, response.message = True, f'{new.bundle.folder} is in service'
        response.bundle_id = service.detector.bundle.bundle_id
        return response

    def _on_mark(
        self, request: MarkResult.Request, response: MarkResult.Response
    ) -> MarkResult.Response:
        """Store an image that an operator knows more of than the detector."""
        stamp = to_nanoseconds(request.stamp)
        try:
            if not self.is_configured:
                raise ConfigError(_UNCONFIGURED)
            path = self._service.recent.mark(stamp, request.verdict, request.note)
        except (AdetError, OSError) as error:
            response.message = str(error)
        else:
            response.success, response.path = True, str(path)
            response.message = f'{path} is used by the next retraining'
            self.get_logger().info(f'marked as {request.verdict}: {path}')
        return response

    def _health(self) -> Health:
        images, service = self._images, self._service
        if images is None:
            return Health('', service.figures())
        now = (service.dropped, service.refused, images.lost, images.arrivals.missing)
        counts = dict(zip(_WORTH_SAYING, now, strict=True))
        problems = [text for text, count in counts.items() if count > self._reported.get(text, 0)]
        self._reported = counts
        problems += [f'drift: {line}' for line in service.drift.alarms]
        silence, is_error = images.silence()
        values = {
            **service.figures(),
            'lost': images.lost,
            'missing': images.arrivals.missing,
            'topic': images.stream.topic,
            'reliability': images.reliability,
        }
        return Health('; '.join([*filter(None, [silence]), *problems]), values, is_error)


def _range(name: str, values: Sequence[float]) -> tuple[float, float]:
    if len(values) != 2 or not values[0] < values[1]:
        msg = f'{name} is {list(values)}, expected two values, the smaller first'
        raise ConfigError(msg)
    return values[0], values[1]


def main() -> int:
    """Run the detector that the executable is called after, or that parameter model names."""
    executable = Path(sys.argv[0]).name
    model = executable.removesuffix(_SUFFIX) if executable.endswith(_SUFFIX) else ''
    return runner.main(lambda: DetectorNode(model))
