# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Whether what runs a graph gives the trained model's own answers to the golden images."""

from __future__ import annotations

from typing import Any

import numpy as np

from adet_core.bundle import Golden, Manifest, Parity
from adet_core.inference.backend import Backend

BANDS = {'fp32': 1e-3, 'fp16': 0.02, 'int8': 0.1}
"""By precision, as a share of the score range.

In fp32, how far a score may be from the model's own. In the others, how far from the threshold a
score has to be for its verdict to be sure: no such verdict may change.
"""


def measure_parity(
    backend: Backend,
    golden: Golden,
    manifest: Manifest,
    *,
    precision: str = 'fp32',
    map_tolerance: float = 0.0,
) -> Parity:
    """Run the golden images and compare.

    Args:
        backend: With the statistics bound that the answers belong to.
        golden: Images and the answers to be given.
        manifest: Of the bundle in service: the threshold and the score range.
        precision: What the graph is in; a key of `BANDS`.
        map_tolerance: What is allowed for maps in fp32 if it is more than for scores.

    Raises:
        BackendError: Inference failed.
    """
    tolerance = BANDS[precision] * manifest.score_range.span
    threshold = manifest.image_threshold.value
    scores = maps = 0.0
    flips = 0
    for image, score, anomaly_map in zip(*golden, strict=True):
        answer = backend.run(image[None])
        scores = max(scores, _difference(answer.scores[0], score))
        maps = max(maps, _difference(answer.maps[0], anomaly_map))
        flipped = (answer.scores[0] >= threshold) != (score >= threshold)
        flips += bool(flipped and abs(score - threshold) > tolerance)
    return Parity(
        pictures=len(golden.scores),
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
