# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The graph in service with old and new statistics, its backbone run once for each image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import NamedTuple

import onnxruntime

from adet_core.bundle import (
    Arrays,
    Bundle,
    keep_scores,
    open_feature_cache,
    read_engine,
    read_scores,
)
from adet_core.cores import usable_cores
from adet_core.errors import BackendError
from adet_core.geometry import Runs
from adet_core.inference.backend import Backend, bind_inputs
from adet_core.inference.halves import divide
from adet_core.inference.machine import seal
from adet_core.inference.onnxruntime import OnnxRuntimeBackend
from adet_core.retraining.questions import Known

# Images that go through the graph at once, each by threads of its own: memory stays bounded.
_AT_ONCE = 4


class BoundGraph(NamedTuple):
    """The graph with a set of statistics.

    Attributes:
        runs: Predict the inputs of an image.
        whole: Makes a backend of the whole graph with the statistics of the first input.
    """

    runs: Runs
    whole: Callable[[], Backend]


class GateGraph:
    """Inspects the same images with several sets of statistics.

    A graph that can be divided where the statistics enter keeps what its backbone made of an
    image, see `adet_core.bundle.gate_cache`: for the next set, and for the next retraining.

    Attributes:
        at_once: Threads that may inspect images at the same time.
    """

    def __init__(self, bundle: Bundle, *, threads: int) -> None:
        """Load the graph.

        Args:
            bundle: As it is in service.
            threads: Of the computation; 0: one per core.

        Raises:
            BackendError: ONNX Runtime refuses the graph.
            BundleError: It is missing or damaged.
        """
        self._bundle, self._threads = bundle, threads
        self._graph = read_engine(bundle)
        cores = threads or usable_cores()
        self.at_once = min(cores, _AT_ONCE)
        image = bundle.manifest.image
        self._backbone = divide(
            self._graph, (image.height, image.width), threads=cores // self.at_once
        )
        if self._backbone is None:
            self.at_once = 1
        self._stack = ExitStack()

    def __enter__(self) -> GateGraph:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def remember(self) -> None:
        """Keep what the backbone makes of images, beside the engine where that can be written.

        Raises:
            OSError: Not even a temporary file can be.
        """
        if self._backbone is not None:
            key = _secret(f'features of {self._backbone.graph_sha256}')
            cache = open_feature_cache(self._bundle, key, self._backbone.record_bytes)
            self._backbone.use(self._stack.enter_context(cache))

    def bind(self, statistics: Sequence[Arrays]) -> BoundGraph:
        """The graph with a set of statistics, beside others.

        Args:
            statistics: As `adet_core.bundle.Bundle.input_statistics` gives them.

        Raises:
            BackendError: They do not fit the graph.
        """
        if self._backbone is None:
            backend = self._load()
            return BoundGraph(bind_inputs(backend, statistics), lambda: backend)
        halves = self._backbone.bind(statistics)

        def whole() -> Backend:
            backend = self._load()
            backend.bind_inputs(halves[0].arrays)
            return backend

        return BoundGraph(halves if len(halves) > 1 else halves[0], whole)

    def known_scores(self, bundle: Bundle) -> Known:
        """What a set said of images before, by this graph and on this machine.

        Args:
            bundle: With the set in service.
        """
        return read_scores(bundle, self._scores_key(bundle))

    def keep_scores(self, bundle: Bundle, scores: Known) -> None:
        """Keep what a set says of images, in the place of what another one said."""
        if key := self._scores_key(bundle):
            keep_scores(bundle, key, scores)

    def _scores_key(self, bundle: Bundle) -> bytes:
        return _secret(f'scores of {bundle.bundle_id} by {self._graph.sha256}')

    def _load(self) -> OnnxRuntimeBackend:
        return OnnxRuntimeBackend(self._graph, threads=self._threads)


def _secret(what: str) -> bytes:
    """A key of this machine for one purpose; empty where it has none."""
    try:
        return bytes.fromhex(seal(f'{what} with onnxruntime {onnxruntime.__version__}'))
    except BackendError:
        return b''
