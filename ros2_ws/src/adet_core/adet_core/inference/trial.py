# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""What a backend has to show before it goes into service, each time a bundle is loaded."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from adet_core.bundle import Bundle
from adet_core.errors import BackendError
from adet_core.prediction import Prediction

# Any precision on any processor stays within this share of the score range, see BANDS in parity.
_SURE = 0.1


def try_golden_images(
    predict: Callable[[npt.NDArray[np.uint8]], Prediction], bundle: Bundle
) -> None:
    """Predict two golden images: numbers that are finite, and the trained model's own verdicts.

    The first and the last are of different classes if the model was tested on both. It also makes
    sure that the first image of a part is not slow.

    Args:
        predict: Runs the graph, with the bundle's statistics bound, on images ``(1, H, W, 3)``.
        bundle: As it goes into service.

    Raises:
        BackendError: The graph fails, gives no numbers, or another verdict where it is sure.
        BundleError: The golden images are missing or damaged.
    """
    golden, manifest = bundle.golden(), bundle.manifest
    threshold, margin = manifest.image_threshold.value, _SURE * manifest.score_range.span
    # Statistics that were retrained on the robot beside the old network have scores of their own.
    is_own = bundle.bundle_id in {bundle.base_id, bundle.graph_id}
    for number in (0, -1):
        found = predict(golden.images[number][None])
        score, expected = float(found.scores[0]), float(golden.prediction.scores[number])
        if not np.isfinite(score) or not np.isfinite(found.maps).all():
            msg = f'{bundle.folder}: the graph gives what is no number for a golden image'
            raise BackendError(f'{msg}; export or deploy the bundle again')
        flips = (score >= threshold) != (expected >= threshold)
        if is_own and flips and abs(expected - threshold) > margin:
            msg = (
                f'{bundle.folder}: the graph gives the score {score:.4g} for a golden image, the '
            )
            msg += f'trained model {expected:.4g} (threshold {threshold:.4g})'
            raise BackendError(f'{msg}; export or deploy the bundle again')
