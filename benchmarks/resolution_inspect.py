# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The part of resolution.py that inspects, as a process without torch, as on a robot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
import json
from pathlib import Path
import sys

import numpy as np

from adet_core.geometry import scale_mask
from adet_core.image import read_image
from adet_core.inference.detector import Detector
from adet_core.io.masks import Masks


@dataclass(frozen=True, kw_only=True)
class Inspected:
    """What a process found.

    Attributes:
        is_anomalous: Verdict of each image.
        ms: Time of each image.
        megapixels: Of the images, in the mean.
        hits: Anomalous pixels that were found; misses and false alarms beside them.
        misses: Anomalous pixels that were not found.
        false_alarms: Normal pixels that were.
        loaded_mib: Peak of the process before it inspected anything.
        mib: Peak afterwards.
    """

    is_anomalous: list[bool]
    ms: list[float]
    megapixels: float
    hits: int
    misses: int
    false_alarms: int
    loaded_mib: float
    mib: float


def main() -> None:
    """Inspect images, and print what was found as JSON: arguments are a bundle and the files."""
    folder, *files = sys.argv[1:]
    print(json.dumps(asdict(inspect(Path(folder), [Path(file) for file in files]))))


def inspect(folder: Path, paths: Sequence[Path]) -> Inspected:
    """Inspect images with an exported bundle."""
    detector = Detector.load(folder, backend='onnxruntime')
    found = Inspected(
        is_anomalous=[],
        ms=[],
        megapixels=0.0,
        hits=0,
        misses=0,
        false_alarms=0,
        loaded_mib=peak_mib(),
        mib=0.0,
    )
    masks, threshold = Masks(), detector.bundle.manifest.pixel_threshold.value
    for path in paths:
        image = read_image(path)
        result = detector.inspect(image)
        found.is_anomalous.append(result.is_anomalous)
        found.ms.append(result.inference_ms)
        size = result.anomaly_map.shape
        mask = masks.read_whole(path, image.size)
        truth = np.zeros(size, np.bool_) if mask is None else scale_mask(mask, size)
        flagged = result.anomaly_map >= threshold
        found = replace(
            found,
            megapixels=found.megapixels + image.size[0] * image.size[1] / 1e6 / len(paths),
            hits=found.hits + int((flagged & truth).sum()),
            misses=found.misses + int((~flagged & truth).sum()),
            false_alarms=found.false_alarms + int((flagged & ~truth).sum()),
            mib=peak_mib(),
        )
    return found


def peak_mib() -> float:
    """Peak of the memory of this process so far."""
    # Not what getrusage says: a process begins with the peak of the one that started it.
    lines = Path('/proc/self/status').read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith('VmHWM')) / 1024


if __name__ == '__main__':
    main()
