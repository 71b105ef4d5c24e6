# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""A small convolutional variational autoencoder: anomalous is what it cannot rebuild.

Kingma, Welling: Auto-Encoding Variational Bayes, ICLR 2014, https://arxiv.org/abs/1312.6114

It learns from pixels alone and needs no pretrained backbone, which is its use: it is small, fast
and free of other people's weights, and it compares an image with the nearest good one that it
can imagine. It suits parts that always lie the same way under steady light, and defects that
change brightness or colour. What it rebuilds is blurred, so defects that are no stronger than the
texture around them escape it, and so do most on parts whose look varies a lot: there expect much
less than from PatchCore, PaDiM or EfficientAD.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import nn

from adet_training import processes
from adet_training.layers import SmoothUpsample

_SMALLEST, _LARGEST, _MULTIPLE = 64, 1024, 32
_STEM = 4
# Halving stops here, so that the dense layers stay small.
_COARSEST = 8
# Pixels enter the network as distances from the mean image, in units of a quarter of the scale.
_UNIT = 0.25
# Variance that rounding to 256 levels makes: nobody can rebuild an image better than that.
_ROUNDING = 1 / (12 * 255**2)
# Squares of errors on the 0..1 scale would vanish where an engine calculates in half precision.
_PERCENT = 100
# Of the blur of error maps, as a share of the edge.
_SIGMA = 1 / 64
# Of the mean deviation over the image, added to that of each pixel: no pixel is trusted blindly.
_FLOOR = 0.5


class VaeLoss(NamedTuple):
    """What training makes small; scalars, float32.

    Attributes:
        reconstruction: Half the logarithm of the mean squared error.
        kl: Kullback-Leibler divergence of the codes from the prior, in nats per image.
        total: What to minimise, in nats per pixel and channel.
    """

    reconstruction: torch.Tensor
    kl: torch.Tensor
    total: torch.Tensor


class VaeNetwork(nn.Module):
    """Encoder, decoder, and what is usual on normal images.

    Images are float32 ``(N, 3, H, W)``, RGB on the 0..1 scale; so are reconstructions, which may
    leave that range a little. Three buffers are no parameters, yet belong to the weights:
    ``mean_image`` ``(1, 3, H, W)``, set by `start` before training, and ``error_mean`` and
    ``error_std`` ``(1, 1, H, W)``, set by `finish` after it.
    """

    mean_image: torch.Tensor
    error_mean: torch.Tensor
    error_std: torch.Tensor

    def __init__(self, size: tuple[int, int], *, latent: int = 64, width: int = 16) -> None:
        """Make an untrained network.

        Args:
            size: Height ``H`` and width ``W`` of the images: multiples of 32, from 64 to 1024.
                Powers of two make the smallest dense layers.
            latent: Numbers ``L`` in the code of an image.
            width: Channels double from twice this to eight times this.

        Raises:
            ValueError: ``size`` is another.
        """
        super().__init__()
        if any(edge % _MULTIPLE or not _SMALLEST <= edge <= _LARGEST for edge in size):
            msg = f'size is {size}; each edge must be a multiple of 32, from 64 to 1024'
            raise ValueError(msg)
        channels, (rows, columns) = [2 * width], (size[0] // _STEM, size[1] // _STEM)
        while rows % 2 == columns % 2 == 0 and min(rows, columns) > _COARSEST:
            channels.append(min(2 * channels[-1], 8 * width))
            rows, columns = rows // 2, columns // 2
        pairs = list(pairwise(channels))
        features = channels[-1] * rows * columns
        self.encoder = nn.Sequential(
            _block(nn.Conv2d, 3, channels[0], _STEM),
            *(_block(nn.Conv2d, fine, coarse) for fine, coarse in pairs),
            nn.Flatten(),
            nn.Linear(features, 2 * latent),
        )
        self.decoder = nn.Sequential(
            nn.Linear(latent, features),
            nn.Unflatten(1, (channels[-1], rows, columns)),
            *(_block(nn.ConvTranspose2d, coarse, fine) for fine, coarse in reversed(pairs)),
            nn.ConvTranspose2d(channels[0], 3, 2 * _STEM, _STEM, _STEM // 2),
        )
        self.smooth = SmoothUpsample(size, size, sigma=_SIGMA * min(size))
        self.register_buffer('mean_image', torch.full((1, 3, *size), 0.5))
        self.register_buffer('error_mean', torch.zeros(1, 1, *size))
        self.register_buffer('error_std', torch.ones(1, 1, *size))

    def encode(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and logarithm of the variance of the code, both float32 ``(N, L)``."""
        mean, log_variance = self.encoder((x - self.mean_image) / _UNIT).chunk(2, dim=1)
        return mean, log_variance.clamp(-12, 12)

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        """Rebuild images ``(N, 3, H, W)`` from codes ``(N, L)``."""
        rebuilt: torch.Tensor = self.decoder(z) * _UNIT + self.mean_image
        return rebuilt

    @torch.no_grad()
    def start(self, batches: Iterable[torch.Tensor]) -> None:
        """Before training: set the mean image, so that only what differs is to be learnt.

        Args:
            batches: All the normal images, ``(n, 3, H, W)`` each.
        """
        self.mean_image.copy_(_mean_and_std(batches)[0])

    @torch.no_grad()
    def finish(self, batches: Iterable[torch.Tensor]) -> None:
        """After training, in evaluation mode: learn how far off the network usually is, and where.

        Args:
            batches: All the normal images, ``(n, 3, H, W)`` each.
        """
        mean, std = _mean_and_std(error_map(self, x) for x in batches)
        self.error_mean.copy_(mean)
        self.error_std.copy_(std + _FLOOR * std.mean() + _PERCENT * _ROUNDING**0.5)


def loss(network: VaeNetwork, x: torch.Tensor, *, kl_weight: float = 1.0) -> VaeLoss:
    """The negative evidence lower bound less a constant, with codes drawn at random.

    The variance of the decoder's Gaussian is the mean squared error itself, the best there is, so
    that the two terms are in balance on any part without anyone weighing them: Rybkin, Daniilidis,
    Levine: Simple and Effective VAE Training with Calibrated Decoders, ICML 2021,
    https://arxiv.org/abs/2006.13202

    Args:
        network: In training mode.
        x: Normal images, float32 ``(N, 3, H, W)``.
        kl_weight: 1 is the bound itself; more makes for plainer codes.
    """
    mean, log_variance = network.encode(x)
    z = mean + torch.randn_like(mean) * (log_variance / 2).exp()
    squared = (network.decode(z) - x).square().mean()
    reconstruction = (squared + _ROUNDING).log() / 2
    kl = (mean.square() + log_variance.exp() - 1 - log_variance).sum(dim=1).mean() / 2
    return VaeLoss(reconstruction, kl, reconstruction + kl_weight * kl / x[0].numel())


def error_map(network: VaeNetwork, x: torch.Tensor) -> torch.Tensor:
    """Root of the blurred squared error of rebuilding images from the mean of their codes.

    Args:
        network: In evaluation mode.
        x: Float32 ``(N, 3, H, W)``.

    Returns:
        Float32 ``(N, 1, H, W)``, in percent of the scale.
    """
    mean, _ = network.encode(x)
    difference = (network.decode(mean) - x) * _PERCENT
    squared = difference.square().mean(dim=1, keepdim=True)
    smooth: torch.Tensor = network.smooth(squared)
    return smooth.sqrt()


def anomaly_map(network: VaeNetwork, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """How unusual the error is at each pixel, in deviations from its mean on normal images.

    The normal images are those learnt from; on others, the fewer there were to learn from, the
    higher is the usual. Some places of good parts are always rebuilt badly, edges for one;
    counting deviations keeps them from drowning what is new elsewhere. Values below 0 are better
    than usual.

    Args:
        network: Trained and finished, in evaluation mode.
        x: Float32 ``(N, 3, H, W)``.

    Returns:
        Score ``(N,)``, the highest of the map, and map ``(N, 1, H, W)``, float32.
    """
    unusual = (error_map(network, x) - network.error_mean) / network.error_std
    return unusual.amax(dim=(1, 2, 3)), unusual


def _block(
    kind: type[nn.Conv2d | nn.ConvTranspose2d], inputs: int, outputs: int, factor: int = 2
) -> nn.Sequential:
    """Shrink or enlarge by a factor, with a kernel that overlaps by half on each side."""
    return nn.Sequential(
        kind(inputs, outputs, 2 * factor, factor, factor // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.LeakyReLU(0.1),
    )


def _mean_and_std(batches: Iterable[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Over the first dimension of all batches together, which is kept as 1; float32.

    Where several processes train, the batches of all of them.
    """
    count, mean, squares = 0, torch.zeros(()), torch.zeros(())
    for batch in batches:
        values = batch.double()
        difference = values.mean(dim=0, keepdim=True) - mean
        total = count + len(values)
        mean = mean + difference * (len(values) / total)
        spread = (values - values.mean(dim=0, keepdim=True)).square().sum(dim=0, keepdim=True)
        squares = squares + spread + difference.square() * (count * len(values) / total)
        count = total
    if processes.count() > 1:
        counts = processes.collect(count)
        whole = processes.add_up(mean * (count / sum(counts)))
        squares = processes.add_up(squares + (mean - whole).square() * count)
        mean, count = whole, sum(counts)
    return mean.float(), (squares / max(count, 1)).sqrt().float()
