# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""A vision transformer as the backbone of PatchCore."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
from tiny_models import Learn
import torch

from adet_core.errors import ConfigError
from adet_training.backbone import load_backbone
from adet_training.export import export
from adet_training.models import load_adapter
from adet_training.parameters import make_parameters

pytestmark = pytest.mark.training

# timm's smallest: patches of 16 pixels, trained at 160.
VIT = {'backbone': 'test_vit', 'layers': 'blocks.2', 'image_size': 64}


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """What a user saves of timm's network, with positions of another image size."""
    torch.manual_seed(3)
    path = tmp_path / 'vit.pth'
    torch.save(timm.create_model('test_vit').state_dict(), path)
    return path


def test_its_graph_agrees_and_its_weights_are_those_of_the_file(
    learn: Learn, few_images: Path, weights: Path
) -> None:
    run = learn(VIT, model='patchcore', data_root=few_images, backbone_weights=str(weights))
    # Raises unless the graph agrees with the trained module.
    assert export(run.bundle).parity.holds
    backbone = run.bundle.manifest.backbone
    assert backbone is not None
    assert (backbone.name, backbone.weights) == ('test_vit', 'file')
    assert run.bundle.statistics()['memory_bank'].shape[1] == 64
    kept = torch.load(run.bundle.folder / 'model.pth', weights_only=True)
    given = torch.load(weights, weights_only=True)
    name = 'blocks.1.attn.qkv.weight'
    assert torch.equal(kept[f'backbone.model.{name}'], given[name])
    # Four patches each way, and the class token.
    assert kept['backbone.model.pos_embed'].shape[1] == 17


def test_a_size_that_is_no_whole_number_of_patches_is_refused() -> None:
    adapter = load_adapter('patchcore')
    parameters = make_parameters(adapter.parameters, {**VIT, 'image_size': 250})
    message = r'test_vit takes multiples of 16 pixels: --set image_size=256'
    with pytest.raises(ConfigError, match=message):
        adapter.backbone(parameters, 'random', seed=0)


def test_a_layer_that_it_does_not_have_is_refused() -> None:
    adapter = load_adapter('patchcore')
    parameters = make_parameters(adapter.parameters, {**VIT, 'layers': 'layer2'})
    with pytest.raises(ConfigError, match=r"test_vit has no layer 'layer2'; it has blocks\.0"):
        adapter.backbone(parameters, 'random', seed=0)


def test_other_models_refuse_it() -> None:
    with pytest.raises(ConfigError, match=r'test_vit is a transformer, .* of patchcore alone'):
        load_backbone('test_vit', ['blocks.2'], 'random', seed=0)
