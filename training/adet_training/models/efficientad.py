# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""EfficientAD: a student that imitates a teacher on normal parts only, and an autoencoder.

Batzner, Heckler, Koenig: EfficientAD, Accurate Visual Anomaly Detection at Millisecond-Level
Latencies, WACV 2024, https://arxiv.org/abs/2303.14535

Networks and predictions are Anomalib's; how it is trained is in `adet_training.efficientad`.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated

from anomalib.models.image.efficient_ad.torch_model import EfficientAdModel, EfficientAdModelSize
from anomalib.pre_processing import PreProcessor
import torch
from torch import nn
from torchvision.transforms.v2 import Identity

from adet_core.bundle import Manifest
from adet_core.progress import ProgressCallback, silent
from adet_training import natural, processes, teachers
from adet_training.adapter import Adapter, FitData, Graph
from adet_training.backbone import (
    Backbone,
    Channels,
    load_into,
    make_network,
    MEAN,
    STD,
    Weights,
)
from adet_training.backbone_teacher import BackboneTeacher
from adet_training.distill import CHANNELS, IMAGE, make_teacher, SIZES
from adet_training.efficientad import EfficientAdModule
from adet_training.fit import CHECKPOINT_FOLDER, fit_steps, LAST
from adet_training.layers import NormaliseImage, SmoothUpsample
from adet_training.limits import above, Allowed, at_least, check, edges, one_of
from adet_training.parameters import fill_backbone, SteppedParameters
from adet_training.proposal import Cost

# Border that the networks' unpadded convolutions cut off, at a quarter of the image's size.
_BORDER = 4


EXPECTED = (
    'what to expect: 1000 steps gave an image AUROC of 0.884 on solar cells and 0.773 on magnetic '
    'tiles, where patchcore has 0.960 and 0.936 after one pass; docs/models.md tells more'
)
"""Told before a training; `docs/models.md` has the figures."""

# The autoencoder's last convolution spans 8 of its 32nd parts.
_SIZE = edges('256 to 2048', lambda edge: 256 <= edge <= 2048)


@dataclass(frozen=True, kw_only=True)
class EfficientAdParameters(SteppedParameters):
    """Hyper-parameters of EfficientAD.

    Attributes:
        model_size: ``small`` or ``medium``.
        steps: Optimisation steps, of a piece of one image each; the paper takes 70000 of one whole
            image.
        learning_rate: Of Adam; it falls to 0 over the steps, as half a cosine.
        weight_decay: Of Adam.
        teacher: ``official``: Anomalib's, downloaded once. ``backbone``: the backbone itself.
            ``auto``: the first where it can be had, else the second. ``distilled``: a small one
            that is distilled from the backbone, once for all categories. Or a file:
            ``pretrained_teacher_small.pth``, or what ``adet distill`` wrote.
        natural_images: What the student is kept from imitating the teacher on, and what a teacher
            is distilled with. ``imagenette``: photographs, 1.5 GB, downloaded once. ``drawn``:
            drawn textures. ``auto``: the first where they can be had, else the second. ``none``:
            no such penalty. Or a folder of any photographs.
        backbone: timm's name of the network that is the teacher, or that one is distilled from;
            empty: ``tf_efficientnet_lite0``, or ``resnet18`` with layers of its own.
        layers: Its layers, finest first; empty: ``blocks.2,blocks.4`` of the default backbone,
            ``layer2,layer3`` of a ResNet.
        distill_pieces: Pieces of images that the teacher's last layer is solved with.
        distill_steps: Steps that all its layers are trained for after that.
    """

    image_size: Annotated[int | str, _SIZE] = 256
    batch_size: Annotated[int, Allowed('1, as in the paper', lambda size: size == 1)] = 1
    model_size: Annotated[str, one_of(SIZES)] = 'small'
    steps: Annotated[int, at_least(2)] = 1000
    learning_rate: Annotated[float, above(0)] = 1e-4
    weight_decay: Annotated[float, at_least(0)] = 1e-5
    teacher: str = 'auto'
    natural_images: str = 'auto'
    backbone: str = ''
    layers: tuple[str, ...] = ()
    distill_pieces: Annotated[int, at_least(8)] = 512
    distill_steps: Annotated[int, at_least(0)] = 0

    def __post_init__(self) -> None:
        """Name the backbone and check ranges."""
        super().__post_init__()
        fill_backbone(self, first=1)
        # Earlier versions left them empty.
        object.__setattr__(self, 'teacher', self.teacher or teachers.DISTILLED)
        object.__setattr__(self, 'natural_images', self.natural_images or natural.NONE)


class EfficientAdAdapter(Adapter[EfficientAdParameters]):
    """See `adet_training.adapter.Adapter`."""

    parameters = EfficientAdParameters
    # For the quantiles of its maps.
    needs_held_out = True
    retrain_steps = 50
    together = 'steps'

    def resolve(
        self,
        parameters: EfficientAdParameters,
        weights: str,
        *,
        progress: ProgressCallback,
        tell: Callable[[str], object],
    ) -> EfficientAdParameters:
        """Find teacher and natural images; a teacher that is distilled is kept in the cache.

        Raises:
            ConfigError: What was asked for cannot be had.
        """
        teacher, images = processes.from_first(
            lambda: (
                teachers.find_teacher(parameters.teacher, progress=progress, tell=tell),
                natural.find_natural(parameters.natural_images, progress=progress, tell=tell),
            )
        )
        found = replace(parameters, teacher=teacher, natural_images=images)
        # Before the training is begun.
        natural.open_natural(images, IMAGE)
        teachers.open_teacher(teacher, _recipe(found, weights), progress=progress, tell=tell)
        return found

    def backbone(
        self,
        parameters: EfficientAdParameters,
        weights: str,
        *,
        seed: int,  # noqa: ARG002 - a teacher is made once for all seeds
    ) -> Backbone:
        """The teacher; where `resolve` did not make it, it is distilled now.

        Raises:
            ConfigError: The weights cannot be used.
        """
        recipe = _recipe(parameters, weights)
        return teachers.open_teacher(parameters.teacher, recipe, progress=silent, tell=str)

    def cost(self, parameters: EfficientAdParameters) -> Cost:  # noqa: ARG002
        """Not measured: there is no teacher yet."""
        return Cost(ms=1.0, least_edge=256, is_measured=False)

    def normalisation(self, backbone: Backbone | None) -> tuple[Channels, Channels]:  # noqa: ARG002
        """ImageNet's, which the networks themselves apply, whatever the teacher learned from."""
        return MEAN, STD

    def build(
        self, parameters: EfficientAdParameters, backbone: Backbone | None
    ) -> EfficientAdModule:
        """An untrained EfficientAd with its teacher."""
        assert backbone is not None
        module = _module(parameters, _channels(backbone.network))
        module.model.teacher = deepcopy(backbone.network).requires_grad_(requires_grad=False)
        return module

    def fit(
        self,
        module: EfficientAdModule,
        data: FitData,
        folder: Path,
        parameters: EfficientAdParameters,
        progress: ProgressCallback,
    ) -> None:
        """Begin with a student that is solved for, train, and scale the maps."""
        data.tell(EXPECTED)
        if not (folder / CHECKPOINT_FOLDER / LAST).is_file():
            images = [labelled.pixels for labelled in data.fit]
            module.learn_teacher_scale(images, progress)
            if not processes.rank():
                module.solve_student(images, progress)
            processes.copy_from_first(module.model.student)
        self.fit_further(module, data, folder, parameters, progress)

    def resume(
        self, parameters: EfficientAdParameters, manifest: Manifest, weights: Weights
    ) -> EfficientAdModule:
        """The trained networks.

        Raises:
            ConfigError: The weights are not those of the networks that the manifest names.
        """
        model = _trained(manifest, weights)
        module = _module(parameters, model.teacher_out_channels)
        module.model = model
        module.model.teacher.requires_grad_(requires_grad=False)
        return module

    def fit_further(
        self,
        module: EfficientAdModule,
        data: FitData,
        folder: Path,
        parameters: EfficientAdParameters,
        progress: ProgressCallback,
    ) -> None:
        """Train, and scale the maps on held-out images."""
        held_out = [labelled.pixels for labelled in data.held_out]
        fit_steps(
            module,
            data.fit,
            folder,
            parameters,
            progress,
            tell=data.tell,
            look=partial(module.held_out_loss, held_out),
        )
        if not processes.rank():
            module.learn_map_scale(held_out, progress)

    def weights(self, module: EfficientAdModule) -> Weights:
        """All three networks and the scales of their outputs."""
        return dict(module.model.state_dict())

    def graph(self, manifest: Manifest, weights: Weights) -> Graph:
        """The whole of EfficientAD.

        Raises:
            ConfigError: The weights are not those of the networks that the manifest names.
        """
        return Graph(EfficientAdGraph(manifest, _trained(manifest, weights)))


class EfficientAdGraph(nn.Module):
    """From uint8 image to score and map."""

    def __init__(self, manifest: Manifest, model: EfficientAdModel) -> None:
        """Fold the constants: scaling the maps is one weight for each map and one sum."""
        super().__init__()
        size = (manifest.image.height, manifest.image.width)
        # The networks subtract the mean and divide by std themselves.
        self.scale = NormaliseImage((0.0,) * 3, (1.0,) * 3)
        self.model = model
        self._size, self._half = size, model.teacher_out_channels
        quantiles = {name: value.item() for name, value in model.quantiles.items()}
        weights = {n: 0.05 / (quantiles[f'qb_{n}'] - quantiles[f'qa_{n}']) for n in ('st', 'ae')}
        self._weights = weights
        # Added last: Anomalib also scales the border of zeros around the maps.
        self._shift = -sum(weights[name] * quantiles[f'qa_{name}'] for name in weights)
        inner = tuple(-(-edge // 4) - 2 * _BORDER for edge in size)
        self.upsample = SmoothUpsample((inner[0], inner[1]), size, border=_BORDER)

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Score images.

        Args:
            image: uint8 ``(N, H, W, 3)``, RGB.

        Returns:
            Score ``(N, 1)`` and map ``(N, 1, H, W)``, float32.
        """
        scaled = self.scale(image)
        scale = self.model.mean_std
        teacher = (self.model.teacher(scaled) - scale['mean']) / scale['std']
        student = self.model.student(scaled)
        rebuilt = self.model.ae(scaled, self._size)
        # One split: with two slices ONNX Runtime would not quantise the convolution before them.
        like_teacher, like_rebuilt = student.split(self._half, dim=1)
        wrong = ((teacher - like_teacher) ** 2).mean(dim=1, keepdim=True)
        odd = ((rebuilt - like_rebuilt) ** 2).mean(dim=1, keepdim=True)
        small = self._weights['st'] * wrong + self._weights['ae'] * odd
        anomaly_map = self.upsample(small) + self._shift
        return anomaly_map.amax(dim=(2, 3)), anomaly_map


def _channels(teacher: nn.Module) -> int:
    return teacher.channels if isinstance(teacher, BackboneTeacher) else CHANNELS


def _module(parameters: EfficientAdParameters, channels: int) -> EfficientAdModule:
    module = EfficientAdModule(
        teacher_out_channels=channels,
        model_size=parameters.model_size,
        lr=parameters.learning_rate,
        weight_decay=parameters.weight_decay,
        # The networks normalise images themselves.
        pre_processor=PreProcessor(Identity()),
        post_processor=False,
        evaluator=False,
        visualizer=False,
    )
    module.natural = natural.open_natural(parameters.natural_images, IMAGE)
    return module


def _trained(manifest: Manifest, weights: Weights) -> EfficientAdModel:
    """The networks of a bundle."""
    model_size = str(manifest.hyper_parameters.get('model_size'))
    check(model_size in SIZES, 'model_size', model_size, ' or '.join(SIZES))
    spec, teacher = manifest.backbone, make_teacher(model_size)
    # Earlier versions named the backbone that a teacher was distilled from.
    if spec is not None and spec.layers and 'teacher.conv1.weight' not in weights:
        # Its tensors, which are read below, have mean and deviation, too.
        teacher = BackboneTeacher(make_network(spec.name, spec.layers), MEAN, STD)
    channels, size = _channels(teacher), EfficientAdModelSize(model_size)
    model = EfficientAdModel(teacher_out_channels=channels, model_size=size)
    model.teacher = teacher
    load_into(model, weights, 'model.pth')
    return model


def _recipe(parameters: EfficientAdParameters, weights: str) -> teachers.Recipe:
    return teachers.Recipe(
        model_size=parameters.model_size,
        backbone=parameters.backbone,
        layers=parameters.layers,
        weights=weights,
        natural_images=parameters.natural_images,
        pieces=parameters.distill_pieces,
        steps=parameters.distill_steps,
    )


ADAPTER = EfficientAdAdapter()
