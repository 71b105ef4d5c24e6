# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Images of drivers that adet did not start, each in a process with its middleware as it comes."""

from __future__ import annotations

import os
from pathlib import Path
import subprocess
import sys
import time
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

pytest.importorskip('rclpy', reason='ROS 2 is not installed')

from adet_interfaces.msg import AnomalyResult
from diagnostic_msgs.msg import DiagnosticStatus
import rclpy
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage
from sensor_msgs.msg import Image as ImageMessage
from std_msgs.msg import Header

from adet.conversions import to_compressed_message, to_image_message, to_nanoseconds, to_stamp
from adet.environment import fast_dds_profile
from adet.image_transport import choose_stream, COMPRESSED, RAW, Stream, streams_of
from adet_core.errors import ConfigError

pytestmark = pytest.mark.ros

DRIVER = Path(__file__).with_name('driver.py')
COUNT = 40


def start_driver(ros, reliability):
    """A driver of the detector's topic; its end is the end of its images."""
    env = {name: value for name, value in os.environ.items() if not name.startswith('FAST')}
    words = [sys.executable, DRIVER, f'{ros.namespace}/image_raw', reliability, COUNT, 5]
    return subprocess.Popen([str(word) for word in words], env=env)


def test_every_image_of_a_reliable_driver_is_inspected(ros, deployed):
    node = ros.detector(deployed, frames='latest')
    results = ros.hear(AnomalyResult, 'padim/result')
    with start_driver(ros, 'RELIABLE') as driver:
        ros.until(lambda: driver.poll() is not None, 'the end of the driver')
    ros.until(lambda: len(results) + node._service.dropped == COUNT, 'every image')
    assert node._images.lost == 0
    assert {result.error for result in results} == {''}


def test_what_a_best_effort_driver_loses_is_told_with_the_remedy(ros, deployed):
    node = ros.detector(deployed, frames='latest')
    results = ros.hear(AnomalyResult, 'padim/result')
    told = []
    node.get_logger().warning = lambda text, **_: told.append(text)
    with start_driver(ros, 'BEST_EFFORT') as driver:
        ros.until(lambda: driver.poll() is not None, 'the end of the driver')
    assert results
    assert node._images.reliability == 'best_effort'
    if len(results) < COUNT - node._service.dropped - 1:
        # Images of the first moments, before anybody is known, are in nobody's count.
        assert node._images.lost > 0
        assert any('let the driver publish reliably' in text for text in told)
        assert any(f'_PROFILES_FILE={fast_dds_profile()}' in text for text in told)


def message(stamp):
    header = Header(stamp=to_stamp(stamp), frame_id='lens')
    return to_image_message(np.full((64, 64, 3), 99, np.uint8), 'bgr8', header)


class Driver:
    """A publisher of small images, which can be asked to go."""

    def __init__(self, ros, reliability):
        profile = QoSProfile(depth=10, reliability=ReliabilityPolicy[reliability])
        self._ros = ros
        self._publisher = ros.client.create_publisher(ImageMessage, 'image_raw', profile)

    def publish(self, stamp):
        self._publisher.publish(message(stamp))

    def go(self):
        self._ros.do(lambda: self._ros.client.destroy_publisher(self._publisher))


def test_the_subscription_follows_the_publishers_as_they_come_and_go(ros, deployed):
    node = ros.detector(deployed, frames='latest')
    results = ros.hear(AnomalyResult, 'padim/result')
    stamps = iter(range(1, 10_000))

    def inspects(driver, reliability):
        def heard():
            driver.publish(stamp := next(stamps))
            return any(to_nanoseconds(one.header.stamp) >= stamp - 5 for one in results)

        ros.until(lambda: node._images.reliability == reliability, reliability)
        results.clear()
        ros.until(heard, f'results, {reliability}')

    first = Driver(ros, 'RELIABLE')
    inspects(first, 'reliable')
    second = Driver(ros, 'BEST_EFFORT')
    inspects(second, 'best_effort')
    # It hears both.
    inspects(first, 'best_effort')
    second.go()
    inspects(first, 'reliable')


@pytest.mark.parametrize('way', ['reliability', 'qos_overrides'])
def test_a_reliability_of_ones_own_stays(ros, deployed, way):
    name = {
        'reliability': 'reliability',
        'qos_overrides': f'qos_overrides.{ros.namespace}/image_raw.subscription.reliability',
    }[way]
    node = ros.detector(deployed, frames='latest', **{name: 'best_effort'})
    driver = Driver(ros, 'RELIABLE')
    results = ros.hear(AnomalyResult, 'padim/result')
    stamps = iter(range(1, 10_000))
    ros.until(lambda: driver.publish(next(stamps)) or results, 'a result')
    assert node._images.reliability == 'best_effort'
    (mine,) = [
        info
        for info in ros.client.get_subscriptions_info_by_topic(f'{ros.namespace}/image_raw')
        if info.node_name == node.get_name()
    ]
    assert mine.qos_profile.reliability == ReliabilityPolicy.BEST_EFFORT


@pytest.mark.parametrize(
    ('parameters', 'reason'),
    [
        ({'reliability': 'some'}, "reliability is 'some', expected one of: auto, reliable, best_"),
        (
            {'reliability': 'best_effort', 'frames': 'every'},
            'reliability is best_effort, but frames: every loses no image; take reliable',
        ),
    ],
)
def test_a_reliability_that_cannot_be_is_one_clear_line(ros, deployed, parameters, reason):
    with pytest.raises(ConfigError, match=reason):
        ros.detector(deployed, **parameters)


def test_a_gap_in_the_stamps_of_a_steady_camera_is_a_warning(ros, deployed):
    node = ros.detector(deployed, frames='latest')
    told = []
    node.get_logger().warning = lambda text, **_: told.append(text)
    driver = Driver(ros, 'RELIABLE')
    results = ros.hear(AnomalyResult, 'padim/result')
    for number in [*range(1, 30), 33]:
        driver.publish(number * 200_000_000)
        ros.until(
            lambda n=number: (
                results and to_nanoseconds(results[-1].header.stamp) == n * 200_000_000
            ),
            'its result',
        )
    health = node._health()
    assert 'images missing in a steady rate' in health.problem
    assert health.values['missing'] == 3
    assert any('3 images are missing before stamp 6600000000' in text for text in told)


def silence_of(node):
    health = node._health()
    return health.problem if health.is_error else f'warning: {health.problem}'


class Publishers:
    """What the graph knows of topics, by name."""

    def __init__(self, **types):
        self._types = {f'/{name.replace("_", "/")}': kind for name, kind in types.items()}

    def __call__(self, topic):
        kind = self._types.get(topic)
        return [SimpleNamespace(topic_type=kind)] if kind else []


@pytest.mark.parametrize(
    ('topic', 'transport', 'published', 'chosen'),
    [
        ('/cam', 'auto', {}, ('/cam', RAW)),
        ('/cam', 'auto', {'cam': RAW, 'cam_compressed': COMPRESSED}, ('/cam', RAW)),
        ('/cam', 'auto', {'cam_compressed': COMPRESSED}, ('/cam/compressed', COMPRESSED)),
        ('/cam', 'auto', {'cam': COMPRESSED}, ('/cam', COMPRESSED)),
        ('/cam', 'raw', {'cam_compressed': COMPRESSED}, ('/cam', RAW)),
        ('/cam', 'compressed', {'cam': RAW}, ('/cam/compressed', COMPRESSED)),
        ('/cam', 'compressed', {'cam': COMPRESSED}, ('/cam', COMPRESSED)),
        ('/cam/compressed', 'auto', {}, ('/cam/compressed', COMPRESSED)),
        ('/cam/compressedDepth', 'raw', {}, ('/cam/compressedDepth', COMPRESSED)),
    ],
)
def test_raw_images_are_read_where_there_are_some_else_compressed_ones(
    topic, transport, published, chosen
):
    streams = streams_of(topic, transport)
    found = choose_stream(streams, streams[0], Publishers(**published))
    assert found == Stream(*chosen)


def test_compressed_images_are_found_inspected_and_shown(ros, deployed):
    node = ros.detector(deployed, frames='latest')
    results = ros.hear(AnomalyResult, 'padim/result')
    overlays = ros.hear(CompressedImage, 'padim/overlay/compressed', 1)
    beside = ros.client.create_publisher(CompressedImage, 'image_raw/compressed', 1)
    stamps = iter(range(1, 10_000))
    noise = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)

    def publish(publisher, pixels, header):
        publisher.publish(to_compressed_message(pixels, header))

    def sent(publisher, pixels=noise):
        publish(publisher, pixels, Header(stamp=to_stamp(next(stamps)), frame_id='lens'))
        return results

    ros.until(lambda: sent(beside) and overlays, 'an overlay')
    assert {result.error for result in results} == {''}
    assert overlays[0].header.frame_id == 'lens'
    assert cv2.imdecode(np.frombuffer(overlays[0].data, np.uint8), 1).shape == (48, 64, 3)
    assert node._health().values['topic'] == f'{ros.namespace}/image_raw/compressed'
    results.clear()
    beside.publish(CompressedImage(format='jpeg', data=b'no image'))
    (broken,) = ros.until(lambda: [one for one in results if one.error], 'a refusal')
    assert broken.error == 'compressed image (jpeg): cannot be decoded as an image'
    # Raw images are preferred as soon as there are some.
    driver = Driver(ros, 'RELIABLE')
    ros.until(lambda: node._images.stream.type == RAW, 'the raw topic')
    driver.go()
    ros.do(lambda: ros.client.destroy_publisher(beside))
    # And compressed images may have any name: in a participant of its own, as one has one type
    # for each topic.
    context = rclpy.Context()
    rclpy.init(args=[], context=context)
    other = rclpy.create_node('other', context=context)
    plain = other.create_publisher(CompressedImage, f'{ros.namespace}/image_raw', 1)
    results.clear()
    ros.until(lambda: sent(plain), 'results of the topic itself')
    assert node._images.stream == Stream(f'{ros.namespace}/image_raw', COMPRESSED)
    other.destroy_node()
    rclpy.shutdown(context=context)


def test_a_camera_that_is_dead_or_of_another_type_is_told(ros, deployed):
    ros.client.create_publisher(ImageMessage, '/elsewhere/image', 1)
    told = []
    node = ros.detector(deployed, frames='latest', image_timeout=1.0)
    node.get_logger().error = lambda text, **_: told.append(text)
    topic = f'{ros.namespace}/image_raw'
    assert 'no image' not in silence_of(node)
    missing = ros.until(lambda: (s := silence_of(node)).startswith('warning: no') and s, 'WARN')
    assert f'nobody publishes {topic}; images are on: ' in missing
    assert '/elsewhere/image' in missing
    assert f'{ros.namespace}/padim/' not in missing
    ros.until(lambda: silence_of(node).startswith('no image'), 'ERROR')
    assert any('nobody publishes' in text for text in told)
    assert node._health().level == DiagnosticStatus.ERROR
    # A participant of its own: one has one type for each topic.
    context = rclpy.Context()
    rclpy.init(args=[], context=context)
    other = rclpy.create_node('other', context=context)
    other.create_publisher(CompressedImage, topic, 1)
    wrong = 'has sensor_msgs/msg/CompressedImage, not sensor_msgs/msg/Image'
    ros.until(lambda: wrong in silence_of(node), 'the wrong type')
    other.destroy_node()
    rclpy.shutdown(context=context)
    driver = Driver(ros, 'RELIABLE')
    silent = f'{ros.namespace}/client publishes nothing on {topic}'
    ros.until(lambda: silent in silence_of(node), 'the silent driver')
    assert node._health().level == DiagnosticStatus.STALE
    stamps = iter(range(1, 10_000))
    ros.until(lambda: driver.publish(next(stamps)) or 'no image' not in silence_of(node), 'OK')


@pytest.mark.parametrize('parameters', [{'frames': 'every'}, {'image_timeout': 0.0}])
def test_a_folder_or_a_line_that_stands_still_may_be_silent(ros, deployed, parameters):
    node = ros.detector(deployed, **{'frames': 'latest', 'image_timeout': 0.01, **parameters})
    time.sleep(0.1)
    assert node._health().problem == ''
