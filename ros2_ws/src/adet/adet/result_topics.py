# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""What a detector publishes of an image: for adet, for other programs, and for people."""

from __future__ import annotations

import math
import time

from adet_interfaces.msg import AnomalyResult
from rclpy.node import Node
from sensor_msgs.msg import CompressedImage
from sensor_msgs.msg import Image as ImageMessage
from std_msgs.msg import Bool

from adet import qos
from adet.conversions import (
    HAS_VISION_MSGS,
    to_compressed_message,
    to_detections,
    to_image_message,
    to_map_message,
    to_refusal,
    to_result,
)
from adet.hand_over import HandOver
from adet.preview import Preview
from adet_core.inference.inspection_service import Outcome

_TELL_S = 5.0


class ResultTopics:
    """Publishers of ``<model>/result`` and of all that goes with it."""

    def __init__(
        self,
        node: Node,
        model: str,
        preview: Preview,
        *,
        overlay_rate: float = 0.0,
        hand_over: HandOver | None = None,
    ) -> None:
        """Create the publishers.

        Args:
            node: The detector.
            model: The model name.
            preview: Shown each inspected image.
            overlay_rate: Overlays per second at most, as the next image waits while one is drawn;
                0: one for every image.
            hand_over: Where a recorder of this process finds the results.
        """
        self._node, self._model, self._hand_over = node, model, hand_over
        self._preview = preview
        self._overlay_s = 1 / overlay_rate if overlay_rate else 0.0
        self._drawn = -math.inf
        people = qos.newest_only()
        self._results = node.create_publisher(AnomalyResult, f'{model}/result', qos.every_frame())
        # Nothing is kept for who comes late: a verdict on a part that has gone by is no use.
        self._rejects = node.create_publisher(Bool, f'{model}/reject', 10)
        self._detections = None
        if HAS_VISION_MSGS:
            from vision_msgs.msg import Detection2DArray

            self._detections = node.create_publisher(Detection2DArray, f'{model}/detections', 10)
        self._maps = node.create_publisher(ImageMessage, f'{model}/anomaly_map', people)
        self._overlays = node.create_publisher(ImageMessage, f'{model}/overlay', people)
        # As image_transport has it.
        self._jpegs = node.create_publisher(CompressedImage, f'{model}/overlay/compressed', people)

    def publish(self, outcome: Outcome) -> None:
        """Publish what became of an image; one that could not be inspected is rejected."""
        header, inspection = outcome.arrived.origin, outcome.inspection
        self._rejects.publish(Bool(data=inspection is None or inspection.is_anomalous))
        if inspection is None:
            self._node.get_logger().error(outcome.error, throttle_duration_sec=_TELL_S)
            self._tell(to_refusal(outcome, self._model, header))
            return
        self._tell(to_result(inspection, self._model, header))
        if self._detections is not None:
            manifest = outcome.detector.bundle.manifest
            self._detections.publish(to_detections(inspection, manifest, header))
        self._show(outcome)

    def _tell(self, result: AnomalyResult) -> None:
        self._results.publish(result)
        if self._hand_over is not None:
            self._hand_over.results.publish(result)

    def _show(self, outcome: Outcome) -> None:
        """Publish what only people look at, if anybody does."""
        header, inspection = outcome.arrived.origin, outcome.inspection
        assert inspection is not None
        assert outcome.image is not None
        if self._maps.get_subscription_count():
            self._maps.publish(to_map_message(inspection.anomaly_map, header))
        self._preview.offer(outcome)
        raw, jpeg = (
            publisher.get_subscription_count() for publisher in (self._overlays, self._jpegs)
        )
        now = time.monotonic()
        if (not raw and not jpeg) or now - self._drawn < self._overlay_s:
            return
        self._drawn = now
        overlay = outcome.detector.overlay(outcome.image, inspection)
        if raw:
            self._overlays.publish(to_image_message(overlay, 'bgr8', header))
        if jpeg:
            self._jpegs.publish(to_compressed_message(overlay, header))
