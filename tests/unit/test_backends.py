# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Backends give exactly what the graph says, and refuse what does not fit it."""

from __future__ import annotations

from dataclasses import replace
import gc
from pathlib import Path
import sys
from typing import Any

import builders
from builders import make_graph, SIZE
import numpy as np
import pytest

from adet_core.bundle import Bundle, ExportedGraph, open_bundle, read_engine, TransformRecord
from adet_core.errors import BackendError, ConfigError
from adet_core.inference.backend import Backend, BackendRequest, BACKENDS, open_backend
from adet_core.inference.onnxruntime import OnnxRuntimeBackend
from adet_core.inference.session import first_line
from adet_core.inference.statistics_transform import check_statistics, GraphInputs
from adet_core.prediction import Prediction


def load(graph: bytes, transform: TransformRecord | None = None) -> OnnxRuntimeBackend:
    return OnnxRuntimeBackend(ExportedGraph(graph, transform), threads=1)


@pytest.fixture(params=['onnxruntime', 'openvino'])
def backend(request: pytest.FixtureRequest) -> Backend:
    opened: Backend
    if request.param == 'openvino':
        pytest.importorskip('openvino')
        from adet_core.inference.openvino import compile_graph, OpenVinoBackend

        graph = ExportedGraph(make_graph())
        opened = OpenVinoBackend(GraphInputs(graph), compile_graph(graph, 'f32', 1))
    else:
        opened = load(make_graph())
    opened.bind(builders.statistics())
    return opened


def _images(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, SIZE, SIZE, 3), np.uint8)


def _assert_right(backend: Backend, images: np.ndarray, arrays: dict[str, np.ndarray]) -> None:
    answer = backend.run(images)
    scores, maps = builders.expected_prediction(images, arrays)
    assert answer.scores.shape == (len(images),)
    assert answer.maps.shape == (len(images), SIZE, SIZE)
    assert answer.scores.dtype == answer.maps.dtype == np.float32
    np.testing.assert_allclose(answer.maps, maps, rtol=1e-6)
    np.testing.assert_allclose(answer.scores, scores, rtol=1e-6)


@pytest.mark.parametrize('count', [1, 2, 5])
def test_any_number_of_images_is_answered_at_once(backend: Backend, count: int) -> None:
    _assert_right(backend, _images(count), builders.statistics())


def test_answers_stay_when_the_next_image_is_run(backend: Backend) -> None:
    first = backend.run(_images(1))
    kept = first.maps.copy()
    backend.run(_images(1, seed=1))
    np.testing.assert_array_equal(first.maps, kept)


def test_images_may_be_views(backend: Backend) -> None:
    images = _images(2)
    for view in (images[:, ::-1, :, ::-1], images.swapaxes(1, 2), images[1:]):
        _assert_right(backend, view, builders.statistics())


def test_statistics_are_exchanged_between_two_images(backend: Backend) -> None:
    images = _images(1)
    for seed in (1, 2):
        backend.bind(builders.statistics(seed))
        _assert_right(backend, images, builders.statistics(seed))


def test_statistics_need_not_be_kept_by_the_caller(backend: Backend) -> None:
    backend.bind({name: array.copy() for name, array in builders.statistics(3).items()})
    gc.collect()
    # Memory that was given back would be used again for these.
    others = [np.full((SIZE, SIZE, 3), 7, np.float32) for _ in range(50)]
    others += [np.full(3, 7, np.float32) for _ in range(500)]
    _assert_right(backend, _images(1), builders.statistics(3))
    assert len(others) == 550


def test_statistics_may_be_views(backend: Backend) -> None:
    arrays = builders.statistics(4)
    backend.bind({**arrays, 'mean': np.asfortranarray(arrays['mean'])})
    _assert_right(backend, _images(1), arrays)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'mean': np.zeros((SIZE, SIZE), np.float32)}, r"statistics 'mean' have shape \(64, 64\)"),
        (
            {'mean': np.zeros((SIZE, SIZE, 4), np.float32)},
            r'the graph takes \(64, 64, 3\); export',
        ),
        ({'mean': np.zeros((SIZE, SIZE, 3))}, "statistics 'mean' are float64, the graph takes"),
        ({'memory_bank': np.zeros(1, np.float32)}, r'the bundle has .*memory_bank'),
    ],
)
def test_statistics_that_do_not_fit_leave_the_old_ones(
    backend: Backend, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(BackendError, match=message):
        backend.bind({**builders.statistics(1), **change})
    _assert_right(backend, _images(1), builders.statistics())


def test_running_without_statistics_says_what_is_needed() -> None:
    with pytest.raises(BackendError, match=r"statistics \['inv_covariance', 'mean'\]: bind them"):
        load(make_graph()).run(_images(1))


@pytest.mark.parametrize(
    'images',
    [
        np.zeros((1, SIZE, SIZE, 3), np.float32),
        np.zeros((1, SIZE, SIZE + 1, 3), np.uint8),
        np.zeros((1, 3, SIZE, SIZE), np.uint8),
        np.zeros((SIZE, SIZE, 3), np.uint8),
        np.zeros((1, SIZE, SIZE), np.uint8),
        np.zeros((), np.uint8),
    ],
)
def test_images_that_do_not_fit_are_refused(backend: Backend, images: np.ndarray) -> None:
    with pytest.raises(BackendError, match='the graph takes uint8 images of 64x64x3, got '):
        backend.run(images)


@pytest.mark.parametrize('graph', [b'', b'not an onnx model', make_graph()[:-100]])
def test_a_graph_that_cannot_be_loaded_is_a_backend_error(graph: bytes) -> None:
    with pytest.raises(BackendError, match=r'^cannot load the graph: ') as caught:
        load(graph)
    assert '\n' not in str(caught.value)


def test_a_graph_without_the_outputs_is_a_backend_error() -> None:
    backend = load(make_graph('loss'))
    backend.bind(builders.statistics())
    with pytest.raises(BackendError, match="no output 'score'; export the bundle again"):
        backend.run(_images(1))


def test_a_graph_whose_outputs_have_other_shapes_is_a_backend_error() -> None:
    with pytest.raises(BackendError, match=r"declares 'score' as .*\['N'\], expected .*'N', 1\]"):
        load(make_graph(flat_score=True))


def test_a_graph_without_image_is_a_backend_error() -> None:
    from onnx import helper, TensorProto

    value = helper.make_tensor_value_info('x', TensorProto.FLOAT, [1])
    result = helper.make_tensor_value_info('score', TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node('Abs', ['x'], ['score'])], 'g', [value], [result])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 18)], ir_version=9)
    with pytest.raises(BackendError, match="no input 'image'; it was not exported by adet"):
        load(model.SerializeToString())


# ---- the registry


def request_of(bundle: Bundle) -> BackendRequest:
    return BackendRequest(bundle=bundle, graph=read_engine(bundle), threads=1)


@pytest.fixture
def bundle(bundle_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Bundle:
    # Whatever else is installed; test_choice has the measuring.
    monkeypatch.setattr('adet_core.inference.backend.MEASURED', ('onnxruntime',))
    return open_bundle(bundle_folder)


@pytest.mark.parametrize('name', ['auto', 'onnxruntime'])
def test_an_opened_backend_is_ready(bundle: Bundle, name: str) -> None:
    opened = open_backend(name, request_of(bundle))
    assert opened.backend.name == 'onnxruntime (CPU)'
    assert opened.reason.startswith('not tensorrt: ' if name == 'auto' else '')
    _assert_right(opened.backend, _images(1), bundle.statistics())


def test_an_unknown_backend_is_refused_with_the_known_ones(bundle: Bundle) -> None:
    with pytest.raises(ConfigError, match=r"'cuda'; known: auto, tensorrt, onnxruntime, "):
        open_backend('cuda', request_of(bundle))


def test_a_missing_library_says_how_to_install_it(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(BACKENDS, 'onnxruntime', 'adet_core.inference.backend.absent:Backend')
    with pytest.raises(BackendError, match=r'onnxruntime cannot .*absent.*; install it with: pip'):
        open_backend('onnxruntime', request_of(bundle))


def test_a_backend_that_is_not_installed_says_so(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    from adet_core.inference import openvino

    openvino._library.cache_clear()
    monkeypatch.setitem(sys.modules, 'openvino', None)
    with pytest.raises(BackendError, match=r'OpenVINO is not installed .* pip install openvino$'):
        open_backend('openvino', request_of(bundle))
    monkeypatch.setattr('platform.machine', lambda: 'x86_64')
    with pytest.raises(BackendError, match=r'this CPU is no Arm with bfloat16$'):
        open_backend('onnxruntime_bf16', request_of(bundle))


def test_auto_takes_the_first_backend_that_works(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = {'first': 'adet_core.inference.backend.absent:Backend', **BACKENDS}
    monkeypatch.setattr('adet_core.inference.backend.BACKENDS', broken)
    opened = open_backend('auto', request_of(bundle))
    assert opened.backend.name == 'onnxruntime (CPU)'
    first, _, second = opened.reason.partition('; not tensorrt: ')
    assert first.startswith('not first: first cannot be imported (')
    assert second


def test_auto_passes_over_a_backend_that_does_not_run(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Fails(OnnxRuntimeBackend):
        def run(self, images: np.ndarray) -> Prediction:  # noqa: ARG002
            raise BackendError('out of memory')

    monkeypatch.setattr(
        'adet_core.inference.tensorrt.open_tensorrt', lambda request: Fails(request.graph)
    )
    opened = open_backend('auto', request_of(bundle))
    assert type(opened.backend) is OnnxRuntimeBackend
    assert opened.reason == 'not tensorrt: out of memory'


def test_auto_tells_why_nothing_works(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = {'first': 'adet_core.absent:Backend', 'onnxruntime': BACKENDS['onnxruntime']}
    monkeypatch.setattr('adet_core.inference.backend.BACKENDS', broken)
    request = replace(request_of(bundle), graph=ExportedGraph(b''))
    with pytest.raises(BackendError, match=r'^cannot load the graph.*; not first: first cannot'):
        open_backend('auto', request)


def test_an_error_that_says_nothing_has_a_name() -> None:
    assert first_line(MemoryError()) == 'MemoryError'
    assert first_line(ValueError('one\ntwo')) == 'one'


@pytest.mark.parametrize('shape', [(3,), ('rows',), (None,)])
def test_a_free_dimension_takes_any_length(shape: tuple[Any, ...]) -> None:
    check_statistics({'a': shape}, {'a': np.zeros(3, np.float32)})
    with pytest.raises(BackendError, match=r"'a' have shape \(3, 1\), the graph takes "):
        check_statistics({'a': shape}, {'a': np.zeros((3, 1), np.float32)})
