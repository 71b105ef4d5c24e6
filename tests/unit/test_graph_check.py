# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Graphs of strangers: refused in one line before they can end the process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, TensorProto
import pytest

from adet_core.bundle import ExportedGraph
from adet_core.errors import BackendError
from adet_core.inference import onnxruntime as onnxruntime_backend
from adet_core.inference.backend import Backend
from adet_core.inference.onnxruntime import OnnxRuntimeBackend
from adet_core.inference.time_limit import TimeLimit

SIZE = 32
IMAGE = ('image', TensorProto.UINT8, ['N', SIZE, SIZE, 3])
SCORE = ('score', TensorProto.FLOAT, ['N', 1])
MAP = ('anomaly_map', TensorProto.FLOAT, ['N', 1, SIZE, SIZE])
Declared = tuple[str, int, Any]


def graph(
    nodes: list[onnx.NodeProto],
    inputs: list[Declared],
    outputs: list[Any],
    constants: dict[str, np.ndarray] | None = None,
) -> bytes:
    """A model with these declarations, which may be lies."""

    def declared(values: list[Any]) -> list[Any]:
        make = helper.make_tensor_value_info
        return [make(*value) if isinstance(value, tuple) else value for value in values]

    made = [onnx.numpy_helper.from_array(value, name) for name, value in (constants or {}).items()]
    parts = helper.make_graph(nodes, 'g', declared(inputs), declared(outputs), made)
    domains = [helper.make_opsetid('', 18), helper.make_opsetid('ai.onnx.ml', 3)]
    return bytes(helper.make_model(parts, opset_imports=domains, ir_version=9).SerializeToString())


def image_graph(
    outputs: list[Any], *, constants: dict[str, np.ndarray], inputs: list[Declared] | None = None
) -> bytes:
    """A model that gives constants, whatever the image is."""
    nodes = [helper.make_node('Identity', [f'{name}_value'], [name]) for name in constants]
    values = {f'{name}_value': value for name, value in constants.items()}
    return graph(nodes, inputs or [IMAGE], outputs, values)


def right(**changes: np.ndarray) -> dict[str, np.ndarray]:
    score, maps = np.zeros((1, 1), np.float32), np.zeros((1, 1, SIZE, SIZE), np.float32)
    return {'score': score, 'anomaly_map': maps, **changes}


def run(model: bytes) -> Any:
    backend: Backend = OnnxRuntimeBackend(ExportedGraph(model), threads=1)
    backend.bind({})
    return backend.run(np.zeros((1, SIZE, SIZE, 3), np.uint8))


def test_a_graph_as_it_should_be_is_run() -> None:
    prediction = run(image_graph([SCORE, MAP], constants=right()))
    assert prediction.scores.shape == (1,)
    assert prediction.maps.shape == (1, SIZE, SIZE)


def with_map_output() -> bytes:
    """A score that is a map from texts to numbers."""
    make = helper.make_node
    nodes = [
        make('Identity', ['values'], ['anomaly_map']),
        make('ZipMap', ['row'], ['score'], domain='ai.onnx.ml', classlabels_strings=['a']),
    ]
    kind = helper.make_map_type_proto(
        TensorProto.STRING, helper.make_tensor_type_proto(TensorProto.FLOAT, [])
    )
    score = helper.make_value_info('score', helper.make_sequence_type_proto(kind))
    constants = {'row': np.zeros((1, 1), np.float32), 'values': right()['anomaly_map']}
    return graph(nodes, [IMAGE], [score, MAP], constants)


REFUSED = {
    'texts': image_graph(
        [('score', TensorProto.STRING, ['N', 1]), MAP],
        constants=right(score=np.array([['a']], dtype=object)),
    ),
    'a map of texts': with_map_output(),
    'float64': image_graph(
        [('score', TensorProto.DOUBLE, ['N', 1]), MAP], constants=right(score=np.zeros((1, 1)))
    ),
    'an empty map': image_graph(
        [SCORE, ('anomaly_map', TensorProto.FLOAT, ['N', 1, 0, 0])],
        constants=right(anomaly_map=np.zeros((1, 1, 0, 0), np.float32)),
    ),
    'a map of another size': image_graph(
        [SCORE, ('anomaly_map', TensorProto.FLOAT, ['N', 1, 8, 8])],
        constants=right(anomaly_map=np.zeros((1, 1, 8, 8), np.float32)),
    ),
    'a float image': image_graph(
        [SCORE, MAP],
        constants=right(),
        inputs=[('image', TensorProto.FLOAT, ['N', SIZE, SIZE, 3])],
    ),
    'an image of any size': image_graph(
        [SCORE, MAP], constants=right(), inputs=[('image', TensorProto.UINT8, ['N', 'H', 'W', 3])]
    ),
    'an image without rows': image_graph(
        [SCORE, MAP], constants=right(), inputs=[('image', TensorProto.UINT8, ['N'])]
    ),
    'an image of no size': image_graph(
        [SCORE, MAP], constants=right(), inputs=[('image', TensorProto.UINT8, None)]
    ),
    'statistics in another type': image_graph(
        [SCORE, MAP], constants=right(), inputs=[IMAGE, ('mean', TensorProto.INT64, [3])]
    ),
}


@pytest.mark.parametrize('case', REFUSED)
def test_declarations_that_do_not_fit_are_refused_when_it_is_loaded(case: str) -> None:
    with pytest.raises(BackendError, match=r'the graph declares .*; export the bundle again'):
        OnnxRuntimeBackend(ExportedGraph(REFUSED[case]), threads=1)


def hidden_shapes_graph(score: tuple[int, ...], anomaly_map: tuple[int, ...]) -> bytes:
    """Gives zeros of shapes that only a run of it with a black image shows."""
    make = helper.make_node
    nodes = [make('Cast', ['image'], ['whole'], to=TensorProto.INT64)]
    nodes += [make('ReduceMax', ['whole'], ['zero'], keepdims=0)]
    shapes = {'score': np.array(score, np.int64), 'anomaly_map': np.array(anomaly_map, np.int64)}
    for name in shapes:
        nodes += [make('Add', [f'{name}_shape', 'zero'], [f'{name}_length'])]
        nodes += [make('ConstantOfShape', [f'{name}_length'], [name])]
    outputs = [(name, TensorProto.FLOAT, None) for name in shapes]
    return graph(nodes, [IMAGE], outputs, {f'{name}_shape': one for name, one in shapes.items()})


def test_a_graph_need_not_declare_shapes() -> None:
    assert run(hidden_shapes_graph((1, 1), (1, 1, SIZE, SIZE))).scores.shape == (1,)


@pytest.mark.parametrize(
    ('score', 'anomaly_map'),
    [
        ((1, 1), (1, 1, 0, 0)),
        ((1, 1), (1, 1, SIZE, SIZE - 1)),
        ((1, 1), (3, 1, SIZE, SIZE)),
        ((1, 2), (1, 1, SIZE, SIZE)),
        ((0, 1), (1, 1, SIZE, SIZE)),
    ],
)
def test_shapes_that_are_not_declared_are_checked_when_it_is_run(
    score: tuple[int, ...], anomaly_map: tuple[int, ...]
) -> None:
    model = hidden_shapes_graph(score, anomaly_map)
    with pytest.raises(BackendError, match='inference failed: the graph gave float32'):
        run(model)


def endless_graph() -> bytes:
    """A model whose score comes out of a loop that does not end within a human life."""
    number, truth, value = (
        helper.make_tensor_value_info(name, kind, [])
        for name, kind in (
            ('number', TensorProto.INT64),
            ('goes_on', TensorProto.BOOL),
            ('value', TensorProto.FLOAT),
        )
    )
    body = helper.make_graph(
        [
            helper.make_node('Identity', ['goes_on'], ['still']),
            helper.make_node('Add', ['value', 'one'], ['next']),
        ],
        'body',
        [number, truth, value],
        [
            helper.make_tensor_value_info('still', TensorProto.BOOL, []),
            helper.make_tensor_value_info('next', TensorProto.FLOAT, []),
        ],
        [onnx.numpy_helper.from_array(np.float32(1), 'one')],
    )
    # From the image, so that it is no constant.
    nodes = [
        helper.make_node('Cast', ['image'], ['levels'], to=TensorProto.FLOAT),
        helper.make_node('ReduceMean', ['levels'], ['mean'], keepdims=0),
        helper.make_node('Loop', ['count', 'yes', 'mean'], ['sum'], body=body),
        helper.make_node('Reshape', ['sum', 'shape'], ['score']),
        helper.make_node('Identity', ['map'], ['anomaly_map']),
    ]
    constants = {
        'count': np.array(10**15),
        'yes': np.array(True),
        'shape': np.array([1, 1]),
        'map': right()['anomaly_map'],
    }
    return graph(nodes, [IMAGE], [SCORE, MAP], constants)


def test_a_loop_without_an_end_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime_backend, 'time_limit', TimeLimit(0.1, look=0.05))
    with pytest.raises(
        BackendError, match=r'^inference was ended after 0\.1 s; export the bundle'
    ):
        run(endless_graph())
    # Only the run that takes too long.
    assert run(image_graph([SCORE, MAP], constants=right())).scores.shape == (1,)


def test_data_outside_of_the_graph_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = onnx.load_from_string(image_graph([SCORE, MAP], constants=right()))
    # In the working directory, where ONNX Runtime looks by itself.
    (tmp_path / 'data').write_bytes(bytes(4 * SIZE * SIZE))
    monkeypatch.chdir(tmp_path)
    for one in model.graph.initializer:
        onnx.external_data_helper.set_external_data(one, 'data')
        one.ClearField('raw_data')
    with pytest.raises(BackendError, match=r'^cannot load the graph: '):
        run(model.SerializeToString())
