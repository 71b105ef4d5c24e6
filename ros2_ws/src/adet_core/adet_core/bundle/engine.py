# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The ``engine`` folder: what was made from a bundle to run it, and from which bundle it was made.

An engine is a cache, not part of the bundle: it is only used when ``model.json`` says that it was
made from the very bundle beside it and the graph's checksum holds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
import hashlib
import json
from pathlib import Path

from adet_core.bundle.commit import open_committed, stage
from adet_core.bundle.decode import decode, parse_json
from adet_core.bundle.reader import Bundle
from adet_core.errors import BundleError

ENGINE_FOLDER = 'engine'
GRAPH_FILE = 'model.onnx'
FEATURES_FILE = 'features.onnx'
RECORD_FILE = 'model.json'
# One protobuf cannot be larger, and nothing of ours comes near it: statistics are inputs.
_GRAPH_LIMIT = 2 << 30
_RECORD_LIMIT = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Parity:
    """How far the graph's answers are from the trained model's own, over the golden pictures.

    Attributes:
        pictures: How many were compared.
        score_difference: Largest absolute difference of raw scores.
        map_difference: Largest absolute difference anywhere in the anomaly maps.
        tolerance: The difference of scores that was allowed.
        map_tolerance: Of maps; None in a record of an older adet: as for scores.
    """

    pictures: int
    score_difference: float
    map_difference: float
    tolerance: float
    map_tolerance: float | None = None

    @property
    def holds(self) -> bool:
        """Whether the graph may be used."""
        allowed = self.tolerance if self.map_tolerance is None else self.map_tolerance
        return self.score_difference <= self.tolerance and self.map_difference <= allowed


@dataclass(frozen=True, kw_only=True)
class EngineRecord:
    """All of ``engine/model.json``.

    Attributes:
        bundle_id: The bundle the graph was exported from.
        sha256: Of ``model.onnx``.
        precision: ``fp32``.
        opset: ONNX operator set.
        parity: The check made at export.
        versions: Library name to version, as exported.
        features_sha256: Of ``features.onnx``; None for a model that is not relearned from
            features.
    """

    bundle_id: str
    sha256: str
    precision: str
    opset: int
    parity: Parity
    versions: dict[str, str]
    features_sha256: str | None = None


def write_engine(
    bundle: Bundle, graph: bytes, record: EngineRecord, features: bytes | None = None
) -> Path:
    """Put a checked graph into service: graph and record become visible together.

    Args:
        bundle: What it was made from.
        graph: ``model.onnx``.
        record: ``model.json``.
        features: ``features.onnx``, the way from picture to features alone, if there is one.

    Returns:
        The path of ``model.onnx``.

    Raises:
        OSError: The folder cannot be written; the old engine is untouched.
    """
    folder = bundle.folder / ENGINE_FOLDER
    text = (json.dumps(asdict(record), indent=2, allow_nan=False) + '\n').encode()
    contents: dict[str, Callable[..., object]] = {
        GRAPH_FILE: lambda file: file.write(graph),
        RECORD_FILE: lambda file: file.write(text),
    }
    if features is not None:
        contents[FEATURES_FILE] = lambda file: file.write(features)
    with stage(folder, contents):
        pass
    return folder / GRAPH_FILE


def read_engine(bundle: Bundle) -> bytes:
    """The verified ONNX graph of a bundle.

    Raises:
        BundleError: There is none, it is damaged, or it was made from another bundle.
    """
    if bundle.graph_id != bundle.base_id:
        # Retrained weights bring their graph along.
        with bundle.open(GRAPH_FILE) as file:
            return file.read()
    return _read_checked(bundle, GRAPH_FILE, lambda record: record.sha256)


def read_features(bundle: Bundle) -> bytes:
    """The verified ONNX graph from picture to features.

    Raises:
        BundleError: There is none, it is damaged, or it was made from another bundle.
    """
    return _read_checked(bundle, FEATURES_FILE, lambda record: record.features_sha256)


def _read_checked(
    bundle: Bundle, name: str, checksum: Callable[[EngineRecord], str | None]
) -> bytes:
    folder = bundle.folder / ENGINE_FOLDER
    record = _read_record(bundle, folder)
    while True:
        if record.bundle_id != bundle.base_id:
            reason = f'made from bundle {record.bundle_id:.12}, this one is {bundle.base_id}'
            raise _error(bundle, RECORD_FILE, reason)
        if checksum(record) is None:
            raise _error(bundle, name, 'was not made')
        data = _read(bundle, folder, name, _GRAPH_LIMIT)
        if hashlib.sha256(data).hexdigest() == checksum(record):
            return data
        # An export may have replaced both between the two reads.
        before, record = record, _read_record(bundle, folder)
        if record == before:
            raise _error(bundle, name, f'checksum mismatch with {RECORD_FILE}')


def _read_record(bundle: Bundle, folder: Path) -> EngineRecord:
    try:
        return decode(EngineRecord, parse_json(_read(bundle, folder, RECORD_FILE, _RECORD_LIMIT)))
    except ValueError as error:
        raise _error(bundle, RECORD_FILE, str(error)) from None


def _read(bundle: Bundle, folder: Path, name: str, limit: int) -> bytes:
    try:
        with open_committed(folder, name) as file:
            data = file.read(limit + 1)
    except OSError as error:
        reason = 'missing' if isinstance(error, FileNotFoundError) else str(error.strerror)
        raise _error(bundle, name, reason) from None
    if len(data) > limit:
        raise _error(bundle, name, f'larger than {limit} bytes')
    return data


def _error(bundle: Bundle, name: str, reason: str) -> BundleError:
    path = bundle.folder / ENGINE_FOLDER / name
    return BundleError(f'{path}: {reason}; make it with: adet export {bundle.folder}')
