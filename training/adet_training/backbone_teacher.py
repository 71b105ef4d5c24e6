# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""A pretrained backbone as EfficientAD's teacher, without distilling a smaller one from it."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from adet_training.backbone import Backbone, Channels

# As the networks of EfficientAD: an output for every fourth pixel, less what they do not pad.
_STRIDE, _BORDER = 4, 4


class BackboneTeacher(nn.Module):
    """The features of a backbone where EfficientAD's networks have their outputs.

    Attributes:
        channels: How many they are.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, network: nn.Module, mean: Channels, std: Channels) -> None:
        """Wrap a network.

        Args:
            network: Takes float32 ``(N, 3, H, W)``, gives one feature map per layer.
            mean: Channel means its images are normalised with, on the 0..1 scale.
            std: Channel deviations, on the same scale.
        """
        super().__init__()
        self.network = network
        self.register_buffer('mean', torch.tensor(mean).reshape(1, 3, 1, 1))
        self.register_buffer('std', torch.tensor(std).reshape(1, 3, 1, 1))
        with torch.no_grad():
            layers = network.eval()(torch.zeros(1, 3, 64, 64))
        self.channels = sum(layer.shape[1] for layer in layers)

    @classmethod
    def of(cls, backbone: Backbone) -> BackboneTeacher:
        """The teacher that a backbone is."""
        return cls(backbone.network, backbone.mean, backbone.std)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Float32 ``(N, 3, H, W)`` on the 0..1 scale to ``(N, C, H / 4 - 8, W / 4 - 8)``."""
        size = [-(-edge // _STRIDE) for edge in image.shape[-2:]]
        layers = [
            # Smoothed as PatchCore's, so that they do not depend on where a part lies exactly.
            functional.interpolate(functional.avg_pool2d(layer, 3, 1, 1), size, mode='bilinear')
            for layer in self.network((image - self.mean) / self.std)
        ]
        joined = torch.cat(layers, dim=1)
        return joined[..., _BORDER:-_BORDER, _BORDER:-_BORDER]
