# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""What is proposed before a training, and the geometry of aligned parts and of even light."""

from __future__ import annotations

from pathlib import Path
import shutil
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from tiny_models import Learn

from adet_core.bundle import REFERENCE_FILE
from adet_core.errors import ConfigError, ImageError
from adet_core.image import Image, read_image
from adet_core.inference.detector import Detector
from adet_core.io.folders import list_images
from adet_synth import draw_normal, write_dataset
from adet_training.choose import choose
from adet_training.export import export
from adet_training.layout import geometry_contents, make_geometry
from adet_training.models.padim import PadimParameters
from adet_training.train import TrainConfig

CHANNELS = ((0.0,) * 3, (1.0,) * 3)


def config(root: Path, model: str = 'padim', roi: str = '', **settings: Any) -> TrainConfig:
    return TrainConfig(
        model=model,
        category='p',
        data_root=root,
        models_root=root,
        backbone_weights='random',
        settings=settings,
        roi=roi,
    )


@pytest.fixture(scope='module')
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp('large')
    counts = {'train': 2, 'test_normal': 1, 'test_anomaly': 2}
    write_dataset(root, category='p', size=(1200, 600), seed=0, defect_size=(12, 12), **counts)
    return root


def moved(pixels: npt.NDArray[np.uint8], angle: float) -> npt.NDArray[np.uint8]:
    """A drawn part of 128 x 128 pixels on an empty ground of 200 x 200, turned by degrees."""
    matrix = cv2.getRotationMatrix2D((64, 64), angle, 1)
    matrix[:, 2] += 36
    found: npt.NDArray[np.uint8] = cv2.warpAffine(
        pixels, matrix, (200, 200), borderValue=(20, 20, 20)
    )
    return found


@pytest.fixture(scope='module')
def turned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp('turned')
    folder = root / 'train' / 'p'
    folder.mkdir(parents=True)
    for index in range(6):
        part = moved(draw_normal((3, 0, index), 128), 75 * index)
        cv2.imwrite(str(folder / f'{index}.png'), part[..., ::-1])
    return root


def test_small_defects_are_given_tiles(large: Path) -> None:
    proposal, chosen = choose(config(large, tiles='auto', n_features=50))
    assert proposal is not None
    assert proposal.chosen.name == 'tiles at full scale'
    tiled = {'image_size': 256, 'tiles': 256, 'overlap': 0.125}
    assert chosen.settings == {**tiled, 'n_features': 50}
    # 64 x 64 Gaussians of 50 features.
    statistics = 4 * 64 * 64 * 50 * 51 / (1 << 20)
    expected = 140 + statistics + 3 * 28 + 30 * 1200 * 600 / 2**20
    assert proposal.chosen.mib == pytest.approx(expected, abs=1)
    assert proposal.chosen.ms > 0
    # It is only shown where nobody asked for it.
    shown, same = choose(config(large, 'patchcore'))
    assert shown is not None
    assert shown.chosen.image_size == (256, 256)
    assert same == config(large, 'patchcore')
    # Its defects are tiny, which PatchCore has a setting for.
    _, taken = choose(config(large, 'patchcore', tiles='auto'))
    assert taken.settings == {**tiled, 'patch_size': 1}
    _, kept = choose(config(large, 'patchcore', tiles='auto', patch_size=5))
    assert kept.settings == {**tiled, 'patch_size': 5}


@pytest.mark.parametrize(
    'settings', [{'image_size': 320}, {'tiles': 300}, {'fit': 'crop'}, {'align': 'off'}]
)
def test_who_has_chosen_gets_no_proposal(large: Path, settings: dict[str, Any]) -> None:
    assert choose(config(large, **settings)) == (None, config(large, **settings))


def test_a_region_of_interest_is_a_choice(large: Path) -> None:
    assert choose(config(large, roi='0,0,50,50'))[0] is None
    with pytest.raises(ConfigError, match='tiles=auto looks at whole images, not at the region 0'):
        choose(config(large, roi='0,0,50,50', tiles='auto'))


def test_parts_in_any_direction_are_aligned(turned: Path) -> None:
    proposal, chosen = choose(config(turned, 'vae', tiles='auto'))
    assert proposal is not None
    assert chosen.settings['align'] == 'turn'
    assert not proposal.chosen.is_measured
    images = list_images(turned / 'train' / 'p')
    geometry = make_geometry(PadimParameters(align='turn', light=True), CHANNELS, images)
    assert geometry.spec.light
    assert set(geometry_contents(geometry)) == {REFERENCE_FILE}
    canvases = [geometry.place(read_image(path))[0].astype(int) for path in images]
    mean = np.mean(canvases, axis=0)
    assert max(np.abs(one - mean).mean() for one in canvases) < 8
    plain = make_geometry(PadimParameters(), CHANNELS, images)
    assert plain.reference is None
    assert geometry_contents(plain) == {}


def test_images_that_cannot_be_aligned_are_refused(turned: Path, tmp_path: Path) -> None:
    paths = [tmp_path / f'{index}.png' for index in range(3)]
    for index, path in enumerate(paths):
        noise = np.random.default_rng(index).integers(0, 255, (80, 80), np.uint8)
        cv2.imwrite(str(path), noise)
    for align in ('shift', 'turn'):
        with pytest.raises(ConfigError, match=f'^align={align}: .* use --set align=off'):
            make_geometry(PadimParameters(align=align), CHANNELS, paths)
    images = list_images(turned / 'train' / 'p')
    with pytest.raises(ConfigError, match='with align=turn the part is what is inspected'):
        make_geometry(PadimParameters(align='turn'), CHANNELS, images, roi='0,0,9,9')
    with pytest.raises(ConfigError, match="align is 'sideways'"):
        PadimParameters(align='sideways')


def test_aligned_parts_are_judged_in_the_images_own_pixels(
    learn: Learn, turned: Path, tmp_path: Path
) -> None:
    shutil.copytree(turned / 'train' / 'p', tmp_path / 'train' / 'plate')
    settings = {'align': 'turn', 'light': True, 'image_size': 64, 'threshold': 'normal'}
    run = learn({**settings, 'held_out': 0.5}, data_root=tmp_path)
    spec = run.bundle.manifest.image
    assert spec.align is not None
    assert spec.align.is_turned
    assert REFERENCE_FILE in run.bundle.manifest.files
    export(run.bundle)
    detector = Detector.load(run.bundle.folder, backend='onnxruntime', threads=1)
    part = draw_normal((3, 0, 9), 128)
    cv2.circle(part, (90, 40), 9, (255, 0, 0), -1)
    for angle in (10, 200):
        found = detector.inspect(Image(moved(part, angle), 'rgb8'))
        at = cv2.getRotationMatrix2D((64, 64), angle, 1) @ [90, 40, 1] + 36
        finite = np.where(np.isfinite(found.anomaly_map), found.anomaly_map, 0)
        row, column = np.unravel_index(finite.argmax(), finite.shape)
        peak = np.array([column / finite.shape[1], row / finite.shape[0]]) * 200
        assert np.abs(peak - at).max() < 14
    with pytest.raises(ImageError, match='cannot be aligned'):
        detector.inspect(Image(np.zeros((200, 200), np.uint8), 'mono8'))
