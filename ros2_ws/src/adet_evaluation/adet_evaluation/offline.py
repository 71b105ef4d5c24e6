# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Inspecting a source without ROS: every frame once, as fast as the detectors go."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
import time

from adet_core.errors import AdetError
from adet_core.image import Image
from adet_core.inference.detector import Detector, Inspection
from adet_core.io.masks import find_mask, Mask, read_mask
from adet_core.io.sources import Frame, FrameSource
from adet_core.metrics import pixel_metrics, PixelMetrics
from adet_core.progress import ProgressCallback, silent
from adet_core.records import Record
from adet_core.scoring import AnomalyMap


@dataclass
class OfflineRun:
    """What one detector said of a source.

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
    source: FrameSource, detectors: Mapping[str, Detector], *, progress: ProgressCallback = silent
) -> dict[str, OfflineRun]:
    """Let detectors inspect every frame of a source, one after the other.

    Nothing is dropped and nothing depends on time, so the same source gives the same scores each
    time. Memory grows by a row per frame; where anomalous images have masks, also by the maps of
    these and of the normal images, 4 bytes a pixel.

    Args:
        source: Anything that ends.
        detectors: By the name that the rows of each are returned under.
        progress: Told of the progress.
    """
    runs = {name: OfflineRun() for name in detectors}
    maps: dict[str, list[tuple[AnomalyMap, Mask]]] = {name: [] for name in detectors}
    start, busy = time.perf_counter(), 0.0
    for number, (stamp, frame) in enumerate(stamped(source)):
        for name, detector in detectors.items():
            began = time.perf_counter()
            row, inspection = _judge(detector, stamp, frame)
            runs[name].rows.append(row)
            if inspection and (mask := _mask(frame, inspection)) is not None:
                maps[name].append((inspection.anomaly_map, mask))
            took = time.perf_counter() - began
            runs[name].seconds += took
            busy += took
        progress('inspecting', number + 1, source.total)
    reading = time.perf_counter() - start - busy
    for name, run in runs.items():
        run.seconds += reading
        if any(mask.any() for _, mask in maps[name]):
            run.pixels = pixel_metrics(
                (anomaly_map for anomaly_map, _ in maps[name]), (mask for _, mask in maps[name])
            )
    return runs


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


def _judge(detector: Detector, stamp: int, frame: Frame) -> tuple[Record, Inspection | None]:
    row = Record(
        stamp_ns=stamp,
        frame_id=frame.frame_id,
        source=frame.source,
        label=frame.label,
        model=detector.bundle.manifest.model,
        bundle_id=detector.bundle.bundle_id,
        error=frame.error,
    )
    if frame.image is None:
        return row, None
    try:
        inspection = detector.inspect(frame.image)
    except AdetError as error:
        # As the node has it: the image gets its row, and the rest goes on.
        return replace(row, error=str(error)), None
    return (
        replace(
            row,
            score=inspection.score,
            normalised_score=inspection.normalised_score,
            threshold=inspection.threshold,
            is_anomalous=inspection.is_anomalous,
            is_uncertain=inspection.is_uncertain,
            regions=inspection.regions,
            inference_ms=inspection.inference_ms,
        ),
        inspection,
    )


def _mask(frame: Frame, inspection: Inspection) -> Mask | None:
    """What is known of each pixel; None where nobody said."""
    if frame.label == 'normal':
        return inspection.anomaly_map < float('-inf')
    if frame.label != 'anomaly' or (path := find_mask(Path(frame.source))) is None:
        return None
    rows, columns = inspection.anomaly_map.shape
    return read_mask(path, (rows, columns))
