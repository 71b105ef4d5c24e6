# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The engine of a bundle: the one that was kept if it is still right, otherwise a new one."""

from __future__ import annotations

from dataclasses import replace
import hashlib
from pathlib import Path
from typing import Any, NamedTuple

import onnxruntime

from adet_core.bundle import Bundle, Golden, Parity, PlanRecord, read_precision, read_record
from adet_core.errors import BackendError
from adet_core.inference.backend import open_backend
from adet_core.inference.parity import measure_parity
from adet_core.inference.statistics_transform import ERRORS_ONLY, first_line, StatisticsTransform
from adet_core.inference.tensorrt.build import build_plan, length_range
from adet_core.inference.tensorrt.engine_cache import (
    load_plan,
    read_timings,
    save_plan,
    save_timings,
    StalePlanError,
)
from adet_core.inference.tensorrt.library import find_library, is_installed, TensorRtLibrary
from adet_core.inference.tensorrt.runtime import EngineError, find_gpu, Gpu, TensorRtBackend
from adet_core.prediction import Prediction
from adet_core.progress import ProgressCallback, silent


def open_tensorrt(
    bundle: Bundle, graph: bytes, *, build: bool = True, progress: ProgressCallback = silent
) -> TensorRtBackend:
    """Load a bundle's engine; build it if need be.

    An engine that is run for the first time has to give the trained model's own answers to the
    golden images, as closely as its precision allows.

    Args:
        bundle: A bundle as it is in service.
        graph: Its verified graph.
        build: Whether an engine may be built, which takes minutes on a small board.
        progress: Told the progress of a build.

    Raises:
        BackendError: There is no TensorRT or GPU, or no engine that could be used.
        BundleError: A file of the bundle is missing or damaged.
    """
    if is_installed():
        # Before it is loaded, which without a GPU would take memory and time for nothing.
        find_gpu()
    library, gpu = find_library(), find_gpu()
    inputs = _inputs(bundle, graph)
    try:
        plan, record = load_plan(bundle, _identity(bundle, graph, library, gpu))
        _check_lengths(record, inputs)
        backend = TensorRtBackend(library, gpu, plan, inputs.transform)
    except (StalePlanError, EngineError) as stale:
        if not build:
            msg = f'{stale}; nothing may be built here: leave --no-build out, or adet export'
            raise BackendError(f'{msg} {bundle.folder}') from None
        plan, record, _ = build_for(bundle, graph, library, gpu, progress=progress)
        backend = TensorRtBackend(library, gpu, plan, inputs.transform)
    parity = record.parity
    if parity is None:
        parity = _compare(backend, bundle, graph, record.precision)
        save_plan(bundle, plan, replace(record, parity=parity))
    drift = parity.score_difference / bundle.manifest.score_range.span
    backend.detail = f', {record.precision}, scores within {drift:.2g} of the score range'
    return backend


def build_for(
    bundle: Bundle,
    graph: bytes,
    library: TensorRtLibrary,
    gpu: Gpu | None,
    *,
    progress: ProgressCallback = silent,
) -> tuple[bytes, PlanRecord, Path]:
    """Build a bundle's engine and keep it.

    Args:
        bundle: As in service.
        graph: Its verified graph.
        library: Which TensorRT.
        gpu: What it is built for; None where there is none, which TensorRT for RTX allows.
        progress: Told the progress.

    Returns:
        The plan, what it was built from, and where it was put; it was not run yet.

    Raises:
        BackendError: It cannot be built, or not be kept.
        BundleError: A file of the bundle is missing or damaged.
        ConfigError: An option makes no sense.
    """
    inputs = _inputs(bundle, graph)
    identity = _identity(bundle, graph, library, gpu)
    plan, timings = build_plan(
        library,
        graph,
        inputs.shapes,
        identity['precision'],
        identity['options'],
        timings=read_timings(),
        progress=progress,
    )
    save_timings(timings)
    record = PlanRecord(
        **identity,
        plan_sha256=hashlib.sha256(plan).hexdigest(),
        lengths={axis: length_range(length)[::2] for axis, length in inputs.lengths.items()},
    )
    return plan, record, save_plan(bundle, plan, record)


def _compare(backend: TensorRtBackend, bundle: Bundle, graph: bytes, precision: str) -> Parity:
    """Let an engine's first images be the golden ones; without agreement it is not used."""
    statistics = bundle.statistics()
    backend.bind(statistics)
    golden = _golden(bundle, graph, statistics)
    parity = measure_parity(
        backend,
        *golden,
        threshold=bundle.manifest.image_threshold.value,
        span=bundle.manifest.score_range.span,
        precision=precision,
        map_tolerance=read_record(bundle).parity.map_tolerance or 0.0,
    )
    if not parity.holds:
        drift = parity.score_difference / bundle.manifest.score_range.span
        flips = f' and changes {parity.flips} verdicts' if parity.flips else ''
        msg = (
            f'the {precision} engine of {bundle.folder} differs from the trained model by '
            f'{drift:.2g} of the score range{flips}: it is not used; export in another precision'
        )
        raise BackendError(msg)
    return parity


def _golden(bundle: Bundle, graph: bytes, statistics: Any) -> Golden:
    """The answers to be given: the stored ones, as long as they are of what is in service."""
    golden = bundle.golden()
    if bundle.bundle_id in {bundle.base_id, bundle.graph_id}:
        return golden
    # New statistics beside the old network: ONNX Runtime, which they were inspected with, knows.
    reference = open_backend('onnxruntime', graph)
    reference.bind(statistics)
    return Golden(
        golden.images,
        Prediction.concatenate(reference.run(image[None]) for image in golden.images),
    )


class _Inputs(NamedTuple):
    """What goes into a graph beside images.

    Attributes:
        preparation: Makes it of a bundle's statistics.
        shapes: Of the bundle's, by name.
        lengths: Of the axes that are free, e.g. ``bank:0``.
    """

    transform: StatisticsTransform
    shapes: dict[str, tuple[int, ...]]
    lengths: dict[str, int]


def _inputs(bundle: Bundle, graph: bytes) -> _Inputs:
    options = onnxruntime.SessionOptions()
    # It is only asked for its inputs.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = ERRORS_ONLY
    try:
        session = onnxruntime.InferenceSession(graph, options, providers=['CPUExecutionProvider'])
    except Exception as error:  # noqa: BLE001 - its error types are not importable
        raise BackendError(f'cannot load the graph: {first_line(error)}') from None
    transform = StatisticsTransform(session)
    shapes = {name: array.shape for name, array in transform(bundle.statistics()).items()}
    lengths = {
        f'{entry.name}:{axis}': shapes[entry.name][axis]
        for entry in session.get_inputs()
        for axis, length in enumerate(entry.shape)
        if entry.name in shapes and not isinstance(length, int)
    }
    return _Inputs(transform, shapes, lengths)


def _identity(
    bundle: Bundle, graph: bytes, library: TensorRtLibrary, gpu: Gpu | None
) -> dict[str, Any]:
    """What a plan has to be built from and for, to be used."""
    return {
        'graph_sha256': hashlib.sha256(graph).hexdigest(),
        'library': library.name,
        'version': library.version,
        'gpu': gpu.name if gpu else '',
        'capability': gpu.capability if gpu else '',
        'precision': read_precision(bundle),
        'options': read_record(bundle).options,
    }


def _check_lengths(record: PlanRecord, inputs: _Inputs) -> None:
    for axis, length in inputs.lengths.items():
        least, most = record.lengths[axis]
        if not least <= length <= most:
            msg = f'the engine takes {axis} of {least} to {most}, now it is {length}'
            raise StalePlanError(msg)
