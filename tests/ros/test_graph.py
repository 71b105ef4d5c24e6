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
    return {spec.name: spec for spec in specs}


def test_a_folder_is_inspected_picture_by_picture():
    specs = by_name(inspection_graph(options()))
    assert sorted(specs) == ['csv_recorder', 'image_source', 'padim_detector']
    assert {name: spec.executable for name, spec in specs.items()} == {
        'csv_recorder': 'csv_recorder',
        'image_source': 'image_source',
        'padim_detector': 'detector',
    }
    assert specs['padim_detector'].parameters['model'] == 'padim'
    assert specs['padim_detector'].parameters['frames'] == 'every'
    assert specs['image_source'].parameters['wait_for'] == 'padim'


def test_a_camera_drops_what_is_too_fast():
    specs = by_name(inspection_graph(options(source='camera:0')))
    assert specs['padim_detector'].parameters['frames'] == 'latest'


def test_another_nodes_topic_needs_no_source():
    specs = by_name(inspection_graph(options(source='topic:/camera/image_raw')))
    assert sorted(specs) == ['csv_recorder', 'padim_detector']
    assert specs['padim_detector'].remappings == (('image_raw', '/camera/image_raw'),)


def test_models_side_by_side_have_a_detector_each_and_share_the_rest():
    specs = by_name(inspection_graph(options(model='padim, patchcore,vae')))
    models = ('padim', 'patchcore', 'vae')
    detectors = {f'{model}_detector' for model in models}
    assert set(specs) == {'csv_recorder', 'image_source', *detectors}
    assert [specs[f'{model}_detector'].parameters['model'] for model in models] == [*models]
    assert {specs[name].executable for name in detectors} == {'detector'}
    assert specs['csv_recorder'].parameters['models'] == 'padim,patchcore,vae'
    assert specs['image_source'].parameters['wait_for'] == 'padim,patchcore,vae'


def test_a_model_of_ones_own_needs_to_be_deployed(tmp_path):
    asked = {'model': 'reverse_distillation', 'models_root': str(tmp_path)}
    with pytest.raises(ConfigError, match=f'there is no {tmp_path}/reverse_distillation'):
        inspection_graph(options(**asked))
    (tmp_path / 'reverse_distillation').mkdir()
    specs = by_name(inspection_graph(options(**asked)))
    spec = specs['reverse_distillation_detector']
    assert (spec.executable, spec.parameters['model']) == ('detector', 'reverse_distillation')
    assert specs['csv_recorder'].parameters['models'] == 'reverse_distillation'


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
        (
            {'model': 'magic'},
            "unknown model 'magic'; known models: .*padim.*; there is no models/m",
        ),
        ({'model': 'PaDiM'}, "unknown model 'PaDiM'; known models: .*padim"),
        ({'model': '../padim'}, "unknown model '../padim'; known models: .*padim"),
        ({'model': 'padim,'}, "unknown model ''; known models: .*padim"),
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
