# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""A network of EfficientAD that is over soon; apart from `tiny_models`, as it needs anomalib."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from anomalib.models.image.efficient_ad.torch_model import SmallPatchDescriptionNetwork
import pytest
from torch import nn

from adet_training.distill import SIZES


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


@contextmanager
def thin_networks() -> Iterator[None]:
    """Make the network ``small`` a `ThinNetwork`; ``medium``, of few tests, keeps its width.

    Images of an EfficientAD have 256 pixels at least: else its tests took a third of the time of
    all.
    """
    with pytest.MonkeyPatch.context() as patch:
        networks = 'anomalib.models.image.efficient_ad.torch_model'
        patch.setattr(f'{networks}.{SmallPatchDescriptionNetwork.__name__}', ThinNetwork)
        patch.setitem(SIZES, 'small', ThinNetwork)
        yield
