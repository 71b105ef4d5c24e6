# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Metrics, held against scikit-learn and anomalib."""

from __future__ import annotations

import cv2
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, f1_score, precision_recall_curve, roc_auc_score

from adet_core import metrics
from adet_core.metrics import (
    auroc,
    auroc_loss_bound,
    best_f1_threshold,
    binomial_upper_bound,
    net_loss_bound,
    pixel_metrics,
    PixelMetrics,
    Rates,
    rates_at,
)

few = settings(max_examples=50)
# Few distinct values make many ties.
COARSE = st.integers(-3, 6).map(float)
FINE = st.floats(-1e6, 1e6, width=32)
LABELLED = st.lists(st.tuples(st.one_of(COARSE, FINE), st.booleans()), min_size=2, max_size=60)


def _both_classes(pairs: list[tuple[float, bool]]) -> tuple[np.ndarray, np.ndarray]:
    scores = np.array([score for score, _ in pairs], np.float32)
    labels = np.array([label for _, label in pairs])
    assume(0 < labels.sum() < len(labels))
    return scores, labels


@few
@given(LABELLED)
def test_auroc_is_that_of_scikit_learn(pairs: list[tuple[float, bool]]) -> None:
    scores, labels = _both_classes(pairs)
    assert auroc(scores, labels) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)


@few
@given(LABELLED)
def test_auroc_only_sees_the_order(pairs: list[tuple[float, bool]]) -> None:
    scores, labels = _both_classes(pairs)
    ranks = np.unique(scores, return_inverse=True)[1].astype(np.float64)
    assert auroc(np.exp(ranks / 10), labels) == pytest.approx(auroc(scores, labels), abs=1e-12)


@few
@given(LABELLED)
def test_auroc_of_swapped_labels_is_the_rest(pairs: list[tuple[float, bool]]) -> None:
    scores, labels = _both_classes(pairs)
    assert auroc(scores, ~labels) == pytest.approx(1 - auroc(scores, labels), abs=1e-12)
    assert auroc(-scores, labels) == pytest.approx(1 - auroc(scores, labels), abs=1e-12)


def test_auroc_of_equal_scores_is_one_half() -> None:
    assert auroc(np.ones(7), np.arange(7) < 3) == 0.5


def test_auroc_of_separated_scores_is_one() -> None:
    assert auroc(np.arange(6), np.arange(6) >= 4) == 1
    assert auroc(np.arange(6), np.arange(6) < 2) == 0


@pytest.mark.parametrize('labels', [np.zeros(3, bool), np.ones(3, bool)])
def test_auroc_needs_both_classes(labels: np.ndarray) -> None:
    assert auroc(np.arange(3), labels) is None


def test_auroc_of_nothing_is_none() -> None:
    assert auroc(np.array([]), np.array([], bool)) is None


@few
@given(LABELLED, COARSE)
def test_rates_are_those_of_scikit_learn(
    pairs: list[tuple[float, bool]], threshold: float
) -> None:
    scores, labels = _both_classes(pairs)
    flagged = scores >= threshold
    (passed, rejected), (missed, caught) = confusion_matrix(labels, flagged, labels=[False, True])
    rates = rates_at(threshold, scores, labels)
    assert rates.f1 == pytest.approx(f1_score(labels, flagged, zero_division=0))
    assert rates.false_reject_rate == rejected / (passed + rejected)
    assert rates.false_accept_rate == missed / (missed + caught)


def test_a_score_at_the_threshold_counts_as_anomalous() -> None:
    labels = np.array([False, True])
    assert rates_at(1.0, np.ones(2), labels) == Rates(2 / 3, 1.0, 0.0)
    assert rates_at(np.nextafter(1.0, 2), np.ones(2), labels) == Rates(0.0, 0.0, 1.0)


def test_rates_that_one_class_cannot_give_are_none() -> None:
    scores = np.array([1.0, 2.0, 3.0])
    assert rates_at(2.0, scores, np.zeros(3, bool)) == Rates(None, 2 / 3, None)
    assert rates_at(2.0, scores, np.ones(3, bool)) == Rates(pytest.approx(0.8), None, 1 / 3)


@few
@given(LABELLED)
def test_no_threshold_has_a_better_f1(pairs: list[tuple[float, bool]]) -> None:
    scores, labels = _both_classes(pairs)
    precision, recall, _ = precision_recall_curve(labels, scores)
    total = np.maximum(precision + recall, 1e-300)
    best = (2 * precision * recall / total).max()
    threshold = best_f1_threshold(scores, labels)
    assert rates_at(threshold, scores, labels).f1 == pytest.approx(best, abs=1e-12)


def test_the_best_threshold_lies_midway_between_the_scores_it_separates() -> None:
    scores = np.array([1.0, 2.0, 6.0, 9.0])
    assert best_f1_threshold(scores, np.array([False, False, True, True])) == 4.0


def test_a_normal_score_at_the_threshold_is_a_false_alarm() -> None:
    scores = np.array([5.0, 3.0, 3.0, 3.0, 3.0, 1.0])
    labels = np.array([True, True, False, False, False, False])
    assert best_f1_threshold(scores, labels) == 4.0


def test_the_best_threshold_of_inseparable_scores_flags_them_all() -> None:
    assert best_f1_threshold(np.array([3.0, 3.0]), np.array([False, True])) == 3.0


@pytest.mark.parametrize('label', [False, True])
def test_the_best_threshold_needs_both_classes(label: bool) -> None:
    with pytest.raises(ValueError, match='needs normal and anomalous scores'):
        best_f1_threshold(np.arange(3), np.full(3, label))


# ---- what a count says of a rate


@given(st.integers(1, 3000), st.floats(0, 1), st.floats(0.001, 0.9999))
@example(1, 0, 0.5)
@example(100_000, 0.01, 0.95)
def test_the_binomial_bound_is_that_of_scipy(total: int, share: float, confidence: float) -> None:
    beta = pytest.importorskip('scipy.stats').beta
    count = int(share * total)
    expected = beta.ppf(confidence, count + 1, total - count) if count < total else 1
    found = binomial_upper_bound(count, total, confidence)
    assert found == pytest.approx(expected, rel=1e-7)


def test_no_hits_are_bounded_by_the_closed_form() -> None:
    assert binomial_upper_bound(0, 299, 0.95) == pytest.approx(1 - 0.05 ** (1 / 299), rel=1e-12)


def test_extreme_confidence_is_no_error() -> None:
    assert binomial_upper_bound(9, 10, np.nextafter(1.0, 0)) == pytest.approx(1)
    assert binomial_upper_bound(0, 1, 1e-300) == pytest.approx(0, abs=1e-14)


@pytest.mark.parametrize(
    ('count', 'total', 'confidence'),
    [(-1, 5, 0.9), (6, 5, 0.9), (0, 0, 0.9), (1, 5, 0.0), (1, 5, 1.0), (1, 5, float('nan'))],
)
def test_a_bound_of_nothing_is_refused(count: int, total: int, confidence: float) -> None:
    with pytest.raises(ValueError, match=f'no bound for {count} of {total} at confidence'):
        binomial_upper_bound(count, total, confidence)


# ---- pixels


def _maps(seed: int, *, levels: int | None) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Random maps and masks of several regions; ``levels`` makes many ties."""
    rng = np.random.default_rng(seed)
    maps, masks = [], []
    for index in range(6):
        mask = np.zeros((30, 36), bool)
        for _ in range(index % 4):  # some images are good
            y, x = rng.integers(0, 24), rng.integers(0, 28)
            mask[y : y + rng.integers(1, 9), x : x + rng.integers(1, 9)] = True
        noise = cv2.GaussianBlur(rng.normal(size=mask.shape), (0, 0), 2) + 0.2 * mask
        if levels:
            noise = np.rint(noise * levels) / levels
        maps.append(noise.astype(np.float32))
        masks.append(mask)
    return maps, masks


@pytest.mark.parametrize('levels', [None, 20, 3])
@pytest.mark.parametrize('seed', [0, 1])
def test_pixel_auroc_is_that_of_scikit_learn(seed: int, levels: int | None) -> None:
    maps, masks = _maps(seed, levels=levels)
    expected = roc_auc_score(np.ravel(masks), np.ravel(maps))
    assert pixel_metrics(maps, masks).auroc == pytest.approx(expected, abs=1e-12)


def test_an_even_part_of_many_normal_pixels_stands_for_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = [_maps(seed, levels=None) for seed in range(10)]
    maps, masks = ([one for pair in found for one in pair[part]] for part in (0, 1))
    exact = pixel_metrics(maps, masks)
    monkeypatch.setattr(metrics, 'NORMAL_PIXELS', 10_000)
    thinned = pixel_metrics(maps, masks)
    assert thinned != exact
    assert thinned == pytest.approx(exact, abs=0.01)
    kept = metrics._Thinned()
    every = np.split(np.arange(50_000, dtype=np.float32), [1, 500, 12_345, 12_346, 30_000])
    for part in every:
        kept.add(part)
    np.testing.assert_array_equal(kept.values(), np.arange(0, 50_000, 8))


def test_a_score_may_stand_for_several_normal_ones() -> None:
    scores = np.array([1.0, 2, 3, 4, 5, 6])
    labels = np.array([False, False, True, False, True, True])
    repeated = np.repeat(scores, np.where(labels, 1, 5)), np.repeat(labels, np.where(labels, 1, 5))
    assert best_f1_threshold(scores, labels) == 2.5
    assert best_f1_threshold(scores, labels, normals_per_score=5) == 4.5
    assert best_f1_threshold(*repeated) == 4.5


def _slow_aupro(maps: list[np.ndarray], masks: list[np.ndarray], limit: float) -> float:
    """By the definition, one threshold after the other."""
    values = np.unique(np.concatenate([np.ravel(maps), [np.inf]]))[::-1]
    good = np.concatenate([m[~mask] for m, mask in zip(maps, masks, strict=True)])
    regions = []
    for anomaly_map, mask in zip(maps, masks, strict=True):
        count, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
        regions += [anomaly_map[labels == index] for index in range(1, count)]
    rates = np.array([(good >= value).mean() for value in values])
    overlaps = np.array([np.mean([(r >= value).mean() for r in regions]) for value in values])
    inside = rates <= limit
    x, y = rates[inside], overlaps[inside]
    if x[-1] < limit:
        x, y = np.append(x, limit), np.append(y, np.interp(limit, rates, overlaps))
    return float(np.sum(np.diff(x) * (y[1:] + y[:-1]) / 2) / limit)


@pytest.mark.parametrize('levels', [None, 20, 3])
@pytest.mark.parametrize('limit', [0.05, 0.3, 1.0])
def test_aupro_follows_its_definition(levels: int | None, limit: float) -> None:
    maps, masks = (values[:4] for values in _maps(2, levels=levels))
    expected = _slow_aupro(maps, masks, limit)
    assert pixel_metrics(maps, masks, limit=limit).aupro == pytest.approx(expected, abs=1e-9)


@pytest.mark.training
@pytest.mark.parametrize('levels', [None, 20])
def test_aupro_is_that_of_anomalib(levels: int | None) -> None:
    torch = pytest.importorskip('torch')
    aupro = pytest.importorskip('anomalib.metrics.aupro')
    for seed in range(3):
        maps, masks = _maps(seed, levels=levels)
        reference = aupro._AUPRO(fpr_limit=0.3)
        reference.update(torch.tensor(np.array(maps)), torch.tensor(np.array(masks)))
        expected = float(reference.compute())
        assert 0.1 < expected < 0.9
        assert pixel_metrics(maps, masks).aupro == pytest.approx(expected, abs=2e-3)


def test_regions_count_alike_whatever_their_size() -> None:
    mask = np.zeros((20, 20), bool)
    mask[2, 2] = mask[10:18, 10:18] = True
    anomaly_map = np.zeros((20, 20), np.float32)
    anomaly_map[2, 2] = 1  # the small one is found, the large one is not
    found_small = pixel_metrics([anomaly_map], [mask])
    # One half, plus what equal scores give the other: a straight line up to a rate of 1.
    assert found_small.aupro == pytest.approx(0.5 + 0.5 * 0.15)


def test_diagonal_neighbours_are_one_region() -> None:
    mask = np.zeros((8, 8), bool)
    mask[0, 0] = mask[1:4, 1:4] = True
    anomaly_map = np.zeros((8, 8), np.float32)
    anomaly_map[0, 0] = 1  # one of ten pixels
    assert pixel_metrics([anomaly_map], [mask]).aupro == pytest.approx(0.1 + 0.9 * 0.15)


def test_a_perfect_map_has_perfect_metrics() -> None:
    maps, masks = _maps(1, levels=None)
    perfect = [mask.astype(np.float32) for mask in masks]
    assert pixel_metrics(perfect, masks) == pytest.approx((1.0, 1.0))
    assert pixel_metrics([-m for m in perfect], masks) == pytest.approx((0.0, 0.0))
    assert len(maps) == 6


def test_pixel_metrics_need_both_kinds_of_pixels() -> None:
    anomaly_map = np.zeros((4, 4), np.float32)
    none = PixelMetrics(None, None)
    assert pixel_metrics([anomaly_map], [np.zeros((4, 4), bool)]) == none
    assert pixel_metrics([anomaly_map], [np.ones((4, 4), bool)]) == none
    assert pixel_metrics([], []) == none


def test_every_map_needs_a_mask() -> None:
    with pytest.raises(ValueError, match='zip'):
        pixel_metrics([np.zeros((4, 4), np.float32)], [])


@settings(max_examples=30)
@given(st.integers(0, 10_000))
def test_pixel_metrics_only_see_the_order(seed: int) -> None:
    maps, masks = _maps(seed, levels=8)
    straight = pixel_metrics(maps, masks)
    bent = pixel_metrics([np.exp(m.astype(np.float64)) for m in maps], masks)
    assert bent == pytest.approx(straight, abs=1e-12)


@pytest.mark.parametrize('confidence', [0.9, 0.95, 0.99])
def test_a_net_loss_is_credible_where_mcnemar_finds_it(confidence: float) -> None:
    binomtest = pytest.importorskip('scipy.stats').binomtest
    for lost in range(15):
        for gained in range(12):
            bound = net_loss_bound(lost, gained, 40, confidence)
            count = lost + gained
            p = binomtest(lost, count, 0.5, alternative='greater').pvalue if count else 1.0
            assert (bound > 0) == (p < 1 - confidence), (lost, gained)
            assert bound <= (lost - gained) / 40
    # The smallest loss that can be told at 95 %.
    assert [net_loss_bound(lost, 0, 150, 0.95) > 0 for lost in range(7)] == [False] * 5 + [
        True
    ] * 2


def test_a_loss_of_auroc_is_credible_as_often_as_its_confidence_says() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(60) < 25
    held, rounds = 0, 400
    for _ in range(rounds):
        common = rng.normal(size=60)
        # Both models are equally good, so the true loss is 0.
        one, other = (common + 0.7 * rng.normal(size=60) + labels for _ in range(2))
        bound = auroc_loss_bound(one, other, labels, 0.9)
        assert bound is not None
        held += bound <= 0
    assert held / rounds == pytest.approx(0.9, abs=0.05)
    scores = np.arange(60.0)[::-1]
    assert auroc_loss_bound(scores, scores, labels, 0.95) == 0
    worse = auroc_loss_bound(scores, rng.normal(size=60), labels, 0.95)
    assert worse is not None
    assert 0.2 < worse < 0.6


def test_a_few_images_tell_no_loss_of_auroc() -> None:
    labels = np.arange(20) < 4
    assert auroc_loss_bound(np.ones(20), np.ones(20), labels, 0.95) is None
