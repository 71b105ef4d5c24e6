# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Feature extractors from timm, and where their weights come from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import fields
import functools
import hashlib
from pathlib import Path
import re
from typing import Any, IO, NamedTuple

import timm
from timm.models._features import FeatureGetterNet
from timm.models.vision_transformer import checkpoint_filter_fn
import torch
from torch import nn

from adet_core.bundle import BackboneSpec, Manifest
from adet_core.errors import ConfigError
from adet_training.networks import Make
from adet_training.parameters import BACKBONES, Parameters
from adet_training.pretrained import hub_answers, PACKAGES, read_package

Weights = Mapping[str, torch.Tensor]
Channels = tuple[float, float, float]

_PREFIX = 'backbone.'
_STAGE = re.compile(r'blocks\.\d+')

# Of ImageNet's images, which most networks were trained on.
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

# Older files, torchvision's among them, lack this tensor, which only training looks at.
_COUNT = 'num_batches_tracked'

# Other programs wrap the tensors in one of these.
_WRAPPERS = ('state_dict', 'model', 'model_state_dict')


class Backbone(NamedTuple):
    """A feature extractor with its weights, and their origin.

    Attributes:
        spec: What goes into ``meta.json``.
        network: Takes float32 ``(N, 3, H, W)``, gives one feature map per layer.
        mean: Channel means its images are normalised with, on the 0..1 scale.
        std: Channel deviations, on the same scale.
    """

    spec: BackboneSpec
    network: nn.Module
    mean: Channels
    std: Channels


def make_network(
    name: str,
    layers: Sequence[str],
    *,
    pretrained: bool = False,
    size: tuple[int, int] | None = None,
) -> nn.Module:
    """Build timm's feature extractor for some layers of a network.

    Args:
        name: timm's name of the network.
        layers: Layers whose features are wanted.
        pretrained: With timm's weights.
        size: Height and width of the images, for a transformer; None: its own.

    Raises:
        ConfigError: timm does not know the network, the network has no such layers, or it is a
            transformer and the size no multiple of its patches.
    """
    if not timm.is_model(name):
        similar = timm.list_models(f'{name[:6]}*')[:8]
        msg = f'unknown backbone {name!r}; timm has e.g. {", ".join(similar or ["resnet18"])}'
        raise ConfigError(msg)
    known = [entry['module'] for entry in _features(name).feature_info.info]
    if missing := [layer for layer in layers if layer not in known]:
        msg = f'backbone {name} has no layer {missing[0]!r}; it has {", ".join(known)}'
        raise ConfigError(msg)
    indices = [known.index(layer) for layer in layers]
    if is_transformer(name):
        return _make_transformer(name, indices, pretrained=pretrained, size=size)
    network: nn.Module = _features(
        name, pretrained=pretrained, exportable=True, out_indices=indices
    )
    blocks = getattr(network, 'blocks', None)
    if isinstance(blocks, nn.Sequential) and all(_STAGE.fullmatch(layer) for layer in layers):
        # Of an EfficientNet, timm keeps and runs the stages behind the last one that is wanted.
        last = max(int(layer.partition('.')[2]) for layer in layers)
        network.blocks = blocks[: last + 1]
    return network.eval()


def is_transformer(name: str) -> bool:
    """Whether a network of timm is a vision transformer, by its name as Anomalib does."""
    return 'vit' in name.lower()


def _make_transformer(
    name: str, indices: Sequence[int], *, pretrained: bool, size: tuple[int, int] | None
) -> nn.Module:
    """The tokens of some blocks, normalised as for the last one, as maps.

    Damm et al.: AnomalyDINO, WACV 2025, https://arxiv.org/abs/2405.14529, takes its features so.
    """
    options = {} if size is None else {'img_size': size}
    model = timm.create_model(name, pretrained=pretrained, **options)
    edge = model.patch_embed.patch_size[0]
    if size and (size[0] % edge or size[1] % edge):
        near = round(size[0] / edge) * edge
        msg = f'{name} takes multiples of {edge} pixels: --set image_size={near}, for example'
        raise ConfigError(msg)
    network: nn.Module = FeatureGetterNet(model, out_indices=list(indices), norm=True)
    return network.eval()


def load_backbone(
    name: str,
    layers: Sequence[str],
    weights: str,
    *,
    seed: int,
    size: tuple[int, int] | None = None,
) -> Backbone:
    """Build a backbone and fill it with weights.

    Args:
        name: timm's name of the network.
        layers: Layers whose features are wanted, finest first.
        weights: ``auto``, ``imagenet``, ``random`` or the path of a file.
        seed: For ``random``.
        size: Height and width of the images, for a transformer; None: it is refused.

    Raises:
        ConfigError: The name, a layer or the weights cannot be used; says what to do.
    """
    if is_transformer(name) and size is None:
        msg = f'{name} is a transformer, which is a backbone of patchcore alone; take a ResNet'
        raise ConfigError(msg)
    try:
        network, kind, source = fill_network(
            name,
            lambda wanted: make_network(name, layers, pretrained=wanted, size=size),
            weights,
            seed=seed,
        )
    except _NoDownloadError as error:
        if weights != 'auto':
            raise
        msg = f'{error}; or take one whose weights are installed: --set backbone='
        raise ConfigError(msg + ', '.join(PACKAGES)) from None
    sha256 = hash_file(Path(weights)) if kind == 'file' else hash_tensors(network)
    mean, std = channels_of(name)
    spec = BackboneSpec(
        name=name, layers=tuple(layers), weights=kind, source=source, sha256=sha256
    )
    return Backbone(spec, network, mean, std)


def fill_network(name: str, make: Make, weights: str, *, seed: int) -> tuple[nn.Module, str, str]:
    """Make a network with the weights that a user chose.

    Args:
        name: timm's name of it.
        make: Makes it.
        weights: As of `load_backbone`.
        seed: For ``random``.

    Returns:
        The network, the kind of its weights (``imagenet``, ``random`` or ``file``), their source.

    Raises:
        ConfigError: The weights cannot be used.
    """
    if weights == 'auto':
        network, source = _hub_or_package(name, make)
        return network, 'imagenet', source
    if weights == 'imagenet':
        network, source = _from_hub(name, make)
        return network, 'imagenet', source
    torch.manual_seed(seed)
    whole = network = make(False)
    if weights == 'random':
        return whole, 'random', f'seed {seed}'
    read = read_weights(Path(weights))
    if isinstance(network, FeatureGetterNet):
        # Its positions are those of the size that it was trained at.
        network = network.model
        read = checkpoint_filter_fn(dict(read), network)
    load_into(network, read, weights)
    return whole, 'file', Path(weights).name


def channels_of(name: str) -> tuple[Channels, Channels]:
    """Mean and deviation that the images of a network of timm's are normalised with."""
    config = timm.get_pretrained_cfg(name)
    return (tuple(config.mean), tuple(config.std)) if config else (MEAN, STD)


def read_weights(path: Path, *, remedy: str = 'give auto, imagenet, random or a file') -> Weights:
    """Read tensors from a ``.pth``/``.pt`` or ``.safetensors`` file, running no code from it.

    Args:
        path: The file.
        remedy: What to do where there is none.

    Raises:
        ConfigError: The file is missing or is no such file.
        OSError: It cannot be read.
    """
    if not path.is_file():
        msg = f'{path}: no such weights file; {remedy}'
        raise ConfigError(msg)
    try:
        with path.open('rb') as file:
            values = load_tensors(file, safe=path.suffix == '.safetensors')
    except ValueError as error:
        msg = f'{path}: not a file of plain weights ({error}); save a state_dict'
        raise ConfigError(msg) from None
    for key in _WRAPPERS:
        if isinstance(values, dict) and isinstance(values.get(key), dict):
            values = values[key]
    if not isinstance(values, dict) or not all(map(torch.is_tensor, values.values())):
        msg = f'{path}: does not hold named tensors; save a state_dict'
        raise ConfigError(msg)
    return values


def load_tensors(file: IO[bytes], *, safe: bool = False) -> Any:
    """What a file of weights holds, running no code from it.

    Args:
        file: What ``torch.save`` wrote.
        safe: It is a ``.safetensors`` file instead.

    Raises:
        ValueError: It is damaged, or holds more than tensors.
    """
    try:
        if safe:
            from safetensors.torch import load

            return load(file.read())
        return torch.load(file, map_location='cpu', weights_only=True)
    except OSError:
        raise
    except Exception as error:  # noqa: BLE001 - pickle, zip and torch each raise their own
        # Not torch's own text: it advises to switch this very protection off.
        msg = f'damaged, or more than tensors: {type(error).__name__}'
        raise ValueError(msg) from None


def load_into(network: nn.Module, weights: Weights, source: object) -> None:
    """Fill a network; every tensor it has must be given, others (a classifier) are left out.

    Raises:
        ConfigError: A tensor is missing, has another shape or holds what is no number.
    """
    wanted = {
        name: tensor
        for name, tensor in network.state_dict().items()
        if name in weights or not name.endswith(_COUNT)
    }
    for name, tensor in wanted.items():
        if name not in weights:
            msg = f'{source}: has no tensor {name!r}; these weights are of another network'
            raise ConfigError(msg)
        if weights[name].shape != tensor.shape:
            shapes = f'{tuple(weights[name].shape)}, expected {tuple(tensor.shape)}'
            msg = f'{source}: tensor {name!r} is {shapes}; these weights are of another network'
            raise ConfigError(msg)
        if not torch.isfinite(weights[name]).all():
            msg = f'{source}: tensor {name!r} holds values that are no numbers; save it again'
            raise ConfigError(msg)
    network.load_state_dict({name: weights[name] for name in wanted}, strict=False)


def name_backbone(
    kind: type[Parameters], settings: Mapping[str, Any], weights: str
) -> dict[str, Any]:
    """Settings that name the backbone which a file of weights is of, unless they name one.

    Args:
        kind: The model's hyper-parameters.
        settings: Those that differ from their defaults.
        weights: What ``--backbone-weights`` was given; all but a file leaves the settings alone.

    Raises:
        ConfigError: The file holds no weights.
    """
    path = Path(weights)
    has_one = 'backbone' in {field.name for field in fields(kind)}
    if not has_one or 'backbone' in settings or not path.is_file():
        return dict(settings)
    tensors = read_weights(path)
    for name, layers in BACKBONES.items():
        with torch.device('meta'):
            wanted = make_network(name, layers).state_dict()
        shapes = {key: t.shape for key, t in wanted.items() if not key.endswith(_COUNT)}
        if all(key in tensors and tensors[key].shape == shapes[key] for key in shapes):
            return {**settings, 'backbone': name}
    return dict(settings)


def fill_extractor(extractor: Any, backbone: Backbone, model: str) -> None:
    """Give Anomalib's TimmFeatureExtractor the weights of a backbone.

    Raises:
        ConfigError: Anomalib builds another network of that name.
    """
    if isinstance(backbone.network, FeatureGetterNet):
        # Anomalib's reads the same tokens, but of a network for images of any size, whose
        # positions cannot be exported.
        extractor.feature_extractor = deepcopy(backbone.network)
        extractor._uses_intermediates = False  # noqa: SLF001 - it has no switch
        return
    network = extractor.feature_extractor
    # Its stages behind the last layer, which `make_network` cuts off, keep random weights.
    kept = {key: tensor for key, tensor in network.state_dict().items() if _STAGE.match(key)}
    try:
        network.load_state_dict({**kept, **backbone.network.state_dict()})
    except RuntimeError:
        msg = f'backbone {backbone.spec.name} does not fit {model}; take a convolutional network'
        raise ConfigError(msg) from None


def extractor_weights(extractor: Any) -> dict[str, torch.Tensor]:
    """The tensors of Anomalib's TimmFeatureExtractor, as ``model.pth`` names them."""
    tensors = extractor.feature_extractor.state_dict()
    if isinstance(extractor.feature_extractor, FeatureGetterNet):
        return {f'{_PREFIX}{name}': tensor for name, tensor in tensors.items()}
    needed = _tensor_names(extractor.backbone, tuple(extractor.layers))
    return {f'{_PREFIX}{name}': tensors[name] for name in needed}


@functools.cache
def _tensor_names(name: str, layers: tuple[str, ...]) -> tuple[str, ...]:
    """Those of a backbone's network; a training asks twice, a search for each trial."""
    with torch.device('meta'):
        return tuple(make_network(name, layers).state_dict())


def network_of(manifest: Manifest, weights: Weights) -> nn.Module:
    """The backbone of a bundle, with the weights that `extractor_weights` named.

    Raises:
        ConfigError: The weights are not those of the backbone that the manifest names.
    """
    spec = manifest.backbone
    if spec is None:
        msg = 'meta.json names no backbone; train again'
        raise ConfigError(msg)
    size = (manifest.image.height, manifest.image.width)
    network = make_network(spec.name, spec.layers, size=size)
    load_into(network, {n.removeprefix(_PREFIX): t for n, t in weights.items()}, 'model.pth')
    return network


def _features(name: str, **options: Any) -> Any:
    return timm.create_model(name, features_only=True, **{'pretrained': False, **options})


class _NoDownloadError(ConfigError):
    """The hub does not answer, or has no such weights."""


def _hub_or_package(name: str, make: Make) -> tuple[nn.Module, str]:
    """A network with the hub's weights; where that fails, with those of an installed package."""
    try:
        return _from_hub(name, make)
    except _NoDownloadError:
        if name not in PACKAGES:
            raise
    network = make(False)
    tensors, source = read_package(name)
    load_into(network, tensors, source)
    return network, source


def _from_hub(name: str, make: Make) -> tuple[nn.Module, str]:
    """A network with the weights that timm finds in its cache or on the hub; and their name."""
    from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled

    try:
        with _hub_or_its_cache():
            network = make(True)
    except ConfigError:
        raise
    except Exception as error:  # noqa: BLE001 - the hub's client raises many kinds
        reason = str(error).strip().splitlines()[0][:120]
        if isinstance(error, LocalEntryNotFoundError | OfflineModeIsEnabled):
            reason = 'the hub does not answer'
        msg = (
            f'the ImageNet weights of {name} cannot be downloaded ({reason}); '
            'give a local file with --backbone-weights FILE, or --backbone-weights random'
        )
        raise _NoDownloadError(msg) from None
    return network, str(timm.get_pretrained_cfg(name).hf_hub_id)


@contextmanager
def _hub_or_its_cache() -> Iterator[None]:
    """Let the hub's client look into its cache alone where the hub does not answer.

    By itself it tries again for most of a minute.
    """
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or not hub_answers()
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def hash_file(path: Path) -> str:
    """The sha256 of a file, in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def hash_tensors(network: nn.Module) -> str:
    """The sha256 of a network's weights, in hexadecimal."""
    digest = hashlib.sha256()
    for name, tensor in network.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()
