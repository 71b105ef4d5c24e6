# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The transform of a graph: from ``model.json``, or from the metadata of an older export."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import builders
from builders import make_graph, SIZE
import numpy as np
import onnx
from onnx import helper, TensorProto
import pytest
from transformed import gaussians, graph_with, level_bundle, level_graph, LEVELS

from adet_core.bundle import ExportedGraph, open_bundle, read_engine, TransformRecord
from adet_core.errors import BackendError, BundleError
from adet_core.inference.detector import Detector
from adet_core.inference.old_transforms import GRAPH_KEY, LEVELS_KEY
from adet_core.inference.onnx_graph import OnnxGraph
from adet_core.inference.onnxruntime import OnnxRuntimeBackend
from adet_core.inference.statistics_transform import GraphInputs
from adet_core.models.gaussian_levels import GaussianLevels
from adet_core.models.memory_bank import BankSearch
from adet_core.models.transforms import TRANSFORMS


def score(backend: OnnxRuntimeBackend, statistics: dict[str, np.ndarray]) -> float:
    backend.bind(statistics)
    return float(backend.run(np.zeros((1, SIZE, SIZE, 3), np.uint8)).scores[0])


def expected_score(statistics: dict[str, np.ndarray]) -> Any:
    total = sum(float(array.sum(dtype=np.float64)) for array in LEVELS(statistics).values())
    return pytest.approx(total, rel=1e-4)


# ---- named in model.json


def test_the_names_on_disk_stay() -> None:
    assert {'gaussian_levels': GaussianLevels, 'bank_search': BankSearch} == TRANSFORMS


def test_a_transform_is_found_by_its_name() -> None:
    record = TransformRecord(name='gaussian_levels', parameters=LEVELS.parameters)
    backend = OnnxRuntimeBackend(ExportedGraph(level_graph(), record), threads=1)
    for seed in (0, 1):
        assert score(backend, gaussians(seed)) == expected_score(gaussians(seed))
    with pytest.raises(BackendError, match=r"'mean' have shape \(5, 8\), the graph takes \(5, 1"):
        backend.bind({**gaussians(), 'mean': np.zeros((5, 8), np.float32)})
    wrong = gaussians()
    wrong['inv_covariance'][3] *= -1
    with pytest.raises(BackendError, match=r'cannot transform the statistics: .*; deploy the b'):
        backend.bind(wrong)


def test_a_detector_takes_the_transform_of_the_record(tmp_path: Path) -> None:
    bundle = level_bundle(tmp_path)
    record = TransformRecord(name='gaussian_levels', parameters=LEVELS.parameters)
    builders.make_engine(bundle, level_graph(), statistics_transform=record)
    assert read_engine(open_bundle(tmp_path)).transform == record
    detector = Detector.load(tmp_path, threads=1)
    found = detector.run([np.zeros((SIZE, SIZE, 3), np.uint8)])
    assert found.scores[0] == expected_score(gaussians())


@pytest.mark.parametrize('channels', [None, 3])
def test_a_bank_is_searched_with_the_constant_of_the_graph(channels: int | None) -> None:
    rng = np.random.default_rng(0)
    bank = rng.normal(3, size=(20, 6)).astype(np.float32)
    basis = None if channels is None else rng.normal(size=(6, channels)).astype(np.float32)
    constants = {} if basis is None else {'other': basis + 1, 'directions': basis}
    shapes: dict[str, list[Any]] = {
        'centre': [1, 6],
        'bank': ['K', 6],
        'search': [(channels or 6) + 1, 'K'],
    }
    graph = graph_with(shapes, constants=constants)
    names = {} if basis is None else {'basis': OnnxGraph(graph).find_constant(basis)}
    assert names in ({}, {'basis': 'directions'})
    record = TransformRecord(name='bank_search', parameters={'channels': 6}, constants=names)
    inputs = GraphInputs(ExportedGraph(graph, record))
    made = inputs({'memory_bank': bank})
    centred = bank - bank.mean(axis=0)
    np.testing.assert_allclose(made['bank'], centred, atol=1e-5)
    seen = centred if basis is None else centred @ basis
    np.testing.assert_allclose(made['search'][:-1], seen.T, atol=1e-5)
    np.testing.assert_allclose(made['search'][-1], -0.5 * (centred**2).sum(axis=1), rtol=1e-5)
    assert all(array.flags.c_contiguous for array in made.values())
    assert {array.dtype for array in made.values()} == {np.dtype(np.float32)}
    # The nearest feature of the bank has the largest product.
    if basis is None:
        patch = centred[7] + np.float32(0.01)
        assert (np.append(patch, 1) @ made['search']).argmax() == 7
    with pytest.raises(BackendError, match=r"'memory_bank' have shape \(20, 5\), the graph takes"):
        inputs({'memory_bank': bank[:, :5]})


def bank_search(constants: dict[str, str] | None = None, **parameters: Any) -> dict[str, Any]:
    return {'name': 'bank_search', 'parameters': parameters, 'constants': constants or {}}


@pytest.mark.parametrize(
    ('record', 'message'),
    [
        (
            {'name': 'fourier'},
            "'fourier' is unknown, known: gaussian_levels, bank_search; upg",
        ),
        ({'name': 'gaussian_levels'}, "'gaussian_levels': parameters are {}, expected size and"),
        (bank_search(), 'it takes the parameter channels and the constant basis'),
        (bank_search(channels=0), 'channels is 0, expected 1 or more'),
        (bank_search(channels='6'), "channels is '6', expected 1 or more"),
        (bank_search(channels=6, more=1), 'it takes the parameter channels'),
        (bank_search({'a': 'zero'}, channels=6), 'it takes the parameter channels'),
        (bank_search({'basis': 'zero'}, channels=6), r'has shape \(\), expected \(6, k\)'),
        (bank_search({'basis': 'axes'}, channels=6), "no float32 constant 'axes'"),
        (bank_search({'basis': 'x'}, channels=6), "no float32 constant 'x'; export the bundle"),
    ],
)
def test_a_record_that_cannot_be_used_is_refused(record: dict[str, Any], message: str) -> None:
    with pytest.raises(BackendError, match=message):
        GraphInputs(ExportedGraph(level_graph(), TransformRecord(**record)))


def test_a_constant_in_another_file_is_not_read(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'secret').write_bytes(np.ones(4, np.float32).tobytes())
    model = onnx.load_from_string(level_graph())
    tensor = model.graph.initializer.add(name='basis', data_type=TensorProto.FLOAT, dims=[2, 2])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key='location', value='secret')
    record = TransformRecord(name='bank_search', constants={'basis': 'basis'})
    with pytest.raises(BackendError, match="no float32 constant 'basis'"):
        GraphInputs(ExportedGraph(model.SerializeToString(), record))


@pytest.mark.parametrize(
    ('value', 'message'),
    [
        ({}, r"field 'statistics_transform\.name' is missing"),
        ({'name': 1}, r"field 'statistics_transform\.name' is 1, expected str"),
        ({'name': 'a', 'constants': {'b': 1}}, r"'statistics_transform\.constants\.b' is 1, exp"),
    ],
)
def test_a_damaged_record_is_named(bundle_folder: Path, value: Any, message: str) -> None:
    path = bundle_folder / 'engine' / 'model.json'
    record = {**json.loads(path.read_text()), 'statistics_transform': value}
    path.write_text(json.dumps(record))
    with pytest.raises(BundleError, match=message):
        read_engine(open_bundle(bundle_folder))


# ---- in the metadata of an older export


def old_graph(half: str = 'half') -> str:
    """As PatchCore was exported: a graph from statistics to inputs, in base64."""

    def values(*names: str) -> list[Any]:
        shapes = {half: [SIZE, SIZE, 3], 'mean': [SIZE, SIZE, 3]}
        made = helper.make_tensor_value_info
        return [made(name, TensorProto.FLOAT, shapes.get(name, [3])) for name in names]

    nodes = [
        helper.make_node('Add', [half, half], ['mean']),
        helper.make_node('Identity', ['weights'], ['inv_covariance']),
    ]
    outputs = values('mean', 'inv_covariance')
    graph = helper.make_graph(nodes, 'preparation', values(half, 'weights'), outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 18)], ir_version=9)
    return base64.b64encode(model.SerializeToString()).decode()


def with_old_graph(text: str) -> ExportedGraph:
    model = onnx.load_from_string(make_graph())
    model.metadata_props.add(key='adet_preparation', value=text)
    return ExportedGraph(model.SerializeToString())


def test_the_keys_of_older_exports_stay() -> None:
    assert (LEVELS_KEY, GRAPH_KEY) == ('adet_levels', 'adet_preparation')


def test_an_older_export_with_levels_is_still_read(tmp_path: Path) -> None:
    """As PaDiM was exported."""
    bundle = level_bundle(tmp_path)
    graph = level_graph({'adet_levels': '[4, 4, [2, 4, 4], [3, 2, 2]]'})
    builders.make_engine(bundle, graph)
    path = tmp_path / 'engine' / 'model.json'
    record = json.loads(path.read_text())
    del record['statistics_transform']
    path.write_text(json.dumps(record))
    detector = Detector.load(tmp_path, threads=1)
    found = detector.run([np.zeros((SIZE, SIZE, 3), np.uint8)])
    assert found.scores[0] == expected_score(gaussians())


def test_an_older_export_with_a_graph_is_still_read() -> None:
    backend = OnnxRuntimeBackend(with_old_graph(old_graph()), threads=1)
    images = np.random.default_rng(0).integers(0, 256, (2, SIZE, SIZE, 3), np.uint8)
    for one in (backend, backend.fork()):
        for seed in (0, 1):
            arrays = builders.statistics(seed)
            one.bind({'half': arrays['mean'] / 2, 'weights': arrays['inv_covariance']})
            expected = builders.expected_prediction(images, arrays)
            np.testing.assert_allclose(one.run(images).scores, expected.scores, rtol=1e-6)
    with pytest.raises(BackendError, match=r"takes the statistics \['half', 'weights'\]"):
        backend.bind(builders.statistics())


@pytest.mark.parametrize('text', ['?', 'AAAA', ''])
def test_an_older_export_with_a_damaged_graph_is_refused(text: str) -> None:
    with pytest.raises(BackendError, match=r'metadata adet_preparation of the graph: .*; export'):
        OnnxRuntimeBackend(with_old_graph(text))


@pytest.mark.parametrize(
    'text',
    ['', '?', '7', '[]', '{}', '[8, 8]', '[8, 8, 3]', '[8, 8, [3, 8]]', '[4, 4, [2, 3, 4]]'],
)
def test_an_older_export_with_damaged_levels_is_refused(text: str) -> None:
    with pytest.raises(BackendError, match=r'metadata adet_levels of the graph: .*; export'):
        GraphInputs(ExportedGraph(level_graph({'adet_levels': text})))
