# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""ONNX Runtime: the backend every machine has, and the reference for the others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

from adet_core.bundle import ExportedGraph
from adet_core.cores import CallersCore
from adet_core.errors import BackendError
from adet_core.inference.backend import BackendRequest
from adet_core.inference.graph_backend import GraphBackend
from adet_core.inference.kept import keep, Kept, load_kept
from adet_core.inference.kept_inputs import graph_inputs
from adet_core.inference.session import (
    core_of_caller,
    CUDA,
    first_line,
    has_cuda,
    open_cuda_session,
    open_session,
)
from adet_core.inference.statistics_transform import GraphInputs, IMAGE_INPUT
from adet_core.inference.time_limit import time_limit
from adet_core.models.statistics_model import Statistics

Rewrite = Callable[[bytes], bytes]
"""Makes an equivalent graph for a CPU."""

# Counts up when `winograd` writes other nodes.
_REWRITER = 1
_KEPT = 'tiled'


def open_onnxruntime(request: BackendRequest) -> OnnxRuntimeBackend:
    """See `adet_core.inference.backend.BackendFactory`."""
    return OnnxRuntimeBackend(
        request.graph,
        threads=request.threads,
        rewrite=lambda _: kept_rewrite(request),
        inputs=graph_inputs(request.bundle, request.graph, request.threads),
    )


def open_plain(request: BackendRequest) -> OnnxRuntimeBackend:
    """The graph as it was exported."""
    return OnnxRuntimeBackend(
        request.graph,
        threads=request.threads,
        rewrite=lambda graph: graph,
        inputs=graph_inputs(request.bundle, request.graph, request.threads),
    )


def kept_rewrite(request: BackendRequest) -> bytes:
    """The graph with convolutions in Winograd's form, rewritten once for a machine.

    Returns:
        The same bytes if there is nothing to rewrite.

    Raises:
        BackendError: It is no graph.
    """
    graph = request.graph.onnx
    identity = {'graph_sha256': request.graph.sha256, 'rewriter': _REWRITER}
    if kept := load_kept(request.bundle, _KEPT, identity):
        return kept.data or graph
    rewritten = _with_winograd(graph)
    try:
        keep(request.bundle, _KEPT, identity, Kept({}, b'' if rewritten is graph else rewritten))
    except BackendError:
        # It only takes a moment longer at each start.
        return rewritten
    return rewritten


class OnnxRuntimeBackend(GraphBackend):
    """Runs a graph with ONNX Runtime; its statistics stay on the device between images.

    Attributes:
        detail: Added to the name; empty, or begins with a comma.
    """

    def __init__(
        self,
        graph: ExportedGraph,
        *,
        threads: int = 0,
        rewrite: Rewrite | None = None,
        settings: Mapping[str, str] | None = None,
        inputs: GraphInputs | None = None,
    ) -> None:
        """Load the graph.

        Args:
            graph: See `adet_core.inference.graph_backend.GraphBackend`.
            threads: Threads of one inference; 0 is one per core.
            rewrite: What a CPU runs instead; None: convolutions are in Winograd's form.
            settings: Entries of the session's configuration on a CPU.
            inputs: Makes its inputs; None: made from the graph.

        Raises:
            BackendError: ONNX Runtime refuses the graph.
        """
        self._session, self.detail = _open(
            graph.onnx, threads, rewrite or _with_winograd, settings or {}
        )
        super().__init__(inputs or GraphInputs(graph, threads=threads), self._session)
        is_cuda = self._session.get_providers()[0] == CUDA
        self._core = CallersCore([]) if is_cuda else core_of_caller(threads)
        self._unbind()

    @property
    def name(self) -> str:
        """For people: the library and device."""
        provider = self._session.get_providers()[0].removesuffix('ExecutionProvider')
        return f'onnxruntime ({provider}{self.detail})'

    def _unbind(self) -> None:
        self._binding = self._session.io_binding()
        self._statistics: list[onnxruntime.OrtValue] = []

    def _bind(self, arrays: Statistics) -> None:
        device = 'cuda' if self._session.get_providers()[0] == CUDA else 'cpu'
        values = {
            name: onnxruntime.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array), device)
            for name, array in arrays.items()
        }
        for name, value in values.items():
            self._binding.bind_ortvalue_input(name, value)
        # On the CPU they are the arrays' own memory, which has to outlive the binding.
        self._statistics = list(values.values())

    def _infer(self, images: npt.NDArray[np.uint8], outputs: Sequence[str]) -> list[Any]:
        self._binding.bind_cpu_input(IMAGE_INPUT, images)
        for output in outputs:
            # Anew each time: a run fixes them to its own number of images.
            self._binding.bind_output(output)
        with time_limit.limited() as options, self._core.kept():
            self._session.run_with_iobinding(self._binding, options)
        arrays: list[Any] = self._binding.copy_outputs_to_cpu()
        return arrays


def _with_winograd(graph: bytes) -> bytes:
    # Commands that only parse their arguments import this module, and onnx takes its time.
    from adet_core.inference.winograd import use_winograd

    try:
        return use_winograd(graph)
    except Exception as error:  # noqa: BLE001 - onnx and protobuf have many error types
        raise BackendError(f'cannot load the graph: {first_line(error)}') from None


def open_graph(graph: bytes, threads: int) -> onnxruntime.InferenceSession:
    """A session of a graph, its convolutions in Winograd's form where that is quicker.

    Args:
        graph: An ONNX model.
        threads: Threads of one run; 0 is one per core.

    Raises:
        BackendError: ONNX Runtime refuses the graph.
    """
    return _open(graph, threads, _with_winograd, {})[0]


def _open(
    graph: bytes, threads: int, rewrite: Rewrite, settings: Mapping[str, str]
) -> tuple[onnxruntime.InferenceSession, str]:
    """A session on the GPU if that can be used, otherwise on the CPU, with the reason for it."""
    reason = ''
    if has_cuda():
        try:
            return open_cuda_session(graph, threads=threads), ''
        except BackendError as error:
            reason = f', {error}'
    # ONNX Runtime has no Winograd convolutions for the CPU, CUDA has its own.
    return open_session(rewrite(graph), threads=threads, settings=settings), reason
