# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Trainings, exports and retrainings with a geometry: regions, proportions and tiles."""

from __future__ import annotations

import csv
from functools import partial
import json
from pathlib import Path
import shutil
from typing import Any

import cv2
import numpy as np
import pytest
from tiny_models import Learn

from adet_core.bundle import AREA_FILE, Bundle, open_bundle
from adet_core.errors import ConfigError
from adet_core.geometry import Box, Geometry, TileSpec
from adet_core.image import Image, read_image
from adet_core.inference.detector import Detector
from adet_core.io.folders import list_images
from adet_core.io.labelled import LabelledReader
from adet_core.retraining import retrain
from adet_training import train
from adet_training.export import export
from adet_training.layout import find_roi, inputs_of, make_geometry
from adet_training.models.efficientad import EfficientAdParameters
from adet_training.models.padim import PadimParameters
from adet_training.models.vae import VaeParameters
from adet_training.parameters import make_parameters, Parameters, parse_settings
from adet_training.scratch import Scratch

pytestmark = pytest.mark.training

CHANNELS = ((0.5,) * 3, (0.25,) * 3)


def drawn(folder: Path, *sizes: tuple[int, int]) -> list[Path]:
    """Grey images of these sizes, height and width."""
    paths = []
    for number, size in enumerate(sizes):
        paths.append(folder / f'{number}.png')
        cv2.imwrite(str(paths[-1]), np.full(size, 100, np.uint8))
    return paths


def made(*words: str, images: list[Path], roi: str = '') -> Geometry:
    parameters = make_parameters(PadimParameters, parse_settings(words))
    return make_geometry(parameters, CHANNELS, images, roi=roi)


# ---- settings


@pytest.mark.parametrize(
    ('word', 'size'),
    [('image_size=128', (128, 128)), ('image_size=512x256', (256, 512))],
)
def test_the_size_is_an_edge_or_width_and_height(word: str, size: tuple[int, int]) -> None:
    assert make_parameters(Parameters, parse_settings([word])).size == size


@pytest.mark.parametrize(
    ('kind', 'word', 'message'),
    [
        (
            Parameters,
            'image_size=512x',
            "image_size is '512x', expected a whole number, or WIDTHx",
        ),
        (Parameters, 'image_size=512x63', "image_size is '512x63', expected 64 to 2048"),
        (Parameters, 'fit=zoom', "fit is 'zoom', expected stretch or letterbox or crop"),
        (Parameters, 'tiles=31', 'tiles is 31, expected 0, or 32 to 65536'),
        (Parameters, 'overlap=0.8', 'overlap is 0.8, expected 0 to 0.75'),
        (Parameters, 'whole=true', 'whole is True, expected false without tiles'),
        (VaeParameters, 'image_size=128x100', "image_size is '128x100', expected a multiple of"),
        (EfficientAdParameters, 'image_size=512x128', "image_size is '512x128', expected 256 to"),
    ],
)
def test_an_impossible_setting_is_refused(kind: Any, word: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_parameters(kind, parse_settings([word]))


def test_settings_become_a_geometry(tmp_path: Path) -> None:
    # Most of the images have the second size.
    images = drawn(tmp_path, (10, 10), (300, 400), (300, 400))
    assert made(images=images).is_plain
    geometry = made('image_size=64', 'tiles=128', 'overlap=0.25', images=images)
    assert geometry.spec.source == (400, 300)
    assert geometry.spec.tiles == TileSpec(width=128, overlap=0.25, own_statistics=True)
    assert geometry.size == (150, 200)
    geometry = made('image_size=128x64', images=images, roi='40,30,200,100')
    assert geometry.spec.roi == Box(x=40, y=30, width=200, height=100)
    assert geometry.size == (64, 128)
    # A region that is the image is none.
    assert made(images=images, roi='0,0,400,300').is_plain


def test_a_region_of_any_form_is_brought_to_the_canvas(tmp_path: Path) -> None:
    images = drawn(tmp_path, (300, 400))
    roi = tmp_path / 'roi.json'
    roi.write_text(json.dumps({'polygons': [[[0, 0], [399, 0], [0, 299]]]}))
    geometry = made('image_size=64', 'tiles=128', images=images, roi=str(roi))
    assert geometry.inspected is not None
    assert geometry.inspected.mean() == pytest.approx(0.5, abs=0.02)
    assert geometry.inspected[5, 5]
    assert not geometry.inspected[-5, -5]
    assert len(geometry.tiles) < len(Geometry(geometry.spec).tiles)


@pytest.mark.parametrize(
    ('words', 'roi', 'message'),
    [
        (
            ['tiles=301'],
            '',
            'tiles=301 are 301x301 pixels, more than the 400x300 .*give tiles=300',
        ),
        (['tiles=101'], '0,0,400,100', 'more than the 400x100 that are inspected; give tiles=100'),
        (
            ['image_size=256x128', 'tiles=300'],
            '0,0,400,100',
            'tiles=300 are 300x150 pixels, .*give tiles=200 or less, or tiles=0',
        ),
        ([], '0,0,401,9', 'reaches outside of the images of 400x300 pixels; give a rectangle'),
        (['image_size=2048', 'tiles=32'], '', 'tiles=32: impossible canvas: .*give larger tiles'),
    ],
)
def test_what_does_not_fit_the_images_is_refused(
    tmp_path: Path, words: list[str], roi: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        made(*words, images=drawn(tmp_path, (300, 400)), roi=roi)


def test_the_region_lies_beside_the_training_images(tmp_path: Path) -> None:
    assert find_roi(tmp_path, 'plate') == ''
    path = tmp_path / 'train' / 'plate.roi.png'
    path.parent.mkdir()
    path.touch()
    assert find_roi(tmp_path, 'plate') == str(path)


def test_tiles_share_the_memory_of_their_image(tmp_path: Path) -> None:
    (path,) = drawn(tmp_path, (300, 400))
    geometry = made('image_size=64', 'tiles=128', images=[path])
    image = LabelledReader(geometry).read(path)
    assert image is not None
    inputs = inputs_of(geometry, [image])
    assert len(inputs) == geometry.inputs
    assert all(np.shares_memory(one.pixels, image.pixels) for one in inputs)


def test_images_of_other_proportions_are_passed_over(tmp_path: Path) -> None:
    tall, wide = drawn(tmp_path, (400, 300), (300, 400))
    reader = LabelledReader(made('image_size=64', 'tiles=128', images=[wide]))
    assert reader.read(tall) is None
    assert reader.unreadable[0].startswith(f'{tall}: the image has 300x400 pixels, the grid of')


# ---- a training, its export and its retraining


def robot_of(bundle: Bundle) -> Detector:
    exported = export(bundle)
    assert exported.parity.holds
    return Detector.load(bundle.folder, backend='onnxruntime', threads=1)


def test_a_region_and_proportions_are_kept_from_training_to_verdict(
    learn: Learn, own_few: Path
) -> None:
    """The lower half is ignored, whatever happens there."""
    (own_few / 'train' / 'plate.roi.json').write_text(
        json.dumps(
            {'rectangle': [0, 0, 128, 96], 'ignore': [[[0, 64], [127, 64], [127, 95], [0, 95]]]}
        )
    )
    run = learn({'image_size': '96x64', 'fit': 'letterbox'}, data_root=own_few)
    image = run.bundle.manifest.image
    assert (image.width, image.height, image.fit) == (96, 64, 'letterbox')
    assert image.roi == Box(x=0, y=0, width=128, height=64)
    assert AREA_FILE not in run.bundle.manifest.files
    detector = robot_of(run.bundle)
    paths = list_images(own_few / 'test' / 'plate')
    with (run.folder / 'test_result' / 'predictions.csv').open(encoding='utf-8') as file:
        told = {row['path']: float(row['score']) for row in csv.DictReader(file)}
    for path in paths:
        found = detector.inspect(read_image(path))
        assert told[str(path)] == pytest.approx(found.score, rel=1e-5)
        assert np.isneginf(found.anomaly_map[len(found.anomaly_map) // 2 + 1 :]).all()
        pixels = read_image(path).pixels.copy()
        pixels[70:] = 0
        assert detector.inspect(Image(pixels, 'bgr8')).score == found.score


def test_tiles_of_a_memory_bank_work_from_training_to_retraining(
    learn: Learn, own_few: Path, new_images: Path
) -> None:
    run = learn({'tiles': 64, 'overlap': 0.25}, model='patchcore', data_root=own_few)
    bundle = run.bundle
    log = (run.folder / 'logs' / 'train.log').read_text()
    # 64 patches of 152 channels each; and as much for choosing among them.
    expected = (
        f'{6 * 9} inputs of the graph, 9 of each image, to learn from; all images and maps take '
    )
    assert f'{expected}1 MiB of memory, learning up to 4 MiB of memory' in log
    geometry = bundle.geometry()
    assert geometry.size == (128, 128)
    assert geometry.inputs == 9
    assert bundle.normals().shape[1:] == (128, 128, 3)
    assert bundle.golden().images.shape[1:] == (64, 64, 3)
    detector = robot_of(bundle)
    anomaly = list_images(own_few / 'test' / 'plate' / 'anomaly')[0]
    before = detector.inspect(read_image(anomaly))
    assert before.anomaly_map.shape == (128, 128)
    assert before.score == before.anomaly_map.max()
    kept = bundle.statistics()['memory_bank']
    outcome = retrain(bundle.folder, new_images, overrides=['max_auroc_loss=1'], threads=1)
    assert not outcome.fault
    assert outcome.report.total == 6 + outcome.report.pictures
    new = open_bundle(bundle.folder, in_service=True)
    np.testing.assert_array_equal(new.statistics()['memory_bank'][: len(kept)], kept)
    again = Detector.load(bundle.folder, backend='onnxruntime', threads=1, beside=[detector])
    assert again.inspect(read_image(anomaly)).score <= before.score * (1 + 1e-4)


def test_each_tile_has_gaussians_of_its_own_from_training_to_retraining(
    learn: Learn, own_few: Path, new_images: Path
) -> None:
    run = learn({'tiles': 64, 'overlap': 0.0}, data_root=own_few)
    bundle, geometry = run.bundle, run.bundle.geometry()
    assert geometry.inputs == 4
    own = bundle.input_statistics()
    assert len(own) == 4
    first = bundle.statistics()
    assert all(np.array_equal(first[name], own[0][name]) for name in first)
    # Tiles see different parts of the same images.
    assert not np.allclose(own[0]['mean'], own[3]['mean'], atol=0.1)
    detector = robot_of(bundle)
    paths = list_images(own_few / 'test' / 'plate')
    rows = (run.folder / 'test_result' / 'predictions.csv').read_text().splitlines()[1:]
    trained = {row.split(',')[0]: float(row.split(',')[2]) for row in rows}
    for path in paths[::3]:
        found = detector.inspect(read_image(path))
        assert found.score == pytest.approx(trained[str(path)], rel=1e-3)
        assert (
            detector.run([detector.geometry.place(read_image(path))[0]]).scores[0] == found.score
        )
    outcome = retrain(bundle.folder, new_images, overrides=['max_auroc_loss=1'], threads=1)
    assert not outcome.fault
    assert outcome.report.total == 6 + outcome.report.pictures
    new = open_bundle(bundle.folder, in_service=True).input_statistics()
    assert [one['mean'].shape for one in new] == [one['mean'].shape for one in own]
    assert not np.allclose(new[3]['mean'], own[3]['mean'], atol=1e-3)


def test_gaussians_of_too_many_tiles_are_refused_before_the_training(learn: Learn) -> None:
    with pytest.raises(ConfigError, match=r'of 9 tiles take .* MiB, more than 1024; take --set'):
        learn({'tiles': 64, 'overlap': 0.25, 'image_size': 512, 'n_features': 60})


def test_images_that_memory_does_not_hold_are_learned_from_all_the_same(
    learn: Learn, own_few: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {'tiles': 64, 'overlap': 0.0, 'robust': True}
    monkeypatch.setattr(train, 'Scratch', partial(Scratch, most=0))
    run = learn(settings, data_root=own_few)
    log = (run.folder / 'logs' / 'train.log').read_text()
    assert f'take 0 MiB of memory and 1 MiB of disk in {run.folder.parents[2]}, learning' in log
    monkeypatch.undo()
    same = learn(settings, data_root=own_few)
    assert run.bundle.manifest.metrics == same.bundle.manifest.metrics
    assert run.bundle.manifest.image_threshold == same.bundle.manifest.image_threshold
    # Nothing is left behind.
    assert [path.name for path in run.folder.parents[2].iterdir()] == ['PaDiM']


def test_parts_that_are_aligned_are_learned_again(learn: Learn, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)

    def write(folder: Path, count: int, *, label: str = '') -> Path:
        folder.mkdir(parents=True)
        for index in range(count):
            part = np.full((200, 200, 3), 20, np.uint8)
            part[70:130, 40:160] = rng.integers(90, 120, (60, 120, 3))
            part[75:95, 45:75] = 230
            if label:
                part[104:114, 110:124] = 20
            matrix = cv2.getRotationMatrix2D((100, 100), float(rng.uniform(-180, 180)), 1)
            turned = cv2.warpAffine(part, matrix, (200, 200), borderValue=(20, 20, 20))
            cv2.imwrite(str(folder / f'{folder.name}{index}.png'), turned)
        return folder

    data = tmp_path / 'data'
    write(data / 'train' / 'plate', 6)
    write(data / 'test' / 'plate' / 'normal', 3)
    bad = write(data / 'test' / 'plate' / 'anomaly', 3, label='anomaly')
    run = learn({'align': 'turn', 'image_size': '96x64'}, data_root=data)
    bundle, detector = run.bundle, robot_of(run.bundle)
    before = bundle.statistics()
    outcome = retrain(bundle.folder, write(tmp_path / 'new', 5), threads=1)
    assert not outcome.fault
    assert outcome.report.total == 6 + outcome.report.pictures
    new = open_bundle(bundle.folder, in_service=True)
    assert not np.array_equal(new.statistics()['mean'], before['mean'])
    again = Detector.load(bundle.folder, backend='onnxruntime', threads=1, beside=[detector])
    reference = again.geometry.reference
    assert reference is not None
    np.testing.assert_array_equal(reference.pixels, detector.geometry.reference.pixels)
    scores = [again.inspect(read_image(path)).score for path in list_images(bad)]
    good = [again.inspect(read_image(path)).score for path in list_images(tmp_path / 'new')]
    assert min(scores) > max(good)


@pytest.mark.parametrize(
    ('model', 'settings'),
    [
        ('padim', {'tiles_share': True}),
        ('vae', {}),
        ('efficientad', {'image_size': 256, 'natural_images': 'none'}),
    ],
)
def test_tiles_share_what_was_learned(
    learn: Learn, tmp_path: Path, few_images: Path, model: str, settings: dict[str, Any]
) -> None:
    for path in list_images(few_images / 'train' / 'plate')[:3]:
        (tmp_path / 'train' / 'plate').mkdir(parents=True, exist_ok=True)
        shutil.copy(path, tmp_path / 'train' / 'plate')
    values = {'tiles': 64, 'overlap': 0.0, 'image_size': '96x64', **settings}
    run = learn(values, model=model, data_root=tmp_path, roi='0,0,128,64')
    bundle, image = run.bundle, run.bundle.manifest.image
    geometry = bundle.geometry()
    log = (run.folder / 'logs' / 'train.log').read_text()
    assert f'{2 * geometry.inputs} inputs of the graph, {geometry.inputs} of each image' in log
    assert len(bundle.input_statistics()) == 1
    assert bundle.golden().images.shape[1:] == (image.height, image.width, 3)
    anomaly = list_images(few_images / 'test' / 'plate' / 'anomaly')[0]
    found = robot_of(bundle).inspect(read_image(anomaly))
    inside = found.anomaly_map[: geometry.size[0]]
    assert inside.shape == geometry.size
    assert found.score == inside.max()
    assert np.isneginf(found.anomaly_map[geometry.size[0] :]).all()
