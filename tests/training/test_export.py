# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The exported graph against anomalib's own model, and bundles that must not be exported."""

from __future__ import annotations

from dataclasses import replace
import io
from itertools import pairwise
import json
from pathlib import Path
import pickle
import re
import subprocess
import sys
from typing import Any, TYPE_CHECKING

from anomalib.models import Padim
import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torchvision.transforms.v2 import Normalize

from adet_core.bundle import (
    Bundle,
    copy_bundle,
    ExportedGraph,
    open_bundle,
    read_engine,
    write_arrays,
    write_bundle,
)
from adet_core.errors import AdetError, BackendError, BundleError, ExportError
from adet_core.image import preprocess, read_image
from adet_core.io.folders import list_images
from adet_core.prediction import Prediction
from adet_training.export import check_parity, export
from adet_training.models import load_adapter
from adet_training.quiet import quiet_libraries

if TYPE_CHECKING:
    from collections.abc import Callable

    from adet_training.train import Run

    Learn = Callable[..., Run]

pytestmark = pytest.mark.training

SIZE = 64
FEATURES, POSITIONS = 24, 16 * 16


class Canary:
    """Makes a file when somebody unpickles it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.fixture(scope='module')
def bundle(deployed: Any) -> Bundle:
    """The deployed bundle, exported; not to be written to."""
    return open_bundle(deployed.bundle)


@pytest.fixture(scope='module')
def exported(bundle: Bundle) -> ExportedGraph:
    """Its graph, and the record of its transform."""
    return read_engine(bundle)


@pytest.fixture(scope='module')
def graph(exported: ExportedGraph) -> bytes:
    """Its ``model.onnx``."""
    return exported.onnx


@pytest.fixture(scope='module')
def model(graph: bytes) -> onnx.ModelProto:
    """Its ``model.onnx``, taken apart."""
    return onnx.load_from_string(graph)


@pytest.fixture(scope='module')
def images(deployed: Any, tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    """All test images, grey ones of 8 and 16 bits, and plain black and white, prepared."""
    folder = tmp_path_factory.mktemp('grey')
    paths = list_images(deployed.test_folder)
    grey = cv2.imread(str(paths[0]), cv2.IMREAD_GRAYSCALE)
    extra = {
        'mono8.png': grey,
        'mono16.png': grey.astype(np.uint16) * 257,
        'black.png': np.zeros((50, 40), np.uint8),
        'white.png': np.full((200, 300, 3), 255, np.uint8),
    }
    for name, pixels in extra.items():
        assert cv2.imwrite(str(folder / name), pixels)
    preprocessed = [
        preprocess(read_image(p), (SIZE, SIZE)) for p in [*paths, *list_images(folder)]
    ]
    assert len(preprocessed) == 20
    return np.stack(preprocessed)


@pytest.fixture(scope='module')
def own_predictions(deployed: Any, images: np.ndarray) -> Prediction:
    """What anomalib's own model, loaded by anomalib from its checkpoint, says of each image."""
    path = deployed.run_dir / 'checkpoint' / 'best.ckpt'
    padim = Padim.load_from_checkpoint(path, map_location='cpu', weights_only=True).model.eval()
    tensors = torch.from_numpy(images).permute(0, 3, 1, 2).to(torch.float32) / 255
    # As EfficientNet-Lite0 was trained.
    normalise = Normalize([0.5] * 3, [0.5] * 3)
    with torch.inference_mode():
        answers = [padim(normalise(image[None])) for image in tensors]
    return Prediction(
        np.array([float(answer.pred_score) for answer in answers]),
        np.stack([answer.anomaly_map[0, 0].numpy() for answer in answers]),
    )


class Session:
    """The graph in ONNX Runtime as any program would run it, with nothing of adet's."""

    def __init__(self, graph: bytes, folder: Path) -> None:
        self.statistics = dict(np.load(folder / 'stats.npz'))
        self._session = onnxruntime.InferenceSession(graph, providers=['CPUExecutionProvider'])
        record = json.loads((folder / 'engine' / 'model.json').read_bytes())
        transform = record['statistics_transform']
        assert transform['name'] == 'gaussian_levels'
        self._size = transform['parameters']['size']
        self._levels = transform['parameters']['levels']

    def __call__(self, images: np.ndarray, **other: np.ndarray) -> Prediction:
        inputs = {'image': images, **self._transformed(**{**self.statistics, **other})}
        scores, maps = self._session.run(['score', 'anomaly_map'], inputs)
        assert scores.shape == (len(images), 1)
        assert maps.shape == (len(images), 1, SIZE, SIZE)
        assert scores.dtype == maps.dtype == np.float32
        return Prediction(scores[:, 0], maps[:, 0])

    def _transformed(self, mean: np.ndarray, inv_covariance: np.ndarray) -> dict[str, np.ndarray]:
        """As docs/bundle.md says, from the Cholesky factor of each position."""
        (height, width), first, found = self._size, 0, {}
        roots = np.linalg.cholesky(inv_covariance.astype(np.float64)).reshape(
            height, width, *inv_covariance.shape[1:]
        )
        means = mean.reshape(-1, height, width)
        for number, (channels, rows, columns) in enumerate(self._levels):
            steps = np.s_[:: height // rows, :: width // columns]
            last = first + channels
            found[f'centre{number}'] = means[first:last][:, steps[0], steps[1]].reshape(
                channels, -1
            )
            found[f'root{number}'] = roots[steps].reshape(-1, *roots.shape[2:])[
                :, first:, first:last
            ]
            first = last
        return {name: np.ascontiguousarray(part, np.float32) for name, part in found.items()}


@pytest.fixture(scope='module')
def run_graph(graph: bytes, deployed: Any) -> Session:
    """Runs the exported graph with the bundle's statistics."""
    return Session(graph, deployed.bundle)


# ---- the graph says what anomalib says


@pytest.mark.parametrize('model', ['padim', 'patchcore', 'vae'])
def test_a_graph_is_made_without_the_libraries_of_a_training(model: str) -> None:
    program = (
        'import sys, adet_training.export as _; from adet_training.models import load_adapter; '
        'load_adapter(sys.argv[1]); '
        "print(sorted({'anomalib', 'lightning', 'torchmetrics'} & set(sys.modules)))"
    )
    run = subprocess.run(
        [sys.executable, '-c', program, model], capture_output=True, text=True, check=True
    )
    assert run.stdout == '[]\n'


def _tolerance(bundle: Bundle) -> float:
    """By how much the predictions of a graph in fp32 may differ."""
    return 1e-3 * bundle.manifest.score_range.span


def test_the_graph_answers_as_anomalibs_own_model_does(
    run_graph: Session, bundle: Bundle, images: np.ndarray, own_predictions: Prediction
) -> None:
    tolerance = _tolerance(bundle)
    assert np.ptp(own_predictions.scores) > 100 * tolerance
    for number in range(len(images)):
        answer = run_graph(images[number : number + 1])
        assert abs(answer.scores[0] - own_predictions.scores[number]) <= tolerance
        assert np.abs(answer.maps[0] - own_predictions.maps[number]).max() <= tolerance
        flat = answer.maps[0].ravel(), own_predictions.maps[number].ravel()
        assert np.corrcoef(*flat)[0, 1] > 0.999
        assert answer.scores[0] == answer.maps[0].max()


def test_a_batch_of_three_gets_the_answers_of_its_images(
    run_graph: Session, bundle: Bundle, images: np.ndarray, own_predictions: Prediction
) -> None:
    chosen = [0, 9, 17]
    answer = run_graph(images[chosen])
    tolerance = _tolerance(bundle)
    np.testing.assert_allclose(
        answer.scores, own_predictions.scores[chosen], rtol=0, atol=tolerance
    )
    np.testing.assert_allclose(answer.maps, own_predictions.maps[chosen], rtol=0, atol=tolerance)


def test_relearned_statistics_change_the_answers_without_a_new_graph(
    run_graph: Session, images: np.ndarray
) -> None:
    one = images[:1]
    before = run_graph(one)
    quarter = run_graph(one, inv_covariance=run_graph.statistics['inv_covariance'] / 4)
    np.testing.assert_allclose(quarter.maps, before.maps / 2, rtol=1e-4)
    moved = run_graph(one, mean=run_graph.statistics['mean'] + 0.5)
    assert np.abs(moved.maps - before.maps).max() > 0.1


@pytest.mark.parametrize(
    'settings',
    [
        {'n_features': 1},
        {'n_features': 100},
        {'image_size': 65},
        # Rows of 34, 17 and 9: of the last not each lies within two of the first.
        {'image_size': 136},
        {'layers': ['blocks.2']},
        {'layers': ['blocks.4', 'blocks.1']},
        {'backbone': 'resnet18', 'layers': ['layer2']},
        {'backbone': 'resnet18', 'layers': ['layer3', 'layer1']},
        {'backbone': 'mobilenetv3_small_050', 'layers': ['blocks.0', 'blocks.1']},
    ],
    ids=str,
)
def test_the_graph_equals_the_model_whatever_the_settings(
    learn: Learn, settings: dict[str, Any]
) -> None:
    # Only the default backbone has its weights in a package.
    backbone_weights = 'random' if 'backbone' in settings else 'auto'
    bundle = learn({'n_features': 8, **settings}, backbone_weights=backbone_weights).bundle
    weights = torch.load(io.BytesIO(bundle.weights()), weights_only=True)
    graph = load_adapter('padim').graph(bundle.manifest, weights)
    statistics = bundle.statistics()
    for name, example in graph.statistics.items():
        assert example.shape == statistics[name].shape
        assert example.dtype == statistics[name].dtype
    golden = bundle.golden()

    scores, maps = graph(torch.from_numpy(golden.images), statistics)

    tolerance = _tolerance(bundle)
    np.testing.assert_allclose(scores[:, 0], golden.prediction.scores, rtol=0, atol=tolerance)
    np.testing.assert_allclose(maps[:, 0], golden.prediction.maps, rtol=0, atol=tolerance)


@pytest.mark.parametrize('model_name', ['padim', 'patchcore'])
def test_one_trace_gives_the_graph_and_the_same_features_as_the_module(
    deployed: Any,
    trained: Any,
    tmp_path: Path,
    model_name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = deployed.bundle if model_name == 'padim' else trained(model_name).robot.folder
    bundle = copy_bundle(open_bundle(folder), tmp_path / 'bundle')
    from adet_training import trace as tracing

    traced = []
    trace = tracing._trace
    monkeypatch.setattr(
        tracing,
        '_trace',
        lambda module, *rest: traced.append(module) or trace(module, *rest),
    )
    with quiet_libraries():
        export(bundle)
    (module,) = traced
    images = bundle.golden().images
    features = onnx.load(bundle.folder / 'engine' / 'features.onnx')
    onnx.checker.check_model(features, full_check=True)
    assert features.producer_name == 'adet'
    # Neither statistics nor what compares features with them.
    assert [one.name for one in features.graph.input] == ['image']
    whole = onnx.load_from_string(read_engine(open_bundle(bundle.folder)).onnx)
    assert len(features.graph.node) < len(whole.graph.node)
    session = onnxruntime.InferenceSession(
        features.SerializeToString(), providers=['CPUExecutionProvider']
    )
    (found,) = session.run(['features'], {'image': images})
    with torch.inference_mode():
        expected = module.features(module.layers(torch.from_numpy(images)))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


# ---- what the file holds


@pytest.mark.parametrize('what', ['unlike its neighbours', 'not positive definite'])
def test_inverse_covariances_that_share_nothing_are_read_as_they_are(
    bundle: Bundle, tmp_path: Path, what: str
) -> None:
    inverse = bundle.statistics()['inv_covariance'].copy()
    if what == 'unlike its neighbours':
        inverse *= np.random.default_rng(0).uniform(0.5, 2, (POSITIONS, 1, 1)).astype(np.float32)
    else:
        # Of the first position of a cell in all grids, the whole matrix is decomposed.
        inverse[0] -= 2 * np.linalg.eigvalsh(inverse[0])[0] * np.eye(FEATURES, dtype=np.float32)
    statistics = {**bundle.statistics(), 'inv_covariance': inverse}
    weights = torch.load(io.BytesIO(bundle.weights()), weights_only=True)
    exact = load_adapter('padim').graph(bundle.manifest, weights).exact
    assert exact is not None
    scores, maps = exact()(torch.from_numpy(bundle.golden().images), statistics)
    golden = {'scores': scores[:, 0].numpy(), 'maps': maps[:, 0].numpy()}

    changed = _rebuilt(bundle, tmp_path / 'changed', statistics=statistics, golden=golden)
    exported = export(changed)
    assert exported.parity.holds
    assert exported.is_exact

    found = onnx.load_from_string(read_engine(open_bundle(changed.folder)).onnx)
    assert [one.name for one in found.graph.input] == ['image', *statistics]


def test_the_graph_passes_onnx_own_checker(model: onnx.ModelProto) -> None:
    onnx.checker.check_model(model, full_check=True)
    assert model.producer_name == 'adet'


def test_inputs_and_outputs_have_their_names_types_and_a_free_number_of_images(
    model: onnx.ModelProto, bundle: Bundle
) -> None:
    idx = torch.load(io.BytesIO(bundle.weights()), weights_only=True)['idx']
    # The layers of the default backbone have 24, 40 and 112 channels.
    ends = (0, 24, 64, 176)
    one, two, three = (int(((idx >= a) & (idx < b)).sum()) for a, b in pairwise(ends))
    assert one + two + three == FEATURES

    def describe(values: Any) -> dict[str, tuple[int, list[Any]]]:
        return {
            value.name: (
                value.type.tensor_type.elem_type,
                [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim],
            )
            for value in values
        }

    uint8, float32 = onnx.TensorProto.UINT8, onnx.TensorProto.FLOAT
    assert describe(model.graph.input) == {
        'image': (uint8, ['N', SIZE, SIZE, 3]),
        # What a layer of half the rows and columns has in common is there once.
        'centre0': (float32, [one, POSITIONS]),
        'root0': (float32, [POSITIONS, FEATURES, one]),
        'centre1': (float32, [two, POSITIONS // 4]),
        'root1': (float32, [POSITIONS // 4, two + three, two]),
        'centre2': (float32, [three, POSITIONS // 16]),
        'root2': (float32, [POSITIONS // 16, three, three]),
    }
    assert describe(model.graph.output) == {
        'score': (float32, ['N', 1]),
        'anomaly_map': (float32, ['N', 1, SIZE, SIZE]),
    }


def test_statistics_are_inputs_and_not_part_of_the_file(
    model: onnx.ModelProto, bundle: Bundle
) -> None:
    constants = [*model.graph.initializer]
    constants += [a.t for n in model.graph.node for a in n.attribute if a.name == 'value']
    inputs = {entry.name for entry in model.graph.input}
    assert not {tensor.name for tensor in constants} & inputs
    weights = torch.load(io.BytesIO(bundle.weights()), weights_only=True)
    largest = max(tensor.numel() for tensor in weights.values())
    assert max(int(np.prod(tensor.dims)) for tensor in constants) <= largest
    assert not any(tensor.external_data for tensor in constants)
    held = [onnx.numpy_helper.to_array(t) for t in constants if t.data_type == 1]
    for array in bundle.statistics().values():
        assert not any(
            c.size == array.size and np.array_equal(c.ravel(), array.ravel()) for c in held
        )
    total = sum(tensor.numel() for name, tensor in weights.items() if name != 'idx')
    assert sum(array.size for array in held) < total + 3 * SIZE * SIZE


def test_every_operation_is_one_that_all_runtimes_have(model: onnx.ModelProto) -> None:
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [('', 18)]
    assert {node.domain for node in model.graph.node} <= {'', 'ai.onnx'}
    assert not model.functions
    # One graph without branches or loops: what TensorRT turns into a single engine.
    assert not {node.op_type for node in model.graph.node} & {'If', 'Loop', 'Scan'}


def test_nothing_in_the_file_tells_where_it_was_made(graph: bytes) -> None:
    for path in (Path(__file__).parents[2], Path.home(), Path(torch.__file__).parent):
        assert str(path).encode() not in graph


def test_tensorrt_parses_the_graph(graph: bytes) -> None:
    tensorrt = pytest.importorskip('tensorrt_rtx')
    logger = tensorrt.Logger(tensorrt.Logger.ERROR)
    network = tensorrt.Builder(logger).create_network(0)
    parser = tensorrt.OnnxParser(network, logger)
    parsed = parser.parse(graph)
    assert parsed, [parser.get_error(number).desc() for number in range(parser.num_errors)]
    names = [network.get_input(number).name for number in range(network.num_inputs)]
    assert names == ['image', 'centre0', 'root0', 'centre1', 'root1', 'centre2', 'root2']


def test_the_record_holds_the_check_that_was_made(deployed: Any, bundle: Bundle) -> None:
    text = (deployed.bundle / 'engine' / 'model.json').read_text()
    assert f'"bundle_id": "{bundle.bundle_id}"' in text
    assert '"pictures": 4' in text
    assert '"precision": "fp32"' in text


# ---- bundles that must not be exported


def _rebuilt(
    bundle: Bundle,
    folder: Path,
    *,
    weights: Any = None,
    statistics: dict[str, np.ndarray] | None = None,
    golden: dict[str, np.ndarray] | None = None,
    **manifest: Any,
) -> Bundle:
    """The same bundle with some content exchanged, and every checksum right."""
    arrays = {**bundle.statistics(), **(statistics or {})}
    answers = {**bundle.golden().arrays(), **(golden or {})}
    if isinstance(weights, bytes):
        data = weights
    elif weights is None:
        data = bundle.weights()
    else:
        file = io.BytesIO()
        torch.save(weights, file)
        data = file.getvalue()
    return write_bundle(
        folder,
        replace(bundle.manifest, **manifest),
        {
            'model.pth': lambda file: file.write(data),
            'stats.npz': lambda file: write_arrays(file, arrays),
            'golden.npz': lambda file: write_arrays(file, answers),
        },
    )


def _with_nan(array: np.ndarray) -> np.ndarray:
    changed = array.copy()
    changed.flat[-1] = np.nan
    return changed


TAMPERED: dict[str, Callable[[Bundle], dict[str, Any]]] = {
    'a score': lambda b: {
        'golden': {
            'scores': b.golden().prediction.scores + np.float32([0, 0, 0, 2 * _tolerance(b)])
        }
    },
    'scores swapped': lambda b: {'golden': {'scores': b.golden().prediction.scores[::-1].copy()}},
    'maps': lambda b: {'golden': {'maps': b.golden().prediction.maps * np.float32(1.01)}},
    'pictures': lambda b: {'golden': {'images': b.golden().images[:, ::-1].copy()}},
    'mean': lambda b: {'statistics': {'mean': b.statistics()['mean'] + np.float32(0.01)}},
    'no mean': lambda b: {'statistics': {'mean': b.statistics()['mean'] * np.float32(np.nan)}},
    'covariance': lambda b: {
        'statistics': {'inv_covariance': b.statistics()['inv_covariance'] * np.float32(1.1)}
    },
}


@pytest.mark.parametrize('what', TAMPERED)
def test_a_graph_that_disagrees_with_the_trained_model_is_refused(
    bundle: Bundle, exported: ExportedGraph, tmp_path: Path, what: str
) -> None:
    tampered = _rebuilt(bundle, tmp_path, **TAMPERED[what](bundle))
    allowed = re.escape(f'{_tolerance(bundle):.3g}')
    with pytest.raises(
        ExportError,
        match=rf'^{re.escape(str(tmp_path))}: the exported graph differs from the trained model '
        rf'\(score by \S+, map by \S+, allowed {allowed} and {allowed}\); nothing was '
        r'written; train again',
    ):
        check_parity(exported, tampered)


@pytest.mark.parametrize('name', ['scores', 'maps'])
def test_nothing_is_compared_with_what_is_no_number(
    bundle: Bundle, exported: ExportedGraph, tmp_path: Path, name: str
) -> None:
    values = _with_nan(getattr(bundle.golden().prediction, name))
    tampered = _rebuilt(bundle, tmp_path, golden={name: values})
    with pytest.raises(BundleError, match=f"array '{name}' holds values that are no numbers"):
        check_parity(exported, tampered)


def test_a_graph_that_agrees_passes_with_its_differences(
    bundle: Bundle, exported: ExportedGraph
) -> None:
    parity = check_parity(exported, bundle)
    assert parity.pictures == 4
    assert 0 <= parity.score_difference <= parity.tolerance
    assert 0 < parity.map_difference <= parity.tolerance
    assert parity.tolerance == pytest.approx(_tolerance(bundle))
    assert parity.holds


def test_statistics_of_another_shape_are_refused(
    bundle: Bundle, exported: ExportedGraph, tmp_path: Path
) -> None:
    mean = bundle.statistics()['mean'][:, :-1].copy()
    tampered = _rebuilt(bundle, tmp_path, statistics={'mean': mean})
    with pytest.raises(
        BackendError, match=r"^statistics 'mean' have shape \(24, 255\), the graph takes \(24, 256"
    ):
        check_parity(exported, tampered)


def test_a_refused_export_leaves_the_old_engine_in_place(
    deployed: Any, bundle: Bundle, graph: bytes, tmp_path: Path
) -> None:
    tampered = _rebuilt(bundle, tmp_path, golden={'scores': bundle.golden().prediction.scores + 1})
    old = deployed.bundle / 'engine'
    (tmp_path / 'engine').mkdir()
    for path in old.iterdir():
        (tmp_path / 'engine' / path.name).write_bytes(path.read_bytes())

    with quiet_libraries(), pytest.raises(ExportError, match='differs from the trained model'):
        export(tampered)

    files = {path.name: path.read_bytes() for path in (tmp_path / 'engine').iterdir()}
    assert files == {path.name: path.read_bytes() for path in old.iterdir()}
    assert files['model.onnx'] == graph


def _refused(bundle: Bundle, error: type[AdetError], message: str) -> None:
    with pytest.raises(error, match=f'^{message}'), quiet_libraries():
        export(bundle)
    assert not (bundle.folder / 'engine').exists()


@pytest.mark.parametrize(
    'data',
    [
        b'',
        b'no weights',
        b'PK\x05\x06' + bytes(18),
        b'\x80\x02.',
        b'\x80\x02h\x00.',
        b'\x80\x02K\x01\x87.',
        b'\x80\x02ccollections\nOrderedDict\nK\x01R.',
        pickle.dumps({'idx': [1, 2]}),
    ],
    ids=['empty', 'text', 'zip', 'no-value', 'no-memo', 'no-tuple', 'bad-call', 'pickle'],
)
def test_a_file_that_holds_no_weights_is_refused(
    bundle: Bundle, tmp_path: Path, data: bytes
) -> None:
    message = re.escape(f'{tmp_path}/model.pth: not a file of plain weights (damaged, or more')
    _refused(_rebuilt(bundle, tmp_path, weights=data), BundleError, message)


@pytest.mark.parametrize('wrapped', [True, False])
def test_a_hostile_file_of_weights_is_refused_and_not_run(
    bundle: Bundle, tmp_path: Path, wrapped: bool
) -> None:
    trace = tmp_path / 'trace'
    weights = torch.load(io.BytesIO(bundle.weights()), weights_only=True)
    hostile: Any = {**weights, 'extra': Canary(trace)} if wrapped else pickle.dumps(Canary(trace))
    tampered = _rebuilt(bundle, tmp_path / 'bundle', weights=hostile)
    message = re.escape(f'{tmp_path}/bundle/model.pth: not a file of plain weights (damaged, or')
    _refused(tampered, BundleError, message)
    assert not trace.exists()


@pytest.mark.parametrize('value', [[torch.zeros(1)], {'idx': 3}, torch.zeros(2)], ids=str)
def test_values_that_are_no_named_tensors_are_refused(
    bundle: Bundle, tmp_path: Path, value: Any
) -> None:
    message = re.escape(f'{tmp_path}/model.pth: does not hold named tensors')
    _refused(_rebuilt(bundle, tmp_path, weights=value), BundleError, message)


IDX = 'model.pth: idx does not name channels of the backbone, 0 to 175, in ascending order'


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'idx': None}, 'model.pth holds no PaDiM weights (no idx); train again'),
        ({'backbone.conv_stem.weight': None}, "model.pth: has no tensor 'conv_stem.weight'"),
        (
            {'backbone.conv_stem.weight': torch.zeros(32, 1, 3, 3)},
            "model.pth: tensor 'conv_stem.weight' is (32, 1, 3, 3), expected (32, 3, 3, 3)",
        ),
        (
            {'backbone.bn1.bias': torch.full((32,), torch.inf)},
            "model.pth: tensor 'bn1.bias' holds values that are no numbers",
        ),
        ({'idx': torch.arange(24) + 160}, IDX),
        ({'idx': torch.arange(24) - 1}, IDX),
        ({'idx': torch.arange(24).flip(0)}, IDX),
        ({'idx': torch.zeros(24, dtype=torch.int64)}, IDX),
        ({'idx': torch.arange(24.0)}, IDX),
        ({'idx': torch.arange(24)[None]}, IDX),
        ({'idx': torch.tensor(3)}, IDX),
        ({'idx': torch.arange(0)}, IDX),
    ],
)
def test_weights_of_something_else_are_refused(
    bundle: Bundle, tmp_path: Path, change: dict[str, torch.Tensor | None], message: str
) -> None:
    weights = torch.load(io.BytesIO(bundle.weights()), weights_only=True)
    changed = {n: t for n, t in {**weights, **change}.items() if t is not None}
    tampered = _rebuilt(bundle, tmp_path, weights=changed)
    _refused(tampered, BundleError, re.escape(f'{tmp_path}: {message}'))


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'name': 'hf-hub:someone/network'}, "unknown backbone 'hf-hub:someone/network'"),
        (
            {'name': 'tf_efficientnet_lite1'},
            'model.pth: has no tensor .*; these weights are of another network',
        ),
        (
            {'layers': ('blocks.1', 'blocks.7')},
            "backbone tf_efficientnet_lite0 has no layer 'blocks.7'",
        ),
        ({'layers': ('blocks.6',)}, "model.pth: has no tensor 'blocks.5.0.conv_pw.weight'"),
    ],
)
def test_a_backbone_that_the_weights_do_not_fit_is_refused(
    bundle: Bundle, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    assert bundle.manifest.backbone is not None
    backbone = replace(bundle.manifest.backbone, **change)
    _refused(_rebuilt(bundle, tmp_path, backbone=backbone), BundleError, f'{tmp_path}: {message}')


def test_a_bundle_without_a_backbone_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    message = rf'{tmp_path}: meta\.json names no backbone; train again'
    _refused(_rebuilt(bundle, tmp_path, backbone=None), BundleError, message)


def test_weights_of_another_model_are_refused(bundle: Bundle, tmp_path: Path) -> None:
    message = rf'{tmp_path}: .*model\.pth'
    _refused(_rebuilt(bundle, tmp_path, model='vae'), BundleError, message)


def test_a_damaged_bundle_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    damaged = _rebuilt(bundle, tmp_path)
    data = (tmp_path / 'model.pth').read_bytes()
    (tmp_path / 'model.pth').write_bytes(data[:-1] + b'?')
    message = re.escape(f'{tmp_path}/model.pth: checksum mismatch')
    _refused(damaged, BundleError, message)
