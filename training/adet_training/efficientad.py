# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""EfficientAD's training: Anomalib's module, with steps that a CPU can take many of.

The networks without padding see 33 x 33 pixels at a time and give an output for every fourth
pixel, so what they give for a piece of an image is what they give for the image, there.
"""

from __future__ import annotations

from collections.abc import Sequence
import math
from typing import Any

from anomalib.models import EfficientAd
import torch
from torch.nn import functional

from adet_core.image import ImageArray
from adet_core.progress import ProgressCallback
from adet_training import processes
from adet_training.backbone_teacher import BackboneTeacher
from adet_training.layout import some
from adet_training.least_squares import convolutions, draw_weights, LastLayer
from adet_training.natural import Natural
from adet_training.predictions import to_tensor

# From the paper: values between these quantiles of normal parts' maps are scaled to 0..0.1.
_LOW, _HIGH = 0.9, 0.995
# The paper's share of a map's values that counts as hard to imitate.
_HARD = 0.001
_TINY = 1e-12
# Smallest distance of the quantiles: as a share of the lower one, and if that one is 0.
_NARROW, _FLAT = 1e-3, 1e-6

# Of the networks: pixels from one output to the next, what an output sees, and outputs that an
# image has fewer at each side than a quarter of its pixels.
_STRIDE, _SEEN, _BORDER = 4, 33, 4
# Edge of the pieces that the student learns on, in outputs; they are 125 pixels wide.
_OUTPUTS = 24
# Edge of the pieces that it is to fail on, in pixels: 36 outputs.
_NATURAL_PIECE = 56
# Images that are looked at to find the best checkpoint.
_LOOKED_AT = 8
# Pieces that the student's last layer is solved with, outputs of each, and how much its weights
# are held back.
_SOLVED, _ROWS, _RIDGE = 128, 200, 3e-3
_TOGETHER = 8
# Of natural images in that, which are to give 0.
_NATURAL_WEIGHT = 0.1


class EfficientAdModule(EfficientAd):  # type: ignore[misc]  # anomalib has no types
    """Anomalib's module, without its downloads.

    Attributes:
        natural: Images of the penalty, or None.
        share: How much of the training is done, 0 to 1.
    """

    natural: Natural | None = None
    share: float = 0.0

    def on_train_start(self) -> None:
        """Download nothing: Anomalib would fetch its teacher and photographs here."""

    def on_train_batch_start(self, *_: Any, **__: Any) -> None:
        """Set the rate of learning."""
        # Lightning has switched the whole module to training.
        self.model.teacher.eval()
        for group in self.optimizers().param_groups:
            group['lr'] = self.lr * (1 + math.cos(math.pi * min(self.share, 1.0))) / 2

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam over student and autoencoder; its rate falls to 0 over the training."""
        learning = [*self.model.student.parameters(), *self.model.ae.parameters()]
        return torch.optim.Adam(learning, lr=self.lr, weight_decay=self.weight_decay)

    def training_step(self, batch: Any, *_: Any, **__: Any) -> torch.Tensor:
        """The paper's losses, on a piece of the image; the penalty only with natural images.

        The autoencoder, which is cheap, sees the whole image. Of two images one is changed as in
        the paper, for all losses alike: so each piece passes through the student once.
        """
        model, image = self.model, batch.image
        half = model.teacher_out_channels
        if torch.rand(()) < 0.5:
            image = model.choose_random_aug_image(image)
        rebuilt = model.ae(image, image.shape[-2:])
        at = [_random_outputs(edge) for edge in rebuilt.shape[-2:]]
        rebuilt = _cut(rebuilt, *at)
        piece = _cut(image, *map(_pixels, at))
        wanted = self.teacher_output(image, at)
        student = model.student(piece)
        like_teacher, like_rebuilt = student.split(half, dim=1)
        loss = _hardest((wanted - like_teacher) ** 2)
        if self.natural is not None:
            other = self._natural_piece().to(image.device)
            loss = loss + (model.student(other)[:, :half] ** 2).mean()
        loss = loss + functional.mse_loss(rebuilt, wanted)
        loss = loss + functional.mse_loss(rebuilt, like_rebuilt)
        total: torch.Tensor = loss
        self.log('train_loss', total.detach())
        return total

    @torch.no_grad()
    def teacher_output(self, image: torch.Tensor, at: Sequence[slice]) -> torch.Tensor:
        """Some of the teacher's outputs for an image, scaled to mean 0 and variance 1.

        Args:
            image: Float32 ``(N, 3, H, W)`` on the 0..1 scale.
            at: Rows and columns of the outputs.

        Returns:
            Float32 ``(N, C, rows, columns)``.
        """
        if isinstance(self.model.teacher, BackboneTeacher):
            # It sees far around a piece.
            output = _cut(self.model.teacher(image), *at)
        else:
            output = self.model.teacher(_cut(image, *map(_pixels, at)))
        scaled: torch.Tensor = (output - self.model.mean_std['mean']) / self.model.mean_std['std']
        return scaled

    @torch.no_grad()
    def solve_student(self, images: Sequence[ImageArray], progress: ProgressCallback) -> None:
        """Let the student begin as near to the teacher as its last layer alone can bring it.

        The other layers are random features. The last one is solved for by least squares: on
        pieces of normal images for the teacher's outputs, on natural images for 0.
        """
        draw_weights(self.model.student)
        layer = LastLayer(self.model.student.eval(), self.model.teacher_out_channels)
        order = torch.randint(len(images), (_SOLVED,)).tolist()
        for first in range(0, _SOLVED, _TOGETHER):
            pieces, wanted = [], []
            for index in order[first : first + _TOGETHER]:
                whole = to_tensor(images[index])[None]
                size = [-(-edge // _STRIDE) - 2 * _BORDER for edge in whole.shape[-2:]]
                at = [_random_outputs(edge) for edge in size]
                pieces.append(_cut(whole, *map(_pixels, at)))
                wanted.append(self.teacher_output(whole, at))
            count = _ROWS * len(pieces)
            layer.add(torch.cat(pieces), torch.cat(wanted), count=count)
            if self.natural is not None:
                others = [self._natural_piece() for _ in pieces]
                layer.add(torch.cat(others), None, count=count, weight=_NATURAL_WEIGHT)
            progress('solving the student', first + len(pieces), _SOLVED)
        layer.solve(_RIDGE)
        # The autoencoder's outputs are small, too, before it has learned.
        convolutions(self.model.student)[-1].weight[self.model.teacher_out_channels :].zero_()

    def _natural_piece(self) -> torch.Tensor:
        """A piece of a natural image, ``(1, 3, 56, 56)``."""
        assert self.natural is not None
        other = self.natural.one()
        top, left = (int(torch.randint(n - _NATURAL_PIECE + 1, ())) for n in other.shape[1:])
        return other[None, :, top : top + _NATURAL_PIECE, left : left + _NATURAL_PIECE]

    @torch.no_grad()
    def learn_teacher_scale(
        self, images: Sequence[ImageArray], progress: ProgressCallback
    ) -> None:
        """Measure mean and deviation of each of the teacher's channels on normal images."""
        teacher = self.model.teacher.eval()
        device = self.device
        sums = torch.zeros(2, self.model.teacher_out_channels, dtype=torch.float64, device=device)
        count = 0
        for number, image in enumerate(images, start=1):
            output = teacher(to_tensor(image)[None].to(device)).double()
            sums += torch.stack([output.sum((0, 2, 3)), (output**2).sum((0, 2, 3))])
            count += output[0, 0].numel()
            progress('measuring the teacher', number, len(images))
        processes.add_up(sums)
        count = sum(processes.collect(count))
        mean = sums[0] / count
        # On images of one colour a channel may not vary at all.
        std = (sums[1] / count - mean**2).clamp(min=_TINY).sqrt()
        self.model.mean_std['mean'].data = mean.float().reshape(1, -1, 1, 1)
        self.model.mean_std['std'].data = std.float().reshape(1, -1, 1, 1)

    @torch.no_grad()
    def held_out_loss(self, images: Sequence[ImageArray]) -> float:
        """The losses on pieces of some images that are not learned from, in evaluation mode."""
        model, half = self.model, self.model.teacher_out_channels
        losses = []
        # From all over: the first ones may be tiles of one image's upper edge.
        for image in some(images, _LOOKED_AT):
            whole = to_tensor(image)[None].to(self.device)
            rebuilt = model.ae(whole, whole.shape[-2:])
            middle = [slice((n - _OUTPUTS) // 2, (n + _OUTPUTS) // 2) for n in rebuilt.shape[-2:]]
            piece = _cut(whole, *map(_pixels, middle))
            like_teacher, like_rebuilt = model.student(piece).split(half, dim=1)
            rebuilt = _cut(rebuilt, *middle)
            wanted = self.teacher_output(whole, middle)
            loss = _hardest((wanted - like_teacher) ** 2)
            loss = loss + functional.mse_loss(rebuilt, wanted)
            losses.append(float(loss + functional.mse_loss(rebuilt, like_rebuilt)))
        return sum(losses) / len(losses)

    @torch.no_grad()
    def learn_map_scale(self, images: Sequence[ImageArray], progress: ProgressCallback) -> None:
        """Measure the quantiles that scale both maps, on normal images kept back."""
        maps: dict[str, list[torch.Tensor]] = {'st': [], 'ae': []}
        for number, image in enumerate(images, start=1):
            batch = to_tensor(image)[None].to(self.device)
            found = self.model.eval().get_maps(batch, normalize=False)
            for name, values in zip(maps, found, strict=True):
                maps[name].append(values.flatten())
            progress('scaling the maps', number, len(images))
        for name, values in maps.items():
            # Not torch.quantile, which takes no more than 16 million values.
            ranked = torch.cat(values).sort().values
            low, high = (float(ranked[int(q * (len(ranked) - 1))]) for q in (_LOW, _HIGH))
            self.model.quantiles[f'qa_{name}'].data = torch.tensor(low, device=self.device)
            # Maps of images of one colour are flat: then there is no range to scale by.
            least = max(low * _NARROW, _FLAT)
            high = max(high, low + least)
            self.model.quantiles[f'qb_{name}'].data = torch.tensor(high, device=self.device)


def _hardest(distance: torch.Tensor) -> torch.Tensor:
    """Mean of the thousandth of the distances that is largest."""
    flat = distance.flatten()
    return flat.topk(max(int(flat.numel() * _HARD), 1)).values.mean()


def _cut(images: torch.Tensor, rows: slice, columns: slice) -> torch.Tensor:
    """A part of images, or of maps, ``(N, C, H, W)``."""
    return images[..., rows, columns]


def _random_outputs(edge: int) -> slice:
    """Rows, or columns, of the outputs of a random piece, of so many in all."""
    # Beyond the edges, too: else those would be learned least.
    first = int(torch.randint(edge, ())) - _OUTPUTS // 2
    first = min(max(first, 0), edge - _OUTPUTS)
    return slice(first, first + _OUTPUTS)


def _pixels(outputs: slice) -> slice:
    """The pixels that outputs of the teacher see."""
    return slice(_STRIDE * outputs.start, _STRIDE * (outputs.stop - 1) + _SEEN)
