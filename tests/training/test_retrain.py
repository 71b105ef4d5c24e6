# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""``adet retrain`` of every model: what it learns, what it refuses, and that it does so alone."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
import re
import shutil
import subprocess
import sys
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from tiny_models import Train

from adet_core.bundle import copy_bundle, open_bundle, read_engine, read_features, write_engine
from adet_core.bundle.decode import decode
from adet_core.bundle.engine import ENGINE_FOLDER, EngineRecord
from adet_core.cli import main
from adet_core.errors import BundleError, DatasetError
from adet_core.image import preprocess, read_image
from adet_core.inference.detector import Detector
from adet_core.inference.halves import SharedBackbone
from adet_core.inference.onnxruntime import OnnxRuntimeBackend
from adet_core.io.feedback import keep_frame
from adet_core.models.gaussian import RunningGaussians
from adet_core.retraining import retrain
from adet_core.retraining.gate_graph import GateGraph
from adet_synth import write_dataset

pytestmark = pytest.mark.training

Out = pytest.CaptureFixture[str]
BY_STATISTICS = ('padim', 'patchcore')
MODELS = (*BY_STATISTICS, 'vae', 'efficientad')
PROGRAM = """
import sys
from adet_core.cli import main
code = main(sys.argv[1:])
heavy = sorted({'torch', 'anomalib', 'lightning'} & set(sys.modules))
print(heavy, file=sys.stderr)
sys.exit(code)
"""

# Somebody insists: no check of the gate refuses.
GATE_OFF = ['max_missed=1', 'max_rejected=1', 'max_auroc_loss=1']


@pytest.fixture
def robot(trained: Train, tmp_path: Path) -> Any:
    """A copy of a model as a robot has it."""

    def get(model: str) -> Path:
        return shutil.copytree(trained(model).robot.folder, tmp_path / 'robot' / model)

    return get


def _scores(folder: Path, images: Path) -> list[float]:
    detector = Detector.load(folder)
    paths = sorted(images.glob('*.png'))
    if detector.bundle.manifest.model == 'efficientad':
        # It takes half a second for each.
        del paths[3:]
    return [detector.inspect(read_image(path)).score for path in paths]


@pytest.mark.parametrize('model', MODELS)
def test_every_model_learns_and_goes_back(
    model: str, robot: Any, new_images: Path, few_images: Path, capsys: Out
) -> None:
    folder = robot(model)
    meta = (folder / 'meta.json').read_bytes()
    tests = few_images / 'test' / 'plate'
    before = _scores(folder, new_images)
    words = ['retrain', str(folder), '--images', str(new_images), '--incremental', '--json']
    words += ['--test-dir', str(tests)]
    words += ['--set', 'steps=2'] if model == 'efficientad' else []
    assert main(words) == 0
    result = json.loads(capsys.readouterr().out)
    assert result['success']
    assert result['images_used'] + result['held_out'] >= 15
    assert 0 <= result['after']['image_auroc'] <= 1
    bundle = open_bundle(folder, in_service=True)
    assert bundle.bundle_id == result['bundle_id'] != bundle.base_id
    assert (folder / 'meta.json').read_bytes() == meta
    assert bundle.manifest.image_threshold.method == 'normal_quantile'
    after = _scores(folder, new_images)
    if model == 'efficientad':
        # Its maps are scaled anew; what it learns is tested with the model.
        assert after != before
    else:
        assert np.mean(after) < np.mean(before)
    assert Detector.load(folder).threshold == result['threshold']
    # Learned ones are not learned twice.
    assert main(words) == 1
    assert 'nothing new to learn among 15 images' in capsys.readouterr().err
    assert main(['retrain', str(folder), '--roll-back', '--json']) == 0
    assert _scores(folder, new_images) == before


@pytest.mark.parametrize('model', BY_STATISTICS)
def test_neither_torch_nor_anomalib_is_loaded(model: str, robot: Any, new_images: Path) -> None:
    words = ['retrain', str(robot(model)), '--images', str(new_images), '--incremental']
    done = subprocess.run(
        [sys.executable, '-c', PROGRAM, *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1] == '[]'


def test_padim_learned_in_two_parts_is_padim_learned_at_once(
    robot: Any, new_images: Path, few_images: Path
) -> None:
    folder = robot('padim')
    retrain(folder, new_images, incremental=True)
    bundle = open_bundle(folder, in_service=True)
    assert bundle.report is not None
    learned = set(bundle.known_images()[0])
    extractor = OnnxRuntimeBackend(read_features(bundle))
    sums = RunningGaussians()
    for path in [*(few_images / 'train' / 'plate').iterdir(), *new_images.iterdir()]:
        image = read_image(path)
        if bundle.known_images()[0].get(_hash(path)) is not None:
            sums.add(extractor.features(preprocess(image, (64, 64))[None]))
    assert sums.count == bundle.report.total == len(learned)
    found = bundle.statistics()
    np.testing.assert_allclose(found['mean'], sums.mean(), atol=1e-4)
    expected = sums.inverse_covariance()
    difference = np.abs(found['inv_covariance'] - expected).max()
    assert difference < 1e-2 * np.abs(expected).max()


@pytest.mark.parametrize('model', BY_STATISTICS)
def test_the_halves_of_the_graph_predict_what_the_whole_predicts(model: str, robot: Any) -> None:
    bundle = open_bundle(robot(model))
    images, statistics = bundle.normals(), bundle.input_statistics()
    with GateGraph(bundle, threads=2) as graph:
        assert graph.at_once == 2
        graph.remember()
        run = graph.bind(statistics).runs
        # The second time what the backbone made comes from the cache.
        found = [run(image[None]) for image in (*images, *images)]
    backend = OnnxRuntimeBackend(read_engine(bundle))
    backend.bind(statistics[0])
    tolerance = 1e-3 * bundle.manifest.score_range.span
    for number, image in enumerate(images):
        expected = backend.run(image[None])
        for one in (found[number], found[number + len(images)]):
            np.testing.assert_allclose(one.scores, expected.scores, rtol=0, atol=tolerance)
            np.testing.assert_allclose(one.maps, expected.maps, rtol=0, atol=tolerance)


@pytest.mark.parametrize('model', BY_STATISTICS)
def test_a_cache_changes_no_verdict(
    model: str, robot: Any, new_images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = robot(model)
    first = shutil.copytree(new_images, tmp_path / 'first')
    later = sorted(first.iterdir())[8:]
    for path in later:
        path.unlink()
    retrain(folder, first, incremental=True)
    other = robot_copy(folder)
    for name in ('gate_features.bin', 'gate_scores.bin'):
        (other / ENGINE_FOLDER / name).unlink()
    ran: list[int] = []
    between_of = SharedBackbone._between_of

    def counted(backbone: SharedBackbone, image: Any) -> Any:
        ran.append(1)
        return between_of(backbone, image)

    monkeypatch.setattr(SharedBackbone, '_between_of', counted)
    outcomes = [retrain(one, new_images, incremental=True) for one in (folder, other)]
    reports = [outcome.report for outcome in outcomes]
    assert reports[0].before == reports[1].before
    assert reports[0].after == reports[1].after
    assert reports[0].image_threshold == reports[1].image_threshold
    # Of the images that were asked before, the set in service is not asked again.
    asked = reports[0].before
    known = asked.normals + sum(asked.made_up.values())
    assert len(ran) < 2 * 2 * known - known // 2


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_patchcore_keeps_old_patches_and_takes_new_ones_within_the_cap(
    robot: Any, new_images: Path
) -> None:
    folder = robot('patchcore')
    old = open_bundle(folder).statistics()['memory_bank']
    retrain(folder, new_images, incremental=True)
    bank = open_bundle(folder, in_service=True).statistics()['memory_bank']
    assert len(bank) > len(old)
    rows = {row.tobytes() for row in bank}
    kept = sum(row.tobytes() in rows for row in old)
    assert 0 < kept < len(bank)
    again = robot_copy(folder)
    retrain(again, new_images, incremental=False, overrides=['max_bank=20', *GATE_OFF])
    assert len(open_bundle(again, in_service=True).statistics()['memory_bank']) == 20


def robot_copy(folder: Path) -> Path:
    return shutil.copytree(folder, folder.parent / f'{folder.name}_copy')


def test_a_full_retraining_forgets(robot: Any, new_images: Path) -> None:
    one = robot('padim')
    retrain(one, new_images, incremental=False)
    other = robot_copy(one)
    # Whatever was in service before, the same images give the same statistics.
    retrain(other, new_images, incremental=False)
    found = [open_bundle(folder, in_service=True) for folder in (one, other)]
    np.testing.assert_array_equal(*(bundle.statistics()['mean'] for bundle in found))
    assert found[0].report is not None
    assert found[0].report.total == found[0].report.pictures == len(found[0].report.learned)


def test_a_marked_false_alarm_is_learned_and_passes(
    robot: Any, few_images: Path, tmp_path: Path
) -> None:
    folder = robot('patchcore')
    detector = Detector.load(folder)
    path = sorted((few_images / 'test' / 'plate' / 'anomaly').glob('*.png'))[0]
    image = read_image(path)
    detector.threshold = 0.0
    keep_frame(tmp_path / 'train', 'frame_1', image, {'verdict': 'fine'}, limit=5)
    outcome = retrain(folder, tmp_path / 'train', incremental=True)
    assert outcome.fault == ''
    assert outcome.report.pictures == outcome.report.after.marked == 1
    assert outcome.report.after.marked_rejected == 0
    now = Detector.load(folder).inspect(image)
    assert not now.is_anomalous
    assert now.score < detector.inspect(image).score


def test_a_bad_image_among_the_new_ones_is_passed_over(
    robot: Any, new_images: Path, tmp_path: Path, capsys: Out
) -> None:
    images = shutil.copytree(new_images, tmp_path / 'images')
    (images / 'bad.png').write_bytes(b'no image')
    words = ['retrain', str(robot('padim')), '--images', str(images), '--incremental', '--json']
    assert main(words) == 0
    (line,) = json.loads(capsys.readouterr().out)['unreadable']
    assert line == f'{images / "bad.png"}: cannot be decoded as an image'


def test_anomalies_taken_for_good_parts_are_rejected_and_kept_aside(
    robot: Any, tmp_path: Path, capsys: Out
) -> None:
    folder = robot('padim')
    base = open_bundle(folder).bundle_id
    write_dataset(
        tmp_path, category='plate', train=1, test_normal=8, test_anomaly=12, size=128, seed=4
    )
    tests, images = tmp_path / 'test' / 'plate', tmp_path / 'images'
    images.mkdir()
    for path in (tests / 'anomaly').glob('*.png'):
        keep_frame(images, path.stem, read_image(path), {'verdict': 'fine'}, limit=99)
    words = ['retrain', str(folder), '--images', str(images), '--incremental']
    assert main([*words, '--test-dir', str(tests)]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    # Which check finds it first depends on so small a model.
    assert re.search(r'(caught|rejects|image AUROC falls from) .*--set max_\w+=1', error)
    assert open_bundle(folder, in_service=True).bundle_id == base
    (kept,) = (folder / 'retrain' / 'rejected').iterdir()
    assert json.loads((kept / 'report.json').read_text())['rejected'] in error
    assert str(kept) in error
    # Somebody insists, and the report says so.
    given = [part for word in GATE_OFF for part in ('--set', word)]
    assert main([*words, '--test-dir', str(tests), *given]) == 0
    report = open_bundle(folder, in_service=True).report
    assert report is not None
    assert list(report.overrides) == GATE_OFF
    assert (report.after.image_auroc or 0) < (report.before.image_auroc or 0)


def test_a_graph_that_is_not_its_own_is_found_out(robot: Any, new_images: Path) -> None:
    """As of an engine that somebody else's weights were exported to."""
    folder = robot('padim')
    bundle = open_bundle(folder)
    record = json.loads((folder / ENGINE_FOLDER / 'model.json').read_text())
    graph = (folder / ENGINE_FOLDER / 'model.onnx').read_bytes()
    features = onnx.load_from_string((folder / ENGINE_FOLDER / 'features.onnx').read_bytes())
    for weight in features.graph.initializer:
        values = onnx.numpy_helper.to_array(weight)
        if values.ndim == 4:
            weight.CopyFrom(onnx.numpy_helper.from_array(values * np.float32(1.2), weight.name))
            break
    data = features.SerializeToString()
    record['features_sha256'] = hashlib.sha256(data).hexdigest()
    write_engine(bundle, graph, decode(EngineRecord, record), data)
    outcome = retrain(folder, new_images, incremental=True)
    assert 'the graph differs from what was learned' in outcome.fault
    assert open_bundle(folder, in_service=True).report is None


def test_a_bundle_without_features_says_how_to_get_them(
    robot: Any, new_images: Path, trained: Train, tmp_path: Path
) -> None:
    bundle = copy_bundle(trained('padim').robot, tmp_path / 'PaDiM')
    with pytest.raises(BundleError, match=r'model.json: missing; make it with: adet export'):
        retrain(bundle.folder, new_images)
    folder = robot('padim')
    (folder / ENGINE_FOLDER / 'features.onnx').unlink()
    with pytest.raises(BundleError, match=r'features.onnx: missing; make it with: adet export'):
        retrain(folder, new_images)


def test_too_few_images_are_told(robot: Any, tmp_path: Path, new_images: Path) -> None:
    folder, images = robot('padim'), tmp_path / 'images'
    images.mkdir()
    with pytest.raises(DatasetError, match='holds no images'):
        retrain(folder, images)
    image = sorted(new_images.iterdir())[0]
    shutil.copy(image, images)
    with pytest.raises(DatasetError, match='1 images to learn from and 0 to find'):
        retrain(folder, images, incremental=False)
    (images / 'anomaly').mkdir()
    assert cv2.imwrite(str(images / 'anomaly' / 'x.png'), np.zeros((9, 9, 3), np.uint8))
    with pytest.raises(DatasetError, match='is labelled as an anomaly; only good parts'):
        retrain(folder, images)
