# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The interface of a model that adet trains and exports."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from adet_core.bundle import Manifest
from adet_core.errors import ConfigError
from adet_core.geometry import Geometry
from adet_core.io.labelled import LabelledImage
from adet_core.models.statistics_model import NamedTransform
from adet_core.progress import ProgressCallback
from adet_training.backbone import Backbone, Channels, Weights
from adet_training.layout import inputs_of
from adet_training.parameters import Parameters
from adet_training.proposal import Cost


class StatisticsGraph(nn.Module, ABC):
    """A graph in two steps: the layers of the images, and their comparison with statistics."""

    @abstractmethod
    def layers(self, image: torch.Tensor) -> Sequence[torch.Tensor]:
        """What is compared, of uint8 images ``(N, H, W, 3)``, RGB."""

    @abstractmethod
    def features(self, layers: Sequence[torch.Tensor]) -> torch.Tensor:
        """What `adet_core.models.statistics_model.StatisticsModel` learns from, of layers."""

    @abstractmethod
    def compare(
        self, layers: Sequence[torch.Tensor], *statistics: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Score ``(N, 1)`` and map ``(N, 1, H, W)``, float32, of layers.

        Args:
            layers: Of `layers`.
            *statistics: The graph's inputs other than the image.
        """

    def forward(
        self, image: torch.Tensor, *statistics: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Score and map, see `compare`, of images."""
        return self.compare(self.layers(image), *statistics)

    def with_features(
        self, image: torch.Tensor, *statistics: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Score, map and features of images."""
        layers = self.layers(image)
        return (*self.compare(layers, *statistics), self.features(layers))


@dataclass(frozen=True)
class Graph:
    """A module to export.

    Attributes:
        module: Called with the image batch (uint8 ``(N, H, W, 3)``, RGB) and the graph's other
            inputs in order; returns the score ``(N, 1)`` and the anomaly map ``(N, 1, H, W)``,
            float32. Of a model with statistics it is a `StatisticsGraph`.
        statistics: Name and example of each of the bundle's statistics.
        growing: Inputs of the module that have an axis of any length, and the number of that
            axis; all share one length.
        transform: Makes the module's inputs from the statistics, once per bundle. None: the module
            takes the statistics as they are.
        map_tolerance: How far the map may be from the trained model's own, as a share of the score
            range; 0: as little as the score.
        exact: Makes a slower graph for bundles where the map of this one is farther off; None:
            there is none.
        may_take_one_image: Whether a graph for one image at a time will do where none can be made
            that takes any number.
    """

    module: nn.Module
    statistics: Mapping[str, npt.NDArray[np.float32]] = field(default_factory=dict)
    growing: Mapping[str, int] = field(default_factory=dict)
    transform: NamedTransform | None = None
    map_tolerance: float = 0.0
    exact: Callable[[], Graph] | None = None
    may_take_one_image: bool = False

    def inputs(self, statistics: Mapping[str, npt.NDArray[np.float32]]) -> dict[str, torch.Tensor]:
        """The module's inputs other than the image, in order, made from statistics."""
        made = statistics if self.transform is None else self.transform(statistics)
        names = list(self.statistics) if self.transform is None else self.transform.inputs
        return {name: torch.from_numpy(made[name]) for name in names}

    def __call__(
        self, image: torch.Tensor, statistics: Mapping[str, npt.NDArray[np.float32]]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Score and map of images, with the statistics of a bundle."""
        with torch.inference_mode():
            found: tuple[torch.Tensor, torch.Tensor] = self.module.eval()(
                image, *self.inputs(statistics).values()
            )
        return found


class FitData(NamedTuple):
    """The images of a training.

    Attributes:
        fit: Normal images to learn from.
        held_out: Normal images kept back; empty unless the model needs them.
        inputs: How many of them are of one image, one after the other.
        blocks: Number of the block of each of ``fit``, ascending; see `batches`.
        tell: Told what people want to know while it runs, in one line.
    """

    fit: Sequence[LabelledImage]
    held_out: Sequence[LabelledImage] = ()
    inputs: int = 1
    blocks: Sequence[int] = ()
    tell: Callable[[str], object] = str

    def cut(self, geometry: Geometry) -> FitData:
        """The inputs of the graph that a geometry makes of the images."""
        fit, held_out = inputs_of(geometry, self.fit), inputs_of(geometry, self.held_out)
        blocks = [block for block in self.blocks for _ in range(geometry.inputs)]
        return FitData(fit, held_out, geometry.inputs, blocks, self.tell)

    def batches(self, size: int) -> dict[int, list[int]]:
        """Indices of ``fit`` by the number of their block.

        Args:
            size: Of the blocks where they have no numbers.
        """
        found: dict[int, list[int]] = {}
        for index, block in enumerate(self.blocks or [n // size for n in range(len(self.fit))]):
            found.setdefault(block, []).append(index)
        return found


P = TypeVar('P', bound=Parameters)


class Adapter(ABC, Generic[P]):
    """One model. ``adet_training.models.reverse_distillation`` is the shortest example.

    Attributes:
        parameters: The dataclass of its hyper-parameters.
        statistics_file: The file of its statistics, one of
            `adet_core.bundle.manifest.STATISTICS_FILES`; empty for a model without statistics.
        needs_held_out: Whether it also learns from normal images that it was not fitted to.
        retrain_steps: Default number of optimisation steps of a retraining.
        together: How several processes train it: ``merged``, what they see of their images is
            added up as in one process; ``steps``, they average their gradients; empty: they
            cannot.
    """

    parameters: type[P]
    statistics_file: str = ''
    needs_held_out: bool = False
    retrain_steps: int = 0
    together: str = ''

    @abstractmethod
    def backbone(self, parameters: P, weights: str, *, seed: int) -> Backbone | None:
        """The pretrained network that it begins with; None if it has none.

        Args:
            parameters: The hyper-parameters.
            weights: ``auto``, ``imagenet``, ``random`` or a file.
            seed: Seed of ``random`` weights.

        Raises:
            adet_core.errors.ConfigError: The weights cannot be used.
        """

    def resolve(
        self,
        parameters: P,
        weights: str,  # noqa: ARG002
        *,
        progress: ProgressCallback,  # noqa: ARG002
        tell: Callable[[str], object],  # noqa: ARG002
    ) -> P:
        """Replace what hyper-parameters leave to the machine, and have it ready for `backbone`.

        Args:
            parameters: The hyper-parameters.
            weights: As of `backbone`.
            progress: Told the progress.
            tell: Told what was taken and why, in one line each.

        Raises:
            adet_core.errors.ConfigError: What was asked for cannot be had.
        """
        return parameters

    def cost(self, parameters: P) -> Cost:
        """What an input takes; by default inputs are only compared, as nothing was measured."""
        return Cost(ms=1.0, edge=type(parameters)().size[0], is_measured=False)

    def normalisation(self, backbone: Backbone | None) -> tuple[Channels, Channels]:
        """Mean and standard deviation that the graph normalises images with, on the 0..1 scale."""
        return (backbone.mean, backbone.std) if backbone else ((0.0,) * 3, (1.0,) * 3)

    @abstractmethod
    def build(self, parameters: P, backbone: Backbone | None) -> Any:
        """An untrained Lightning module.

        It has ``pre_processor`` and ``model``; in evaluation mode
        ``model(pre_processor(batch))``, with a float32 batch ``(N, 3, H, W)`` on the 0..1 scale,
        has ``pred_score`` ``(N,)`` or ``(N, 1)`` and ``anomaly_map`` ``(N, 1, H, W)``.
        """

    def fit(
        self, module: Any, data: FitData, folder: Path, parameters: P, progress: ProgressCallback
    ) -> None:
        """Train the module; see `adet_training.fit.fit`."""
        from adet_training.fit import fit

        fit(module, data.fit, folder, parameters.batch_size, progress)

    def fit_bytes(self, module: Any, data: FitData, parameters: P) -> int:  # noqa: ARG002
        """Memory that `fit` takes at most, beside the images; 0: it does not grow with them."""
        return 0

    def resume(self, parameters: P, manifest: Manifest, weights: Weights) -> Any:  # noqa: ARG002
        """Make a trained module from a bundle, to train it further.

        Raises:
            ConfigError: The model cannot be trained further, or the weights are not its own.
        """
        msg = f'{manifest.model} cannot be retrained from its weights; train it again on the PC'
        raise ConfigError(msg)

    def fit_further(
        self, module: Any, data: FitData, folder: Path, parameters: P, progress: ProgressCallback
    ) -> None:
        """Train a module that `resume` made; the default is `fit`."""
        self.fit(module, data, folder, parameters, progress)

    @abstractmethod
    def weights(self, module: Any) -> Weights:
        """The tensors of ``model.pth``, by name."""

    def statistics(self, module: Any) -> dict[str, npt.NDArray[np.float32]]:  # noqa: ARG002
        """The arrays of the statistics file, by name."""
        return {}

    def input_statistics(self, module: Any) -> list[dict[str, npt.NDArray[np.float32]]]:
        """The statistics of each input of an image; one entry where they share them."""
        return [self.statistics(module)]

    @abstractmethod
    def graph(self, manifest: Manifest, weights: Weights) -> Graph:
        """The whole computation from image to score as one module, from a bundle alone.

        Raises:
            adet_core.errors.ConfigError: The weights are not this model's.
        """


AnyAdapter = Adapter[Any]
