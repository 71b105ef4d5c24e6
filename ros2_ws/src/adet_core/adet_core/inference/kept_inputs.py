# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""What a bundle's statistics become for its graph, kept beside the engine for the next start.

The inputs of PaDiM's graph are a fifth of its statistics. To read, check and transform all of them
is a third of a start, and takes more memory than all the rest of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
import math
from typing import NamedTuple

import numpy as np

from adet_core.bundle import Bundle, ExportedGraph, is_writable
from adet_core.errors import BackendError
from adet_core.inference.kept import keep, Kept, load_kept
from adet_core.inference.statistics_transform import GraphInputs, read_graph
from adet_core.models.statistics_model import Floats, Statistics

_KEPT = 'inputs'
# Counts up when a transform makes other inputs.
_MAKER = 1
_KEPT_READING = 'reading'
# Counts up when something else is read of a graph.
_READER = 1
# Only what is so much smaller than the statistics is kept.
_SHARE = 0.5
_ALL = slice(None)


def graph_inputs(bundle: Bundle, graph: ExportedGraph, threads: int = 0) -> GraphInputs:
    """What makes a graph's inputs; the graph is parsed once for a machine.

    Args:
        bundle: As it is in service.
        graph: Its verified graph.
        threads: See `GraphInputs`.

    Raises:
        BackendError: The graph or its transform cannot be loaded.
    """
    names = sorted(graph.transform.constants.values()) if graph.transform else []
    identity = {'graph_sha256': graph.sha256, 'constants': names, 'reader': _READER}
    if kept := load_kept(bundle, _KEPT_READING, identity):
        shapes = {name: tuple(shape) for name, shape in kept.details['inputs'].items()}
        return GraphInputs(graph, known=_Reading(shapes, _from_kept(kept)[0]))
    read = read_graph(graph.onnx)
    made = GraphInputs(graph, threads=threads, known=read)
    # An older export has its transform in its metadata, which is not kept.
    if graph.transform is not None or not made.transforms:
        constants = _to_kept([{name: read.constant(name) for name in names}])
        details = {'inputs': read.shapes, **constants.details}
        with suppress(BackendError):
            keep(bundle, _KEPT_READING, identity, Kept(details, constants.data))
    return made


class _Reading(NamedTuple):
    """See `adet_core.inference.statistics_transform.GraphReading`."""

    shapes: Mapping[str, tuple[int | None, ...]]
    constants: Statistics
    metadata: Mapping[str, str] = {}

    def constant(self, name: str) -> Floats:
        return self.constants[name]


def bundle_inputs(
    bundle: Bundle, make: GraphInputs, *, wanted: slice = _ALL, may_keep: bool = False
) -> list[Statistics]:
    """The inputs of a bundle's graph beside the images, one entry for each input of an image.

    Args:
        bundle: As it is in service.
        make: Makes them from its statistics.
        wanted: Which of the inputs of an image.
        may_keep: Whether those of all may be kept beside the engine. What was kept is used in any
            case.

    Returns:
        float32 arrays by name; one entry where the inputs of an image share them.

    Raises:
        BackendError: The statistics do not fit the graph, or cannot be transformed.
        BundleError: Their file is missing or damaged.
    """
    checksum = bundle.statistics_sha256
    geometry = bundle.geometry()
    identity = {
        **make.identity,
        'statistics_sha256': checksum,
        'inputs': geometry.inputs if geometry.has_own_statistics else 1,
        'maker': _MAKER,
    }
    if checksum and make.transforms and (kept := load_kept(bundle, _KEPT, identity)):
        return _from_kept(kept, wanted)
    statistics = bundle.input_statistics()
    if not (may_keep and make.transforms and is_writable(bundle)):
        return [make(own) for own in statistics[wanted]]
    made = [make(own) for own in statistics]
    size = sum(array.nbytes for own in made for array in own.values())
    if size < _SHARE * bundle.statistics_bytes:
        # Where it cannot be kept, the next start takes as long as this one.
        with suppress(BackendError):
            keep(bundle, _KEPT, identity, _to_kept(made))
    return made[wanted]


def _to_kept(made: list[Statistics]) -> Kept:
    # In lists: the seal of a record says nothing of the order of its keys.
    shapes = [[[name, list(array.shape)] for name, array in own.items()] for own in made]
    arrays = (np.ascontiguousarray(array) for own in made for array in own.values())
    return Kept({'shapes': shapes}, b''.join(array.data for array in arrays))


def _from_kept(kept: Kept, wanted: slice = _ALL) -> list[Statistics]:
    # numpy takes no empty buffer.
    values, start = np.frombuffer(kept.data or bytes(4), np.float32), 0
    found: list[Statistics] = []
    for shapes in kept.details['shapes']:
        own: dict[str, Floats] = {}
        for name, shape in shapes:
            end = start + math.prod(shape)
            own[name] = values[start:end].reshape(shape)
            start = end
        found.append(own)
    if len(found) == 1:
        return found[wanted]
    # One of them would hold the memory of all.
    return [{name: array.copy() for name, array in own.items()} for own in found[wanted]]
