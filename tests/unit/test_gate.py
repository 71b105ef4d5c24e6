# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""What a retraining may put into service: no more misses, no threshold that excuses anything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import builders
import numpy as np
import pytest

from adet_core.bundle import Threshold
from adet_core.geometry import Geometry
from adet_core.io.labelled import LabelledImage
from adet_core.made_up import draw_defects
from adet_core.prediction import Prediction
from adet_core.retraining.gate import Comparison, parts_changed
from adet_core.retraining.images import CollectedImages
from adet_core.retraining.nearest import still_rejected
from adet_core.retraining.questions import (
    all_finite,
    caught_made_up,
    figures,
    make_questions,
    predict_all,
    Questions,
    Scores,
)
from adet_core.retraining.settings import retrain_settings
from adet_core.retraining.threshold import move, NormalScores, Present, retrained_thresholds

SIZE = builders.SIZE
IMAGE = np.zeros((SIZE, SIZE, 3), np.uint8)


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


def scores(good: Any, test: Any = (), marked: Any = (), made_up: Any = ()) -> Scores:
    values = [np.array(part, np.float32) for part in (good, good, marked, test, made_up)]
    return Scores(*values)


def questions(good: int, labels: Any = (), *, defects: int = 0, fair: Any = None) -> Questions:
    """So many normal images, labelled ones, and one defect on each of the first images."""
    drawn = draw_defects(defects, (SIZE, SIZE))
    first = np.arange(0, len(drawn.normal), max(len(drawn.normal) // max(defects, 1), 1))
    return Questions(
        geometry=Geometry.whole((SIZE, SIZE)),
        good=[IMAGE] * good,
        marked=[],
        test=[LabelledImage(Path(), IMAGE, ('normal', 'anomaly')[label]) for label in labels],
        are_old=np.ones(good, np.bool_),
        are_fair=np.ones(good, np.bool_) if fair is None else np.array(fair, np.bool_),
        defects=type(drawn)(*(array[first] for array in drawn)),
    )


def settings(*words: str) -> dict[str, Any]:
    return retrain_settings(builders.manifest(), words)


def compare(
    asked: Questions, before: Scores, after: Scores, *words: str, old: float = 10, new: float = 10
) -> tuple[str, str]:
    """All faults and all notes."""
    found = Comparison(
        questions=asked, before=before, after=after, old=old, new=new, settings=settings(*words)
    ).findings()
    return '; '.join(one.fault for one in found if one.fault), '; '.join(
        one.note for one in found if one.note
    )


# ---- what is inspected


def test_every_image_is_inspected_in_its_place() -> None:
    normals = [image(1), image(2)]
    asked = Questions(
        geometry=Geometry.whole((SIZE, SIZE)),
        good=normals,
        marked=[image(5)],
        test=[LabelledImage(Path(), image(7), 'anomaly')],
        are_old=np.ones(2, np.bool_),
        are_fair=np.ones(2, np.bool_),
        defects=draw_defects(2, (SIZE, SIZE)),
    )
    calls: list[Any] = []
    found = predict_all(Model().run, asked, stage='s', progress=lambda *call: calls.append(call))
    assert found.good.tolist() == [1, 2]
    assert found.peaks.tolist() == [0.5, 1]
    assert (found.marked.tolist(), found.test.tolist()) == ([5], [7])
    expected = [asked.defects.pasted(normals, index)[0, 0, 0] for index in range(18)]
    assert found.made_up.tolist() == expected
    assert calls[-1] == ('s', 22, 22)
    told = figures(found, 3.0, asked)
    assert (told.normals, told.rejected, told.image_auroc) == (2, 0, 1.0)
    assert (told.marked, told.marked_rejected, told.anomalies, told.caught) == (1, 1, 1, 1)
    assert told.test_normals == 0
    assert told.made_up == {'faint': 6, 'clear': 6, 'strong': 6}
    caught = caught_made_up(found, 3.0, asked)
    assert sum(told.made_up_caught.values()) == caught.sum()
    assert figures(scores([1.0]), 1.5, questions(1)).made_up == {}
    assert figures(scores([1.0]), 1.5, questions(1)).image_auroc is None
    assert all_finite(found)
    assert not all_finite(found._replace(made_up=np.array([np.nan], np.float32)))


def test_a_made_up_defect_counts_where_the_image_without_it_passes() -> None:
    asked = questions(3, defects=3)
    found = caught_made_up(scores([1, 20, 1], made_up=[15, 25, 5]), 10, asked)
    assert found.tolist() == [True, False, False]


def test_defects_are_pasted_on_what_the_bundle_brings(tmp_path: Path) -> None:
    normals = np.random.default_rng(0).integers(0, 256, (3, SIZE, SIZE, 3), np.uint8)
    bundle = builders.make_bundle(tmp_path / 'PaDiM', normals=normals)
    collected = CollectedImages(normals=list(normals))

    def ask(anomalies: int, collected: CollectedImages = collected) -> Questions:
        test = [LabelledImage(Path(), IMAGE, 'anomaly')] * anomalies
        # One that the bundle brings, too.
        test += [LabelledImage(Path(), normals[0], 'normal')]
        return make_questions(bundle, collected, test, incremental=True)

    assert len(ask(30).defects.normal) == 27
    np.testing.assert_array_equal(ask(0).defects.box, bundle.made_up().box)
    assert ask(2).labels.tolist() == [True, True]
    kept = [LabelledImage(Path(f'{n}'), image(n), sha256=str(n)) for n in range(30)]
    assert len(ask(0, CollectedImages(held_out=kept)).defects.normal) == 9 * 20


# ---- the gate


def test_the_gate_counts_missed_defects() -> None:
    asked, good = questions(20, [1] * 150), [1.0] * 20
    before = scores(good, [11.0] * 127 + [9.0] * 23)
    worse = scores(good, [11.0] * 66 + [9.0] * 84)
    reason, _ = compare(asked, before, worse)
    assert reason.startswith('caught 127 -> 66 of 150 known defects; are there anomalies among')
    assert '--set max_missed=1' in reason
    assert compare(asked, before, worse, 'max_missed=1')[0] == ''
    # Through the threshold alone.
    assert 'caught 127 -> 0 of 150' in compare(asked, before, before, new=12)[0]
    # Four may be chance, five are not.
    for lost, refused in ((4, False), (5, True)):
        after = scores(good, [11.0] * (127 - lost) + [9.0] * (23 + lost))
        assert ('known defects' in compare(asked, before, after)[0]) == refused
    # What is lost here may be gained there.
    other = scores(good, [9.0] * 10 + [11.0] * 128 + [9.0] * 12)
    assert compare(asked, before, other) == ('', '')
    few = scores(good, [11.0] * 117 + [9.0] * 33)
    assert compare(asked, before, few, 'max_missed=0.1')[0] == ''
    assert compare(asked, before, few, 'max_missed=0.01')[0] != ''


def test_without_anomalies_the_gate_counts_made_up_ones() -> None:
    asked, good = questions(20, defects=20), [1.0] * 20
    before = scores(good, made_up=[11.0] * 18 + [9.0] * 2)
    worse = scores(good, made_up=[11.0] * 9 + [9.0] * 11)
    reason, _ = compare(asked, before, worse)
    assert reason.startswith('of 18 made-up defects caught before, only 9 still are')
    assert 'max_missed=1' in reason
    assert compare(asked, before, worse, 'max_missed=1') == ('', '')
    same = scores(good, made_up=[11.0] * 16 + [9.0] * 4)
    assert compare(asked, before, same) == ('', '')
    # They have no say where enough real ones are known.
    for known, refused in ((29, True), (30, False)):
        asked = questions(20, [1] * known, defects=20)
        found = [one._replace(test=np.full(known, 11, np.float32)) for one in (before, worse)]
        assert bool(compare(asked, *found)[0]) == refused
    asked = questions(20, defects=20)
    # A set that rejected everything caught nothing for its defect.
    assert compare(asked, scores([20.0] * 20, made_up=[30.0] * 20), worse)[0] == ''


def test_the_gate_counts_false_rejects() -> None:
    asked, none = questions(20, [0] * 20), scores([1.0] * 20, [1.0] * 20)
    assert compare(asked, none, none) == ('', '')
    four = scores([1.0] * 18 + [11.0] * 2, [1.0] * 18 + [11.0] * 2)
    assert compare(asked, none, four)[0] == ''
    many = scores([1.0] * 17 + [11.0] * 3, [1.0] * 10 + [11.0] * 10)
    reason, _ = compare(asked, none, many)
    assert reason.startswith('rejects 0 -> 13 of 40 normal images that were not learned')
    assert compare(asked, none, many, 'max_rejected=1')[0] == ''
    # No worse than before is no reason, however bad.
    assert compare(asked, many, many)[0] == ''
    # An image that the set before was fitted to proves nothing.
    asked = questions(20, fair=[True] * 10 + [False] * 10)
    assert compare(asked, scores([1.0] * 20), scores([1.0] * 10 + [11.0] * 10))[0] == ''


def test_a_handful_of_images_decides_nothing_and_the_gate_says_so() -> None:
    asked = questions(3, [1])
    before, after = scores([1, 2, 3], [11.0]), scores([1, 2, 12], [2.5])
    reason, notes = compare(asked, before, after)
    assert reason == ''
    assert notes == (
        '3 normal images cannot tell whether more good parts are rejected; 5 can; '
        '1 known defect cannot tell whether more of them are missed; 5 can'
    )


def test_the_gate_compares_the_auroc_with_its_interval() -> None:
    rng = np.random.default_rng(0)
    good, labels = rng.normal(0, 1, 40), [1] * 30
    asked = questions(40, labels)
    bad = rng.normal(3, 1, 30)
    before, worse = scores(good, bad), scores(good, bad - 2.5)
    reason, _ = compare(asked, before, worse, old=-99, new=-99)
    assert reason.startswith('image AUROC falls from 0.9950')
    assert 'where 0.01 are allowed' in reason
    assert 'max_auroc_loss=1' in reason
    assert compare(asked, before, worse, 'max_auroc_loss=1', old=-99, new=-99)[0] == ''
    # A step that chance explains.
    step = scores(good, np.r_[bad[1:], good.mean()])
    assert compare(asked, before, step, old=-99, new=-99)[0] == ''


def test_good_parts_that_all_changed_are_told() -> None:
    rng = np.random.default_rng(0)
    known, new = rng.normal(5, 1, 20), rng.normal(9, 1, 12)
    told = parts_changed(known, new, 60)
    assert told.startswith('the good parts changed: 12 new images of them scored higher than 20')
    assert told.endswith('relearned from 60 new images')
    assert 'scored lower' in parts_changed(new, known, 60)
    assert parts_changed(known, new, 9).endswith('from 9 new images (50 or more are better)')
    assert parts_changed(known, rng.normal(5, 1, 12), 60) == ''
    # Too few to tell.
    assert parts_changed(known, new[:4], 60) == ''


# ---- thresholds


def _chosen(value: float = 13.0, **other: Any) -> Threshold:
    values = {'method': 'f1_optimal', 'normals': 120, 'anomalies': 150, **other}
    return Threshold(value=value, **values)


def _present(image: Threshold, before: np.ndarray, after: np.ndarray) -> Present:
    return Present(
        image=image,
        pixel=image,
        before=NormalScores(before, before / 2),
        after=NormalScores(after, after / 2),
    )


def test_a_threshold_moves_with_the_scores_of_the_same_normal_images() -> None:
    before = np.linspace(8, 16, 25).astype(np.float32)
    chosen = _chosen(uncertain_from=11.0)
    assert move(chosen, before, before).value == 13
    for after, value in ((before + 2, 15), (before * 2, 26), (before / 2, 6.5)):
        found = move(chosen, before, after)
        assert found.value == pytest.approx(value)
        assert (found.method, found.normals, found.anomalies) == ('moved', 25, 0)
        assert found.uncertain_from is not None
        # As many of them stay rejected.
        assert (after >= found.value).sum() == (before >= 13).sum()
        assert (after >= found.uncertain_from).sum() == (before >= 11).sum()
    assert 'moved from 13 as far as the scores of 25 held-out normal images moved' in found.detail
    # Too few for a spread.
    assert move(chosen, before[:10], before[:10] * 2).value == pytest.approx(13 + 9.5)
    assert move(chosen, np.full(30, 2.0), np.full(30, 3.0)).value == 14


def test_one_image_that_scores_high_moves_no_threshold() -> None:
    """The largest of twenty normal scores became the threshold once, and 41 of 100 were missed."""
    before = np.linspace(8, 19, 20).astype(np.float32)
    found = retrained_thresholds(
        _present(_chosen(), before, before), scores(before, marked=[99]), settings(), []
    )
    assert [one.value for one in found] == [13, 13]


def test_a_threshold_is_derived_anew_where_somebody_asks_or_as_much_is_known() -> None:
    good = np.arange(30, dtype=np.float32)
    now = scores(good)
    quantile = _chosen(method='normal_quantile', normals=30, anomalies=0)
    for chosen, words, method in (
        (_chosen(), [], 'moved'),
        (_chosen(), ['keep=3'], 'moved'),
        # As adet threshold applies it.
        (_chosen(method='anomaly_quantile', normals=3, anomalies=3), [], 'moved'),
        (_chosen(), ['false_reject_rate=0.2'], 'normal_quantile'),
        (quantile, [], 'normal_quantile'),
        (_chosen(method='normal_quantile', normals=31, anomalies=0), [], 'moved'),
    ):
        found = retrained_thresholds(_present(chosen, good, good), now, settings(*words), words)
        assert [one.method for one in found] == [method] * 2
    nothing = np.empty(0, np.float32)
    found = retrained_thresholds(_present(_chosen(), nothing, good), now, settings(), [])
    assert found[0].method == 'normal_quantile'


# ---- marked images


def test_a_marked_image_that_is_still_rejected_is_told_with_what_it_is_like() -> None:
    marked = [
        LabelledImage(Path(f'{name}.png'), np.full_like(IMAGE, level), is_marked=True)
        for name, level in (('high', 200), ('low', 100))
    ]
    alike = LabelledImage(Path('alike.png'), np.full_like(IMAGE, 190))
    collected = CollectedImages(learn=[*marked, alike], normals=[IMAGE, np.full_like(IMAGE, 150)])
    lines = still_rejected(collected, np.array([15, 5], np.float32), 10.0)
    assert lines[0] == (
        'high.png was marked as fine and is still rejected (15, threshold 10); the normal images '
        'most like it: alike.png, normals.npz[1], low.png'
    )
    assert lines[1].startswith('1 of 2 marked images are still rejected: mark more like them')
    assert len(lines) == 2
    assert still_rejected(collected, np.array([5, 5], np.float32), 10.0) == []
