# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""OpenVINO: quicker than ONNX Runtime with some models on some CPUs.

It chooses bfloat16 by itself where the CPU has it. That is not what the trained model was checked
with, so float32 is asked for, always, unless bfloat16 is asked for by name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
import functools
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from adet_core.bundle import ExportedGraph, Parity
from adet_core.bundle.decode import decode
from adet_core.errors import BackendError
from adet_core.inference.backend import BackendRequest
from adet_core.inference.first_use import compare, drift
from adet_core.inference.graph_backend import GraphBackend
from adet_core.inference.kept import keep, Kept, load_kept
from adet_core.inference.kept_inputs import graph_inputs
from adet_core.inference.machine import describe_cpu
from adet_core.inference.session import first_line
from adet_core.inference.statistics_transform import GraphInputs, IMAGE_INPUT
from adet_core.inference.time_limit import LIMIT_S
from adet_core.models.statistics_model import Statistics

_DEVICE = 'CPU'
_TYPES = {'f32': 'tensor(float)', 'u8': 'tensor(uint8)'}
# bfloat16 has to pass what float16 has to: no verdict changes outside of that band.
_BANDS = {'f32': 'fp32', 'bf16': 'fp16'}


def open_openvino(request: BackendRequest) -> OpenVinoBackend:
    """See `adet_core.inference.backend.BackendFactory`; in float32."""
    return _open(request, 'f32')


def open_openvino_bf16(request: BackendRequest) -> OpenVinoBackend:
    """In bfloat16, where the CPU has it.

    Raises:
        BackendError: It has not, or a verdict changes.
    """
    if 'BF16' not in _core().get_property(_DEVICE, 'OPTIMIZATION_CAPABILITIES'):
        raise BackendError('this CPU has no bfloat16')
    return _open(request, 'bf16')


def _open(request: BackendRequest, precision: str) -> OpenVinoBackend:
    """The compiled graph that was kept, or a new one, compared with the trained model."""
    bundle, graph = request.bundle, request.graph
    name = 'openvino' if precision == 'f32' else f'openvino_{precision}'
    identity = {
        'graph_sha256': graph.sha256,
        'openvino': _library().get_version(),
        'threads': request.threads,
        **describe_cpu(),
    }
    inputs = graph_inputs(bundle, graph, request.threads)
    kept = load_kept(bundle, name, identity)
    if kept:
        compiled = _import(kept.data, precision, request.threads)
        backend = OpenVinoBackend(inputs, compiled)
        parity = decode(Parity, kept.details)
    else:
        compiled = compile_graph(graph, precision, request.threads)
        backend = OpenVinoBackend(inputs, compiled)
        remedy = 'use backend: onnxruntime'
        what = f'OpenVINO in {precision}'
        parity = compare(backend, bundle, graph, _BANDS[precision], what, remedy)
        _keep(request, name, identity, Kept(asdict(parity), _export(compiled)))
    far = drift(parity, bundle)
    backend.detail = f', {precision}, scores within {far:.2g} of the score range'
    return backend


def _keep(request: BackendRequest, name: str, identity: dict[str, object], kept: Kept) -> None:
    try:
        keep(request.bundle, name, identity, kept)
    except BackendError:
        # It is compiled, and compared, at each start.
        return


class _Entry(NamedTuple):
    """An input or output, as `adet_core.inference.graph_check` reads it."""

    name: str
    type: str
    shape: list[int | str]


class _Loaded:
    """A compiled graph, as `adet_core.inference.graph_check` reads it."""

    def __init__(self, compiled: Any) -> None:
        self._compiled = compiled

    def get_inputs(self) -> list[_Entry]:
        return [_entry(one) for one in self._compiled.inputs]

    def get_outputs(self) -> list[_Entry]:
        return [_entry(one) for one in self._compiled.outputs]


def _entry(port: Any) -> _Entry:
    kind = port.element_type.to_string()
    rank = port.partial_shape.rank
    lengths = port.partial_shape if rank.is_static else ()
    shape = [one.get_length() if one.is_static else 'N' for one in lengths]
    return _Entry(port.any_name, _TYPES.get(kind, kind), shape)


class OpenVinoBackend(GraphBackend):
    """Runs a compiled graph.

    Attributes:
        detail: Added to the name; empty, or begins with a comma.
    """

    def __init__(self, inputs: GraphInputs, compiled: Any) -> None:
        """Check a compiled graph.

        Args:
            inputs: Makes its inputs.
            compiled: The graph; see `adet_core.inference.graph_backend.GraphBackend`.

        Raises:
            BackendError: It is not such a graph.
        """
        super().__init__(inputs, _Loaded(compiled))
        self._compiled = compiled
        self.detail = ''
        self._unbind()

    @property
    def name(self) -> str:
        """For people: the library and device."""
        return f'openvino ({_DEVICE}{self.detail})'

    def _unbind(self) -> None:
        self._request = self._compiled.create_infer_request()

    def _bind(self, arrays: Statistics) -> None:
        for name, array in arrays.items():
            # A copy: OpenVINO would not keep the caller's memory alive.
            self._request.set_tensor(name, _library().Tensor(np.ascontiguousarray(array)))

    def _infer(self, images: npt.NDArray[np.uint8], outputs: Sequence[str]) -> list[Any]:
        self._request.set_tensor(IMAGE_INPUT, _library().Tensor(images, shared_memory=True))
        # In another thread, so that a graph without an end has one.
        self._request.start_async()
        if not self._request.wait_for(int(LIMIT_S * 1e3)):
            self._request.cancel()
            msg = f'inference was ended after {LIMIT_S:g} s; export the bundle again'
            raise BackendError(msg)
        # The next run writes into the same memory.
        return [self._request.get_tensor(name).data.copy() for name in outputs]


def compile_graph(graph: ExportedGraph, precision: str, threads: int) -> Any:
    """Compile a graph.

    Args:
        graph: An ONNX model.
        precision: ``f32`` or ``bf16``.
        threads: Threads of one inference; 0 is one per core.

    Raises:
        BackendError: OpenVINO refuses the graph, or it keeps data in another file.
    """
    # A graph that was kept is not parsed again.
    from adet_core.inference.onnx_graph import OnnxGraph

    if OnnxGraph(graph.onnx).has_external_data:
        # It would be read from wherever the graph says.
        raise BackendError('cannot load the graph: it keeps data in another file')
    try:
        model = _core().read_model(graph.onnx)
        return _core().compile_model(model, _DEVICE, _settings(precision, threads))
    except Exception as error:  # noqa: BLE001 - its error types are not importable
        raise BackendError(f'cannot load the graph: {first_line(error)}') from None


def _export(compiled: Any) -> bytes:
    data = compiled.export_model()
    # Which of the two depends on the version.
    return data if isinstance(data, bytes) else bytes(data.getvalue())


def _import(data: bytes, precision: str, threads: int) -> Any:
    try:
        return _core().import_model(data, _DEVICE, _settings(precision, threads))
    except Exception as error:  # noqa: BLE001 - its error types are not importable
        raise BackendError(f'cannot load the kept graph: {first_line(error)}') from None


def _settings(precision: str, threads: int) -> dict[str, Any]:
    return {
        'INFERENCE_PRECISION_HINT': precision,
        'PERFORMANCE_HINT': 'LATENCY',
        'NUM_STREAMS': 1,
        'INFERENCE_NUM_THREADS': threads,
        # Several detectors, each on the same cores, would stand in each other's way.
        'ENABLE_CPU_PINNING': False,
    }


@functools.cache
def _core() -> Any:
    return _library().Core()


@functools.cache
def _library() -> Any:
    """The module: like TensorRT, it is no dependency.

    Raises:
        BackendError: It is not installed.
    """
    try:
        return import_module('openvino')
    except ImportError as error:
        msg = f'OpenVINO is not installed ({error}); install it with: pip install openvino'
        raise BackendError(msg) from None
