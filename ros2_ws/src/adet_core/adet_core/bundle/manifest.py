# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""What ``meta.json`` says: the one description of a trained model.

History of the schema:
    1  first version
    2  thresholds say their confidence and false_reject_bound, and may have uncertain_from
    3  score_range says the scores of normal images the model was not fitted to

A reader accepts its own version and older ones; a newer one is refused with the remedy (upgrade
adet). Whoever changes a field raises `SCHEMA_VERSION` and adds a line above.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
import json
import math
from reprlib import repr as brief
from typing import Any

from adet_core.bundle.decode import decode, parse_json

SCHEMA_VERSION = 3
META_FILE = 'meta.json'
WEIGHTS_FILE = 'model.pth'
GOLDEN_FILE = 'golden.npz'
# What retraining goes on from; absent from bundles that were trained before it existed.
NORMALS_FILE = 'normals.npz'
KNOWN_IMAGES_FILE = 'pictures.json'
# What a model learned that retraining replaces; a bundle has one of them or none.
STATISTICS_FILES = ('stats.npz', 'memory_bank.npz')


@dataclass(frozen=True, kw_only=True)
class ImageSpec:
    """How an image becomes the graph's input; the graph itself subtracts mean and divides by std.

    Attributes:
        height: Rows of the graph's input, in pixels.
        width: Columns of the graph's input, in pixels.
        mean: Per channel (R, G, B), on the 0..1 scale.
        std: Per channel (R, G, B), on the 0..1 scale.
        resize: How any other size is brought to this one: ``stretch`` is
            `adet_core.image.preprocess`.
    """

    height: int
    width: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    resize: str = 'stretch'

    def __post_init__(self) -> None:
        """Refuse sizes and factors no graph can have."""
        _require(32 <= self.height <= 8192 and 32 <= self.width <= 8192, 'image size', self)
        _require(all(value > 0 for value in self.std), 'image std', self.std)
        _require(self.resize == 'stretch', 'image resize', self.resize)


@dataclass(frozen=True, kw_only=True)
class BackboneSpec:
    """The feature extractor, and where its weights came from.

    Attributes:
        name: timm's name of the network.
        layers: Names of the layers whose features are used, finest first.
        weights: ``imagenet``, ``random`` or ``file``.
        source: The hub's tag, the seed, or the file's name.
        sha256: Of the weights as they were loaded (of the file for ``file``, else of the tensors).
    """

    name: str
    layers: tuple[str, ...]
    weights: str
    source: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """A raw score above which something is anomalous, and how it was found.

    Attributes:
        value: Raw score (or map value, for pixels); at or above it the verdict is *anomalous*.
        method: ``f1_optimal`` (labelled images) or ``normal_quantile`` (held-out normal images).
        normals: How many normal images it was derived from.
        anomalies: How many anomalous images it was derived from.
        target_false_reject_rate: What was asked for, ``normal_quantile`` only.
        detail: One sentence for people: what the figure can and cannot promise.
        confidence: How sure ``false_reject_bound`` is, 0 to 1; ``normal_quantile`` only.
        false_reject_bound: Share of good parts rejected at most, with that confidence.
        uncertain_from: Raw score; from here up to ``value`` the verdict is *uncertain*. None
            where there is no such band.
    """

    value: float
    method: str
    normals: int
    anomalies: int
    target_false_reject_rate: float | None = None
    detail: str = ''
    confidence: float | None = None
    false_reject_bound: float | None = None
    uncertain_from: float | None = None

    def __post_init__(self) -> None:
        """Refuse a threshold that no score can be compared with, and a band that is none."""
        _require(math.isfinite(self.value), 'threshold', self.value)
        start = self.uncertain_from
        below = start is None or (math.isfinite(start) and start < self.value)
        _require(below, f'uncertain_from below {self.value!r}', start)


@dataclass(frozen=True, kw_only=True)
class ScoreRange:
    """The raw scores seen at calibration; they set the normalised score's scale.

    Attributes:
        minimum: The smallest.
        maximum: The largest.
        normals: Of normal images that the model was not fitted to, ascending: all of them, or so
            many quantiles; empty in a bundle of an older schema.
    """

    minimum: float
    maximum: float
    normals: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        """Refuse an empty range, which would divide by nothing."""
        _require(all(map(math.isfinite, self.normals)), 'scores of normals', self.normals)
        finite = math.isfinite(self.minimum) and math.isfinite(self.maximum)
        _require(finite and self.maximum > self.minimum, 'score range', self)

    @property
    def span(self) -> float:
        """Length of the range; parity tolerances are fractions of it."""
        return self.maximum - self.minimum


@dataclass(frozen=True, kw_only=True)
class FileEntry:
    """Checksum and length of one file of the bundle."""

    sha256: str
    size: int


@dataclass(frozen=True, kw_only=True)
class DatasetInfo:
    """What the model learned from.

    Attributes:
        train: Normal images used for fitting.
        held_out: Normal images kept back from fitting, for the threshold.
        test_normal: Normal test images.
        test_anomaly: Anomalous test images.
        unreadable: Images that were skipped because they could not be read.
        fingerprint: sha256 over the names and contents of all of them.
    """

    train: int
    held_out: int
    test_normal: int
    test_anomaly: int
    unreadable: int
    fingerprint: str


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """All of ``meta.json``.

    Attributes:
        schema_version: See the module's history.
        model: The model name, e.g. ``padim``.
        category: What is inspected, e.g. ``VisA_pipe_fryum``.
        created: UTC, ISO 8601.
        image: How images are prepared.
        backbone: The feature extractor; None for a model without one.
        hyper_parameters: The settings it was trained with.
        image_threshold: For the image's score.
        pixel_threshold: For the anomaly map; it draws the regions.
        score_range: Raw scores seen at calibration.
        files: Every other file of the bundle.
        dataset: What it learned from.
        metrics: Test metrics by name (``image_auroc``, ``pixel_auroc``, ``aupro``...); a metric
            that the data cannot give (no masks, one class only) is absent.
        versions: Library name to version, as trained.
    """

    schema_version: int = SCHEMA_VERSION
    model: str
    category: str
    created: str
    image: ImageSpec
    backbone: BackboneSpec | None
    hyper_parameters: dict[str, Any]
    image_threshold: Threshold
    pixel_threshold: Threshold
    score_range: ScoreRange
    files: dict[str, FileEntry] = field(default_factory=dict)
    dataset: DatasetInfo
    metrics: dict[str, float]
    versions: dict[str, str]

    def to_json(self) -> bytes:
        """The bytes of ``meta.json``, always in this version: an older one lacks fields."""
        values = {**asdict(self), 'schema_version': SCHEMA_VERSION}
        return (json.dumps(values, indent=2, allow_nan=False) + '\n').encode()

    @classmethod
    def from_json(cls, data: bytes) -> Manifest:
        """Read ``meta.json``.

        Raises:
            ValueError: It is not JSON, of a newer schema, or a field is missing or wrong.
        """
        values = parse_json(data)
        version = values.get('schema_version') if isinstance(values, dict) else None
        if not isinstance(version, int) or not 1 <= version <= SCHEMA_VERSION:
            msg = (
                f'schema_version is {brief(version)}, this adet reads 1 to {SCHEMA_VERSION}; '
                'upgrade adet, or train the bundle again'
            )
            raise ValueError(msg)
        return decode(cls, values)


def _require(holds: bool, what: str, value: object) -> None:
    if not holds:
        msg = f'impossible {what}: {value!r}'
        raise ValueError(msg)
