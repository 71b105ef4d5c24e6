# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Source and detector in one process: images go from one to the other without a message."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='ROS 2 is not installed')

from sensor_msgs.msg import Image as ImageMessage
from std_msgs.msg import Header

from adet import qos
from adet.conversions import to_header, to_image_message
from adet.graph import cameras, inspection_graph, prepare_output
from adet.hand_over import Channel, Handed, HandedImages, HandOver
from adet.in_process import _create_all
from adet.launch_options import InspectOptions
from adet.nodes import image_source
from adet.nodes.csv_recorder import CsvRecorder
from adet.nodes.detector import DetectorNode
from adet.nodes.image_source import ImageSource
from adet_core.image import Image, read_image
from adet_core.inference.detector import Detector
from adet_core.records import read_records, results_path

pytestmark = pytest.mark.ros


@pytest.mark.parametrize(('kept', 'late'), [(0, [4]), (2, [2, 3, 4])])
def test_who_comes_late_gets_the_last_messages_once_more(kept, late):
    channel, first, second = Channel(), [], []
    channel.keep(kept)
    channel.read(first.append)
    for message in (1, 2, 3):
        channel.publish(message)
    channel.read(second.append)
    for _ in range(2):
        channel.leave(first.append)
    channel.publish(4)
    assert (first, second) == ([1, 2, 3], late)


@pytest.mark.parametrize(('every', 'missing'), [(False, 5), (True, 0)])
def test_a_pause_of_a_source_that_waits_is_no_gap(ros, every, missing):
    channel, taken = Channel(), []
    images = HandedImages(ros.client, channel, taken.append, timeout_s=0, every=every)
    image, stamps = Image(np.zeros((1, 1), np.uint8), 'mono8'), [*range(1, 21), 26]
    for stamp in stamps:
        channel.publish(Handed(stamp * 10**8, Header(), image))
    assert len(taken) == len(stamps)
    assert images.arrivals.missing == missing


@pytest.fixture
def compose(ros, deployed, tmp_path):
    """Start recorder, detector and source as one process has them."""

    def start(**parameters):
        hand_over = HandOver()
        recorder = ros.start(
            lambda **o: CsvRecorder(hand_over=hand_over, **o), output_dir=str(tmp_path)
        )
        detector = ros.start(
            lambda **o: DetectorNode('padim', hand_over=hand_over, **o),
            models_root=str(deployed.models_root),
            frames='every',
        )
        source = ros.start(
            lambda **o: ImageSource(hand_over=hand_over, **o),
            source=str(deployed.test_folder),
            publish_rate=0.0,
            wait_for='padim',
            **parameters,
        )
        return recorder, detector, source

    return start


def test_the_rows_are_those_of_a_detector_and_no_message_is_made(
    ros, deployed, tmp_path, compose, monkeypatch
):
    def refuse(*_):
        raise AssertionError('made for nobody')

    monkeypatch.setattr(image_source, 'to_image_message', refuse)
    _, detector, source = compose()
    ros.until(source.done.done, 'the end')
    rows = list(read_records(results_path(tmp_path, 'padim')))
    assert len(rows) == len({row.source for row in rows}) == source.total == 16
    reference = Detector.load(deployed.bundle)
    # A row has eight digits of them.
    scores = [reference.inspect(read_image(row.source)).score for row in rows]
    assert [row.score for row in rows] == pytest.approx(scores, rel=1e-7)
    values = detector._health().values
    assert (values['topic'], values['reliability']) == ('image_source', 'in memory')


def test_who_subscribes_gets_the_images_all_the_same(ros, compose):
    heard = ros.hear(ImageMessage, 'image_raw', qos.every_frame())
    *_, source = compose(loop=True)
    ros.until(lambda: heard, 'an image')
    assert heard[0].encoding == 'bgr8'
    assert source._image_publisher.get_subscription_count() == 1


def test_no_node_of_the_process_subscribes_to_another(ros, compose):
    nodes = compose(loop=True)
    recorder, *_ = nodes
    ros.until(lambda: recorder._rows, 'a row')
    for topic in ('image_raw', 'image_info', 'padim/result', 'recorded'):
        assert recorder.count_publishers(topic) == 1
        assert recorder.count_subscribers(topic) == 0


def test_a_recorder_that_was_paused_writes_what_it_missed(ros, compose, tmp_path):
    recorder, _, source = compose(max_in_flight=4)
    ros.until(lambda: recorder._rows, 'a row')
    recorder.trigger_deactivate()
    ros.until(lambda: len(source._in_flight) == 4, 'all that may be in flight')
    recorder.trigger_activate()
    ros.until(source.done.done, 'the end')
    rows = list(read_records(results_path(tmp_path, 'padim')))
    assert len(rows) == len({row.source for row in rows}) == 16


def test_cameras_of_one_process_share_the_weights(ros, deployed, tmp_path):
    sides = [f'{ros.namespace}/{side}' for side in ('left', 'right')]
    options = InspectOptions(
        namespace=','.join(sides),
        source=','.join(f'topic:{side}/image_raw' for side in sides),
        models_root=str(deployed.models_root),
        output_dir=str(tmp_path),
    )
    graphs = [(one, inspection_graph(one)) for one in cameras(options)]
    for one, _ in graphs:
        prepare_output(one)
    nodes = _create_all(graphs, '')
    for node in nodes:
        ros.take(node)
    left, right = (node.resident()[0] for node in nodes if isinstance(node, DetectorNode))
    left_backend, right_backend = vars(left.backend), vars(right.backend)
    assert left_backend['_session'] is right_backend['_session']
    assert left_backend['_binding'] is not right_backend['_binding']
    for side, label in zip(sides, ('normal', 'anomaly'), strict=True):
        image = read_image(sorted((deployed.test_folder / label).glob('*.png'))[0])
        camera = ros.publisher(ImageMessage, f'{side}/image_raw', qos.newest_only())
        ros.until(camera.get_subscription_count, 'subscription')
        camera.publish(to_image_message(image.pixels, image.encoding, to_header(1, side)))

    def rows(side):
        return list(read_records(results_path(Path(one_of[side].output_dir), 'padim')))

    one_of = {one.namespace: one for one, _ in graphs}
    ros.until(lambda: all(rows(side) for side in sides), 'a row of each')
    verdicts = [(row.frame_id, row.is_anomalous) for side in sides for row in rows(side)]
    assert verdicts == list(zip(sides, (False, True), strict=True))
