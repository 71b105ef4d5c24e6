# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""What a node says of itself on ``/diagnostics``, once a second (REP 107)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.clock import Clock, ClockType
from rclpy.node import Node

_PERIOD_S = 1.0


class Health(NamedTuple):
    """What a node reports.

    Attributes:
        problem: Empty when all is well; else one line, reported as a warning.
        values: Figures by name.
        is_error: The problem is an error: the node cannot do its work.
    """

    problem: str
    values: Mapping[str, object]
    is_error: bool = False


class Diagnostics:
    """Publishes a node's health; the figures are asked for when they are due."""

    def __init__(self, node: Node, health: Callable[[], Health], hardware_id: str) -> None:
        """Start the timer.

        Args:
            node: Whose health it is.
            health: Called once a second, in the node's executor.
            hardware_id: The device or folder the node depends on.
        """
        self._node = node
        self._health = health
        self._hardware_id = hardware_id
        self._publisher = node.create_publisher(DiagnosticArray, '/diagnostics', 10)
        # In no recording's time, which may stand still.
        clock = Clock(clock_type=ClockType.STEADY_TIME)
        self._timer = node.create_timer(_PERIOD_S, self.publish, clock=clock)

    def publish(self) -> None:
        """Publish now."""
        problem, values, is_error = self._health()
        trouble = DiagnosticStatus.ERROR if is_error else DiagnosticStatus.WARN
        status = DiagnosticStatus(
            level=trouble if problem else DiagnosticStatus.OK,
            name=self._node.get_fully_qualified_name(),
            message=problem or 'ok',
            hardware_id=self._hardware_id,
            values=[KeyValue(key=key, value=str(value)) for key, value in values.items()],
        )
        message = DiagnosticArray(status=[status])
        message.header.stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(message)
