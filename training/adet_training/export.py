# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""From a bundle to one ONNX graph that has proved to give the trained model's own answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import hashlib
import io
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from adet_core.backends import open_backend
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
    onnx_bytes = to_onnx(graph, bundle.manifest)
    report('exporting the graph', 1, 3)
    features = features_to_onnx(graph, bundle.manifest) if graph.features else None
    report('exporting the graph', 2, 3)
    parity = check_parity(onnx_bytes, bundle)
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


def to_onnx(graph: Graph, manifest: Manifest) -> bytes:
    """Turn a graph into an ONNX model; the number of pictures stays free, their size is fixed.

    So does the length of statistics that grow.
    """
    lengths = [
        {0: torch.export.Dim(f'{name}_length')} if name in graph.growing else None
        for name in graph.statistics
    ]
    return _to_onnx(graph.module, manifest, graph.statistics, lengths, ['score', 'anomaly_map'])


def features_to_onnx(graph: Graph, manifest: Manifest) -> bytes:
    """Turn the way from picture to features into an ONNX model of its own."""
    assert graph.features is not None
    return _to_onnx(graph.features, manifest, {}, [], ['features'])


def _to_onnx(
    module: nn.Module,
    manifest: Manifest,
    statistics: Mapping[str, torch.Tensor],
    lengths: Sequence[Any],
    outputs: Sequence[str],
) -> bytes:
    example = torch.zeros(2, manifest.image.height, manifest.image.width, 3, dtype=torch.uint8)
    program = torch.onnx.export(
        module.eval(),
        (example, *statistics.values()),
        input_names=['image', *statistics],
        output_names=outputs,
        dynamic_shapes=({0: torch.export.Dim('N')}, *lengths),
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
    return bytes(model.SerializeToString())


def check_parity(onnx_bytes: bytes, bundle: Bundle) -> Parity:
    """Compare a graph with the trained model's own answers to the golden pictures.

    Returns:
        The differences, which are within 1e-3 of the score range.

    Raises:
        BundleError: The golden pictures or the statistics are missing or damaged.
        ExportError: A difference is larger.
    """
    golden = bundle.golden()
    backend = open_backend('onnxruntime', onnx_bytes)
    backend.bind(bundle.statistics())
    score_difference = map_difference = 0.0
    for image, score, anomaly_map in zip(*golden, strict=True):
        answer = backend.run(image[None])
        score_difference = max(score_difference, _difference(answer.scores[0], score))
        map_difference = max(map_difference, _difference(answer.maps[0], anomaly_map))
    parity = Parity(
        pictures=len(golden.scores),
        score_difference=score_difference,
        map_difference=map_difference,
        tolerance=_TOLERANCE * bundle.manifest.score_range.span,
    )
    if not parity.holds:
        msg = (
            f'{bundle.folder}: the exported graph differs from the trained model (score by '
            f'{score_difference:.3g}, map by {map_difference:.3g}, allowed '
            f'{parity.tolerance:.3g}); '
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
