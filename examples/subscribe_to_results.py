#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Print the verdicts of a running detector as they come: subscribe_to_results.py padim."""

from contextlib import suppress
import sys

from adet_interfaces.msg import AnomalyResult
import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node


class ResultPrinter(Node):
    """Hears one detector."""

    def __init__(self, model: str) -> None:
        """Subscribe; the default reliable profile matches that of the detector."""
        super().__init__('result_printer')
        self.create_subscription(AnomalyResult, f'{model}/result', self.on_result, 10)

    def on_result(self, result: AnomalyResult) -> None:
        """Print one verdict."""
        stamp = result.header.stamp
        verdict = result.error or ('ANOMALY' if result.is_anomalous else 'normal')
        print(f'{stamp.sec}.{stamp.nanosec:09} {result.score:.3f} {verdict}', flush=True)


def main() -> None:
    """Run until Ctrl-C."""
    rclpy.init()
    with suppress(KeyboardInterrupt, ExternalShutdownException):
        rclpy.spin(ResultPrinter(sys.argv[1]))


if __name__ == '__main__':
    main()
