# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""A frozen backbone at several times its speed, while a model learns from what it sees on a CPU.

Folded batch normalisation and channels-last memory take half the time, most of all of the
depthwise convolutions of an EfficientNet, and few images at a time half of that.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from adet_training import processes

# Folding takes as long as it saves of so many pixels.
_WORTH_IT = 100 * 256**2
# Pixels that each thread gets at once: half as fast with eight times that, as what layers hand on
# is then too much for its cache.
_PIECE = 256**2
# Of the largest value of a layer: what float32 loses in another order of sums.
_BAND = 1e-4


@contextmanager
def quick_backbone(extractor: Any, size: tuple[int, int], images: int) -> Iterator[None]:
    """Let Anomalib's TimmFeatureExtractor compute quickly within the block.

    It stays as it is on a GPU, for few images, and where what is folded gives other features.

    Args:
        extractor: On the CPU, in evaluation mode. Its tensors stay where they are, so that
            checkpoints find them.
        size: Height and width of the images.
        images: How many images this process will show it.
    """
    # All processes decide alike, or else they would not learn the same as one.
    pixels = sum(processes.collect(images)) * size[0] * size[1]
    if pixels < _WORTH_IT or torch.cuda.is_available():
        yield
        return
    # Not of torch's own generator: what is drawn from that is the training's.
    example = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = extractor(example)
        folded = _fold(extractor, example)
        found = folded(_channels_last(example))
    names = list(expected)
    if not all(_agree(one, expected[name]) for name, one in zip(names, found, strict=True)):
        yield
        return

    at_once = max(torch.get_num_threads() * _PIECE // (size[0] * size[1]), 1)

    def forward(images: torch.Tensor) -> dict[str, torch.Tensor]:
        parts = [folded(_channels_last(part)) for part in images.split(at_once)]
        return {name: torch.cat(layer) for name, *layer in zip(names, *parts, strict=True)}

    extractor.forward = forward
    try:
        yield
    finally:
        del extractor.forward


def _fold(extractor: nn.Module, example: torch.Tensor) -> Any:
    # Whoever folds compares, and better than the trace's own check, which takes a third of it all.
    traced = torch.jit.trace(_Listed(extractor).eval(), (example,), check_trace=False)
    return torch.jit.freeze(traced)


def _channels_last(images: torch.Tensor) -> torch.Tensor:
    return images.contiguous(memory_format=torch.channels_last)


def _agree(one: torch.Tensor, expected: torch.Tensor) -> bool:
    return bool((one - expected).abs().max() <= _BAND * expected.abs().max())


class _Listed(nn.Module):
    """An extractor that gives its layers in order, as a trace has to."""

    def __init__(self, extractor: nn.Module) -> None:
        super().__init__()
        self._extractor = extractor

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Features of normalised images ``(N, 3, H, W)``."""
        return tuple(self._extractor(images).values())
