# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Backends run the exported graph of a bundle, and the registry opens them by name.

A backend computes nothing outside of the graph but the statistics transform, once per binding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, cast, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from adet_core.bundle import Arrays, Bundle, ExportedGraph
from adet_core.errors import BackendError, ConfigError
from adet_core.geometry import Run, Runs
from adet_core.inference.kept_inputs import bundle_inputs
from adet_core.inference.statistics_transform import GraphInputs
from adet_core.inference.trial import try_golden_images
from adet_core.models.statistics_model import Statistics
from adet_core.prediction import Prediction
from adet_core.progress import ProgressCallback, silent


class Backend(Protocol):
    """Runs one graph; used from one thread at a time."""

    @property
    def name(self) -> str:
        """For people: the library and device, e.g. ``onnxruntime (CPU)``."""

    @property
    def overlaps(self) -> bool:
        """Whether the processor is free between `start` and the prediction."""

    @property
    def inputs(self) -> GraphInputs:
        """Makes the graph's inputs from a bundle's statistics."""

    def bind(self, statistics: Mapping[str, npt.NDArray[np.float32]]) -> None:
        """Use these statistics of a bundle from the next `run` on.

        Args:
            statistics: Float32 arrays by name, as the bundle stores them.

        Raises:
            BackendError: A name, shape or type is not what the graph takes.
        """

    def bind_inputs(self, arrays: Statistics) -> None:
        """Use what `inputs` made of statistics from the next `run` on.

        Args:
            arrays: Float32, by the names of the graph's inputs. They must not change.

        Raises:
            BackendError: An engine was built for other lengths.
        """

    def run(self, images: npt.NDArray[np.uint8]) -> Prediction:
        """Predict raw scores and anomaly maps.

        Args:
            images: uint8 ``(N, H, W, 3)``, RGB, of the graph's size.

        Raises:
            BackendError: The images do not fit, or the library fails.
        """

    def start(self, images: npt.NDArray[np.uint8]) -> Callable[[], Prediction]:
        """Begin to predict raw scores and anomaly maps.

        Args:
            images: As for `run`; they may change afterwards.

        Returns:
            Waits for the prediction. Others may be started before.

        Raises:
            BackendError: As `run`; what is returned raises it, too.
        """

    def features(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Run a graph whose output is features instead of a score and a map.

        Args:
            images: As for `run`.

        Returns:
            float32 ``(N, ...)``.

        Raises:
            BackendError: The images do not fit, or it is not such a graph.
        """

    def fork(self) -> Backend:
        """Share the loaded graph with a second backend that has no statistics yet.

        One thread may run the fork while another runs the original.

        Raises:
            BackendError: Memory is short.
        """


@dataclass(frozen=True, kw_only=True)
class BackendRequest:
    """What a backend may need to run the graph of a bundle.

    Attributes:
        bundle: As it is in service.
        graph: Its verified graph.
        threads: Threads of one inference; 0 leaves it to the library (one per core).
        build: Whether an engine may be built, which takes minutes on a small board, and backends
            be measured, which takes seconds.
        prefer: What ``auto`` takes on a CPU without measuring; empty: nothing.
        progress: Told the progress of a build.
    """

    bundle: Bundle
    graph: ExportedGraph
    threads: int = 0
    build: bool = True
    prefer: str = ''
    progress: ProgressCallback = silent


class OpenedBackend(NamedTuple):
    """A backend that runs the graph of a bundle.

    Attributes:
        backend: With the bundle's statistics bound; it has run once.
        reason: Why ``auto`` took this one; empty if there is nothing to say.
        choice: Its name in `BACKENDS`.
    """

    backend: Backend
    reason: str
    choice: str


BackendFactory = Callable[[BackendRequest], Backend]
"""Opens a backend; raises BackendError where it cannot be used."""

# A factory is imported when it is needed, so a machine needs only the libraries that it uses.
BACKENDS: Mapping[str, str] = {
    'tensorrt': 'adet_core.inference.tensorrt:open_tensorrt',
    'onnxruntime': 'adet_core.inference.onnxruntime:open_onnxruntime',
    'onnxruntime_plain': 'adet_core.inference.onnxruntime:open_plain',
    'onnxruntime_bf16': 'adet_core.inference.onnxruntime_bf16:open_onnxruntime_bf16',
    'openvino': 'adet_core.inference.openvino:open_openvino',
    'openvino_bf16': 'adet_core.inference.openvino:open_openvino_bf16',
}
MEASURED = ('onnxruntime', 'onnxruntime_plain', 'onnxruntime_bf16', 'openvino', 'openvino_bf16')
"""Those that ``auto`` chooses from by measurement, if none of the others works; the default first.
"""


def measured() -> list[str]:
    """Those of `MEASURED` that there are."""
    return [name for name in MEASURED if name in BACKENDS]


_QUICKEST = 'adet_core.inference.choice:open_quickest'


def open_backend(name: str, request: BackendRequest) -> OpenedBackend:
    """Open a backend for the graph of a bundle.

    Args:
        name: A key of `BACKENDS`, or ``auto``: the first that works of those that are not
            `MEASURED`, else the quickest.
        request: What is to be run.

    Raises:
        BackendError: None of them can be used; says why.
        BundleError: A file of the bundle is missing or damaged.
        ConfigError: There is no backend of that name.
    """
    if name != 'auto' and name not in BACKENDS:
        msg = f'unknown backend {name!r}; known: auto, {", ".join(BACKENDS)}'
        raise ConfigError(msg)
    if name != 'auto':
        return OpenedBackend(open_ready(name, request), '', name)
    reasons: list[str] = []
    for candidate in BACKENDS:
        if candidate in MEASURED:
            continue
        try:
            backend = open_ready(candidate, request)
        except BackendError as error:
            reasons.append(f'not {candidate}: {error}')
        else:
            return OpenedBackend(backend, '; '.join(reasons), candidate)
    try:
        opened = cast('OpenedBackend', _load(_QUICKEST)(request))
    except BackendError as error:
        raise BackendError('; '.join([str(error), *reasons])) from None
    told = [*reasons, opened.reason] if opened.reason else reasons
    return opened._replace(reason='; '.join(told))


def open_ready(name: str, request: BackendRequest) -> Backend:
    """Open a backend by its name, bind the bundle's statistics and try golden images.

    Raises:
        BackendError: It cannot be used.
        BundleError: A file of the bundle is missing or damaged.
    """
    try:
        factory = cast('BackendFactory', _load(BACKENDS[name]))
    except ImportError as error:
        library = name.partition('_')[0]
        msg = f'{library} cannot be imported ({error}); install it with: pip install {library}'
        raise BackendError(msg) from None
    backend = factory(request)
    make_ready(backend, request.bundle, may_keep=request.build)
    return backend


def make_ready(backend: Backend, bundle: Bundle, *, may_keep: bool = False) -> None:
    """Bind a bundle's statistics and try golden images, so that the first image is not slow.

    Args:
        backend: With the bundle's graph.
        bundle: As it goes into service.
        may_keep: See `adet_core.inference.kept_inputs.bundle_inputs`.

    Raises:
        BackendError: The statistics do not fit the graph, or it fails the trial.
        BundleError: The statistics or the golden images are missing or damaged.
    """
    first = bundle_inputs(bundle, backend.inputs, wanted=slice(1), may_keep=may_keep)
    backend.bind_inputs(*first)
    try_golden_images(backend.run, bundle)


def bind_inputs(backend: Backend, statistics: Sequence[Arrays]) -> Runs:
    """Bind the statistics of a bundle, those of each input of an image to a fork of the backend.

    Args:
        backend: The first ones are bound to it.
        statistics: As `adet_core.bundle.Bundle.input_statistics` gives them.

    Returns:
        What predicts the inputs of an image.

    Raises:
        BackendError: They do not fit the graph, or memory is short.
    """
    first, *others = statistics
    backend.bind(first)
    made = (backend.inputs(own) for own in others)
    return [backend.run, *fork_inputs(backend, made)] if others else backend.run


def fork_inputs(backend: Backend, inputs: Iterable[Statistics]) -> list[Run]:
    """Bind what belongs to further inputs of an image, each to a fork of the backend.

    Args:
        backend: With the graph.
        inputs: What `Backend.inputs` made of the statistics of each.

    Raises:
        BackendError: They do not fit the graph, or memory is short.
    """
    runs: list[Run] = []
    for own in inputs:
        fork = backend.fork()
        fork.bind_inputs(own)
        runs.append(fork.run)
    return runs


def _load(place: str) -> Callable[[BackendRequest], object]:
    module, _, attribute = place.partition(':')
    return cast('Callable[[BackendRequest], object]', getattr(import_module(module), attribute))


def check_images(images: npt.NDArray[Any], shape: Sequence[Any]) -> None:
    """Check that images are what a graph takes.

    Args:
        images: Of any shape.
        shape: ``(H, W, 3)`` of the graph.

    Raises:
        BackendError: They are of another shape, or not uint8.
    """
    if images.dtype != np.uint8 or images.shape[1:] != tuple(shape):
        expected = 'x'.join(str(length) for length in shape)
        msg = f'the graph takes uint8 images of {expected}, got {images.dtype} {images.shape}'
        raise BackendError(msg)
