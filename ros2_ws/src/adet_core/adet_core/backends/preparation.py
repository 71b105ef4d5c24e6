# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""What a bundle's statistics become before a graph takes them: done once, when they are bound."""

from __future__ import annotations

import base64
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import onnxruntime

from adet_core.backends import check_statistics, IMAGE_INPUT, PREPARATION_KEY
from adet_core.errors import BackendError

Statistics = Mapping[str, npt.NDArray[np.float32]]


class Preparation:
    """Makes a graph's inputs of statistics, by the graph that goes along with it if there is one.

    Attributes:
        shapes: Of the statistics it takes, by name; a dimension that is not an int is free.
    """

    def __init__(
        self, session: onnxruntime.InferenceSession, options: onnxruntime.SessionOptions
    ) -> None:
        """Load it, for the CPU: it is run once in a while.

        Args:
            session: The graph that is prepared for.
            options: What ONNX Runtime runs it with.

        Raises:
            BackendError: What goes along with the graph cannot be loaded.
        """
        self._session = None
        entries = session.get_inputs()
        text = session.get_modelmeta().custom_metadata_map.get(PREPARATION_KEY)
        if text is not None:
            try:
                graph = base64.b64decode(text, validate=True)
                self._session = onnxruntime.InferenceSession(
                    graph, options, providers=['CPUExecutionProvider']
                )
            except Exception as error:  # noqa: BLE001 - its error types are not importable
                msg = f'cannot load what prepares the statistics: {first_line(error)}'
                raise BackendError(msg) from None
            entries = self._session.get_inputs()
        self.shapes = {one.name: tuple(one.shape) for one in entries if one.name != IMAGE_INPUT}

    def __call__(self, statistics: Statistics) -> Statistics:
        """The graph's inputs, in float32.

        Raises:
            BackendError: The statistics do not fit, or cannot be prepared.
        """
        check_statistics(self.shapes, statistics)
        if self._session is None:
            return statistics
        names = [entry.name for entry in self._session.get_outputs()]
        try:
            return dict(zip(names, self._session.run(names, statistics), strict=True))
        except Exception as error:  # noqa: BLE001 - its error types are not importable
            raise BackendError(f'cannot prepare the statistics: {first_line(error)}') from None


def first_line(error: Exception) -> str:
    """What ONNX Runtime's errors begin with; more is for its developers."""
    return str(error).strip().splitlines()[0]
