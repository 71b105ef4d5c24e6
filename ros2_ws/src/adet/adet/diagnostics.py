# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""What a node says of itself on ``/diagnostics``, once a second (REP 107).

By convention the name of a status is ``<node>: <task>``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.clock import Clock, ClockType
from rclpy.node import Node

_PERIOD_S = 1.0
_BEFORE_TASK = ': '
INSPECTION = 'inspection'
"""The task of a detector."""


class Health(NamedTuple):
    """What a node reports.

    Attributes:
        problem: Empty when all is well; else one line, reported as a warning.
        values: Figures by name.
        is_error: The problem is an error: the node cannot do its work.
        is_stale: It cannot because what it works on does not come any more.
    """

    problem: str
    values: Mapping[str, object]
    is_error: bool = False
    is_stale: bool = False

    @property
    def level(self) -> bytes:
        """As a ``DiagnosticStatus`` has it."""
        if not self.problem:
            level = DiagnosticStatus.OK
        elif self.is_stale:
            level = DiagnosticStatus.STALE
        else:
            level = DiagnosticStatus.ERROR if self.is_error else DiagnosticStatus.WARN
        return bytes(level)


def status_name(node: str, task: str) -> str:
    """The name of a status, by convention."""
    return f'{node}{_BEFORE_TASK}{task}'


def node_of(name: str) -> str:
    """The full name of the node that a status is of."""
    return name.partition(_BEFORE_TASK)[0]


class Diagnostics:
    """Publishes a node's health; the figures are asked for when they are due."""

    def __init__(
        self, node: Node, task: str, health: Callable[[], Health], hardware_id: str
    ) -> None:
        """Start the timer.

        Args:
            node: Whose health it is.
            task: What the node does, in a word.
            health: Called once a second, in the node's executor.
            hardware_id: The device or folder the node depends on.
        """
        self._node = node
        self._name = status_name(node.get_fully_qualified_name(), task)
        self._health = health
        self._hardware_id = hardware_id
        self._publisher = node.create_publisher(DiagnosticArray, '/diagnostics', 10)
        # In no recording's time, which may stand still.
        clock = Clock(clock_type=ClockType.STEADY_TIME)
        self._timer = node.create_timer(_PERIOD_S, self.publish, clock=clock)

    def publish(self) -> None:
        """Publish now."""
        health = self._health()
        status = DiagnosticStatus(
            level=health.level,
            name=self._name,
            message=health.problem or 'ok',
            hardware_id=self._hardware_id,
            values=[KeyValue(key=key, value=str(value)) for key, value in health.values.items()],
        )
        message = DiagnosticArray(status=[status])
        message.header.stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(message)
