# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""A detector that changes its category: by topic and parameter, and what the others make of it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
import shutil

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='ROS 2 is not installed')

from adet_interfaces.msg import AnomalyResult
from adet_interfaces.srv import LoadBundle, MarkResult
from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from robot import Client, publish, Robot
from std_msgs.msg import String

from adet import qos
from adet.conversions import to_stamp
from adet.nodes.csv_recorder import CsvRecorder
from adet.nodes.retrain_server import RetrainServer
from adet_core.bundle import (
    open_bundle,
    read_engine,
    read_features,
    read_record,
    write_bundle,
    write_engine,
)
from adet_core.errors import ConfigError
from adet_core.records import read_records

pytestmark = pytest.mark.ros

LID_THRESHOLD = 77.0


def deploy_lid(robot: Robot) -> None:
    """A second category: the same graph with other statistics and another threshold."""
    bundle, folder = open_bundle(robot.bundle), robot.bundle / 'lid'
    statistics = bundle.statistics()
    # So little that the golden images still have their scores.
    statistics['mean'] = statistics['mean'] + np.float32(1e-4)
    manifest = replace(
        bundle.manifest,
        category='lid',
        image_threshold=replace(bundle.manifest.image_threshold, value=LID_THRESHOLD),
    )

    def copy(name):
        with bundle.open(name) as file:
            data = file.read()
        return lambda target: target.write(data)

    others = (name for name in bundle.manifest.files if name != 'stats.npz')
    contents = {name: copy(name) for name in others}
    written = write_bundle(
        folder, manifest, {**contents, 'stats.npz': lambda file: np.savez(file, **statistics)}
    )
    for name in ('train', 'test'):
        shutil.copytree(robot.data_root / name / 'plate', robot.data_root / name / 'lid')
    record = replace(read_record(bundle), bundle_id=written.bundle_id)
    write_engine(written, read_engine(bundle).onnx, record, read_features(bundle).onnx)


@pytest.fixture
def line(robot):
    """See `Robot`; with a second category."""
    deploy_lid(robot)
    return robot


def detector(ros, line, **parameters):
    return ros.detector(line, data_root=str(line.data_root), categories='plate,lid', **parameters)


def an_image(line):
    return sorted((line.data_root / 'test' / 'plate' / 'normal').iterdir())[0]


def test_the_topic_changes_the_category_and_rows_say_which_it_was(ros, line, tmp_path):
    node = detector(ros, line)
    ros.start(CsvRecorder, output_dir=str(tmp_path / 'out'), expect_info=False)
    results = ros.hear(AnomalyResult, 'padim/result')
    told = ros.hear(String, 'padim/category', qos.latched())
    # The last word alone is kept for who comes late.
    ros.until(lambda: told, 'what is in service')
    plate = publish(ros, an_image(line), 1, results)
    topic = ros.publisher(String, 'category', qos.latched())
    topic.publish(String(data='lid'))
    ros.until(lambda: [one.data for one in told] == ['plate', 'lid'], 'the change')
    lid = publish(ros, an_image(line), 2, results)
    assert (plate.category, lid.category) == ('plate', 'lid')
    assert plate.bundle_id != lid.bundle_id
    assert lid.threshold == LID_THRESHOLD
    values = {name: node.get_parameter(name).value for name in ('category', 'threshold')}
    assert values == {'category': 'lid', 'threshold': LID_THRESHOLD}
    path = tmp_path / 'out' / 'result_padim.csv'
    rows = ros.until(lambda: len(found := list(read_records(path))) == 2 and found, 'rows')
    assert [row.category for row in rows] == ['plate', 'lid']
    # An unknown one: the old one stays.
    topic.publish(String(data='cup'))
    topic.publish(String(data='plate'))
    ros.until(lambda: told[-1].data == 'plate', 'the way back')
    assert [one.data for one in told] == ['plate', 'lid', 'plate']


def test_who_starts_late_hears_what_the_line_makes(ros, line):
    ros.publisher(String, 'category', qos.latched()).publish(String(data='lid'))
    node = detector(ros, line)
    ros.until(lambda: node.get_parameter('category').value == 'lid', 'the category')


def test_the_parameter_changes_the_category_and_refuses_an_unknown_one(ros, line):
    node = detector(ros, line)
    results = ros.hear(AnomalyResult, 'padim/result')

    def set_to(**values):
        parameters = [
            Parameter(name, value=one).to_parameter_msg() for name, one in values.items()
        ]
        request = SetParameters.Request(parameters=parameters)
        return ros.call(SetParameters, 'padim_detector/set_parameters', request).results[-1]

    refused = set_to(category='cup')
    assert not refused.successful
    assert refused.reason.startswith("category is 'cup', of padim these are deployed: plate, lid;")
    assert set_to(category='lid').successful
    assert node.get_parameter('threshold').value == LID_THRESHOLD
    assert set_to(threshold=5.5).successful
    assert publish(ros, an_image(line), 1, results).threshold == 5.5
    assert set_to(category='plate').successful
    assert publish(ros, an_image(line), 2, results).category == 'plate'
    assert set_to(category='lid').successful
    assert node.get_parameter('threshold').value == 5.5


def test_diagnostics_say_what_is_in_service_and_in_memory(ros, line):
    node = detector(ros, line, max_resident=1)
    name = f'{node.get_fully_qualified_name()}: inspection'
    heard = ros.hear(DiagnosticArray, '/diagnostics', 10)

    def values():
        found = [s for array in heard for s in array.status if s.name == name]
        return {one.key: one.value for one in found[-1].values} if found else {}

    ros.until(lambda: values().get('category') == 'plate', 'diagnostics')
    assert values()['resident'] == 'plate'
    ros.publisher(String, 'category', qos.latched()).publish(String(data='lid'))
    ros.until(lambda: values()['resident'] == 'lid', 'the change')


def test_the_console_knows_the_categories_and_changes_them(ros, line):
    pytest.importorskip('aiohttp', reason='aiohttp is not installed')
    from adet_console.link import GraphLink

    node = detector(ros, line)
    name = node.get_fully_qualified_name()
    key = name.removesuffix('_detector')
    link = ros.start(GraphLink)

    def told():
        status = next((one for one in link.health() if one['name'].startswith(name)), None)
        return status and status['values']

    ros.until(lambda: key in link.detectors and link.detectors[key].node and told(), 'a look')
    assert told()['categories'] == 'lid, plate'
    assert asyncio.run(link.set_category(key, 'lid')) == 'plate'
    assert node.get_parameter('category').value == 'lid'
    with pytest.raises(ConfigError, match="category is 'cup', of padim these are deployed"):
        asyncio.run(link.set_category(key, 'cup'))
    ros.until(lambda: told()['category'] == 'lid', 'the change')


def test_a_mark_is_of_the_category_that_inspected(ros, line):
    detector(ros, line)
    results = ros.hear(AnomalyResult, 'padim/result')
    publish(ros, an_image(line), 1, results)
    topic = ros.publisher(String, 'category', qos.latched())
    told = ros.hear(String, 'padim/category', qos.latched())
    topic.publish(String(data='lid'))
    ros.until(lambda: told and told[-1].data == 'lid', 'the change')
    publish(ros, an_image(line), 2, results)
    for stamp, category in ((1, 'plate'), (2, 'lid')):
        answer = ros.call(
            MarkResult, 'padim/mark', MarkResult.Request(stamp=to_stamp(stamp), verdict='fine')
        )
        assert answer.path == str(line.data_root / 'train' / category / f'frame_{stamp}.png')


def test_a_retraining_is_of_the_category_in_service_or_of_the_one_it_names(ros, line):
    node = detector(ros, line)
    ros.start(RetrainServer, threads=1, **line.server_parameters)
    client = Client(ros)
    before = {name: open_bundle(folder, in_service=True).bundle_id for name, folder in _both(line)}
    ros.publisher(String, 'category', qos.latched()).publish(String(data='lid'))
    ros.until(lambda: node.get_parameter('category').value == 'lid', 'the change')
    # While lids are inspected, the plates are learned; the lids stay in service.
    _, result = client.run(model='padim', category='plate')
    assert result.success, result.message
    assert 'waits for plate, lid stays' in result.message
    plate, lid = (open_bundle(folder, in_service=True) for _, folder in _both(line))
    assert plate.bundle_id == result.bundle_id != before['plate']
    assert lid.bundle_id == before['lid']
    assert node.get_parameter('category').value == 'lid'
    results = ros.hear(AnomalyResult, 'padim/result', qos.every_frame())
    assert publish(ros, an_image(line), 1, results).bundle_id == before['lid']
    # Without a name: what is in service. There is nothing before it.
    _, result = client.run(model='padim', mode='rollback')
    assert not result.success
    assert f'{line.bundle / "lid"}' in result.message
    _, result = client.run(model='padim', mode='rollback', category='plate')
    assert result.success, result.message
    assert open_bundle(line.bundle, in_service=True).bundle_id == before['plate']


def test_loading_a_bundle_of_another_category_leaves_the_one_in_service(ros, line):
    detector(ros, line)
    request = LoadBundle.Request(folder=str(line.bundle / 'lid'))
    answer = ros.call(LoadBundle, 'padim/load_bundle', request)
    assert answer.success
    assert answer.message == f'{line.bundle / "lid"} waits for lid, plate stays'
    assert answer.bundle_id == line.deployed_id


@pytest.mark.parametrize(
    ('parameters', 'message'),
    [
        (
            {'categories': 'plate,cup'},
            "category is 'cup', of padim these are deployed: plate, lid",
        ),
        ({'categories': 'lid, lid'}, 'each category may be named once'),
        ({'categories': 'lid', 'bundle': '/b'}, 'bundle names one bundle, categories names sev'),
        ({'category': 'cup'}, "padim_detector: category is 'cup', of padim these are deployed"),
    ],
)
def test_a_wrong_category_is_one_clear_line(ros, line, parameters, message):
    with pytest.raises(ConfigError, match=message):
        ros.detector(line, **parameters)


def _both(line):
    return ('plate', line.bundle), ('lid', line.bundle / 'lid')
