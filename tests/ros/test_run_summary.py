# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""What a run says at its end."""

from __future__ import annotations

from adet.run_summary import fault_of, Sent, summarise
from adet_core.records import Record


def row(number: int, error: str = '', model: str = 'padim') -> Record:
    figures = {} if error else {'score': 1.0, 'is_anomalous': number == 1, 'inference_ms': 4.0}
    source = f'{number}.png'
    return Record(
        stamp_ns=number, frame_id='', source=source, label='', model=model, error=error, **figures
    )


def test_a_run_that_lost_nothing_is_complete():
    found = summarise({'padim': [row(1), row(2)]}, Sent(2))
    assert (found['expected'], found['rows'], found['lost'], found['complete']) == (2, 2, 0, True)
    assert found['models']['padim'] == {
        'rows': 2,
        'anomalous': 1,
        'missing': 0,
        'lost': 0,
        'reasons': [],
        'latency_ms': {'p50': 4.0, 'p95': 4.0},
    }
    assert fault_of(found) == ''


def test_what_was_lost_is_counted_by_its_reason_with_the_first_names():
    bad = [row(number, f'{number}.png: cannot be decoded') for number in range(2, 7)]
    found = summarise({'padim': [row(1), *bad, row(7, 'too dark')]}, Sent(8, 3, ['damaged']))
    assert (found['expected'], found['rows'], found['lost']) == (11, 7, 10)
    assert found['warnings'] == ['damaged']
    reasons = [tuple(one.values()) for one in found['models']['padim']['reasons']]
    assert reasons == [
        ('cannot be decoded', 5, ['2.png', '3.png', '4.png']),
        ('cannot be read from the source', 3, []),
        ('too dark', 1, ['7.png']),
        ('has no row', 1, []),
    ]
    assert fault_of(found) == (
        'padim: 10 of 11 images have no verdict: 5 cannot be decoded (2.png, 3.png, 4.png, ...), '
        '3 cannot be read from the source, 1 too dark (7.png), 1 has no row'
    )


def test_models_that_lost_the_same_are_told_of_once():
    rows = {model: [row(1), row(2, 'torn', model)] for model in ('padim', 'vae')}
    found = summarise({**rows, 'patchcore': [row(1), row(2)]}, Sent(2))
    assert (found['rows'], found['lost']) == (2, 1)
    assert fault_of(found) == 'padim, vae: 1 of 2 images have no verdict: 1 torn (2.png)'


def test_a_source_cut_short_nobody_knows_where_is_not_complete():
    found = summarise({'padim': [row(1)]}, Sent(1, None))
    assert (found['expected'], found['lost'], found['complete']) == (None, None, False)
    assert fault_of(found) == 'the source is cut short, nobody knows by how much'


def test_of_a_camera_nothing_is_expected():
    found = summarise({'padim': [row(1), row(2, 'torn')]}, None)
    assert (found['expected'], found['lost'], found['complete']) == (None, 1, True)
    assert fault_of(found) == ''
