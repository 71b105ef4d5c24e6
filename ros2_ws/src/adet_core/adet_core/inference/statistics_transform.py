# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""What a bundle's statistics become before a graph takes them: done once, when they are bound."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

from adet_core.errors import BackendError
from adet_core.inference.backend import check_statistics, IMAGE_INPUT, STATISTICS_TRANSFORM_KEY
from adet_core.models.levels import Levels, LEVELS_KEY

ERRORS_ONLY = 3
"""What ONNX Runtime is allowed to say."""

Statistics = Mapping[str, npt.NDArray[np.float32]]


class StatisticsTransform:
    """Makes a graph's inputs of statistics, as the metadata of the graph says.

    Attributes:
        shapes: Of the statistics it takes, by name; a dimension that is not an int is free.
    """

    shapes: Mapping[str, tuple[Any, ...]]

    def __init__(self, session: onnxruntime.InferenceSession, *, threads: int = 0) -> None:
        """Load what is needed, for the CPU: it is run once in a while.

        Args:
            session: The graph that is prepared for.
            threads: That ONNX Runtime runs it with; 0 is one per core.

        Raises:
            BackendError: What goes along with the graph cannot be loaded.
        """
        metadata = session.get_modelmeta().custom_metadata_map
        self._prepare: Callable[[Statistics], Statistics] = lambda statistics: statistics
        try:
            if (text := metadata.get(LEVELS_KEY)) is not None:
                levels = Levels.from_json(text)
                self.shapes = levels.shapes
                self._prepare = lambda statistics: levels.preprocess(**statistics)
                return
            if (text := metadata.get(STATISTICS_TRANSFORM_KEY)) is not None:
                session = _open(base64.b64decode(text, validate=True), threads)
                names = [entry.name for entry in session.get_outputs()]
                self._prepare = lambda statistics: dict(
                    zip(names, session.run(names, statistics), strict=True)
                )
        except Exception as error:  # noqa: BLE001 - ONNX Runtime's types are not importable
            msg = f'cannot load what prepares the statistics: {first_line(error)}'
            raise BackendError(msg) from None
        entries = session.get_inputs()
        self.shapes = {one.name: tuple(one.shape) for one in entries if one.name != IMAGE_INPUT}

    def __call__(self, statistics: Statistics) -> Statistics:
        """The graph's inputs, in float32.

        Raises:
            BackendError: The statistics do not fit, or cannot be prepared.
        """
        check_statistics(self.shapes, statistics)
        try:
            return self._prepare(statistics)
        except BackendError:
            raise
        except Exception as error:  # noqa: BLE001 - ONNX Runtime's types are not importable
            raise BackendError(f'cannot prepare the statistics: {first_line(error)}') from None


def _open(graph: bytes, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = ERRORS_ONLY
    # It would keep what was needed once, which can be several times the statistics.
    options.enable_cpu_mem_arena = False
    return onnxruntime.InferenceSession(graph, options, providers=['CPUExecutionProvider'])


def first_line(error: Exception) -> str:
    """What ONNX Runtime's errors begin with; more is for its developers."""
    # Some say nothing, e.g. a lack of memory.
    return (str(error).strip() or type(error).__name__).splitlines()[0]
