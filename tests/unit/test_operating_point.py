# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""What a threshold does to known scores, told with intervals and without flattery."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from adet_core.bundle import ScoreRange, Threshold
from adet_core.metrics import binomial_interval
from adet_core.objectives import choose_threshold, Objective
from adet_core.operating_point import (
    Counts,
    counts_at,
    cross_fitted,
    doubts,
    knee,
    known_scores,
    made_up_caught,
    p_value,
    p_value_text,
)


def _kept(normals: Any, anomalies: Any = (), made_up: Any = None) -> ScoreRange:
    values = [tuple(float(score) for score in scores) for scores in (normals, anomalies)]
    return ScoreRange(
        minimum=0, maximum=200, normals=values[0], anomalies=values[1], made_up=made_up or {}
    )


def _doubts(value: float, kept: ScoreRange) -> list[str]:
    return doubts(Threshold(value=value, method='moved', normals=1, anomalies=0), kept)


def test_counts_say_both_rates_with_exact_intervals() -> None:
    found = counts_at(10.0, [1, 2, 10], [9.5, 10, 11, 12])
    assert found == Counts(1, 3, 1, 4)
    assert str(found) == (
        '1 of 3 normal images rejected (33.3%, 0.84 to 90.6%), '
        '1 of 4 anomalous images missed (25%, 0.631 to 80.6%)'
    )
    assert str(counts_at(1, [], [])) == 'no labelled images'


def test_cross_fitted_counts_do_not_flatter() -> None:
    """On scores that tell nothing, the best F1 or cost of the same images looks better."""
    rng = np.random.default_rng(1)
    flattered = fair = 0
    objective = Objective(kind='cost', cost_miss=1, cost_reject=1)
    for _ in range(60):
        normals, anomalies = rng.normal(size=(2, 20)).astype(np.float32)
        value = choose_threshold(objective, normals, anomalies).value
        same = counts_at(value, normals.tolist(), anomalies.tolist())
        other = cross_fitted(objective, normals, anomalies)
        assert other is not None
        assert (other.normals, other.anomalies) == (20, 20)
        flattered += same.rejected + same.missed
        fair += other.rejected + other.missed
    # Half of all verdicts are wrong in truth.
    assert fair / (60 * 40) == pytest.approx(0.5, abs=0.03)
    assert flattered / (60 * 40) < 0.45
    assert cross_fitted(objective, normals[:4], anomalies) is None


def test_made_up_defects_are_counted_by_strength() -> None:
    kept = _kept([1], made_up={'faint': (1.0, 2.0), 'strong': (8.0, 9.0)})
    found = made_up_caught(8.5, kept)
    assert found is not None
    assert found.share == 0.25
    assert str(found) == '1 of 4 made-up defects caught (faint 0 of 2, strong 1 of 2)'
    assert made_up_caught(8.5, _kept([1])) is None


def test_the_knee_separates_what_can_be_separated() -> None:
    assert knee(_kept([1, 2, 3], [5, 6])) == 5
    assert knee(_kept([1, 2, 3], made_up={'faint': (2.5, 7.0)})) in {2.5, 7.0}
    assert knee(_kept([1, 2, 3])) is None
    assert knee(_kept([], [5])) is None


def test_a_page_can_count_with_intervals_what_any_threshold_does() -> None:
    kept = _kept([1, 2, 3, 4], made_up={'faint': (2.5,), 'clear': ()})
    threshold = Threshold(value=3, method='normal_quantile', normals=4, anomalies=0, detail='x')
    found = known_scores(threshold, kept)
    assert (found['threshold'], found['detail']) == (3, 'x')
    assert list(found['kinds']) == ['normals', 'made_up_faint']
    normals = found['kinds']['normals']
    assert normals['scores'] == [1, 2, 3, 4]
    assert normals['intervals'][1] == binomial_interval(1, 4, 0.95)
    assert len(normals['intervals']) == 5
    json.dumps(found, allow_nan=False)


def test_a_p_value_is_told_in_words() -> None:
    assert p_value_text(1 / 200) == '1 in 200 good parts scores so high'
    assert p_value_text(0.43) == '43% of good parts score so high'
    assert p_value_text(math.nan) == ''


def test_a_p_value_is_the_share_of_good_parts_that_score_so_high() -> None:
    normals = list(range(199))
    assert p_value(1000, normals) == 1 / 200
    assert p_value(198, normals) == 2 / 200
    assert p_value(-1, normals) == 1
    assert math.isnan(p_value(1, []))
    rng = np.random.default_rng(0)
    small = np.mean(
        [p_value(rng.normal(), np.sort(rng.normal(size=19)).tolist()) <= 0.1 for _ in range(2000)]
    )
    assert small == pytest.approx(0.1, abs=0.03)


def test_a_threshold_that_works_leaves_no_doubt() -> None:
    assert _doubts(50, _kept(range(40), range(55, 90))) == []
    # Too few to tell anything.
    assert _doubts(0, _kept([1, 2], [3])) == []


def test_what_is_absurd_is_told() -> None:
    same = np.random.default_rng(0).normal(100, 10, 80)
    (chance,) = [line for line in _doubts(100, _kept(same, same)) if 'AUROC' in line]
    assert 'near the 0.5 of pure chance' in chance
    (rejects,) = _doubts(10, _kept(range(40), range(60, 90)))
    assert 'rejects 30 of 40 normal images (75%, 58.8 to 87.3%)' in rejects
    (misses,) = _doubts(85, _kept(range(40), range(60, 90)))
    assert misses.startswith('25 of 30 known anomalies are missed (83.3%, 65.3 to 94.4%)')
    assert misses.endswith(
        '; a threshold of 60 would reject 0 of 40 normal images and miss 0 of 30'
    )


def test_normal_images_alone_are_told_how_many_made_up_defects_pass() -> None:
    made_up = {'faint': tuple(range(20, 30)), 'strong': tuple(range(35, 45))}
    (line,) = _doubts(41, _kept(range(40), made_up=made_up))
    assert line.startswith(
        'only 4 of 20 made-up defects caught (faint 0 of 10, strong 4 of 10): the model cannot '
    )
    assert 'would reject' in line
    assert _doubts(20, _kept(range(15), made_up=made_up)) == []
