# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Whether what was learned may go into service.

Both sets inspect the same images, so every comparison is paired, and chance is told from loss by
an exact test or an interval: a handful of images decides nothing. A refusal says what to do and
which setting overrides it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from adet_core.bundle import Parity
from adet_core.drift import compare, RELEARN_FROM
from adet_core.metrics import auroc, auroc_loss_bound, FEWEST, net_loss_bound
from adet_core.metrics import Scores as Values
from adet_core.retraining.questions import caught_made_up, Questions, Scores

_Verdicts = npt.NDArray[np.bool_]
# With so many known defects made-up ones are counted, but have no say.
_ENOUGH_ANOMALIES = 30
# Somebody looks at it once, not every minute as at drift.
_SURPRISE = 0.01


class Finding(NamedTuple):
    """What one check found.

    Attributes:
        fault: Why the set may not go into service; empty if it may.
        note: What the check could not tell; empty if it could.
    """

    fault: str = ''
    note: str = ''


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The set in service and the new one, on the same images.

    Attributes:
        questions: The images.
        before: Scores of the set in service.
        after: Scores of the new set.
        old: The image threshold in service.
        new: The image threshold of the new set.
        settings: See `adet_core.retraining.settings`.
    """

    questions: Questions
    before: Scores
    after: Scores
    old: float
    new: float
    settings: Mapping[str, Any]

    def findings(self) -> list[Finding]:
        """What all the checks found."""
        return [self._rejects(), self._misses(), self._made_up_misses(), self._auroc()]

    def _rejects(self) -> Finding:
        fair, normal = self.questions.are_fair, ~self.questions.labels
        passed = [
            np.concatenate([scores.good[fair], scores.test[normal]]) < threshold
            for scores, threshold in ((self.before, self.old), (self.after, self.new))
        ]
        count = len(passed[0])
        if not self._worse(passed, 'max_rejected'):
            return Finding(note=_too_few(count, 'normal image', 'more good parts are rejected'))
        rejected = [count - int(one.sum()) for one in passed]
        return Finding(
            f'rejects {rejected[0]} -> {rejected[1]} of {count} normal images that were not '
            'learned; are the new images like the parts on the line? Add more of them, or take '
            'it all the same with --set max_rejected=1'
        )

    def _misses(self) -> Finding:
        anomalous = self.questions.labels
        caught = [
            scores.test[anomalous] >= threshold
            for scores, threshold in ((self.before, self.old), (self.after, self.new))
        ]
        count = int(anomalous.sum())
        if not self._worse(caught, 'max_missed'):
            note = _too_few(count, 'known defect', 'more of them are missed') if count else ''
            return Finding(note=note)
        return Finding(
            f'caught {int(caught[0].sum())} -> {int(caught[1].sum())} of {count} known defects; '
            'are there anomalies among the new images? Remove them, or take it all the same with '
            '--set max_missed=1'
        )

    def _made_up_misses(self) -> Finding:
        caught = [
            caught_made_up(scores, threshold, self.questions)
            for scores, threshold in ((self.before, self.old), (self.after, self.new))
        ]
        known = int(self.questions.labels.sum())
        if known >= _ENOUGH_ANOMALIES or not self._worse(caught, 'max_missed'):
            return Finding()
        still = int((caught[0] & caught[1]).sum())
        return Finding(
            f'of {int(caught[0].sum())} made-up defects caught before, only {still} still are; '
            'are there anomalies among the new images? Remove them, or take it all the same with '
            '--set max_missed=1'
        )

    def _auroc(self) -> Finding:
        labels = np.concatenate([np.zeros(len(self.before.good), np.bool_), self.questions.labels])
        before, after = (np.concatenate([one.good, one.test]) for one in (self.before, self.after))
        loss = auroc_loss_bound(before, after, labels, self.settings['confidence'])
        allowed = self.settings['max_auroc_loss']
        if loss is None or loss <= allowed:
            return Finding()
        values = [auroc(scores, labels) for scores in (before, after)]
        return Finding(
            f'image AUROC falls from {values[0]:.4f} to {values[1]:.4f}, by at least {loss:.4f} '
            f'where {allowed:g} are allowed; are there anomalies among the new images? Remove '
            'them, or take it all the same with --set max_auroc_loss=1'
        )

    def _worse(self, right: Sequence[_Verdicts], setting: str) -> bool:
        """Whether verdicts, before and after, got worse beyond chance and the setting."""
        before, after = right
        lost, gained = int((before & ~after).sum()), int((~before & after).sum())
        confidence = self.settings['confidence']
        bound = net_loss_bound(lost, gained, max(len(before), 1), confidence)
        return bool(bound > self.settings[setting])


def parts_changed(known: Values, new: Values, learned: int) -> str:
    """What to say where all new good parts score unlike the known ones; empty if they do not.

    Args:
        known: What the set in service says of normal images that it knows, raw, float32 ``(N,)``.
        new: What it says of new normal images that were kept back.
        learned: How many new images the retraining learned.
    """
    if min(len(known), len(new)) < FEWEST:
        return ''
    found = compare(new.astype(np.float64), known.astype(np.float64))
    if found.p_value >= _SURPRISE:
        return ''
    return (
        f'the good parts changed: {len(new)} new images of them scored '
        f'{"higher" if found.higher else "lower"} than {len(known)} known ones (median '
        f'{np.median(new):.4g}, not {np.median(known):.4g}); relearned from {learned} new images'
        f'{"" if learned >= RELEARN_FROM else f" ({RELEARN_FROM} or more are better)"}'
    )


def parity_fault(parity: Parity) -> str:
    """Why the graph does not compute what was learned, in one sentence; empty if it does.

    Args:
        parity: Of the graph, with what was learned, and the new model's own predictions. Scores
            have to agree in every precision: here both come from the same network.
    """
    if parity.score_difference <= parity.tolerance and parity.holds:
        return ''
    return (
        f'the graph differs from what was learned (score by {parity.score_difference:.3g}, map by '
        f'{parity.map_difference:.3g}, allowed {parity.tolerance:.3g} and '
        f'{parity.map_tolerance:.3g}); export the bundle again'
    )


def _too_few(count: int, what: str, loss: str) -> str:
    if count >= FEWEST:
        return ''
    return f'{count} {what}{"s"[: count != 1]} cannot tell whether {loss}; {FEWEST} can'
