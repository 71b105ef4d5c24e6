# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""A robot that asks for verdicts, and the topics for those that know nothing of adet."""

from __future__ import annotations

import pytest

pytest.importorskip('rclpy', reason='ROS 2 is not installed')

from adet_interfaces.msg import AnomalyResult
from adet_interfaces.srv import Inspect, InspectNow
from sensor_msgs.msg import Image as ImageMessage
from std_msgs.msg import Bool, Header

from adet import qos
from adet.conversions import HAS_VISION_MSGS, to_image_message, to_stamp
from adet_core.image import read_image
from adet_core.inference.detector import Detector

pytestmark = pytest.mark.ros


@pytest.fixture
def images(deployed):
    """A normal and an anomalous image as messages, with what a detector says of them."""
    detector = Detector.load(deployed.bundle)
    made = []
    for stamp, label in enumerate(('normal', 'anomaly'), start=1):
        image = read_image(sorted((deployed.test_folder / label).glob('*.png'))[0])
        header = Header(stamp=to_stamp(stamp), frame_id='lens')
        message = to_image_message(image.pixels, image.encoding, header)
        made.append((message, detector.inspect(image)))
    assert [verdict.is_anomalous for _, verdict in made] == [False, True]
    return made


def test_a_robot_gets_a_verdict_on_demand(ros, deployed, images):
    (good, of_good), (bad, of_bad) = images
    node = ros.detector(deployed, frames='on_demand')
    results = ros.hear(AnomalyResult, 'padim/result')
    rejects = ros.hear(Bool, 'padim/reject', 10)
    ros.until(lambda: node.count_subscribers('padim/reject'), 'subscription')
    now = ('padim/inspect_now', InspectNow)

    answer = ros.call(now[1], now[0], InspectNow.Request(timeout=0.01))
    assert not answer.success
    assert 'is the camera running' in answer.message

    camera = ros.publisher(ImageMessage, 'image_raw', qos.newest_only())
    ros.until(camera.get_subscription_count, 'subscription')
    camera.publish(bad)
    answer = ros.call(now[1], now[0], InspectNow.Request(not_before=to_stamp(2)))
    assert answer.success, answer.message
    assert answer.result.score == of_bad.score
    assert answer.result.header == bad.header
    assert len(answer.result.regions) == len(of_bad.regions)
    assert answer.message.startswith('anomalous: score ')
    ros.until(lambda: results and rejects, 'its result')
    # One inspection: the image that arrived was not inspected by itself.
    assert results == [answer.result]
    assert node._service.figures()['frames'] == 1
    assert [message.data for message in rejects] == [True]

    answer = ros.call(now[1], now[0], InspectNow.Request(not_before=to_stamp(3), timeout=0.01))
    assert 'too early' in answer.message

    asked = ros.call(Inspect, 'padim/inspect', Inspect.Request(image=good))
    assert (asked.success, asked.result.score) == (True, of_good.score)
    asked = ros.call(Inspect, 'padim/inspect', Inspect.Request(image=good, publish=True))
    ros.until(lambda: len(rejects) > 1, 'its result')
    assert [message.data for message in rejects] == [True, False]
    assert results[1:] == [asked.result]

    asked = ros.call(Inspect, 'padim/inspect', Inspect.Request())
    assert not asked.success
    assert 'is not supported' in asked.message


def test_a_folder_has_no_rows_but_its_own_and_what_cannot_be_read_is_rejected(
    ros, deployed, images
):
    (good, _), _ = images
    node = ros.detector(deployed)
    rejects = ros.hear(Bool, 'padim/reject', 10)
    ros.until(lambda: node.count_subscribers('padim/reject'), 'subscription')
    asked = ros.call(Inspect, 'padim/inspect', Inspect.Request(image=good, publish=True))
    assert not asked.success
    assert 'the rows of a folder' in asked.message
    ros.publisher(ImageMessage, 'image_raw').publish(ImageMessage(encoding='unheard_of'))
    assert ros.until(lambda: rejects, 'the reject')[0].data is True


@pytest.mark.skipif(not HAS_VISION_MSGS, reason='vision_msgs is not installed')
def test_detections_go_out_where_vision_msgs_is_installed(ros, deployed, images):
    from vision_msgs.msg import Detection2DArray

    _, (bad, of_bad) = images
    node = ros.detector(deployed)
    found = ros.hear(Detection2DArray, 'padim/detections', 10)
    ros.until(lambda: node.count_subscribers('padim/detections'), 'subscription')
    ros.publisher(ImageMessage, 'image_raw').publish(bad)
    boxes = ros.until(lambda: found, 'detections')[0].detections
    widths = [box.bbox.size_x for box in boxes]
    assert widths == [region.width for region in of_bad.regions]
