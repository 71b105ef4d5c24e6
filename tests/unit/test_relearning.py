# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""What a retraining goes by, what it divides, and what it lets into service; without a network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import builders
import cv2
import numpy as np
import pytest
from test_retrained import report_of

from adet_core.bundle import Bundle, Parity, write_retrained
from adet_core.errors import ConfigError, DatasetError
from adet_core.image import Image
from adet_core.inference.parity import map_tolerance_of, measure_parity
from adet_core.io.feedback import keep_frame
from adet_core.models.gaussian import GaussianLearner
from adet_core.models.memory_bank import BankLearner
from adet_core.prediction import Prediction
from adet_core.progress import silent
from adet_core.retraining.gate import parity_fault
from adet_core.retraining.images import collect, collect_test, CollectedImages
from adet_core.retraining.questions import make_questions
from adet_core.retraining.relearned import fine_tuner
from adet_core.retraining.settings import retrain_settings

SIZE = builders.SIZE
IMAGE = np.zeros((SIZE, SIZE, 3), np.uint8)


# ---- settings


def test_settings_come_from_the_training_unless_somebody_says_else() -> None:
    manifest = builders.manifest(
        model='patchcore', hyper_parameters={'max_bank': 500, 'false_reject_rate': 0.02}
    )
    found = retrain_settings(manifest, ['held_out=0.5', 'max_bank=70'])
    assert (found['max_bank'], found['false_reject_rate']) == (70, 0.02)
    assert (found['held_out'], found['keep']) == (0.5, 5)
    assert isinstance(found['keep'], int)
    assert found['num_neighbors'] == 9


def test_the_steps_of_a_training_are_too_many_for_a_retraining() -> None:
    manifest = builders.manifest(model='vae', hyper_parameters={'steps': 20_000})
    assert retrain_settings(manifest, [])['steps'] == 0
    assert retrain_settings(manifest, ['steps=7'])['steps'] == 7


OWN_SETTINGS = {
    'padim': {'marked_weight'},
    'patchcore': {'coreset_ratio', 'max_bank', 'num_neighbors'},
    'vae': {'steps'},
    'somebodys_own': {'steps'},
}


@pytest.mark.parametrize('model', OWN_SETTINGS)
def test_each_model_has_its_own_settings(model: str) -> None:
    manifest = builders.manifest(model=model)
    found = set(retrain_settings(manifest, []))
    everybodys = {'held_out', 'false_reject_rate', 'confidence', 'uncertain_rate'}
    everybodys |= {'max_missed', 'max_rejected', 'max_auroc_loss', 'keep', 'seed'}
    assert found - OWN_SETTINGS[model] == everybodys
    assert found >= OWN_SETTINGS[model]
    for other in set.union(*OWN_SETTINGS.values()) - OWN_SETTINGS[model]:
        with pytest.raises(ConfigError, match=f'is no setting of a retraining of {model}; give'):
            retrain_settings(manifest, [f'{other}=3'])


@pytest.mark.parametrize(
    ('word', 'reason'),
    [
        (
            'held_out',
            "'held_out' is no setting of a retraining of patchcore; give KEY=VALUE with one of: ",
        ),
        ('num_neighbors=3', "'num_neighbors=3' is no setting of a retraining of patchcore"),
        ('held_out=0', "held_out is '0', expected a number, 0.01 to 0.9"),
        ('held_out=nan', "held_out is 'nan', expected a number"),
        ('keep=1.5', "keep is '1.5', expected a whole number, 1 to 1000"),
        ('keep=0', "keep is '0', expected a whole number, 1 to 1000"),
    ],
)
def test_a_wrong_setting_is_named(word: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason.replace('.', r'\.')):
        retrain_settings(builders.manifest(model='patchcore'), [word])


def test_a_models_weights_need_the_training_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('adet_core.retraining.relearned.entry_points', lambda **_: [])
    with pytest.raises(ConfigError, match='retraining vae changes its weights, which needs the'):
        fine_tuner('vae')


# ---- images


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return builders.make_bundle(tmp_path / 'PaDiM')


def draw(folder: Path, count: int, seed: int = 0) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    paths = [folder / f'{seed}_{number:03}.png' for number in range(count)]
    for path in paths:
        assert cv2.imwrite(str(path), rng.integers(0, 256, (9, 9, 3), np.uint8))
    return paths


def divide(bundle: Bundle, folder: Path, **options: Any) -> CollectedImages:
    defaults = {'incremental': True, 'share': 0.3, 'replay': False, 'progress': silent}
    return collect(bundle, folder, **{**defaults, **options})


def test_a_images_content_decides_where_it_goes(bundle: Bundle, tmp_path: Path) -> None:
    folder = tmp_path / 'new'
    draw(folder, 40)
    first = divide(bundle, folder)
    assert 4 <= len(first.held_out) <= 20
    assert len(first.learn) + len(first.held_out) == 40
    draw(folder, 20, seed=1)
    # The same under another name is no new image.
    (folder / 'copy.png').write_bytes(first.learn[0].path.read_bytes())
    second = divide(bundle, folder)
    assert len(second.learn) + len(second.held_out) == 60
    names = {one.sha256 for one in second.held_out}
    assert names >= {one.sha256 for one in first.held_out}
    assert first.learn[0].pixels.shape == (SIZE, SIZE, 3)


def known(bundle: Bundle, learned: dict[str, str], held_out: dict[str, str]) -> Bundle:
    """The bundle after a retraining that learned these."""
    report = report_of(bundle, 5, learned=learned, held_out=held_out)
    return write_retrained(bundle, report, {}, keep=5)


def test_what_was_learned_is_passed_over_and_what_was_kept_back_stays_so(
    bundle: Bundle, tmp_path: Path
) -> None:
    folder = tmp_path / 'new'
    draw(folder, 30)
    first = divide(bundle, folder)
    after = known(
        bundle,
        {one.sha256: one.path.name for one in first.learn},
        {one.sha256: one.path.name for one in first.held_out},
    )
    with pytest.raises(DatasetError, match='nothing new to learn among 30 images; add'):
        divide(after, folder)
    draw(folder, 5, seed=1)
    # Even if fewer were kept back by now.
    second = divide(after, folder, share=0.01)
    assert {one.sha256 for one in second.held_out} == {one.sha256 for one in first.held_out}
    assert (len(second.learn), second.known) == (5, [])
    replayed = divide(after, folder, replay=True)
    assert len(replayed.known) == len(first.learn)
    anew = divide(after, folder, incremental=False)
    assert len(anew.learn) + len(anew.held_out) == 35


def test_a_marked_image_is_always_learned(bundle: Bundle, tmp_path: Path) -> None:
    folder = tmp_path / 'new'
    draw(folder, 10)
    for number in range(20):
        pixels = np.random.default_rng(number).integers(0, 256, (9, 9, 3), np.uint8)
        keep_frame(folder, f'frame_{number}', Image(pixels, 'bgr8'), {}, limit=99)
    found = divide(bundle, folder, share=0.9)
    assert len(found.marked) == sum(one.is_marked for one in found.learn) == 20
    assert not any(one.is_marked for one in found.held_out)


def test_a_marked_image_that_the_bundle_brought_is_learned_and_tells_nothing_more(
    tmp_path: Path,
) -> None:
    rng = np.random.default_rng(0)
    normals = rng.integers(0, 256, (3, SIZE, SIZE, 3), np.uint8)
    bundle = builders.make_bundle(tmp_path / 'PaDiM', normals=normals)
    folder = tmp_path / 'new'
    for index in (1, 2):
        pixels = np.ascontiguousarray(normals[index][..., ::-1])
        if index == 1:
            keep_frame(folder, 'frame_1', Image(pixels, 'bgr8'), {}, limit=99)
        else:
            assert cv2.imwrite(str(folder / 'plain.png'), pixels)
    found = divide(bundle, folder)
    assert [one.is_marked for one in found.learn] == [True]
    assert found.learned_normals == {1}
    questions = make_questions(bundle, found, [], incremental=True)
    assert questions.are_old.tolist() == questions.are_fair.tolist() == [True, False, True]


def test_somebody_is_kept_back_even_if_content_would_not(bundle: Bundle, tmp_path: Path) -> None:
    folder = tmp_path / 'new'
    draw(folder, 3)
    found = divide(bundle, folder, share=1e-9)
    assert (len(found.learn), len(found.held_out)) == (2, 1)
    draw(tmp_path / 'two', 2)
    with pytest.raises(DatasetError, match='2 images to learn from and 0 to find the threshold'):
        divide(bundle, tmp_path / 'two', share=1e-9)


def test_images_that_cannot_be_read_are_told(bundle: Bundle, tmp_path: Path) -> None:
    folder = tmp_path / 'new'
    folder.mkdir()
    (folder / 'bad.png').write_bytes(b'no image')
    with pytest.raises(DatasetError, match=r'among 1 images; .*bad\.png: cannot be decoded'):
        divide(bundle, folder)
    with pytest.raises(DatasetError, match='none: no such folder; put images of good parts'):
        divide(bundle, tmp_path / 'none')


def test_a_test_image_that_cannot_be_read_is_skipped(bundle: Bundle, tmp_path: Path) -> None:
    folder = tmp_path / 'test'
    draw(folder / 'normal', 2)
    (folder / 'anomaly').mkdir()
    (folder / 'anomaly' / 'bad.png').write_bytes(b'no image')
    found, unreadable = collect_test(folder, bundle, silent)
    assert [one.label for one in found] == ['normal', 'normal']
    assert unreadable == [f'{folder}/anomaly/bad.png: cannot be decoded as an image']
    for path in (folder / 'normal').iterdir():
        path.write_bytes(b'')
    with pytest.raises(DatasetError, match=r'none of 3 images can be read; .*bad\.png: cannot'):
        collect_test(folder, bundle, silent)


def test_test_images_need_labels(bundle: Bundle, tmp_path: Path) -> None:
    draw(tmp_path / 'test' / 'normal', 2)
    draw(tmp_path / 'test' / 'anomaly', 3)
    found, _ = collect_test(tmp_path / 'test', bundle, silent)
    assert [one.is_anomalous for one in found] == [True] * 3 + [False] * 2
    assert collect_test(None, bundle, silent) == ([], [])
    draw(tmp_path / 'test', 1, seed=4)
    with pytest.raises(DatasetError, match='has no label; test images belong in normal/ or'):
        collect_test(tmp_path / 'test', bundle, silent)
    with pytest.raises(DatasetError, match='no such folder; it takes normal/ and anomaly/'):
        collect_test(tmp_path / 'none', bundle, silent)


# ---- parity


class Model:
    """Scores an image by its first pixel."""

    name = 'first pixel'

    def run(self, images: np.ndarray) -> Prediction:
        scores = images[:, 0, 0, 0].astype(np.float32)
        return Prediction(scores, np.zeros((len(images), SIZE, SIZE), np.float32) + scores / 2)


def image(score: int) -> np.ndarray:
    found = IMAGE.copy()
    found[0, 0] = score
    return found


def settings(model: str = 'patchcore', **overrides: Any) -> dict[str, Any]:
    return {**retrain_settings(builders.manifest(model=model), []), **overrides}


def parity(score: float, level: float, precision: str = 'fp32', **options: float) -> str:
    """What the gate says of a graph that predicts 20 and a map of 10, against these."""
    expected = Prediction(
        np.array([score], np.float32), np.full((1, SIZE, SIZE), level, np.float32)
    )
    golden = image(20)[None]
    values = {'threshold': 50.0, 'span': 100.0, **options}
    return parity_fault(measure_parity(Model(), golden, expected, precision=precision, **values))


def test_the_gate_holds_the_graph_to_what_was_learned() -> None:
    assert parity(20.0, 10.0) == ''
    assert parity(20.05, 10.05) == ''
    for wrong in ((20.2, 10.0), (20.0, 10.2), (np.nan, 10.0), (20.0, np.nan)):
        assert 'the graph differs from what was learned' in parity(*wrong)
    # A graph that was exported with coarser maps may stay so.
    assert parity(20.0, 15.0, map_tolerance=6.0) == ''
    assert parity(20.0, 15.0, map_tolerance=4.0)
    # In fp16 scores count, and may be off by 0.02 of the range.
    assert parity(21.0, 90.0, 'fp16') == ''
    assert parity(23.0, 10.0, 'fp16')


@pytest.mark.parametrize(
    ('at_export', 'allowed'), [(None, 0), (0.1, 0), (0.2, 5), (4.0, 5), (9.0, 9)]
)
def test_a_search_in_few_channels_may_be_off_by_a_share_of_the_distances(
    tmp_path: Path, at_export: float | None, allowed: float
) -> None:
    bundle = builders.make_bundle(tmp_path)
    record = Parity(
        pictures=2,
        score_difference=0.0,
        map_difference=0.0,
        tolerance=0.1,
        map_tolerance=at_export,
    )
    builders.make_engine(bundle, parity=record)
    maps = np.full((2, SIZE, SIZE), 40, np.float32)
    maps[1, 3, 3] = 50
    expected = Prediction(np.array([40, 50], np.float32), maps)
    assert map_tolerance_of(bundle, expected) == pytest.approx(allowed)


def test_parity_tells_the_progress() -> None:
    told: list[Any] = []
    measure_parity(
        Model(),
        np.stack([image(1), image(2)]),
        Prediction.concatenate(Model().run(image(number)[None]) for number in (1, 2)),
        threshold=5.0,
        span=1.0,
        progress=lambda *call: told.append(call),
    )
    assert told == [('validate', 1, 2), ('validate', 2, 2)]


# ---- statistics


def test_a_bank_grows_by_its_share_and_never_beyond_its_cap() -> None:
    rng = np.random.default_rng(0)
    old = {'memory_bank': rng.normal(size=(50, 4)).astype(np.float32)}
    new = rng.normal(size=(3, 40, 4)).astype(np.float32)

    def learn(**overrides: Any) -> np.ndarray:
        learner = BankLearner(settings(coreset_ratio=0.25, **overrides), old, 7)
        learner.add(new[:2], [False, True])
        learner.add(new[2:], [False])
        assert learner.images == 10
        return learner.statistics(silent)['memory_bank']

    grown = learn()
    assert len(grown) == 50 + 30
    # All of the old ones.
    np.testing.assert_array_equal(grown[:50], old['memory_bank'])
    capped = learn(max_bank=60)
    assert len(capped) == 60
    rows = {row.tobytes() for row in old['memory_bank']}
    kept = sum(row.tobytes() in rows for row in capped)
    assert 0 < kept < 50
    anew = BankLearner(settings(coreset_ratio=0.01, num_neighbors=9), {}, 7)
    anew.add(new[:1], [False])
    assert anew.images == 1
    assert len(anew.statistics(silent)['memory_bank']) == 9
    few = BankLearner(settings(), {}, 0)
    few.add(new[:1, :5], [False])
    with pytest.raises(ConfigError, match='5 patches are fewer than num_neighbors 9; give more'):
        few.statistics(silent)


def test_a_marked_image_counts_more_in_a_gaussian() -> None:
    features = np.random.default_rng(0).normal(size=(4, 3, 2)).astype(np.float32)

    def mean(weight: int, marked: bool) -> np.ndarray:
        learner = GaussianLearner(settings('padim', marked_weight=weight), {}, 0)
        learner.add(features, [False, False, False, marked])
        assert learner.images == (3 + weight if marked else 4)
        return learner.statistics(silent)['mean']

    np.testing.assert_allclose(mean(10, marked=False), features.mean(axis=0), rtol=1e-5)
    away = [np.abs(mean(weight, marked=True) - features[3]).sum() for weight in (1, 10, 1000)]
    assert away[0] > away[1] > away[2]
