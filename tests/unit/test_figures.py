# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""From rows to figures."""

from __future__ import annotations

from dataclasses import asdict, replace
import itertools

import numpy as np
import pytest

from adet_core.errors import RecordError
from adet_core.io.sources import Frame
from adet_core.records import Record
from adet_evaluation.cli.evaluate import show
from adet_evaluation.figures import defect_type, evaluate
from adet_evaluation.rows import by_category, join_rows, share_labels

_stamps = itertools.count()


def _row(score: float | None, label: str, verdict: bool | None, ms: float | None = 5.0) -> Record:
    return Record(
        stamp_ns=next(_stamps) * 500_000_000,
        frame_id='',
        source='',
        label=label,
        model='padim',
        score=score,
        threshold=None if score is None else 3.5,
        is_anomalous=verdict,
        inference_ms=ms,
        error='' if score is not None else 'cannot be decoded',
    )


ROWS = [
    _row(1.0, 'normal', False, 10.0),
    _row(4.0, 'normal', True, 20.0),
    _row(2.0, 'normal', False, 30.0),
    _row(3.0, 'anomaly', False, 40.0),
    _row(5.0, 'anomaly', True, 50.0),
    _row(None, 'anomaly', None, None),
    _row(9.0, '', True, 60.0),
]


def test_figures_are_those_of_the_rows() -> None:
    figures = evaluate(ROWS)
    assert figures.images == 6
    assert figures.missing == 1
    assert figures.labelled == 5
    assert figures.anomalous == 3
    assert figures.uncertain == 0
    assert figures.image_auroc == pytest.approx(5 / 6)
    assert figures.image_f1 == pytest.approx(0.5)
    assert figures.false_reject_rate == pytest.approx(1 / 3)
    assert figures.false_accept_rate == pytest.approx(1 / 2)
    assert figures.latency_ms == pytest.approx({'p50': 35.0, 'p95': 57.5, 'p99': 59.5})


def test_rates_are_those_of_the_verdicts_even_when_the_threshold_was_moved() -> None:
    moved = [replace(row, is_anomalous=not row.is_anomalous) for row in ROWS if row.score]
    figures = evaluate(moved)
    assert figures.false_reject_rate == pytest.approx(2 / 3)
    assert figures.image_auroc == pytest.approx(5 / 6)


def test_uncertain_images_are_counted_and_leave_the_rates_as_they_are() -> None:
    uncertain = [replace(row, is_uncertain=row.is_anomalous is False) for row in ROWS]
    assert evaluate(uncertain) == replace(evaluate(ROWS), uncertain=3)


@pytest.mark.parametrize(('uncertain', 'shown'), [(0, '0'), (3, '3 (50.0%)')])
def test_uncertain_images_are_shown(
    uncertain: int, shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    show({'models': {'padim': asdict(replace(evaluate(ROWS), uncertain=uncertain))}})
    table = dict(line.split('│') for line in capsys.readouterr().out.splitlines() if '│' in line)
    cells = {name.strip(): value.strip() for name, value in table.items()}
    assert cells['found anomalous'] == '3 (50.0%)'
    assert cells['inspected uncertain'] == shown


@pytest.mark.parametrize(
    ('label', 'rates'), [('normal', (None, 1 / 3, None)), ('anomaly', (2 / 3, None, 0.5))]
)
def test_figures_that_one_class_cannot_give_are_none(
    label: str, rates: tuple[float | None, ...]
) -> None:
    figures = evaluate(row for row in ROWS if row.label == label)
    assert figures.image_auroc is None
    found = figures.image_f1, figures.false_reject_rate, figures.false_accept_rate
    assert found == pytest.approx(rates)


def test_images_without_labels_still_have_a_latency() -> None:
    figures = evaluate([_row(1.0, '', False, 7.0)])
    assert (figures.images, figures.labelled) == (1, 0)
    assert figures.image_auroc is figures.image_f1 is None
    assert figures.latency_ms == {'p50': 7.0, 'p95': 7.0, 'p99': 7.0}


@pytest.mark.parametrize('rows', [[], [ROWS[5], replace(ROWS[5], stamp_ns=7)]])
def test_rows_without_any_verdict_are_refused(rows: list[Record]) -> None:
    with pytest.raises(RecordError, match=f'none of {len(rows)} rows has a verdict; inspect some'):
        evaluate(iter(rows))


def test_a_stamp_that_comes_twice_counts_once() -> None:
    twice = [*ROWS, replace(ROWS[0], score=100.0)]
    assert evaluate(twice) == replace(evaluate(ROWS), duplicates=1)
    assert evaluate(ROWS, duplicates=2).duplicates == 2


def test_stamps_that_go_back_are_counted() -> None:
    assert evaluate(ROWS).non_monotonic == 0
    assert evaluate([*ROWS[3:], *ROWS[:3]]).non_monotonic == 1


def test_images_per_second_come_from_the_stamps_or_from_who_knows_better() -> None:
    assert evaluate(ROWS).images_per_second == pytest.approx(2.0)
    assert evaluate(ROWS, seconds=0.5).images_per_second == pytest.approx(14.0)
    assert evaluate(ROWS[:1]).images_per_second is None


def test_the_best_f1_and_average_precision_are_those_of_scikit_learn() -> None:
    metrics = pytest.importorskip('sklearn.metrics')
    random = np.random.default_rng(3)
    rows = [
        _row(round(float(score), 1), label, score > 1)
        for label, mean in (('normal', 0), ('anomaly', 1))
        for score in random.normal(mean, 1, 60)
    ]
    scores = [row.score for row in rows]
    labels = [row.label == 'anomaly' for row in rows]
    found = evaluate(rows)
    assert found.average_precision == pytest.approx(
        metrics.average_precision_score(labels, scores)
    )
    precision, recall, _ = metrics.precision_recall_curve(labels, scores)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    assert found.best_f1 == pytest.approx(f1.max())
    assert found.best_f1_threshold is not None
    flagged = np.array(scores) >= found.best_f1_threshold
    assert metrics.f1_score(labels, flagged) == pytest.approx(f1.max())


def test_rates_have_exact_intervals() -> None:
    stats = pytest.importorskip('scipy.stats')
    found = evaluate(ROWS)
    for count, total, interval in (
        (1, 3, found.false_reject_interval),
        (1, 2, found.false_accept_interval),
    ):
        exact = stats.binomtest(count, total).proportion_ci(0.95, method='exact')
        assert interval == pytest.approx((exact.low, exact.high), abs=1e-9)


@pytest.mark.parametrize(
    ('source', 'kind'),
    [
        ('data/test/plate/anomaly/scratch_0007.png', 'scratch'),
        ('data/test/bottle/anomaly/broken_large/003.png', 'broken_large'),
        ('data/test/x/anomaly/deep/er/1.png', 'deep/er'),
        ('data/test/VisA_pipe_fryum/anomaly/012.JPG', ''),
        ('data/test/MT_tile/anomaly/blowhole_exp1_num_4944.png', 'blowhole'),
        ('data/test/x/anomaly/img0007.png', 'img'),
        ('data/test/plate/normal/good_1.png', ''),
        ('camera:0', ''),
    ],
)
def test_the_kind_of_defect_is_read_from_the_name(source: str, kind: str) -> None:
    assert defect_type(source) == kind


@pytest.mark.parametrize(
    ('pattern', 'kind'),
    [(r'_(exp\d+)_', 'exp1'), (r'num_\d', 'num_4'), ('crack', ''), ('(crack)|(blow)', 'blow')],
)
def test_an_expression_gives_kinds_of_its_own(pattern: str, kind: str) -> None:
    source = 'data/test/MT_tile/anomaly/blowhole_exp1_num_4944.png'
    assert defect_type(source, pattern) == kind


def test_kinds_of_defect_have_figures_of_their_own() -> None:
    names = ['', '', '', 'anomaly/dent_1.png', 'anomaly/hole_1.png', 'anomaly/hole_2.png', '']
    rows = [replace(row, source=name) for row, name in zip(ROWS, names, strict=True)]
    found = evaluate(rows).defect_types
    assert {kind: (one.images, one.missed) for kind, one in found.items()} == {
        'dent': (1, 1),
        'hole': (1, 0),
    }
    assert found['dent'].image_auroc == pytest.approx(2 / 3)
    assert found['hole'].image_auroc == pytest.approx(1.0)
    # A single kind says nothing that the whole does not.
    assert evaluate([replace(row, source='anomaly/dent_1.png') for row in rows]).defect_types == {}


def test_models_share_what_any_of_them_knows_of_a_image() -> None:
    bare = [replace(row, label='', source='') for row in ROWS]
    shared = share_labels({'padim': ROWS, 'vae': bare})
    assert [row.label for row in shared['vae']] == [row.label for row in ROWS]
    assert shared['padim'] == ROWS


def test_rows_of_several_categories_are_evaluated_apart() -> None:
    named = [replace(row, category=name) for row, name in zip(ROWS[:4], 'aabb', strict=True)]
    unreadable = Record(stamp_ns=9, frame_id='', source='x', label='', model='padim', error='torn')
    split = by_category('padim', [named[0], unreadable, *named[1:]])
    # Nobody knows what the unreadable one shows: it is of what was in service.
    assert split == {'padim a': [named[0], unreadable, named[1]], 'padim b': named[2:]}
    assert by_category('padim', [unreadable, *named[:2]]) == {'padim': [unreadable, *named[:2]]}
    assert by_category('padim', []) == {'padim': []}


def test_drift_is_found_where_scores_leave_what_was_learned() -> None:
    random = np.random.default_rng(5)
    learned = random.normal(0, 0.5, 200).tolist()
    steady = [_row(float(score), '', False) for score in random.normal(0, 0.5, 100)]
    moved = [_row(float(score), '', False) for score in random.normal(0.8, 0.5, 100)]
    found = evaluate([*steady, *moved], learned=learned)
    assert found.drift is not None
    assert [alarm.stamp_ns for alarm in found.drift] == [moved[49].stamp_ns, moved[99].stamp_ns]
    assert all(alarm.higher for alarm in found.drift)
    assert evaluate(steady, learned=learned).drift == ()
    # Known anomalies are no drift, and without enough to compare with there is no test.
    anomalies = [replace(row, is_anomalous=True, label='anomaly') for row in moved]
    assert evaluate([*steady, *anomalies], learned=learned).drift == ()
    rejected = [_row(float(score), '', True) for score in random.normal(0, 0.5, 100)]
    (alarm,) = evaluate([*steady, *rejected], learned=learned).drift or ()
    assert (alarm.kind, alarm.p_value, alarm.higher) == ('rejects', None, True)
    assert 0 < alarm.statistic < 0.5
    assert evaluate(moved, learned=learned[:10]).drift is None


def test_rows_are_joined_with_the_images_there_were() -> None:
    def row(stamp: int, label: str = '') -> Record:
        return Record(
            stamp_ns=stamp, frame_id='', source='', label=label, model='padim', score=1.0
        )

    frames = [(stamp, Frame(None, f'{stamp}.png', 'normal', frame_id='f')) for stamp in (4, 1, 2)]
    frames.append((3, Frame(None, '3.png', 'anomaly', 'cannot be decoded')))
    joined = join_rows([row(2), row(1, 'anomaly'), row(9)], frames, why='has no row')
    assert [one.stamp_ns for one in joined] == [1, 2, 3, 4, 9]
    assert [one.label for one in joined] == ['anomaly', 'normal', 'anomaly', 'normal', '']
    assert [one.source for one in joined] == ['', '2.png', '3.png', '4.png', '']
    assert [one.error for one in joined] == ['', '', 'cannot be decoded', 'has no row', '']
    # Nothing is lost: the order is that of the rows.
    assert join_rows([row(2), row(1)], [], why='') == [row(2), row(1)]
