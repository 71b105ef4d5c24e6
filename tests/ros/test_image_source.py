# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""``image_source`` over DDS."""

from __future__ import annotations

import os

import cv2
import numpy as np
import pytest

pytest.importorskip('rclpy', reason='ROS 2 is not installed')

from adet_interfaces.msg import ImageInfo, Recorded
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image as ImageMessage

from adet.conversions import to_image, to_nanoseconds, to_stamp
from adet.nodes.image_source import ImageSource
from adet_core.errors import ConfigError, DatasetError
from adet_core.io.open_source import open_source
from adet_evaluation.bags import BagOptions, record_images

pytestmark = pytest.mark.ros


@pytest.fixture
def folder(tmp_path):
    """Five images whose grey level is their number; the middle one is not an image."""
    made = tmp_path / 'images'
    (made / 'normal').mkdir(parents=True)
    for number in range(5):
        path = made / 'normal' / f'{number}.png'
        cv2.imwrite(str(path), np.full((40, 30, 3), number, np.uint8))
    (made / 'normal' / '2.png').write_bytes(b'not an image')
    return made


def acknowledge(publisher, info):
    publisher.publish(Recorded(stamp=info.header.stamp, model='padim'))


def test_every_image_is_sent_once_with_its_label_and_a_rising_stamp(ros, folder):
    images, infos = ros.hear(ImageMessage, 'image_raw'), ros.hear(ImageInfo, 'image_info')
    recorded = ros.publisher(Recorded, 'recorded')
    source = ros.start(
        ImageSource, source=str(folder), publish_rate=0.0, wait_for='padim', frame_id='lens'
    )
    for count in range(1, 6):
        ros.until(lambda: len(infos) >= count, 'info')  # noqa: B023 - called at once
        acknowledge(recorded, infos[count - 1])
    ros.until(source.done.done, 'the end')
    ros.until(lambda: len(images) == 4, 'images')
    assert [info.source for info in infos] == [
        str(folder / 'normal' / f'{n}.png') for n in range(5)
    ]
    assert {info.label for info in infos} == {'normal'}
    stamps = [to_nanoseconds(info.header.stamp) for info in infos]
    assert stamps == sorted(set(stamps))
    readable = [stamp for number, stamp in enumerate(stamps) if number != 2]
    assert [to_nanoseconds(image.header.stamp) for image in images] == readable
    assert [image.header.frame_id for image in images] == ['lens'] * 4
    levels = [int(to_image(image).pixels.max()) for image in images]
    assert levels == [0, 1, 3, 4]
    assert '2.png: cannot be decoded as an image' in infos[2].error
    assert source.recorded == source.total == 5


def test_a_file_may_have_any_bytes_for_a_name(ros, tmp_path):
    cv2.imwrite(str(tmp_path / 'a.png'), np.zeros((4, 4), np.uint8))
    (tmp_path / 'a.png').rename(tmp_path / os.fsdecode(b'caf\xe9.png'))
    (tmp_path / os.fsdecode(b'torn\xff.png')).write_bytes(b'')
    infos = ros.hear(ImageInfo, 'image_info')
    source = ros.start(ImageSource, source=str(tmp_path), publish_rate=0.0)
    ros.until(source.done.done, 'the end')
    ros.until(lambda: len(infos) == 2, 'both')
    assert infos[0].source == rf'{tmp_path}/caf\udce9.png'
    assert infos[1].error == rf'{tmp_path}/torn\udcff.png: cannot be decoded as an image'


def test_no_more_images_are_in_flight_than_allowed(ros, folder):
    infos = ros.hear(ImageInfo, 'image_info')
    recorded = ros.publisher(Recorded, 'recorded')
    source = ros.start(
        ImageSource, source=str(folder), publish_rate=0.0, wait_for='padim', max_in_flight=2
    )
    ros.until(lambda: len(infos) == 2, 'two images')
    assert source._published == 2
    with source.changed:
        assert not source._has_room()
    acknowledge(recorded, infos[0])
    ros.until(lambda: len(infos) == 3, 'the third')
    assert source._published == 3
    assert not source.done.done()


def test_a_image_leaves_the_flight_when_every_model_has_its_row(ros, folder):
    infos = ros.hear(ImageInfo, 'image_info')
    recorded = ros.publisher(Recorded, 'recorded')
    source = ros.start(
        ImageSource, source=str(folder), publish_rate=0.0, wait_for='a, b', max_in_flight=1
    )
    ros.until(lambda: infos, 'the first')
    for model in ('a', 'a', 'b'):
        assert source._published == 1
        recorded.publish(Recorded(stamp=infos[0].header.stamp, model=model))
        if model == 'a':
            ros.until(
                lambda: (
                    source._in_flight
                    and source._in_flight.get(to_nanoseconds(infos[0].header.stamp)) == {'b'}
                ),
                'a row of a',
            )
    ros.until(lambda: len(infos) == 2, 'the second')


def test_images_above_the_limit_of_a_parameter_are_unreadable(ros, folder, monkeypatch):
    # Restored in the end.
    monkeypatch.setenv('ADET_MAX_MEGAPIXELS', '')
    infos = ros.hear(ImageInfo, 'image_info')
    ros.start(ImageSource, source=str(folder), publish_rate=0.0, max_megapixels=0.001)
    ros.until(lambda: len(infos) == 5, 'all images')
    told = '30x40 pixels are more than 0.001 megapixels; raise max_megapixels if'
    assert [told in info.error for info in infos] == [True, True, False, True, True]


def test_a_loop_has_no_end_and_stops_when_told(ros, folder):
    infos = ros.hear(ImageInfo, 'image_info')
    source = ros.start(ImageSource, source=str(folder), publish_rate=200.0, loop=True)
    ros.until(lambda: len(infos) >= 12, 'more images than there are')
    assert source.total is None
    assert infos[5].source == infos[0].source
    assert not source.done.done()


def test_a_video_is_sent_frame_by_frame(ros, tmp_path):
    path = tmp_path / 'line.avi'
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*'MJPG'), 10, (64, 48))
    for number in range(4):
        writer.write(np.full((48, 64, 3), number * 40, np.uint8))
    writer.release()
    images, infos = ros.hear(ImageMessage, 'image_raw'), ros.hear(ImageInfo, 'image_info')
    source = ros.start(ImageSource, source=str(path), publish_rate=100.0)
    ros.until(source.done.done, 'the end')
    ros.until(lambda: len(infos) == 4 and images, 'frames')
    assert [info.source for info in infos] == [f'{path}#{n}' for n in range(4)]


def test_rows_of_another_inspection_are_noticed(ros, folder):
    infos = ros.hear(ImageInfo, 'image_info')
    recorded = ros.publisher(Recorded, 'recorded')
    ros.start(ImageSource, source=str(folder), publish_rate=0.0, wait_for='padim')
    ros.until(lambda: infos, 'the first')
    foreign = to_nanoseconds(infos[-1].header.stamp) + 5
    recorded.publish(Recorded(stamp=to_stamp(foreign), model='padim'))
    with pytest.raises(ConfigError, match='another inspection runs in namespace /test'):
        ros.until(lambda: False, 'the failure')


@pytest.mark.parametrize(
    ('parameters', 'error', 'message'),
    [
        ({}, ConfigError, 'image_source: parameter source is required: image folder'),
        ({'source': ''}, DatasetError, 'source is empty; give a folder'),
        ({'source': '/nowhere'}, DatasetError, '/nowhere: no such folder, file or camera'),
        ({'source': 'camera:77'}, DatasetError, 'camera:77: cannot be opened'),
        ({'source': '.', 'camera_width': 9}, ConfigError, r'camera_\* parameters are for camera'),
        (
            {'source': '.', 'camera_info': '/none'},
            ConfigError,
            'camera_info /none: .*No such',
        ),
        ({'source': '.', 'publish_rate': -1.0}, ConfigError, 'parameter publish_rate'),
        ({'source': '.', 'max_in_flight': 99}, ConfigError, 'parameter max_in_flight'),
        ({'source': '.', 'loop': 'yes'}, ConfigError, 'parameter loop'),
    ],
)
def test_a_wrong_parameter_is_one_clear_line(ros, parameters, error, message):
    with pytest.raises(error, match=message):
        ros.start(ImageSource, **parameters)


def test_an_empty_folder_is_refused(ros, tmp_path):
    with pytest.raises(DatasetError, match='holds no images; put some there'):
        ros.start(ImageSource, source=str(tmp_path))


@pytest.fixture
def bag(folder, tmp_path):
    """The same as a recording of last year."""
    options = BagOptions(start_ns=START_NS, rate=20, frame_id='lens')
    record_images(open_source(str(folder)), tmp_path / 'bag', options)
    return tmp_path / 'bag'


START_NS = 1_700_000_000_000_000_000
STAMPS = [START_NS + number * 50_000_000 for number in range(5)]


def test_images_of_a_bag_keep_their_stamps_and_frame(ros, bag):
    images, infos = ros.hear(ImageMessage, 'image_raw'), ros.hear(ImageInfo, 'image_info')
    recorded = ros.publisher(Recorded, 'recorded')
    source = ros.start(ImageSource, source=str(bag), publish_rate=0.0, wait_for='padim')
    for count in range(1, 6):
        ros.until(lambda: len(infos) >= count, 'info')  # noqa: B023 - called at once
        acknowledge(recorded, infos[count - 1])
    ros.until(source.done.done, 'the end')
    assert source.recorded == 5
    assert [to_nanoseconds(info.header.stamp) for info in infos] == STAMPS
    ros.until(lambda: len(images) == 4, 'images')
    assert {image.header.frame_id for image in images} == {'lens'}
    assert [int(to_image(image).pixels.max()) for image in images] == [0, 1, 3, 4]
    assert {info.label for info in infos} == {'normal'}
    assert '2.png: cannot be decoded' in infos[2].error


def test_the_time_of_the_recording_goes_before_its_images(ros, bag):
    # Volatile, as a clock is: the past is of no use.
    heard = ros.hear(Clock, '/clock', 10)
    infos = ros.hear(ImageInfo, 'image_info')
    # Somebody else's clock may be heard too.
    source = ros.start(ImageSource, source=str(bag), publish_rate=0.0, clock=True, replay_rate=1.0)
    ros.until(source.done.done, 'the end')
    ros.until(lambda: len(infos) == 5, 'infos')
    ros.until(lambda: set(STAMPS) <= {to_nanoseconds(one.clock) for one in heard}, 'the clock')


def test_images_of_a_bag_come_no_faster_than_they_were_recorded(ros, bag):
    source = ros.start(ImageSource, source=str(bag), publish_rate=0.0, replay_rate=0.01)
    infos = ros.hear(ImageInfo, 'image_info')
    ros.until(lambda: infos, 'the first')
    # The second is due after five seconds.
    assert source._published == 1
    assert not source.done.done()


def test_a_bag_played_again_has_other_stamps(ros, bag):
    infos = ros.hear(ImageInfo, 'image_info')
    ros.start(ImageSource, source=str(bag), publish_rate=200.0, loop=True)
    ros.until(lambda: len(infos) >= 12, 'more images than there are')
    stamps = [to_nanoseconds(info.header.stamp) for info in infos]
    assert stamps[:5] == STAMPS
    assert len(set(stamps)) == len(stamps)


def test_a_topic_that_the_bag_lacks_is_named(ros, bag):
    with pytest.raises(DatasetError, match='no images on topic /other; it has /image_info'):
        ros.start(ImageSource, source=str(bag), bag_topic='other')
