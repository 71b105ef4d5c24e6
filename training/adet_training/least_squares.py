# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The last convolution of a network, solved for by least squares."""

from __future__ import annotations

from typing import cast

import torch
from torch import nn
from torch.nn import functional


def convolutions(network: nn.Module) -> list[nn.Conv2d]:
    """The convolutions of a network, in order."""
    return [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)]


def draw_weights(network: nn.Module) -> None:
    """Random weights for all convolutions, through which a signal keeps its size."""
    for layer in convolutions(network):
        # torch's own let it fade from layer to layer.
        nn.init.kaiming_normal_(layer.weight, nonlinearity='relu')
        nn.init.zeros_(cast('torch.Tensor', layer.bias))


class LastLayer:
    """Ridge regression of wanted outputs on what the last convolution of a network sees."""

    def __init__(self, network: nn.Module, outputs: int) -> None:
        """Begin without examples.

        Args:
            network: In evaluation mode or without what that changes.
            outputs: How many of the layer's outputs are solved for, the first ones.
        """
        self._network, self._outputs = network, outputs
        self._layer = convolutions(network)[-1]
        width, device = self._layer.weight[0].numel() + 1, self._layer.weight.device
        self._squares = torch.zeros(width, width, device=device)
        self._products = torch.zeros(width, outputs, device=device)

    @torch.no_grad()
    def add(
        self,
        images: torch.Tensor,
        wanted: torch.Tensor | None,
        *,
        count: int,
        weight: float = 1.0,
    ) -> None:
        """Add examples.

        Args:
            images: Float32 ``(N, 3, H, W)``.
            wanted: Outputs, float32 ``(N, outputs, rows, columns)``; None: 0.
            count: How many of all positions are taken, at random: neighbours are alike, so that a
                few outputs of many images say more than all of a few.
            weight: Of these examples.
        """
        seen: list[torch.Tensor] = []
        hook = self._layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        self._network(images)
        hook.remove()
        patches = functional.unfold(seen[0], cast('int', self._layer.kernel_size))
        rows = patches.mT.flatten(0, 1)
        some = torch.randperm(len(rows), device=rows.device)[:count]
        rows = functional.pad(rows[some], (0, 1), value=1.0)
        self._squares.addmm_(rows.mT, rows, alpha=weight)
        if wanted is not None:
            outputs = wanted.permute(0, 2, 3, 1).flatten(0, 2)[some]
            self._products.addmm_(rows.mT, outputs, alpha=weight)

    @torch.no_grad()
    def solve(self, ridge: float) -> None:
        """Set the layer's weights.

        Args:
            ridge: How much they are held back, as a share of the mean square of what is seen.
        """
        squares = self._squares.clone()
        squares.diagonal().add_(ridge * squares.diagonal()[:-1].mean())
        weights = torch.cholesky_solve(self._products, torch.linalg.cholesky(squares))
        layer, outputs = self._layer, self._outputs
        layer.weight[:outputs].copy_(weights[:-1].mT.reshape(layer.weight[:outputs].shape))
        cast('torch.Tensor', layer.bias)[:outputs].copy_(weights[-1])
