# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The engine of a bundle: the kept one if it is still right, otherwise a new one."""

from __future__ import annotations

from dataclasses import replace
import hashlib
from pathlib import Path
from typing import Any, NamedTuple

from adet_core.bundle import (
    Bundle,
    ExportedGraph,
    PlanRecord,
    read_precision,
    read_record,
)
from adet_core.errors import BackendError
from adet_core.inference.backend import BackendRequest
from adet_core.inference.first_use import compare, drift
from adet_core.inference.kept_inputs import bundle_inputs, graph_inputs
from adet_core.inference.statistics_transform import GraphInputs
from adet_core.inference.tensorrt.build import build_plan, length_range
from adet_core.inference.tensorrt.engine_cache import (
    load_plan,
    read_timings,
    save_plan,
    save_timings,
    StalePlanError,
)
from adet_core.inference.tensorrt.gpu import find_gpu, Gpu
from adet_core.inference.tensorrt.library import find_library, is_installed, TensorRtLibrary
from adet_core.inference.tensorrt.runtime import EngineError, TensorRtBackend
from adet_core.progress import ProgressCallback, silent


def open_tensorrt(request: BackendRequest) -> TensorRtBackend:
    """Load a bundle's engine; build it if there is none that can be used.

    Before an engine is used for the first time, it has to predict the golden images as the trained
    model does, as closely as its precision allows.

    Raises:
        BackendError: There is no TensorRT or GPU, or no engine that can be used.
        BundleError: A file of the bundle is missing or damaged.
    """
    bundle, graph = request.bundle, request.graph
    if is_installed():
        # First: to load TensorRT takes memory and time, for nothing without a GPU.
        find_gpu()
    library, gpu = find_library(), find_gpu()
    library.check(gpu.name, gpu.capability)
    inputs = _inputs(bundle, graph)
    try:
        plan, record = load_plan(bundle, _identity(bundle, graph, library, gpu))
        _check_lengths(record, inputs)
        backend = TensorRtBackend(library, gpu, plan, inputs.make)
    except (StalePlanError, EngineError) as stale:
        if not request.build:
            msg = f'{stale}; nothing may be built here: leave --no-build out, or adet export'
            raise BackendError(f'{msg} {bundle.folder}') from None
        plan, record, _ = build_for(bundle, graph, library, gpu, progress=request.progress)
        backend = TensorRtBackend(library, gpu, plan, inputs.make)
    parity = record.parity
    if parity is None:
        what = f'the {record.precision} engine'
        remedy = 'export in another precision'
        parity = compare(backend, bundle, graph, record.precision, what, remedy)
        save_plan(bundle, plan, replace(record, parity=parity))
    far = drift(parity, bundle)
    backend.detail = f', {record.precision}, scores within {far:.2g} of the score range'
    return backend


def build_for(
    bundle: Bundle,
    graph: ExportedGraph,
    library: TensorRtLibrary,
    gpu: Gpu | None,
    *,
    progress: ProgressCallback = silent,
) -> tuple[bytes, PlanRecord, Path]:
    """Build a bundle's engine and keep it.

    Args:
        bundle: As it is in service.
        graph: Its verified graph.
        library: The TensorRT to build with.
        gpu: The GPU to build for; None without one, which TensorRT for RTX allows.
        progress: Told the progress.

    Returns:
        The plan, its record, and its path; the engine has not run yet.

    Raises:
        BackendError: It cannot be built, or not be kept.
        BundleError: A file of the bundle is missing or damaged.
        ConfigError: An option makes no sense.
    """
    if gpu is not None:
        library.check(gpu.name, gpu.capability)
    inputs = _inputs(bundle, graph)
    identity = _identity(bundle, graph, library, gpu)
    plan, timings = build_plan(
        library,
        graph.onnx,
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


class _Inputs(NamedTuple):
    """The inputs of a graph beside images.

    Attributes:
        make: Makes them from a bundle's statistics.
        shapes: Their shapes with the bundle's statistics, by name.
        lengths: Lengths of their free axes, e.g. of ``bank:0``.
    """

    make: GraphInputs
    shapes: dict[str, tuple[int, ...]]
    lengths: dict[str, int]


def _inputs(bundle: Bundle, graph: ExportedGraph) -> _Inputs:
    make = graph_inputs(bundle, graph)
    (first,) = bundle_inputs(bundle, make, wanted=slice(1))
    shapes = {name: array.shape for name, array in first.items()}
    lengths = {
        f'{name}:{axis}': shapes[name][axis]
        for name, shape in make.graph_shapes.items()
        for axis, length in enumerate(shape)
        if name in shapes and length is None
    }
    return _Inputs(make, shapes, lengths)


def _identity(
    bundle: Bundle, graph: ExportedGraph, library: TensorRtLibrary, gpu: Gpu | None
) -> dict[str, Any]:
    """What a plan is built from and for; a plan with another identity is not used."""
    return {
        'graph_sha256': graph.sha256,
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
