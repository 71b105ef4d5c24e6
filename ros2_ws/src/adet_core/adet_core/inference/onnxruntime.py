# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""ONNX Runtime: the backend every machine has, and the reference for the others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
import copy
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

from adet_core.bundle import ExportedGraph
from adet_core.errors import BackendError
from adet_core.inference.backend import BackendRequest, check_images, IMAGE_INPUT
from adet_core.inference.graph_check import check_graph, check_outputs, takes_one_image
from adet_core.inference.session import CUDA, first_line, has_cuda, open_cuda_session, open_session
from adet_core.inference.statistics_transform import GraphInputs
from adet_core.inference.time_limit import time_limit
from adet_core.prediction import Prediction


def open_onnxruntime(request: BackendRequest) -> OnnxRuntimeBackend:
    """See `adet_core.inference.backend.BackendFactory`."""
    return OnnxRuntimeBackend(request.graph, threads=request.threads)


class OnnxRuntimeBackend:
    """Runs a graph with ONNX Runtime; its statistics stay on the device between images.

    Attributes:
        overlaps: See `adet_core.inference.backend.Backend.overlaps`.
    """

    overlaps = False

    def __init__(self, graph: ExportedGraph, *, threads: int = 0) -> None:
        """Load the graph.

        Args:
            graph: With inputs ``image`` (uint8 NHWC) and statistics, and outputs ``score``
                ``(N, 1)`` and ``anomaly_map`` ``(N, 1, H, W)``, or ``features``.
            threads: Threads of one inference; 0 is one per core.

        Raises:
            BackendError: ONNX Runtime refuses the graph.
        """
        self._session, self._reason = _open(graph.onnx, threads)
        self._image_shape = check_graph(self._session)
        self._one_by_one = takes_one_image(self._session)
        self._inputs = GraphInputs(graph, threads=threads)
        self._outputs = {entry.name for entry in self._session.get_outputs()}
        self._unbind()

    @property
    def name(self) -> str:
        """For people: the library and device."""
        provider = self._session.get_providers()[0].removesuffix('ExecutionProvider')
        return f'onnxruntime ({provider}{self._reason})'

    def fork(self) -> OnnxRuntimeBackend:
        """See `adet_core.inference.backend.Backend.fork`."""
        other = copy.copy(self)
        other._unbind()  # noqa: SLF001 - same class
        return other

    def _unbind(self) -> None:
        self._binding = self._session.io_binding()
        self._statistics: list[onnxruntime.OrtValue] = []
        self._bound = not self._inputs.shapes

    def bind(self, statistics: Mapping[str, npt.NDArray[np.float32]]) -> None:
        """See `adet_core.inference.backend.Backend.bind`."""
        arrays = self._inputs(statistics)
        device = 'cuda' if self._session.get_providers()[0] == CUDA else 'cpu'
        values = {
            name: onnxruntime.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array), device)
            for name, array in arrays.items()
        }
        for name, value in values.items():
            self._binding.bind_ortvalue_input(name, value)
        # On the CPU they are the arrays' own memory, which has to outlive the binding.
        self._statistics = list(values.values())
        self._bound = True

    def run(self, images: npt.NDArray[np.uint8]) -> Prediction:
        """See `adet_core.inference.backend.Backend.run`."""
        scores, maps = self._run(images, ('score', 'anomaly_map'))
        count = len(images)
        check_outputs((scores, maps), ((count, 1), (count, 1, *self._image_shape[:2])))
        return Prediction(scores[:, 0], maps[:, 0])

    def start(self, images: npt.NDArray[np.uint8]) -> Callable[[], Prediction]:
        """See `adet_core.inference.backend.Backend.start`; the prediction is made at once."""
        prediction = self.run(images)
        return lambda: prediction

    def features(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """See `adet_core.inference.backend.Backend.features`."""
        features: npt.NDArray[np.float32] = self._run(images, ('features',))[0]
        return features

    def _run(self, images: npt.NDArray[np.uint8], outputs: Sequence[str]) -> list[Any]:
        if not self._bound:
            msg = f'the graph needs the statistics {sorted(self._inputs.shapes)}: bind them'
            raise BackendError(msg)
        if missing := set(outputs) - self._outputs:
            msg = f'the graph has no output {sorted(missing)[0]!r}; export the bundle again'
            raise BackendError(msg)
        check_images(images, self._image_shape)
        if self._one_by_one and len(images) > 1:
            parts = [self._run(image[None], outputs) for image in images]
            return [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]
        contiguous = np.ascontiguousarray(images)
        try:
            self._binding.bind_cpu_input(IMAGE_INPUT, contiguous)
            for output in outputs:
                # Anew each time: a run fixes them to its own number of images.
                self._binding.bind_output(output)
            with time_limit.limited() as options:
                self._session.run_with_iobinding(self._binding, options)
            arrays: list[Any] = self._binding.copy_outputs_to_cpu()
        except BackendError:
            raise
        except Exception as error:  # noqa: BLE001 - its error types are not importable
            raise BackendError(f'inference failed: {first_line(error)}') from None
        return arrays


def _with_winograd(graph: bytes) -> bytes:
    # Commands that only parse their arguments import this module, and onnx takes its time.
    from adet_core.inference.winograd import use_winograd

    try:
        return use_winograd(graph)
    except Exception as error:  # noqa: BLE001 - onnx and protobuf have many error types
        raise BackendError(f'cannot load the graph: {first_line(error)}') from None


def _open(graph: bytes, threads: int) -> tuple[onnxruntime.InferenceSession, str]:
    """A session on the GPU if that can be used, otherwise on the CPU, with the reason for it."""
    reason = ''
    if has_cuda():
        try:
            return open_cuda_session(graph, threads=threads), ''
        except BackendError as error:
            reason = f', {error}'
    # ONNX Runtime has no Winograd convolutions for the CPU, CUDA has its own.
    return open_session(_with_winograd(graph), threads=threads), reason
