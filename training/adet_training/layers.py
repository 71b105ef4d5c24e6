# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Layers that the exported graphs of several models share."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional


class NormaliseImage(nn.Module):
    """uint8 ``(N, H, W, 3)`` RGB to float32 ``(N, 3, H, W)``, mean subtracted, divided by std."""

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """Take mean and standard deviation of each channel, on the 0..1 scale."""
        super().__init__()
        mean_, std_ = torch.tensor(mean), torch.tensor(std)
        self.register_buffer('scale', (1 / (255 * std_)).reshape(1, 3, 1, 1), persistent=False)
        self.register_buffer('shift', (-mean_ / std_).reshape(1, 3, 1, 1), persistent=False)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Normalise; the cast comes first because TensorRT does not transpose uint8."""
        pixels = image.to(torch.float32).permute(0, 3, 1, 2)
        return pixels * self.get_buffer('scale') + self.get_buffer('shift')


class SmoothUpsample(nn.Module):
    """Upsamples and blurs a map by two small matrix products.

    Both operations are linear and separable, so ``out = A_rows @ map @ A_columns.T`` with constant
    matrices equals upsampling, padding by reflection and convolution with a Gaussian.
    """

    def __init__(
        self,
        source: tuple[int, int],
        target: tuple[int, int],
        *,
        sigma: float = 0.0,
        mode: str = 'linear',
        border: int = 0,
        align_corners: bool = False,
    ) -> None:
        """Compute the matrices.

        Args:
            source: Height and width of the input maps.
            target: Height and width of the output maps.
            sigma: Standard deviation of the blur in pixels of the target; the kernel reaches 4
                sigma. 0: no blur.
            mode: Interpolation of the upsampling, ``linear`` or ``nearest``.
            border: Width of a border of zeros that is added to the input.
            align_corners: Passed to torch's ``interpolate`` with ``linear``.
        """
        super().__init__()
        rows, columns = (
            _blur(_enlarge(before, after, mode, border, align_corners), sigma)
            for before, after in zip(source, target, strict=True)
        )
        self.register_buffer('rows', rows, persistent=False)
        self.register_buffer('columns', columns.T.contiguous(), persistent=False)

    def forward(self, small: torch.Tensor) -> torch.Tensor:
        """Upsample and blur float32 ``(N, 1, h, w)`` to ``(N, 1, H, W)``."""
        enlarged = torch.matmul(self.get_buffer('rows'), small)
        return torch.matmul(enlarged, self.get_buffer('columns'))


def _enlarge(
    source: int,
    target: int,
    mode: str,
    border: int,
    align_corners: bool,
) -> torch.Tensor:
    """The upsampled unit vectors, ``(source, 1, target)``: the rows of the matrix, transposed."""
    units = functional.pad(torch.eye(source, dtype=torch.float64)[:, None, :], (border, border))
    corners = align_corners if mode == 'linear' else None
    return functional.interpolate(units, size=target, mode=mode, align_corners=corners)


def _blur(enlarged: torch.Tensor, sigma: float) -> torch.Tensor:
    """Blur the upsampled unit vectors: the matrix of both operations, ``(target, source)``."""
    if sigma:
        reach = int(4 * sigma + 0.5)
        offsets = torch.arange(-reach, reach + 1, dtype=torch.float64)
        kernel = torch.exp(-(offsets**2) / (2 * sigma**2))
        padded = functional.pad(enlarged, (reach, reach), mode='reflect')
        enlarged = functional.conv1d(padded, (kernel / kernel.sum())[None, None])
    return enlarged[:, 0].T.contiguous().float()
