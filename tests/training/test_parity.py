# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Every model: its exported graph answers as the module that was trained, and twice the same."""

from __future__ import annotations

from dataclasses import replace
import io
from pathlib import Path
import shutil
from typing import Any, TYPE_CHECKING

import cv2
import numpy as np
import pytest
from tiny_models import held_upright, Learn, through_graph, tiny, Train
import torch

from adet_core.errors import ConfigError
from adet_core.image import preprocess, read_image
from adet_core.inference.detector import Detector
from adet_core.io.folders import list_images
from adet_core.models.names import model_folder
from adet_training.models import load_adapter, own_models

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.training
each_model = pytest.mark.parametrize('model', own_models())


@pytest.fixture(scope='module')
def files(deployed: Any, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Drawn images, and the same in the sizes and depths that cameras have."""
    folder = tmp_path_factory.mktemp('files')
    drawn = list_images(deployed.test_folder)
    good, bad = (cv2.imread(str(drawn[number])) for number in (-1, 0))
    grey = cv2.cvtColor(bad, cv2.COLOR_BGR2GRAY)
    made = {
        'large.png': cv2.resize(bad, (640, 480), interpolation=cv2.INTER_CUBIC),
        'tall.jpg': cv2.resize(good, (90, 500)),
        'small.bmp': cv2.resize(good, (33, 20)),
        'grey.png': grey,
        'deep_grey.png': cv2.resize(grey, (200, 100)).astype(np.uint16) * 257,
        'deep_colour.tif': bad.astype(np.uint16) * 200,
        'alpha.png': cv2.cvtColor(good, cv2.COLOR_BGR2BGRA),
        'black.png': np.zeros((50, 40), np.uint8),
        'white.png': np.full((70, 70, 3), 255, np.uint8),
        'noise.png': np.random.default_rng(0).integers(0, 256, (128, 128, 3), np.uint8),
    }
    for name, pixels in made.items():
        assert cv2.imwrite(str(folder / name), pixels)
    turned = folder / 'turned.jpg'
    turned.write_bytes(held_upright(cv2.imencode('.jpg', cv2.resize(bad, (160, 96)))[1].tobytes()))
    assert read_image(turned).size == (160, 96)
    return [drawn[0], drawn[6], drawn[-1], *sorted(folder.iterdir())]


def _own_prediction(module: Any, image: np.ndarray) -> tuple[float, np.ndarray]:
    """What the trained module says of a preprocessed image, asked as its makers ask it."""
    batch = torch.from_numpy(image).permute(2, 0, 1)[None].to(torch.float32) / 255
    with torch.inference_mode():
        answer = module.eval().model(module.pre_processor(batch))
    return float(answer.pred_score), answer.anomaly_map[0, 0].numpy()


@each_model
def test_the_graph_answers_as_the_trained_module_does(
    trained: Train, model: str, files: list[Path]
) -> None:
    found = trained(model)
    manifest = found.robot.manifest
    detector = Detector.load(found.robot.folder, model=model, threads=1)
    tolerance = 1e-3 * manifest.score_range.span
    threshold, size = manifest.image_threshold.value, (manifest.image.height, manifest.image.width)
    scores = []
    for path in files:
        image = read_image(path)
        verdict = detector.inspect(image)
        score, expected = _own_prediction(found.module, preprocess(image, size))
        assert verdict.score == pytest.approx(score, rel=1e-6, abs=tolerance), path.name
        assert verdict.anomaly_map.shape == expected.shape == size
        assert np.abs(verdict.anomaly_map - expected).max() <= max(
            tolerance, 1e-6 * expected.max()
        )
        assert np.corrcoef(verdict.anomaly_map.ravel(), expected.ravel())[0, 1] > 0.999, path.name
        if abs(score - threshold) > tolerance:
            assert verdict.is_anomalous == (score >= threshold), path.name
        scores.append(score)
    # Otherwise equal answers would say nothing.
    assert np.ptp(scores) > 10 * tolerance


@each_model
def test_a_batch_of_three_gets_the_answers_of_its_images(
    trained: Train, model: str, files: list[Path]
) -> None:
    found = trained(model)
    image = found.robot.manifest.image
    detector = Detector.load(found.robot.folder, threads=1)
    images = [preprocess(read_image(path), (image.height, image.width)) for path in files[:3]]
    together, alone = detector.run(images), [detector.run([one]) for one in images]
    tolerance = 1e-4 * found.robot.manifest.score_range.span
    for number, one in enumerate(alone):
        assert together.scores[number] == pytest.approx(one.scores[0], abs=tolerance)
        np.testing.assert_allclose(together.maps[number], one.maps[0], rtol=1e-5, atol=tolerance)


@each_model
def test_the_bundle_says_what_the_model_is(trained: Train, model: str) -> None:
    found = trained(model)
    manifest = found.robot.manifest
    assert manifest.model == model
    assert found.run.folder.parent.parent.name == found.robot.folder.name == model_folder(model)
    assert {**manifest.hyper_parameters, **tiny(model)} == manifest.hyper_parameters
    statistics = found.robot.statistics()
    assert all(array.size and np.isfinite(array).all() for array in statistics.values())
    assert bool(statistics) == any(
        name.endswith('.npz')
        for name in set(manifest.files) - {'golden.npz', 'made_up.npz', 'normals.npz'}
    )
    assert manifest.metrics['image_auroc'] >= 0
    low, high = manifest.score_range.minimum, manifest.score_range.maximum
    assert low <= manifest.image_threshold.value <= high


@each_model
def test_one_seed_gives_the_same_scores_and_thresholds_twice(
    trained: Train,
    learn: Learn,
    few_images: Path,
    model: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = trained(model).run
    # As that one does.
    through_graph(monkeypatch)
    torch.manual_seed(9)

    again = learn(model=model, data_root=few_images)

    assert again.folder != first.folder
    one, other = (run.bundle.manifest for run in (first, again))
    for name in ('image_threshold', 'pixel_threshold', 'score_range', 'metrics', 'backbone'):
        assert getattr(one, name) == getattr(other, name)
    assert one.files == other.files
    tables = [run.folder / 'test_result' / 'predictions.csv' for run in (first, again)]
    assert tables[0].read_bytes() == tables[1].read_bytes()


@each_model
@pytest.mark.parametrize('name', ['resnet50', 'resnet19', 'mobilenetv3_small_050', ''])
def test_weights_of_another_network_than_the_bundle_names_are_refused(
    trained: Train, model: str, name: str
) -> None:
    bundle = trained(model).run.bundle
    if bundle.manifest.backbone is None:
        pytest.skip('it has none')
    backbone = replace(bundle.manifest.backbone, name=name)
    weights = torch.load(io.BytesIO(bundle.weights()), weights_only=True)
    with pytest.raises(ConfigError):
        load_adapter(model).graph(replace(bundle.manifest, backbone=backbone), weights)


# ---- data with nothing in it to learn


def _flat(data: Path, levels: tuple[int, ...]) -> None:
    """One colour in all images; the bad ones have a spot of another."""
    rng = np.random.default_rng(0)
    for path in list_images(data / 'train') + list_images(data / 'test'):
        pixels = np.full((128, 128, 3), levels, np.uint8)
        if 'anomaly' in path.parts:
            row, column = rng.integers(20, 90, 2)
            pixels[row : row + 20, column : column + 20] = 250
        assert cv2.imwrite(str(path), pixels)


def _identical(data: Path) -> None:
    good = list_images(data / 'train') + list_images(data / 'test' / 'plate' / 'normal')
    for path in good[1:]:
        shutil.copy(good[0], path)


MONOTONOUS: dict[str, Callable[[Path], None]] = {
    'all normal images are one': _identical,
    'one flat colour': lambda data: _flat(data, (90, 120, 60)),
    'all black': lambda data: _flat(data, (0, 0, 0)),
}


CASES = [
    (model, what, labelled)
    for model in own_models()
    for what in MONOTONOUS
    for labelled in (True, False)
    # Each training of EfficientAD takes its time; test_efficientad.py has some.
    if model != 'efficientad'
]


@pytest.mark.parametrize(('model', 'what', 'labelled'), CASES)
def test_data_with_nothing_in_it_to_learn_gives_numbers_all_the_same(
    own_few: Path, learn: Learn, model: str, what: str, labelled: bool
) -> None:
    MONOTONOUS[what](own_few)
    if not labelled:
        shutil.rmtree(own_few / 'test')

    bundle = learn(model=model, data_root=own_few).bundle

    manifest, golden = bundle.manifest, bundle.golden()
    assert np.isfinite(golden.prediction.scores).all()
    assert np.isfinite(golden.prediction.maps).all()
    statistics = bundle.statistics()
    assert all(np.isfinite(array).all() for array in statistics.values())
    assert np.isfinite(list(manifest.metrics.values())).all()
    # What an export would be held to.
    weights = torch.load(io.BytesIO(bundle.weights()), weights_only=True)
    graph = load_adapter(model).graph(manifest, weights)
    scores, maps = graph(torch.from_numpy(golden.images), statistics)
    tolerance = 1e-3 * manifest.score_range.span
    np.testing.assert_allclose(scores[:, 0], golden.prediction.scores, rtol=0, atol=tolerance)
    np.testing.assert_allclose(maps[:, 0], golden.prediction.maps, rtol=0, atol=tolerance)
    if not labelled:
        assert (scores < manifest.image_threshold.value + tolerance).all()
