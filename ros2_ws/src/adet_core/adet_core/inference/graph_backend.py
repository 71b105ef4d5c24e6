# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""What backends on a processor have in common: which images they take, and what they give."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
import copy
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from adet_core.errors import BackendError
from adet_core.inference.backend import check_images
from adet_core.inference.graph_check import (
    check_graph,
    check_outputs,
    LoadedGraph,
    takes_one_image,
)
from adet_core.inference.session import first_line
from adet_core.inference.statistics_transform import GraphInputs
from adet_core.models.statistics_model import Statistics
from adet_core.prediction import Prediction

_Own = TypeVar('_Own', bound='GraphBackend')


class GraphBackend(ABC):
    """Runs a loaded graph at once.

    Attributes:
        overlaps: See `adet_core.inference.backend.Backend.overlaps`.
        inputs: See `adet_core.inference.backend.Backend.inputs`.
    """

    overlaps = False

    def __init__(self, inputs: GraphInputs, loaded: LoadedGraph) -> None:
        """Check a graph that was loaded.

        Args:
            inputs: Makes its inputs.
            loaded: With inputs ``image`` (uint8 NHWC) and statistics, and outputs ``score``
                ``(N, 1)`` and ``anomaly_map`` ``(N, 1, H, W)``, or ``features``.

        Raises:
            BackendError: It is not such a graph.
        """
        self._image_shape = check_graph(loaded)
        self._one_by_one = takes_one_image(loaded)
        self.inputs = inputs
        self._outputs = [entry.name for entry in loaded.get_outputs()]
        self._bound = not self.inputs.shapes

    def fork(self: _Own) -> _Own:
        """See `adet_core.inference.backend.Backend.fork`."""
        other = copy.copy(self)
        other._bound = not self.inputs.shapes  # noqa: SLF001 - same class
        other._unbind()  # noqa: SLF001 - same class
        return other

    def bind(self, statistics: Mapping[str, npt.NDArray[np.float32]]) -> None:
        """See `adet_core.inference.backend.Backend.bind`."""
        self.bind_inputs(self.inputs(statistics))

    def bind_inputs(self, arrays: Statistics) -> None:
        """See `adet_core.inference.backend.Backend.bind_inputs`."""
        self._bind(arrays)
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
            msg = f'the graph needs the statistics {sorted(self.inputs.shapes)}: bind them'
            raise BackendError(msg)
        if missing := set(outputs) - set(self._outputs):
            msg = f'the graph has no output {sorted(missing)[0]!r}; export the bundle again'
            raise BackendError(msg)
        check_images(images, self._image_shape)
        if self._one_by_one and len(images) > 1:
            parts = [self._run(image[None], outputs) for image in images]
            return [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]
        try:
            return self._infer(np.ascontiguousarray(images), outputs)
        except BackendError:
            raise
        except Exception as error:  # noqa: BLE001 - the libraries' error types are their own
            raise BackendError(f'inference failed: {first_line(error)}') from None

    @abstractmethod
    def _unbind(self) -> None:
        """Have no statistics, and nothing of what another thread uses."""

    @abstractmethod
    def _bind(self, arrays: Statistics) -> None:
        """Use these inputs of the graph from the next run on."""

    @abstractmethod
    def _infer(self, images: npt.NDArray[np.uint8], outputs: Sequence[str]) -> list[Any]:
        """Run; returns arrays of the caller's own, in the order of the outputs."""
