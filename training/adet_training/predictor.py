# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Predictions of a model that was just trained, fast: through its graph in ONNX Runtime."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from typing import Any

import numpy as np
import torch

from adet_core.bundle import DatasetInfo, ImageSpec, Manifest, ScoreRange, Threshold
from adet_core.errors import AdetError
from adet_core.image import ImageArray
from adet_core.inference.onnxruntime import OnnxRuntimeBackend
from adet_core.inference.parity import BANDS
from adet_core.prediction import Prediction
from adet_core.progress import ProgressCallback, silent
from adet_training.adapter import AnyAdapter, Graph
from adet_training.backbone import Backbone
from adet_training.fit import predict
from adet_training.parameters import Parameters, plain
from adet_training.trace import to_onnx, Traced
from adet_training.versions import library_versions

# Tracing a graph takes as long as predicting this many pixels in torch on a CPU does.
_WORTH_A_GRAPH = 150 * 256**2
_TRIED = 8
_STAGE = 'tracing the graph'


class Predictor:
    """Predicts as a trained module does.

    Many images go through its exported graph in ONNX Runtime, which takes a fifth of the time of
    torch on a CPU. A few go through the module itself, as do all of them on a GPU, and where no
    graph of the model agrees with it.

    Attributes:
        traced: The model's graph; None where another one or the module predicts.
    """

    def __init__(
        self,
        adapter: AnyAdapter,
        module: Any,
        manifest: Manifest,
        images: Sequence[ImageArray],
        *,
        count: int,
        progress: ProgressCallback = silent,
    ) -> None:
        """Trace the graph if that is worth its time.

        Args:
            adapter: The model's.
            module: Trained.
            manifest: Of its bundle; the thresholds do not matter.
            images: uint8 ``(H, W, 3)``, RGB; the graph is compared with the module on some.
            count: How many images will be predicted.
            progress: Told the progress.
        """
        self._module = module
        self._backend: OnnxRuntimeBackend | None = None
        self.traced: Traced | None = None
        pixels = count * manifest.image.height * manifest.image.width
        if pixels < _WORTH_A_GRAPH or torch.cuda.is_available():
            return
        progress(_STAGE, 0, 1)
        self._trace(adapter, manifest, images)
        progress(_STAGE, 1, 1)

    def _trace(
        self, adapter: AnyAdapter, manifest: Manifest, images: Sequence[ImageArray]
    ) -> None:
        module = self._module
        tried = [images[number] for number in _spread(len(images))]
        expected = predict(module, tried)
        for number, graph in enumerate(_graphs(adapter, module, manifest)):
            try:
                traced = to_onnx(graph, manifest)
                backend = OnnxRuntimeBackend(traced.exported, threads=torch.get_num_threads())
                backend.bind(adapter.statistics(module))
                agrees = _agrees(backend, tried, expected, graph.map_tolerance)
            except AdetError:
                continue
            if agrees:
                self._backend = backend
                # An export tries the first one, and says so where it takes the exact one.
                self.traced = None if number else traced
                return

    def __call__(
        self, images: Sequence[ImageArray], progress: ProgressCallback, stage: str
    ) -> Prediction:
        """Raw scores and maps.

        Args:
            images: uint8 ``(H, W, 3)`` RGB, all of one size, at least one.
            progress: Told the progress under the name ``stage``.
            stage: Name of the stage, for the progress.
        """
        if self._backend is None:
            return predict(self._module, images, progress, stage)
        return _run_all(self._backend, images, progress, stage)


def draft_manifest(
    adapter: AnyAdapter,
    parameters: Parameters,
    backbone: Backbone | None,
    *,
    model: str,
    category: str,
    seed: int,
) -> Manifest:
    """What the bundle of a training will say, before anything is predicted: no thresholds."""
    size = parameters.image_size
    mean, std = adapter.normalisation(backbone)
    unknown = Threshold(value=0.0, method='normal_quantile', normals=0, anomalies=0)
    return Manifest(
        model=model,
        category=category,
        created=datetime.now(timezone.utc).isoformat(timespec='seconds'),
        image=ImageSpec(height=size, width=size, mean=mean, std=std),
        backbone=backbone.spec if backbone else None,
        hyper_parameters={**plain(parameters), 'seed': seed},
        image_threshold=unknown,
        pixel_threshold=unknown,
        score_range=ScoreRange(minimum=0.0, maximum=1.0),
        dataset=DatasetInfo(
            train=0, held_out=0, test_normal=0, test_anomaly=0, unreadable=0, fingerprint=''
        ),
        metrics={},
        versions=library_versions('anomalib', 'torch', 'timm', 'numpy', 'cv2'),
    )


def _spread(count: int) -> list[int]:
    """Numbers of a few images from all over: neighbours in a folder are often alike."""
    chosen = np.linspace(0, count - 1, num=min(_TRIED, count)).round()
    return [int(number) for number in np.unique(chosen)]


def _graphs(adapter: AnyAdapter, module: Any, manifest: Manifest) -> Iterator[Graph]:
    """The model's graph, then the exact one if there is one."""
    graph = adapter.graph(manifest, dict(adapter.weights(module)))
    yield graph
    if graph.exact is not None:
        yield graph.exact()


def _run_all(
    backend: OnnxRuntimeBackend,
    images: Sequence[ImageArray],
    progress: ProgressCallback,
    stage: str,
) -> Prediction:
    found = []
    for number, image in enumerate(images, start=1):
        found.append(backend.run(image[None]))
        progress(stage, number, len(images))
    scores, maps = zip(*found, strict=True)
    return Prediction(np.concatenate(scores), np.concatenate(maps))


def _agrees(
    backend: OnnxRuntimeBackend,
    images: Sequence[ImageArray],
    expected: Prediction,
    map_tolerance: float,
) -> bool:
    """Whether a graph is as close to the module as an export has to be.

    The range of these few scores is narrower than the score range of the bundle will be, so the
    export finds no difference that was not found here.
    """
    found = [backend.run(image[None]) for image in images]
    span = float(np.ptp(expected.scores))
    tolerance = BANDS['fp32'] * span
    scores = np.abs(np.concatenate([one.scores for one in found]) - expected.scores).max()
    maps = np.abs(np.concatenate([one.maps for one in found]) - expected.maps).max()
    return bool(scores <= tolerance and maps <= max(tolerance, map_tolerance * span))
