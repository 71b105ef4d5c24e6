# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Anomalib's PaDiM, as adet trains it.

A graph is made without it, by `adet_training.models.padim`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from anomalib.models import Padim
from anomalib.pre_processing import PreProcessor
import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional
from torchvision.transforms.v2 import Normalize

from adet_core.errors import ConfigError
from adet_core.models.gaussian import RunningGaussians
from adet_core.progress import ProgressCallback
from adet_training import processes
from adet_training.adapter import FitData
from adet_training.backbone import Backbone, fill_extractor
from adet_training.fit import fit_in_order


def make_padim(
    backbone: Backbone, name: str, layers: Sequence[str], n_features: int | None
) -> PadimModule:
    """An untrained Padim; its channels are sorted.

    Sorted, the kept channels of one layer are neighbours, so the graph can pick them before
    it enlarges the layer. Mahalanobis distance does not depend on the order.

    Args:
        backbone: The weights of the feature extractor.
        name: timm's name of it.
        layers: Layers whose features are used, finest first.
        n_features: How many of all their channels are kept; None is Anomalib's number.

    Raises:
        ConfigError: ``n_features`` or Anomalib's extractor does not fit the backbone.
    """
    try:
        module = PadimModule(
            backbone=name,
            layers=list(layers),
            pre_trained=False,
            n_features=n_features,
            pre_processor=PreProcessor(Normalize(list(backbone.mean), list(backbone.std))),
            post_processor=False,
            evaluator=False,
            visualizer=False,
        )
    except ValueError as error:
        msg = f'n_features is {n_features or 0}: {error}; use --set n_features=N'
        raise ConfigError(msg) from None
    fill_extractor(module.model.feature_extractor, backbone, 'PaDiM')
    module.model.idx = module.model.idx.sort().values
    return module


def _nearest(count: int, length: int) -> torch.Tensor:
    """Which of so many positions each of ``length`` ones takes, as torch rounds it."""
    positions = torch.arange(count, dtype=torch.float32)[None, None]
    return functional.interpolate(positions, size=length)[0, 0].long()


class PadimModule(Padim):  # type: ignore[misc]  # anomalib has no types
    """Anomalib's module, with running sums instead of a store of all features.

    Attributes:
        of_inputs: The Gaussians of each tile, where they have their own.
        at_once: Inputs that the backbone gets at once.
    """

    at_once: int

    def __init__(self, **options: Any) -> None:
        """Learn nothing yet; the options are Anomalib's, which saves them all."""
        super().__init__(**options)
        self.of_inputs: list[dict[str, npt.NDArray[np.float32]]] = []

    def learn(self, data: FitData, folder: Path, progress: ProgressCallback) -> None:
        """Make the Gaussians of some images, ``at_once`` of them in a block.

        Args:
            data: The images.
            folder: The run's folder.
            progress: Told the progress.
        """
        # Else Anomalib would keep what was learned before.
        self._is_fitted = torch.tensor([False])
        batches = data.batches(self.at_once)
        fit_in_order(self, data.fit, folder, batches, progress, exchange=processes.by_position)

    def statistics(self) -> dict[str, npt.NDArray[np.float32]]:
        """``mean`` ``(C, P)`` and ``inv_covariance`` ``(P, C, C)`` over ``P`` positions."""
        gaussian = self.model.gaussian
        return {
            'mean': gaussian.mean.cpu().numpy(),
            'inv_covariance': gaussian.inv_covariance.cpu().numpy(),
        }

    def begin(self, in_order: processes.InOrder) -> None:
        """Forget all images; those of all processes will come in order."""
        self._in_order, self._gaussians = in_order, RunningGaussians()

    def training_step(self, batch: Any, *_: Any, **__: Any) -> torch.Tensor:
        """Add a batch to the sums."""
        # Of one image with more tiles than that.
        parts = [self._features(part).cpu() for part in batch.image.split(self.at_once)]
        for features in self._in_order.add(torch.cat(parts).numpy()):
            self._gaussians.add(features)
        # Lightning wants a loss, Anomalib's PaDiM has none.
        return torch.tensor(0.0, requires_grad=True, device=self.device)

    @torch.no_grad()
    def _features(self, images: torch.Tensor) -> torch.Tensor:
        """Anomalib's features ``(N, C, P)``, of the kept channels alone: a third of its time."""
        found = self.model.feature_extractor(images)
        size = found[self.model.layers[0]].shape[-2:]
        kept = self.model.idx
        features = kept.new_empty((len(images), len(kept), *size), dtype=torch.float32)
        first = place = 0
        for name in self.model.layers:
            layer = found[name]
            end = first + layer.shape[1]
            # They are sorted, so those of a layer are neighbours.
            own = kept[(kept >= first) & (kept < end)] - first
            few = layer.index_select(1, own).contiguous()
            # As functional.interpolate gives it in twice the time.
            for axis, length in enumerate(size, start=2):
                few = few.index_select(axis, _nearest(few.shape[axis], length).to(kept.device))
            features[:, place : place + len(own)] = few
            first, place = end, place + len(own)
        return features.flatten(2)

    def fit(self) -> None:
        """Make the Gaussians from the sums; each process makes those of its positions."""
        for features in self._in_order.rest():
            self._gaussians.add(features)
        mean = processes.in_first(self._gaussians.mean())
        inverse = processes.in_first(self._gaussians.inverse_covariance())
        if not mean:
            return
        found = self.model.gaussian
        found.mean = torch.from_numpy(np.concatenate(mean, axis=1)).to(self.device)
        found.inv_covariance = torch.from_numpy(np.concatenate(inverse)).to(self.device)
