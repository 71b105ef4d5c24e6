# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""What ``retrain/report.json`` says: the one description of what was learned on the robot.

History of the version:
    1  first version
    2  figures count known defects and made-up ones; the report has overrides and notes
    3  figures count made-up defects by strength
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
import hashlib
import json
from typing import Any

from adet_core.bundle.decode import decode, parse_json
from adet_core.bundle.manifest import FileEntry, ScoreRange, Threshold
from adet_core.folder import Name

RETRAIN_FOLDER = 'retrain'
REPORT_FILE = 'report.json'
REPORT_VERSION = 3
REPORT_LIMIT = 64 << 20


@dataclass(frozen=True, kw_only=True)
class Figures:
    """How a bundle does on the images of one retraining.

    Attributes:
        threshold: Raw score.
        normals: Normal images that it was not fitted to.
        rejected: Number of them that it rejects.
        image_auroc: Image AUROC of the labelled test images; None without them.
        marked: Learned images that an operator had marked as fine.
        marked_rejected: Number of them that it rejects.
        test_normals: Normal images among the labelled test images.
        test_rejected: Number of them that it rejects.
        anomalies: Anomalous images among the labelled test images.
        caught: Number of them that it rejects.
        made_up: Made-up defects on normal images that it was not fitted to, by strength; in
            reports of version 2 all of them under ``all``.
        made_up_caught: Number of them that it rejects, where it accepts the image without.
    """

    threshold: float
    normals: int
    rejected: int
    image_auroc: float | None = None
    marked: int = 0
    marked_rejected: int = 0
    test_normals: int = 0
    test_rejected: int = 0
    anomalies: int = 0
    caught: int = 0
    made_up: dict[str, int] = field(default_factory=dict)
    made_up_caught: dict[str, int] = field(default_factory=dict)

    @property
    def false_reject_rate(self) -> float:
        """Share of the normal images that are rejected."""
        return self.rejected / self.normals


@dataclass(frozen=True, kw_only=True)
class KnownImages:
    """All of ``pictures.json``: what a bundle was trained on, so that it is not taken for new.

    Attributes:
        learned: Name of each image file that was learned, by its sha256.
        held_out: Name of each normal image kept back for the threshold, by its sha256.
        tested: Name of each test image whose label chose the threshold, too, by its sha256.
    """

    learned: dict[str, Name]
    held_out: dict[str, Name]
    tested: dict[str, Name] = field(default_factory=dict)

    def to_json(self) -> bytes:
        """The bytes of the file."""
        return (json.dumps(asdict(self), indent=2) + '\n').encode()


@dataclass(frozen=True, kw_only=True)
class RetrainReport:
    """All of ``report.json``.

    Attributes:
        report_version: Version of this description.
        base: Id of the deployed bundle it belongs to.
        previous: Id of what was in service before.
        created: Time of the retraining, UTC, ISO 8601.
        mode: ``incremental``, ``full``, or ``threshold`` where nothing was learned.
        pictures: Number of images that this retraining learned.
        total: Images behind the model in all; a marked one may count several times.
        image_threshold: Replaces that of the bundle.
        pixel_threshold: Replaces that of the bundle.
        score_range: Replaces that of the bundle.
        before: Figures of the set in service before, on the same images.
        after: Figures of the new set.
        settings: Settings of the retraining.
        learned: As in `KnownImages`, together with earlier images.
        held_out: As in `KnownImages`, together with earlier images.
        files: Files that replace those of the bundle, by name.
        versions: Versions of the libraries, by name.
        rejected: Why it was not put into service; empty if it was.
        overrides: The ``KEY=VALUE`` words that somebody gave for this retraining.
        notes: What the checks could not tell, and what is still wrong, one line each.
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
    learned: dict[str, Name]
    held_out: dict[str, Name]
    files: dict[Name, FileEntry] = field(default_factory=dict)
    versions: dict[str, str]
    rejected: str = ''
    overrides: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def to_json(self) -> bytes:
        """The bytes of ``report.json``, always in this version: an older one lacks fields."""
        values = {**asdict(self), 'report_version': REPORT_VERSION}
        return (json.dumps(values, indent=2, allow_nan=False) + '\n').encode()

    @classmethod
    def from_json(cls, data: bytes) -> RetrainReport:
        """Read ``report.json``.

        Raises:
            ValueError: It is not JSON, of a newer version, or a field is missing or wrong.
        """
        values = parse_json(data)
        version = values.get('report_version') if isinstance(values, dict) else None
        if not isinstance(version, int) or not 1 <= version <= REPORT_VERSION:
            msg = f'report_version is {version!r:.20}, this adet reads 1 to {REPORT_VERSION}'
            raise ValueError(f'{msg}; upgrade adet, or retrain')
        if version == 2:
            for name in ('before', 'after'):
                values[name] = _by_strength(values.get(name))
        return decode(cls, values)


def _by_strength(figures: Any) -> Any:
    """Figures of version 2, which counted made-up defects of all strengths together."""
    if not isinstance(figures, dict):
        return figures
    counts = {name: figures[name] for name in ('made_up', 'made_up_caught') if name in figures}
    return {**figures, **{name: {'all': count} for name, count in counts.items()}}


def content_id(data: bytes) -> str:
    """The id of what ``meta.json`` or ``report.json`` describes.

    As those files hold the checksums of all others, it names the whole content.
    """
    return hashlib.sha256(data).hexdigest()[:12]
