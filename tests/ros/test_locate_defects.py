# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The example that says where in space a defect is."""

from __future__ import annotations

from array import array
from importlib.util import module_from_spec, spec_from_file_location
import math

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='ROS 2 is not installed')

from adet_interfaces.msg import AnomalyResult, Region
from sensor_msgs.msg import CameraInfo, Image
from shell_blocks import ROOT

from adet.conversions import to_header

spec = spec_from_file_location('locate_defects', ROOT / 'examples' / 'locate_defects.py')
example = module_from_spec(spec)
spec.loader.exec_module(example)

pytestmark = pytest.mark.ros

CAMERA = example.Pinhole(fx=500.0, fy=400.0, cx=320.0, cy=240.0)
# Its centre is pixel 420, 280: a ray of 0.2, 0.1.
BOX = Region(x=410, y=270, width=21, height=21, score=1.0)


def seen_at(point):
    """The pixel that a camera sees a point at."""
    x, y, z = point
    return CAMERA.fx * x / z + CAMERA.cx, CAMERA.fy * y / z + CAMERA.cy


def test_a_position_by_depth_is_seen_where_the_box_is():
    depth = np.full((480, 640), 9.0)
    inside = depth[270:291, 410:431]
    inside[:] = 2.0
    # Holes, noise, and the background at a corner.
    inside[0], inside[1], inside[2, :5], inside[3, :5] = 0.0, math.nan, 9.0, math.inf
    point = example.position_by_depth(BOX, CAMERA, depth)
    assert point == pytest.approx((0.4, 0.2, 2.0))
    assert seen_at(point) == pytest.approx((420.0, 280.0))


def test_without_any_depth_there_is_no_position():
    assert example.position_by_depth(BOX, CAMERA, np.zeros((480, 640))) is None


@pytest.mark.parametrize(
    'plane', [(0.0, 0.0, 1.0, 1.5), (0.0, 0.6, 0.8, 1.2), (1.0, -1.0, 2.0, 3)]
)
def test_a_position_on_a_plane_lies_in_it_and_is_seen_where_the_box_is(plane):
    point = example.position_on_plane(BOX, CAMERA, plane)
    assert np.dot(plane[:3], point) == pytest.approx(plane[3])
    assert seen_at(point) == pytest.approx((420.0, 280.0))


@pytest.mark.parametrize('plane', [(0.0, 0.0, 1.0, -1.0), (1.0, -2.0, 0.0, 1.0)])
def test_a_plane_behind_the_camera_or_along_the_ray_is_not_met(plane):
    assert example.position_on_plane(BOX, CAMERA, plane) is None


@pytest.mark.parametrize(
    ('encoding', 'kind', 'value'),
    [('16UC1', '<u2', 2000), ('16UC1', '>u2', 2000), ('32FC1', '<f4', 2)],
)
def test_a_result_and_a_depth_image_become_a_pose(encoding, kind, value, monkeypatch):
    node = example.DefectLocator('padim')
    heard = []
    monkeypatch.setattr(node.positions, 'publish', heard.append)
    result = AnomalyResult(header=to_header(5_000_000_000, 'lens'), regions=[BOX])
    node.on_result(result)
    assert not heard
    node.on_camera_info(CameraInfo(p=[500.0, 0, 320, 0, 0, 400, 240, 0, 0, 0, 1, 0]))
    # Rows with padding, a little later than the image.
    pixels = np.full((480, 650), value, kind)
    node.on_depth(
        Image(
            header=to_header(5_010_000_000, 'lens'),
            encoding=encoding,
            height=480,
            width=640,
            step=pixels.strides[0],
            is_bigendian=int(kind[0] == '>'),
            data=array('B', pixels.tobytes()),
        )
    )
    node.on_result(result)
    (poses,) = heard
    position = poses.poses[0].position
    assert (position.x, position.y, position.z) == pytest.approx((0.4, 0.2, 2.0))
    assert poses.header == result.header
    # Another part has no depth image.
    node.on_result(AnomalyResult(header=to_header(6_000_000_000, 'lens'), regions=[BOX]))
    assert heard[1].poses == []
    node.destroy_node()
