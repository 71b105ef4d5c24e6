# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""From a bundle to one ONNX graph, checked against the trained model's own predictions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
import hashlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from adet_core.bundle import (
    BuildOptions,
    Bundle,
    EngineRecord,
    ExportedGraph,
    META_FILE,
    Parity,
    WEIGHTS_FILE,
    write_engine,
)
from adet_core.errors import BackendError, BundleError, ConfigError, ExportError
from adet_core.inference.backend import bind_inputs
from adet_core.inference.onnxruntime import OnnxRuntimeBackend
from adet_core.inference.parity import BANDS, measure_parity
from adet_core.inference.statistics_transform import GraphInputs
from adet_core.io.labelled import LabelledImage
from adet_core.metrics import auroc
from adet_core.progress import ProgressCallback, silent
from adet_training.adapter import Graph
from adet_training.backbone import Weights
from adet_training.dataset import Category
from adet_training.layout import inputs_of
from adet_training.models import load_adapter
from adet_training.precision import cast_graph
from adet_training.tensors import read_tensors
from adet_training.trace import OPSET, to_onnx, Traced, transform_record
from adet_training.versions import library_versions

# Each one is used in several lights; more images hardly widen the ranges of values.
_CALIBRATION = 16
_STAGE = 'exporting the graph'
# Image AUROC that a lower precision may cost. Depthwise backbones lose all of it in int8.
_AUROC_LOSS = 0.02


class NotAcceptedError(ExportError):
    """A graph passed its checks, and the caller does not want it; nothing was written."""


class Export(NamedTuple):
    """Result of an export.

    Attributes:
        path: ``engine/model.onnx``.
        parity: Result of the check.
        is_exact: Whether it is the slower graph, see `adet_training.adapter.Graph.exact`.
        accuracy: Image AUROC on the labelled test images in fp32 and in the exported precision;
            None in fp32, or without such images.
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
    traced: Traced | None = None,
    accept: Callable[[ExportedGraph], bool] | None = None,
    progress: ProgressCallback = silent,
) -> Export:
    """Export a bundle's graph, check it on the golden images, and put it into service.

    Args:
        bundle: As it was deployed.
        precision: ``fp32``, ``fp16`` or ``int8``.
        data: Images of its training and test: ``int8`` is calibrated on some training images,
            accuracy is measured on the test images.
        options: Options of TensorRT's builds.
        traced: The graph in fp32, where the training has traced it already.
        accept: Asked about a graph that passed; if it says no, `NotAcceptedError` is raised.
        progress: Told the progress.

    Raises:
        BundleError: A file of the bundle is missing or damaged.
        ConfigError: There is no such precision, it needs images, or an option makes no sense.
        ExportError: The graph's predictions differ from the trained model's, or the precision
            costs more than 0.02 of image AUROC; nothing was written.
    """
    options = options or BuildOptions()
    options.check()
    if precision not in BANDS:
        raise ConfigError(f'precision is {precision!r}, must be one of: {", ".join(BANDS)}')
    if precision == 'int8' and data is None:
        raise ConfigError('int8 is calibrated on images of normal parts: name them')
    progress(_STAGE, 0, 3)
    graph = load_graph(bundle)
    progress(_STAGE, 1, 3)
    if traced:
        full = checked = _check(graph, traced, bundle)
    else:
        full = checked = _export_checked(graph, bundle, progress)
    features = full.features
    accuracy = None
    if precision != 'fp32':
        checked = _cast(full, bundle, precision, data, progress)
        accuracy = _accuracies(full, checked, bundle, precision, data, progress)
        _check_accuracy(bundle, precision, accuracy)
    if accept is not None and not accept(checked.exported):
        raise NotAcceptedError(f'{bundle.folder}: the graph in {precision} is not wanted')
    progress(_STAGE, 2, 3)
    record = EngineRecord(
        bundle_id=bundle.bundle_id,
        sha256=checked.exported.sha256,
        precision=precision,
        opset=OPSET,
        parity=checked.parity,
        versions=library_versions('torch', 'onnx', 'onnxruntime'),
        features_sha256=hashlib.sha256(features).hexdigest() if features else None,
        statistics_transform=checked.exported.transform,
        options=options,
    )
    path = write_engine(bundle, checked.exported.onnx, record, features)
    progress(_STAGE, 3, 3)
    return Export(path, checked.parity, full.graph is not graph, accuracy)


class _Checked(NamedTuple):
    """An exported graph that agrees with the trained model, and its part up to the features."""

    graph: Graph
    exported: ExportedGraph
    parity: Parity
    features: bytes | None


def _export_checked(graph: Graph, bundle: Bundle, progress: ProgressCallback) -> _Checked:
    """Export a graph in fp32, or the exact one if its predictions are too far off."""
    try:
        return _check(graph, to_onnx(graph, bundle.manifest), bundle)
    except (BackendError, ExportError):
        if graph.exact is None:
            raise
    progress('exporting the exact graph', 1, 3)
    exact = graph.exact()
    return _check(exact, to_onnx(exact, bundle.manifest), bundle)


def _check(graph: Graph, traced: Traced, bundle: Bundle) -> _Checked:
    exported, features = traced
    parity = check_parity(exported, bundle, map_tolerance=graph.map_tolerance)
    return _Checked(graph, exported, parity, features)


def _cast(
    full: _Checked,
    bundle: Bundle,
    precision: str,
    data: Category | None,
    progress: ProgressCallback,
) -> _Checked:
    """The same graph in a lower precision."""
    images = _some(inputs_of(bundle.geometry(), data.train)) if data else []
    inputs = GraphInputs(full.exported)(bundle.statistics())
    onnx_bytes = cast_graph(full.exported.onnx, precision, images, inputs, progress=progress)
    # The constants may have other names now.
    exported = ExportedGraph(onnx_bytes, transform_record(onnx_bytes, full.graph.transform))
    parity = check_parity(exported, bundle, precision)
    return _Checked(full.graph, exported, parity, full.features)


def _accuracies(
    full: _Checked,
    cast: _Checked,
    bundle: Bundle,
    precision: str,
    data: Category | None,
    progress: ProgressCallback,
) -> tuple[float, float] | None:
    """Image AUROC in fp32 and in a lower precision; None without labelled images."""
    if data is None or not data.is_labelled:
        return None
    return (
        _accuracy(full.exported, bundle, data.test, 'testing in fp32', progress),
        _accuracy(cast.exported, bundle, data.test, f'testing in {precision}', progress),
    )


def _check_accuracy(bundle: Bundle, precision: str, accuracy: tuple[float, float] | None) -> None:
    if accuracy is None or accuracy[0] - accuracy[1] <= _AUROC_LOSS:
        return
    msg = (
        f'{bundle.folder}: image AUROC falls from {accuracy[0]:.4f} in fp32 to {accuracy[1]:.4f} '
        f'in {precision}; nothing was written; export in another precision'
    )
    if precision == 'int8':
        msg += ', or train with a ResNet, which keeps its accuracy in int8'
    raise ExportError(msg)


def _some(images: Sequence[LabelledImage]) -> list[npt.NDArray[np.uint8]]:
    """Images from all over: neighbours in a folder are often alike."""
    return [labelled.pixels for labelled in images[:: -(-len(images) // _CALIBRATION)]]


def check_parity(
    exported: ExportedGraph,
    bundle: Bundle,
    precision: str = 'fp32',
    *,
    map_tolerance: float = 0.0,
) -> Parity:
    """Compare a graph's predictions of the golden images with the trained model's own.

    Args:
        exported: The graph.
        bundle: The bundle that it was exported from.
        precision: Precision of the graph; see `adet_core.inference.parity.BANDS`.
        map_tolerance: See `adet_training.adapter.Graph`.

    Raises:
        BundleError: The golden images or the statistics are missing or damaged.
        ExportError: They differ by more than the precision allows.
    """
    backend = OnnxRuntimeBackend(exported)
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


def _accuracy(
    exported: ExportedGraph,
    bundle: Bundle,
    images: Sequence[LabelledImage],
    stage: str,
    progress: ProgressCallback,
) -> float:
    """Image AUROC of a graph on labelled images."""
    backend = OnnxRuntimeBackend(exported)
    runs = bind_inputs(backend, bundle.input_statistics())
    scores, geometry = np.empty(len(images), np.float32), bundle.geometry()
    for number, labelled in enumerate(images):
        scores[number] = geometry.predict(runs, labelled.pixels).scores[0]
        progress(stage, number + 1, len(images))
    found = auroc(scores, np.array([labelled.is_anomalous for labelled in images]))
    assert found is not None
    return found


def load_graph(bundle: Bundle) -> Graph:
    """The model of a bundle, with its weights, ready to be exported.

    Raises:
        BundleError: The weights are damaged, or are not those of the model that meta.json names.
        ConfigError: adet has no such model.
    """
    manifest = bundle.manifest
    adapter, weights = load_adapter(manifest.model), load_weights(bundle)
    try:
        return adapter.graph(manifest, weights)
    except ConfigError as error:
        raise BundleError(f'{bundle.folder}: {error}') from None
    except Exception as error:  # noqa: BLE001 - each model fails in its own way
        reason = f'{WEIGHTS_FILE} does not fit the {manifest.model} that {META_FILE} describes'
        msg = f'{bundle.folder}: {reason} ({type(error).__name__}: {error!s:.200}); train again'
        raise BundleError(msg) from None


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
