# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""From rows to figures."""

from __future__ import annotations

from dataclasses import asdict, replace

import pytest

from adet_core.cli.evaluate import show
from adet_core.errors import RecordError
from adet_core.evaluation import evaluate
from adet_core.records import Record


def _row(score: float | None, label: str, verdict: bool | None, ms: float | None = 5.0) -> Record:
    return Record(
        stamp_ns=1,
        frame_id='',
        source='',
        label=label,
        model='padim',
        score=score,
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


def test_uncertain_pictures_are_counted_and_leave_the_rates_as_they_are() -> None:
    uncertain = [replace(row, is_uncertain=row.is_anomalous is False) for row in ROWS]
    assert evaluate(uncertain) == replace(evaluate(ROWS), uncertain=3)


@pytest.mark.parametrize(('uncertain', 'shown'), [(0, None), (3, '3 (50.0%)')])
def test_uncertain_pictures_are_shown_where_there_are_any(
    uncertain: int, shown: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    show(asdict(replace(evaluate(ROWS), uncertain=uncertain)))
    table = dict(line.split('│') for line in capsys.readouterr().out.splitlines() if '│' in line)
    cells = {name.strip(): value.strip() for name, value in table.items()}
    assert cells['anomalous'] == '3'
    assert cells.get('uncertain') == shown


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


def test_pictures_without_labels_still_have_a_latency() -> None:
    figures = evaluate([_row(1.0, '', False, 7.0)])
    assert (figures.images, figures.labelled) == (1, 0)
    assert figures.image_auroc is figures.image_f1 is None
    assert figures.latency_ms == {'p50': 7.0, 'p95': 7.0, 'p99': 7.0}


@pytest.mark.parametrize('rows', [[], [ROWS[5], ROWS[5]]])
def test_rows_without_any_verdict_are_refused(rows: list[Record]) -> None:
    with pytest.raises(RecordError, match=f'none of {len(rows)} rows has a verdict; inspect some'):
        evaluate(iter(rows))
