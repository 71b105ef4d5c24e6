# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""What ``retrain/report.json`` says: the one description of what was learned on the robot."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
import hashlib
import json
from typing import Any

from adet_core.bundle.decode import decode, parse_json
from adet_core.bundle.manifest import FileEntry, ScoreRange, Threshold

RETRAIN_FOLDER = 'retrain'
REPORT_FILE = 'report.json'
REPORT_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Figures:
    """How a bundle does on the images of one retraining.

    Attributes:
        threshold: Raw score.
        normals: Normal images it was asked about that it was not fitted to.
        rejected: How many of them it rejects.
        image_auroc: Of the labelled test images; None without.
        marked: Images learned from that an operator had marked as fine.
        marked_rejected: How many of them it rejects.
    """

    threshold: float
    normals: int
    rejected: int
    image_auroc: float | None = None
    marked: int = 0
    marked_rejected: int = 0

    @property
    def false_reject_rate(self) -> float:
        """Share of the normal images that are rejected."""
        return self.rejected / self.normals


@dataclass(frozen=True, kw_only=True)
class KnownImages:
    """All of ``pictures.json``: what a bundle was trained on, so that it is not taken for new.

    Attributes:
        learned: sha256 of each image file it was fitted to, and its name.
        held_out: Likewise of normal images kept back for the threshold.
    """

    learned: dict[str, str]
    held_out: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class RetrainReport:
    """All of ``report.json``.

    Attributes:
        report_version: Of this file.
        base: Id of the deployed bundle it belongs to.
        previous: Id of what was in service before.
        created: UTC, ISO 8601.
        mode: ``incremental`` or ``full``.
        pictures: How many were learned from this time.
        total: Images behind the model in all; a marked one may count several times.
        image_threshold: Takes the place of the bundle's.
        pixel_threshold: Likewise.
        score_range: Likewise.
        before: What was in service before, on the same images.
        after: The new set.
        settings: What it was made with.
        learned: As `KnownImages`, with what was known before.
        held_out: Likewise.
        files: What replaces its namesake of the bundle.
        versions: Library name to version.
        rejected: Why it was not put into service; empty if it was.
    """

    report_version: int = REPORT_VERSION
    base: str
    previous: str
    created: str
    mode: str
    pictures: int
    total: int
    image_threshold: Threshold
    pixel_threshold: Threshold
    score_range: ScoreRange
    before: Figures
    after: Figures
    settings: dict[str, Any]
    learned: dict[str, str]
    held_out: dict[str, str]
    files: dict[str, FileEntry] = field(default_factory=dict)
    versions: dict[str, str]
    rejected: str = ''

    def to_json(self) -> bytes:
        """The bytes of ``report.json``."""
        return (json.dumps(asdict(self), indent=2, allow_nan=False) + '\n').encode()

    @classmethod
    def from_json(cls, data: bytes) -> RetrainReport:
        """Read ``report.json``.

        Raises:
            ValueError: It is not JSON, of a newer version, or a field is missing or wrong.
        """
        values = parse_json(data)
        version = values.get('report_version') if isinstance(values, dict) else None
        if version != REPORT_VERSION:
            msg = f'report_version is {version!r:.20}, this adet reads {REPORT_VERSION}'
            raise ValueError(f'{msg}; upgrade adet, or retrain')
        return decode(cls, values)


def content_id(data: bytes) -> str:
    """The id of what ``meta.json`` or ``report.json`` describes.

    As those files hold the checksums of all others, it names the whole content.
    """
    return hashlib.sha256(data).hexdigest()[:12]
