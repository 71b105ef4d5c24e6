# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""PaDiM: a Gaussian of backbone features at every position.

Defard, Setkov, Loesch, Audigier: PaDiM, a Patch Distribution Modeling Framework for Anomaly
Detection and Localization, ICPR workshops 2021, https://arxiv.org/abs/2011.08785
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, cast, TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

from adet_core.bundle import Manifest
from adet_core.errors import ConfigError
from adet_core.models.gaussian import GaussianModel
from adet_core.models.gaussian_levels import GaussianLevels, Level
from adet_core.progress import ProgressCallback
from adet_training.adapter import Adapter, FitData, Graph, StatisticsGraph
from adet_training.backbone import (
    Backbone,
    extractor_weights,
    load_backbone,
    make_network,
    network_of,
    Weights,
)
from adet_training.layers import NormaliseImage, SmoothUpsample
from adet_training.limits import at_least
from adet_training.parameters import fill_backbone, Parameters
from adet_training.proposal import Cost, PROCESS_MIB, WORK_MIB
from adet_training.quick_backbone import quick_backbone
from adet_training.timing import time_network

if TYPE_CHECKING:
    from adet_training.padim_module import PadimModule

_SIGMA = 4.0
# Of the Gaussians of all tiles; a robot holds a fifth of them, and all while a bundle is loaded.
_MOST_MIB = 1024
# Of the backbones that Anomalib has no number for.
_N_FEATURES = {'tf_efficientnet_lite0': 100}


@dataclass(frozen=True, kw_only=True)
class PadimParameters(Parameters):
    """Hyper-parameters of PaDiM.

    Attributes:
        backbone: timm's name of the network; empty: ``tf_efficientnet_lite0``, or ``resnet18``
            with layers of its own.
        layers: Layers whose features are used, finest first; empty: ``blocks.1,blocks.2,blocks.4``
            of the default backbone, ``layer1,layer2,layer3`` of a ResNet.
        n_features: How many of all their channels are kept, chosen at random with the seed. 0 is
            the paper's number, 100 for resnet18, 550 for wide_resnet50_2; 100 for
            tf_efficientnet_lite0.
        tiles_share: Whether all tiles share their Gaussians, for a texture that is alike
            everywhere; else each tile has its own.
    """

    backbone: str = ''
    layers: tuple[str, ...] = ()
    n_features: Annotated[int, at_least(0)] = 0
    tiles_share: bool = False

    def __post_init__(self) -> None:
        """Name the backbone and check ranges."""
        super().__post_init__()
        fill_backbone(self)

    @property
    def own_statistics(self) -> bool:
        """See `Parameters.own_statistics`."""
        return not self.tiles_share


class PadimAdapter(Adapter[PadimParameters]):
    """See `adet_training.adapter.Adapter`."""

    parameters = PadimParameters
    statistics_file = GaussianModel.file
    together = 'merged'

    def backbone(self, parameters: PadimParameters, weights: str, *, seed: int) -> Backbone:
        """The feature extractor with its weights."""
        return load_backbone(parameters.backbone, parameters.layers, weights, seed=seed)

    def cost(self, parameters: PadimParameters) -> Cost:
        """Time of the backbone and a tenth; a Gaussian at every position."""
        network: Any = make_network(parameters.backbone, parameters.layers)
        kept = parameters.n_features or _N_FEATURES.get(parameters.backbone, 100)
        positions = (256 // network.feature_info.reduction()[0]) ** 2
        return Cost(
            ms=1.1 * time_network(network),
            mib=PROCESS_MIB,
            mib_of_input=4 * positions * kept * (kept + 1) / (1 << 20),
            mib_of_work=WORK_MIB,
        )

    def build(self, parameters: PadimParameters, backbone: Backbone | None) -> PadimModule:
        """An untrained Padim.

        Raises:
            ConfigError: ``n_features`` or Anomalib's extractor does not fit the backbone.
        """
        # Anomalib takes seconds to import, and an export does without it.
        from adet_training.padim_module import make_padim

        assert backbone is not None
        kept = parameters.n_features or _N_FEATURES.get(parameters.backbone)
        return make_padim(backbone, parameters.backbone, parameters.layers, kept)

    def fit(
        self,
        module: PadimModule,
        data: FitData,
        folder: Path,
        parameters: PadimParameters,
        progress: ProgressCallback,
    ) -> None:
        """Learn the Gaussians; those of each tile from its images alone, unless tiles share them.

        Raises:
            ConfigError: The Gaussians of all tiles take too much memory.
        """
        module.at_once = parameters.batch_size
        has_own = data.inputs > 1 and not parameters.tiles_share
        if has_own:
            _check_memory(module, data.inputs, parameters.size)
        extractor = module.model.feature_extractor
        with quick_backbone(extractor, parameters.size, len(data.fit)):
            if has_own:
                self._learn_tiles(module, data, folder, progress)
            else:
                module.learn(data, folder, progress)

    def _learn_tiles(
        self, module: PadimModule, data: FitData, folder: Path, progress: ProgressCallback
    ) -> None:
        """Learn the Gaussians of each tile by themselves."""
        # All but the backbone, which never learns.
        learning = [part for part in module.modules() if part.training]
        for number in range(data.inputs):
            for part in learning:
                part.training = True
            own = slice(number, None, data.inputs)
            module.learn(FitData(data.fit[own], blocks=data.blocks[own]), folder, progress)
            module.of_inputs.append(module.statistics())
        # What predicts golden images is what the first tile learned.
        first = module.of_inputs[0]
        module.model.gaussian.mean = torch.from_numpy(first['mean'])
        module.model.gaussian.inv_covariance = torch.from_numpy(first['inv_covariance'])

    def fit_bytes(self, module: PadimModule, data: FitData, parameters: PadimParameters) -> int:
        """See `Adapter.fit_bytes`: the sums and their inverse, and all that is kept."""
        tiles = 1 if parameters.tiles_share else data.inputs
        return (2 + tiles) * _gaussian_bytes(module, parameters.size)

    def weights(self, module: PadimModule) -> Weights:
        """The backbone, and which channels are kept."""
        return {**extractor_weights(module.model.feature_extractor), 'idx': module.model.idx}

    def statistics(self, module: PadimModule) -> dict[str, npt.NDArray[np.float32]]:
        """As of the module; where each of ``T`` tiles has its own, with a first axis of them."""
        own = self.input_statistics(module)
        if len(own) == 1:
            return own[0]
        return {
            'mean': np.stack([one['mean'] for one in own]),
            'inv_covariance': np.stack([one['inv_covariance'] for one in own]),
        }

    def input_statistics(self, module: PadimModule) -> list[dict[str, npt.NDArray[np.float32]]]:
        """See `Adapter.input_statistics`."""
        return module.of_inputs or [module.statistics()]

    def graph(self, manifest: Manifest, weights: Weights) -> Graph:
        """The whole of PaDiM, with its Gaussians as inputs.

        Raises:
            ConfigError: The weights are not those of the backbone that the manifest names.
        """
        network = network_of(manifest, weights)
        if 'idx' not in weights:
            msg = 'model.pth holds no PaDiM weights (no idx); train again'
            raise ConfigError(msg)
        idx = weights['idx']
        _check_idx(idx, sum(cast('Any', network).feature_info.channels()))
        features = PadimFeatures(manifest, network, idx)
        positions, channels = features.size[0] * features.size[1], len(idx)
        examples = {
            'mean': np.zeros((channels, positions), np.float32),
            'inv_covariance': np.tile(np.eye(channels, dtype=np.float32), (positions, 1, 1)),
        }
        return Graph(
            PadimGraph(manifest, features),
            examples,
            transform=features.levels,
            # Inverse covariances that an earlier adet rounded too much have nothing in common.
            exact=lambda: Graph(PlainPadimGraph(manifest, features), examples),
        )


def _gaussian_bytes(module: PadimModule, size: tuple[int, int]) -> int:
    """Of mean and inverse covariance at every position of one input of the graph."""
    with torch.no_grad():
        features = module.model.feature_extractor(torch.zeros(1, 3, *size))
    rows, columns = next(iter(features.values())).shape[2:]
    channels = len(module.model.idx)
    return int(rows * columns * channels * (channels + 1) * 4)


def _check_memory(module: PadimModule, tiles: int, size: tuple[int, int]) -> None:
    """Refuse Gaussians that would fill the memory, before anything is computed."""
    mib = tiles * _gaussian_bytes(module, size) / 2**20
    if mib > _MOST_MIB:
        msg = (
            f'the Gaussians of {tiles} tiles take {mib:.0f} MiB, more than {_MOST_MIB}; take '
            '--set tiles_share=true where the texture is alike everywhere, a smaller n_features, '
            'larger tiles or coarser layers (--set layers=blocks.2,blocks.4)'
        )
        raise ConfigError(msg)


def _check_idx(idx: torch.Tensor, channels: int) -> None:
    fits = idx.dtype == torch.int64 and idx.ndim == 1 and len(idx) > 0
    if not (fits and idx[0] >= 0 and idx[-1] < channels and (idx.diff() > 0).all()):
        msg = f'model.pth: idx does not name channels of the backbone, 0 to {channels - 1}'
        raise ConfigError(f'{msg}, in ascending order; train again')


class PadimFeatures(nn.Module):
    """From uint8 image to the kept channels of all layers.

    Attributes:
        size: Rows and columns of the finest layer.
        levels: The grids of the kept channels.
    """

    def __init__(self, manifest: Manifest, network: nn.Module, idx: torch.Tensor) -> None:
        """Make the constants of one image size.

        Args:
            manifest: Image size and normalisation.
            network: The backbone, giving the layers finest first.
            idx: int64 ``(C,)``, ascending: kept channels of all layers laid end to end.
        """
        super().__init__()
        image = manifest.image
        self.normalise = NormaliseImage(image.mean, image.std)
        self.network = network
        with torch.no_grad():
            maps: Sequence[torch.Tensor] = network(torch.zeros(1, 3, image.height, image.width))
        sizes = [(features.shape[2], features.shape[3]) for features in maps]
        self.size = sizes[0]
        # Otherwise a position of a fine layer may lie in two cells of a coarser one.
        nested = all(not (a[0] % b[0] or a[1] % b[1]) for a, b in pairwise(sizes))
        levels: list[Level] = []
        self._layers: list[int] = []
        first = 0
        for number, features in enumerate(maps):
            last = first + features.shape[1]
            kept = idx[(idx >= first) & (idx < last)] - first
            # With few features a layer may have none, and no runtime likes empty tensors.
            if len(kept):
                self._layers.append(number)
                levels.append(Level(len(kept), *(sizes[number] if nested else self.size)))
                self.register_buffer(f'_kept{number}', kept, persistent=False)
            first = last
        self.levels = GaussianLevels(self.size, levels)

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        """The kept channels of each level, ``(N, n, rows, columns)`` of its grid."""
        features = self.network(self.normalise(image))
        # Channels are picked before enlarging: the same values, a quarter of the work.
        return [
            _enlarge(features[layer].index_select(1, self.get_buffer(f'_kept{layer}')), grid)
            for layer, (_, *grid) in zip(self._layers, self.levels.levels, strict=True)
        ]


class PadimGraph(StatisticsGraph):
    """From uint8 image to score and map, in operations every runtime has."""

    def __init__(self, manifest: Manifest, network: PadimFeatures) -> None:
        """Make the constants of the manifest's image size."""
        super().__init__()
        self.network = network
        size = (manifest.image.height, manifest.image.width)
        self.upsample = SmoothUpsample(network.size, size, sigma=_SIGMA)

    def layers(self, image: torch.Tensor) -> list[torch.Tensor]:
        """See `PadimFeatures.forward`."""
        kept: list[torch.Tensor] = self.network(image)
        return kept

    def features(self, layers: Sequence[torch.Tensor]) -> torch.Tensor:
        """Features ``(N, C, P)`` at the ``P`` positions of the finest layer."""
        same = [_enlarge(one, self.network.size) for one in layers]
        return torch.cat(same, dim=1).flatten(2)

    def compare(
        self, layers: Sequence[torch.Tensor], *statistics: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Score and map by Mahalanobis distances.

        Args:
            layers: Of `layers`.
            *statistics: As `adet_core.models.gaussian_levels.GaussianLevels` makes them.
        """
        centres, roots = statistics[::2], statistics[1::2]
        delta = squared = None
        for (_, *grid), one, centre, root in reversed(
            list(zip(self.network.levels.levels, layers, centres, roots, strict=True))
        ):
            own = one - centre.reshape(1, -1, *grid)
            # A level's own channels come before those of the coarser levels.
            delta = own if delta is None else torch.cat([own, _enlarge(delta, grid)], dim=1)
            parts = torch.matmul(delta.flatten(2).permute(2, 0, 1), root)
            here = (parts * parts).sum(dim=2).permute(1, 0).reshape(-1, 1, *grid)
            squared = here if squared is None else here + _enlarge(squared, grid)
        assert squared is not None
        anomaly_map = self.upsample(_enlarge(squared, self.network.size).sqrt())
        return anomaly_map.amax(dim=(2, 3)), anomaly_map


class PlainPadimGraph(PadimGraph):
    """The same with the statistics as they are stored: five times as much to read."""

    def compare(
        self, layers: Sequence[torch.Tensor], *statistics: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """See `PadimGraph.compare`; the statistics are ``(C, P)`` and ``(P, C, C)``."""
        mean, inv_covariance = statistics
        delta = (self.features(layers) - mean).permute(2, 0, 1)
        squared = (torch.matmul(delta, inv_covariance) * delta).sum(dim=2).permute(1, 0)
        distance = squared.clamp(min=0).sqrt()
        anomaly_map = self.upsample(distance.reshape(-1, 1, *self.network.size))
        return anomaly_map.amax(dim=(2, 3)), anomaly_map


def _enlarge(maps: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """Repeat values, as Anomalib's PaDiM brings its layers to one size."""
    same = list(maps.shape[2:]) == list(size)
    return maps if same else functional.interpolate(maps, size=list(size))


ADAPTER = PadimAdapter()
