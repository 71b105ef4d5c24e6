# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""One adapter for every model of Anomalib that has none of its own in ``adet_training.models``."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import fields, replace
import functools
from importlib import import_module
import inspect
from pathlib import Path
from typing import Any

from anomalib.models.components import AnomalibModule, MemoryBankMixin
from anomalib.pre_processing import PreProcessor
import torch
from torch import nn
from torch.nn import functional
from torchvision.transforms.v2 import CenterCrop, Compose, Normalize, Resize

from adet_core.bundle import BackboneSpec, Manifest
from adet_core.errors import AdetError, ConfigError
from adet_core.progress import ProgressCallback
from adet_training.adapter import Adapter, FitData, Graph
from adet_training.anomalib_models import check_exportable
from adet_training.backbone import (
    Backbone,
    Channels,
    channels_of,
    fill_network,
    hash_file,
    hash_tensors,
    Weights,
)
from adet_training.fit import fit, fit_steps
from adet_training.layers import NormaliseImage
from adet_training.networks import Make, no_weights, pretrained_networks
from adet_training.parameters import (
    DEFAULT_BACKBONE,
    make_parameters,
    Parameters,
    SteppedParameters,
)
from adet_training.signature import parameters_of

# What adet does itself, or takes from its own hyper-parameters.
_WITHOUT = (
    'pre_processor',
    'post_processor',
    'evaluator',
    'visualizer',
    'pre_trained',
    'precision',
)
# Layers of the default backbone at the strides of a ResNet's.
_LAYERS = {f'layer{number + 1}': f'blocks.{block}' for number, block in enumerate((1, 2, 4, 6))}


class AnomalibAdapter(Adapter[Parameters]):
    """See `adet_training.adapter.Adapter`."""

    def __init__(self, name: str) -> None:
        """Look at the signature of the model.

        Raises:
            ConfigError: It cannot become a bundle.
        """
        check_exportable(name)
        self._name = name
        self._kind = _class_of(name)
        self._learns = not issubclass(self._kind, MemoryBankMixin)
        self.retrain_steps = 100 if self._learns else 0
        self.together = 'steps' if self._learns else ''
        defaults = _defaults(self._kind)
        self._image_size: int = defaults.get('image_size', Parameters.image_size)
        self.parameters = parameters_of(
            self._kind,
            f'{self._kind.__name__}Parameters',
            without=_WITHOUT,
            defaults=defaults,
            base=SteppedParameters if self._learns else Parameters,
        )

    def backbone(self, parameters: Parameters, weights: str, *, seed: int) -> Backbone | None:
        """The pretrained networks that the model asks for."""
        found: list[tuple[str, nn.Module, str, str]] = []

        def supply(name: str, make: Make) -> nn.Module:
            network, kind, source = fill_network(name, make, weights, seed=seed)
            found.append((name, deepcopy(network), kind, source))
            return network

        with pretrained_networks(supply):
            self._module(parameters, *self.normalisation(None))
        if not found:
            return None
        networks = nn.ModuleList([network for _, network, *_ in found])
        name, _, kind, source = found[0]
        layers = getattr(parameters, 'layers', ())
        spec = BackboneSpec(
            name=name,
            layers=tuple(map(str, layers or ())),
            weights=kind,
            source=source,
            sha256=hash_file(Path(weights)) if kind == 'file' else hash_tensors(networks),
        )
        mean, std = self.normalisation(None)
        # Some models normalise images themselves.
        if (mean, std) != super().normalisation(None):
            mean, std = channels_of(name)
        return Backbone(spec, networks, mean, std)

    def normalisation(self, backbone: Backbone | None) -> tuple[Channels, Channels]:
        """That of the backbone; the model's own if it has none."""
        if backbone:
            return backbone.mean, backbone.std
        for transform in _transforms(self._kind):
            if isinstance(transform, Normalize):
                return tuple(transform.mean), tuple(transform.std)  # type: ignore[return-value]
        return super().normalisation(None)

    def build(self, parameters: Parameters, backbone: Backbone | None) -> Any:
        """The model, untrained.

        Raises:
            ConfigError: It cannot be built with the hyper-parameters, or not for the image size.
        """
        networks = iter(backbone.network if backbone else ())  # type: ignore[arg-type]
        with pretrained_networks(lambda *_: deepcopy(next(networks))):
            module = self._module(parameters, *self.normalisation(backbone))
        if self._learns:
            self._check_size(module, parameters)
        return module

    def fit(
        self, module: Any, data: FitData, folder: Path, parameters: Any, progress: ProgressCallback
    ) -> None:
        """Train as the model's authors do, for a number of steps if it learns by gradients.

        Raises:
            ConfigError: The model failed.
        """
        try:
            if self._learns:
                fit_steps(module, data.fit, folder, parameters, progress, tell=data.tell)
            else:
                fit(module, data.fit, folder, parameters.batch_size, progress)
        except (AdetError, OSError, MemoryError, torch.cuda.OutOfMemoryError):
            raise
        except Exception as error:
            usual = self._image_size
            msg = (
                f'{self._name} failed in its training ({type(error).__name__}: {error!s:.200}); '
                f'perhaps with its own image_size {usual} or another batch_size it does not'
            )
            raise ConfigError(msg) from error

    def resume(self, parameters: Parameters, manifest: Manifest, weights: Weights) -> Any:
        """The trained model; one that does not learn by gradients is refused."""
        if not self._learns:
            return super().resume(parameters, manifest, weights)
        return self._filled(manifest, weights, parameters)

    def weights(self, module: Any) -> Weights:
        """All tensors of the model; a memory bank is one of them."""
        # A clone each: some share their memory, or are views of a larger tensor.
        return {name: tensor.clone() for name, tensor in module.model.state_dict().items()}

    def graph(self, manifest: Manifest, weights: Weights) -> Graph:
        """The model as it is, behind adet's own preprocessing.

        Raises:
            ConfigError: The weights are not those of the model that the manifest names.
        """
        known = self.parameters.__dataclass_fields__
        values = {k: v for k, v in manifest.hyper_parameters.items() if k in known}
        parameters = make_parameters(self.parameters, values)
        model = self._filled(manifest, weights, parameters).model.eval()
        return Graph(AnomalibGraph(manifest, model), may_take_one_image=True)

    def _filled(self, manifest: Manifest, weights: Weights, parameters: Parameters) -> Any:
        image = manifest.image
        with pretrained_networks(no_weights):
            module = self._module(parameters, image.mean, image.std)
        try:
            module.model.load_state_dict(weights)
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1].strip()
            msg = f'model.pth: not the weights of this {self._name} ({reason:.200}); train again'
            raise ConfigError(msg) from None
        return module

    def _module(self, parameters: Parameters, mean: Channels, std: Channels) -> Any:
        size = parameters.size
        signature = inspect.signature(self._kind).parameters
        values = {
            name: _value(getattr(parameters, name), signature[name].default)
            for name in (field.name for field in fields(parameters))
            if name in signature
        }
        # Anomalib takes the size of the maps from the pre-processor.
        steps: list[nn.Module] = [Resize(size)]
        if (mean, std) != super().normalisation(None):
            steps.append(Normalize(list(mean), list(std)))
        try:
            return self._kind(
                **values,
                pre_processor=PreProcessor(Compose(steps)),
                post_processor=False,
                evaluator=False,
                visualizer=False,
            )
        except ConfigError:
            raise
        except Exception as error:  # noqa: BLE001 - each model fails in its own way
            msg = f'{self._name} cannot be built with these hyper-parameters ({error!s:.300})'
            raise ConfigError(msg) from None

    def _check_size(self, module: Any, parameters: Parameters) -> None:
        """Refuse a size of images that the untrained model fails at.

        Raises:
            ConfigError: It fails, but not at the size that Anomalib gives it.
        """
        reason = _failure(module, parameters.size)
        usual = self._image_size
        if not reason or parameters.image_size == usual:
            return
        with pretrained_networks(no_weights):
            at_usual = replace(parameters, image_size=usual)
            other = self._module(at_usual, *self.normalisation(None))
        # Some predict nothing before they are trained.
        if not _failure(other, (usual, usual)):
            size = parameters.image_size
            msg = f'{self._name} fails at image_size={size} ({reason:.200}); its own is {usual}'
            raise ConfigError(msg)


class AnomalibGraph(nn.Module):
    """From uint8 image to score and map."""

    def __init__(self, manifest: Manifest, model: nn.Module) -> None:
        """Take a trained model of Anomalib."""
        super().__init__()
        self.normalise = NormaliseImage(manifest.image.mean, manifest.image.std)
        self.model = model

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Score images.

        Args:
            image: uint8 ``(N, H, W, 3)``, RGB.

        Returns:
            Score ``(N, 1)`` and map ``(N, 1, H, W)``, float32.
        """
        found = self.model(self.normalise(image))
        size = (image.shape[1], image.shape[2])
        anomaly_map = found.anomaly_map.reshape(-1, 1, *found.anomaly_map.shape[-2:])
        if anomaly_map.shape[-2:] != size:
            anomaly_map = functional.interpolate(anomaly_map, size=size, mode='bilinear')
        return found.pred_score.reshape(-1, 1).float(), anomaly_map.float()


def _failure(module: Any, size: tuple[int, int]) -> str:
    """Why a model cannot predict an image of a size; empty if it can."""
    try:
        with torch.inference_mode():
            module.model.eval()(torch.zeros(1, 3, *size))
    except Exception as error:  # noqa: BLE001 - each model fails in its own way
        return str(error) or type(error).__name__
    finally:
        module.train()
    return ''


@functools.cache
def _class_of(name: str) -> type:
    """The Lightning module of a model's package."""
    package = import_module(f'anomalib.models.image.{name}')
    return next(
        kind
        for _, kind in inspect.getmembers(package, inspect.isclass)
        if issubclass(kind, AnomalibModule) and kind.__module__.startswith(package.__name__)
    )


def _transforms(kind: Any) -> Sequence[nn.Module]:
    """The steps of a model's own preprocessing."""
    made = kind.configure_pre_processor()
    transform = getattr(made, 'transform', None)
    return list(getattr(transform, 'transforms', [transform]))


def _defaults(kind: type) -> dict[str, Any]:
    """Defaults of adet that replace Anomalib's."""
    found: dict[str, Any] = {}
    for transform in _transforms(kind):
        if isinstance(transform, Resize | CenterCrop):
            size = transform.size
            found['image_size'] = size if isinstance(size, int) else int(size[0])
    return {**found, **_backbone_defaults(kind)}


def _backbone_defaults(kind: type) -> dict[str, Any]:
    """Adet's backbone for a model that takes any network of timm with ResNet's layers."""
    signature = inspect.signature(kind).parameters
    if 'input_dim' in signature:
        # Of the features of its own backbone.
        return {}
    for name in ('layers', 'layer'):
        layers = signature[name].default if name in signature else None
        names = [layers] if isinstance(layers, str) else layers
        if 'backbone' in signature and names and all(layer in _LAYERS for layer in names):
            ours = [_LAYERS[layer] for layer in names]
            return {'backbone': DEFAULT_BACKBONE, name: ours[0] if name == 'layer' else ours}
    return {}


def _value(value: Any, default: Any) -> Any:
    """A hyper-parameter as the model's own default has it: YAML knows lists alone."""
    if isinstance(value, tuple | list):
        return tuple(value) if isinstance(default, tuple) else list(value)
    return value
