# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Whether scores and rejects still are what the bundle lets expect.

A lamp that ages or a lens that fogs moves all scores a little, and later rejects good parts. Two
tests look at every image, rejected or not: one at the scores, one at the rate of rejects. Both
leave room for parts that really are bad. The detector runs them on the robot, which has no SciPy:
so they are computed here, for evaluations, too.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from adet_core.metrics import binomial_upper_bound

# A fifth of them is kept back to find the threshold.
RELEARN_FROM = 50
REMEDY = (
    'if these parts are good, the good parts changed: put light and lens right, or relearn from '
    f'at least {RELEARN_FROM} new images of good parts'
)
WINDOW = 50
SIGNIFICANCE = 1e-3
EXPECTED_DEFECTS = 0.05
# The distribution of fewer says next to nothing.
_FEWEST = 20
_CONFIDENCE = 0.95
# Images until the reject test fires for nothing, on average at least.
_MEAN_RUN = 10_000
# It keeps watch for so much of the way from the expected rate to 1.
_STEPS = np.array([0.05, 0.2, 0.5])

_Floats = npt.NDArray[np.float64]


class Comparison(NamedTuple):
    """One window of scores beside those that were learned.

    Attributes:
        statistic: Largest distance of the two empirical distribution functions, 0 to 1, less what
            the expected defects explain.
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
            f'images score {side} than the normal ones kept back in training '
            f'(Kolmogorov-Smirnov {self.statistic:.2f}, p {self.p_value:.1g})'
        )


class Rejects(NamedTuple):
    """The rejects among the last images.

    Attributes:
        rejected: How many are rejected.
        images: Of so many, a window at most.
        expected: Share of rejects that is no surprise.
    """

    rejected: int
    images: int
    expected: float

    def __str__(self) -> str:
        """One line for people."""
        return (
            f'{self.rejected} of the last {self.images} images are rejected, where at most '
            f'{100 * self.expected:.2g}% were expected'
        )


class RejectTest:
    """Whether images are rejected more often than expected, looked at after every image.

    The procedure of Shiryaev and Roberts (Roberts, Technometrics 8, 1966): the likelihood ratios
    of a change at each of the images so far are added up, here for three rates after the change.
    While the rate is at most the expected one, at least 10,000 images pass on average until the
    mean of the three sums reaches 10,000. The sums have a limit, so that the alarm ends soon
    after its cause: when their mean is below 100.

    Attributes:
        drifts: Whether more are rejected than expected.
    """

    def __init__(self, expected: float) -> None:
        """Begin.

        Args:
            expected: Share of rejects that is no surprise, above 0 and below 1.
        """
        self._expected = expected
        changed = expected + (1 - expected) * _STEPS
        self._ratios = (1 - changed) / (1 - expected), changed / expected
        self._sums: _Floats = np.zeros(len(_STEPS))
        self._last = deque[bool](maxlen=WINDOW)
        self.drifts = False

    @property
    def rejects(self) -> Rejects:
        """The last images."""
        return Rejects(sum(self._last), len(self._last), self._expected)

    def add(self, is_rejected: bool) -> None:
        """Take the verdict on an image."""
        self._last.append(is_rejected)
        sums = (1 + self._sums) * self._ratios[is_rejected]
        self._sums = np.minimum(sums, len(_STEPS) * _MEAN_RUN)
        self.drifts = float(self._sums.mean()) >= (_MEAN_RUN / 100 if self.drifts else _MEAN_RUN)


class DriftTest:
    """The two-sample Kolmogorov-Smirnov test on windows of images, and the test of the rejects.

    Windows do not overlap, so that each is a test of its own: while nothing changes, a share of
    `SIGNIFICANCE` of them fires, one in a thousand. A share of the parts may be defective. It
    pushes the distribution function of the scores down by that share at most, so that much of a
    distance towards higher scores is no drift.

    The p-value is the limit distribution of Kolmogorov with the correction of Stephens (Journal of
    the Royal Statistical Society B 32, 1970) for samples as small as these.

    Attributes:
        latest: The last whole window; None before there is one.
        rejects: The test of the rate of rejects.
    """

    def __init__(
        self,
        learned: Sequence[float],
        threshold: float,
        *,
        expected_defects: float = EXPECTED_DEFECTS,
        window: int = WINDOW,
    ) -> None:
        """Begin.

        Args:
            learned: Raw scores of normal images that the model was not fitted to.
            threshold: Raw; how many of these reach it says how many good parts may be rejected.
            expected_defects: Share of parts that may be defective, above 0 and below 1.
            window: Images per test of the scores.
        """
        self._learned = np.sort(np.asarray(learned, np.float64))
        self._expected_defects, self._window = expected_defects, window
        self._scores: list[float] = []
        self.latest: Comparison | None = None
        self.rejects = RejectTest(max(expected_defects, _good_rejects(self._learned, threshold)))

    @property
    def works(self) -> bool:
        """Whether enough was learned to compare scores with."""
        return self._learned.size >= _FEWEST

    def add(self, score: float, *, is_rejected: bool) -> list[Comparison | Rejects]:
        """Take an image.

        Returns:
            The alarms that this image set off.
        """
        before = self.rejects.drifts
        self.rejects.add(is_rejected)
        fired: list[Comparison | Rejects] = []
        if self.rejects.drifts and not before:
            fired.append(self.rejects.rejects)
        if self.works:
            self._scores.append(score)
        if len(self._scores) == self._window:
            self.latest = compare(
                np.array(self._scores), self._learned, tolerance=self._expected_defects
            )
            self._scores.clear()
            fired += [self.latest] if self.latest.drifts else []
        return fired

    @property
    def alarms(self) -> list[str]:
        """What drifts at the moment, one line each, and what to do."""
        found: list[Comparison | Rejects] = []
        if self.latest is not None and self.latest.drifts:
            found.append(self.latest)
        if self.rejects.drifts:
            found.append(self.rejects.rejects)
        return [*map(str, found), REMEDY] if found else []


def _good_rejects(learned: _Floats, threshold: float) -> float:
    """The share of good parts at or above a threshold that so few scores leave credible.

    Without scores nothing is known, and that says 0; with all of them there, little below 1.
    """
    if not learned.size:
        return 0.0
    rejected = int((learned >= threshold).sum())
    return min(binomial_upper_bound(rejected, learned.size, _CONFIDENCE), 0.9)


def compare(
    scores: np.ndarray[tuple[int], np.dtype[np.float64]],
    learned: np.ndarray[tuple[int], np.dtype[np.float64]],
    *,
    tolerance: float = 0.0,
) -> Comparison:
    """The two-sample Kolmogorov-Smirnov test; neither sample may be empty.

    Args:
        scores: Of a window.
        learned: What they are compared with.
        tolerance: Share of the window that may score any higher.
    """
    ranked, known = np.sort(scores), np.sort(learned)
    every = np.concatenate([ranked, known])
    apart = np.searchsorted(ranked, every, 'right') / ranked.size
    apart -= np.searchsorted(known, every, 'right') / known.size
    statistic = max(float(apart.max()), float(-apart.min()) - tolerance, 0.0)
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
