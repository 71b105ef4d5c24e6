# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""``csv_recorder`` over DDS."""

from __future__ import annotations

import errno
import os

import pytest

pytest.importorskip('rclpy', reason='ROS 2 is not installed')

from adet_interfaces.msg import AnomalyResult, ImageInfo, Recorded, Region
import numpy as np
import rclpy
from rclpy.parameter import Parameter
from std_msgs.msg import Header

from adet.conversions import to_nanoseconds, to_result, to_stamp
from adet.nodes.csv_recorder import CsvRecorder
from adet_core import scoring
from adet_core.errors import AdetError, RecordError
from adet_core.inference.detector import Inspection
from adet_core.records import COLUMNS, read_records

pytestmark = pytest.mark.ros

OLDER = ','.join(name for name in COLUMNS if name != 'is_uncertain')


def header(stamp):
    return Header(stamp=to_stamp(stamp), frame_id='lens')


def result(stamp, **values):
    return AnomalyResult(header=header(stamp), model='padim', **values)


def rows_of(folder):
    return list(read_records(folder / 'result_padim.csv'))


@pytest.fixture
def recorder(ros, tmp_path):
    node = ros.start(CsvRecorder, output_dir=str(tmp_path))
    yield node
    node.stop()


@pytest.mark.usefixtures('recorder')
def test_a_verdict_and_its_origin_become_one_row_and_are_acknowledged(ros, tmp_path):
    acknowledged = ros.hear(Recorded, 'recorded')
    ros.publisher(ImageInfo, 'image_info').publish(
        ImageInfo(header=header(7), source='a, "b".png', label='anomaly')
    )
    ros.publisher(AnomalyResult, 'padim/result').publish(
        result(
            7,
            bundle_id='abc',
            score=3.25,
            normalised_score=0.75,
            threshold=2.5,
            is_anomalous=True,
            regions=[Region(x=1, y=2, width=3, height=4, score=3.25)],
            inference_ms=12.5,
        )
    )
    ros.until(lambda: acknowledged, 'acknowledgement')
    assert to_nanoseconds(acknowledged[0].stamp) == 7
    (row,) = rows_of(tmp_path)
    assert (row.stamp_ns, row.frame_id, row.source, row.label) == (
        7,
        'lens',
        'a, "b".png',
        'anomaly',
    )
    assert (row.score, row.threshold, row.is_anomalous, row.bundle_id) == (3.25, 2.5, True, 'abc')
    assert row.regions == (scoring.Region(1, 2, 3, 4, 3.25),)
    assert row.inference_ms == 12.5
    assert row.is_uncertain is False


@pytest.mark.usefixtures('recorder')
def test_an_uncertain_verdict_is_recorded_as_one(ros, tmp_path):
    acknowledged = ros.hear(Recorded, 'recorded')
    ros.publisher(ImageInfo, 'image_info').publish(ImageInfo(header=header(7), source='a.png'))
    inspection = Inspection(
        score=2.25,
        normalised_score=0.375,
        threshold=2.5,
        is_anomalous=False,
        is_uncertain=True,
        regions=(),
        anomaly_map=np.zeros((4, 4), np.float32),
        bundle_id='abc',
        inference_ms=1.0,
    )
    verdict = to_result(inspection, 'padim', header(7))
    ros.publisher(AnomalyResult, 'padim/result').publish(verdict)
    ros.until(lambda: acknowledged, 'acknowledgement')
    (row,) = rows_of(tmp_path)
    assert (row.score, row.is_anomalous, row.is_uncertain) == (2.25, False, True)


@pytest.mark.parametrize('info_first', [True, False])
@pytest.mark.usefixtures('recorder')
def test_verdict_and_origin_may_come_in_either_order(ros, tmp_path, info_first):
    acknowledged = ros.hear(Recorded, 'recorded')
    infos = ros.publisher(ImageInfo, 'image_info')
    results = ros.publisher(AnomalyResult, 'padim/result')
    sends = [
        lambda: infos.publish(ImageInfo(header=header(1), source='x.png', label='normal')),
        lambda: results.publish(result(1, score=1.0)),
    ]
    for send in sends if info_first else reversed(sends):
        send()
    ros.until(lambda: acknowledged, 'acknowledgement')
    assert [row.source for row in rows_of(tmp_path)] == ['x.png']


@pytest.mark.usefixtures('recorder')
def test_a_verdict_whose_origin_never_comes_is_recorded_all_the_same(ros, tmp_path, monkeypatch):
    monkeypatch.setattr('adet.nodes.csv_recorder._PATIENCE_TICKS', 0)
    acknowledged = ros.hear(Recorded, 'recorded')
    ros.publisher(AnomalyResult, 'padim/result').publish(result(1, score=1.0))
    ros.until(lambda: acknowledged, 'acknowledgement')
    assert [(row.source, row.score) for row in rows_of(tmp_path)] == [('', 1.0)]


@pytest.mark.usefixtures('recorder')
def test_an_unreadable_image_and_a_refused_one_get_rows_that_say_so(ros, tmp_path):
    acknowledged = ros.hear(Recorded, 'recorded')
    infos = ros.publisher(ImageInfo, 'image_info')
    infos.publish(ImageInfo(header=header(1), source='bad.png', error='cannot be decoded'))
    infos.publish(ImageInfo(header=header(2), source='odd.png'))
    ros.publisher(AnomalyResult, 'padim/result').publish(result(2, error='no such encoding'))
    ros.until(lambda: len(acknowledged) == 2, 'acknowledgements')
    rows = [(row.source, row.error, row.score) for row in rows_of(tmp_path)]
    assert rows == [('bad.png', 'cannot be decoded', None), ('odd.png', 'no such encoding', None)]


def test_a_frame_that_comes_twice_is_acknowledged_twice_and_recorded_once(ros, tmp_path):
    ros.start(CsvRecorder, output_dir=str(tmp_path), expect_info=False)
    acknowledged = ros.hear(Recorded, 'recorded')
    results = ros.publisher(AnomalyResult, 'padim/result')
    for _ in range(2):
        results.publish(result(5, score=1.0))
    ros.until(lambda: len(acknowledged) == 2, 'acknowledgements')
    assert len(rows_of(tmp_path)) == 1


def test_a_restart_repairs_a_torn_line_and_goes_on(ros, tmp_path):
    first = ros.start(CsvRecorder, output_dir=str(tmp_path), expect_info=False)
    acknowledged = ros.hear(Recorded, 'recorded')
    results = ros.publisher(AnomalyResult, 'padim/result')
    for stamp in (1, 2):
        results.publish(result(stamp, score=float(stamp)))
    ros.until(lambda: len(acknowledged) == 2, 'acknowledgements')
    first.stop()
    with (tmp_path / 'result_padim.csv').open('ab') as file:
        file.write(b'3,lens,torn')
    second = CsvRecorder(
        namespace=ros.namespace + '/again',
        parameter_overrides=[Parameter('output_dir', value=str(tmp_path))],
    )
    second._write(result(3, score=3.0), None)
    second.stop()
    second.destroy_node()
    assert [row.score for row in rows_of(tmp_path)] == [1.0, 2.0, 3.0]


@pytest.mark.parametrize('columns', ['somebody,elses', OLDER], ids=['foreign', 'older adet'])
def test_a_file_with_other_columns_is_not_touched(ros, tmp_path, columns):
    path = tmp_path / 'result_padim.csv'
    path.write_text(f'{columns}\n1,2\n')
    with pytest.raises(RecordError, match='not a results file of this adet'):
        ros.start(CsvRecorder, output_dir=str(tmp_path), expect_info=False)
    assert path.read_text() == f'{columns}\n1,2\n'


def test_a_folder_that_cannot_be_written_is_named(ros, tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(OSError, match='file/out'):
        ros.start(CsvRecorder, output_dir=str(tmp_path / 'file' / 'out'))


@pytest.mark.parametrize('name', ['PaDiM', '', '../padim', 'a b'])
def test_what_can_be_no_model_is_refused_with_the_known_ones(ros, tmp_path, name):
    with pytest.raises(AdetError, match=f"unknown model '{name}'; known models: .*padim"):
        ros.start(CsvRecorder, output_dir=str(tmp_path), models=f'padim,{name}')


def test_models_of_adet_and_of_ones_own_are_recorded_side_by_side(ros, tmp_path):
    models = ('patchcore', 'reverse_distillation')
    ros.start(CsvRecorder, output_dir=str(tmp_path), models=', '.join(models), expect_info=False)
    acknowledged = ros.hear(Recorded, 'recorded')
    for stamp, model in enumerate(models, start=1):
        verdict = AnomalyResult(header=header(stamp), model=model, score=float(stamp))
        ros.publisher(AnomalyResult, f'{model}/result').publish(verdict)
    ros.until(lambda: len(acknowledged) == 2, 'acknowledgements')
    assert {message.model for message in acknowledged} == set(models)
    for stamp, model in enumerate(models, start=1):
        (row,) = read_records(tmp_path / f'result_{model}.csv')
        assert (row.stamp_ns, row.model, row.score) == (stamp, model, float(stamp))


def test_a_full_disc_ends_the_run_with_the_rows_so_far(ros, tmp_path, monkeypatch):
    ros.start(CsvRecorder, output_dir=str(tmp_path), expect_info=False)
    acknowledged = ros.hear(Recorded, 'recorded')
    results = ros.publisher(AnomalyResult, 'padim/result')
    results.publish(result(1, score=1.0))
    ros.until(lambda: acknowledged, 'acknowledgement')

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr('adet_core.records.os.write', full)
    results.publish(result(2, score=2.0))
    with pytest.raises(OSError, match=r'No space left.*result_padim\.csv'):
        ros.until(lambda: False, 'the failure')
    monkeypatch.undo()
    assert [row.score for row in rows_of(tmp_path)] == [1.0]


def test_a_verdict_still_waiting_when_the_process_is_stopped_gets_its_row(tmp_path):
    context = rclpy.Context()
    rclpy.init(args=[], context=context)
    override = Parameter('output_dir', value=str(tmp_path))
    node = CsvRecorder(context=context, namespace='/stopped', parameter_overrides=[override])
    node._on_result(result(1, score=1.0))
    rclpy.shutdown(context=context)
    node.stop()
    assert [row.score for row in rows_of(tmp_path)] == [1.0]


@pytest.mark.parametrize('stamp', [0, 5], ids=['no stamps', 'one stamp'])
def test_every_image_of_a_driver_without_stamps_has_its_row(ros, tmp_path, stamp):
    node = ros.start(CsvRecorder, output_dir=str(tmp_path), expect_info=False)
    results = ros.publisher(AnomalyResult, 'padim/result')
    for number in range(1, 5):
        results.publish(result(stamp, score=1.0, inference_ms=float(number)))
    ros.until(lambda: node._rows == 4, 'the rows')
    rows = rows_of(tmp_path)
    assert [row.inference_ms for row in rows] == [1.0, 2.0, 3.0, 4.0]
    health = node._health()
    assert (health.values['rows'], health.values['repeated']) == (4, 3)
    assert 'repeated stamps' in health.problem
    if not stamp:
        assert {row.latency_ms for row in rows} == {None}


def test_a_result_of_another_model_is_refused_and_the_recorder_lives(ros, tmp_path):
    node = ros.start(CsvRecorder, output_dir=str(tmp_path), expect_info=False)
    results = ros.publisher(AnomalyResult, 'padim/result')
    results.publish(AnomalyResult(header=header(1), model='rogue', score=1.0))
    results.publish(result(2, score=2.0))
    ros.until(lambda: node._rows, 'the row')
    assert [row.stamp_ns for row in rows_of(tmp_path)] == [2]
    assert node._health().values['refused'] == 1


def test_a_clock_that_was_set_back_gives_no_latency(ros, tmp_path):
    node = ros.start(CsvRecorder, output_dir=str(tmp_path), expect_info=False)
    ahead = node.get_clock().now().nanoseconds + 3_600_000_000_000
    ros.publisher(AnomalyResult, 'padim/result').publish(result(ahead, score=1.0))
    ros.until(lambda: node._rows, 'the row')
    assert [row.latency_ms for row in rows_of(tmp_path)] == [None]


def test_a_process_that_was_stopped_has_not_been_patient(ros, tmp_path):
    node = ros.start(CsvRecorder, output_dir=str(tmp_path))
    node._on_result(result(1, score=1.0))
    # One tick, however long the process did not run.
    node._every_second()
    assert node._rows == 0
    node._on_info(ImageInfo(header=header(1), source='a.png', label='normal'))
    assert [(row.source, row.label) for row in rows_of(tmp_path)] == [('a.png', 'normal')]


def test_another_inspection_in_the_namespace_is_noticed(ros, tmp_path):
    node = ros.start(CsvRecorder, output_dir=str(tmp_path), expect_info=False)
    ros.publisher(AnomalyResult, 'padim/result')
    ros.until(lambda: node._ticks > 1, 'two looks')
    assert node._health().problem == ''
    ros.publisher(AnomalyResult, 'padim/result')
    ros.until(lambda: 'another inspection runs in namespace' in node._health().problem, 'a word')
    assert not node._health().is_error
    node._crowded = 31
    assert node._health().is_error


def test_a_parameter_that_resembles_one_is_asked_about(ros, tmp_path):
    node = ros.start(CsvRecorder, output_dir=str(tmp_path), expect_inf=True, robot_name='r2')
    told = []
    node.get_logger().warning = lambda text, **_: told.append(text)
    node.warn_of_unknown()
    assert told == ["unknown parameter 'expect_inf'; did you mean expect_info?"]
