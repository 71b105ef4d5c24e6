# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The graph's description, and the texts that options are made from."""

from __future__ import annotations

from dataclasses import fields
import sys

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='ROS 2 is not installed')

from adet import in_process, runner
from adet.graph import cameras, composition, inspection_graph, NodeSpec, prepare_output
from adet.hand_over import HandOver
from adet.in_process import _create
from adet.launch_options import EvaluateOptions, InspectLaunchOptions, InspectOptions
from adet.options import CameraChoices
from adet.parameters import from_texts, options_of
from adet.params_file import check_params_file
from adet.replay import replay_graph
from adet_core.errors import BagError, ConfigError
from adet_core.image import Image
from adet_core.io.camera import CameraSettings
from adet_core.io.sources import Frame, PlainSource
from adet_core.records import Record, RecordWriter, results_path
from adet_evaluation.bags import BagOptions, record_images


def options(**texts):
    return from_texts(InspectOptions, {'source': 'images', **texts})


def by_name(specs):
    return {spec.name: spec for spec in specs}


def test_a_folder_is_inspected_image_by_image():
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
    with pytest.raises(ConfigError, match='source is required: image folder'):
        from_texts(InspectOptions, {})


def record(stamp):
    return Record(stamp_ns=stamp, frame_id='', source='', label='', model='padim', error='x')


@pytest.mark.parametrize(('source', 'kept'), [('images', False), ('camera:0', True)])
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


class Grey(PlainSource):
    """Two images."""

    total = 2

    def __iter__(self):
        for number in range(2):
            yield Frame(Image(np.zeros((4, 4), np.uint8), 'mono8'), f'{number}.png')


@pytest.fixture
def bag(tmp_path):
    record_images(Grey(), tmp_path / 'bag', BagOptions(start_ns=1, topic='line1/image_raw'))
    return tmp_path / 'bag'


def replay(bag, *, installed, **texts):
    options = from_texts(EvaluateOptions, {'bag': str(bag), **texts})
    return replay_graph(options, has_ros2_bag=installed)


def test_a_bag_is_played_by_ros2_where_that_is_installed(bag):
    found = replay(bag, installed=True, rate='2', output_dir='out')
    specs = by_name(found.nodes)
    assert sorted(specs) == ['csv_recorder', 'padim_detector']
    assert specs['padim_detector'].remappings == (('image_raw', '/line1/image_raw'),)
    assert specs['csv_recorder'].remappings == (('image_info', '/line1/image_info'),)
    assert specs['padim_detector'].parameters['frames'] == 'every'
    assert specs['csv_recorder'].parameters['expect_info']
    for spec in specs.values():
        assert spec.parameters['use_sim_time']
    assert found.play[:8] == [
        'ros2',
        'bag',
        'play',
        str(bag),
        '--clock',
        '--rate',
        '2.0',
        '--disable-keyboard-controls',
    ]
    assert found.play[8:] == ['--topics', '/line1/image_raw', '/line1/image_info']
    assert set(found.qos) == {'/line1/image_raw', '/line1/image_info'}
    # What a detector that loses nothing subscribes with.
    assert found.qos['/line1/image_raw']['durability'] == 'transient_local'
    assert '--results=out/result_padim.csv' in found.evaluate
    assert f'--replayed={bag}' in found.evaluate
    assert '--report=out/report' in found.evaluate


def test_a_bag_is_played_by_image_source_elsewhere(bag):
    for found in (replay(bag, installed=False), replay(bag, installed=True, player='adet')):
        specs = by_name(found.nodes)
        assert sorted(specs) == ['csv_recorder', 'image_source', 'padim_detector']
        source = specs['image_source'].parameters
        assert (source['source'], source['replay_rate'], source['clock']) == (str(bag), 1.0, True)
        assert source['wait_for'] == 'padim'
        assert not specs['csv_recorder'].parameters['measure_latency']
        assert found.play == []


@pytest.mark.parametrize(
    ('texts', 'installed', 'message'),
    [
        ({}, False, '`ros2 bag play` is not installed; use player:=adet'),
        ({'rate': '0'}, True, 'rate is 0, and it waits for nobody; use player:=adet'),
    ],
)
def test_what_a_player_cannot_do_is_refused_when_it_is_asked_for(bag, texts, installed, message):
    with pytest.raises(ConfigError, match=message):
        replay(bag, installed=installed, player='ros2', **texts)
    # Left to itself, the other one is taken.
    assert replay(bag, installed=installed, **texts).play == []


def test_compressed_images_are_played_by_ros2_where_their_topic_says_so(tmp_path):
    record_images(Grey(), tmp_path / 'bag', BagOptions(start_ns=1, compression='png'))
    found = replay(tmp_path / 'bag', installed=True)
    assert by_name(found.nodes)['padim_detector'].remappings == (
        ('image_raw', '/image_raw/compressed'),
    )
    assert found.play[-3:-1] == ['--topics', '/image_raw/compressed']


def test_compressed_images_of_another_name_are_played_by_image_source(tmp_path, monkeypatch):
    record_images(Grey(), tmp_path / 'bag', BagOptions(start_ns=1, compression='png'))
    monkeypatch.setattr('adet.replay.SUFFIX', '/jpeg')
    assert replay(tmp_path / 'bag', installed=True).play == []
    with pytest.raises(ConfigError, match='the images are compressed, and their topic does not'):
        replay(tmp_path / 'bag', installed=True, player='ros2')


def test_a_bag_without_those_images_is_refused_before_anything_starts(bag):
    with pytest.raises(BagError, match='no images on topic /x'):
        replay(bag, installed=True, bag_topic='x')


def test_the_stamps_of_a_recording_say_nothing_of_latency(bag):
    def measures(**texts):
        specs = by_name(inspection_graph(options(**texts)))
        return specs['csv_recorder'].parameters['measure_latency']

    assert measures()
    assert measures(source='topic:/image')
    assert not measures(source=str(bag))
    # Its clock stands still between two images.
    assert not measures(source=str(bag), clock='true')
    assert not measures(source='topic:/image', clock='true')
    assert measures(source=str(bag), measure_latency='true')


def test_what_is_chosen_of_itself_can_be_chosen(tmp_path):
    def parameters(**texts):
        specs = by_name(inspection_graph(options(source=str(tmp_path), **texts)))
        detector, recorder, source = (
            specs[name].parameters for name in ('padim_detector', 'csv_recorder', 'image_source')
        )
        return detector['frames'], source['wait_for'], recorder['expect_info'], detector['bundle']

    assert parameters() == ('every', 'padim', True, '')
    # Or the source would wait for ever for an image that was left out.
    assert parameters(frames='on_demand')[:2] == ('on_demand', '')
    assert parameters(frames='latest') == ('latest', '', True, '')
    assert parameters(frames='latest', wait_for='vae')[:2] == ('latest', 'vae')
    assert parameters(wait_for='', expect_info='false') == ('every', '', False, '')
    assert parameters(bundle='/my,bundle')[3] == '/my,bundle'
    specs = by_name(inspection_graph(options(model='padim,own', bundle='/a, /b')))
    found = [specs[f'{name}_detector'].parameters['bundle'] for name in ('padim', 'own')]
    assert found == ['/a', '/b']
    with pytest.raises(ConfigError, match='bundle has 1 folders, but model has 2 models'):
        inspection_graph(options(model='padim,vae', bundle='/a'))


FILE = """
/**:
  ros__parameters:
    anything: 1
/line1/padim_detector:
  ros__parameters:
    threshold: 12.5
    use_sim_time: true
    qos_overrides./image_raw.subscription.depth: 3
line1:
  csv_recorder:
    ros__parameters:
      output_dir: there
/**/csv_recorder:
  ros__parameters:
    models: vae
a_robots_own:
  ros__parameters:
    thresold: 1
"""


@pytest.mark.parametrize(
    ('old', 'new', 'message'),
    [
        ('', '', ''),
        ('threshold', 'thresold', "unknown parameter of padim_detector in .*'thresold'; did you "),
        ('output_dir', 'outputdir', "of csv_recorder in .*'outputdir'; did you mean output_dir?"),
        ('anything: 1', '1: [', 'params_file .*mine.yaml: while parsing'),
    ],
)
def test_a_parameter_that_a_node_does_not_have_is_told_with_the_closest(
    tmp_path, old, new, message
):
    file = tmp_path / 'mine.yaml'
    file.write_text(FILE.replace(old, new, 1))
    if message:
        with pytest.raises(ConfigError, match=message):
            check_params_file(str(file))
    else:
        assert check_params_file(str(file)) == str(file)


def test_in_one_process_too_a_file_goes_before_the_options(tmp_path, namespace):
    file = tmp_path / 'mine.yaml'
    file.write_text(FILE.replace('there', str(tmp_path)))
    given = {
        'models': 'padim',
        'output_dir': str(tmp_path / "it's \u00e9\U0001f600"),
        'expect_info': False,
    }
    nodes = []
    for place, path in ((namespace, ''), ('line1', str(file))):
        spec = NodeSpec('csv_recorder', 'csv_recorder', given)
        nodes.append(_create(spec, place, path, HandOver()))
    values = [
        [node.get_parameter(name).value for name in ('models', 'output_dir', 'expect_info')]
        for node in nodes
    ]
    for node in nodes:
        node.stop()
        node.destroy_node()
    assert values == [list(given.values()), ['vae', str(tmp_path), False]]


def test_what_can_be_asked_of_a_camera_is_the_same_in_both_places():
    options = {(spec.name, spec.type, spec.default) for spec in options_of(CameraChoices)}
    settings = fields(CameraSettings)
    assert options == {(f'camera_{one.name}', one.type, one.default) for one in settings}


def test_all_options_reach_the_process_of_a_composed_launch():
    given = {
        'source': 'a, b:=c',
        'float_range': '-1.5,2.5',
        'loop': 'true',
        'threshold': '12.5',
        'namespace': '/line1',
    }
    launched = from_texts(InspectLaunchOptions, {**given, 'compose': 'true'})
    assert from_texts(InspectOptions, composition(launched)) == options(**given)


@pytest.mark.parametrize(('name', 'value'), [('respawn', 'true'), ('autostart', 'false')])
def test_a_composed_launch_has_no_process_for_each_node(name, value):
    launched = from_texts(InspectLaunchOptions, {'source': 'images', name: value})
    with pytest.raises(ConfigError, match=f'{name}:={value} needs a process for each node'):
        composition(launched)


def test_the_process_of_a_composed_launch_takes_its_arguments(monkeypatch):
    words = {'source': 'images', 'models_root': 'robot'}
    given = [f'--{name}={value}' for name, value in words.items()]
    done = []
    monkeypatch.setattr(in_process, 'inspect', done.append)
    # The words of ROS 2 are for others.
    monkeypatch.setattr(sys, 'argv', ['inspection', *given, '--ros-args', '-r', 'a:=b'])
    monkeypatch.setattr(runner, 'end', lambda: None)
    assert in_process.main() == 0
    assert done == [options(**words)]


def test_an_unknown_argument_of_a_composed_launch_is_one_line(monkeypatch, capsys):
    monkeypatch.setattr(sys, 'argv', ['inspection', '--sorce=images'])
    monkeypatch.setattr(runner, 'end', lambda: None)
    assert in_process.main() == 1
    assert "error: unknown option 'sorce'; did you mean source?" in capsys.readouterr().err


def test_several_cameras_have_a_graph_each():
    first, second = cameras(
        options(namespace='left, /right', source='camera:0,topic:/b/image_raw', output_dir='out')
    )
    assert (first.namespace, first.source, first.output_dir) == ('left', 'camera:0', 'out/left')
    assert (second.namespace, second.source) == ('/right', 'topic:/b/image_raw')
    assert second.output_dir == 'out/right'
    assert cameras(options(source='a,b')) == [options(source='a,b')]


@pytest.mark.parametrize(
    ('namespace', 'source', 'message'),
    [
        ('left,right', 'camera:0', 'one source, separated by commas'),
        ('left,left', 'camera:0,camera:1', 'a namespace of its own'),
        ('left,right', 'camera:0,images', "source 'images' is no camera or topic"),
    ],
)
def test_cameras_that_do_not_fit_together_are_one_clear_line(namespace, source, message):
    with pytest.raises(ConfigError, match=message):
        cameras(options(namespace=namespace, source=source))


def test_several_cameras_need_one_process():
    with pytest.raises(ConfigError, match="'a,b': several need one process"):
        inspection_graph(options(namespace='a,b', source='camera:0,camera:1'))
