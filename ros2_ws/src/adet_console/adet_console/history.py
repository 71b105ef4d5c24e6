# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The last verdicts of each detector, and the counters of the shift; no ROS, no HTTP."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
import math
from typing import Any

from adet_core.metrics import binomial_interval
from adet_core.records import Record

_CONFIDENCE = 0.95


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """One inspected image.

    Attributes:
        stamp: Of the image, in nanoseconds since the epoch.
        score: Raw.
        normalised_score: 0 to 1, the threshold at 0.5.
        threshold: Raw, as it was at that moment.
        is_anomalous: The verdict.
        is_uncertain: Below the threshold, but in the bundle's uncertain band.
        inference_ms: Time of the inference.
        bundle_id: The bundle that made the verdict.
        regions: Boxes ``(x, y, width, height)`` in pixels of the image.
        error: Why there is no verdict; the figures are then 0.
        mark: ``fine`` or ``bad`` as the operator said; empty: not said.
        p_value: How often a good part scores at least so high; None: not known.
        category: What the bundle was trained for; empty: not known.
    """

    stamp: int
    score: float
    normalised_score: float
    threshold: float
    is_anomalous: bool
    is_uncertain: bool
    inference_ms: float
    bundle_id: str
    regions: tuple[tuple[int, int, int, int], ...] = ()
    error: str = ''
    mark: str = ''
    p_value: float | None = None
    category: str = ''

    def to_json(self) -> dict[str, Any]:
        """For the page. The stamp is text: JavaScript's numbers cannot hold it."""
        return {**asdict(self), 'stamp': str(self.stamp)}

    @classmethod
    def from_record(cls, record: Record) -> Verdict:
        """A row of a result file."""
        return cls(
            stamp=record.stamp_ns,
            score=record.score or 0.0,
            normalised_score=record.normalised_score or 0.0,
            threshold=record.threshold or 0.0,
            is_anomalous=bool(record.is_anomalous),
            is_uncertain=bool(record.is_uncertain),
            inference_ms=record.inference_ms or 0.0,
            bundle_id=record.bundle_id,
            regions=tuple((r.x, r.y, r.width, r.height) for r in record.regions),
            error=record.error,
            p_value=record.p_value,
            category=record.category,
        )


@dataclass
class Counters:
    """What was inspected since the shift began.

    Attributes:
        inspected: Images with a verdict.
        rejected: How many of them are anomalous.
        uncertain: How many are in the uncertain band.
        refused: Images without a verdict.
    """

    inspected: int = 0
    rejected: int = 0
    uncertain: int = 0
    refused: int = 0

    def add(self, verdict: Verdict) -> None:
        """Count one image."""
        if verdict.error:
            self.refused += 1
            return
        self.inspected += 1
        self.rejected += verdict.is_anomalous
        self.uncertain += verdict.is_uncertain

    def to_json(self) -> dict[str, Any]:
        """The counts, the share of rejects, and its 95 % interval (Clopper and Pearson)."""
        values: dict[str, Any] = asdict(self)
        if self.inspected:
            values['reject_rate'] = self.rejected / self.inspected
            interval = binomial_interval(self.rejected, self.inspected, _CONFIDENCE)
            values['reject_interval'] = list(interval)
        return values


@dataclass
class History:
    """The last verdicts of one detector, oldest first.

    Attributes:
        limit: How many are kept.
        counters: Of the shift.
    """

    limit: int = 2000
    counters: Counters = field(default_factory=Counters)
    _verdicts: OrderedDict[int, Verdict] = field(default_factory=OrderedDict)

    def add(self, verdict: Verdict, *, count: bool = True) -> bool:
        """Take a verdict into account; False where its image was known already.

        Args:
            verdict: The newest.
            count: Whether the shift counts it; False for rows of an earlier time.
        """
        if not math.isfinite(verdict.score) or verdict.stamp in self._verdicts:
            # A detector that joins again sends its last results once more.
            return False
        self._verdicts[verdict.stamp] = verdict
        while len(self._verdicts) > self.limit:
            self._verdicts.popitem(last=False)
        if count:
            self.counters.add(verdict)
        return True

    def fill(self, records: Iterable[Record]) -> None:
        """Take rows of a result file, oldest first, into the history but not into the shift."""
        for record in records:
            self.add(Verdict.from_record(record), count=False)

    def mark(self, stamp: int, mark: str) -> Verdict | None:
        """Note what an operator said of an image; None where it is not kept any more."""
        known = self._verdicts.get(stamp)
        if known is None:
            return None
        self._verdicts[stamp] = marked = Verdict(**{**vars(known), 'mark': mark})
        return marked

    def get(self, stamp: int) -> Verdict | None:
        """The verdict on one image."""
        return self._verdicts.get(stamp)

    def newest(self) -> Verdict | None:
        """The last verdict."""
        return next(reversed(self._verdicts.values()), None)

    def begin_shift(self) -> None:
        """Set the counters to zero."""
        self.counters = Counters()

    def to_json(self) -> list[dict[str, Any]]:
        """All verdicts for the page, oldest first."""
        return [verdict.to_json() for verdict in self._verdicts.values()]
