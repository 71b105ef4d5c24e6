# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""What is said of the trials of a search, while they run and when one of them is chosen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
import math
import time
from typing import TYPE_CHECKING

from adet_core.progress import ProgressCallback

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

PREDICT_MS, INTERVAL = 'predict_ms', 'interval'
"""What a trial keeps: milliseconds of a prediction, and the 95 % interval of its AUROC."""

# AUROC that is not worth a slower model.
_TIE = 0.0005


class TrialProgress:
    """Progress that names the trial, the best so far and the expected end."""

    def __init__(self, trials: int, progress: ProgressCallback) -> None:
        """Begin.

        Args:
            trials: How many will run.
            progress: Told the progress.
        """
        self._trials, self._progress = trials, progress
        self._done, self._told, self._start = 0, '', time.time()

    def __call__(self, stage: str, done: int, total: int | None) -> None:
        """See `adet_core.progress.ProgressCallback`."""
        self._progress(f'{self._told}{stage}', done, total)

    @contextmanager
    def trial(self, before: Sequence[FrozenTrial]) -> Iterator[None]:
        """Tell of one trial, which is taken to last as long as those of this process did.

        Args:
            before: All trials so far, also those of other processes.
        """
        parts = [f'trial {self._done + 1} of {self._trials}']
        values = [one.value for one in before if one.value is not None]
        if values:
            parts.append(f'best so far {max(values):.4f}')
        if self._done:
            each = (time.time() - self._start) / self._done
            end = datetime.fromtimestamp(self._start + each * self._trials)  # noqa: DTZ006 - for people
            parts.append(f'end about {end:%H:%M}')
        self._told = f'{", ".join(parts)}: '
        try:
            yield
        finally:
            self._done += 1
            self._told = ''


def best_of(finished: Sequence[FrozenTrial]) -> FrozenTrial:
    """The best trial; of those that are as good, the one that predicts fastest."""
    highest = max(trial.value or 0.0 for trial in finished)
    equal = [trial for trial in finished if (trial.value or 0.0) >= highest - _TIE]
    return min(equal, key=lambda trial: trial.user_attrs.get(PREDICT_MS, math.inf))


def too_alike(best: FrozenTrial, finished: Sequence[FrozenTrial]) -> list[str]:
    """A warning if chance alone may have put the best trial first; none if it did not."""
    interval = best.user_attrs.get(INTERVAL)
    if interval is None:
        few = 'the test images are too few to tell trials apart: the best one may be chance'
        return [few] if len(finished) > 1 else []
    low, high = interval
    others = [one for one in finished if one.number != best.number and (one.value or 0.0) >= low]
    if not others:
        return []
    return [
        f'{len(others)} of {len(finished) - 1} other trials lie in the 95% interval of the best '
        f'({low:.3f} to {high:.3f}): the test images are too few to tell them apart'
    ]
