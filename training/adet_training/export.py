# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""From a bundle to one ONNX graph that has proved to give the trained model's own answers."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
import hashlib
import io
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from adet_core.backends import open_backend, PREPARATION_KEY
from adet_core.bundle import (
    Bundle,
    EngineRecord,
    Manifest,
    Parity,
    WEIGHTS_FILE,
    write_engine,
)
from adet_core.errors import BundleError, ExportError
from adet_core.progress import Report, silent
from adet_training.adapter import Graph
from adet_training.backbone import load_tensors, Weights
from adet_training.models import load_adapter
from adet_training.versions import library_versions

OPSET = 18
_TOLERANCE = 1e-3


class Export(NamedTuple):
    """A finished export.

    Attributes:
        path: ``engine/model.onnx``.
        parity: The check it passed.
    """

    path: Path
    parity: Parity


def export(bundle: Bundle, *, report: Report = silent) -> Export:
    """Export a bundle's graph, check it on the golden pictures, and put it into service.

    Raises:
        BundleError: A file of the bundle is missing or damaged.
        ExportError: The graph's answers differ from the trained model's; nothing was written.
    """
    report('exporting the graph', 0, 3)
    graph = load_adapter(bundle.manifest.model).graph(bundle.manifest, load_weights(bundle))
    features = features_to_onnx(graph, bundle.manifest) if graph.features else None
    report('exporting the graph', 1, 3)
    try:
        onnx_bytes, parity = _checked(graph, bundle)
    except ExportError:
        if graph.exact is None:
            raise
        report('exporting the exact graph', 1, 3)
        onnx_bytes, parity = _checked(graph.exact(), bundle)
    report('exporting the graph', 2, 3)
    record = EngineRecord(
        bundle_id=bundle.bundle_id,
        sha256=hashlib.sha256(onnx_bytes).hexdigest(),
        precision='fp32',
        opset=OPSET,
        parity=parity,
        versions=library_versions('torch', 'onnx', 'onnxruntime'),
        features_sha256=hashlib.sha256(features).hexdigest() if features else None,
    )
    path = write_engine(bundle, onnx_bytes, record, features)
    report('exporting the graph', 3, 3)
    return Export(path, parity)


def _checked(graph: Graph, bundle: Bundle) -> tuple[bytes, Parity]:
    onnx_bytes = to_onnx(graph, bundle.manifest)
    return onnx_bytes, check_parity(onnx_bytes, bundle, map_tolerance=graph.map_tolerance)


def to_onnx(graph: Graph, manifest: Manifest) -> bytes:
    """Turn a graph into an ONNX model; the number of pictures stays free, their size is fixed.

    So does the length of statistics that grow. What prepares statistics goes along in the model's
    metadata, as a model of its own.
    """
    length = torch.export.Dim('length')
    dims = {name: {axis: length} for name, axis in graph.growing.items()}
    stored = list(graph.statistics.values())
    if graph.prepare is None:
        names, arrays, metadata = list(graph.statistics), stored, {}
    else:
        with torch.no_grad():
            names, arrays = list(graph.prepared), list(graph.prepare(*stored))
        shapes = [dims.get(name) for name in graph.statistics]
        preparation = _to_onnx(
            graph.prepare, stored, shapes, list(graph.statistics), graph.prepared
        )
        metadata = {PREPARATION_KEY: base64.b64encode(preparation).decode()}
    return _picture_to_onnx(
        graph.module,
        manifest,
        dict(zip(names, arrays, strict=True)),
        [dims.get(name) for name in names],
        ['score', 'anomaly_map'],
        metadata,
    )


def features_to_onnx(graph: Graph, manifest: Manifest) -> bytes:
    """Turn the way from picture to features into an ONNX model of its own."""
    assert graph.features is not None
    return _picture_to_onnx(graph.features, manifest, {}, [], ['features'])


def _picture_to_onnx(
    module: nn.Module,
    manifest: Manifest,
    statistics: Mapping[str, torch.Tensor],
    lengths: Sequence[Any],
    outputs: Sequence[str],
    metadata: Mapping[str, str] | None = None,
) -> bytes:
    example = torch.zeros(2, manifest.image.height, manifest.image.width, 3, dtype=torch.uint8)
    return _to_onnx(
        module,
        [example, *statistics.values()],
        [{0: torch.export.Dim('N')}, *lengths],
        ['image', *statistics],
        outputs,
        metadata,
    )


def _to_onnx(
    module: nn.Module,
    examples: Sequence[torch.Tensor],
    dynamic: Sequence[Any],
    inputs: Sequence[str],
    outputs: Sequence[str],
    metadata: Mapping[str, str] | None = None,
) -> bytes:
    program = torch.onnx.export(
        module.eval(),
        tuple(examples),
        input_names=list(inputs),
        output_names=list(outputs),
        dynamic_shapes=tuple(dynamic),
        opset_version=OPSET,
        dynamo=True,
        external_data=False,
        verbose=False,
    )
    assert program is not None
    model = program.model_proto
    model.producer_name = 'adet'
    # Stack traces with the paths of this machine: nothing to send to a robot.
    parts = model.graph
    for part in (
        model,
        parts,
        *parts.node,
        *parts.initializer,
        *parts.value_info,
        *parts.input,
        *parts.output,
    ):
        del part.metadata_props[:]
    for key, value in (metadata or {}).items():
        model.metadata_props.add(key=key, value=value)
    return bytes(model.SerializeToString())


def check_parity(onnx_bytes: bytes, bundle: Bundle, *, map_tolerance: float = 0.0) -> Parity:
    """Compare a graph with the trained model's own answers to the golden pictures.

    Args:
        onnx_bytes: The graph.
        bundle: What it was made from.
        map_tolerance: See `adet_training.adapter.Graph`.

    Returns:
        The differences; those of the scores are within 1e-3 of the score range.

    Raises:
        BundleError: The golden pictures or the statistics are missing or damaged.
        ExportError: A difference is larger.
    """
    golden = bundle.golden()
    backend = open_backend('onnxruntime', onnx_bytes)
    backend.bind(bundle.statistics())
    span = bundle.manifest.score_range.span
    score_difference = map_difference = 0.0
    for image, score, anomaly_map in zip(*golden, strict=True):
        answer = backend.run(image[None])
        score_difference = max(score_difference, _difference(answer.scores[0], score))
        map_difference = max(map_difference, _difference(answer.maps[0], anomaly_map))
    parity = Parity(
        pictures=len(golden.scores),
        score_difference=score_difference,
        map_difference=map_difference,
        tolerance=_TOLERANCE * span,
        map_tolerance=max(_TOLERANCE, map_tolerance) * span,
    )
    if not parity.holds:
        msg = (
            f'{bundle.folder}: the exported graph differs from the trained model (score by '
            f'{score_difference:.3g}, map by {map_difference:.3g}, allowed '
            f'{parity.tolerance:.3g} and {parity.map_tolerance:.3g}); '
            'nothing was written; train again, and report this if it stays'
        )
        raise ExportError(msg)
    return parity


def _difference(one: Any, other: Any) -> float:
    """The largest absolute difference; infinite where one is not a number."""
    with np.errstate(invalid='ignore'):
        difference = np.abs(np.subtract(one, other, dtype=np.float64))
    return float(np.nan_to_num(difference, nan=np.inf).max())


def load_weights(bundle: Bundle) -> Weights:
    """The tensors of ``model.pth``.

    Raises:
        BundleError: The file is missing, damaged, or holds something else.
    """
    try:
        # Tensors only: a bundle may come from anywhere, and a pickle can run code.
        weights = load_tensors(io.BytesIO(bundle.weights()))
    except ValueError as error:
        msg = f'{bundle.folder / WEIGHTS_FILE}: not a file of plain weights ({error})'
        raise BundleError(msg) from None
    if not isinstance(weights, dict) or not all(map(torch.is_tensor, weights.values())):
        msg = f'{bundle.folder / WEIGHTS_FILE}: does not hold named tensors'
        raise BundleError(msg)
    return weights
