# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The VAE, as Lightning trains it. A graph is made without it, by `adet_training.models.vae`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from anomalib.data import InferenceBatch
from lightning.pytorch import LightningModule
import torch
from torch import nn

from adet_core.io.labelled import LabelledImage
from adet_core.progress import ProgressCallback
from adet_training.adapter import FitData
from adet_training.fit import fit_steps
from adet_training.parameters import SteppedParameters
from adet_training.predictions import to_tensor
from adet_training.vae import anomaly_map, loss, VaeNetwork

# Share of the steps. Not a tenth: torch divides by 0 where this times the steps is 1.
_WARM_UP = 0.11


class VaeModule(LightningModule):
    """A network, with the loss and the optimiser of its training."""

    def __init__(
        self, network: VaeNetwork, *, kl_weight: float, learning_rate: float, steps: int
    ) -> None:
        """Have the network as it is.

        Args:
            network: The VAE.
            kl_weight: Weight of the divergence from the prior.
            learning_rate: Of Adam, at its peak.
            steps: Of the training.
        """
        super().__init__()
        self.model = _AnomalibModel(network)
        self.pre_processor = nn.Identity()
        self.trainer_arguments = {'gradient_clip_val': 1.0}
        self._kl_weight, self._rate, self._steps = kl_weight, learning_rate, steps

    def learn(
        self,
        data: FitData,
        folder: Path,
        parameters: SteppedParameters,
        progress: ProgressCallback,
    ) -> None:
        """Train, then measure the usual errors on all normal images.

        Args:
            data: The images.
            folder: The run's folder.
            parameters: How long.
            progress: Told the progress.
        """
        fit_steps(self, data.fit, folder, parameters, progress, tell=data.tell)
        self.model.network.finish(_batches(data.fit, parameters.batch_size))

    def start(self, data: FitData, batch_size: int) -> None:
        """Measure the mean image."""
        self.model.network.start(_batches(data.fit, batch_size))

    def training_step(self, batch: Any, *_: Any) -> torch.Tensor:
        """The loss of one batch of normal images."""
        parts = loss(self.model.network, batch.image, kl_weight=self._kl_weight)
        self.log_dict({f'train_{name}': value for name, value in parts._asdict().items()})
        return parts.total

    def configure_optimizers(self) -> Any:
        """Adam, with one cycle of the learning rate."""
        rate, steps = self._rate, self._steps
        optimizer = torch.optim.Adam(self.parameters(), lr=rate)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, rate, total_steps=steps, pct_start=_WARM_UP
        )
        return [optimizer], [{'scheduler': schedule, 'interval': 'step'}]


class _AnomalibModel(nn.Module):
    """The network with the outputs of Anomalib's models."""

    def __init__(self, network: VaeNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> InferenceBatch:
        score, found = anomaly_map(self.network, images)
        return InferenceBatch(pred_score=score, anomaly_map=found)


def _batches(images: Sequence[LabelledImage], size: int) -> Iterator[torch.Tensor]:
    for first in range(0, len(images), size):
        yield torch.stack(
            [to_tensor(labelled.pixels) for labelled in images[first : first + size]]
        )
