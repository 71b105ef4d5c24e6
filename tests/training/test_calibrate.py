# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Where the thresholds come from, what they promise, and what ``meta.json`` says of that."""

from __future__ import annotations

from dataclasses import replace
import json
from pathlib import Path
import re
import shutil
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import f1_score
from tiny_models import Learn

from adet_core.bundle import MADE_UP_FILE, Manifest, open_bundle
from adet_core.errors import ConfigError, DatasetError
from adet_core.io.labelled import LabelledImage
from adet_core.objectives import choose_threshold
from adet_core.prediction import Prediction
from adet_core.scoring import normalise_score
from adet_core.thresholds import normal_threshold, with_uncertain_band
from adet_training.calibrate import calibrate, normals_to_calibrate, objective_of, Tested
from adet_training.parameters import make_parameters, Parameters

pytestmark = pytest.mark.training

GOOD = np.arange(1, 41, dtype=np.float32)
BAD = np.arange(30, 60, dtype=np.float32)


def _judged(good: np.ndarray, bad: np.ndarray | None = None, *, masks: bool = False) -> Tested:
    """Images with these scores; the maps of 2 x 2 pixels peak at twice the score."""
    scores = np.concatenate([good, [] if bad is None else bad]).astype(np.float32)
    images, maps = [], []
    for number, score in enumerate(scores):
        anomalous = number >= len(good)
        mask = np.array([[anomalous, False], [False, False]])
        marked = mask if masks or not anomalous else None
        image = np.zeros((2, 2, 3), np.uint8)
        images.append(
            LabelledImage(Path(f'{number}.png'), image, ('normal', 'anomaly')[anomalous], marked)
        )
        maps.append([[2 * score, score / 2], [0, 0]])
    return Tested(images, Prediction(scores, np.array(maps, np.float32)))


def _parameters(**values: Any) -> Parameters:
    return make_parameters(Parameters, values)


F1 = _parameters(objective='f1')


# ---- from answers to thresholds


def test_labels_respect_the_false_reject_rate_and_tell_both_rates() -> None:
    tested, held_out = _judged(GOOD, BAD), _judged(GOOD + 0.5)
    found = calibrate(_parameters(false_reject_rate=0.1), tested, held_out, labelled=True)
    every = np.concatenate([GOOD, GOOD + 0.5])
    expected = normal_threshold(every, 0.1)
    assert found.image.value == expected.value
    assert (found.image.method, found.image.normals) == ('normal_quantile', 80)
    told = found.image.detail.removeprefix(f'{expected.detail}; cross-fitted: ')
    assert re.fullmatch(
        r'\d+ of 80 normal images rejected \(.*\), \d+ of 30 anomalous images missed \(.*\)', told
    )
    assert found.score_range.normals == tuple(np.sort(every))
    assert found.score_range.anomalies == tuple(BAD)


def test_a_robust_threshold_takes_the_worst_change_and_tells_its_cost() -> None:
    parameters = _parameters(false_reject_rate=0.1)
    tested, held_out = _judged(GOOD, BAD), _judged(GOOD + 0.5)
    normals = normals_to_calibrate(tested, held_out, labelled=True)
    assert [one.path.name for one in normals] == [f'{n}.png' for n in range(40)] * 2
    assert len(normals_to_calibrate(tested, held_out, labelled=False)) == 40
    made_up = {'faint': [39.0, 60.0], 'strong': [100.0, 110.0]}
    changed = np.concatenate([GOOD + 10, GOOD - 20]).astype(np.float32)
    plain = calibrate(parameters, tested, held_out, labelled=True, made_up=made_up)
    found = calibrate(
        parameters, tested, held_out, labelled=True, made_up=made_up, changed=changed
    )
    worst = np.concatenate([np.maximum(GOOD + 0.5, GOOD + 10), GOOD])
    assert found.image.value == normal_threshold(worst, 0.1).value > plain.image.value
    assert found.image.method == 'robust_quantile'
    missed = [(one.image.value > BAD).sum() for one in (plain, found)]
    assert missed[1] > missed[0]
    assert found.image.detail.endswith(
        f'for which it rises from {plain.image.value:.4g} ({missed[0]} -> {missed[1]} of 30 known '
        'anomalies missed, 4 -> 3 of 4 made-up defects caught)'
    )
    # Drift and p-values compare with images as they are.
    assert found.score_range.normals == plain.score_range.normals


@pytest.mark.parametrize(
    ('settings', 'method'),
    [
        ({'objective': 'recall', 'target_recall': 0.8}, 'anomaly_quantile'),
        ({'objective': 'cost', 'cost_miss': 20}, 'lowest_cost'),
        ({'objective': 'f1'}, 'f1_optimal'),
    ],
)
def test_the_objective_decides(settings: dict[str, Any], method: str) -> None:
    parameters = _parameters(**settings)
    found = calibrate(parameters, _judged(GOOD, BAD), None, labelled=True)
    chosen = choose_threshold(objective_of(parameters), GOOD, BAD)
    assert (found.image.value, found.image.method) == (chosen.value, method)
    assert (found.pixel.value, found.pixel.method) == (2 * chosen.value, method)


def test_labelled_images_give_the_threshold_of_the_best_f1() -> None:
    tested = _judged(GOOD, BAD)
    found = calibrate(F1, tested, None, labelled=True)
    scores, labels = tested.prediction.scores, tested.labels
    assert (found.image.method, found.image.normals, found.image.anomalies) == (
        'f1_optimal',
        40,
        30,
    )
    best = max(f1_score(labels, scores >= cut) for cut in scores)
    assert f1_score(labels, scores >= found.image.value) == pytest.approx(best)
    assert found.image.uncertain_from is None
    assert (found.image.confidence, found.image.false_reject_bound) == (None, None)
    assert found.image.target_false_reject_rate is None
    assert (found.score_range.minimum, found.score_range.maximum) == (1, 59)
    assert normalise_score(found.image.value, found.image.value, found.score_range.span) == 0.5


def test_without_masks_the_largest_values_of_the_maps_stand_for_the_pixels() -> None:
    tested = _judged(GOOD, BAD)
    found = calibrate(F1, tested, None, labelled=True)
    told = (
        "of the maps' largest values: best F1 on the labelled images; figures of the same images "
        'flatter it'
    )
    assert found.pixel == replace(found.image, value=2 * found.image.value, detail=told)


def test_masks_give_the_threshold_of_the_best_f1_over_the_pixels() -> None:
    tested = _judged(GOOD, BAD, masks=True)
    found = calibrate(_parameters(), tested, None, labelled=True)
    masks = np.stack([labelled.mask for labelled in tested.images]).ravel()
    values = tested.prediction.maps.ravel()
    best = max(f1_score(masks, values >= cut) for cut in np.unique(values))
    assert f1_score(masks, values >= found.pixel.value) == pytest.approx(best)
    assert (found.pixel.method, found.pixel.normals, found.pixel.anomalies) == (
        'f1_optimal',
        40,
        30,
    )
    assert found.pixel.detail == 'best F1 over the pixels of the masked test images'


@pytest.mark.parametrize('tested', [None, _judged(GOOD), _judged(GOOD, BAD, masks=True)])
def test_good_images_kept_back_give_the_quantile_that_was_asked_for(
    tested: Tested | None,
) -> None:
    held_out = _judged(GOOD)
    parameters = _parameters(false_reject_rate=0.1, confidence=0.8)
    found = calibrate(parameters, tested, held_out, labelled=False)
    assert found.image == normal_threshold(GOOD, 0.1, confidence=0.8)
    assert (found.image.target_false_reject_rate, found.image.confidence) == (0.1, 0.8)
    assert (found.image.normals, found.image.anomalies) == (40, 0)
    assert found.image.false_reject_bound is not None
    assert 0.1 < found.image.false_reject_bound < 0.3
    peaks = normal_threshold(2 * GOOD, 0.1, confidence=0.8)
    assert found.pixel == replace(peaks, detail=f"of the maps' largest values: {peaks.detail}")
    assert (found.image.value <= GOOD).mean() <= 0.1
    assert found.score_range.minimum == 1
    assert found.score_range.maximum == 40


@pytest.mark.parametrize('held_out', [None, _judged(GOOD - 5)])
def test_the_uncertain_band_is_that_of_images_the_model_was_not_fitted_to(
    held_out: Tested | None,
) -> None:
    tested = _judged(GOOD, BAD + 20)
    parameters = _parameters(uncertain_rate=0.2)
    found = calibrate(parameters, tested, held_out, labelled=True)
    bare = calibrate(_parameters(), tested, held_out, labelled=True)
    good = np.concatenate([held_out.prediction.scores, GOOD]) if held_out else GOOD
    assert found.image == with_uncertain_band(bare.image, good, 0.2)
    assert found.image.uncertain_from is not None
    assert found.image.uncertain_from < found.image.value
    assert found.pixel == bare.pixel
    assert found.score_range == bare.score_range


def test_a_band_below_the_threshold_of_good_images_alone() -> None:
    parameters = _parameters(false_reject_rate=0.05, uncertain_rate=0.3)
    found = calibrate(parameters, None, _judged(GOOD), labelled=False)
    start = found.image.uncertain_from
    assert start is not None
    assert (found.image.value <= GOOD).mean() <= 0.05 < (start <= GOOD).mean() <= 0.3
    narrow = replace(parameters, uncertain_rate=0.01)
    image = calibrate(narrow, None, _judged(GOOD), labelled=False).image
    assert image.uncertain_from is None
    assert 'no uncertain band' in image.detail


# ---- real trainings


def _manifest(run: Any) -> Manifest:
    """As it is on disk."""
    return open_bundle(run.folder / 'pytorch').manifest


@pytest.mark.parametrize(
    ('settings', 'method', 'held_out'),
    [
        ({}, 'normal_quantile', 0),
        ({'threshold': 'labelled', 'objective': 'f1'}, 'f1_optimal', 0),
        ({'threshold': 'normal'}, 'normal_quantile', 2),
        ({'threshold': 'normal', 'held_out': 0.5}, 'normal_quantile', 6),
    ],
    ids=str,
)
def test_the_threshold_comes_from_where_it_is_asked_to(
    learn: Learn, settings: dict[str, Any], method: str, held_out: int
) -> None:
    run = learn(settings)
    manifest = _manifest(run)
    assert (manifest.dataset.train, manifest.dataset.held_out) == (12 - held_out, held_out)
    assert (manifest.dataset.test_normal, manifest.dataset.test_anomaly) == (6, 10)
    kept = manifest.score_range
    assert (len(kept.normals), len(kept.anomalies)) == (held_out or 6, 10)
    image, pixel = manifest.image_threshold, manifest.pixel_threshold
    assert image.method == method
    assert image.normals == len(kept.normals)
    # The drawn data has masks.
    assert pixel.method == (method if held_out else 'f1_optimal')
    # Defects were made up on the normal images that the bundle keeps.
    bundle = open_bundle(run.folder / 'pytorch')
    defects, normals = bundle.made_up(), bundle.normals()
    assert sum(map(len, kept.made_up.values())) == len(defects.normal) == 9 * len(normals)
    assert MADE_UP_FILE in manifest.files
    # The test figures are those at this threshold, wherever it came from.
    metrics = manifest.metrics
    assert {'image_auroc', 'image_f1', 'false_reject_rate', 'pixel_auroc', 'aupro'} <= set(metrics)
    assert manifest.hyper_parameters['threshold'] == settings.get('threshold', 'auto')


@pytest.mark.parametrize(
    ('left', 'word', 'remedy'),
    [
        ('normal', 'threshold=labelled', 'threshold=normal'),
        ('anomaly', 'threshold=labelled', 'threshold=normal'),
        ('', 'threshold=labelled', 'threshold=normal'),
        ('normal', 'objective=recall', 'objective=false_reject_rate'),
    ],
)
def test_asking_for_labels_that_are_not_there_is_an_error(
    own_data: Path, learn: Learn, tmp_path: Path, left: str, word: str, remedy: str
) -> None:
    for kind in {'normal', 'anomaly'} - {left}:
        shutil.rmtree(own_data / 'test' / 'plate' / kind)
    if not left:
        shutil.rmtree(own_data / 'test')
    message = (
        f'{word} needs normal and anomalous test images (test/<category>/normal and anomaly); '
        f'use --set {remedy}'
    )
    with pytest.raises(DatasetError, match=f'^{re.escape(message)}$'):
        learn(dict([word.split('=')]), data_root=own_data)
    assert not (tmp_path / 'models').exists()


def test_the_band_and_its_origin_are_stored(learn: Learn) -> None:
    settings = {
        'threshold': 'normal',
        'held_out': 0.5,
        'false_reject_rate': 0.15,
        'confidence': 0.9,
        'uncertain_rate': 0.4,
    }
    run = learn(settings)
    values = json.loads((run.folder / 'pytorch' / 'meta.json').read_text())
    image = values['image_threshold']
    assert image['method'] == 'normal_quantile'
    assert image['target_false_reject_rate'] == 0.15
    assert image['confidence'] == 0.9
    assert 0.15 < image['false_reject_bound'] < 1
    assert image['uncertain_from'] < image['value']
    assert '40% of good parts uncertain or rejected on average, from 6 normal' in image['detail']
    assert values['pixel_threshold']['uncertain_from'] is None
    assert values['schema_version'] == 5
    for name, value in settings.items():
        assert values['hyper_parameters'][name] == value


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        ({'threshold': 'best'}, "threshold is 'best', expected auto or labelled or normal"),
        (
            {'objective': 'best'},
            "objective is 'best', expected false_reject_rate or recall or cost or f1",
        ),
        ({'target_recall': 1}, 'target_recall is 1.0, expected between 0 and 1'),
        ({'cost_miss': 0}, 'cost_miss is 0.0, expected more than 0'),
        (
            {'objective': 'f1', 'threshold': 'normal'},
            "objective is 'f1', expected false_reject_rate, as threshold=normal takes no labels",
        ),
        ({'threshold': 3}, 'threshold is 3, expected text, auto or labelled or normal'),
        ({'confidence': 0}, 'confidence is 0.0, expected between 0 and 1'),
        ({'confidence': 1}, 'confidence is 1.0, expected between 0 and 1'),
        ({'uncertain_rate': -0.1}, 'uncertain_rate is -0.1, expected 0, or between 0 and 1'),
        ({'uncertain_rate': 1}, 'uncertain_rate is 1.0, expected 0, or between 0 and 1'),
        (
            {'uncertain_rate': 'much'},
            "uncertain_rate is 'much', expected a number, 0, or between 0 and 1",
        ),
    ],
    ids=str,
)
def test_what_cannot_be_promised_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=f'^{re.escape(message)}$'):
        _parameters(**settings)
