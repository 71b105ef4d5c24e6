# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Every model's graph in every precision: what is lowered, how it agrees, engines of it."""

from __future__ import annotations

from dataclasses import replace
import functools
import hashlib
import json
import shutil
import signal
import threading
from types import SimpleNamespace

import numpy as np
import onnx
from onnx import helper, TensorProto
import onnxruntime
import pytest

from adet_core.bundle import BuildOptions, open_bundle, read_engine, read_record
from adet_core.errors import BackendError, ConfigError
from adet_core.inference.detector import Detector
from adet_core.inference.onnxruntime import OnnxRuntimeBackend
from adet_core.inference.parity import BANDS
from adet_core.inference.statistics_transform import GraphInputs
from adet_core.inference.tensorrt import build_for, build_plan, find_library, TensorRtLibrary
from adet_core.inference.tensorrt.build import _choose_types, _network_flags
from adet_core.inference.tensorrt.downgrade_opset import downgrade_opset
from adet_core.inference.tensorrt.engine_cache import load_plan
from adet_training.export import check_parity
from adet_training.precision import cast_graph

pytestmark = pytest.mark.training

MODELS = ('padim', 'patchcore', 'efficientad', 'vae')
# The depthwise convolutions of the default backbone do not bear int8.
INT8_BACKBONES = {'padim': 'resnet18', 'patchcore': 'resnet18', 'efficientad': 'pdn_small'}
OPTIONS = BuildOptions(workspace_mib=256)


@pytest.fixture(scope='module')
def library():
    try:
        return find_library()
    except BackendError as error:
        pytest.skip(str(error))


@pytest.fixture
def robot(trained, tmp_path):
    """A model's bundle, to be written to."""

    def copy(model):
        return open_bundle(shutil.copytree(trained(model).robot.folder, tmp_path / model))

    return copy


@pytest.fixture(scope='module')
def engine(library, trained, once):
    """A model's bundle with an engine in fp32, and the stages of the build, made once."""

    def get(model):
        def make(folder):
            shutil.copytree(trained(model).robot.folder, folder / model)
            bundle, stages = open_bundle(folder / model), []
            graph = read_engine(bundle)
            plan, _, path = build_for(
                bundle, graph, library, None, progress=lambda *told: stages.append(told)
            )
            assert path == bundle.folder / 'engine' / 'model.plan'
            assert path.read_bytes() == plan
            # Here, as it was sealed with this process's key.
            assert load_plan(bundle, {'library': library.name, 'gpu': ''})[0] == plan
            (folder / 'stages.json').write_text(json.dumps(stages))

        folder = once(f'engine_{model}', make)
        return open_bundle(folder / model), json.loads((folder / 'stages.json').read_text())

    return get


@pytest.fixture(scope='module')
def cast(trained):
    """A model's graph in a lower precision, and its bundle."""

    @functools.cache
    def get(model, precision):
        backbone = INT8_BACKBONES.get(model, '') if precision == 'int8' else ''
        bundle = trained(model, backbone).robot
        graph = read_engine(bundle)
        images = list(bundle.golden().images)
        inputs = GraphInputs(graph)(bundle.statistics())
        onnx = cast_graph(graph.onnx, precision, images, inputs)
        return replace(graph, onnx=onnx), bundle

    return get


@pytest.mark.parametrize('model', MODELS)
def test_every_model_becomes_an_engine(engine, model):
    bundle, stages = engine(model)
    graph, record = read_engine(bundle), read_record(bundle).plan
    assert record.graph_sha256 == hashlib.sha256(graph.onnx).hexdigest()
    assert record.parity is None
    # A bank may grow to twice its length without another engine.
    length = len(bundle.statistics().get('memory_bank', ()))
    axes = ['bank:0', 'search:1'] if model == 'patchcore' else []
    assert sorted(record.lengths) == axes
    for axis in axes:
        least, most = record.lengths[axis]
        assert least <= length <= 2 * length <= most
    assert {stage for stage, _, _ in stages} == {'building the engine'}
    assert any(done == total for _, done, total in stages)


def inputs_of(graph):
    """Of each node: its kind, its own and those of its inputs that are in floating point."""
    model = onnx.shape_inference.infer_shapes(onnx.load_from_string(graph))
    parts = model.graph
    kinds = {one.name: one.data_type for one in parts.initializer}
    for one in [*parts.value_info, *parts.input, *parts.output]:
        kinds[one.name] = one.type.tensor_type.elem_type
    known = (TensorProto.FLOAT, TensorProto.FLOAT16)
    return [
        (node.op_type, [kinds[name] for name in node.input if kinds.get(name) in known])
        for node in parts.node
    ]


@pytest.mark.parametrize('model', MODELS)
def test_only_the_networks_are_in_float16(cast, model):
    graph, bundle = cast(model, 'fp16')
    nodes = inputs_of(graph.onnx)
    convolutions = [kinds for kind, kinds in nodes if kind in {'Conv', 'ConvTranspose'}]
    assert convolutions
    assert {kind for kinds in convolutions for kind in kinds} == {TensorProto.FLOAT16}
    summed = [kinds for kind, kinds in nodes if kind in {'MatMul', 'Gemm', 'Sqrt', 'ReduceMax'}]
    assert summed
    assert {kind for kinds in summed for kind in kinds} == {TensorProto.FLOAT}
    # Into each network and out of it, and nowhere between.
    casts = sum(kind == 'Cast' for kind, _ in nodes)
    assert casts <= 8
    assert check_parity(graph, bundle, 'fp16').flips == 0


@pytest.mark.parametrize('model', MODELS)
def test_all_convolutions_but_the_first_are_in_int8(cast, model):
    graph, bundle = cast(model, 'int8')
    nodes = onnx.load_from_string(graph.onnx).graph.node
    makers = {name: node for node in nodes for name in node.output}
    convolutions = [node for node in nodes if node.op_type == 'Conv']
    quantised = [
        all(
            makers.get(name) and makers[name].op_type == 'DequantizeLinear'
            for name in one.input[:2]
        )
        for one in convolutions
    ]
    # An EfficientAD is three networks.
    assert quantised.count(False) == (3 if model == 'efficientad' else 1)
    assert any(quantised)
    if model == 'efficientad':
        # After two steps its scores lie so close together that on some processors a verdict
        # changes; what int8 leaves of the maps is the same on all.
        backend, golden = OnnxRuntimeBackend(graph, threads=1), bundle.golden()
        for image, expected in zip(golden.images, golden.prediction.maps, strict=True):
            found = backend.run(image[None]).maps[0]
            assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.99
    else:
        assert check_parity(graph, bundle, 'int8').flips == 0


@pytest.mark.parametrize('precision', ['fp16', 'int8'])
@pytest.mark.parametrize('model', MODELS)
def test_every_model_becomes_an_engine_in_lower_precision(library, cast, engine, model, precision):
    graph, bundle = cast(model, precision)
    inputs = GraphInputs(read_engine(bundle))(bundle.statistics())
    shapes = {name: array.shape for name, array in inputs.items()}
    plan, _ = build_plan(library, graph.onnx, shapes, precision, OPTIONS)
    if precision == 'fp16':
        assert len(plan) < (engine(model)[0].folder / 'engine' / 'model.plan').stat().st_size


@pytest.mark.parametrize('precision', ['fp32', 'fp16', 'int8'])
@pytest.mark.parametrize('model', MODELS)
def test_an_older_tensorrt_is_given_the_same_graph_as_it_reads_it(library, cast, model, precision):
    graph, bundle = cast(model, precision)
    older = downgrade_opset(graph.onnx)
    assert {
        one.version for one in onnx.load_from_string(older).opset_import if not one.domain
    } == {17}
    inputs = {'image': bundle.golden().images[:1], **GraphInputs(graph)(bundle.statistics())}
    before, after = (
        onnxruntime.InferenceSession(one).run(None, inputs) for one in (graph.onnx, older)
    )
    for one, other in zip(before, after, strict=True):
        # Where ONNX Runtime rounds to float16 differs between the sets.
        tolerance = BANDS['fp16'] * bundle.manifest.score_range.span if precision == 'fp16' else 0
        np.testing.assert_allclose(one, other, rtol=0, atol=tolerance)
    if precision == 'fp32':
        shapes = {name: array.shape for name, array in inputs.items()}
        build_plan(library, older, shapes, precision, OPTIONS)


def test_only_an_older_tensorrt_is_given_another_graph():
    reads = {
        version: TensorRtLibrary(name, version, None).reads_opset_18
        for name, version in [
            ('tensorrt', '8.6.2'),
            ('tensorrt', '10.3.0'),
            ('tensorrt', '11.0.0.1'),
            ('tensorrt_rtx', '1.7.1'),
        ]
    }
    assert [version for version, newer in reads.items() if not newer] == ['8.6.2']


def test_what_an_older_tensorrt_cannot_be_told_is_named():
    model = graph_with(raw_data=np.ones(1, np.float32).tobytes())
    model.graph.node[0].op_type = 'BitwiseNot'
    with pytest.raises(BackendError, match='operator set 17: there is no BitwiseNot'):
        downgrade_opset(model.SerializeToString())
    model.graph.node[0].op_type = 'Cast'
    model.graph.node[1].input.append('weight')
    with pytest.raises(BackendError, match='operator set 17: Node'):
        downgrade_opset(model.SerializeToString())


def test_without_a_gpu_tensorrt_is_not_even_loaded(robot, monkeypatch):
    def no_gpu():
        raise BackendError('no GPU can be used')

    monkeypatch.setattr('adet_core.inference.tensorrt.backend.is_installed', lambda: True)
    monkeypatch.setattr('adet_core.inference.tensorrt.backend.find_gpu', no_gpu)
    monkeypatch.setattr(
        'adet_core.inference.tensorrt.backend.find_library', lambda: pytest.fail('loaded')
    )
    detector = Detector.load(robot('vae').folder, threads=1)
    assert detector.backend_reason == 'not tensorrt: no GPU can be used'


def test_a_build_that_is_interrupted_leaves_nothing(library, robot):
    bundle = robot('padim')
    before = sorted(path.name for path in (bundle.folder / 'engine').iterdir())
    heard = threading.Event()

    def interrupt(*_):
        heard.set()
        raise KeyboardInterrupt

    def press(*told):
        if told[1] == 1:
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
            # In the midst of the build: it cannot go on before.
            assert heard.wait(60)

    handler = signal.signal(signal.SIGINT, interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):
            build_for(bundle, read_engine(bundle), library, None, progress=press)
    finally:
        signal.signal(signal.SIGINT, handler)
    assert sorted(path.name for path in (bundle.folder / 'engine').iterdir()) == before


def test_what_is_raised_while_progress_is_told_ends_the_build(library, robot):
    def refuse(*told):
        if told[1]:
            raise BackendError('the node is stopping')

    bundle = robot('vae')
    with pytest.raises(BackendError, match='the node is stopping'):
        build_for(bundle, read_engine(bundle), library, None, progress=refuse)
    assert not (bundle.folder / 'engine' / 'model.plan').exists()


def graph_with(**tensor):
    """A graph whose weight is described so."""
    weight = TensorProto(name='weight', data_type=TensorProto.FLOAT, dims=[1], **tensor)
    image = helper.make_tensor_value_info('image', TensorProto.UINT8, ['N', 8, 8, 3])
    score = helper.make_tensor_value_info('score', TensorProto.FLOAT, ['N', 8, 8, 3])
    nodes = [
        helper.make_node('Cast', ['image'], ['float'], to=TensorProto.FLOAT),
        helper.make_node('Mul', ['float', 'weight'], ['score']),
    ]
    graph = helper.make_graph(nodes, 'graph', [image], [score], [weight])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid('', 18)], ir_version=9)


def test_a_graph_with_data_outside_of_itself_is_refused(library, tmp_path, monkeypatch):
    secret = tmp_path / 'secret'
    secret.write_bytes(np.ones(1, np.float32).tobytes())
    monkeypatch.chdir(tmp_path)
    for location in ('secret', '../secret', str(secret)):
        model = graph_with(data_location=TensorProto.EXTERNAL)
        entry = model.graph.initializer[0].external_data.add()
        entry.key, entry.value = 'location', location
        with pytest.raises(BackendError, match='cannot read the graph'):
            build_plan(library, model.SerializeToString(), {}, 'fp32', OPTIONS)


def test_what_is_no_graph_is_refused(library):
    with pytest.raises(BackendError, match='cannot read the graph'):
        build_plan(library, b'no graph', {}, 'fp32', OPTIONS)


def test_a_statistic_that_the_bundle_lacks_is_named(library, robot):
    graph = read_engine(robot('patchcore')).onnx
    with pytest.raises(BackendError, match="takes the statistics 'centre'"):
        build_plan(library, graph, {}, 'fp32', OPTIONS)


@pytest.mark.parametrize(
    ('precision', 'message'),
    [('fp16', 'there is no DLA core 7'), ('int8', 'a DLA core takes fp16, the graph is int8')],
)
def test_an_accelerator_that_cannot_be_used_is_refused(library, precision, message):
    graph = graph_with(raw_data=np.ones(1, np.float32).tobytes()).SerializeToString()
    with pytest.raises(BackendError, match=message):
        build_plan(library, graph, {}, precision, BuildOptions(dla_core=7))


@pytest.mark.parametrize('dla_core', [-1, 0])
@pytest.mark.parametrize(('version', 'typed'), [('8.6', False), ('10.3', True), ('11', True)])
def test_what_sets_the_types_of_layers(version, typed, dla_core):
    """There is neither of these versions here: only what they are told can be looked at."""
    flags = [] if version == '11' else ['FP16', 'INT8', 'OBEY_PRECISION_CONSTRAINTS']
    api = SimpleNamespace(
        BuilderFlag=SimpleNamespace(TF32='TF32', **{flag: flag for flag in flags}),
        NetworkDefinitionCreationFlag=SimpleNamespace(
            EXPLICIT_BATCH=0, **({'STRONGLY_TYPED': 1} if typed else {})
        ),
        float32='float32',
    )
    library = TensorRtLibrary('tensorrt', version, api)
    layers = [layer(kind) for kind in ('float32', 'float16', 'int32')]
    network = SimpleNamespace(num_layers=len(layers), get_layer=layers.__getitem__)
    given = []
    config = SimpleNamespace(clear_flag=lambda _: None, set_flag=given.append)
    options = BuildOptions(dla_core=dla_core)
    by_flags = version == '8.6' or (version == '10.3' and dla_core >= 0)
    assert _network_flags(library, options) == (1 if by_flags else 2)
    _choose_types(library, network, config, 'fp16', options)
    assert given == (['FP16', 'OBEY_PRECISION_CONSTRAINTS'] if by_flags else [])
    pinned = [one.precision for one in layers]
    assert pinned == (['float32', None, None] if by_flags else [None] * 3)


def layer(kind):
    """A layer with one output of some type."""
    output = SimpleNamespace(dtype=kind)
    return SimpleNamespace(num_outputs=1, get_output=lambda _: output, precision=None)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'workspace_mib': 0}, 'workspace_mib is 0, must be 1 or more'),
        ({'max_batch': 0}, 'max_batch is 0, must be 1 or more'),
        ({'dla_core': -2}, 'dla_core is -2, must be -1 or more'),
    ],
)
def test_options_that_make_no_sense_are_named(library, options, message):
    with pytest.raises(ConfigError, match=message):
        build_plan(library, b'', {}, 'fp32', BuildOptions(**options))
