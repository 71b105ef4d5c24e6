# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""A calibration file, and what is published of it beside images."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

pytest.importorskip('rclpy', reason='ROS 2 is not installed')

from robot import CALIBRATION
from sensor_msgs.msg import CameraInfo
from sensor_msgs.msg import Image as ImageMessage

from adet.camera_info import read_camera_info
from adet.nodes.image_source import ImageSource
from adet_core.errors import ConfigError


@pytest.fixture
def file(tmp_path):
    path = tmp_path / 'camera.yaml'
    path.write_text(CALIBRATION)
    return path


def test_the_calibration_of_a_camera_goes_with_each_of_its_images(ros, file, tmp_path):
    for number in (1, 2):
        cv2.imwrite(str(tmp_path / f'{number}.png'), np.zeros((48, 64, 3), np.uint8))
    told = ros.hear(CameraInfo, 'camera_info')
    images = ros.hear(ImageMessage, 'image_raw')
    ros.start(ImageSource, source=str(tmp_path), camera_info=str(file), frame_id='lens')
    ros.until(lambda: len(told) == len(images) == 2, 'both of both images')
    assert [one.header for one in told] == [one.header for one in images]
    assert told[0].header.frame_id == 'lens'
    assert (told[0].width, told[0].height, told[0].distortion_model) == (64, 48, 'plumb_bob')
    assert list(told[0].k) == [50, 0, 32, 0, 51.5, 24, 0, 0, 1]
    assert list(told[0].d) == [0.1, -0.2, 0, 0, 0]
    assert list(told[0].p)[4:8] == [0, 51.5, 24, 0]


@pytest.mark.parametrize(
    ('old', 'new', 'message'),
    [
        ('image_width: 64', '', 'expected the keys image_width, image_height, dist'),
        ('image_width: 64', 'image_width: wide', 'expected the keys image_width, '),
        ('0, 0, 1]', '0, 0]', 'camera_matrix has 8 numbers, expected 9'),
        ('data: [0.1', 'data: [x', 'could not convert string to float'),
        (CALIBRATION, '[', 'while parsing'),
        (CALIBRATION, 'none', 'expected the keys'),
    ],
)
def test_a_file_that_is_no_calibration_is_one_clear_line(file, old, new, message):
    file.write_text(CALIBRATION.replace(old, new, 1))
    with pytest.raises(ConfigError, match=f'^camera_info {file}: .*{message}'):
        read_camera_info(file)


def test_a_calibration_that_is_missing_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r'camera_info .*none\.yaml: .*No such file'):
        read_camera_info(tmp_path / 'none.yaml')
