# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""ONNX Runtime: the backend every machine has, and the reference for the others."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
import copy
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

from adet_core.backends import Answer, check_statistics, PREPARATION_KEY
from adet_core.errors import BackendError

IMAGE_INPUT = 'image'
_ERRORS_ONLY = 3


class OnnxRuntimeBackend:
    """Runs a graph with ONNX Runtime; its statistics stay on the device between pictures."""

    def __init__(self, graph: bytes, *, threads: int = 0) -> None:
        """Load the graph.

        Args:
            graph: An ONNX model with inputs ``image`` (uint8 NHWC) and statistics, and outputs
                ``score`` ``(N, 1)`` and ``anomaly_map`` ``(N, 1, H, W)``, or ``features``.
            threads: Threads of one inference; 0 is one per core.

        Raises:
            BackendError: ONNX Runtime refuses the graph.
        """
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = _ERRORS_ONLY
        # Between pictures waiting threads would otherwise spin on cores that others need.
        options.add_session_config_entry('session.force_spinning_stop', '1')
        try:
            self._session = onnxruntime.InferenceSession(graph, options, providers=_providers())
        except Exception as error:  # noqa: BLE001 - its error types are not importable
            raise BackendError(f'cannot load the graph: {_first_line(error)}') from None
        shapes = {entry.name: tuple(entry.shape) for entry in self._session.get_inputs()}
        if IMAGE_INPUT not in shapes:
            msg = f'the graph has no input {IMAGE_INPUT!r}; it was not exported by adet'
            raise BackendError(msg)
        self._image_shape = shapes.pop(IMAGE_INPUT)
        self._preparation = _preparation(self._session, options)
        if self._preparation is not None:
            inputs = self._preparation.get_inputs()
            shapes = {entry.name: tuple(entry.shape) for entry in inputs}
        self._statistics_shapes = shapes
        self._outputs = {entry.name for entry in self._session.get_outputs()}
        self._unbind()

    @property
    def name(self) -> str:
        """For people: the library and device."""
        provider = self._session.get_providers()[0].removesuffix('ExecutionProvider')
        return f'onnxruntime ({provider})'

    def fork(self) -> OnnxRuntimeBackend:
        """See `adet_core.backends.Backend.fork`."""
        other = copy.copy(self)
        other._unbind()  # noqa: SLF001 - same class
        return other

    def _unbind(self) -> None:
        self._binding = self._session.io_binding()
        self._statistics: list[onnxruntime.OrtValue] = []
        self._bound = not self._statistics_shapes

    def bind(self, statistics: Mapping[str, npt.NDArray[np.float32]]) -> None:
        """See `adet_core.backends.Backend.bind`."""
        check_statistics(self._statistics_shapes, statistics)
        arrays = self._prepared(statistics)
        device = 'cuda' if 'CUDA' in self.name else 'cpu'
        values = {
            name: onnxruntime.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array), device)
            for name, array in arrays.items()
        }
        for name, value in values.items():
            self._binding.bind_ortvalue_input(name, value)
        # On the CPU they are the arrays' own memory, which has to outlive the binding.
        self._statistics = list(values.values())
        self._bound = True

    def _prepared(
        self, statistics: Mapping[str, npt.NDArray[np.float32]]
    ) -> Mapping[str, npt.NDArray[np.float32]]:
        if self._preparation is None:
            return statistics
        names = [entry.name for entry in self._preparation.get_outputs()]
        try:
            return dict(zip(names, self._preparation.run(names, statistics), strict=True))
        except Exception as error:  # noqa: BLE001 - its error types are not importable
            raise BackendError(f'cannot prepare the statistics: {_first_line(error)}') from None

    def run(self, images: npt.NDArray[np.uint8]) -> Answer:
        """See `adet_core.backends.Backend.run`."""
        scores, maps = self._run(images, ('score', 'anomaly_map'))
        if scores.ndim != 2 or maps.ndim != 4:
            msg = f'inference failed: outputs of shapes {scores.shape} and {maps.shape}'
            raise BackendError(f'{msg}, expected (N, 1) and (N, 1, H, W)')
        return Answer(scores[:, 0], maps[:, 0])

    def features(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """See `adet_core.backends.Backend.features`."""
        features: npt.NDArray[np.float32] = self._run(images, ('features',))[0]
        return features

    def _run(self, images: npt.NDArray[np.uint8], outputs: Sequence[str]) -> list[Any]:
        if not self._bound:
            msg = f'the graph needs the statistics {sorted(self._statistics_shapes)}: bind them'
            raise BackendError(msg)
        if missing := set(outputs) - self._outputs:
            msg = f'the graph has no output {sorted(missing)[0]!r}; export the bundle again'
            raise BackendError(msg)
        if images.dtype != np.uint8 or images.shape[1:] != tuple(self._image_shape[1:]):
            expected = 'x'.join(str(length) for length in self._image_shape[1:])
            msg = (
                f'the graph takes uint8 pictures of {expected}, got {images.dtype} {images.shape}'
            )
            raise BackendError(msg)
        contiguous = np.ascontiguousarray(images)
        try:
            self._binding.bind_cpu_input(IMAGE_INPUT, contiguous)
            for output in outputs:
                # Anew each time: a run fixes them to its own number of pictures.
                self._binding.bind_output(output)
            self._session.run_with_iobinding(self._binding)
            answers: list[Any] = self._binding.copy_outputs_to_cpu()
        except Exception as error:  # noqa: BLE001 - its error types are not importable
            raise BackendError(f'inference failed: {_first_line(error)}') from None
        return answers


def _preparation(
    session: onnxruntime.InferenceSession, options: onnxruntime.SessionOptions
) -> onnxruntime.InferenceSession | None:
    """The graph that goes along with another one, for the CPU; it is run once in a while."""
    text = session.get_modelmeta().custom_metadata_map.get(PREPARATION_KEY)
    if text is None:
        return None
    try:
        graph = base64.b64decode(text, validate=True)
        return onnxruntime.InferenceSession(graph, options, providers=['CPUExecutionProvider'])
    except Exception as error:  # noqa: BLE001 - as above
        msg = f'cannot load what prepares the statistics: {_first_line(error)}'
        raise BackendError(msg) from None


def _providers() -> list[str]:
    available = onnxruntime.get_available_providers()
    return [
        name for name in ('CUDAExecutionProvider', 'CPUExecutionProvider') if name in available
    ]


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
