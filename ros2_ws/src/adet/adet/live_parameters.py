# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""What of a detector may be set at any time: its category, and the threshold of that."""

from __future__ import annotations

from collections.abc import Sequence
import threading
from typing import Any

import numpy as np
from rcl_interfaces.msg import FloatingPointRange, ParameterDescriptor, SetParametersResult
from rclpy.parameter import Parameter
from std_msgs.msg import String

from adet import qos
from adet.node import AdetNode
from adet_core.errors import AdetError, ConfigError
from adet_core.inference.inspection_service import InspectionService

CATEGORY, THRESHOLD = 'category', 'threshold'
_DESCRIPTIONS = {
    CATEGORY: 'what is inspected; may be set at any time to another category that is deployed',
    THRESHOLD: 'raw score at or above which an image is anomalous; may be set at any time',
}
# That of a score, which a graph gives in 32 bits.
_MOST = float(np.finfo(np.float32).max)
_SCORES = FloatingPointRange(from_value=-_MOST, to_value=_MOST)


class LiveParameters:
    """``category`` and ``threshold``, the topic ``category``, and what is in service."""

    def __init__(self, node: AdetNode, model: str) -> None:
        """Offer nothing yet.

        Args:
            node: Whose parameters they are.
            model: Its model name.
        """
        self._node, self._model = node, model
        self._inspection: InspectionService | None = None
        self._told = ''
        # The thread that sets the parameters to what is in service already.
        self._telling = 0
        node.add_on_set_parameters_callback(self._on_set)

    def begin(self, inspection: InspectionService) -> None:
        """Declare the parameters, apply what was given for them, and listen.

        Raises:
            AdetError: A value cannot be used.
        """
        self._told = ''
        self._in_service = self._node.create_publisher(
            String, f'{self._model}/category', qos.latched()
        )
        try:
            inspection.select(self._declare(CATEGORY, inspection.category))
            inspection.set_threshold(self._declare(THRESHOLD, inspection.threshold, [_SCORES]))
        except ConfigError as error:
            msg = f'{self._node.get_name()}: {error}'
            raise ConfigError(msg) from None
        self._inspection = inspection
        self._node.create_subscription(String, 'category', self._on_category, qos.latched())
        self.tell()

    def end(self) -> None:
        """Take the parameters away: the next bundle has values of its own."""
        self._inspection = None
        if self._node.context.ok():
            for name in (CATEGORY, THRESHOLD):
                self._node.undeclare_parameter(name)

    def tell(self) -> None:
        """Say what is in service: by the parameters, and on the topic."""
        inspection = self._inspection
        # Unless the node was cleaned up meanwhile.
        if inspection is None or not self._node.has_parameter(THRESHOLD):
            return
        category = inspection.category
        values = {CATEGORY: category, THRESHOLD: inspection.threshold}
        self._telling = threading.get_ident()
        self._node.set_parameters([Parameter(name, value=one) for name, one in values.items()])
        self._telling = 0
        if category != self._told:
            self._told = category
            self._in_service.publish(String(data=category))

    def say_fault(self, fault: str) -> None:
        """Say why a category that was selected is not in service, from any thread."""
        if self._inspection is not None:
            self._node.get_logger().error(f'{fault}; back to {self._inspection.category}')
            self.tell()

    def _declare(self, name: str, default: Any, limits: Sequence[FloatingPointRange] = ()) -> Any:
        descriptor = ParameterDescriptor(
            description=_DESCRIPTIONS[name], floating_point_range=limits
        )
        return self._node.declare_one(name, default, descriptor)

    def _on_category(self, message: String) -> None:
        assert self._inspection is not None
        try:
            self._select(self._inspection, message.data)
        except (AdetError, OSError) as error:
            self._node.get_logger().error(f'{error}; {self._inspection.category} stays in service')

    def _select(self, inspection: InspectionService, category: str) -> None:
        before = inspection.category
        inspection.select(category)
        if before != category:
            self._node.get_logger().info(f'category: {before} -> {category}')
            self.tell()

    def _on_set(self, parameters: Sequence[Parameter]) -> SetParametersResult:
        inspection = self._inspection
        if inspection is None or self._telling == threading.get_ident():
            return SetParametersResult(successful=True)
        given = {parameter.name: parameter.value for parameter in parameters}
        category, before = inspection.category, inspection.threshold
        try:
            # First: the threshold belongs to it.
            if CATEGORY in given:
                self._select(inspection, given[CATEGORY])
            if THRESHOLD in given:
                inspection.set_threshold(given[THRESHOLD])
        except (AdetError, OSError) as error:
            inspection.select(category)
            return SetParametersResult(successful=False, reason=str(error))
        if THRESHOLD in given and (now := inspection.threshold) != before:
            self._node.get_logger().info(f'threshold: {before:g} -> {now:g}')
        return SetParametersResult(successful=True)
