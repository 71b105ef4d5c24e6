#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Say where in space the defects are: locate_defects.py padim [--plane A B C D].

The image that is inspected has to be rectified, with its sensor_msgs/CameraInfo on camera_info.
The distance comes from a depth image on depth that is registered to it (REP 118: 16UC1 in
millimetres or 32FC1 in metres), or from a plane a*x + b*y + c*z = d that the parts lie in, in
metres of the camera's optical frame. Publishes a geometry_msgs/PoseArray on <model>/positions,
the strongest defect first, and the frame `defect` of the strongest one where tf2_ros is installed.
"""

import argparse
from collections import OrderedDict
from contextlib import suppress
import math
from typing import Any, NamedTuple

from adet_interfaces.msg import AnomalyResult
from geometry_msgs.msg import Pose, PoseArray, TransformStamped
import numpy as np
import numpy.typing as npt
import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from rclpy.utilities import remove_ros_args
from sensor_msgs.msg import CameraInfo, Image

try:
    from tf2_ros import TransformBroadcaster
except ImportError:
    TransformBroadcaster = None

# A depth image of another time shows another part.
_APART_NS = 50_000_000
_KEPT = 30
_DEPTHS = {'16UC1': (np.uint16, 1e-3), '32FC1': (np.float32, 1.0)}

Point = tuple[float, float, float]


class Pinhole(NamedTuple):
    """A rectified camera: focal lengths and principal point, in pixels."""

    fx: float
    fy: float
    cx: float
    cy: float


def ray(box: Any, camera: Pinhole) -> tuple[float, float]:
    """The direction of a box's centre, as x and y at one metre.

    Args:
        box: A region of a result: x, y, width and height in pixels.
        camera: Of the image.
    """
    # Pixels are counted by their centres.
    u, v = box.x + (box.width - 1) / 2, box.y + (box.height - 1) / 2
    return (u - camera.cx) / camera.fx, (v - camera.cy) / camera.fy


def position_by_depth(
    box: Any, camera: Pinhole, depth: npt.NDArray[np.floating[Any]]
) -> Point | None:
    """Where a defect is, in metres of the camera's optical frame: z away from the camera.

    Args:
        box: See `ray`.
        camera: Of the image.
        depth: float ``(H, W)`` in metres, registered to the image; 0 or not finite where unknown.

    Returns:
        None where no depth is known inside the box.
    """
    inside = depth[box.y : box.y + box.height, box.x : box.x + box.width]
    known = inside[np.isfinite(inside) & (inside > 0)]
    if not known.size:
        return None
    # Of the middle value, as a box holds some background and some noise.
    z = float(np.median(known))
    x, y = ray(box, camera)
    return x * z, y * z, z


def position_on_plane(
    box: Any, camera: Pinhole, plane: tuple[float, float, float, float]
) -> Point | None:
    """Where the ray of a defect meets a plane; as `position_by_depth`.

    Args:
        box: See `ray`.
        camera: Of the image.
        plane: a, b, c and d of ``a*x + b*y + c*z = d``, in metres.

    Returns:
        None where the camera does not see the plane in that direction.
    """
    a, b, c, d = plane
    x, y = ray(box, camera)
    slope = a * x + b * y + c
    z = d / slope if slope else math.inf
    return (x * z, y * z, z) if 0 < z < math.inf else None


def to_depth(message: Image) -> npt.NDArray[np.float32]:
    """A depth image in metres, ``(H, W)``; KeyError for another encoding."""
    kind, unit = _DEPTHS[message.encoding]
    order = '>' if message.is_bigendian else '<'
    values = np.frombuffer(message.data, np.dtype(kind).newbyteorder(order))
    rows = values.reshape(message.height, -1)[:, : message.width]
    return rows.astype(np.float32) * np.float32(unit)


def nanoseconds(stamp: Any) -> int:
    """A stamp as one number."""
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)


class DefectLocator(Node):
    """Joins results with depth images by their stamps."""

    def __init__(self, model: str, plane: tuple[float, float, float, float] | None = None) -> None:
        """Subscribe; without a plane to depth images as well."""
        super().__init__('defect_locator')
        self.plane = plane
        self.camera: Pinhole | None = None
        self.depths: OrderedDict[int, Image] = OrderedDict()
        self.positions = self.create_publisher(PoseArray, f'{model}/positions', 10)
        self.frames = TransformBroadcaster(self) if TransformBroadcaster else None
        sensor = qos_profile_sensor_data
        self.create_subscription(CameraInfo, 'camera_info', self.on_camera_info, sensor)
        if plane is None:
            self.create_subscription(Image, 'depth', self.on_depth, sensor)
        self.create_subscription(AnomalyResult, f'{model}/result', self.on_result, 10)

    def on_camera_info(self, info: CameraInfo) -> None:
        """Take the matrix of the rectified image."""
        self.camera = Pinhole(info.p[0], info.p[5], info.p[2], info.p[6])

    def on_depth(self, message: Image) -> None:
        """Keep the last few."""
        self.depths[nanoseconds(message.header.stamp)] = message
        if len(self.depths) > _KEPT:
            self.depths.popitem(last=False)

    def on_result(self, result: AnomalyResult) -> None:
        """Publish where the regions are."""
        if not result.regions:
            return
        if self.camera is None:
            self.get_logger().warning('no camera_info yet', throttle_duration_sec=5.0)
            return
        found = [self.locate(region, result.header.stamp) for region in result.regions]
        array = PoseArray(header=result.header)
        for point in filter(None, found):
            pose = Pose()
            pose.position.x, pose.position.y, pose.position.z = point
            array.poses.append(pose)
        self.positions.publish(array)
        if self.frames is not None and array.poses:
            frame = TransformStamped(header=result.header, child_frame_id='defect')
            strongest = array.poses[0].position
            place = frame.transform.translation
            place.x, place.y, place.z = strongest.x, strongest.y, strongest.z
            self.frames.sendTransform(frame)

    def locate(self, region: Any, stamp: Any) -> Point | None:
        """The position of one region; None where it is not known."""
        assert self.camera is not None
        if self.plane is not None:
            return position_on_plane(region, self.camera, self.plane)
        wanted = nanoseconds(stamp)
        nearest = min(self.depths, key=lambda other: abs(other - wanted), default=None)
        if nearest is None or abs(nearest - wanted) > _APART_NS:
            self.get_logger().warning('no depth image of that time', throttle_duration_sec=5.0)
            return None
        return position_by_depth(region, self.camera, to_depth(self.depths[nearest]))


def main() -> None:
    """Run until Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('model')
    parser.add_argument('--plane', type=float, nargs=4, metavar=('A', 'B', 'C', 'D'))
    arguments = parser.parse_args(remove_ros_args()[1:])
    rclpy.init()
    with suppress(KeyboardInterrupt, ExternalShutdownException):
        rclpy.spin(DefectLocator(arguments.model, arguments.plane and tuple(arguments.plane)))


if __name__ == '__main__':
    main()
