# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Predictions of a model that was just trained, fast: through its graph in ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timezone
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from adet_core.bundle import DatasetInfo, ImageSpec, Manifest, ScoreRange, Threshold
from adet_core.errors import AdetError, ExportError
from adet_core.geometry import Geometry, Runs
from adet_core.image import ImageArray
from adet_core.inference.backend import bind_inputs
from adet_core.inference.onnxruntime import OnnxRuntimeBackend
from adet_core.inference.parity import BANDS
from adet_core.prediction import Prediction
from adet_core.progress import ProgressCallback, silent
from adet_training.adapter import AnyAdapter, Graph
from adet_training.backbone import Backbone
from adet_training.parameters import Parameters, plain
from adet_training.predictions import each_prediction, predict
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
        geometry: Geometry,
        count: int,
        progress: ProgressCallback = silent,
    ) -> None:
        """Trace the graph if that is worth its time.

        Args:
            adapter: The model's.
            module: Trained.
            manifest: Of its bundle; the thresholds do not matter.
            images: uint8 ``(H, W, 3)``, RGB, of the canvas' size; the graph is compared with the
                module on some.
            geometry: Cuts the graph's inputs from the images.
            count: How many images will be predicted.
            progress: Told the progress.
        """
        self._module, self._geometry = module, geometry
        self._runs: Runs | None = None
        self.traced: Traced | None = None
        pixels = count * geometry.inputs * manifest.image.height * manifest.image.width
        is_slow = pixels < _WORTH_A_GRAPH or torch.cuda.is_available()
        # The module itself has the statistics of the first tile alone.
        if is_slow and not geometry.has_own_statistics:
            return
        progress(_STAGE, 0, 1)
        self._trace(adapter, manifest, images)
        progress(_STAGE, 1, 1)
        if geometry.has_own_statistics and self._runs is None:
            msg = f'no graph of {manifest.model} predicts what the model predicts'
            raise ExportError(f'{msg}; train with more images, or with --set tiles_share=true')

    def _trace(
        self, adapter: AnyAdapter, manifest: Manifest, images: Sequence[ImageArray]
    ) -> None:
        module = self._module
        views = self._geometry.views
        # One input of each image, another one each time; or the first, whose statistics it has.
        inputs = 1 if self._geometry.has_own_statistics else self._geometry.inputs
        tried = [
            views(images[number])[turn % inputs]
            for turn, number in enumerate(_spread(len(images)))
        ]
        expected = predict(module, tried)
        for number, graph in enumerate(_graphs(adapter, module, manifest)):
            try:
                traced = to_onnx(graph, manifest)
                backend = OnnxRuntimeBackend(traced.exported, threads=torch.get_num_threads())
                runs = bind_inputs(backend, adapter.input_statistics(module))
                agrees = _agrees(backend, tried, expected, graph.map_tolerance)
            except AdetError:
                continue
            if agrees:
                self._runs = runs
                # An export tries the first one, and says so where it takes the exact one.
                self.traced = None if number else traced
                return

    def __call__(
        self,
        images: Sequence[ImageArray],
        progress: ProgressCallback,
        stage: str,
        *,
        empty: Callable[[tuple[int, ...], npt.DTypeLike], npt.NDArray[Any]] = np.empty,
    ) -> Prediction:
        """Raw scores and maps.

        Args:
            images: uint8 ``(H, W, 3)`` RGB, of the canvas' size, at least one.
            progress: Told the progress under the name ``stage``.
            stage: Name of the stage, for the progress.
            empty: Makes the array of the maps, as `numpy.empty`.
        """
        count, size = len(images), self._geometry.size
        found = Prediction(np.empty(count, np.float32), empty((count, *size), np.float32))
        for number, one in enumerate(self._each(images, progress, stage)):
            found.scores[number], found.maps[number] = one.scores[0], one.maps[0]
        return found

    def scores(
        self, images: Sequence[ImageArray], progress: ProgressCallback, stage: str
    ) -> npt.NDArray[np.float32]:
        """Raw scores alone, float32 ``(N,)``: maps of many large images would fill the memory."""
        return np.concatenate([one.scores for one in self._each(images, progress, stage)])

    def _each(
        self, images: Sequence[ImageArray], progress: ProgressCallback, stage: str
    ) -> Iterator[Prediction]:
        runs, geometry = self._runs, self._geometry
        if runs is None:
            yield from each_prediction(self._module, images, progress, stage, geometry)
            return
        for number, image in enumerate(images, start=1):
            yield geometry.predict(runs, image)
            progress(stage, number, len(images))


def draft_manifest(
    parameters: Parameters,
    backbone: Backbone | None,
    *,
    image: ImageSpec,
    model: str,
    category: str,
    seed: int,
) -> Manifest:
    """What the bundle of a training will say, before anything is predicted: no thresholds."""
    unknown = Threshold(value=0.0, method='normal_quantile', normals=0, anomalies=0)
    return Manifest(
        model=model,
        category=category,
        created=datetime.now(timezone.utc).isoformat(timespec='seconds'),
        image=image,
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
