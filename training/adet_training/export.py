# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""From a bundle to one ONNX graph that has proved to give the trained model's own answers."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
import hashlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch
from torch import nn

from adet_core.bundle import (
    BuildOptions,
    Bundle,
    EngineRecord,
    Manifest,
    Parity,
    WEIGHTS_FILE,
    write_engine,
)
from adet_core.errors import BackendError, BundleError, ConfigError, ExportError
from adet_core.inference.backend import open_backend, STATISTICS_TRANSFORM_KEY
from adet_core.inference.parity import BANDS, measure_parity
from adet_core.inference.statistics_transform import Statistics, StatisticsTransform
from adet_core.io.labelled import LabelledImage
from adet_core.metrics import auroc
from adet_core.progress import ProgressCallback, silent
from adet_training.adapter import Graph
from adet_training.backbone import Weights
from adet_training.dataset import Category
from adet_training.models import load_adapter
from adet_training.precision import lower
from adet_training.tensors import read_tensors
from adet_training.versions import library_versions

OPSET = 18
# Each is taken in several lights; more move the ranges of values no further.
_CALIBRATION = 16


class Export(NamedTuple):
    """A finished export.

    Attributes:
        path: ``engine/model.onnx``.
        parity: The check it passed.
        is_exact: Whether the slower graph was needed, see `adet_training.adapter.Graph.exact`.
        accuracy: Image AUROC on the labelled test images in fp32 and as exported; None in fp32,
            or without such images.
    """

    path: Path
    parity: Parity
    is_exact: bool = False
    accuracy: tuple[float, float] | None = None


def export(
    bundle: Bundle,
    *,
    precision: str = 'fp32',
    data: Category | None = None,
    options: BuildOptions | None = None,
    progress: ProgressCallback = silent,
) -> Export:
    """Export a bundle's graph, check it on the golden images, and put it into service.

    Args:
        bundle: As it was deployed.
        precision: ``fp32``, ``fp16`` or ``int8``.
        data: The images it was trained and tested with. ``int8`` is calibrated on some of the
            former; accuracy is measured on the latter.
        options: What TensorRT is to build its engines with.
        progress: Told the progress.

    Raises:
        BundleError: A file of the bundle is missing or damaged.
        ConfigError: There is no such precision, it needs images, or an option makes no sense.
        ExportError: The graph's answers differ from the trained model's; nothing was written.
    """
    options = options or BuildOptions()
    options.check()
    if precision not in BANDS:
        raise ConfigError(f'precision is {precision!r}, must be one of: {", ".join(BANDS)}')
    if precision == 'int8' and data is None:
        raise ConfigError('int8 is calibrated on images of good parts: name them')
    progress('exporting the graph', 0, 3)
    graph = load_adapter(bundle.manifest.model).graph(bundle.manifest, load_weights(bundle))
    features = features_to_onnx(graph, bundle.manifest) if graph.features else None
    progress('exporting the graph', 1, 3)
    is_exact = False
    try:
        onnx_bytes, parity = _checked(graph, bundle)
    except (BackendError, ExportError):
        if graph.exact is None:
            raise
        progress('exporting the exact graph', 1, 3)
        onnx_bytes, parity = _checked(graph.exact(), bundle)
        is_exact = True
    accuracy = None
    if precision != 'fp32':
        full = onnx_bytes
        images = _some(data.train) if data else []
        onnx_bytes = lower(full, precision, images, preprocessed(bundle, full), progress=progress)
        parity = check_parity(onnx_bytes, bundle, precision)
        if data is not None and data.is_labelled:
            accuracy = (
                _accuracy(full, bundle, data.test, 'judging in fp32', progress),
                _accuracy(onnx_bytes, bundle, data.test, f'judging in {precision}', progress),
            )
    progress('exporting the graph', 2, 3)
    record = EngineRecord(
        bundle_id=bundle.bundle_id,
        sha256=hashlib.sha256(onnx_bytes).hexdigest(),
        precision=precision,
        opset=OPSET,
        parity=parity,
        versions=library_versions('torch', 'onnx', 'onnxruntime'),
        features_sha256=hashlib.sha256(features).hexdigest() if features else None,
        options=options,
    )
    path = write_engine(bundle, onnx_bytes, record, features)
    progress('exporting the graph', 3, 3)
    return Export(path, parity, is_exact, accuracy)


def _some(samples: Sequence[LabelledImage]) -> list[npt.NDArray[np.uint8]]:
    """Images from all over: neighbours in a folder are often alike."""
    return [labelled.pixels for labelled in samples[:: -(-len(samples) // _CALIBRATION)]]


def _checked(graph: Graph, bundle: Bundle) -> tuple[bytes, Parity]:
    onnx_bytes = to_onnx(graph, bundle.manifest)
    return onnx_bytes, check_parity(onnx_bytes, bundle, map_tolerance=graph.map_tolerance)


def to_onnx(graph: Graph, manifest: Manifest) -> bytes:
    """Turn a graph into an ONNX model; the number of images stays free, their size is fixed.

    So does the length of statistics that grow. What prepares statistics goes along in the model's
    metadata, as a model of its own.
    """
    length = torch.export.Dim('length')
    dims = {name: {axis: length} for name, axis in graph.growing.items()}
    stored = list(graph.statistics.values())
    if graph.preprocess is None:
        names, arrays, metadata = list(graph.statistics), stored, {}
    else:
        with torch.no_grad():
            names, arrays = list(graph.preprocessed), list(graph.preprocess(*stored))
        shapes = [dims.get(name) for name in graph.statistics]
        if isinstance(graph.preprocess, nn.Module):
            transform = _to_onnx(
                graph.preprocess, stored, shapes, list(graph.statistics), graph.preprocessed
            )
            metadata = {STATISTICS_TRANSFORM_KEY: base64.b64encode(transform).decode()}
        else:
            metadata = dict(graph.metadata)
    return _image_to_onnx(
        graph.module,
        manifest,
        dict(zip(names, arrays, strict=True)),
        [dims.get(name) for name in names],
        ['score', 'anomaly_map'],
        metadata,
    )


def features_to_onnx(graph: Graph, manifest: Manifest) -> bytes:
    """Turn the way from image to features into an ONNX model of its own."""
    assert graph.features is not None
    return _image_to_onnx(graph.features, manifest, {}, [], ['features'])


def _image_to_onnx(
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
        _Listed(module).eval(),
        tuple(examples),
        input_names=list(inputs),
        output_names=list(outputs),
        dynamic_shapes=(tuple(dynamic),),
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


class _Listed(nn.Module):
    """A module whose tensors are one list, however many its forward names."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *tensors: torch.Tensor) -> Any:
        """Call it."""
        return self.module(*tensors)


def check_parity(
    onnx_bytes: bytes, bundle: Bundle, precision: str = 'fp32', *, map_tolerance: float = 0.0
) -> Parity:
    """Compare a graph with the trained model's own answers to the golden images.

    Args:
        onnx_bytes: The graph.
        bundle: What it was made from.
        precision: Of the graph; see `adet_core.inference.parity.BANDS`.
        map_tolerance: See `adet_training.adapter.Graph`.

    Raises:
        BundleError: The golden images or the statistics are missing or damaged.
        ExportError: They differ by more than the precision allows.
    """
    backend = open_backend('onnxruntime', onnx_bytes)
    backend.bind(bundle.statistics())
    parity = measure_parity(
        backend,
        *bundle.golden(),
        threshold=bundle.manifest.image_threshold.value,
        span=bundle.manifest.score_range.span,
        precision=precision,
        map_tolerance=map_tolerance * bundle.manifest.score_range.span,
    )
    if not parity.holds:
        flips = f'{parity.flips} verdicts changed, ' if parity.flips else ''
        msg = (
            f'{bundle.folder}: the exported graph differs from the trained model ({flips}score by '
            f'{parity.score_difference:.3g}, map by {parity.map_difference:.3g}, allowed '
            f'{parity.tolerance:.3g} and {parity.map_tolerance:.3g}); '
            'nothing was written; '
            + (
                'train again, and report this if it stays'
                if precision == 'fp32'
                else f'{precision} is too coarse for this model: export in another precision'
            )
        )
        raise ExportError(msg)
    return parity


def preprocessed(bundle: Bundle, onnx_bytes: bytes) -> Statistics:
    """What a bundle's graph takes beside images, by name."""
    session = onnxruntime.InferenceSession(onnx_bytes, providers=['CPUExecutionProvider'])
    return StatisticsTransform(session)(bundle.statistics())


def _accuracy(
    onnx_bytes: bytes,
    bundle: Bundle,
    samples: Sequence[LabelledImage],
    stage: str,
    progress: ProgressCallback,
) -> float:
    """Image AUROC of a graph on labelled images."""
    backend = open_backend('onnxruntime', onnx_bytes)
    backend.bind(bundle.statistics())
    scores = np.empty(len(samples), np.float32)
    for number, labelled in enumerate(samples):
        scores[number] = backend.run(labelled.pixels[None]).scores[0]
        progress(stage, number + 1, len(samples))
    found = auroc(scores, np.array([labelled.is_anomalous for labelled in samples]))
    assert found is not None
    return found


def load_weights(bundle: Bundle) -> Weights:
    """The tensors of ``model.pth``.

    Raises:
        BundleError: The file is missing, damaged, or holds something else.
    """
    try:
        return read_tensors(bundle.weights())
    except ValueError as error:
        msg = f'{bundle.folder / WEIGHTS_FILE}: {error}'
        raise BundleError(msg) from None
