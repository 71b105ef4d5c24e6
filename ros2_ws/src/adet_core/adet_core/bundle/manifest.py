# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""What ``meta.json`` says: the one description of a trained model.

History of the schema:
    1  first version
    2  thresholds say their confidence and false_reject_bound, and may have uncertain_from
    3  score_range says the scores of normal images the model was not fitted to
    4  score_range says the scores of known anomalies and of made-up defects, too
    5  image has fit (called resize before), source, roi, tiles, align and light

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
from adet_core.folder import Name
from adet_core.geometry import ImageSpec

SCHEMA_VERSION = 5
META_FILE = 'meta.json'
WEIGHTS_FILE = 'model.pth'
GOLDEN_FILE = 'golden.npz'
# What retraining goes on from; absent from bundles that were trained before it existed.
NORMALS_FILE = 'normals.npz'
KNOWN_IMAGES_FILE = 'pictures.json'
# Where to paste made-up defects on those normals, see `adet_core.made_up`.
MADE_UP_FILE = 'made_up.npz'
# Where the canvas is inspected, see `adet_core.geometry`; absent where that is everywhere.
AREA_FILE = 'area.npz'
# What images are aligned to, see `adet_core.image.alignment`; absent where they are not.
REFERENCE_FILE = 'reference.npz'
# What a model learned that retraining replaces; a bundle has one of them or none.
STATISTICS_FILES = ('stats.npz', 'memory_bank.npz')


@dataclass(frozen=True, kw_only=True)
class BackboneSpec:
    """The feature extractor, and where its weights came from.

    Attributes:
        name: timm's name of the network.
        layers: Names of the layers whose features are used, finest first.
        weights: ``imagenet``, ``random`` or ``file``.
        source: The hub's name, the seed, or the file's name.
        sha256: Checksum of the file for ``file``, else of the tensors.
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
        value: Raw score or map value; at or above it the verdict is *anomalous*.
        method: ``normal_quantile`` (normal images that were not fitted), ``robust_quantile``
            (these under changes of light and lens, too), ``anomaly_quantile``,
            ``lowest_cost`` and ``f1_optimal`` (labelled images), or ``moved`` (a retraining moved
            another threshold).
        normals: Number of normal images it was derived from.
        anomalies: Number of anomalous images it was derived from.
        target_false_reject_rate: The rate that was requested; quantiles of normal images only.
        detail: What the threshold can and cannot promise, in one sentence.
        confidence: How sure ``false_reject_bound`` is, 0 to 1; quantiles of normal images only.
        false_reject_bound: Share of good parts rejected at most, with that confidence.
        uncertain_from: Raw score, below ``value``: from here up to ``value`` the verdict is
            *uncertain*. None: no such band.
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
        minimum: Smallest raw score, or the threshold if that is smaller.
        maximum: Largest raw score, or the threshold if that is larger.
        normals: Raw scores of normal images that the model was not fitted to, ascending: all of
            them, or 256 quantiles. Empty before schema 3.
        anomalies: Raw scores of labelled anomalous images, in the same form. Empty without them,
            and before schema 4.
        made_up: Raw scores of made-up defects by strength (``faint``, ``clear``, ``strong``).
            Empty before schema 4.
    """

    minimum: float
    maximum: float
    normals: tuple[float, ...] = ()
    anomalies: tuple[float, ...] = ()
    made_up: dict[str, tuple[float, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse an empty range, which would divide by nothing."""
        for kept in (self.normals, self.anomalies, *self.made_up.values()):
            _require(all(map(math.isfinite, kept)), 'scores', kept)
        finite = math.isfinite(self.minimum) and math.isfinite(self.maximum)
        _require(finite and self.maximum > self.minimum, 'score range', self)

    @property
    def span(self) -> float:
        """Length of the range; parity tolerances are fractions of it."""
        return self.maximum - self.minimum


@dataclass(frozen=True, kw_only=True)
class FileEntry:
    """Checksum and length of one file of the bundle.

    Attributes:
        sha256: Checksum of the file, 64 lower-case hexadecimal digits.
        size: Length of the file, in bytes.
    """

    sha256: str
    size: int


@dataclass(frozen=True, kw_only=True)
class DatasetInfo:
    """What the model learned from.

    Attributes:
        train: Normal images used for fitting.
        held_out: Normal images kept back to find the threshold.
        test_normal: Normal test images.
        test_anomaly: Anomalous test images.
        unreadable: Images that were skipped because they could not be read.
        fingerprint: sha256 over the names and contents of all images and masks.
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
        schema_version: Version of this description.
        model: The model name, e.g. ``padim``.
        category: What is inspected: the name of the training folder, e.g. ``VisA_pipe_fryum``.
        created: Time of the training, UTC, ISO 8601.
        image: How images are preprocessed.
        backbone: The pretrained network; None for a model without one.
        hyper_parameters: The hyper-parameters of the training and its seed.
        image_threshold: For the image's score.
        pixel_threshold: For the anomaly map; it draws the regions.
        score_range: Raw scores seen at calibration.
        files: Every other file of the bundle, by name.
        dataset: What it learned from.
        metrics: Figures on the test images: ``image_auroc``, ``image_f1``, ``false_reject_rate``,
            ``false_accept_rate``, ``pixel_auroc``, ``aupro``. One that the data cannot give is
            absent.
        versions: Versions of the libraries that trained it, by name.
    """

    schema_version: int = SCHEMA_VERSION
    model: str
    category: Name
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
        if version < 5:
            values['image'] = _with_fit(values.get('image'))
        return decode(cls, values)


def _with_fit(image: Any) -> Any:
    """An image before schema 5, whose ``fit`` was called ``resize``."""
    if not isinstance(image, dict) or 'resize' not in image:
        return image
    if image['resize'] != 'stretch' or 'fit' in image:
        msg = f'impossible image resize: {brief(image["resize"])}'
        raise ValueError(msg)
    return {**{key: value for key, value in image.items() if key != 'resize'}, 'fit': 'stretch'}


def _require(holds: bool, what: str, value: object) -> None:
    if not holds:
        msg = f'impossible {what}: {value!r}'
        raise ValueError(msg)
