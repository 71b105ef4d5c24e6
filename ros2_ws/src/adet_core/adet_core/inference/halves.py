# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Runs a graph in two halves, so that several sets of statistics share what an image decides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import hashlib
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import onnxruntime

from adet_core.bundle import Arrays, ExportedGraph
from adet_core.errors import BackendError
from adet_core.inference.backend import check_images
from adet_core.inference.graph_check import check_outputs
from adet_core.inference.onnxruntime import open_graph
from adet_core.inference.session import CUDA, first_line
from adet_core.inference.split_graph import GraphHalves, split_graph
from adet_core.inference.statistics_transform import GraphInputs, IMAGE_INPUT
from adet_core.inference.time_limit import time_limit
from adet_core.models.statistics_model import Statistics
from adet_core.prediction import Prediction


class Store(Protocol):
    """Keeps what the first half made of an image, by the image's content."""

    def get(self, key: bytes) -> bytes | None:
        """What was kept; None if it is not there any more."""

    def put(self, key: bytes, record: bytes) -> None:
        """Keep it, if there is room."""


def divide(
    exported: ExportedGraph, shape: tuple[int, int], *, threads: int
) -> SharedBackbone | None:
    """Load a graph in two halves.

    Args:
        exported: The graph.
        shape: Height and width of the images that it takes.
        threads: Threads of one run.

    Returns:
        None for a graph that cannot be divided, see `split_graph`.

    Raises:
        BackendError: ONNX Runtime refuses the graph.
    """
    try:
        halves = split_graph(exported.onnx)
    except Exception as error:  # noqa: BLE001 - onnx and protobuf have many error types
        raise BackendError(f'cannot load the graph: {first_line(error)}') from None
    return None if halves is None else SharedBackbone(exported, halves, shape, threads)


class SharedBackbone:
    """The two halves of a graph; any number of threads may run them at once.

    Attributes:
        graph_sha256: Of the first half.
        record_bytes: What the first half makes of an image, in bytes.
    """

    def __init__(
        self, exported: ExportedGraph, halves: GraphHalves, shape: tuple[int, int], threads: int
    ) -> None:
        """Load both halves; see `divide`."""
        self.graph_sha256 = hashlib.sha256(halves.first).hexdigest()
        self._first = open_graph(halves.first, threads)
        self._second = open_graph(halves.second, threads)
        self._inputs = GraphInputs(exported, threads=threads)
        self._shape = (*shape, 3)
        found = {one.name: one.shape[1:] for one in self._first.get_outputs()}
        self._between = {name: tuple(found[name]) for name in halves.between}
        self.record_bytes = 4 * sum(_length(one) for one in self._between.values())
        self._store: Store | None = None

    def use(self, store: Store) -> None:
        """Keep in a store what the first half makes of images, and take it from there."""
        self._store = store

    def bind(self, statistics: Sequence[Arrays]) -> list[BoundHalf]:
        """What predicts an image's inputs with statistics of a bundle.

        Args:
            statistics: As `adet_core.bundle.Bundle.input_statistics` gives them.

        Raises:
            BackendError: They do not fit the graph.
        """
        return [BoundHalf(self, self._inputs(one)) for one in statistics]

    def predict(self, bound: Mapping[str, Any], image: npt.NDArray[np.uint8]) -> Prediction:
        """Predict one image with statistics that `bind` made ready.

        Args:
            bound: Values of the second half's inputs.
            image: uint8 ``(H, W, 3)``.

        Raises:
            BackendError: As `adet_core.inference.backend.Backend.run`.
        """
        found = self._between_of(image)
        given = {
            name: onnxruntime.OrtValue.ortvalue_from_numpy(one)
            for name, one in zip(self._between, found, strict=True)
        }
        scores, maps = _run(self._second, ['score', 'anomaly_map'], {**bound, **given})
        check_outputs((scores, maps), ((1, 1), (1, 1, *self._shape[:2])))
        return Prediction(scores[:, 0], maps[:, 0])

    @property
    def device(self) -> str:
        """Where the statistics lie, as ONNX Runtime calls it."""
        return 'cuda' if self._second.get_providers()[0] == CUDA else 'cpu'

    def _between_of(self, image: npt.NDArray[np.uint8]) -> list[npt.NDArray[np.float32]]:
        """What the first half makes of one image, each ``(1, ...)``."""
        check_images(image[None], self._shape)
        pixels = np.ascontiguousarray(image)
        key = hashlib.sha256(pixels.data).digest() if self._store else b''
        record = self._store.get(key) if self._store else None
        if record is not None:
            return self._unpacked(record)
        value = onnxruntime.OrtValue.ortvalue_from_numpy(pixels[None])
        found = _run(self._first, list(self._between), {IMAGE_INPUT: value})
        check_outputs(found, [(1, *shape) for shape in self._between.values()])
        if self._store:
            self._store.put(key, b''.join(one.tobytes() for one in found))
        return found

    def _unpacked(self, record: bytes) -> list[npt.NDArray[np.float32]]:
        values, found, first = np.frombuffer(record, np.float32), [], 0
        for shape in self._between.values():
            length = _length(shape)
            found.append(values[first : first + length].reshape(1, *shape))
            first += length
        return found


class BoundHalf:
    """The second half with statistics, and before it the first.

    Attributes:
        arrays: What was made of the statistics, by the names of the graph's inputs.
    """

    def __init__(self, backbone: SharedBackbone, arrays: Statistics) -> None:
        self._backbone = backbone
        # On the CPU the values are these arrays' own memory.
        self.arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        self._bound = {
            name: onnxruntime.OrtValue.ortvalue_from_numpy(array, backbone.device)
            for name, array in self.arrays.items()
        }

    def __call__(self, images: npt.NDArray[np.uint8]) -> Prediction:
        """See `adet_core.geometry.Run`; images go through one by one."""
        return Prediction.concatenate(self._backbone.predict(self._bound, one) for one in images)


def _length(shape: Sequence[int]) -> int:
    return int(np.prod(shape))


def _run(
    session: onnxruntime.InferenceSession, names: list[str], values: dict[str, Any]
) -> list[Any]:
    try:
        with time_limit.limited() as options:
            return [one.numpy() for one in session.run_with_ort_values(names, values, options)]
    except BackendError:
        raise
    except Exception as error:  # noqa: BLE001 - its error types are not importable
        raise BackendError(f'inference failed: {first_line(error)}') from None
