# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Each objective gives the threshold it promises, and says from what."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

from adet_core.objectives import (
    anomaly_threshold,
    choose_threshold,
    labelled_threshold,
    lowest_cost_threshold,
    Objective,
    OBJECTIVES,
)
from adet_core.thresholds import normal_threshold

NORMALS = np.arange(1, 101, dtype=np.float32)
ANOMALIES = np.arange(80, 140, dtype=np.float32)
SCORES = st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=40).map(
    lambda values: np.array(values, np.float32)
)


def test_the_default_respects_the_false_reject_rate_whatever_the_labels_say() -> None:
    found = choose_threshold(Objective(false_reject_rate=0.1), NORMALS, ANOMALIES)
    assert found == normal_threshold(NORMALS, 0.1)


def test_a_recall_is_kept_on_average() -> None:
    rng = np.random.default_rng(0)
    caught = []
    for _ in range(400):
        threshold = anomaly_threshold(rng.exponential(size=39).astype(np.float32), 0.9)
        caught.append((rng.exponential(size=200).astype(np.float32) >= threshold.value).mean())
    error = np.std(caught) / math.sqrt(len(caught))
    assert np.mean(caught) == pytest.approx(0.9, abs=4 * error)
    found = choose_threshold(Objective(kind='recall', target_recall=0.9), NORMALS, ANOMALIES)
    assert (found.method, found.normals, found.anomalies) == ('anomaly_quantile', 100, 60)
    assert found.value == 85
    assert found.detail == ('at least 90% of anomalies caught on average, from 60 labelled ones')


def test_too_few_anomalies_say_what_they_can_promise() -> None:
    found = anomaly_threshold(np.array([5.0, 3.0, 4.0]), 0.95)
    assert found.value == 3
    assert found.detail == (
        'at least 75% of anomalies caught on average, from 3 labelled ones; '
        '19 are needed to promise 95%'
    )


@given(SCORES, SCORES, st.floats(0.1, 100), st.floats(0.1, 100))
def test_no_other_threshold_costs_less(
    normal: np.ndarray, anomalous: np.ndarray, miss: float, reject: float
) -> None:
    scores = np.concatenate([normal, anomalous])
    labels = np.arange(scores.size) >= normal.size

    def cost(threshold: float) -> float:
        return miss * (anomalous < threshold).sum() + reject * (normal >= threshold).sum()

    found = lowest_cost_threshold(scores, labels, miss, reject)
    lowest = min(cost(cut) for cut in [*scores.astype(float).tolist(), math.inf])
    assert cost(found.value) == pytest.approx(lowest)


def test_costs_move_the_threshold() -> None:
    def at(miss: float) -> float:
        objective = Objective(kind='cost', cost_miss=miss, cost_reject=1)
        return choose_threshold(objective, NORMALS, ANOMALIES).value

    assert at(0.01) > at(1) >= at(100)
    # Every anomaly is worth all false rejects.
    assert at(1000) <= 80


def test_a_labelled_threshold_says_where_it_came_from() -> None:
    scores, labels = np.array([1.0, 2.0, 6.0]), np.array([False, False, True])
    threshold = labelled_threshold(scores, labels)
    assert threshold.value == 4.0
    assert threshold.method == 'f1_optimal'
    assert (threshold.normals, threshold.anomalies) == (2, 1)
    assert threshold.target_false_reject_rate is None
    assert 'flatter' in threshold.detail
    assert choose_threshold(Objective(kind='f1'), scores[:2], scores[2:]) == threshold


@pytest.mark.parametrize('kind', OBJECTIVES)
def test_an_objective_needs_its_scores(kind: str) -> None:
    nothing = np.empty(0, np.float32)
    normals = nothing if kind == 'false_reject_rate' else NORMALS
    with pytest.raises(ValueError, match='needs'):
        choose_threshold(Objective(kind=kind), normals, nothing)
