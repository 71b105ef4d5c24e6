# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""What a model says of images, whatever runs it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt


class Prediction(NamedTuple):
    """Raw scores and anomaly maps of ``N`` images.

    Attributes:
        scores: float32 ``(N,)``.
        maps: float32 ``(N, H, W)``.
    """

    scores: npt.NDArray[np.float32]
    maps: npt.NDArray[np.float32]

    @classmethod
    def concatenate(cls, parts: Iterable[Prediction]) -> Prediction:
        """One prediction of the images of all parts, in their order; at least one part."""
        scores, maps = zip(*parts, strict=True)
        return cls(np.concatenate(scores), np.concatenate(maps))
