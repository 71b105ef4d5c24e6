# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""A teacher for EfficientAD: a small network that learns to give a backbone's features.

Section 3.1 and appendix of https://arxiv.org/abs/2303.14535, with fewer and smaller images.
"""

from __future__ import annotations

from collections.abc import Iterator
import io
from itertools import islice
from pathlib import Path

from anomalib.models.image.efficient_ad.torch_model import (
    MediumPatchDescriptionNetwork,
    SmallPatchDescriptionNetwork,
)
import torch
from torch import nn
from torch.nn import functional

from adet_core.bundle import write_atomic
from adet_core.progress import ProgressCallback
from adet_training.backbone import Backbone
from adet_training.least_squares import draw_weights, LastLayer
from adet_training.natural import Natural

CHANNELS = 384
"""Of a teacher's output, as in the paper."""

SIZES = {'small': SmallPatchDescriptionNetwork, 'medium': MediumPatchDescriptionNetwork}
"""The networks a teacher can be."""

IMAGE = 256
"""Edge of the photographs that pieces are taken from, in pixels."""

# Outputs of each piece that the last layer is solved with, and how much its weights are held back.
_OUTPUTS, _RIDGE = 96, 0.01

# A teacher sees 33 x 33 pixels at a time, so pieces teach it as much as whole images, sooner.
_PIECE = 128
_BATCH = 8
_MEASURED = 32
# Outputs that a convolution without padding leaves out on each side.
_BORDER = 4
_LEARNING_RATE = 3e-4


def make_teacher(model_size: str) -> nn.Module:
    """An untrained teacher.

    Args:
        model_size: A key of `SIZES`.
    """
    network: nn.Module = SIZES[model_size](out_channels=CHANNELS)
    draw_weights(network)
    return network.eval()


def distill(
    teacher: nn.Module,
    backbone: Backbone,
    images: Iterator[torch.Tensor],
    *,
    solved: int,
    steps: int,
    progress: ProgressCallback,
) -> float:
    """Train a teacher to give the features of a backbone, scaled to mean 0 and variance 1.

    The last layer is solved by least squares, which brings a teacher further in a minute than
    steps do in ten. The steps train all layers from there, and the last is solved again.

    Args:
        teacher: Changed in place; left on the CPU, in evaluation mode.
        backbone: Where the features come from.
        images: Endless; float32 ``(3, H, W)`` on the 0..1 scale, at least 128 pixels wide.
        solved: Pieces of images that the last layer is solved with.
        steps: Optimisation steps, of 8 pieces each; 0 is a last layer alone.
        progress: Told the progress.

    Returns:
        Mean squared error on other pieces: 1 is a teacher that has learned nothing.
    """
    device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    features = _Features(backbone).to(device)
    pieces = _pieces(images, device)
    labelled = _measure(features, pieces, progress)
    mean = labelled.mean((0, 2, 3), keepdim=True)
    std = labelled.std((0, 2, 3), keepdim=True).clamp(min=1e-6)
    teacher.to(device).train().requires_grad_(requires_grad=True)
    examples = ((batch, (features(batch) - mean) / std) for batch in pieces)
    _solve_last_layer(teacher, examples, solved // _BATCH, progress)
    optimizer = torch.optim.Adam(teacher.parameters(), lr=_LEARNING_RATE, weight_decay=1e-5)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(steps, 1))
    for step, (batch, wanted) in enumerate(islice(examples, steps), start=1):
        loss = functional.mse_loss(teacher(batch), wanted)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        progress('distilling a teacher', step, steps)
    if steps:
        _solve_last_layer(teacher, examples, solved // _BATCH, progress)
    teacher.eval().requires_grad_(requires_grad=False)
    others = islice(examples, _MEASURED // _BATCH)
    errors = [functional.mse_loss(teacher(batch), wanted).item() for batch, wanted in others]
    teacher.cpu()
    return sum(errors) / len(errors)


def distill_file(
    out: Path,
    *,
    model_size: str,
    backbone: Backbone,
    images: Natural,
    solved: int,
    steps: int,
    seed: int,
    progress: ProgressCallback,
) -> float:
    """Distil a teacher into a file; see `distill`.

    Raises:
        ConfigError: The photographs cannot be used.
        OSError: The file cannot be written.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    teacher = make_teacher(model_size)
    error = distill(
        teacher, backbone, images.endless(), solved=solved, steps=steps, progress=progress
    )
    data = io.BytesIO()
    torch.save(teacher.state_dict(), data)
    write_atomic(out, data.getvalue())
    return error


def _measure(
    features: nn.Module, pieces: Iterator[torch.Tensor], progress: ProgressCallback
) -> torch.Tensor:
    """The features of some pieces, ``(32, 384, H, W)``."""
    measured = []
    count = _MEASURED // _BATCH
    for number, batch in enumerate(islice(pieces, count)):
        # Told before the first, which takes longest.
        progress('measuring the backbone', number, count)
        measured.append(features(batch))
    progress('measuring the backbone', count, count)
    return torch.cat(measured)


def _solve_last_layer(
    teacher: nn.Module,
    examples: Iterator[tuple[torch.Tensor, torch.Tensor]],
    count: int,
    progress: ProgressCallback,
) -> None:
    """Solve for the last layer with so many examples."""
    layer = LastLayer(teacher, CHANNELS)
    for number, (batch, wanted) in enumerate(islice(examples, count), start=1):
        layer.add(batch, wanted, count=_OUTPUTS * _BATCH)
        progress('solving the last layer', number, count)
    layer.solve(_RIDGE)


class _Features(nn.Module):
    """The backbone's features where a teacher has its outputs, in as many channels."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.network = backbone.network.eval()
        self.register_buffer('mean', torch.tensor(backbone.mean).reshape(1, 3, 1, 1))
        self.register_buffer('std', torch.tensor(backbone.std).reshape(1, 3, 1, 1))

    @torch.no_grad()
    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        """Float32 ``(N, 3, H, W)`` to ``(N, 384, H / 4 - 8, W / 4 - 8)``."""
        # Enlarged, as in the paper: stride 8 then is a feature for every fourth pixel.
        large = functional.interpolate(batch, scale_factor=2, mode='bilinear')
        normal = (large - self.get_buffer('mean')) / self.get_buffer('std')
        size = (batch.shape[2] // 4, batch.shape[3] // 4)
        layers = [
            functional.interpolate(functional.avg_pool2d(f, 3, 1, 1), size, mode='bilinear')
            for f in self.network(normal)
        ]
        joined = torch.cat(layers, dim=1)
        inner = joined[..., _BORDER:-_BORDER, _BORDER:-_BORDER]
        rows = inner.permute(0, 2, 3, 1)
        pooled = functional.adaptive_avg_pool1d(rows.flatten(1, 2), CHANNELS)
        return pooled.reshape(*rows.shape[:3], CHANNELS).permute(0, 3, 1, 2)


def random_piece(image: torch.Tensor) -> torch.Tensor:
    """A square of 128 pixels cut at random from an image ``(3, H, W)``."""
    top, left = (int(torch.randint(edge - _PIECE + 1, (1,))) for edge in image.shape[1:])
    return image[:, top : top + _PIECE, left : left + _PIECE]


def _pieces(images: Iterator[torch.Tensor], device: torch.device) -> Iterator[torch.Tensor]:
    """Batches of pieces, ``(8, 3, 128, 128)``."""
    while True:
        batch = [random_piece(image) for image in islice(images, _BATCH)]
        yield torch.stack(batch).to(device)
