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
import time
from typing import Any

import pytest
from safetensors.torch import save_file
import timm
import torch

from adet_core.errors import ConfigError
from adet_training.backbone import Backbone, load_backbone, make_network, read_weights

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
        with _refusal(path, 'no such weights file; give imagenet, random or a file'):
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
