# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Models of Anomalib without an adapter of their own: trained, exported and refused by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
import io
from pathlib import Path
from typing import Any

from once import Once
import pytest
import timm
import torch

from adet_core.bundle import Bundle, open_bundle
from adet_core.errors import ConfigError
from adet_core.image import read_image
from adet_core.inference.detector import Detector
from adet_core.io.folders import list_images
from adet_core.io.labelled import LabelledImage
from adet_core.progress import silent
from adet_core.retraining.images import CollectedImages
from adet_core.retraining.relearned import Relearned
from adet_training.anomalib_models import anomalib_models, REFUSED
from adet_training.describe import describe_parameters
from adet_training.export import export, load_weights
from adet_training.fine_tune import fine_tune
from adet_training.models import check_model, known_models, load_adapter, own_models
from adet_training.networks import pretrained_networks
from adet_training.parameters import make_parameters
from adet_training.quiet import quiet_libraries
from adet_training.train import train, TrainConfig

pytestmark = pytest.mark.training

# A memory bank, a student with its teacher, and a transformer; test_resnet is timm's smallest.
TINY: dict[str, dict[str, Any]] = {
    'mh_patchcore': {
        'image_size': 64,
        'backbone': 'test_resnet',
        'layers': 'layer2,layer3',
        'memory_bank_size': 20,
    },
    'stfpm': {
        'image_size': 64,
        'backbone': 'test_resnet',
        'layers': 'layer1,layer2,layer3',
        'steps': 2,
    },
    'general_ad': {
        'image_size': 64,
        'backbone': 'vit_tiny_patch16_224',
        'layers': [2],
        'hidden_dim': 32,
        'steps': 2,
    },
}


@pytest.fixture(scope='module')
def exported(few_images: Path, once: Once) -> Callable[[str], Bundle]:
    """Trains and exports a model of `TINY` once; returns its bundle."""

    def get(model: str) -> Bundle:
        def make(root: Path) -> None:
            config = TrainConfig(
                model=model,
                category='plate',
                data_root=few_images,
                models_root=root,
                backbone_weights='random',
                settings=TINY[model],
            )
            with quiet_libraries():
                # Raises unless ONNX Runtime agrees with the trained module.
                export(train(config).bundle)

        (folder,) = once(f'exported_{model}', make).glob('*/plate/*/pytorch')
        return open_bundle(folder)

    return get


@pytest.mark.parametrize('model', TINY)
def test_a_model_is_trained_and_exported_by_its_name(
    exported: Callable[[str], Bundle], few_images: Path, model: str
) -> None:
    bundle = exported(model)
    manifest = bundle.manifest
    detector = Detector.load(bundle.folder, model=model, threads=1)
    images = list_images(few_images / 'test' / 'plate')
    scores = [detector.inspect(read_image(path)).score for path in images]
    assert len(set(scores)) == len(images)
    assert manifest.model == model
    assert manifest.backbone is not None
    assert manifest.backbone.weights == 'random'
    assert manifest.image.mean == timm.get_pretrained_cfg(manifest.backbone.name).mean


def test_a_model_that_learned_by_gradients_is_trained_further(
    exported: Callable[[str], Bundle],
) -> None:
    bundle = exported('stfpm')
    image = bundle.golden().images[0]
    before = load_weights(bundle)
    found = _train_further(bundle)
    assert found.images == 2
    assert found.backend.run(image[None]).scores[0] == pytest.approx(
        found.predict(image).scores[0], rel=1e-3
    )
    written = io.BytesIO()
    found.contents['model.pth'](written)  # type: ignore[operator]
    after = torch.load(io.BytesIO(written.getvalue()), weights_only=True)
    changed = {name.partition('.')[0] for name in before if not after[name].equal(before[name])}
    assert changed == {'student_model'}


def test_a_memory_bank_is_not_trained_further(exported: Callable[[str], Bundle]) -> None:
    with pytest.raises(ConfigError, match='mh_patchcore cannot be retrained from its weights'):
        _train_further(exported('mh_patchcore'))


def _train_further(bundle: Bundle) -> Relearned:
    images = [LabelledImage(Path(), image) for image in bundle.golden().images[:2]]
    settings = {'steps': 1, 'seed': 0}
    return fine_tune(bundle, CollectedImages(learn=images), settings, progress=silent)


def test_weights_of_another_backbone_are_refused(exported: Callable[[str], Bundle]) -> None:
    bundle = exported('stfpm')
    other = {**bundle.manifest.hyper_parameters, 'backbone': 'resnet18'}
    manifest = replace(bundle.manifest, hyper_parameters=other)
    with pytest.raises(ConfigError, match=r'model.pth: not the weights of this stfpm \('):
        load_adapter('stfpm').graph(manifest, load_weights(bundle))


@pytest.mark.parametrize('model', REFUSED)
def test_what_cannot_become_a_bundle_is_said_before_anything_is_loaded(model: str) -> None:
    assert model not in known_models()
    with pytest.raises(ConfigError, match=f"Anomalib's {model} cannot be used: {REFUSED[model]}"):
        check_model(model)


def test_the_known_models_are_those_of_adet_and_of_anomalib() -> None:
    assert set(own_models()) < set(known_models())
    assert {'dinomaly', 'fastflow', 'supersimplenet'} < set(known_models())
    # Under adet's own name.
    assert 'efficient_ad' not in known_models()
    assert set(REFUSED) < set(anomalib_models())


def test_a_name_that_is_nearly_right_is_suggested() -> None:
    with pytest.raises(ConfigError, match=r"unknown model 'dinomali'; .*mean dinomaly\?"):
        check_model('dinomali')


def test_hyper_parameters_come_from_the_signature() -> None:
    kind = load_adapter('fastflow').parameters
    assert kind.__doc__ is not None
    assert 'flow_steps: Number of steps in the normalizing flow.' in kind.__doc__
    assert make_parameters(kind, {'flow_steps': 4}).flow_steps == 4
    with pytest.raises(ConfigError, match=r"flow_steps is 'many', expected a whole number"):
        make_parameters(kind, {'flow_steps': 'many'})
    with pytest.raises(
        ConfigError, match=r"unknown hyper-parameter 'flow_step'.*mean flow_steps\?"
    ):
        make_parameters(kind, {'flow_step': 4})


def test_hyper_parameters_are_described_with_their_types() -> None:
    told = {one.name: one for one in describe_parameters(load_adapter('dinomaly').parameters)}
    assert told['decoder_depth'].type == 'a whole number'
    assert told['target_layers'].type == 'YAML'
    assert told['image_size'][1:4] == ('a whole number or text', '64 to 2048', '392')


def test_a_model_that_takes_any_backbone_begins_with_the_installed_one() -> None:
    defaults = make_parameters(load_adapter('stfpm').parameters, {})
    assert defaults.backbone == 'tf_efficientnet_lite0'
    assert defaults.layers == ('blocks.1', 'blocks.2', 'blocks.4')


def test_hyper_parameters_that_the_model_refuses_are_named() -> None:
    adapter = load_adapter('fastflow')
    parameters = make_parameters(adapter.parameters, {'backbone': 'resnet3'})
    message = r'fastflow cannot be built with these hyper-parameters \(.*resnet3'
    with pytest.raises(ConfigError, match=message):
        adapter.backbone(parameters, 'random', seed=0)


def test_a_size_that_the_model_fails_at_is_refused_before_the_training(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delitem(REFUSED, 'fre')
    adapter = load_adapter('fre')
    parameters = make_parameters(adapter.parameters, {'image_size': 64})
    with pytest.raises(ConfigError, match=r'fre fails at image_size=64 \(.*\); its own is 256'):
        adapter.build(parameters, adapter.backbone(parameters, 'random', seed=0))


def test_a_networks_weights_come_from_a_file(tmp_path: Path) -> None:
    adapter = load_adapter('stfpm')
    parameters = make_parameters(adapter.parameters, TINY['stfpm'])
    network = timm.create_model('test_resnet')
    file = tmp_path / 'resnet.pth'
    torch.save(network.state_dict(), file)
    backbone = adapter.backbone(parameters, str(file), seed=0)
    assert backbone is not None
    assert backbone.spec.weights == 'file'
    module = adapter.build(parameters, backbone)
    teacher = module.model.teacher_model.feature_extractor.state_dict()
    assert torch.equal(
        teacher['layer1.0.conv1.weight'], network.state_dict()['layer1.0.conv1.weight']
    )


def test_no_weights_are_downloaded_for_a_network_of_torchvision() -> None:
    from torchvision.models import resnet18, ResNet18_Weights

    asked = []

    def supply(name: str, make: Callable[[bool], torch.nn.Module]) -> torch.nn.Module:
        asked.append(name)
        return make(False)

    with pretrained_networks(supply):
        resnet18(weights=ResNet18_Weights.DEFAULT)
    assert asked == ['resnet18']
