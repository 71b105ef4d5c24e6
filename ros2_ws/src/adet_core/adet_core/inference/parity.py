# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Whether a graph predicts what its model predicts, on a few images."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from adet_core.bundle import Bundle, Parity, read_record
from adet_core.inference.backend import Backend
from adet_core.prediction import Prediction
from adet_core.progress import ProgressCallback, silent

# Of the largest distance in the expected maps.
_MAP_SHARE = 0.1

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


def map_tolerance_of(bundle: Bundle, expected: Prediction) -> float:
    """How far maps may be from the expected ones after a retraining.

    The map of a search in few channels is off by a share of the distances. They may be many times
    the score range, a tenth of which was allowed at the export: there a slower graph could take
    its place, which a robot cannot make.

    Args:
        bundle: With its engine.
        expected: The retrained model's own prediction.
    """
    at_export = read_record(bundle).parity
    allowed = at_export.map_tolerance
    if allowed is None or allowed <= at_export.tolerance:
        return 0.0
    return max(allowed, _MAP_SHARE * float(expected.maps.max()))


def _difference(one: Any, other: Any) -> float:
    """The largest absolute difference; infinite where one is not a number."""
    with np.errstate(invalid='ignore'):
        difference = np.abs(np.subtract(one, other, dtype=np.float64))
    return float(np.nan_to_num(difference, nan=np.inf).max())
