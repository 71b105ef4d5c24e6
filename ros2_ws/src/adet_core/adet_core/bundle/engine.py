# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The ``engine`` folder: what was made from a bundle to run it, and from which bundle it was made.

An engine is a cache, not part of the bundle: it is only used when ``model.json`` says that it was
made from the very bundle beside it and the graph's checksum holds. A plan is what TensorRT built
from a graph, for one machine; who may use it, `adet_core.inference.tensorrt` decides.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
import hashlib
import json
import math
import os
from pathlib import Path
from typing import Any, IO

from adet_core.bundle.commit import open_committed, stage
from adet_core.bundle.decode import decode, parse_json
from adet_core.bundle.reader import Bundle
from adet_core.errors import BundleError, ConfigError
from adet_core.folder import open_folder

ENGINE_FOLDER = 'engine'
GRAPH_FILE = 'model.onnx'
PLAN_FILE = 'model.plan'
FEATURES_FILE = 'features.onnx'
RECORD_FILE = 'model.json'
# One protobuf cannot be larger, and nothing of ours comes near it: statistics are inputs.
_LIMIT = 2 << 30
_RECORD_LIMIT = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Parity:
    """How far the graph's predictions of the golden images are from the trained model's own.

    Attributes:
        pictures: Number of golden images compared.
        score_difference: Largest absolute difference of raw scores.
        map_difference: Largest absolute difference anywhere in the anomaly maps.
        tolerance: In fp32 the allowed difference of scores, 0.001 of the score range. In fp16 and
            int8 the distance from the threshold from which a verdict is sure, 0.02 and 0.1 of it.
        map_tolerance: In fp32 the allowed difference of maps; None: ``tolerance``. Where it is
            more, a retraining is allowed a tenth of the largest distance, if that is more still.
        flips: In fp16 and int8 the number of sure verdicts that changed, of which none is
            allowed. None in fp32.
    """

    pictures: int
    score_difference: float
    map_difference: float
    tolerance: float
    map_tolerance: float | None = None
    flips: int | None = None

    @property
    def holds(self) -> bool:
        """Whether the graph may be used."""
        if self.flips is not None:
            return self.flips == 0 and math.isfinite(self.score_difference + self.map_difference)
        allowed = self.tolerance if self.map_tolerance is None else self.map_tolerance
        return self.score_difference <= self.tolerance and self.map_difference <= allowed


@dataclass(frozen=True, kw_only=True)
class BuildOptions:
    """Options of a TensorRT build.

    Attributes:
        workspace_mib: Memory that a layer may use beside its tensors, in MiB.
        dla_core: Core of the deep learning accelerator; -1: the GPU.
        max_batch: Largest number of images of one run.
    """

    workspace_mib: int = 1024
    dla_core: int = -1
    max_batch: int = 1

    def check(self) -> None:
        """Check the ranges.

        Raises:
            ConfigError: Names what makes no sense.
        """
        for name, least in (('workspace_mib', 1), ('dla_core', -1), ('max_batch', 1)):
            if (value := getattr(self, name)) < least:
                msg = f'{name} is {value}, must be {least} or more'
                raise ConfigError(msg)


@dataclass(frozen=True, kw_only=True)
class PlanRecord:
    """What ``model.plan`` was built from and for.

    Attributes:
        graph_sha256: Checksum of the graph: ``model.onnx``, or that of a retraining.
        plan_sha256: Checksum of ``model.plan``.
        library: ``tensorrt`` or ``tensorrt_rtx``.
        version: Version of the library.
        gpu: Name of the GPU it was built for; empty without a GPU.
        capability: Compute capability of that GPU, e.g. ``8.7``; empty without a GPU.
        precision: Precision of the graph.
        options: Options of the build.
        lengths: Smallest and largest length of each free axis of the statistics, e.g. ``bank:0``.
        parity: Result of the check at the first run; None before it.
        seal: HMAC-SHA256 of all other fields with the key of the machine that built it.
    """

    graph_sha256: str
    plan_sha256: str
    library: str
    version: str
    gpu: str
    capability: str
    precision: str
    options: BuildOptions
    lengths: dict[str, tuple[int, ...]]
    parity: Parity | None = None
    seal: str = ''


@dataclass(frozen=True, kw_only=True)
class TransformRecord:
    """What turns the bundle's statistics into the graph's inputs.

    Attributes:
        name: A key of `adet_core.models.transforms.TRANSFORMS`.
        parameters: Values of the transform, by name.
        constants: For each array of the transform, the initializer of the graph that holds it.
    """

    name: str
    parameters: dict[str, Any] = field(default_factory=dict)
    constants: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ExportedGraph:
    """A graph, and what makes its inputs.

    Attributes:
        onnx: The ONNX model.
        transform: What turns the statistics into its inputs; None: it takes them as they are.
    """

    onnx: bytes
    transform: TransformRecord | None = None

    @cached_property
    def sha256(self) -> str:
        """Checksum of the ONNX model, in hexadecimal."""
        return hashlib.sha256(self.onnx).hexdigest()


@dataclass(frozen=True, kw_only=True)
class EngineRecord:
    """All of ``engine/model.json``.

    Attributes:
        bundle_id: Id of the bundle the graph was exported from.
        sha256: Checksum of ``model.onnx``.
        precision: ``fp32``, ``fp16`` or ``int8``.
        opset: ONNX operator set.
        parity: Result of the check at export.
        versions: Versions of the libraries that exported it, by name.
        features_sha256: Checksum of ``features.onnx``; None for a model that is not retrained
            from features.
        statistics_transform: What turns the statistics into the graph's inputs; None: the graph
            takes them as they are, or an older adet exported it and its metadata says so.
        options: Options of every TensorRT build, on any machine.
        plan: What ``model.plan`` was built from; None if there is no plan.
    """

    bundle_id: str
    sha256: str
    precision: str
    opset: int
    parity: Parity
    versions: dict[str, str]
    features_sha256: str | None = None
    statistics_transform: TransformRecord | None = None
    options: BuildOptions = BuildOptions()
    plan: PlanRecord | None = None


def write_engine(
    bundle: Bundle, graph: bytes, record: EngineRecord, features: bytes | None = None
) -> Path:
    """Put a checked graph into service: graph and record become visible together.

    Args:
        bundle: What it was made from.
        graph: ``model.onnx``.
        record: ``model.json``.
        features: ``features.onnx``, the way from image to features alone, if there is one.

    Returns:
        The path of ``model.onnx``.

    Raises:
        OSError: The folder cannot be written; the old engine is untouched.
    """
    contents: dict[str, Callable[..., object]] = {
        GRAPH_FILE: lambda file: file.write(graph),
        RECORD_FILE: _writer(record),
    }
    if features is not None:
        contents[FEATURES_FILE] = lambda file: file.write(features)
    with open_folder(bundle.folder, ENGINE_FOLDER, make=True) as folder, stage(folder, contents):
        pass
    return folder.path / GRAPH_FILE


def copy_engine(bundle: Bundle, deployed: Bundle) -> bool:
    """Bring a bundle's graph along to its copy; one of the same bundle that is there stays.

    Args:
        bundle: As it was trained.
        deployed: Its copy.

    Returns:
        Whether the copy has a graph now.

    Raises:
        OSError: The folder of the copy cannot be written.
    """
    if _base_graph(deployed):
        # Perhaps in another precision, with a plan that took minutes to build.
        return True
    found = _base_graph(bundle)
    if found is None:
        return False
    graph, record = found
    features = read_features(bundle).onnx if record.features_sha256 else None
    write_engine(deployed, graph, replace(record, plan=None), features)
    return True


def _base_graph(bundle: Bundle) -> tuple[bytes, EngineRecord] | None:
    """The graph of a bundle as it was trained, if there is a whole one."""
    try:
        return _read_checked(bundle, GRAPH_FILE, lambda record: record.sha256)
    except BundleError:
        return None


def write_plan(bundle: Bundle, plan: bytes, record: PlanRecord) -> Path:
    """Put a plan beside the graph; it becomes visible together with what it was built from.

    Returns:
        The path of ``model.plan``.

    Raises:
        BundleError: There is no engine to add it to.
        OSError: The folder cannot be written; the old plan is untouched.
    """
    contents = {PLAN_FILE: lambda file: file.write(plan)}
    with (
        open_folder(bundle.folder, ENGINE_FOLDER, make=True) as folder,
        stage(folder, contents) as staging,
    ):
        # Under the folder's lock: an export may have written another one just before.
        staging.write(RECORD_FILE, _writer(replace(read_record(bundle), plan=record)))
    return folder.path / PLAN_FILE


def read_plan(bundle: Bundle) -> bytes:
    """The bytes of ``model.plan``, whatever they are.

    Raises:
        BundleError: There is no such file.
    """
    return _read(bundle, PLAN_FILE, _LIMIT)


def read_record(bundle: Bundle) -> EngineRecord:
    """All of ``model.json``.

    Raises:
        BundleError: It is missing or damaged.
    """
    try:
        return decode(EngineRecord, parse_json(_read(bundle, RECORD_FILE, _RECORD_LIMIT)))
    except ValueError as error:
        raise _error(bundle, RECORD_FILE, str(error)) from None


def read_precision(bundle: Bundle) -> str:
    """What the graph in service is in; one that was trained further on the robot is in fp32.

    Raises:
        BundleError: ``model.json`` is missing or damaged.
    """
    return read_record(bundle).precision if bundle.graph_id == bundle.base_id else 'fp32'


def read_engine(bundle: Bundle) -> ExportedGraph:
    """The verified graph of a bundle.

    Raises:
        BundleError: There is none, it is damaged, or it was made from another bundle.
    """
    if bundle.graph_id != bundle.base_id:
        # Retrained weights bring their graph along.
        with bundle.open(GRAPH_FILE) as file:
            return ExportedGraph(file.read())
    graph, record = _read_checked(bundle, GRAPH_FILE, lambda record: record.sha256)
    return ExportedGraph(graph, record.statistics_transform)


def read_features(bundle: Bundle) -> ExportedGraph:
    """The verified graph from image to features.

    Raises:
        BundleError: There is none, it is damaged, or it was made from another bundle.
    """
    graph, _ = _read_checked(bundle, FEATURES_FILE, lambda record: record.features_sha256)
    return ExportedGraph(graph)


def _read_checked(
    bundle: Bundle, name: str, checksum: Callable[[EngineRecord], str | None]
) -> tuple[bytes, EngineRecord]:
    """A file of the engine folder, and the record that its checksum agrees with."""
    record = read_record(bundle)
    while True:
        if record.bundle_id != bundle.base_id:
            reason = f'made from bundle {record.bundle_id:.12}, this one is {bundle.base_id}'
            raise _error(bundle, RECORD_FILE, reason)
        if checksum(record) is None:
            raise _error(bundle, name, 'was not made')
        data = _read(bundle, name, _LIMIT)
        if hashlib.sha256(data).hexdigest() == checksum(record):
            return data, record
        # An export may have replaced both between the two reads.
        before, record = record, read_record(bundle)
        if record == before:
            raise _error(bundle, name, f'checksum mismatch with {RECORD_FILE}')


def _read(bundle: Bundle, name: str, limit: int) -> bytes:
    try:
        with (
            open_folder(bundle.folder, ENGINE_FOLDER) as folder,
            open_committed(folder, name) as file,
        ):
            # Not read and then counted: a sparse file may be as long as it likes.
            size = os.fstat(file.fileno()).st_size
            data = file.read(size) if size <= limit else b''
    except OSError as error:
        reason = 'missing' if isinstance(error, FileNotFoundError) else str(error.strerror)
        raise _error(bundle, name, reason) from None
    if size > limit:
        raise _error(bundle, name, f'has {size} bytes, more than {limit} are not read')
    return data


def _writer(record: EngineRecord) -> Callable[[IO[bytes]], object]:
    text = (json.dumps(asdict(record), indent=2, allow_nan=False) + '\n').encode()
    return lambda file: file.write(text)


def _error(bundle: Bundle, name: str, reason: str) -> BundleError:
    path = bundle.folder / ENGINE_FOLDER / name
    return BundleError(f'{path}: {reason}; make it with: adet export {bundle.folder}')
