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

from adet_core.bundle import Bundle, ExportedGraph
from adet_core.errors import BackendError
from adet_core.inference.kept import keep, Kept, load_kept
from adet_core.inference.statistics_transform import GraphInputs, read_graph
from adet_core.models.statistics_model import Floats, Statistics

_KEPT = 'inputs'
# Counts up when a transform makes other inputs.
_MAKER = 1
_KEPT_READING = 'reading'
# Only what is so much smaller than the statistics is kept.
_SHARE = 0.5


def graph_inputs(bundle: Bundle, graph: ExportedGraph, threads: int = 0) -> GraphInputs:
    """What makes a graph's inputs; the graph is read once for a machine.

    Args:
        bundle: As it is in service.
        graph: Its verified graph.
        threads: See `GraphInputs`.

    Raises:
        BackendError: The graph or its transform cannot be loaded.
    """
    record = graph.transform
    if record is None:
        # Of an older export, whose metadata may hold a graph of its own.
        return GraphInputs(graph, threads=threads)
    names = sorted(record.constants.values())
    identity = {'graph_sha256': graph.sha256, 'constants': names}
    if kept := load_kept(bundle, _KEPT_READING, identity):
        shapes = {name: tuple(shape) for name, shape in kept.details['inputs'].items()}
        return GraphInputs(graph, known=_Reading(shapes, _from_kept(kept)[0]))
    read = read_graph(graph.onnx)
    made = GraphInputs(graph, known=read)
    constants = _to_kept([{name: read.constant(name) for name in names}])
    with suppress(BackendError):
        details = {'inputs': read.shapes, **constants.details}
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
    bundle: Bundle, make: GraphInputs, *, may_keep: bool = False
) -> list[Statistics]:
    """The inputs of a bundle's graph beside the images, one entry for each input of an image.

    Args:
        bundle: As it is in service.
        make: Makes them from its statistics.
        may_keep: Whether they may be kept beside the engine. What was kept is used in any case.

    Returns:
        float32 arrays by name; one entry where the inputs of an image share them.

    Raises:
        BackendError: The statistics do not fit the graph, or cannot be transformed.
        BundleError: Their file is missing or damaged.
    """
    checksum = bundle.statistics_sha256
    if not checksum or not make.transforms:
        return [make(own) for own in bundle.input_statistics()]
    identity = {**make.identity, 'statistics_sha256': checksum, 'maker': _MAKER}
    if kept := load_kept(bundle, _KEPT, identity):
        return _from_kept(kept)
    made = [make(own) for own in bundle.input_statistics()]
    size = sum(array.nbytes for own in made for array in own.values())
    if may_keep and size < _SHARE * bundle.statistics_bytes:
        # Where it cannot be kept, the next start takes as long as this one.
        with suppress(BackendError):
            keep(bundle, _KEPT, identity, _to_kept(made))
    return made


def _to_kept(made: list[Statistics]) -> Kept:
    shapes = [{name: list(array.shape) for name, array in own.items()} for own in made]
    return Kept({'shapes': shapes}, b''.join(a.tobytes() for own in made for a in own.values()))


def _from_kept(kept: Kept) -> list[Statistics]:
    # numpy takes no empty buffer.
    values, start = np.frombuffer(kept.data or bytes(4), np.float32), 0
    found: list[Statistics] = []
    for shapes in kept.details['shapes']:
        own: dict[str, Floats] = {}
        for name, shape in shapes.items():
            end = start + math.prod(shape)
            own[name] = values[start:end].reshape(shape)
            start = end
        found.append(own)
    if len(found) > 1:
        # One of them would hold the memory of all.
        return [{name: array.copy() for name, array in own.items()} for own in found]
    return found
