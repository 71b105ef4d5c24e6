# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""EfficientAD: a student that imitates a teacher on normal parts only, and an autoencoder.

Batzner, Heckler, Koenig: EfficientAD, Accurate Visual Anomaly Detection at Millisecond-Level
Latencies, WACV 2024, https://arxiv.org/abs/2303.14535

Networks, losses and predictions are Anomalib's; local files replace its downloads.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from anomalib.models import EfficientAd
from anomalib.models.image.efficient_ad.torch_model import EfficientAdModel, EfficientAdModelSize
from anomalib.pre_processing import PreProcessor
import torch
from torch import nn
from torch.nn import functional
from torchvision.transforms.v2 import Identity

from adet_core.bundle import BackboneSpec, Manifest
from adet_core.image import ImageArray
from adet_core.progress import ProgressCallback
from adet_training import processes
from adet_training.adapter import Adapter, FitData, Graph
from adet_training.backbone import (
    Backbone,
    Channels,
    hash_file,
    load_backbone,
    load_into,
    MEAN,
    read_weights,
    STD,
    Weights,
)
from adet_training.distill import distill, IMAGE, make_teacher, random_piece, SIZES
from adet_training.fit import CHECKPOINT_FOLDER, fit, to_tensor
from adet_training.layers import NormaliseImage, SmoothUpsample
from adet_training.limits import above, Allowed, at_least, check, edges, one_of
from adet_training.natural import NaturalImages
from adet_training.parameters import fill_backbone, Parameters
from adet_training.proposal import Cost

# From the paper: values between these quantiles of normal parts' maps are scaled to 0..0.1.
_LOW, _HIGH = 0.9, 0.995
# The paper's share of a map's values that counts as hard to imitate.
_HARD = 0.001
# Border that the networks' unpadded convolutions cut off, at a quarter of the image's size.
_BORDER = 4
_TINY = 1e-12
# Smallest distance of the quantiles: as a share of the lower one, and if that one is 0.
_NARROW, _FLAT = 1e-3, 1e-6


# The autoencoder's last convolution spans 8 of its 32nd parts.
_SIZE = edges('256 to 2048', lambda edge: 256 <= edge <= 2048)


@dataclass(frozen=True, kw_only=True)
class EfficientAdParameters(Parameters):
    """Hyper-parameters of EfficientAD.

    Attributes:
        model_size: ``small`` or ``medium``.
        steps: Optimisation steps, of one image each as in the paper, which takes 70000. On a
            CPU a step takes seconds.
        learning_rate: Of Adam; divided by ten for the last twentieth of the steps.
        weight_decay: Of Adam.
        teacher: A teacher's weights: Anomalib's ``pretrained_teacher_small.pth``, or what ``adet
            distill`` wrote. Empty: one is distilled from the backbone first.
        natural_images: Folder of any photographs: the student is kept from imitating the teacher
            on them, and a teacher is distilled with them. Empty: without that penalty, and
            distilled with the normal images.
        backbone: timm's name of the network a teacher is distilled from; empty:
            ``tf_efficientnet_lite0``, or ``resnet18`` with layers of its own.
        layers: Its layers, finest first; empty: ``blocks.2,blocks.4`` of the default backbone,
            ``layer2,layer3`` of a ResNet.
        distill_pieces: Pieces of images that the teacher's last layer is solved with; 512 take a
            minute on a CPU.
        distill_steps: Steps that all its layers are trained for after that.
    """

    image_size: Annotated[int | str, _SIZE] = 256
    batch_size: Annotated[int, Allowed('1, as in the paper', lambda size: size == 1)] = 1
    model_size: Annotated[str, one_of(SIZES)] = 'small'
    steps: Annotated[int, at_least(2)] = 1000
    learning_rate: Annotated[float, above(0)] = 1e-4
    weight_decay: Annotated[float, at_least(0)] = 1e-5
    teacher: str = ''
    natural_images: str = ''
    backbone: str = ''
    layers: tuple[str, ...] = ()
    distill_pieces: Annotated[int, at_least(8)] = 512
    distill_steps: Annotated[int, at_least(0)] = 0

    def __post_init__(self) -> None:
        """Name the backbone and check ranges."""
        super().__post_init__()
        fill_backbone(self, first=1)


class EfficientAdAdapter(Adapter[EfficientAdParameters]):
    """See `adet_training.adapter.Adapter`."""

    parameters = EfficientAdParameters
    # For the quantiles of its maps.
    needs_held_out = True
    retrain_steps = 50
    together = 'steps'

    def backbone(self, parameters: EfficientAdParameters, weights: str, *, seed: int) -> Backbone:
        """The teacher, or the network it will be distilled from.

        Raises:
            ConfigError: The weights cannot be used.
        """
        if not parameters.teacher:
            return load_backbone(parameters.backbone, parameters.layers, weights, seed=seed)
        path = Path(parameters.teacher)
        teacher = make_teacher(parameters.model_size)
        load_into(teacher, read_weights(path, remedy='teacher takes a file'), path)
        spec = BackboneSpec(
            name=f'pdn_{parameters.model_size}',
            layers=(),
            weights='file',
            source=path.name,
            sha256=hash_file(path),
        )
        return Backbone(spec, teacher, MEAN, STD)

    def cost(self, parameters: EfficientAdParameters) -> Cost:  # noqa: ARG002
        """Not measured: there is no teacher yet."""
        return Cost(ms=1.0, least_edge=256, is_measured=False)

    def normalisation(self, backbone: Backbone | None) -> tuple[Channels, Channels]:  # noqa: ARG002
        """ImageNet's, which the networks themselves apply, whatever the teacher learned from."""
        return MEAN, STD

    def build(self, parameters: EfficientAdParameters, backbone: Backbone | None) -> _Module:
        """An untrained EfficientAd, with its teacher if one was given."""
        assert backbone is not None
        module = _module(parameters)
        module.model.teacher = make_teacher(parameters.model_size).requires_grad_(
            requires_grad=False
        )
        if parameters.teacher:
            module.model.teacher.load_state_dict(backbone.network.state_dict())
        else:
            module.source = backbone
        return module

    def fit(
        self,
        module: _Module,
        data: FitData,
        folder: Path,
        parameters: EfficientAdParameters,
        progress: ProgressCallback,
    ) -> None:
        """Distil a teacher if none was given, train, and scale the maps on held-out images."""
        if not parameters.teacher:
            if not processes.rank():
                self._distill(module, data, folder, parameters, progress)
            processes.copy_from_first(module.model.teacher)
        module.learn_teacher_scale([labelled.pixels for labelled in data.fit], progress)
        self.fit_further(module, data, folder, parameters, progress)

    def _distill(
        self,
        module: _Module,
        data: FitData,
        folder: Path,
        parameters: EfficientAdParameters,
        progress: ProgressCallback,
    ) -> None:
        assert module.source is not None
        images = module.photographs or _endless([labelled.pixels for labelled in data.fit])
        distill(
            module.model.teacher,
            module.source,
            images,
            solved=parameters.distill_pieces,
            steps=parameters.distill_steps,
            progress=progress,
        )
        path = folder / CHECKPOINT_FOLDER / 'teacher.pth'
        path.parent.mkdir(exist_ok=True)
        torch.save(module.model.teacher.state_dict(), path)

    def resume(
        self, parameters: EfficientAdParameters, manifest: Manifest, weights: Weights
    ) -> _Module:
        """The trained networks.

        Raises:
            ConfigError: The weights are not those of the networks that the manifest names.
        """
        module = _module(parameters)
        module.model = _trained(manifest, weights)
        module.model.teacher.requires_grad_(requires_grad=False)
        return module

    def fit_further(
        self,
        module: _Module,
        data: FitData,
        folder: Path,
        parameters: EfficientAdParameters,
        progress: ProgressCallback,
    ) -> None:
        """Train, and scale the maps on held-out images."""
        fit(module, data.fit, folder, parameters.batch_size, progress, steps=parameters.steps)
        if not processes.rank():
            module.learn_map_scale([labelled.pixels for labelled in data.held_out], progress)

    def weights(self, module: _Module) -> Weights:
        """All three networks and the scales of their outputs."""
        return dict(module.model.state_dict())

    def graph(self, manifest: Manifest, weights: Weights) -> Graph:
        """The whole of EfficientAD.

        Raises:
            ConfigError: The weights are not those of the networks that the manifest names.
        """
        return Graph(EfficientAdGraph(manifest, _trained(manifest, weights)))


class _Module(EfficientAd):  # type: ignore[misc]  # anomalib has no types
    """Anomalib's module, without its downloads.

    Attributes:
        source: What a teacher is distilled from; None if it was given.
        photographs: Images of the penalty, without end, or None.
    """

    source: Backbone | None = None
    photographs: Iterator[torch.Tensor] | None = None

    def on_train_start(self) -> None:
        """Download nothing: Anomalib would fetch its teacher and photographs here."""
        # Lightning has switched the whole module to training.
        self.model.teacher.eval()

    def training_step(self, batch: Any, *_: Any, **__: Any) -> torch.Tensor:
        """The paper's three losses; the penalty only if there are photographs."""
        model, image = self.model, batch.image
        half = model.teacher_out_channels
        _, distance = model.compute_student_teacher_distance(image)
        hardest = distance.flatten().topk(max(int(distance.numel() * _HARD), 1)).values
        loss = hardest.mean()
        if self.photographs is not None:
            # The networks see 33 pixels at a time: a piece serves as well as a whole photograph.
            piece = random_piece(next(self.photographs))[None].to(image.device)
            loss = loss + (model.student(piece)[:, :half] ** 2).mean()
        changed = model.choose_random_aug_image(image)
        rebuilt = model.ae(changed, image.shape[-2:])
        with torch.no_grad():
            wanted = self._teacher_output(changed)
        imitated = model.student(changed)[:, half:]
        loss = loss + functional.mse_loss(rebuilt, wanted) + functional.mse_loss(rebuilt, imitated)
        total: torch.Tensor = loss
        self.log('train_loss', total.detach())
        return total

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

    def _teacher_output(self, image: torch.Tensor) -> torch.Tensor:
        scale = self.model.mean_std
        output: torch.Tensor = (self.model.teacher(image) - scale['mean']) / scale['std']
        return output


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


def _module(parameters: EfficientAdParameters) -> _Module:
    module = _Module(
        model_size=parameters.model_size,
        lr=parameters.learning_rate,
        weight_decay=parameters.weight_decay,
        # The networks normalise images themselves.
        pre_processor=PreProcessor(Identity()),
        post_processor=False,
        evaluator=False,
        visualizer=False,
    )
    if parameters.natural_images:
        folder = Path(parameters.natural_images)
        module.photographs = NaturalImages(folder, IMAGE).endless()
    return module


def _trained(manifest: Manifest, weights: Weights) -> EfficientAdModel:
    """The networks of a bundle."""
    model_size = str(manifest.hyper_parameters.get('model_size'))
    check(model_size in SIZES, 'model_size', model_size, ' or '.join(SIZES))
    model = EfficientAdModel(model_size=EfficientAdModelSize(model_size))
    load_into(model, weights, 'model.pth')
    return model


def _endless(images: Sequence[ImageArray]) -> Iterator[torch.Tensor]:
    while True:
        for index in torch.randperm(len(images)).tolist():
            yield to_tensor(images[index])


ADAPTER = EfficientAdAdapter()
