# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""A camera driver as others write them: driver.py TOPIC RELIABILITY COUNT RATE_HZ.

It knows nothing of adet, and has its middleware as it comes. Images are 640 x 480, bgr8.
"""

from __future__ import annotations

from array import array
import sys
import time

import rclpy
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image


def main(topic: str, reliability: str, count: str, rate: str) -> None:
    """Publish once somebody listens."""
    rclpy.init(args=[])
    node = rclpy.create_node('driver')
    profile = QoSProfile(depth=10, reliability=ReliabilityPolicy[reliability])
    publisher = node.create_publisher(Image, topic, profile)
    while not publisher.get_subscription_count():
        rclpy.spin_once(node, timeout_sec=0.05)
    message = Image(height=480, width=640, encoding='bgr8', step=1920)
    message.data = array('B', bytes(range(256)) * 3600)
    for _ in range(int(count)):
        message.header.stamp = node.get_clock().now().to_msg()
        publisher.publish(message)
        due = time.monotonic() + 1 / float(rate)
        while (left := due - time.monotonic()) > 0:
            rclpy.spin_once(node, timeout_sec=left)
    # What is still on its way arrives.
    time.sleep(1)
    rclpy.shutdown()


if __name__ == '__main__':
    main(*sys.argv[1:])
