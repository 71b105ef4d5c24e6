# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Whether a graph predicts what its model predicts, on a few images."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from adet_core.bundle import Parity
from adet_core.inference.backend import Backend
from adet_core.prediction import Prediction
from adet_core.progress import ProgressCallback, silent

BANDS = {'fp32': 1e-3, 'fp16': 0.02, 'int8': 0.1}
"""By precision, the tolerance as a share of the score range.

In fp32 it is how far a score may differ from the model's own. In the others a verdict is sure if
its score is farther than this from the threshold, and no sure verdict may change.
"""


def measure_parity(
    backend: Backend,
    images: npt.NDArray[np.uint8],
    expected: Prediction,
    *,
    threshold: float,
    span: float,
    precision: str = 'fp32',
    map_tolerance: float = 0.0,
    progress: ProgressCallback = silent,
) -> Parity:
    """Run images one by one and compare the predictions with the expected ones.

    Args:
        backend: Runs the graph, with the statistics bound that the expected prediction belongs to.
        images: uint8 ``(K, H, W, 3)``, RGB, of the graph's size.
        expected: The model's own prediction of these images.
        threshold: Raw score at or above which an image is anomalous.
        span: Of the score range.
        precision: Of the graph; a key of `BANDS`.
        map_tolerance: Allowed difference of maps in fp32, if it is more than that of scores.
        progress: Told the progress under the name ``validate``.

    Raises:
        BackendError: Inference failed.
    """
    tolerance = BANDS[precision] * span
    scores = maps = 0.0
    flips = 0
    for number, (image, score, anomaly_map) in enumerate(zip(images, *expected, strict=True)):
        found = backend.run(image[None])
        scores = max(scores, _difference(found.scores[0], score))
        maps = max(maps, _difference(found.maps[0], anomaly_map))
        flipped = (found.scores[0] >= threshold) != (score >= threshold)
        flips += bool(flipped and abs(score - threshold) > tolerance)
        progress('validate', number + 1, len(images))
    return Parity(
        pictures=len(images),
        score_difference=scores,
        map_difference=maps,
        tolerance=tolerance,
        map_tolerance=max(tolerance, map_tolerance),
        flips=None if precision == 'fp32' else flips,
    )


def _difference(one: Any, other: Any) -> float:
    """The largest absolute difference; infinite where one is not a number."""
    with np.errstate(invalid='ignore'):
        difference = np.abs(np.subtract(one, other, dtype=np.float64))
    return float(np.nan_to_num(difference, nan=np.inf).max())
