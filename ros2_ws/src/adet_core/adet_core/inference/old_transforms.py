# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Statistics transforms of older exports: the metadata of the graph holds them.

Such a graph has either the key ``adet_levels``, with the grids of `GaussianLevels` as JSON, or
``adet_preparation``, with the transform as an ONNX model in base64.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
import json

from adet_core.errors import BackendError
from adet_core.inference.session import first_line, open_session
from adet_core.inference.time_limit import time_limit
from adet_core.models.gaussian_levels import GaussianLevels
from adet_core.models.statistics_model import Floats, Statistics, StatisticsTransform

LEVELS_KEY = 'adet_levels'
GRAPH_KEY = 'adet_preparation'


def old_transform(metadata: Mapping[str, str], threads: int) -> StatisticsTransform | None:
    """The transform that the metadata of a graph holds; None if it holds none.

    Args:
        metadata: Of the graph.
        threads: Of ONNX Runtime; 0 is one per core.

    Raises:
        BackendError: The metadata is damaged.
    """
    key = next((key for key in (LEVELS_KEY, GRAPH_KEY) if key in metadata), None)
    if key is None:
        return None
    try:
        if key == LEVELS_KEY:
            rows, columns, *levels = json.loads(metadata[key])
            return GaussianLevels.load({'size': (rows, columns), 'levels': levels}, {})
        return GraphTransform(base64.b64decode(metadata[key], validate=True), threads)
    except (BackendError, RecursionError, TypeError, ValueError) as error:
        msg = f'metadata {key} of the graph: {first_line(error)}; export the bundle again'
        raise BackendError(msg) from None


class GraphTransform(StatisticsTransform):
    """A transform that is an ONNX model of its own."""

    def __init__(self, graph: bytes, threads: int) -> None:
        """Load it, for the CPU: it is run once in a while.

        Raises:
            BackendError: It is no graph.
        """
        # The memory that it needed once can be several times the statistics.
        self._session = open_session(graph, threads=threads, keep_memory=False)

    @property
    def shapes(self) -> dict[str, tuple[int | None, ...]]:
        """See `StatisticsTransform.shapes`."""
        return {
            entry.name: tuple(
                length if isinstance(length, int) else None for length in entry.shape
            )
            for entry in self._session.get_inputs()
        }

    def __call__(self, statistics: Statistics) -> dict[str, Floats]:
        """See `StatisticsTransform.__call__`."""
        names = [entry.name for entry in self._session.get_outputs()]
        try:
            with time_limit.limited() as options:
                arrays = self._session.run(names, dict(statistics), options)
        except Exception as error:  # noqa: BLE001 - its error types are not importable
            raise ValueError(first_line(error)) from None
        return dict(zip(names, arrays, strict=True))
