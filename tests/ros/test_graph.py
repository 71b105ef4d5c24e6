# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The graph's description, and the texts that options are made from."""

from __future__ import annotations

import pytest

pytest.importorskip('rclpy', reason='ROS 2 is not installed')

from adet.graph import inspection_graph, InspectOptions, prepare_output
from adet.parameters import from_texts, options_of
from adet_core.errors import ConfigError
from adet_core.records import Record, RecordWriter, results_path


def options(**texts):
    return from_texts(InspectOptions, {'source': 'pictures', **texts})


def by_name(specs):
    return {spec.executable: spec for spec in specs}


def test_a_folder_is_inspected_picture_by_picture():
    specs = by_name(inspection_graph(options()))
    assert sorted(specs) == ['csv_recorder', 'image_source', 'padim_detector']
    assert specs['padim_detector'].parameters['frames'] == 'every'
    assert specs['image_source'].parameters['wait_for'] == 'padim'


def test_a_camera_drops_what_is_too_fast():
    specs = by_name(inspection_graph(options(source='camera:0')))
    assert specs['padim_detector'].parameters['frames'] == 'latest'


def test_another_nodes_topic_needs_no_source():
    specs = by_name(inspection_graph(options(source='topic:/camera/image_raw')))
    assert sorted(specs) == ['csv_recorder', 'padim_detector']
    assert specs['padim_detector'].remappings == (('image_raw', '/camera/image_raw'),)


def test_a_threshold_is_only_set_when_given():
    assert 'threshold' not in by_name(inspection_graph(options()))['padim_detector'].parameters
    specs = by_name(inspection_graph(options(threshold='12')))
    assert specs['padim_detector'].parameters['threshold'] == 12.0


def test_every_option_is_described():
    for spec in options_of(InspectOptions):
        assert len(spec.metadata['description']) > 10


@pytest.mark.parametrize(
    ('texts', 'message'),
    [
        ({'model': 'magic'}, "unknown model 'magic'; known models: padim"),
        ({'model': 'padim,padim'}, 'each model may be named once'),
        ({'threshold': 'high'}, "threshold is 'high', expected a number"),
        ({'threshold': 'nan'}, "threshold is 'nan', expected a number"),
        ({'source': 'topic:'}, 'name the topic'),
        ({'publish_rate': 'fast'}, "publish_rate is 'fast', expected float"),
        ({'publish_rate': '-1'}, 'publish_rate is -1.0'),
        ({'loop': 'maybe'}, "loop is 'maybe', expected bool"),
        ({'threads': '1.5'}, "threads is '1.5', expected int"),
    ],
)
def test_a_wrong_option_is_one_clear_line(texts, message):
    with pytest.raises(ConfigError, match=message):
        inspection_graph(options(**texts))


def test_the_source_is_required():
    with pytest.raises(ConfigError, match='source is required: picture folder'):
        from_texts(InspectOptions, {})


def record(stamp):
    return Record(stamp_ns=stamp, frame_id='', source='', label='', model='padim', error='x')


@pytest.mark.parametrize(('source', 'kept'), [('pictures', False), ('camera:0', True)])
def test_a_folder_starts_anew_and_a_camera_goes_on(tmp_path, source, kept):
    path = results_path(tmp_path, 'padim')
    writer = RecordWriter(path)
    writer.write(record(1))
    writer.close()
    renamed = prepare_output(options(source=source, output_dir=str(tmp_path)))
    assert path.exists() == kept
    assert len(renamed) == (not kept)
    assert all('1,,,,padim' in target.read_text() for target in renamed)


def test_an_output_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(OSError, match='file/out'):
        prepare_output(options(output_dir=str(tmp_path / 'file' / 'out')))
