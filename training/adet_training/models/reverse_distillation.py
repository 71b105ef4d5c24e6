# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Reverse distillation: a decoder that rebuilds a backbone's features of normal parts only.

Deng, Li: Anomaly Detection via Reverse Distillation from One-Class Embedding, CVPR 2022,
https://arxiv.org/abs/2201.10703

The shortest example of an adapter: docs/new_model.md goes through it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from anomalib.models import ReverseDistillation
from anomalib.models.image.reverse_distillation.anomaly_map import AnomalyMapGenerationMode
from anomalib.models.image.reverse_distillation.torch_model import ReverseDistillationModel
from anomalib.pre_processing import PreProcessor
import torch
from torch import nn
from torch.nn import functional
from torchvision.transforms.v2 import Compose, Normalize, Resize

from adet_core.bundle import Manifest
from adet_core.errors import ConfigError
from adet_core.progress import ProgressCallback
from adet_training.adapter import Adapter, FitData, Graph
from adet_training.backbone import Backbone, fill_extractor, load_backbone, load_into, Weights
from adet_training.fit import fit_steps
from adet_training.layers import NormaliseImage, SmoothUpsample
from adet_training.limits import at_least
from adet_training.parameters import SteppedParameters

# Anomalib's bottleneck and decoder are made for these layers of a ResNet.
_LAYERS = ('layer1', 'layer2', 'layer3')
_SIGMA = 4.0


@dataclass(frozen=True, kw_only=True)
class ReverseDistillationParameters(SteppedParameters):
    """Hyper-parameters of reverse distillation.

    Attributes:
        backbone: resnet18, resnet34, resnet50 or wide_resnet50_2.
        steps: Optimisation steps, of ``batch_size`` images each.
    """

    backbone: str = 'resnet18'
    steps: Annotated[int, at_least(1)] = 300


class ReverseDistillationAdapter(Adapter[ReverseDistillationParameters]):
    """See `adet_training.adapter.Adapter`."""

    parameters = ReverseDistillationParameters
    together = 'steps'

    def backbone(
        self, parameters: ReverseDistillationParameters, weights: str, *, seed: int
    ) -> Backbone:
        """The encoder, which stays as it is."""
        return load_backbone(parameters.backbone, _LAYERS, weights, seed=seed)

    def build(
        self, parameters: ReverseDistillationParameters, backbone: Backbone | None
    ) -> ReverseDistillation:
        """An untrained ReverseDistillation around the encoder.

        Raises:
            ConfigError: Anomalib has no decoder for the backbone.
        """
        assert backbone is not None
        normalise = Normalize(list(backbone.mean), list(backbone.std))
        try:
            module = ReverseDistillation(
                backbone=parameters.backbone,
                layers=_LAYERS,
                anomaly_map_mode=AnomalyMapGenerationMode.ADD,
                pre_trained=False,
                # Anomalib takes the size of the maps from the pre-processor.
                pre_processor=PreProcessor(Compose([Resize(parameters.size), normalise])),
                post_processor=False,
                evaluator=False,
                visualizer=False,
            )
        except ValueError as error:
            msg = f'backbone {parameters.backbone} has no decoder ({error}); take a ResNet'
            raise ConfigError(msg) from None
        fill_extractor(module.model.encoder, backbone, 'reverse distillation')
        return module

    def fit(
        self,
        module: ReverseDistillation,
        data: FitData,
        folder: Path,
        parameters: ReverseDistillationParameters,
        progress: ProgressCallback,
    ) -> None:
        """Train bottleneck and decoder."""
        fit_steps(module, data.fit, folder, parameters, progress, tell=data.tell)

    def weights(self, module: ReverseDistillation) -> Weights:
        """Encoder, bottleneck and decoder."""
        return dict(module.model.state_dict())

    def graph(self, manifest: Manifest, weights: Weights) -> Graph:
        """The whole of reverse distillation.

        Raises:
            ConfigError: The weights are not those of the networks that the manifest names.
        """
        spec, image = manifest.backbone, manifest.image
        if spec is None:
            msg = 'meta.json names no backbone; train again'
            raise ConfigError(msg)
        try:
            model = ReverseDistillationModel(
                backbone=spec.name,
                input_size=(image.height, image.width),
                layers=spec.layers,
                anomaly_map_mode=AnomalyMapGenerationMode.ADD,
                pre_trained=False,
            )
        except (RuntimeError, ValueError) as error:
            msg = f'meta.json: backbone {spec.name!r} cannot be built ({error}); train again'
            raise ConfigError(msg) from None
        load_into(model, weights, 'model.pth')
        # Before the first pass: in training mode that would change the running means.
        model.eval()
        return Graph(ReverseDistillationGraph(manifest, model))


class ReverseDistillationGraph(nn.Module):
    """From uint8 image to score and map."""

    def __init__(self, manifest: Manifest, model: ReverseDistillationModel) -> None:
        """Make the constants of the manifest's image size."""
        super().__init__()
        image = manifest.image
        size = (image.height, image.width)
        self.normalise = NormaliseImage(image.mean, image.std)
        self.encoder = model.encoder.feature_extractor
        self.bottleneck, self.decoder = model.bottleneck, model.decoder
        with torch.no_grad():
            maps: list[torch.Tensor] = self.encoder(torch.zeros(1, 3, *size))
        # Upsampling, summing and blurring are linear, so each layer has matrices of its own.
        self.upsample = nn.ModuleList(
            SmoothUpsample((f.shape[2], f.shape[3]), size, sigma=_SIGMA, align_corners=True)
            for f in maps
        )

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Score images.

        Args:
            image: uint8 ``(N, H, W, 3)``, RGB.

        Returns:
            Score ``(N, 1)`` and map ``(N, 1, H, W)``, float32.
        """
        features = list(self.encoder(self.normalise(image)))
        rebuilt = self.decoder(self.bottleneck(features))
        enlarged: list[Any] = [
            upsample(1 - functional.cosine_similarity(was, now)[:, None])
            for upsample, was, now in zip(self.upsample, features, rebuilt, strict=True)
        ]
        anomaly_map = torch.stack(enlarged).sum(dim=0)
        return anomaly_map.amax(dim=(2, 3)), anomaly_map


ADAPTER = ReverseDistillationAdapter()
