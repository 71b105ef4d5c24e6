# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Whether a graph takes and gives what adet needs: declared types first, then what it predicts.

ONNX Runtime ends the whole process when an output that is a text or a map is fetched, so types are
checked before a graph is run.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from adet_core.errors import BackendError
from adet_core.inference.statistics_transform import IMAGE_INPUT

_FLOAT, _UINT8 = 'tensor(float)', 'tensor(uint8)'
_OUTPUTS = ('score', 'anomaly_map', 'features')


class LoadedGraph(Protocol):
    """A graph that a library loaded; its entries have ``name``, ``type`` and ``shape``."""

    def get_inputs(self) -> Sequence[Any]:
        """Its inputs, with types as ONNX Runtime writes them; free lengths are no int."""

    def get_outputs(self) -> Sequence[Any]:
        """Its outputs."""


def check_graph(session: LoadedGraph) -> tuple[int, int, int]:
    """Check the declared inputs and outputs of a graph.

    Args:
        session: The graph, loaded but not run.

    Returns:
        ``(H, W, 3)`` of the images that it takes.

    Raises:
        BackendError: Names the input or output that adet cannot use.
    """
    inputs = {entry.name: entry for entry in session.get_inputs()}
    image = inputs.pop(IMAGE_INPUT, None)
    if image is None:
        msg = f'the graph has no input {IMAGE_INPUT!r}; it was not exported by adet'
        raise BackendError(msg)
    shape = tuple(image.shape[1:])
    is_image = len(shape) == 3 and shape[2] == 3 and all(isinstance(n, int) for n in shape)
    if image.type != _UINT8 or not is_image:
        raise _misfit(image, f'{_UINT8} [N, height, width, 3]')
    for entry in inputs.values():
        if entry.type != _FLOAT:
            raise _misfit(entry, _FLOAT)
    expected = {'score': ('N', 1), 'anomaly_map': ('N', 1, *shape[:2])}
    for entry in session.get_outputs():
        wanted = expected.get(entry.name, ())
        if entry.name in _OUTPUTS and (entry.type != _FLOAT or not _fits(entry.shape, wanted)):
            raise _misfit(entry, f'{_FLOAT} {list(wanted) or ""}'.rstrip())
    return shape[0], shape[1], 3


def takes_one_image(session: LoadedGraph) -> bool:
    """Whether a graph takes no more than one image at a time: some could not be exported else."""
    return any(e.name == IMAGE_INPUT and e.shape[0] == 1 for e in session.get_inputs())


def check_outputs(arrays: Sequence[Any], shapes: Sequence[tuple[int, ...]]) -> None:
    """Check what a graph gave: its declared shapes may be free, or a lie.

    Raises:
        BackendError: An array is of another shape than expected, or not float32.
    """
    for array, shape in zip(arrays, shapes, strict=True):
        if array.shape != shape or array.dtype != np.float32:
            msg = f'inference failed: the graph gave {array.dtype} {array.shape}, expected float32'
            raise BackendError(f'{msg} {shape}; export the bundle again')


def _fits(shape: Sequence[Any], wanted: Sequence[Any]) -> bool:
    """Whether a declared shape can be this one; lengths that are not an int are free."""
    if not shape or not wanted:
        return True
    return len(shape) == len(wanted) and all(
        length == want or not isinstance(length, int) or not isinstance(want, int)
        for length, want in zip(shape, wanted, strict=True)
    )


def _misfit(entry: Any, expected: str) -> BackendError:
    found = f'{entry.type} {entry.shape}'
    msg = f'the graph declares {entry.name!r} as {found!s:.200}, expected {expected}'
    return BackendError(f'{msg}; export the bundle again')
