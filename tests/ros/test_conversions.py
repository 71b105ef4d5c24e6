# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Messages from values; and when cv_bridge reads pixels: only where it gives what adet gives."""

from __future__ import annotations

from dataclasses import asdict
import math
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='ROS 2 is not installed')

from std_msgs.msg import Header

from adet import conversions
from adet.conversions import (
    proven_encodings,
    to_detections,
    to_image,
    to_image_message,
    to_map_message,
    to_result,
)
from adet.retrain_conversions import to_retrain_result
from adet_core.bundle import Figures
from adet_core.image import ENCODINGS
from adet_core.inference.detector import Inspection
from adet_core.scoring import Region


def test_what_is_not_inspected_is_0_in_a_map_for_people():
    found = np.array([[-np.inf, -0.5, 2.5]], np.float32)
    message = to_map_message(found, Header())
    assert (message.encoding, message.height, message.width) == ('32FC1', 1, 3)
    assert np.frombuffer(message.data, np.float32).tolist() == [0, -0.5, 2.5]


def test_all_figures_of_a_retraining_are_in_its_result():
    figures = Figures(
        threshold=5.5,
        normals=4,
        rejected=1,
        test_normals=3,
        test_rejected=2,
        anomalies=8,
        caught=7,
        made_up={'faint': 9, 'strong': 6},
        made_up_caught={'faint': 2, 'strong': 5},
    )
    values = {'message': 'learned', 'threshold': 5.5, 'images_used': 2}
    result = to_retrain_result({**values, 'before': asdict(figures), 'after': asdict(figures)})
    found = result.after
    assert (found.test_normals, found.test_rejected, found.anomalies, found.caught) == (3, 2, 8, 7)
    assert list(found.made_up_strengths) == ['faint', 'strong']
    assert (list(found.made_up), list(found.made_up_caught)) == ([9, 6], [2, 5])
    assert math.isnan(found.image_auroc)


def test_a_result_has_its_p_value():
    inspection = Inspection(1.0, 0.5, 2.0, False, False, (), np.zeros((2, 2)), 'b', 3.0, 0.25)
    assert to_result(inspection, 'padim', Header()).p_value == 0.25


class Message:
    """As rosidl makes them: fields by name, made when they are first used."""

    def __init__(self, **fields):
        self.__dict__.update(fields)

    def __getattr__(self, name):
        self.__dict__[name] = made = [] if name == 'detections' else Message()
        return made


def test_regions_become_detections_of_vision_msgs(monkeypatch):
    for name in ('Detection2D', 'Detection2DArray', 'ObjectHypothesisWithPose'):
        monkeypatch.setattr(conversions, name, Message, raising=False)
    manifest = SimpleNamespace(
        pixel_threshold=SimpleNamespace(value=4.0), score_range=SimpleNamespace(span=8.0)
    )
    regions = (Region(10, 20, 5, 8, 6.0), Region(0, 0, 1, 1, 4.0))
    inspection = Inspection(9.0, 1.0, 2.0, True, False, regions, np.zeros((2, 2)), 'b', 3.0)
    header = Header(frame_id='lens')
    found = to_detections(inspection, manifest, header)
    assert found.header == header
    first, second = found.detections
    center, box = first.bbox.center.position, first.bbox
    assert (center.x, center.y, box.size_x, box.size_y) == (12.5, 24.0, 5.0, 8.0)
    assert first.results[0].hypothesis.class_id == 'anomaly'
    scores = [one.results[0].hypothesis.score for one in (first, second)]
    assert scores == pytest.approx([0.75, 0.5])


class Bridge:
    """As cv_bridge has it: right for some encodings, and blind to the padding of rows."""

    def __init__(self):
        self.asked = []

    def imgmsg_to_cv2(self, message, desired_encoding):
        assert desired_encoding == 'passthrough'
        self.asked.append(message.encoding)
        dtype, channels = ENCODINGS[message.encoding]
        if message.encoding == '32FC1':
            raise RuntimeError('numpy.core.multiarray failed to import')
        data = np.frombuffer(message.data, dtype)[: message.height * message.width * channels]
        pixels = data.reshape(message.height, message.width, channels)
        return pixels[..., ::-1] if message.encoding == 'rgb8' else pixels


def test_an_encoding_that_cv_bridge_gets_wrong_or_dies_of_is_not_left_to_it():
    proven = proven_encodings(Bridge())
    assert proven == {'mono8', 'bgr8', 'bgra8', 'rgba8', 'mono16'}


@pytest.mark.parametrize(
    ('encoding', 'padding', 'is_big', 'by_bridge'),
    [
        ('bgr8', 0, False, True),
        ('bgr8', 2, False, False),
        ('rgb8', 0, False, False),
        ('mono16', 0, False, True),
        ('mono16', 0, True, False),
    ],
)
def test_the_pixels_are_the_same_whoever_reads_them(
    monkeypatch, encoding, padding, is_big, by_bridge
):
    bridge = Bridge()
    monkeypatch.setattr(conversions, '_bridge', bridge)
    monkeypatch.setattr(conversions, '_proven', proven_encodings(bridge))
    bridge.asked.clear()
    dtype, channels = ENCODINGS[encoding]
    shape = (5, 7, channels) if channels > 1 else (5, 7)
    pixels = np.random.default_rng(0).integers(0, 200, shape).astype(dtype)
    message = to_image_message(pixels, encoding, Header())
    rows = pixels.astype(pixels.dtype.newbyteorder('>')) if is_big else pixels
    data = rows.reshape(5, -1).view(np.uint8)
    message.data = np.pad(data, ((0, 0), (0, padding))).tobytes()
    message.step, message.is_bigendian = data.shape[1] + padding, int(is_big)
    assert (to_image(message).pixels == pixels).all()
    assert bool(bridge.asked) == by_bridge
