# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""What a threshold does to scores that are known: rates with their intervals, and doubts."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
import math
from typing import Any, NamedTuple

import numpy as np

from adet_core.bundle import ScoreRange, Threshold
from adet_core.metrics import auroc_interval, binomial_interval, FEWEST, Scores
from adet_core.objectives import choose_threshold, Objective
from adet_core.thresholds import percent

_FOLDS = 5
# Beyond these a threshold is hardly what anybody wants, whatever it was asked to achieve.
_ABSURD_REJECTS, _ABSURD_MISSES = 0.2, 0.5
_NEAR_CHANCE = 0.6


class Counts(NamedTuple):
    """Wrong verdicts on labelled images.

    Attributes:
        rejected: Normal images that are rejected.
        normals: All normal images.
        missed: Anomalous images that pass.
        anomalies: All anomalous images.
    """

    rejected: int
    normals: int
    missed: int
    anomalies: int

    def __str__(self) -> str:
        """For people, with exact intervals of 95 % confidence."""
        parts = []
        if self.normals:
            share = share_of(self.rejected, self.normals)
            parts.append(f'{self.rejected} of {self.normals} normal images rejected ({share})')
        if self.anomalies:
            share = share_of(self.missed, self.anomalies)
            parts.append(f'{self.missed} of {self.anomalies} anomalous images missed ({share})')
        return ', '.join(parts) or 'no labelled images'


def share_of(count: int, total: int, confidence: float = 0.95) -> str:
    """A share with its exact interval, e.g. ``2.5%, 0.519 to 7.13%``."""
    low, high = binomial_interval(count, total, confidence)
    return f'{percent(count / total)}, {100 * low:.3g} to {percent(high)}'


def counts_at(threshold: float, normals: Sequence[float], anomalies: Sequence[float]) -> Counts:
    """Wrong verdicts when a score at or above the threshold is anomalous."""
    rejected = int((np.asarray(normals) >= threshold).sum())
    missed = int((np.asarray(anomalies) < threshold).sum())
    return Counts(rejected, len(normals), missed, len(anomalies))


def cross_fitted(objective: Objective, normals: Scores, anomalies: Scores) -> Counts | None:
    """Wrong verdicts of thresholds on images that they were not chosen with.

    The images are divided into five parts. Each part is inspected with the threshold of the
    other four, so the counts do not flatter the way a threshold is chosen. Verdicts at the final
    threshold, which is chosen with all images, do.

    Args:
        objective: What each threshold is chosen for.
        normals: Raw scores of normal images that the model was not fitted to.
        anomalies: Raw scores of labelled anomalous images.

    Returns:
        The counts, or None with fewer than five images of either class.
    """
    if min(normals.size, anomalies.size) < _FOLDS:
        return None
    rng = np.random.default_rng(0)
    parts = [rng.permutation(scores.size) % _FOLDS for scores in (normals, anomalies)]
    counts = Counts(0, 0, 0, 0)
    for fold in range(_FOLDS):
        inside = [part == fold for part in parts]
        threshold = choose_threshold(objective, normals[~inside[0]], anomalies[~inside[1]])
        more = counts_at(threshold.value, normals[inside[0]], anomalies[inside[1]])
        counts = Counts(*(one + other for one, other in zip(counts, more, strict=True)))
    return counts


class MadeUpCaught(NamedTuple):
    """How many made-up defects a threshold catches, by strength.

    Attributes:
        caught: Strength to how many are caught.
        total: Strength to how many there are.
    """

    caught: dict[str, int]
    total: dict[str, int]

    @property
    def share(self) -> float:
        """Of all strengths."""
        return sum(self.caught.values()) / max(sum(self.total.values()), 1)

    def __str__(self) -> str:
        """For people, e.g. ``91 of 180 made-up defects caught (faint 10 of 60, ...)``."""
        parts = [f'{name} {self.caught[name]} of {count}' for name, count in self.total.items()]
        caught, total = sum(self.caught.values()), sum(self.total.values())
        return f'{caught} of {total} made-up defects caught ({", ".join(parts)})'


def made_up_caught(threshold: float, kept: ScoreRange) -> MadeUpCaught | None:
    """What a threshold catches of the made-up defects; None for a bundle without their scores."""
    if not any(kept.made_up.values()):
        return None
    return MadeUpCaught(
        {name: int((np.array(found) >= threshold).sum()) for name, found in kept.made_up.items()},
        {name: len(found) for name, found in kept.made_up.items()},
    )


def knee(kept: ScoreRange) -> float | None:
    """The threshold at which most is caught for the fewest false rejects.

    It maximises the share of anomalies (without any: of made-up defects) at or above it less the
    share of normal images (Youden, Cancer 3, 1950).

    Returns:
        A raw score; None where scores of one of the kinds are missing.
    """
    made_up = [score for found in kept.made_up.values() for score in found]
    wanted, normals = np.sort(kept.anomalies or made_up), np.sort(kept.normals)
    if not wanted.size or not normals.size:
        return None
    cuts = np.concatenate([wanted, np.nextafter(normals, np.inf)])
    caught = 1 - np.searchsorted(wanted, cuts, side='left') / wanted.size
    rejected = 1 - np.searchsorted(normals, cuts, side='left') / normals.size
    return float(cuts[np.argmax(caught - rejected)])


def known_scores(image: Threshold, kept: ScoreRange) -> dict[str, Any]:
    """What a page needs to say what any threshold does to the scores that a bundle keeps.

    Returns:
        ``threshold`` (raw), ``detail`` (what it promises), and ``kinds``: by ``normals``,
        ``anomalies`` and ``made_up_<strength>`` the raw ``scores``, ascending, and for each
        number of them from 0 on the 95 % interval of its share, ``intervals``. A kind without
        scores is absent.
    """
    made_up = {f'made_up_{name}': found for name, found in kept.made_up.items()}
    kinds = {'normals': kept.normals, 'anomalies': kept.anomalies, **made_up}
    return {
        'threshold': image.value,
        'detail': image.detail,
        'kinds': {
            name: {'scores': list(scores), 'intervals': _intervals(len(scores))}
            for name, scores in kinds.items()
            if scores
        },
    }


@cache
def _intervals(total: int) -> list[tuple[float, float]]:
    return [binomial_interval(count, total, 0.95) for count in range(total + 1)]


def p_value(score: float, normals: Sequence[float]) -> float:
    """How often a good part scores at least so high: a conformal p-value.

    ``(1 + held-out normal images that score at least so high) / (1 + all of them)``: for a new
    good part like those it is at most p with a probability of at most p (Vovk et al., Algorithmic
    Learning in a Random World, 2005).

    Args:
        score: Raw.
        normals: Raw scores of normal images that the model was not fitted to, ascending.

    Returns:
        ``1 / (n + 1)`` to 1; not a number without scores.
    """
    if not len(normals):
        return math.nan
    above = len(normals) - int(np.searchsorted(normals, score, side='left'))
    return (1 + above) / (1 + len(normals))


def p_value_text(value: float) -> str:
    """For people, e.g. ``1 in 200 good parts scores so high``; empty for no number.

    The smallest value that n scores of normal images allow is 1 / (n + 1): a good part may score
    so high more rarely, but nobody has seen how much.
    """
    if not math.isfinite(value):
        return ''
    if value > 0.1:
        return f'{100 * value:.0f}% of good parts score so high'
    return f'1 in {1 / value:.0f} good parts scores so high'


def flattery(images: int, *, calibrated: int, learned: int) -> str:
    """Why figures are better than those of new images will be; empty where they are not.

    Args:
        images: How many the figures are of.
        calibrated: How many of them the threshold was chosen with.
        learned: How many of them the model was fitted to.
    """
    parts = [
        f'{count} of {images} images {what}'
        for count, what in ((calibrated, 'chose the threshold'), (learned, 'were learned'))
        if count
    ]
    return f'{" and ".join(parts)}: new images will do worse' if parts else ''


def doubts(image: Threshold, kept: ScoreRange) -> list[str]:
    """Why a threshold may not be what somebody wants, one line each; none if nothing is wrong.

    Args:
        image: The image threshold.
        kept: The scores that the bundle keeps.
    """
    counts = counts_at(image.value, kept.normals, kept.anomalies)
    found = [_near_chance(kept), _absurd_rejects(counts), _absurd_misses(counts, kept, image)]
    return [line for line in found if line]


def _near_chance(kept: ScoreRange) -> str:
    scores = np.array([*kept.normals, *kept.anomalies])
    labels = np.arange(scores.size) >= len(kept.normals)
    interval = auroc_interval(scores, labels, 0.95)
    if interval is None or interval[0] >= _NEAR_CHANCE:
        return ''
    return (
        f'image AUROC lies between {interval[0]:.2f} and {interval[1]:.2f}, near the 0.5 of pure '
        'chance: no threshold separates these images; try a larger image_size, more images or '
        'another model'
    )


def _absurd_rejects(counts: Counts) -> str:
    if counts.normals < FEWEST:
        return ''
    low, _ = binomial_interval(counts.rejected, counts.normals, 0.95)
    if low <= _ABSURD_REJECTS:
        return ''
    share = share_of(counts.rejected, counts.normals)
    return (
        f'the threshold rejects {counts.rejected} of {counts.normals} normal images ({share}); '
        'choose another with objective=false_reject_rate, or adet threshold'
    )


def _absurd_misses(counts: Counts, kept: ScoreRange, image: Threshold) -> str:
    if counts.anomalies >= FEWEST:
        low, _ = binomial_interval(counts.missed, counts.anomalies, 0.95)
        told = f'{counts.missed} of {counts.anomalies} known anomalies are missed'
        told += f' ({share_of(counts.missed, counts.anomalies)})'
        if low <= _ABSURD_MISSES:
            return ''
    else:
        made_up = made_up_caught(image.value, kept)
        if made_up is None or made_up.share > _ABSURD_MISSES:
            return ''
        told = f'only {made_up}'
    better = knee_text(kept)
    return (
        f'{told}: the model cannot separate at this threshold; try a larger image_size, more '
        f'images or another model{f"; {better}" if better else ""}'
    )


def knee_text(kept: ScoreRange) -> str:
    """What the threshold at the `knee` would do, for people; empty where there is none."""
    value = knee(kept)
    if value is None:
        return ''
    counts = counts_at(value, kept.normals, kept.anomalies)
    told = f'a threshold of {value:.4g} would reject {counts.rejected} of {counts.normals} '
    told += 'normal images and '
    if counts.anomalies:
        return f'{told}miss {counts.missed} of {counts.anomalies}'
    made_up = made_up_caught(value, kept)
    assert made_up is not None
    return f'{told}catch {sum(made_up.caught.values())} of {sum(made_up.total.values())}'
