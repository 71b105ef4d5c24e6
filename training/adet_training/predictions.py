# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""A trained module's own predictions, which every export is held to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from adet_core.geometry import Geometry
from adet_core.image import ImageArray
from adet_core.prediction import Prediction
from adet_core.progress import ProgressCallback, silent


def predict(
    module: Any,
    images: Sequence[ImageArray],
    progress: ProgressCallback = silent,
    stage: str = '',
    *,
    geometry: Geometry | None = None,
) -> Prediction:
    """The trained module's own raw prediction, one image at a time as the detector runs.

    Args:
        module: A trained Anomalib module.
        images: uint8 ``(H, W, 3)`` RGB, all of one size, at least one.
        progress: Told the progress under the name ``stage``.
        stage: Name of the stage, for the progress.
        geometry: The images are on its canvas; None: they are inputs of the graph.
    """
    return Prediction.concatenate(each_prediction(module, images, progress, stage, geometry))


def each_prediction(
    module: Any,
    images: Sequence[ImageArray],
    progress: ProgressCallback,
    stage: str,
    geometry: Geometry | None,
) -> Iterator[Prediction]:
    """As `predict`, one image after the other."""
    device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    # Every export is held to these predictions: ten bits of mantissa would not do.
    torch.backends.cudnn.allow_tf32 = False
    module = module.to(device).eval()

    def run(inputs: npt.NDArray[np.uint8]) -> Prediction:
        scores, maps = [], []
        for one in inputs:
            with torch.inference_mode():
                found = module.model(module.pre_processor(to_tensor(one)[None].to(device)))
            scores.append(float(found.pred_score))
            # Some of Anomalib's models leave out the axis of the channel.
            maps.append(found.anomaly_map.reshape(found.anomaly_map.shape[-2:]).cpu().numpy())
        return Prediction(np.array(scores, np.float32), np.stack(maps))

    for number, image in enumerate(images, start=1):
        yield geometry.predict(run, image) if geometry else run(image[None])
        progress(stage, number, len(images))
    module.cpu()


def to_tensor(image: ImageArray) -> torch.Tensor:
    """A preprocessed image as float32 ``(3, H, W)`` on the 0..1 scale."""
    return torch.from_numpy(image).permute(2, 0, 1).to(torch.float32) / 255
