# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""A network of EfficientAD that is over soon; apart from `tiny_models`, as it needs anomalib."""

from __future__ import annotations

from anomalib.models.image.efficient_ad.torch_model import SmallPatchDescriptionNetwork
from torch import nn


class ThinNetwork(SmallPatchDescriptionNetwork):  # type: ignore[misc]  # anomalib has no types
    """Anomalib's small network of EfficientAD with an eighth of the inner channels."""

    def __init__(self, out_channels: int, padding: bool = False) -> None:
        super().__init__(out_channels, padding)
        for name, (seen, made) in {
            'conv1': (3, 16),
            'conv2': (16, 32),
            'conv3': (32, 32),
            'conv4': (32, out_channels),
        }.items():
            old = getattr(self, name)
            setattr(self, name, nn.Conv2d(seen, made, old.kernel_size, padding=old.padding))
