# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""PatchCore: the distance of every patch from the nearest one in a memory bank.

Roth, Pemula, Zepeda, Schoelkopf, Brox, Gehler: Towards Total Recall in Industrial Anomaly
Detection, CVPR 2022, https://arxiv.org/abs/2106.08265
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

from adet_core.bundle import Manifest
from adet_core.errors import ConfigError
from adet_core.models.coreset import STORE_BYTES
from adet_core.models.memory_bank import BankSearch, MemoryBankModel
from adet_core.progress import ProgressCallback
from adet_training.adapter import Adapter, FitData, Graph, StatisticsGraph
from adet_training.backbone import (
    Backbone,
    extractor_weights,
    is_transformer,
    load_backbone,
    make_network,
    network_of,
    Weights,
)
from adet_training.layers import NormaliseImage, SmoothUpsample
from adet_training.limits import Allowed, at_least, check, within
from adet_training.parameters import fill_backbone, make_parameters, Parameters
from adet_training.proposal import Cost, PROCESS_MIB, WORK_MIB
from adet_training.quick_backbone import quick_backbone
from adet_training.timing import time_network

if TYPE_CHECKING:
    from adet_training.patchcore_module import PatchcoreModule

_SIGMA = 4.0
# Distances computed at a time: 128 MiB, whatever the size of the image.
_DISTANCES = 1 << 25
# A smaller bank is searched in all channels as quickly.
_LARGE_BANK = 4096
# Farthest patches that are searched again in all channels.
_RECHECKED = 16
# Features of a group: the largest of each group first, and an index only for the best groups. ONNX
# Runtime needs several times as long for the index of a largest number as for the number.
_GROUP = 16
# Features that are compared in all channels where few channels are searched.
_CANDIDATES = 8
# Less than any feature's closeness, whatever the precision.
_NEVER = -1e30
# Tolerance of the map after a search in fewer channels, as a share of the score range.
_MAP_TOLERANCE = 0.1
_BASIS = 'search_basis'
# A mean of nine features hides a scratch that is as wide as one of them.
_FOR_TINY = {'patch_size': 1}


_RATIO = Allowed('more than 0, at most 1', lambda ratio: 0 < ratio <= 1)
_PATCH = Allowed('an odd number, 1 to 15', lambda size: size in range(1, 16, 2))


@dataclass(frozen=True, kw_only=True)
class PatchcoreParameters(Parameters):
    """Hyper-parameters of PatchCore.

    Attributes:
        backbone: timm's name of the network; empty: ``tf_efficientnet_lite0``, or ``resnet18``
            with layers of its own. The paper's is ``wide_resnet50_2``. A vision transformer needs
            ``layers``, and an ``image_size`` of whole patches.
        layers: Layers whose features are used, finest first; empty: ``blocks.2,blocks.4`` of the
            default backbone, ``layer2,layer3`` of a ResNet.
        patch_size: Rows and columns of neighbouring features whose mean is a patch (the paper's
            "patchsize"), an odd number. 1 takes each feature alone, which shows defects of a few
            pixels that a mean hides, and misses more of those that are large and faint.
        coreset_ratio: Share of all patches that the memory bank keeps.
        max_bank: Largest size of the bank: time and memory of an inspection grow with it.
        num_neighbors: Patches of the bank that weigh the score, as in the paper; 1 is no weight.
        search_channels: Principal components that a large bank is searched in, which saves time.
            The farthest patches are searched again in all channels, which
            gives the exact score; the map is an upper bound. 0: search in all channels. 63 and the
            channel that `BankSearch` adds are whole blocks of ONNX Runtime's matrix product.
    """

    backbone: str = ''
    layers: tuple[str, ...] = ()
    patch_size: Annotated[int, _PATCH] = 3
    coreset_ratio: Annotated[float, _RATIO] = 0.1
    max_bank: Annotated[int, within(1, 1_000_000)] = 10_000
    num_neighbors: Annotated[int, within(1, 64)] = 9
    search_channels: Annotated[int, at_least(0)] = 63

    def __post_init__(self) -> None:
        """Name the backbone and check ranges."""
        super().__post_init__()
        fill_backbone(self, first=1)
        least = self.num_neighbors
        expected = f'{least} (num_neighbors) to 1000000'
        check(least <= self.max_bank, 'max_bank', self.max_bank, expected)


class PatchcoreAdapter(Adapter[PatchcoreParameters]):
    """See `adet_training.adapter.Adapter`."""

    parameters = PatchcoreParameters
    statistics_file = MemoryBankModel.file
    together = 'merged'

    def backbone(self, parameters: PatchcoreParameters, weights: str, *, seed: int) -> Backbone:
        """The feature extractor with its weights."""
        name, layers = parameters.backbone, parameters.layers
        return load_backbone(name, layers, weights, seed=seed, size=parameters.size)

    def cost(self, parameters: PatchcoreParameters) -> Cost:
        """Time of the backbone and of the product with the bank, which is taken for full."""
        if is_transformer(parameters.backbone):
            # Its size is no multiple of the 256 pixels that networks are timed with.
            return replace(super().cost(parameters), for_tiny=_FOR_TINY)
        network: Any = make_network(parameters.backbone, parameters.layers)
        info = network.feature_info
        channels, patches = sum(info.channels()), (256 // info.reduction()[0]) ** 2
        bank = torch.zeros(parameters.search_channels or channels, parameters.max_bank)
        search = _Product(torch.zeros(patches, len(bank)), _in_groups(bank))
        # Beside a full bank they are more than what the backbone takes before.
        distances = min(patches * parameters.max_bank, _DISTANCES)
        return Cost(
            ms=time_network(network) + time_network(search),
            mib=PROCESS_MIB + 4 * (channels + len(bank)) * parameters.max_bank / (1 << 20),
            mib_of_work=max(WORK_MIB, 4 * distances / (1 << 20)),
            for_tiny=_FOR_TINY,
        )

    def build(self, parameters: PatchcoreParameters, backbone: Backbone | None) -> PatchcoreModule:
        """A Patchcore without its bank.

        Raises:
            ConfigError: Anomalib's extractor does not fit the backbone.
        """
        # Anomalib takes seconds to import, and an export does without it.
        from adet_training.patchcore_module import BankSettings, make_patchcore

        assert backbone is not None
        settings = BankSettings(
            patch_size=parameters.patch_size,
            coreset_ratio=parameters.coreset_ratio,
            max_bank=parameters.max_bank,
            num_neighbors=parameters.num_neighbors,
            search_channels=parameters.search_channels,
            batch_size=parameters.batch_size,
        )
        return make_patchcore(backbone, parameters.backbone, parameters.layers, settings)

    def fit(
        self,
        module: PatchcoreModule,
        data: FitData,
        folder: Path,
        parameters: PatchcoreParameters,
        progress: ProgressCallback,
    ) -> None:
        """Fill the memory bank."""
        with quick_backbone(module.model.feature_extractor, parameters.size, len(data.fit)):
            module.learn(data, folder, progress)

    def fit_bytes(
        self, module: PatchcoreModule, data: FitData, parameters: PatchcoreParameters
    ) -> int:
        """See `Adapter.fit_bytes`: the patches, and as much for choosing among them."""
        with torch.no_grad():
            features = module.model.feature_extractor(torch.zeros(1, 3, *parameters.size))
        shapes = [one.shape for one in features.values()]
        of_patch = 4 * sum(shape[1] for shape in shapes)
        every = len(data.fit) * shapes[0][2] * shapes[0][3] * of_patch
        most = max(STORE_BYTES, 2 * parameters.max_bank * of_patch)
        return 2 * min(every, most)

    def weights(self, module: PatchcoreModule) -> Weights:
        """The backbone, and the principal components for the search in a large bank."""
        tensors = extractor_weights(module.model.feature_extractor)
        bank, channels = module.model.memory_bank, module.settings.search_channels
        if 0 < channels < bank.shape[1] and len(bank) >= _LARGE_BANK:
            tensors[_BASIS] = principal_components(bank.cpu(), channels)
        return tensors

    def statistics(self, module: PatchcoreModule) -> dict[str, npt.NDArray[np.float32]]:
        """``memory_bank`` ``(K, D)``: features of ``K`` patches."""
        return {'memory_bank': module.model.memory_bank.cpu().numpy()}

    def graph(self, manifest: Manifest, weights: Weights) -> Graph:
        """The whole of PatchCore; its memory bank is an input of any length.

        Raises:
            ConfigError: The weights are not those of the backbone that the manifest names.
        """
        # Parameters of a newer adet are left out; wrong values are refused.
        known = PatchcoreParameters.__dataclass_fields__
        values = {k: v for k, v in manifest.hyper_parameters.items() if k in known}
        parameters = make_parameters(PatchcoreParameters, values)
        network = network_of(manifest, weights)
        features = PatchcoreFeatures(manifest, network, parameters.patch_size)
        basis = weights.get(_BASIS)
        if basis is not None and (basis.ndim != 2 or len(basis) != features.channels):
            msg = f'model.pth: {_BASIS} is not made for {features.channels} channels; train again'
            raise ConfigError(msg)
        # At least two: torch.export would take one for a broadcast.
        bank = np.zeros((max(2, parameters.num_neighbors), features.channels), np.float32)
        return Graph(
            PatchcoreGraph(manifest, features, parameters, basis),
            {'memory_bank': bank},
            growing={'bank': 0, 'search': 1},
            transform=BankSearch(features.channels, None if basis is None else basis.numpy()),
            map_tolerance=0.0 if basis is None else _MAP_TOLERANCE,
            exact=None if basis is None else lambda: self.graph(manifest, _without_basis(weights)),
        )


class _Product(nn.Module):
    """The most of a search in a bank: one matrix product, and the largest of each row.

    Where all channels are searched, the largest takes a little longer than here.
    """

    def __init__(self, patches: torch.Tensor, bank: torch.Tensor) -> None:
        """Args: both factors."""
        super().__init__()
        self._patches, self._bank = patches, bank

    def forward(self, image: torch.Tensor) -> torch.Tensor:  # noqa: ARG002
        """Search."""
        return _closest((self._patches @ self._bank)[None])


def _without_basis(weights: Weights) -> Weights:
    return {name: tensor for name, tensor in weights.items() if name != _BASIS}


class PatchcoreFeatures(nn.Module):
    """From uint8 image to the features of every patch.

    Attributes:
        size: Rows and columns of patches.
        channels: Length ``D`` of a patch's features.
    """

    def __init__(self, manifest: Manifest, network: nn.Module, patch_size: int) -> None:
        """Make the constants of one image size; see `PatchcoreParameters`."""
        super().__init__()
        image = manifest.image
        self.normalise = NormaliseImage(image.mean, image.std)
        self.network = network
        self._patch = patch_size
        with torch.no_grad():
            maps: Sequence[torch.Tensor] = network(torch.zeros(1, 3, image.height, image.width))
        self.size = (maps[0].shape[2], maps[0].shape[3])
        self.channels = sum(features.shape[1] for features in maps)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Features ``(N, P, D)`` of uint8 images ``(N, H, W, 3)``, RGB; ``P`` patches."""
        features = list(self.network(self.normalise(image)))
        if self._patch > 1:
            border = self._patch // 2
            features = [functional.avg_pool2d(f, self._patch, 1, border) for f in features]
        same = [
            f if number == 0 else functional.interpolate(f, size=self.size, mode='bilinear')
            for number, f in enumerate(features)
        ]
        return torch.cat(same, dim=1).flatten(2).permute(0, 2, 1)


class PatchcoreGraph(StatisticsGraph):
    """From uint8 image to score and map, in operations every runtime has."""

    def __init__(
        self,
        manifest: Manifest,
        network: PatchcoreFeatures,
        parameters: PatchcoreParameters,
        basis: torch.Tensor | None,
    ) -> None:
        """Make the constants of the manifest's image size.

        Args:
            manifest: Of the bundle.
            network: From image to patches.
            parameters: Of the bundle.
            basis: float32 ``(D, k)``, see `adet_core.models.memory_bank.BankSearch`; None: search
                in all channels.
        """
        super().__init__()
        self.network = network
        self.basis: torch.Tensor | None
        self.register_buffer('basis', basis, persistent=False)
        self._neighbors = parameters.num_neighbors
        self._chunk = max(_DISTANCES // parameters.max_bank, 64)
        # The map repeats a patch's distance over its pixels, then blurs it.
        size = (manifest.image.height, manifest.image.width)
        self.upsample = SmoothUpsample(network.size, size, sigma=_SIGMA, mode='nearest')

    def layers(self, image: torch.Tensor) -> list[torch.Tensor]:
        """See `PatchcoreFeatures.forward`."""
        return [self.network(image)]

    def features(self, layers: Sequence[torch.Tensor]) -> torch.Tensor:
        """Features ``(N, P, D)`` of every patch."""
        return layers[0]

    def compare(
        self, layers: Sequence[torch.Tensor], *statistics: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Score and map by distances to the memory bank.

        Args:
            layers: Of `layers`.
            *statistics: Three arrays: centre, float32 ``(1, D)``, the mean of the memory bank;
                bank, float32 ``(K, D)``, relative to it, ``K`` at least the number of neighbours;
                search, float32 ``(k + 1, K)``, see `adet_core.models.memory_bank.BankSearch`.
        """
        centre, bank, search = statistics
        patches = layers[0] - centre
        seen = patches if self.basis is None else torch.matmul(patches, self.basis)
        queries = torch.cat([seen, torch.ones_like(seen[..., :1])], dim=2)
        halves = search[-1:]
        # The difference itself keeps the digits that the search may lose.
        distance, nearest = _nearest_of(self._search(queries, search), patches, bank)
        if self.basis is not None:
            distance, nearest = self._recheck(patches, distance, nearest, bank, halves)
        anomaly_map = self.upsample(distance.reshape(-1, 1, *self.network.size))
        return self._score(patches, distance, nearest, bank, halves), anomaly_map

    def _search(self, queries: torch.Tensor, search: torch.Tensor) -> torch.Tensor:
        """Which features may be nearest to each patch: int64 ``(N, P, n)``.

        The nearest one in few channels may be the second in all. In all channels it is the one,
        and columns for whole groups would be as much memory again as the bank.
        """
        parts = torch.split(queries, self._chunk, dim=1)
        if self.basis is None:
            found = [torch.matmul(one, search).argmax(dim=2, keepdim=True) for one in parts]
        else:
            columns = _in_groups(search)
            found = [_closest(torch.matmul(one, columns)) for one in parts]
        return torch.cat(found, dim=1)

    def _recheck(
        self,
        patches: torch.Tensor,
        distance: torch.Tensor,
        nearest: torch.Tensor,
        bank: torch.Tensor,
        halves: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Search the farthest patches again, in all channels.

        The search in fewer channels finds some feature of the bank, so its distance is never less
        than that of the nearest one. If the farthest patch is still among those searched again, no
        other patch can be farther and the score is exact; else it is an upper bound, too.

        Returns:
            Distances ``(N, P)`` and nearest features ``(N, P)`` of all patches.
        """
        farthest = distance.topk(min(_RECHECKED, distance.shape[1]), dim=1).indices
        some = self._pick(patches, farthest)
        exact = _closeness(some, bank, halves).argmax(dim=2)
        away = _length(some - functional.embedding(exact, bank))
        return distance.scatter(1, farthest, away), nearest.scatter(1, farthest, exact)

    def _score(
        self,
        patches: torch.Tensor,
        distance: torch.Tensor,
        nearest: torch.Tensor,
        bank: torch.Tensor,
        halves: torch.Tensor,
    ) -> torch.Tensor:
        """Equation 7 of the paper: the farthest patch's distance, weighed by its neighbourhood.

        Returns:
            float32 ``(N, 1)``.
        """
        if self._neighbors == 1:
            return distance.amax(dim=1, keepdim=True)
        worst = distance.argmax(dim=1, keepdim=True)
        patch = self._pick(patches, worst)
        winner = functional.embedding(nearest.gather(1, worst), bank)
        around = _closeness(winner, bank, halves).flatten(1).topk(self._neighbors, dim=1).indices
        away = _length(patch - functional.embedding(around, bank))
        weight = 1 - functional.softmax(away, dim=1)[:, :1]
        return weight * distance.amax(dim=1, keepdim=True)

    def _pick(self, patches: torch.Tensor, which: torch.Tensor) -> torch.Tensor:
        """The patches ``(N, P, D)`` at the indices ``(N, n)``: ``(N, n, D)``."""
        return patches.gather(1, which[..., None].expand(-1, -1, self.network.channels))


def principal_components(bank: torch.Tensor, count: int) -> torch.Tensor:
    """The first principal components of a bank ``(K, D)``: float32 ``(D, count)``, orthonormal."""
    centred = bank.double() - bank.double().mean(dim=0)
    # In ascending order.
    _, directions = torch.linalg.eigh(centred.T @ centred)
    chosen: torch.Tensor = directions[:, -count:].float().contiguous()
    return chosen


def _in_groups(search: torch.Tensor) -> torch.Tensor:
    """A search ``(k + 1, K)`` with columns that nothing is close to, up to whole groups."""
    length, step = search.shape[1], _GROUP * _CANDIDATES
    missing = (length + step - 1) // step * step - length
    row = torch.zeros(search.shape[0], 1)
    row[-1] = _NEVER
    return torch.cat([search, row.expand(-1, missing)], dim=1)


def _closest(closeness: torch.Tensor) -> torch.Tensor:
    """The closest features of the best groups: ``(N, p, K)`` to int64 ``(N, p, _CANDIDATES)``.

    The very closest one is among them. Of ``G`` groups, number ``g`` has the features ``g``,
    ``g + G``, ``g + 2 G`` and so on.
    """
    images, patches, length = closeness.shape
    groups = length // _GROUP
    by_group = closeness.reshape(images, patches, _GROUP, groups)
    best = by_group.amax(dim=2).topk(_CANDIDATES, dim=2).indices
    within = by_group.gather(3, best[:, :, None].expand(-1, -1, _GROUP, -1)).argmax(dim=2)
    return within * groups + best


def _nearest_of(
    candidates: torch.Tensor, patches: torch.Tensor, bank: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Distances ``(N, P)`` in all channels, and which candidate of ``(N, P, n)`` is nearest."""
    # A small bank may leave a group without a feature.
    candidates = candidates.clamp(max=bank.shape[0] - 1)
    lengths = [
        _length(patches - functional.embedding(one, bank)) for one in candidates.unbind(dim=2)
    ]
    distance, which = torch.stack(lengths, dim=2).min(dim=2, keepdim=True)
    return distance.squeeze(2), candidates.gather(2, which).squeeze(2)


def _closeness(patches: torch.Tensor, bank: torch.Tensor, halves: torch.Tensor) -> torch.Tensor:
    """Half the squared distances, negated, up to a constant per patch: largest where nearest.

    Args:
        patches: ``(N, n, D)``.
        bank: ``(K, D)``.
        halves: ``(1, K)``, ``-|b|^2 / 2`` of each row b of the bank.

    Returns:
        ``(N, n, K)``.
    """
    return torch.matmul(patches, bank.permute(1, 0)) + halves


def _length(vectors: torch.Tensor) -> torch.Tensor:
    return (vectors * vectors).sum(dim=2).sqrt()


ADAPTER = PatchcoreAdapter()
