# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""OpenVINO runs in float32, is compared before it is used, and starts from what was kept."""

from __future__ import annotations

import json
from pathlib import Path

import builders
from builders import make_bundle, make_engine, make_graph, SIZE
import numpy as np
import onnx
import pytest

from adet_core.bundle import (
    Bundle,
    ExportedGraph,
    open_bundle,
    read_engine,
    write_arrays,
    write_bundle,
)
from adet_core.errors import BackendError
from adet_core.inference.backend import BackendRequest, open_backend

pytest.importorskip('openvino')
from adet_core.inference import openvino as module
from adet_core.inference.openvino import compile_graph


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bundle:
    monkeypatch.setenv('XDG_STATE_HOME', str(tmp_path / 'state'))
    made = make_bundle(tmp_path / 'PaDiM')
    make_engine(made)
    return made


def request_of(bundle: Bundle) -> BackendRequest:
    return BackendRequest(bundle=bundle, graph=read_engine(bundle), threads=1)


def test_it_is_float32_on_the_threads_that_were_given() -> None:
    compiled = compile_graph(ExportedGraph(make_graph()), 'f32', 1)
    assert compiled.get_property('INFERENCE_PRECISION_HINT').to_string() == 'f32'
    assert compiled.get_property('INFERENCE_NUM_THREADS') == 1
    assert compiled.get_property('NUM_STREAMS') == 1


def test_it_is_compiled_and_compared_once(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    first = open_backend('openvino', request_of(bundle)).backend
    assert first.name.startswith('openvino (CPU, f32, scores within ')
    monkeypatch.setattr(module, 'compile_graph', lambda *_: pytest.fail('compiled again'))
    again = open_backend('openvino', request_of(bundle)).backend
    assert again.name == first.name
    images = np.random.default_rng(1).integers(0, 256, (2, SIZE, SIZE, 3), np.uint8)
    np.testing.assert_array_equal(again.run(images).maps, first.run(images).maps)


def test_statistics_are_swapped_without_compiling(bundle: Bundle) -> None:
    backend = open_backend('openvino', request_of(bundle)).backend
    fork = backend.fork()
    images = np.random.default_rng(1).integers(0, 256, (1, SIZE, SIZE, 3), np.uint8)
    with pytest.raises(BackendError, match='bind them'):
        fork.run(images)
    fork.bind(builders.statistics(5))
    for one, seed in ((backend, 0), (fork, 5), (backend, 0)):
        expected = builders.expected_prediction(images, builders.statistics(seed))
        np.testing.assert_allclose(one.run(images).maps, expected.maps, rtol=1e-6)


def test_one_that_differs_from_the_trained_model_is_not_used(tmp_path: Path) -> None:
    wrong = {**builders.statistics(), 'mean': builders.statistics()['mean'] + 1}
    files = builders.contents(builders.statistics())
    files[builders.STATISTICS_FILE] = lambda file: write_arrays(file, wrong)
    other = write_bundle(tmp_path / 'PaDiM', builders.manifest(), files)
    make_engine(other)
    with pytest.raises(BackendError, match=r'OpenVINO in f32 of .* differs .* backend: onnxr'):
        open_backend('openvino', request_of(other))
    assert not (other.folder / 'engine' / 'openvino.json').exists()


def test_a_damaged_kept_graph_is_made_again(bundle: Bundle) -> None:
    open_backend('openvino', request_of(bundle))
    path = bundle.folder / 'engine' / 'openvino.bin'
    path.write_bytes(path.read_bytes()[:-1])
    open_backend('openvino', request_of(open_bundle(bundle.folder)))
    record = json.loads(path.with_suffix('.json').read_text())
    assert len(record['record']['sha256']) == 64
    assert path.stat().st_size > 100


def test_bfloat16_needs_a_cpu_that_has_it(bundle: Bundle) -> None:
    capabilities = module._core().get_property('CPU', 'OPTIMIZATION_CAPABILITIES')
    if 'BF16' in capabilities:
        assert ', bf16, ' in open_backend('openvino_bf16', request_of(bundle)).backend.name
    else:
        with pytest.raises(BackendError, match='this CPU has no bfloat16'):
            open_backend('openvino_bf16', request_of(bundle))


def test_no_file_is_read_that_the_graph_names(tmp_path: Path) -> None:
    model = onnx.load_from_string(make_graph())
    model.graph.initializer[0].external_data.add(key='location', value=str(tmp_path / 'secret'))
    with pytest.raises(BackendError, match='it keeps data in another file'):
        compile_graph(ExportedGraph(model.SerializeToString()), 'f32', 1)


@pytest.mark.parametrize('graph', [b'', b'not an onnx model', make_graph()[:-100]])
def test_a_graph_that_cannot_be_loaded_is_a_backend_error(graph: bytes) -> None:
    with pytest.raises(BackendError, match=r'^cannot load the graph: ') as caught:
        compile_graph(ExportedGraph(graph), 'f32', 1)
    assert '\n' not in str(caught.value)
