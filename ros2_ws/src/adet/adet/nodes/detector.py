# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""``<model>_detector``: a verdict for every image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
import sys
from typing import Any

import cv2
from sensor_msgs.msg import CompressedImage
from sensor_msgs.msg import Image as ImageMessage

from adet import runner
from adet.bundle_services import BundleServices
from adet.conversions import (
    to_arrived,
)
from adet.diagnostics import Health, INSPECTION
from adet.environment import give_back_memory
from adet.hand_over import Handed, HandedImages, HandOver
from adet.image_stream import ImageStream
from adet.image_topic import ImageTopic
from adet.inspect_services import InspectServices
from adet.live_parameters import LiveParameters
from adet.managed import ManagedNode
from adet.options import category_names, DetectorOptions
from adet.preview import Preview
from adet.result_topics import ResultTopics
from adet_core.deployed import category_folder, only_folder
from adet_core.errors import BackendError, ConfigError
from adet_core.image import in_range, set_max_megapixels
from adet_core.inference.detector import Detector
from adet_core.inference.image_queue import Arrived
from adet_core.inference.inspection_service import InspectionService, Outcome
from adet_core.inference.on_demand import OnDemand
from adet_core.inference.products import Products
from adet_core.inference.recent_images import RecentImages
from adet_core.models.names import FOLDERS
from adet_core.paths import user_path

_SUFFIX = '_detector'
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

    def __init__(
        self,
        model: str = '',
        *,
        hand_over: HandOver | None = None,
        beside: DetectorNode | None = None,
        **options: Any,
    ) -> None:
        """Load the bundle and begin to inspect, unless a lifecycle manager is to say so.

        Args:
            model: The model name, unless the parameter names it.
            hand_over: Where an `image_source` of this process leaves the images, and a recorder
                finds the verdicts; None: by topics.
            beside: A detector of this process, whose weights are taken where they are the same.
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
        self._folders()
        self._levels = _range('uint16_range', self._options.uint16_range)
        self._reported: dict[str, int] = {}
        self._every = self._options.frames == 'every'
        self._hand_over, self._beside = hand_over, beside
        self._images: ImageStream | None = None
        # They answer in every state, if only with the state.
        self._live = LiveParameters(self, self._model)
        self._bundles = BundleServices(self, self._model, self._live.tell)
        self._inspecting = InspectServices(
            self, self._model, self._to_arrived, self._publish, frames=self._options.frames
        )
        self.begin(autostart=self._options.autostart)

    def resident(self) -> list[Detector]:
        """The detectors in memory; none while the node is not configured."""
        products = self._service.products.resident() if self.is_configured else []
        return [one.detector for one in products if one.detector is not None]

    def configure(self) -> None:
        """Load the bundles, and offer topics and services."""
        products = Products(
            self._load,
            self._folders(),
            find=self._find,
            most=self._options.max_resident,
            expected_defects=self._options.expected_defects,
            on_fault=self._live.say_fault,
        )
        self._service = InspectionService(
            products,
            self._recent_images(),
            keep_all=self._every,
            waiting_bytes=self._options.max_waiting << 20,
        )
        self._live.begin(self._service)
        chosen = self._options
        self._preview = Preview(
            self, self._model, rate=chosen.preview_rate, width=chosen.preview_width
        )
        self._results = ResultTopics(
            self,
            self._model,
            self._preview,
            overlay_rate=chosen.overlay_rate,
            hand_over=self._hand_over,
        )
        self._diagnostics = self.diagnose(
            INSPECTION, self._health, str(self._service.detector.bundle.folder)
        )
        self._bundles.inspection = self._service
        detector = self._service.detector
        self._bundles.say_backend(
            f'bundle {detector.bundle.bundle_id} of {detector.bundle.folder}', detector
        )

    def activate(self) -> None:
        """Inspect."""
        self._service.resume()
        self._inspecting.on_demand = OnDemand(self._service)
        self._images = self._open_images()
        self.start(lambda: self._service.run(self._publish))

    def deactivate(self) -> None:
        """Finish the image that is being inspected; those that wait are forgotten."""
        if self._images is not None:
            self._images.close()
        if self._inspecting.on_demand is not None:
            self._inspecting.on_demand.stop()
        self._images = self._inspecting.on_demand = None
        self._service.stop()
        self.halt()

    def clean_up(self) -> None:
        """Finish what is being stored, and free the bundle."""
        self._service.close()
        self._preview.close()
        self._live.end()
        self._bundles.inspection = None
        del self._service, self._results, self._preview

    def _folders(self) -> list[Path]:
        """The bundles to load; the first one is in service."""
        chosen = self._options
        if chosen.categories:
            return [self._find(one) for one in category_names(chosen)]
        if chosen.bundle:
            return [user_path(chosen.bundle, 'bundle')]
        return [only_folder(user_path(chosen.models_root, 'models_root'), self._model)]

    def _find(self, category: str) -> Path:
        root = user_path(self._options.models_root, 'models_root')
        return category_folder(root, self._model, category)

    def _recent_images(self) -> RecentImages:
        chosen = self._options
        return RecentImages(
            user_path(chosen.data_root, 'data_root'),
            save=chosen.save_frames,
            limit=chosen.keep_limit,
            float_range=_range('float_range', chosen.float_range),
        )

    def _open_images(self) -> ImageStream:
        timeout_s = 0.0 if self._every else self._options.image_timeout
        images = self._hand_over.images if self._hand_over is not None else None
        if images is not None:
            return HandedImages(
                self, images, self._on_handed, timeout_s=timeout_s, every=self._every
            )
        return ImageTopic(
            self,
            self._on_message,
            reliability=self._options.reliability,
            transport=self._options.image_transport,
            every=self._every,
            timeout_s=timeout_s,
        )

    def _to_arrived(self, message: ImageMessage | CompressedImage) -> Arrived:
        return to_arrived(message, self._levels)

    def _publish(self, outcome: Outcome) -> None:
        self._results.publish(outcome)

    def _on_message(self, message: ImageMessage | CompressedImage) -> None:
        self._on_image(self._to_arrived(message))

    def _on_handed(self, handed: Handed) -> None:
        stamp_ns, header, image = handed
        self._on_image(
            Arrived(
                stamp_ns,
                header.frame_id,
                lambda: in_range(image, self._levels),
                header,
                image.pixels.nbytes,
            )
        )

    def _on_image(self, arrived: Arrived) -> None:
        if self._inspecting.on_demand is not None:
            self._inspecting.on_demand.offer(arrived)
        if self._options.frames != 'on_demand':
            self._service.submit(arrived)

    def _load(self, folder: Path, beside: Sequence[Detector]) -> Detector:
        others = self._beside.resident() if self._beside is not None else []
        detector = Detector.load(
            folder,
            model=self._model,
            backend=self._options.backend,
            threads=self._options.threads,
            float_range=_range('float_range', self._options.float_range),
            beside=[*beside, *others],
            build=not self._options.no_build,
            progress=self._tell_progress,
        )
        give_back_memory()
        return detector

    def _tell_progress(self, stage: str, done: int, total: int | None) -> None:
        """Told of the building of an engine, from another thread; an error ends it."""
        if self.stopping:
            msg = f'{stage} was given up: the node is stopping'
            raise BackendError(msg)
        text = f'{stage}: {done} of {total}' if total else f'{stage}, which may take minutes'
        self.get_logger().info(text, throttle_duration_sec=_TELL_S)

    def _health(self) -> Health:
        images, service = self._images, self._service
        if images is None:
            return Health('', service.figures())
        now = (service.dropped, service.refused, images.lost, images.arrivals.missing)
        counts = dict(zip(_WORTH_SAYING, now, strict=True))
        problems = [text for text, count in counts.items() if count > self._reported.get(text, 0)]
        self._reported = counts
        problems += [f'drift: {line}' for line in service.drift.alarms]
        silence = images.silence()
        values = {
            **service.figures(),
            'lost': images.lost,
            'missing': images.arrivals.missing,
            'topic': images.place,
            'reliability': images.reliability,
        }
        text = '; '.join([*filter(None, [silence.text]), *problems])
        return Health(text, values, silence.is_error, silence.is_stale)


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
