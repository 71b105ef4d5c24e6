# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Anomalib's PatchCore, as adet trains it.

A graph is made without it, by `adet_training.models.patchcore`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anomalib.models import Patchcore
from anomalib.models.image.patchcore.torch_model import PatchcoreModel
from anomalib.pre_processing import PreProcessor
import torch
from torchvision.transforms.v2 import Normalize

from adet_core.models.coreset import PatchStore
from adet_core.progress import ProgressCallback
from adet_training import processes
from adet_training.adapter import FitData
from adet_training.backbone import Backbone, fill_extractor
from adet_training.fit import fit_in_order
from adet_training.limits import check


@dataclass(frozen=True, kw_only=True)
class BankSettings:
    """How a bank is made; see `adet_training.models.patchcore.PatchcoreParameters`."""

    patch_size: int
    coreset_ratio: float
    max_bank: int
    num_neighbors: int
    search_channels: int
    batch_size: int


def make_patchcore(
    backbone: Backbone, name: str, layers: Sequence[str], settings: BankSettings
) -> PatchcoreModule:
    """A Patchcore without its bank.

    Args:
        backbone: The weights of the feature extractor.
        name: timm's name of it.
        layers: Layers whose features are used, finest first.
        settings: How the bank is made.

    Raises:
        ConfigError: Anomalib's extractor does not fit the backbone.
    """
    module = PatchcoreModule(
        backbone=name,
        layers=list(layers),
        pre_trained=False,
        coreset_sampling_ratio=settings.coreset_ratio,
        num_neighbors=settings.num_neighbors,
        pre_processor=PreProcessor(Normalize(list(backbone.mean), list(backbone.std))),
        post_processor=False,
        evaluator=False,
        visualizer=False,
    )
    fill_extractor(module.model.feature_extractor, backbone, 'PatchCore')
    module.model.euclidean_dist = _distances
    size = settings.patch_size
    module.model.feature_pooler = torch.nn.AvgPool2d(size, stride=1, padding=size // 2)
    module.settings = settings
    return module


class PatchcoreModule(Patchcore):  # type: ignore[misc]  # anomalib has no types
    """Anomalib's module, with a coreset that is quick, bounded and interruptible.

    Attributes:
        settings: How the bank is made.
        progress: Told the progress of the selection.
        patches: What the images show.
    """

    settings: BankSettings
    progress: ProgressCallback
    patches: PatchStore

    def learn(self, data: FitData, folder: Path, progress: ProgressCallback) -> None:
        """Fill the memory bank; its selection reports its own progress.

        Args:
            data: The images.
            folder: The run's folder.
            progress: Told the progress.
        """
        self.progress = progress
        batches = data.batches(self.settings.batch_size)
        fit_in_order(self, data.fit, folder, batches, progress, exchange=processes.in_first)

    def begin(self, in_order: processes.InOrder) -> None:
        """Forget all images; those of all processes will come in order."""
        self._in_order = in_order
        self.patches = PatchStore(self.settings.max_bank, progress=self.progress)

    def training_step(self, batch: Any, *_: Any, **__: Any) -> torch.Tensor:
        """Add the patches of a batch."""
        # Of one image with more tiles than that.
        parts = batch.image.split(self.settings.batch_size)
        features = torch.cat([self.model(part).cpu() for part in parts])
        self.model.embedding_store.clear()
        for found in self._in_order.add(features.numpy()):
            self.patches.add(found)
        # Lightning wants a loss, Anomalib's PatchCore has none.
        return torch.tensor(0.0, requires_grad=True, device=self.device)

    def fit(self) -> None:
        """Choose the memory bank from the features of all images, in the first process.

        Raises:
            ConfigError: They are fewer than the neighbours.
        """
        for found in self._in_order.rest():
            self.patches.add(found)
        if processes.rank():
            return
        count = self.patches.count
        least, most = self.settings.num_neighbors, self.settings.max_bank
        check(least <= count, 'num_neighbors', least, f'at most all {count} patches')
        size = min(max(int(count * self.settings.coreset_ratio), least), most)
        seed = int(torch.randint(2**31, (1,)))
        bank = self.patches.select(size, seed=seed, is_given=False, progress=self.progress)
        self.model.memory_bank = torch.from_numpy(bank).to(self.device)


def _distances(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Anomalib's distances, computed in float64.

    In float32 equal features, as of a background without texture, are some thousandths apart. No
    graph could agree with that.
    """
    exact: torch.Tensor = PatchcoreModel.euclidean_dist(one.double(), other.double())
    return exact.to(one.dtype)
