# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""``adet learn``: a new category on the robot, by another bundle's backbone."""

from __future__ import annotations

import json
from pathlib import Path
import shutil
from typing import Any

import cv2
import numpy as np
import pytest
from tiny_models import Train

from adet_core.bundle import open_bundle
from adet_core.cli import main
from adet_core.errors import AdetError, ConfigError
from adet_core.geometry import Box
from adet_core.image import read_image
from adet_core.inference.detector import Detector
from adet_core.progress import silent
from adet_core.retraining import retrain
from adet_core.retraining.child import Goal, Places, RetrainProcess
from adet_core.retraining.new_category import learn_category

pytestmark = pytest.mark.training

MODELS = ('padim', 'patchcore')


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    """Data of another part: stripes, and one of them with a blot."""
    rng = np.random.default_rng(3)
    stripes = np.zeros((96, 96, 3), np.uint8)
    stripes[::8], stripes[1::8] = 220, 220
    for folder, count, blot in (
        ('train/stripes', 14, False),
        ('test/stripes/normal', 3, False),
        ('test/stripes/anomaly', 3, True),
    ):
        home = tmp_path / 'data' / folder
        home.mkdir(parents=True)
        for number in range(count):
            noise = rng.integers(0, 24, stripes.shape, np.uint8)
            image = cv2.add(stripes, noise)
            if blot:
                cv2.circle(image, (40 + number, 50), 10, (40, 120, 200), -1)
            cv2.imwrite(str(home / f'{number}.png'), image)
    return tmp_path / 'data'


@pytest.mark.parametrize('model', MODELS)
def test_a_new_category_is_learned_from_images_alone(
    model: str, trained: Train, parts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = trained(model).robot
    words = ['learn', str(parts / 'train' / 'stripes'), '--base', str(base.folder), '--json']
    words += ['--models-root', str(tmp_path / 'models')]
    assert main([*words, '--test-dir', str(parts / 'test' / 'stripes')]) == 0
    result: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
    bundle = open_bundle(Path(result['bundle_dir']))
    assert result['next'] == f'adet deploy {result["run_dir"]} --models-root {tmp_path}/models'
    assert bundle.manifest.category == 'stripes'
    assert bundle.manifest.dataset.train + bundle.manifest.dataset.held_out == 14
    assert bundle.manifest.image_threshold.normals == bundle.manifest.dataset.held_out
    assert set(bundle.manifest.files) == set(base.manifest.files)
    assert result['after']['image_auroc'] == 1.0
    # The base knows nothing of this part, and is as it was.
    detector, before = (Detector.load(one.folder, threads=1) for one in (bundle, base))
    bad = read_image(parts / 'test' / 'stripes' / 'anomaly' / '0.png')
    good = read_image(parts / 'test' / 'stripes' / 'normal' / '0.png')
    assert detector.inspect(bad).is_anomalous
    assert detector.inspect(good).score < detector.inspect(bad).score
    assert before.inspect(good).is_anomalous
    # What was learned here is relearned here.
    shutil.copyfile(parts / 'test/stripes/normal/0.png', parts / 'train/stripes/new.png')
    outcome = retrain(bundle.folder, parts / 'train' / 'stripes', threads=1)
    assert outcome.bundle.base_id == bundle.bundle_id
    assert outcome.report.previous == bundle.bundle_id


def test_weights_alone_learn_a_new_category_on_a_pc(
    trained: Train, parts: Path, tmp_path: Path
) -> None:
    base = trained('vae').robot.folder
    with pytest.raises(ConfigError, match='vae learns a new category with its weights, which ne'):
        learn_category(base, parts / 'train/stripes', category='s', models_root=tmp_path)


def test_a_region_is_of_the_new_part(trained: Train, parts: Path, tmp_path: Path) -> None:
    base, images = trained('padim').robot.folder, parts / 'train' / 'stripes'
    words = ['learn', str(images), '--base', str(base), '--models-root', str(tmp_path)]
    assert main([*words, '--roi', '8,16,64,48']) == 0
    (folder,) = (tmp_path / 'PaDiM' / 'stripes').glob('*/pytorch')
    spec = open_bundle(folder).manifest.image
    assert (spec.roi, spec.source) == (Box(x=8, y=16, width=64, height=48), (96, 96))
    bad = read_image(parts / 'test' / 'stripes' / 'anomaly' / '0.png')
    assert Detector.load(folder, threads=1).inspect(bad).is_anomalous
    for roi, reason in (('a.json', "roi is 'a.json', expected x,y"), ('90,0,9,9', 'outside')):
        with pytest.raises(ConfigError, match=reason):
            learn_category(
                base, images, category='s', models_root=tmp_path, overrides=[f'roi={roi}']
            )


@pytest.mark.parametrize('name', ['a/b', '..', ''])
def test_a_category_is_the_name_of_a_folder(name: str, parts: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r'^category .* is not a plain name'):
        learn_category(tmp_path, parts, category=name, models_root=tmp_path)


def test_a_goal_puts_a_new_category_into_service_and_a_refusal_puts_the_old_one_back(
    trained: Train, parts: Path, tmp_path: Path
) -> None:
    root = tmp_path / 'models'
    shutil.copytree(trained('padim').robot.folder, root / 'PaDiM')
    before = open_bundle(root / 'PaDiM', in_service=True)
    goal = Goal(model='padim', mode='new', category='stripes')
    process = RetrainProcess(goal, Places(root, parts, parts), threads=1)
    stages = []
    result = process.run(lambda stage, *_: stages.append(stage))
    deployed = open_bundle(root / 'PaDiM', in_service=True)
    assert deployed.manifest.category == 'stripes'
    assert result['threshold'] == deployed.manifest.image_threshold.value
    assert {'load', 'extract', 'fit', 'calibrate', 'validate'} <= set(stages)
    assert Detector.load(root / 'PaDiM', threads=1).bundle.bundle_id == deployed.bundle_id
    assert process.rollback('it is too slow') == (
        f'the detector refuses {deployed.bundle_id} (it is too slow); {before.bundle_id} stays in '
        'service'
    )
    assert open_bundle(root / 'PaDiM', in_service=True).bundle_id == before.bundle_id
    assert Detector.load(root / 'PaDiM', threads=1).bundle.manifest.category != 'stripes'


@pytest.mark.parametrize(
    ('goal', 'reason'),
    [
        ({'mode': 'new'}, "category is '', but mode is new: name what to learn"),
        (
            {'category': 'x'},
            "category is 'x', of padim these are deployed: plate",
        ),
        ({'mode': 'new', 'category': 'none'}, 'train/none: no such folder; put images there'),
        ({'mode': 'new', 'category': '../..'}, 'which is not inside'),
    ],
)
def test_a_goal_that_cannot_work_says_why(
    goal: dict[str, str], reason: str, trained: Train, parts: Path
) -> None:
    root = trained('padim').robot.folder.parent
    with pytest.raises(AdetError, match=reason):
        RetrainProcess(Goal(model='padim', **goal), Places(root, parts, parts)).run(silent)
