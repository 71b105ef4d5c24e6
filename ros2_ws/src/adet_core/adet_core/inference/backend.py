# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""What runs the exported graph. Backends only run it: nothing is computed outside the graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any, cast, Protocol

import numpy as np
import numpy.typing as npt

from adet_core.errors import BackendError, ConfigError
from adet_core.prediction import Prediction

IMAGE_INPUT = 'image'
STATISTICS_TRANSFORM_KEY = 'adet_preparation'
"""Metadata of a graph: another one, base64, from a bundle's statistics to what this one takes."""


class Backend(Protocol):
    """Runs one graph; not to be called from two threads at once."""

    @property
    def name(self) -> str:
        """For people: the library and device, e.g. ``onnxruntime (CPU)``."""

    def bind(self, statistics: Mapping[str, npt.NDArray[np.float32]]) -> None:
        """Set (or replace) the statistics used from the next `run` on, as the bundle has them.

        Raises:
            BackendError: A name, shape or type is not what the graph takes.
        """

    def run(self, images: npt.NDArray[np.uint8]) -> Prediction:
        """Run the graph on uint8 ``(N, H, W, 3)`` RGB images of the graph's size.

        Raises:
            BackendError: The images do not fit, or the library fails.
        """

    def features(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Run a graph that gives features instead of a verdict; images as for `run`.

        Raises:
            BackendError: The images do not fit, or it is not such a graph.
        """

    def fork(self) -> Backend:
        """The same graph, not loaded again, with statistics of its own that are still unbound.

        One thread may run the fork while another runs the original.
        """


TENSORRT = 'tensorrt'
"""A backend that the detector opens: it needs the bundle, where its engines lie."""

# Resolved when asked for, so that a machine needs only the libraries it uses. 'auto' takes the
# first that works.
BACKENDS: Mapping[str, str] = {
    'onnxruntime': 'adet_core.inference.onnxruntime:OnnxRuntimeBackend',
}


def open_backend(name: str, graph: bytes, *, threads: int = 0) -> Backend:
    """Load a graph.

    Args:
        name: A key of `BACKENDS`, or ``auto``.
        graph: A verified ONNX model.
        threads: Threads of one inference; 0 leaves it to the library (one per core).

    Raises:
        BackendError: The library is not installed, or refuses the graph.
        ConfigError: There is no backend of that name.
    """
    if name != 'auto' and name not in BACKENDS:
        msg = f'unknown backend {name!r}; known: auto, {", ".join([*BACKENDS, TENSORRT])}'
        raise ConfigError(msg)
    reasons = []
    for candidate in BACKENDS if name == 'auto' else [name]:
        module, _, attribute = BACKENDS[candidate].partition(':')
        try:
            create = cast('Callable[..., Backend]', getattr(import_module(module), attribute))
            return create(graph, threads=threads)
        except ImportError as error:
            reasons.append(f'{candidate}: {error}; install it with: pip install {candidate}')
        except BackendError as error:
            reasons.append(f'{candidate}: {error}')
    raise BackendError('; '.join(reasons))


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
