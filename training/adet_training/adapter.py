# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""What adet needs to know of an Anomalib model to train it and to export it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from adet_core.bundle import Manifest
from adet_training.backbone import Backbone, Weights
from adet_training.parameters import Parameters


class Graph(NamedTuple):
    """A module to export.

    Attributes:
        module: Called with the image batch (uint8 ``(N, H, W, 3)``, RGB) and the statistics in
            order, returns the score ``(N, 1)`` and the anomaly map ``(N, 1, H, W)``, float32.
        statistics: Name and example of each further input, in order.
    """

    module: nn.Module
    statistics: Mapping[str, torch.Tensor]


class Adapter(Protocol):
    """One model; `adet_training.models.padim` is the example to follow.

    Attributes:
        parameters: The dataclass of its hyper-parameters.
    """

    parameters: type[Parameters]

    def backbone(self, parameters: Any, weights: str, *, seed: int) -> Backbone:
        """The feature extractor with its weights."""

    def build(self, parameters: Any, backbone: Backbone) -> Any:
        """An untrained Anomalib module that holds the backbone."""

    def weights(self, module: Any) -> Weights:
        """What goes into ``model.pth``."""

    def statistics(self, module: Any) -> dict[str, npt.NDArray[np.float32]]:
        """What goes into the statistics file; named as the graph's inputs."""

    def graph(self, manifest: Manifest, weights: Weights) -> Graph:
        """The whole way from picture to score, as one module, from a bundle alone."""
