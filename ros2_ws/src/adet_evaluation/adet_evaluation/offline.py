# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Inspecting a source without ROS: every frame once, as fast as the detectors go."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
import time

import numpy as np

from adet_core.errors import AdetError
from adet_core.geometry import Mask
from adet_core.image import Image
from adet_core.inference.detector import Detector, Inspection
from adet_core.io.masks import Masks
from adet_core.io.sources import Frame, FrameSource
from adet_core.metrics import pixel_metrics, PixelMetrics
from adet_core.progress import ProgressCallback, silent
from adet_core.records import Record, with_verdict
from adet_core.scoring import AnomalyMap


@dataclass
class OfflineRun:
    """What one detector found in a source.

    Attributes:
        rows: One for each frame, in the source's order, as the recorder would write them; without
            ``latency_ms``, as nothing was waited for.
        seconds: What it would have taken without the other detectors: reading and inspecting.
        pixels: Metrics of the maps; None without marked images.
    """

    rows: list[Record] = field(default_factory=list)
    seconds: float = 0.0
    pixels: PixelMetrics | None = None


def infer_offline(
    source: FrameSource,
    detectors: Mapping[str, Detector],
    *,
    masks: Masks | None = None,
    progress: ProgressCallback = silent,
) -> dict[str, OfflineRun]:
    """Let detectors inspect every frame of a source, one after the other.

    Nothing is dropped and nothing depends on time, so the same source gives the same scores each
    time. Memory grows by a row per frame; where anomalous images have masks, also by the maps of
    these and of the normal images, 4 bytes a pixel.

    Args:
        source: Anything that ends.
        detectors: By the name that the rows of each are returned under.
        masks: Reads the masks of the images; knows in the end which of them are of no use.
        progress: Told of the progress.
    """
    masks = Masks() if masks is None else masks
    runs = {name: OfflineRun() for name in detectors}
    marked: dict[str, list[tuple[AnomalyMap, Mask]]] = {name: [] for name in detectors}
    start, busy = time.perf_counter(), 0.0
    for number, (stamp, frame) in enumerate(stamped(source)):
        size, mask = (0, 0), None
        for name, detector in detectors.items():
            began = time.perf_counter()
            row, inspection = _inspect(detector, stamp, frame)
            took = time.perf_counter() - began
            runs[name].rows.append(row)
            runs[name].seconds += took
            busy += took
            if inspection is None:
                continue
            rows, columns = inspection.anomaly_map.shape
            if size != (rows, columns):
                size = (rows, columns)
                mask = _mask(masks, frame, size)
            if mask is not None:
                marked[name].append((inspection.anomaly_map, mask))
        progress('inspecting', number + 1, source.total)
    reading = time.perf_counter() - start - busy
    for name, run in runs.items():
        run.seconds += reading
        run.pixels = _pixels(marked[name])
    return runs


def _pixels(marked: Sequence[tuple[AnomalyMap, Mask]]) -> PixelMetrics | None:
    if not any(mask.any() for _, mask in marked):
        return None
    return pixel_metrics((found for found, _ in marked), (mask for _, mask in marked))


def stamped(source: FrameSource) -> Iterator[tuple[int, Frame]]:
    """The frames with their stamps in nanoseconds; of a source without stamps, their numbers."""
    for number, frame in enumerate(source, start=1):
        yield (number if frame.stamp_ns is None else frame.stamp_ns), frame


def find_images(source: FrameSource, stamps: Collection[int]) -> dict[int, Image]:
    """Some images of a source again, by their stamps as `stamped` has them."""
    found: dict[int, Image] = {}
    for stamp, frame in stamped(source):
        if len(found) == len(stamps):
            break
        if stamp in stamps and frame.image is not None:
            found[stamp] = frame.image
    return found


def _inspect(detector: Detector, stamp: int, frame: Frame) -> tuple[Record, Inspection | None]:
    row = Record(
        stamp_ns=stamp,
        frame_id=frame.frame_id,
        source=frame.source,
        label=frame.label,
        model=detector.bundle.manifest.model,
        bundle_id=detector.bundle.bundle_id,
        category=detector.bundle.manifest.category,
        error=frame.error,
    )
    if frame.image is None:
        return row, None
    try:
        inspection = detector.inspect(frame.image)
    except AdetError as error:
        # As the node has it: the image gets its row, and the rest goes on.
        return replace(row, error=str(error)), None
    return with_verdict(row, inspection), inspection


def _mask(masks: Masks, frame: Frame, size: tuple[int, int]) -> Mask | None:
    """What is known of each pixel of an image; None where nobody said."""
    if frame.label == 'normal':
        return np.zeros(size, np.bool_)
    if frame.label == 'anomaly' and frame.image is not None:
        return masks.read(Path(frame.source), frame.image.size, size)
    return None
