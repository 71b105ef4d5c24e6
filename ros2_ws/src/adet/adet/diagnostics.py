# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""What a node says of itself on ``/diagnostics``, once a second (REP 107)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
import threading
import time
from typing import NamedTuple

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
import numpy as np
from rclpy.node import Node

_PERIOD_S = 1.0
_WINDOW = 1000


class Health(NamedTuple):
    """What a node reports.

    Attributes:
        problem: Empty when all is well; else one line, reported as a warning.
        values: Figures by name.
    """

    problem: str
    values: Mapping[str, object]


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
        self._timer = node.create_timer(_PERIOD_S, self.publish)

    def publish(self) -> None:
        """Publish now."""
        problem, values = self._health()
        status = DiagnosticStatus(
            level=DiagnosticStatus.WARN if problem else DiagnosticStatus.OK,
            name=self._node.get_fully_qualified_name(),
            message=problem or 'ok',
            hardware_id=self._hardware_id,
            values=[KeyValue(key=key, value=str(value)) for key, value in values.items()],
        )
        message = DiagnosticArray(status=[status])
        message.header.stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(message)


class Pace:
    """Rate and latency over the last frames; told from one thread, asked from another."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._latencies_ms: deque[float] = deque(maxlen=_WINDOW)
        self._count = 0
        self._counted_at = time.monotonic()
        self.total = 0

    def add(self, latency_ms: float) -> None:
        """Count one frame."""
        with self._lock:
            self._latencies_ms.append(latency_ms)
            self._count += 1
            self.total += 1

    def figures(self) -> dict[str, object]:
        """Frames in all, rate since the last call (Hz), p50 and p95 latency (ms)."""
        with self._lock:
            now = time.monotonic()
            rate = self._count / max(now - self._counted_at, 1e-9)
            self._count, self._counted_at = 0, now
            latencies = list(self._latencies_ms)
        figures: dict[str, object] = {'frames': self.total, 'rate_hz': f'{rate:.2f}'}
        for percent in (50, 95):
            value = np.percentile(latencies, percent) if latencies else float('nan')
            figures[f'latency_p{percent}_ms'] = f'{value:.2f}'
        return figures
