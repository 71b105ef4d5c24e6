# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""From a bundle's statistics to the inputs of its graph, the same way for every backend."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Protocol

import numpy as np

from adet_core.bundle import ExportedGraph, TransformRecord
from adet_core.errors import BackendError
from adet_core.inference.old_transforms import old_transform
from adet_core.models.statistics_model import Floats, Statistics, StatisticsTransform
from adet_core.models.transforms import TRANSFORMS

IMAGE_INPUT = 'image'


class GraphReading(Protocol):
    """What is known of a graph without running it; see `adet_core.inference.onnx_graph`."""

    @property
    def shapes(self) -> Mapping[str, tuple[int | None, ...]]:
        """Shape of each input by name; None is a free length."""

    @property
    def metadata(self) -> Mapping[str, str]:
        """What its exporter added."""

    def constant(self, name: str) -> Floats:
        """A float32 initializer; raises BackendError if there is none of that name."""


def read_graph(onnx: bytes) -> GraphReading:
    """Read an ONNX model.

    Raises:
        BackendError: It is none.
    """
    # It takes its time, and memory, which who knows the graph already does without.
    from adet_core.inference.onnx_graph import OnnxGraph

    return OnnxGraph(onnx)


class GraphInputs:
    """Makes a graph's inputs from a bundle's statistics, once, when they are bound.

    Attributes:
        shapes: Shape of each of the statistics by name; None is a free length.
        graph_shapes: Shape of each of the graph's inputs, the image among them.
        transforms: Whether the inputs are something else than the statistics.
        identity: Graph and transform, as JSON has it.
    """

    def __init__(
        self, exported: ExportedGraph, *, threads: int = 0, known: GraphReading | None = None
    ) -> None:
        """Load the transform of a graph.

        Args:
            exported: The graph and the record of its transform.
            threads: Threads of the transform of an older export; 0 is one per core.
            known: What was read from the graph before; None: it is read.

        Raises:
            BackendError: The graph or its transform cannot be loaded.
        """
        graph = known or read_graph(exported.onnx)
        self.graph_shapes = graph.shapes
        self._transform: StatisticsTransform | None
        if exported.transform is not None:
            self._transform = _load(exported.transform, graph)
        else:
            self._transform = old_transform(graph.metadata, threads)
        self.transforms = self._transform is not None
        record = exported.transform
        self.identity = {
            'graph_sha256': exported.sha256,
            'transform': None if record is None else asdict(record),
        }
        self.shapes: Mapping[str, tuple[int | None, ...]] = (
            {name: shape for name, shape in graph.shapes.items() if name != IMAGE_INPUT}
            if self._transform is None
            else self._transform.shapes
        )

    def __call__(self, statistics: Statistics) -> Statistics:
        """Make the graph's inputs, float32, by name.

        Raises:
            BackendError: The statistics do not fit, or cannot be transformed.
        """
        check_statistics(self.shapes, statistics)
        if self._transform is None:
            return statistics
        try:
            made = self._transform(statistics)
        except (ValueError, np.linalg.LinAlgError) as error:
            raise BackendError(f'cannot transform the statistics: {error}') from None
        for name, array in made.items():
            if not isinstance(array, np.ndarray) or array.dtype != np.float32:
                msg = f'the transform of the statistics gives {name!r} as something else than'
                raise BackendError(f'{msg} float32; export the bundle again')
        return made


def check_statistics(expected: Mapping[str, tuple[Any, ...]], given: Mapping[str, Any]) -> None:
    """Check names, shapes and types of statistics against a graph's inputs.

    Args:
        expected: Input name to shape; a dimension that is not an int may have any length.
        given: Arrays by name.

    Raises:
        BackendError: Something is missing, too much, of another shape or not float32.
    """
    if sorted(expected) != sorted(given):
        msg = f'the graph takes the statistics {sorted(expected)}, the bundle has {sorted(given)}'
        raise BackendError(msg)
    for name, shape in expected.items():
        if given[name].dtype != np.float32:
            msg = f'statistics {name!r} are {given[name].dtype}, the graph takes float32'
            raise BackendError(msg)
        actual = given[name].shape
        fits = len(actual) == len(shape) and all(
            not isinstance(want, int) or want == have
            for want, have in zip(shape, actual, strict=True)
        )
        if not fits:
            msg = f'statistics {name!r} have shape {actual}, the graph takes {tuple(shape)}'
            raise BackendError(f'{msg}; export the bundle again')


def _load(record: TransformRecord, graph: GraphReading) -> StatisticsTransform:
    where = f'statistics_transform of model.json: {record.name!r:.60}'
    if record.name not in TRANSFORMS:
        msg = f'{where} is unknown, known: {", ".join(TRANSFORMS)}; upgrade adet'
        raise BackendError(msg)
    constants = {key: graph.constant(name) for key, name in record.constants.items()}
    try:
        return TRANSFORMS[record.name].load(record.parameters, constants)
    except ValueError as error:
        raise BackendError(f'{where}: {error}; export the bundle again') from None
