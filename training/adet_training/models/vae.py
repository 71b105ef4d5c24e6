# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The VAE: compares an image with its reconstruction by a small autoencoder.

The network is in `adet_training.vae`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TYPE_CHECKING

import torch
from torch import nn

from adet_core.bundle import Manifest
from adet_core.progress import ProgressCallback
from adet_training.adapter import Adapter, FitData, Graph
from adet_training.backbone import Backbone, load_into, Weights
from adet_training.layers import NormaliseImage
from adet_training.limits import above, at_least, edges, within
from adet_training.parameters import make_parameters, SteppedParameters
from adet_training.vae import anomaly_map, VaeNetwork

if TYPE_CHECKING:
    from adet_training.vae_module import VaeModule

_SIZE = edges('a multiple of 32, 64 to 1024', lambda edge: edge % 32 == 0 and 64 <= edge <= 1024)


@dataclass(frozen=True, kw_only=True)
class VaeParameters(SteppedParameters):
    """Hyper-parameters of the VAE.

    Attributes:
        latent: Numbers that an image is rebuilt from.
        width: Channels of the first convolution are twice this.
        kl_weight: Weight of the divergence from the prior; 1 is the bound of the paper.
        learning_rate: Of Adam, at its peak.
        steps: Optimisation steps, of ``batch_size`` images each.
    """

    image_size: Annotated[int | str, _SIZE] = 128
    latent: Annotated[int, within(1, 4096)] = 64
    width: Annotated[int, within(1, 256)] = 16
    kl_weight: Annotated[float, at_least(0)] = 1.0
    learning_rate: Annotated[float, above(0)] = 1e-3
    steps: Annotated[int, at_least(1)] = 400


class VaeAdapter(Adapter[VaeParameters]):
    """See `adet_training.adapter.Adapter`."""

    parameters = VaeParameters
    retrain_steps = 100
    together = 'steps'

    def backbone(self, parameters: VaeParameters, weights: str, *, seed: int) -> None:  # noqa: ARG002
        """None: the VAE learns from the parts alone."""
        return

    def build(self, parameters: VaeParameters, backbone: Backbone | None) -> VaeModule:  # noqa: ARG002
        """An untrained VAE."""
        return _module(_network(parameters), parameters)

    def fit(
        self,
        module: VaeModule,
        data: FitData,
        folder: Path,
        parameters: VaeParameters,
        progress: ProgressCallback,
    ) -> None:
        """Measure the mean image, then train as `fit_further` does."""
        module.start(data, parameters.batch_size)
        self.fit_further(module, data, folder, parameters, progress)

    def resume(self, parameters: VaeParameters, manifest: Manifest, weights: Weights) -> VaeModule:  # noqa: ARG002
        """The trained VAE.

        Raises:
            ConfigError: The weights are not those of the network that the manifest describes.
        """
        network = _network(parameters)
        load_into(network, weights, 'model.pth')
        return _module(network, parameters)

    def fit_further(
        self,
        module: VaeModule,
        data: FitData,
        folder: Path,
        parameters: VaeParameters,
        progress: ProgressCallback,
    ) -> None:
        """Train, then measure the usual errors on all normal images."""
        module.learn(data, folder, parameters, progress)

    def weights(self, module: VaeModule) -> Weights:
        """The network, with the mean image and the usual errors on normal images."""
        return dict(module.model.network.state_dict())

    def graph(self, manifest: Manifest, weights: Weights) -> Graph:
        """The whole of the VAE.

        Raises:
            ConfigError: The weights are not those of the network that the manifest describes.
        """
        values = manifest.hyper_parameters
        known: dict[str, Any] = {
            name: values[name] for name in ('latent', 'width') if name in values
        }
        size = f'{manifest.image.width}x{manifest.image.height}'
        network = _network(make_parameters(VaeParameters, {**known, 'image_size': size}))
        load_into(network, weights, 'model.pth')
        return Graph(VaeGraph(network))


class VaeGraph(nn.Module):
    """From uint8 image to score and map."""

    def __init__(self, network: VaeNetwork) -> None:
        super().__init__()
        self.scale = NormaliseImage((0.0,) * 3, (1.0,) * 3)
        self.network = network

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Score images.

        Args:
            image: uint8 ``(N, H, W, 3)``, RGB.

        Returns:
            Score ``(N, 1)`` and map ``(N, 1, H, W)``, float32.
        """
        score, found = anomaly_map(self.network, self.scale(image))
        return score[:, None], found


def _network(parameters: VaeParameters) -> VaeNetwork:
    return VaeNetwork(parameters.size, latent=parameters.latent, width=parameters.width)


def _module(network: VaeNetwork, parameters: VaeParameters) -> VaeModule:
    # Anomalib takes seconds to import, and an export does without it.
    from adet_training.vae_module import VaeModule

    return VaeModule(
        network,
        kl_weight=parameters.kl_weight,
        learning_rate=parameters.learning_rate,
        steps=parameters.steps,
    )


ADAPTER = VaeAdapter()
