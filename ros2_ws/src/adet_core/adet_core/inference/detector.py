# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The entry point of inspection: an image in, a verdict out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, repeat
import math
from pathlib import Path
import time

import cv2
import numpy as np
import numpy.typing as npt

from adet_core.bundle import Bundle, open_bundle, read_engine
from adet_core.errors import BackendError
from adet_core.geometry import Placement
from adet_core.image import Image, ImageArray, to_bgr
from adet_core.inference.backend import (
    Backend,
    BackendRequest,
    fork_inputs,
    make_ready,
    open_backend,
    OpenedBackend,
)
from adet_core.inference.kept_inputs import bundle_inputs
from adet_core.operating_point import p_value, p_value_text
from adet_core.overlay import draw_overlay, shown_regions
from adet_core.prediction import Prediction
from adet_core.progress import ProgressCallback, silent
from adet_core.scoring import AnomalyMap, find_regions, normalise_score, Region


@dataclass(frozen=True)
class Inspection:
    """What the detector found in one image.

    Attributes:
        score: Raw score.
        normalised_score: 0 to 1, the threshold at 0.5.
        threshold: The raw threshold the verdict was made with.
        is_anomalous: ``score >= threshold``.
        is_uncertain: The score lies below ``threshold`` but in the bundle's uncertain band.
        regions: Anomalous regions, strongest first; empty for a normal image.
        anomaly_map: float32 ``(H, W)``, raw. It covers the whole image, and is -inf where
            nothing is inspected.
        bundle_id: The bundle that made all this.
        inference_ms: Wall time from the decoded image to this result.
        p_value: How often a good part scores at least so high; not a number where the bundle
            knows no scores of normal images.
        category: What the bundle was trained for.
    """

    score: float
    normalised_score: float
    threshold: float
    is_anomalous: bool
    is_uncertain: bool
    regions: tuple[Region, ...]
    anomaly_map: AnomalyMap
    bundle_id: str
    inference_ms: float
    p_value: float = math.nan
    category: str = ''


class Detector:
    """A bundle with its graph loaded and its statistics bound; used from one thread at a time.

    Attributes:
        bundle: What it inspects with.
        backend: Where its graph runs.
        backend_reason: Why ``auto`` took this backend; empty if there is nothing to say.
        backend_choice: Its name in `adet_core.inference.backend.BACKENDS`, if it was loaded.
        graph_sha256: Checksum of the graph, if it was loaded from a folder.
        geometry: Brings images to the graph, and its maps back.
        threshold: Raw score at or above which an image is anomalous; may be set at any time.
    """

    def __init__(
        self,
        bundle: Bundle,
        backend: Backend,
        *,
        float_range: tuple[float, float] = (0.0, 1.0),
    ) -> None:
        """Inspect with a backend that is ready; `load` opens one.

        Args:
            bundle: A bundle as it is in service.
            backend: Runs its graph, with its statistics bound; those of further inputs of an image
                are bound to forks of it.
            float_range: For 32FC1 images, see `adet_core.image.preprocess`.
        """
        self.bundle = bundle
        self.backend = backend
        self.backend_reason = ''
        self.backend_choice = ''
        self.graph_sha256 = ''
        self.threshold = bundle.manifest.image_threshold.value
        self._float_range = float_range
        self.geometry = bundle.geometry()
        has_own = self.geometry.has_own_statistics
        rest = slice(1, None)
        others = bundle_inputs(bundle, backend.inputs, wanted=rest) if has_own else []
        self._others = fork_inputs(backend, others)

    @classmethod
    def load(
        cls,
        folder: Path,
        *,
        model: str | None = None,
        backend: str = 'auto',
        threads: int = 0,
        float_range: tuple[float, float] = (0.0, 1.0),
        beside: Sequence[Detector] = (),
        build: bool = True,
        progress: ProgressCallback = silent,
    ) -> Detector:
        """Open a bundle folder, as it is in service, with its exported engine.

        Args:
            folder: A bundle folder that ``adet export`` has been run on.
            model: The model name the caller needs; None takes any.
            backend: A key of `adet_core.inference.backend.BACKENDS`, or ``auto``: TensorRT
                where it works, else what is quickest on this CPU.
            threads: See `adet_core.inference.backend.BackendRequest`.
            float_range: For 32FC1 images, see `adet_core.image.preprocess`.
            beside: Detectors of the same backend: a graph that one of them has is not loaded a
                second time.
            build: Whether TensorRT may build an engine, which takes minutes on a small board,
                backends be measured, which takes seconds, and what the statistics become be kept.
            progress: Told the progress of the build.

        Raises:
            BackendError: The graph cannot be run here.
            BundleError: The bundle or its engine is missing, damaged or foreign.
        """
        bundle = open_bundle(folder, model=model, in_service=True)
        graph = read_engine(bundle)
        same = next((one for one in beside if one.graph_sha256 == graph.sha256), None)
        opened = _fork(same, bundle, may_keep=build) if same else None
        if opened is None:
            request = BackendRequest(
                bundle=bundle,
                graph=graph,
                threads=threads,
                build=build,
                # Nothing is measured while images are inspected.
                prefer=beside[0].backend_choice if beside else '',
                progress=progress,
            )
            opened = open_backend(backend, request)
        detector = cls(bundle, opened.backend, float_range=float_range)
        detector.graph_sha256, detector.backend_reason = graph.sha256, opened.reason
        detector.backend_choice = opened.choice
        return detector

    def inspect(self, image: Image) -> Inspection:
        """Inspect one image of any size and supported encoding.

        Raises:
            BackendError: Inference failed.
            ImageError: The image's encoding is not supported.
        """
        return self.begin(image)()

    def begin(self, image: Image) -> Callable[[], Inspection]:
        """Begin to inspect one image of any size and supported encoding.

        Where the backend overlaps, the processor is free until the result is asked for.

        Returns:
            Waits for the result; raises BackendError if the inference failed.

        Raises:
            BackendError: Inference failed.
            ImageError: The image's encoding is not supported.
        """
        start = time.perf_counter()
        canvas, placement = self.geometry.place(image, float_range=self._float_range)
        finish = self._start(canvas)
        return lambda: self._judge(finish(), placement, start)

    def _start(self, canvas: ImageArray) -> Callable[[], Prediction]:
        """Begin to predict one image, its inputs in batches that bound the memory."""
        batches = self.geometry.batches(canvas)
        first = self.backend.start(next(batches))

        def finish() -> Prediction:
            runs = self._others or repeat(self.backend.run)
            rest = (run(batch) for batch, run in zip(batches, runs, strict=False))
            return self.geometry.join(chain([first()], rest))

        return finish

    def _judge(self, found: Prediction, placement: Placement, start: float) -> Inspection:
        # Read once: an operator may change it while this image is inspected.
        threshold = self.threshold
        score, anomaly_map = float(found.scores[0]), placement.to_source(found.maps[0])
        if not math.isfinite(score):
            # Compared with any threshold, it would pass as normal.
            msg = f'the graph gave the score {score}; export or deploy the bundle again'
            raise BackendError(msg)
        manifest = self.bundle.manifest
        is_anomalous = score >= threshold
        uncertain_from = manifest.image_threshold.uncertain_from
        pixel_threshold = manifest.pixel_threshold.value
        size = placement.source
        regions = find_regions(anomaly_map, pixel_threshold, size) if is_anomalous else ()
        return Inspection(
            score=score,
            normalised_score=normalise_score(score, threshold, manifest.score_range.span),
            threshold=threshold,
            is_anomalous=is_anomalous,
            is_uncertain=uncertain_from is not None and uncertain_from <= score < threshold,
            regions=regions,
            anomaly_map=anomaly_map,
            bundle_id=self.bundle.bundle_id,
            inference_ms=(time.perf_counter() - start) * 1e3,
            p_value=p_value(score, manifest.score_range.normals),
            category=manifest.category,
        )

    def run(self, images: Sequence[ImageArray]) -> Prediction:
        """The raw prediction of images that `adet_core.geometry.Geometry.place` made.

        Raises:
            BackendError: Inference failed.
        """
        if not self.geometry.is_plain:
            first = self.backend.run
            run = [first, *self._others] if self._others else first
            return Prediction.concatenate(self.geometry.predict(run, one) for one in images)
        batch: npt.NDArray[np.uint8] = images[0][None] if len(images) == 1 else np.stack(images)
        return self.backend.run(batch)

    def overlay(self, image: Image, inspection: Inspection) -> ImageArray:
        """The image as bgr8 with map and regions drawn on it, ``(H, W, 3)``."""
        drawn = to_bgr(image, float_range=self._float_range)
        return self._draw(drawn, inspection, 1.0)

    def preview(
        self, image: Image, inspection: Inspection, width: int
    ) -> tuple[ImageArray, ImageArray]:
        """The image, and the same with map and regions drawn on it, no wider than ``width``.

        Args:
            image: As it was inspected.
            inspection: Of it.
            width: Pixels of a row at most; a smaller image keeps its size.

        Returns:
            Two of bgr8 ``(H, W, 3)``.
        """
        plain = to_bgr(image, float_range=self._float_range)
        height, own = plain.shape[:2]
        scale = min(width / own, 1.0)
        if scale < 1:
            size = (width, max(round(height * scale), 1))
            plain = np.asarray(cv2.resize(plain, size, interpolation=cv2.INTER_AREA))
        return plain, self._draw(plain, inspection, scale)

    def _draw(self, image: ImageArray, inspection: Inspection, scale: float) -> ImageArray:
        """Draw on an image, bgr8, that is so many times as large as the one inspected."""
        manifest = self.bundle.manifest
        size = (round(image.shape[0] / scale), round(image.shape[1] / scale))
        shown = shown_regions(inspection.regions, size, is_anomalous=inspection.is_anomalous)
        return draw_overlay(
            image,
            inspection.anomaly_map,
            [one.scaled(scale) for one in shown],
            threshold=manifest.pixel_threshold.value,
            span=manifest.score_range.span,
            caption=p_value_text(inspection.p_value),
        )


def _fork(beside: Detector, bundle: Bundle, *, may_keep: bool) -> OpenedBackend | None:
    """A fork of a detector's backend for another bundle; None if it does not take its statistics.

    A memory bank may have grown beyond what an engine was built for.
    """
    with suppress(BackendError):
        backend = beside.backend.fork()
        make_ready(backend, bundle, may_keep=may_keep)
        return OpenedBackend(backend, beside.backend_reason, beside.backend_choice)
    return None
