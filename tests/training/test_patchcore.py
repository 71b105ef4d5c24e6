# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""PatchCore: what its memory bank holds, and a graph that searches it as anomalib does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
import re
from typing import Any, TYPE_CHECKING

from anomalib.models.components import KCenterGreedy, TimmFeatureExtractor
from anomalib.models.image.patchcore.torch_model import PatchcoreModel
import cv2
import numpy as np
import onnx
import pytest
from tiny_models import Learn, Train, Trained
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from adet_core.bundle import Bundle, read_engine
from adet_core.errors import BackendError, ConfigError
from adet_core.image import preprocess, read_image
from adet_core.inference.onnxruntime import OnnxRuntimeBackend
from adet_core.io.folders import list_images
from adet_core.models.coreset import cover_radius, select_coreset
from adet_core.models.memory_bank import BankSearch
from adet_training.adapter import Graph
from adet_training.backbone import fill_extractor, load_backbone, make_network
from adet_training.export import export, load_weights
from adet_training.models.patchcore import (
    _closest,
    _in_groups,
    ADAPTER,
    PatchcoreFeatures,
    PatchcoreGraph,
    PatchcoreParameters,
    principal_components,
)
from adet_training.parameters import DEFAULT_BACKBONE

if TYPE_CHECKING:
    from collections.abc import Sequence

pytestmark = pytest.mark.training

SIZE, PATCHES, CHANNELS = 64, 8 * 8, 40 + 112


@pytest.fixture(scope='module')
def found(trained: Train) -> Trained:
    """The PatchCore that all tests share: six images of 64 patches, a tenth of them kept."""
    return trained('patchcore')


@pytest.fixture(scope='module')
def images(few_images: Path) -> np.ndarray:
    """The test images, prepared, and noise."""
    paths = list_images(few_images / 'test')
    preprocessed = [preprocess(read_image(path), (SIZE, SIZE)) for path in paths]
    noise = np.random.default_rng(0).integers(0, 256, (2, SIZE, SIZE, 3), np.uint8)
    return np.concatenate([preprocessed, noise])


def _anomalibs_prediction(
    found: Trained, bank: np.ndarray, images: np.ndarray, num_neighbors: int = 9
) -> tuple[np.ndarray, np.ndarray]:
    """Scores and maps of anomalib's model with this bank, as anomalib computes distances."""
    layers = PatchcoreParameters().layers
    model = PatchcoreModel(
        layers, DEFAULT_BACKBONE, pre_trained=False, num_neighbors=num_neighbors
    )
    ours = found.module.model.feature_extractor
    model.feature_extractor.load_state_dict(ours.state_dict())
    model.memory_bank = torch.from_numpy(bank)
    batch = torch.from_numpy(images).permute(0, 3, 1, 2).to(torch.float32) / 255
    with torch.inference_mode():
        answer = model.eval()(found.module.pre_processor(batch))
    return answer.pred_score.numpy().ravel(), answer.anomaly_map[:, 0].numpy()


def _graph(
    found: Trained, size: int = SIZE, basis: torch.Tensor | None = None, **settings: Any
) -> Graph:
    manifest = found.robot.manifest
    manifest = replace(manifest, image=replace(manifest.image, height=size, width=size))
    network = make_network(DEFAULT_BACKBONE, PatchcoreParameters().layers)
    trained = found.module.model.feature_extractor.feature_extractor.state_dict()
    network.load_state_dict({name: trained[name] for name in network.state_dict()})
    parameters = PatchcoreParameters(**settings)
    features = PatchcoreFeatures(manifest, network, parameters.patch_size)
    module = PatchcoreGraph(manifest, features, parameters, basis)
    bank = {'memory_bank': _random_bank(9)}
    transform = BankSearch(features.channels, None if basis is None else basis.numpy())
    return Graph(module, bank, transform=transform)


def _random_bank(length: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((length, CHANNELS), np.float32)


def _patches(graph: Graph, images: np.ndarray) -> torch.Tensor:
    with torch.inference_mode():
        return graph.module.network(torch.from_numpy(images)).flatten(0, 1)


# ---- a patch


def test_a_patch_is_the_mean_of_its_neighbours(found: Trained, images: np.ndarray) -> None:
    alone = _patches(_graph(found, patch_size=1), images)
    finest = alone.reshape(len(images), 8, 8, CHANNELS)[..., :40]
    for size, around in ((3, slice(2, 5)), (5, slice(1, 6))):
        patches = _patches(_graph(found, patch_size=size), images)
        middle = patches.reshape(len(images), 8, 8, CHANNELS)[:, 3, 3, :40]
        expected = finest[:, around, around].mean(dim=(1, 2))
        torch.testing.assert_close(middle, expected, rtol=1e-4, atol=1e-5)


def test_a_bank_of_single_features(learn: Learn, few_images: Path, found: Trained) -> None:
    settings = {'patch_size': 1, 'coreset_ratio': 1.0}
    run = learn(settings, model='patchcore', data_root=few_images)
    paths = list_images(few_images / 'train')
    train = np.stack([preprocess(read_image(path), (SIZE, SIZE)) for path in paths])
    patches = _patches(_graph(found, patch_size=1), train).numpy()
    (bank,) = run.bundle.statistics().values()
    assert len(bank) == len(patches)
    nearest = np.abs(patches[None] - bank[::16, None]).max(axis=2).min(axis=1)
    assert nearest.max() < 1e-4
    # The graph, too, takes each alone: it agrees with the module that was trained.
    export(run.bundle)


# ---- the bank


@pytest.mark.parametrize(
    ('settings', 'kept'),
    [
        ({}, int(6 * PATCHES * 0.1)),
        ({'coreset_ratio': 1.0}, 6 * PATCHES),
        ({'coreset_ratio': 1.0, 'max_bank': 100}, 100),
        ({'coreset_ratio': 0.5, 'max_bank': 9}, 9),
        ({'coreset_ratio': 1e-6}, 9),
        ({'coreset_ratio': 1e-6, 'num_neighbors': 1}, 1),
        ({'coreset_ratio': 1e-6, 'num_neighbors': 64}, 64),
    ],
    ids=str,
)
def test_the_bank_has_the_share_asked_for_within_its_bounds(
    learn: Learn, few_images: Path, settings: dict[str, Any], kept: int
) -> None:
    bundle = learn(settings, model='patchcore', data_root=few_images).bundle
    (bank,) = bundle.statistics().values()
    assert bank.shape == (kept, CHANNELS)
    assert bank.dtype == np.float32
    assert len(np.unique(bank, axis=0)) == kept
    golden = bundle.golden()
    assert np.isfinite(golden.prediction.scores).all()


def test_the_bank_is_the_coreset_of_anomalibs_own_features(
    found: Trained, few_images: Path
) -> None:
    paths = list_images(few_images / 'train')
    images = np.stack([preprocess(read_image(path), (SIZE, SIZE)) for path in paths])
    batch = torch.from_numpy(images).permute(0, 3, 1, 2).to(torch.float32) / 255
    model, module = found.module.model, found.module
    with torch.inference_mode():
        model.train()
        model.feature_extractor.eval()
        features = model(module.pre_processor(batch)).numpy()
        model.embedding_store.clear()
        module.eval()
    (bank,) = found.robot.statistics().values()
    nearest = np.abs(features[None] - bank[:, None]).max(axis=2)
    assert nearest.min(axis=1).max() < 1e-4
    covered = cover_radius(features, nearest.argmin(axis=1))
    others = [
        cover_radius(features, select_coreset(features, len(bank), seed=seed)) for seed in range(5)
    ]
    assert covered <= 1.1 * max(others)


def test_the_coreset_covers_no_worse_than_anomalibs() -> None:
    generator = torch.Generator().manual_seed(0)
    for count, length, size in ((400, 16, 40), (2000, 64, 200)):
        features = torch.randn(count, length, generator=generator)
        theirs, ours = [], []
        for seed in range(5):
            torch.manual_seed(seed)
            chosen = KCenterGreedy(features, size / count).select_coreset_idxs()
            assert len(chosen) == size
            theirs.append(cover_radius(features.numpy(), np.array(chosen)))
            found = select_coreset(features.numpy(), size, seed=seed)
            ours.append(cover_radius(features.numpy(), found))
        # Both begin anywhere, which alone makes a difference of a percent or two.
        assert np.mean(ours) <= 1.01 * np.mean(theirs)


def test_choosing_the_bank_is_reported_and_can_be_interrupted(
    learn: Learn, few_images: Path, tmp_path: Path
) -> None:
    calls = []

    def progress(stage: str, done: int, total: int | None) -> None:
        calls.append((stage, done, total))
        if stage == 'choosing the coreset' and len(calls) > 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        learn({}, progress, model='patchcore', data_root=few_images)
    assert calls[-1][0] == 'choosing the coreset'
    assert not list((tmp_path / 'models').rglob('meta.json'))


# ---- the graph


def test_the_bank_is_an_input_of_any_length(found: Trained) -> None:
    model = onnx.load_from_string(read_engine(found.robot).onnx)
    onnx.checker.check_model(model, full_check=True)
    shapes = {
        value.name: [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in model.graph.input
    }
    assert shapes['image'] == ['N', SIZE, SIZE, 3]
    length, channels = shapes['bank']
    assert isinstance(length, str)
    assert channels == CHANNELS
    assert shapes['search'] == [CHANNELS + 1, length]
    assert not {node.op_type for node in model.graph.node} & {'If', 'Loop', 'Scan'}


@pytest.mark.parametrize('length', [9, 10, 38, 500, 3000])
def test_a_bank_of_another_length_gets_anomalibs_answers(
    found: Trained, images: np.ndarray, length: int
) -> None:
    backend = OnnxRuntimeBackend(read_engine(found.robot), threads=1)
    (own,) = found.robot.statistics().values()
    bank = _random_bank(length) * float(own.max())
    bank[: min(length, len(own)) // 2] = own[: min(length, len(own)) // 2]
    backend.bind({'memory_bank': bank})

    answer = backend.run(images)

    scores, maps = _anomalibs_prediction(found, bank, images)
    np.testing.assert_allclose(answer.scores, scores, rtol=1e-3)
    np.testing.assert_allclose(answer.maps, maps, rtol=1e-3, atol=1e-4)


def test_banks_are_exchanged_between_two_images(found: Trained, images: np.ndarray) -> None:
    backend = OnnxRuntimeBackend(read_engine(found.robot), threads=1)
    for length in (500, 9, 38):
        bank = _random_bank(length, seed=length)
        backend.bind({'memory_bank': bank})
        scores, _ = _anomalibs_prediction(found, bank, images[:1])
        np.testing.assert_allclose(backend.run(images[:1]).scores, scores, rtol=1e-3)


def test_a_bank_of_other_features_is_refused(found: Trained, images: np.ndarray) -> None:
    backend = OnnxRuntimeBackend(read_engine(found.robot), threads=1)
    with pytest.raises(BackendError, match=r"'memory_bank' have shape \(50, 10\), the graph take"):
        backend.bind({'memory_bank': np.zeros((50, 10), np.float32)})
    backend.bind({'memory_bank': _random_bank(8)})
    with pytest.raises(BackendError, match='inference failed: '):
        backend.run(images[:1])


def test_one_neighbour_is_the_largest_distance_without_weight(
    found: Trained, images: np.ndarray
) -> None:
    bank, graph = _random_bank(50), _graph(found, num_neighbors=1)
    scores, maps = graph(torch.from_numpy(images), {'memory_bank': bank})
    expected, expected_maps = _anomalibs_prediction(found, bank, images, num_neighbors=1)
    np.testing.assert_allclose(scores[:, 0], expected, rtol=1e-3)
    np.testing.assert_allclose(maps[:, 0], expected_maps, rtol=1e-3, atol=1e-4)
    nine = _graph(found, num_neighbors=9)
    weighted = nine(torch.from_numpy(images), {'memory_bank': bank})[0]
    assert (weighted < scores).all()


def test_a_patch_of_the_bank_itself_has_distance_0(found: Trained, images: np.ndarray) -> None:
    graph = _graph(found)
    patches = _patches(graph, images[:1])
    bank = np.concatenate([_random_bank(50), patches.numpy()])
    scores, maps = graph(torch.from_numpy(images[:1]), {'memory_bank': bank})
    assert scores.item() < 1e-6
    assert maps.max() < 1e-6


# ---- the search in fewer channels


@pytest.mark.parametrize('length', [1, 7, 128, 1000])
def test_the_closest_feature_is_among_the_best_of_the_groups(length: int) -> None:
    queries, search = torch.randn(2, 5, 8), torch.randn(8, length)
    queries[..., -1] = 1
    padded = _in_groups(search)
    groups = padded.shape[1] // 16
    closeness = queries @ padded
    every = closeness.reshape(2, 5, 16, groups).amax(dim=2)
    found = _closest(closeness)
    assert found[..., 0].equal((queries @ search).argmax(dim=2))
    # And each is the best of its group, the best groups first.
    best, which = every.topk(8, dim=2)
    assert closeness.gather(2, found).equal(best)
    assert (found % groups).equal(which)


@pytest.mark.parametrize('neighbours', [1, 9])
def test_a_search_in_few_channels_gives_the_exact_score_and_a_map_from_above(
    found: Trained, images: np.ndarray, neighbours: int
) -> None:
    seen = _patches(_graph(found), images[:3])
    noise = torch.randn(20, *seen.shape, generator=torch.Generator().manual_seed(0))
    bank = {'memory_bank': (seen + noise * seen.std() / 4).flatten(0, 1).numpy()}
    basis = principal_components(torch.from_numpy(bank['memory_bank']), 48)
    torch.testing.assert_close(basis.T @ basis, torch.eye(48))
    batch = torch.from_numpy(images)
    exact, exact_maps = _graph(found, num_neighbors=neighbours)(batch, bank)
    scores, maps = _graph(found, basis=basis, num_neighbors=neighbours)(batch, bank)
    torch.testing.assert_close(scores, exact, rtol=1e-5, atol=1e-5)
    above = maps - exact_maps
    assert above.min() > -1e-4
    # It is no exact one, or this would test nothing.
    assert 1e-3 < above.max() < 0.1 * exact_maps.max()


def test_a_large_bank_brings_its_search_channels_along(
    learn: Learn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr('adet_training.models.patchcore._LARGE_BANK', 30)
    # Its graph is exported several times.
    settings = {'backbone': 'test_resnet', 'layers': 'layer2,layer3', 'coreset_ratio': 0.5}
    small = {'model': 'patchcore', 'backbone_weights': 'random'}
    run = learn({**settings, 'search_channels': 16}, **small)
    weights = load_weights(run.bundle)
    channels = run.bundle.statistics()['memory_bank'].shape[1]
    assert weights['search_basis'].shape == (channels, 16)
    span = run.bundle.manifest.score_range.span

    def search_of(bundle: Bundle) -> tuple[int, float]:
        """In how many channels its engine searches, and how far its map may be off."""
        allowed = export(bundle).parity.map_tolerance
        model = onnx.load_from_string(read_engine(bundle).onnx)
        (search,) = (one for one in model.graph.input if one.name == 'search')
        return search.type.tensor_type.shape.dim[0].dim_value - 1, (allowed or 0) / span

    monkeypatch.setattr('adet_training.models.patchcore._MAP_TOLERANCE', 10.0)
    assert search_of(run.bundle) == (16, pytest.approx(10))
    # Where the map is too far off, as with one candidate, all channels are searched.
    monkeypatch.setattr('adet_training.models.patchcore._CANDIDATES', 1)
    monkeypatch.setattr('adet_training.models.patchcore._MAP_TOLERANCE', 1e-6)
    assert search_of(run.bundle) == (channels, pytest.approx(1e-3))
    wrong = {**weights, 'search_basis': torch.zeros(7, 3)}
    message = f'search_basis is not made for {channels} channels; train again'
    with pytest.raises(ConfigError, match=message):
        ADAPTER.graph(run.bundle.manifest, wrong)
    exact = learn({**settings, 'search_channels': 0}, **small)
    assert 'search_basis' not in load_weights(exact.bundle)


# ---- memory


class Shapes(TorchDispatchMode):
    """Notes the shape of every result."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[tuple[int, ...]] = set()

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        results = result if isinstance(result, tuple | list) else [result]
        self.seen |= {tuple(one.shape) for one in results if isinstance(one, torch.Tensor)}
        return result


@pytest.mark.parametrize('size', [256, 200])
def test_pieces_give_the_answer_of_the_whole_in_bounded_memory(
    found: Trained, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    images = torch.from_numpy(
        np.random.default_rng(1).integers(0, 256, (2, size, size, 3), np.uint8)
    )
    # Large enough for its distances to exceed the network's own maps.
    bank = _random_bank(4001)
    whole = _graph(found, size)
    # In pieces of 64 patches, as large banks have them in real life.
    monkeypatch.setattr('adet_training.models.patchcore._DISTANCES', 64 * 4001)
    chunked = _graph(found, size, max_bank=4001)

    expected = whole(images, {'memory_bank': bank})
    with Shapes() as shapes:
        answer = chunked(images, {'memory_bank': bank})

    for one, other in zip(answer, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)
    distances = {shape for shape in shapes.seen if len(shape) == 3 and shape[2] == len(bank)}
    assert distances == {(2, 64, 4001), (2, 1, 4001), (2, (size // 8) ** 2 % 64, 4001)} - {
        (2, 0, 4001)
    }
    assert max(np.prod(shape) for shape in shapes.seen) < 2 * (size // 8) ** 2 * len(bank) / 2


# ---- what cannot be


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        ({'coreset_ratio': 0}, 'coreset_ratio is 0.0, expected more than 0, at most 1'),
        ({'coreset_ratio': 1.1}, 'coreset_ratio is 1.1, expected more than 0, at most 1'),
        ({'coreset_ratio': float('nan')}, 'coreset_ratio is nan, expected more than 0, at most 1'),
        ({'patch_size': 2}, 'patch_size is 2, expected an odd number, 1 to 15'),
        ({'patch_size': 17}, 'patch_size is 17, expected an odd number, 1 to 15'),
        ({'num_neighbors': 0}, 'num_neighbors is 0, expected 1 to 64'),
        ({'num_neighbors': 65}, 'num_neighbors is 65, expected 1 to 64'),
        ({'max_bank': 8}, 'max_bank is 8, expected 9 (num_neighbors) to 1000000'),
        ({'max_bank': 1_000_001}, 'max_bank is 1000001, expected 1 to 1000000'),
        ({'max_bank': 0, 'num_neighbors': 1}, 'max_bank is 0, expected 1 to 1000000'),
        ({'layers': ['layer2', 'layer9']}, "backbone resnet18 has no layer 'layer9'; it has act1"),
        ({'backbone': 'resnet19'}, "unknown backbone 'resnet19'; timm has e.g. "),
        ({'n_features': 3}, "unknown hyper-parameter 'n_features'; known: align, backbone, "),
    ],
    ids=str,
)
def test_an_impossible_setting_is_refused_before_anything_is_written(
    learn: Learn, tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=f'^{re.escape(message)}'):
        learn(settings, model='patchcore', backbone_weights='random')
    assert not (tmp_path / 'models').exists()


def test_a_network_that_anomalib_builds_otherwise_is_refused() -> None:
    extractor = TimmFeatureExtractor('resnet18', ['layer1'], pre_trained=False)
    other = load_backbone('convnext_atto', ('stages.1',), 'random', seed=0)
    with pytest.raises(ConfigError, match='convnext_atto does not fit PatchCore; take a conv'):
        fill_extractor(extractor, other, 'PatchCore')


def test_fewer_patches_than_neighbours_are_refused(learn: Learn, own_few: Path) -> None:
    for path in list_images(own_few / 'train')[2:]:
        path.unlink()
    with pytest.raises(ConfigError, match='num_neighbors is 9, expected at most all 8 patches'):
        learn({'layers': ['blocks.6']}, model='patchcore', data_root=own_few)
    settings = {'layers': ['blocks.6'], 'num_neighbors': 8}
    bundle = learn(settings, model='patchcore', data_root=own_few).bundle
    assert bundle.statistics()['memory_bank'].shape == (8, 320)


@pytest.mark.parametrize('ratio', [0.1, 1.0])
def test_a_background_without_texture_is_no_trouble(
    learn: Learn, own_few: Path, ratio: float
) -> None:
    for path in list_images(own_few):
        if 'masks' not in path.parts:
            image = cv2.imread(str(path))
            image[:, :64] = 255
            cv2.imwrite(str(path), image)
    bundle = learn({'coreset_ratio': ratio}, model='patchcore', data_root=own_few).bundle
    weights = torch.load(bundle.folder / 'model.pth', weights_only=True)
    graph = ADAPTER.graph(bundle.manifest, weights)
    golden = bundle.golden()
    _, maps = graph(torch.from_numpy(golden.images), bundle.statistics())
    tolerance = 1e-3 * bundle.manifest.score_range.span
    np.testing.assert_allclose(maps[:, 0], golden.prediction.maps, rtol=0, atol=tolerance)
