# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Whether the scores of accepted images still are what they were when the model was trained.

A lamp that ages or a lens that fogs moves all scores a little, long before good parts are
rejected or bad ones accepted. The detector runs the test on the robot, which has no SciPy: so the
one of Kolmogorov and Smirnov is computed here, for evaluations, too.
"""

from __future__ import annotations

from collections.abc import Sequence
import math
from typing import NamedTuple

import numpy as np

WINDOW = 50
SIGNIFICANCE = 1e-3
# The distribution of fewer says next to nothing.
_FEWEST = 20


class Comparison(NamedTuple):
    """One window of scores beside those that were learned.

    Attributes:
        statistic: Largest distance of the two empirical distribution functions, 0 to 1.
        p_value: How often a window of the same distribution is as far off.
        drifts: The p-value is below the significance.
        higher: The window's median is above the learned one.
    """

    statistic: float
    p_value: float
    drifts: bool
    higher: bool

    def __str__(self) -> str:
        """One line for people."""
        side = 'higher' if self.higher else 'lower'
        return (
            f'accepted images score {side} than the normal ones kept back in training '
            f'(Kolmogorov-Smirnov {self.statistic:.2f}, p {self.p_value:.1g})'
        )


class DriftTest:
    """The two-sample Kolmogorov-Smirnov test on one window of accepted images after another.

    Windows do not overlap, so that each is a test of its own: while nothing changes, a share of
    `SIGNIFICANCE` of them fires, one in a thousand. Only images that were accepted count, on
    both sides: what is rejected is no news of the process, and a run of bad parts no drift.

    The p-value is the limit distribution of Kolmogorov with the correction of Stephens (Journal of
    the Royal Statistical Society B 32, 1970) for samples as small as these.

    Attributes:
        latest: The last whole window; None before there is one.
    """

    def __init__(
        self, learned: Sequence[float], threshold: float, *, window: int = WINDOW
    ) -> None:
        """Begin.

        Args:
            learned: Raw scores of normal images that the model was not fitted to.
            threshold: Raw; scores at or above it are left out.
            window: Accepted images per test.
        """
        self._learned = np.sort([score for score in learned if score < threshold])
        self._window = window
        self._scores: list[float] = []
        self.latest: Comparison | None = None

    @property
    def works(self) -> bool:
        """Whether enough was learned to compare with."""
        return self._learned.size >= _FEWEST

    def add(self, score: float) -> Comparison | None:
        """Take the raw score of an accepted image; returns the test of a window it fills."""
        if not self.works:
            return None
        self._scores.append(score)
        if len(self._scores) < self._window:
            return None
        self.latest = compare(np.array(self._scores), self._learned)
        self._scores.clear()
        return self.latest


def compare(
    scores: np.ndarray[tuple[int], np.dtype[np.float64]],
    learned: np.ndarray[tuple[int], np.dtype[np.float64]],
) -> Comparison:
    """The two-sample Kolmogorov-Smirnov test; neither sample may be empty."""
    ranked, known = np.sort(scores), np.sort(learned)
    every = np.concatenate([ranked, known])
    apart = np.searchsorted(ranked, every, 'right') / ranked.size
    apart -= np.searchsorted(known, every, 'right') / known.size
    statistic = float(np.abs(apart).max())
    root = math.sqrt(ranked.size * known.size / (ranked.size + known.size))
    p_value = _kolmogorov((root + 0.12 + 0.11 / root) * statistic)
    return Comparison(
        statistic,
        p_value,
        p_value < SIGNIFICANCE,
        bool(np.median(ranked) > np.median(known)),
    )


def _kolmogorov(distance: float) -> float:
    """The chance that Kolmogorov's limit distribution is beyond ``distance``."""
    if distance < 0.2:
        # The series does not converge here; the sum is 1 to the last digit.
        return 1.0
    terms = (2 * (-1) ** (k - 1) * math.exp(-2 * (k * distance) ** 2) for k in range(1, 101))
    return min(max(math.fsum(terms), 0.0), 1.0)
