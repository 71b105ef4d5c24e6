# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Convolutions by tiles give what plain ones give, and only where they are quicker."""

from __future__ import annotations

from pathlib import Path
from typing import Any
import warnings

from builders import make_bundle, make_engine, SIZE
import numpy as np
import onnx
from onnx import helper, numpy_helper, TensorProto
import onnxruntime
import pytest

from adet_core.bundle import ExportedGraph, read_engine
from adet_core.errors import BackendError
from adet_core.inference import onnxruntime as ort
from adet_core.inference import winograd
from adet_core.inference.session import open_session
from adet_core.inference.winograd import use_winograd

FLOAT = TensorProto.FLOAT


def _graph(
    kernel: int = 3,
    size: tuple[int, int] = (18, 18),
    channels: tuple[int, int] = (128, 136),
    *,
    bias: bool = True,
    weights_type: type[np.floating[Any]] = np.float32,
    **attributes: Any,
) -> onnx.ModelProto:
    """A convolution between two other nodes."""
    rng = np.random.default_rng(0)
    inputs, outputs = channels
    group = attributes.get('group', 1)
    scale = np.sqrt(inputs * kernel**2)
    weights = rng.normal(size=(outputs, inputs // group, kernel, kernel)) / scale
    constants = [numpy_helper.from_array(weights.astype(weights_type), 'weights')]
    if bias:
        constants.append(numpy_helper.from_array(rng.normal(size=outputs).astype('f'), 'bias'))
    nodes = [
        helper.make_node('Neg', ['x'], ['before']),
        helper.make_node(
            'Conv', ['before', *(one.name for one in constants)], ['c'], **attributes
        ),
        helper.make_node('Relu', ['c'], ['y']),
    ]
    source = helper.make_tensor_value_info('x', FLOAT, ['N', inputs, *size])
    target = helper.make_tensor_value_info('y', FLOAT, ['N', outputs, None, None])
    graph = helper.make_graph(nodes, 'graph', [source], [target], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 18)])
    model.ir_version = 9
    return model


def _run(graph: bytes, values: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(graph, providers=['CPUExecutionProvider'])
    (answer,) = session.run(None, {'x': values})
    return answer


def _kinds(graph: bytes) -> list[str]:
    return [node.op_type for node in onnx.load_from_string(graph).graph.node]


@pytest.mark.parametrize('products', [1, 1 << 20, 16 << 20])
@pytest.mark.parametrize(
    'settings',
    [
        {},
        {'bias': False},
        {'pads': [1, 1, 1, 1]},
        {'pads': [2, 0, 1, 3], 'size': (21, 34)},
        {'size': (40, 16), 'channels': (160, 128), 'pads': [1, 1, 1, 1]},
        {'kernel': 4},
        {'kernel': 4, 'size': (29, 15), 'pads': [0, 3, 2, 1]},
        {'kernel': 4, 'pads': [3, 3, 3, 3], 'bias': False},
    ],
    ids=str,
)
def test_tiles_give_what_the_convolution_gives(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], products: int
) -> None:
    monkeypatch.setattr(winograd, '_PRODUCTS', products)
    model = _graph(**settings)
    plain = model.SerializeToString()
    tiled = use_winograd(plain)
    onnx.checker.check_model(onnx.load_from_string(tiled), full_check=True)
    # One for all rows of tiles, or one for each.
    strips = _kinds(tiled).count('DepthToSpace')
    assert strips > 1 if products == 1 else strips >= 1
    assert 'Conv' in _kinds(tiled)  # of the tiles, with kernels of their own
    assert not any(
        node.op_type == 'Conv' and 'weights' in node.input
        for node in onnx.load_from_string(tiled).graph.node
    )
    shape = [axis.dim_value for axis in model.graph.input[0].type.tensor_type.shape.dim[1:]]
    values = np.random.default_rng(1).normal(size=(3, *shape)).astype(np.float32)

    answer = _run(tiled, values)

    expected = _run(plain, values)
    assert answer.shape == expected.shape
    # One digit of seven is lost.
    np.testing.assert_allclose(answer, expected, rtol=0, atol=1e-4 * expected.std())


@pytest.mark.parametrize(
    'settings',
    [
        {'strides': [2, 2], 'size': (40, 40)},
        {'dilations': [2, 2], 'size': (40, 40)},
        {'group': 2, 'channels': (256, 256)},
        {'auto_pad': 'SAME_UPPER'},
        {'kernel': 1},
        {'kernel': 5},
        {'channels': (64, 128)},
        {'channels': (128, 64)},
        # One row of tiles, most of them beyond the edge.
        {'size': (4, 200)},
        {'size': (10, 10)},
        {'size': ('height', 'width')},
        {'weights_type': np.float16},
    ],
    ids=str,
)
def test_what_would_not_be_quicker_stays_as_it_is(settings: dict[str, Any]) -> None:
    graph = _graph(**settings).SerializeToString()
    assert use_winograd(graph) is graph


def test_weights_that_are_no_constants_stay_as_they_are() -> None:
    model = _graph(bias=False)
    weights = helper.make_tensor_value_info('weights', FLOAT, [136, 128, 3, 3])
    del model.graph.initializer[:]
    model.graph.input.append(weights)
    graph = model.SerializeToString()
    assert use_winograd(graph) is graph


def test_no_file_is_read_that_the_graph_names(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'secret').write_bytes(bytes(136 * 128 * 9 * 4))
    model = _graph(bias=False)
    (weights,) = model.graph.initializer
    weights.ClearField('raw_data')
    weights.data_location = TensorProto.EXTERNAL
    weights.external_data.add(key='location', value='secret')
    graph = model.SerializeToString()
    assert use_winograd(graph) is graph


def test_metadata_stays() -> None:
    model = _graph()
    model.metadata_props.add(key='adet_preparation', value='kept')
    tiled = onnx.load_from_string(use_winograd(model.SerializeToString()))
    assert {one.key: one.value for one in tiled.metadata_props} == {'adet_preparation': 'kept'}


@pytest.mark.parametrize('kernel', [3, 4])
def test_the_transforms_are_those_of_a_convolution(kernel: int) -> None:
    back, forth, there = winograd._transforms(kernel)
    rng = np.random.default_rng(0)
    weights, values = rng.normal(size=kernel), rng.normal(size=6)
    expected = np.correlate(values, weights, mode='valid')
    np.testing.assert_allclose(back @ ((forth @ weights) * (there @ values)), expected, atol=1e-12)


def test_the_cpu_is_given_tiles_and_a_gpu_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    given = []
    monkeypatch.setattr(winograd, 'use_winograd', lambda graph: given.append(graph) or graph)
    with pytest.raises(BackendError, match='it was not exported by adet'):
        ort.OnnxRuntimeBackend(ExportedGraph(_graph().SerializeToString()))
    assert len(given) == 1
    monkeypatch.setattr(ort, 'has_cuda', lambda: True)
    monkeypatch.setattr(ort, 'open_cuda_session', open_session)
    with pytest.raises(BackendError, match='it was not exported by adet'):
        ort.OnnxRuntimeBackend(ExportedGraph(_graph().SerializeToString()))
    assert len(given) == 1


def test_a_gpu_that_cannot_be_used_is_passed_over_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = make_bundle(tmp_path / 'PaDiM')
    make_engine(bundle)
    monkeypatch.setattr(ort, 'has_cuda', lambda: True)
    with warnings.catch_warnings():
        # ONNX Runtime says that it was built without.
        warnings.simplefilter('ignore')
        backend = ort.OnnxRuntimeBackend(read_engine(bundle), threads=1)
    assert backend.name.startswith('onnxruntime (CPU, onnxruntime cannot use the GPU: ')
    backend.bind(bundle.statistics())
    assert np.isfinite(backend.run(np.zeros((1, SIZE, SIZE, 3), np.uint8)).scores).all()


def test_a_damaged_graph_is_refused() -> None:
    graph = _graph().SerializeToString()
    for damaged in (b'no graph', graph[: len(graph) // 2]):
        with pytest.raises(BackendError, match='cannot load the graph'):
            ort.OnnxRuntimeBackend(ExportedGraph(damaged))
